import numpy as np
import pytest

from nas_search import Random, Tabular, TrainingCost, measured_rows, search
from nas_spaces import FeasibleSet, InputError, Limit, published
from nas_spaces.testing import check_metric


@pytest.fixture(scope="module")
def cells():
    return published.load("nas-bench-201-reduce-3")


def rows_of(space):
    return np.stack(np.meshgrid(*map(np.arange, space.num_options)), axis=-1).reshape(
        -1, space.num_choices
    )


def test_a_table_is_a_metric(macro):
    rows = rows_of(macro)
    table = Tabular(macro, rows, np.arange(len(rows)) / len(rows))
    check_metric(table, macro)
    np.testing.assert_array_equal(table(rows), np.arange(len(rows)) / len(rows))
    assert (table.name, table.unit) == ("error", "1")


def test_the_table_keeps_what_it_was_given(macro):
    rows, values = np.zeros((1, 8), dtype=np.int64), np.array([0.5])
    table = Tabular(macro, rows, values, name="seconds", unit="s")
    rows[:], values[:] = 1, 9
    assert table([[0] * 8]).tolist() == [0.5]
    assert (table.name, table.unit) == ("seconds", "s")


def test_rows_that_are_missing(macro):
    table = Tabular(macro, [[0] * 8, [1] * 8], [0.5, 0.25])
    assert table.knows([[1] * 8, [2] * 8, [0] * 8]).tolist() == [True, False, True]
    with pytest.raises(InputError, match=r"lacks 1 of 2 architectures, like 2,2,2,2,2,2,2,2; "):
        table([[1] * 8, [2] * 8])


def test_equal_rows_have_values_of_their_own_unless_the_network_is_asked(macro):
    # An identity before the block or behind it is the same network.
    first, second = [1, 1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1]
    assert (macro.canonical([first]) == macro.canonical([second])).all()
    by_row = Tabular(macro, [first, second], [0.5, 0.25])
    assert by_row([second, first]).tolist() == [0.25, 0.5]
    by_network = Tabular(macro, [first, second], [0.5, 0.25], by="network")
    assert by_network([second, first]).tolist() == [0.375, 0.375]
    one = Tabular(macro, [first], [0.5], by="network")
    assert one.knows([second]).all()
    assert one([second]).tolist() == [0.5]
    with pytest.raises(InputError, match="by='network'"):
        Tabular(macro, [first], [0.5])([second])
    with pytest.raises(InputError, match="lacks 1 of 1") as error:
        one([[2] * 8])
    assert "by=" not in str(error.value)


@pytest.mark.parametrize(
    ("archs", "values", "settings", "says"),
    [
        ([[0] * 7], [0.5], {}, "archs has 7 columns"),
        ([[0] * 8], [0.5, 0.25], {}, r"values has shape \(2,\); expected \(1,\)"),
        ([[0] * 8], [np.nan], {}, r"values\[0\] is nan for architecture 0,0,0,0,0,0,0,0"),
        ([[0] * 8] * 2, [0.5, 0.25], {}, "lists 0,0,0,0,0,0,0,0 twice"),
        (np.zeros((0, 8), dtype=np.int64), [], {}, "archs is empty"),
        ([[0] * 8], [0.5], {"by": "rows"}, "by='rows' is unknown; valid: network, row"),
    ],
)
def test_no_tables(macro, archs, values, settings, says):
    with pytest.raises(InputError, match=says):
        Tabular(macro, archs, values, **settings)


def test_what_a_search_can_measure(cells, macs):
    for limits in ([], [Limit(macs(cells), upper=20e6)]):
        feasible = FeasibleSet(cells, limits)
        rows = measured_rows(feasible)
        assert feasible.contains(rows).all()
        found = search(
            Random(cells, rng=np.random.default_rng(0), feasible=feasible),
            [macs(cells)],
            space=cells,
            feasible=feasible,
            budget=10_000,
        ).history
        assert {row.tobytes() for row in found.archs} <= {row.tobytes() for row in rows}
        assert len(np.unique(cells.canonical(rows), axis=0)) == len(found)


def test_what_cannot_be_listed(spos, macro, macs):
    with pytest.raises(InputError, match="at most 4,194,304 can be listed"):
        measured_rows(FeasibleSet(spos))
    alive = macro.mask.copy()
    alive[:, 1:] = False
    assert len(measured_rows(FeasibleSet(macro.restrict(alive)))) == 1


def test_training_costs_three_passes_an_image(macro, macs):
    cost = TrainingCost(macs(macro), images=50_000, epochs=36)
    check_metric(cost, macro)
    archs = macro.sample(5, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(cost(archs), 3 * 50_000 * 36 * macs(macro)(archs))
    assert (cost.name, cost.unit) == ("training", "multiply-adds")
    with pytest.raises(InputError, match="images=0 must be an integer at least 1"):
        TrainingCost(macs(macro), images=0, epochs=1)
    with pytest.raises(InputError, match="epochs=0 must be an integer at least 1"):
        TrainingCost(macs(macro), images=1, epochs=0)
