import numpy as np
import pytest

from nas_samplers import CostHinge
from nas_spaces import InputError, Table
from nas_spaces.table import Term


@pytest.fixture
def space(grouped):
    return grouped((3,), (3,))


def table(space, scale=1.0):
    """10 to 30 and 0 to 4, on a constant of 50."""
    terms = [Term((0,), np.array([10.0, 20.0, 30.0]) * scale), Term((1,), [0.0, 2.0, 4.0])]
    return Table(space, "macs", "MACs", terms, constant=50)


class Plain:
    """A metric that is no table."""

    name, unit = "joules", "J"

    def __init__(self, values):
        self.values = values

    def __call__(self, archs):
        return self.values


def test_the_known_answers():
    hinge = CostHinge(Plain([70.0, 60.0, 90.0]), target=60.0)
    excess = hinge.excess([[0], [1], [2]])
    np.testing.assert_allclose(excess, [0.16666666666666674, 0.0, 0.5], rtol=1e-12)
    posterior = np.array([0.2603025466938988, 0.3883257680168782, 0.351371685289223])
    np.testing.assert_allclose(
        posterior - hinge.weights(excess),
        [0.18530254669389878, 0.3883257680168782, 0.12637168528922305],
        rtol=1e-12,
    )


def test_linear_weights_are_shares_of_the_excess_itself():
    hinge = CostHinge(Plain([70.0, 60.0, 90.0]), target=60.0, weight=0.6, kind="linear")
    excess = hinge.excess([[0]] * 3)
    np.testing.assert_allclose(hinge.weights(excess), [0.6 / 18, 0.0, 0.1], rtol=1e-12)


@pytest.mark.parametrize("kind", ["log", "linear"])
@pytest.mark.parametrize("costs", [[60.0, 10.0], [60.0 * (1 + 1e-15), 60.0]])
def test_rows_within_the_target_weigh_nothing(kind, costs):
    hinge = CostHinge(Plain(costs), target=60.0, kind=kind)
    weights = hinge.weights(hinge.excess([[0], [1]]))
    assert (weights < 1e-12).all()
    assert (weights >= 0).all()


def test_the_printed_push_has_its_strength_however_small_the_excess_is():
    for costs in ([61.0, 50.0, 62.0], [6100.0, 50.0, 12140.0]):
        hinge = CostHinge(Plain(costs), target=60.0)
        assert hinge.weights(hinge.excess([[0]] * 3)).sum() == pytest.approx(0.3)


def test_a_table_is_a_metric(space):
    hinge = CostHinge(table(space), target=80)
    np.testing.assert_allclose(hinge.excess([[0, 0], [2, 2]]), [0.0, 0.05])
    assert hinge.costs([[0, 0], [2, 2]]).tolist() == [60, 84]


def test_a_target_below_every_architecture_is_refused(space):
    words = r"target=59 MACs is below every .* 'grouped': their macs is 60\.0 to 84\.0; aim at 60"
    with pytest.raises(InputError, match=words):
        CostHinge(table(space), target=59)
    hinge = CostHinge(table(space), target=60)
    hinge.check(space)
    alive = space.mask.copy()
    alive[0, 0] = False
    with pytest.raises(InputError, match=r"target=60 .* is 70\.0 to 84\.0"):
        hinge.check(space.restrict(alive))


def test_a_table_of_another_space_is_refused(space, grouped):
    with pytest.raises(InputError, match="cost 'macs' is a table of space"):
        CostHinge(table(space), target=60).check(grouped((3,), (2,)))


def joules(archs):
    return [1.0]


@pytest.mark.parametrize(
    ("metric", "name"),
    [(joules, "joules"), (lambda archs: [1.0], "<lambda>"), (Plain([1.0]), "joules")],
)
def test_a_metric_may_be_a_plain_function(metric, name):
    hinge = CostHinge(metric, target=0.5)
    assert hinge.excess([[0]]).tolist() == [1.0]
    with pytest.raises(InputError, match=f"metric '.*{name}' gave .* for 2 rows"):
        hinge.costs([[0], [1]])
    assert f"{name}, target 0.5" in str(hinge)
    assert " at 0x" not in str(hinge)


@pytest.mark.parametrize("metric", [None, "macs", 3])
def test_what_cannot_be_called_is_no_metric(metric):
    with pytest.raises(InputError, match=f"metric={metric!r} must be a Table, or a function"):
        CostHinge(metric, 1e6)


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [np.inf, 1.0], 3.0])
def test_costs_that_are_no_costs_are_refused(values):
    with pytest.raises(InputError, match=r"metric 'joules' gave .* one finite number a row"):
        CostHinge(Plain(values), target=1.0).excess([[0], [1]])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"target": 0}, "target=0 must be a finite number above 0"),
        ({"target": float("nan")}, "target=nan"),
        ({"weight": -0.1}, r"weight=-0\.1 must be a finite number at least 0"),
        ({"weight": float("inf")}, "weight=inf"),
        ({"kind": "logarithm"}, "kind='logarithm' is unknown: did you mean 'log'"),
    ],
)
def test_arguments_out_of_range(wrong, words):
    with pytest.raises(InputError, match=words):
        CostHinge(Plain([1.0]), **{"target": 1.0, **wrong})


def test_its_text_says_what_it_is_and_holds_no_address(space):
    assert str(CostHinge(table(space), target=80)) == "log of macs, target 80, weight 0.3"
