import itertools
import math

import numpy as np
import pytest

from nas_search import MostProbable, search
from nas_spaces import FeasibleSet, InputError, Limit, Table, Term, published
from nas_spaces.testing import check_searcher


def _values(space, seed=0, levels=None):
    """Log probabilities; with few levels options of a choice tie."""
    rng = np.random.default_rng(seed)
    values = rng.random(space.mask.shape)
    return np.where(space.mask, values if levels is None else np.round(values * levels), -math.inf)


@pytest.mark.parametrize("name", ["nas-bench-macro", "nas-bench-201"])
def test_it_does_what_the_protocol_promises(name, macs):
    space = published.load(name)
    cost = macs(space)
    low, high = FeasibleSet(space).attainable(cost)
    feasible = FeasibleSet(space, [Limit(cost, upper=(low + high) / 2)])
    check_searcher(
        lambda rng: MostProbable(space, _values(space), cost=cost, feasible=feasible),
        space,
        feasible=feasible,
        seeded=False,
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_feasible_row_is_more_probable_and_no_option_cheaper(macro, macs, share, seed):
    cost = macs(macro)
    low, high = FeasibleSet(macro).attainable(cost)
    feasible = FeasibleSet(macro, [Limit(cost, upper=low + share * (high - low))])
    values = _values(macro, seed, levels=3)
    row = MostProbable(macro, values, cost=cost, feasible=feasible).row
    rows = np.array(list(itertools.product(range(3), repeat=8)))
    rows = rows[feasible.contains(rows)]
    sums = values[np.arange(8), rows].sum(axis=1)
    assert feasible.contains(row[None])[0]
    assert values[np.arange(8), row].sum() == sums.max()
    for choice, option in itertools.product(range(8), range(3)):
        other = row.copy()
        other[choice] = option
        if values[choice, option] == values[choice, row[choice]]:
            assert cost(other[None])[0] >= cost(row[None])[0]


def test_of_equal_options_the_cheaper_one_wins_whatever_its_number(macro):
    cost = Table(macro, "cost", "1", [Term((choice,), [3, 1, 2]) for choice in range(8)])
    values = np.zeros((8, 3))
    assert MostProbable(macro, values, cost=cost).row.tolist() == [1] * 8
    values[2] = [0.1, 0.0, 0.1]
    assert MostProbable(macro, values, cost=cost).row.tolist() == [1, 1, 2, 1, 1, 1, 1, 1]


def test_a_cheaper_equal_that_misses_another_limit_is_not_taken(macro):
    cost = Table(macro, "cost", "1", [Term((choice,), [2, 1, 3]) for choice in range(8)])
    other = Table(macro, "other", "1", [Term((choice,), [0, 1, 0]) for choice in range(8)])
    feasible = FeasibleSet(macro, [Limit(other, upper=3)])
    row = MostProbable(macro, np.zeros((8, 3)), cost=cost, feasible=feasible).row
    assert (row == 1).sum() == 3
    assert (row == 0).sum() == 5


def test_dropped_options_are_not_taken(macro, macs):
    values = _values(macro)
    values[:, 2] = 5.0
    cost = macs(macro)
    assert MostProbable(macro, values, cost=cost).row.tolist() == [2] * 8
    values[3, 2] = -math.inf
    assert MostProbable(macro, values, cost=cost).row[3] != 2
    alive = macro.mask.copy()
    alive[5, 2] = False
    assert MostProbable(macro.restrict(alive), values, cost=cost).row[5] != 2


def test_the_driver_measures_the_one_row(macro, macs, additive_error):
    cost, error = macs(macro), additive_error(macro, 0)
    states = []
    searcher = MostProbable(macro, _values(macro), cost=cost)
    result = search(searcher, [error], space=macro, budget=5, checkpoint=states.append)
    assert result.stopped == "exhausted"
    assert result.history.archs.tolist() == [searcher.row.tolist()]
    again = MostProbable(macro, _values(macro), cost=cost)
    resumed = search(again, [error], space=macro, budget=5, resume=states[-1])
    assert resumed.history.to_csv() == result.history.to_csv()
    other = MostProbable(macro, _values(macro, seed=1), cost=cost)
    with pytest.raises(InputError, match=r"the state is of architecture .* begin anew"):
        search(other, [error], space=macro, budget=5, resume=states[-1])


def test_what_is_refused(macro, spos, macs):
    cost, values = macs(macro), _values(macro)
    with pytest.raises(InputError, match=r"log_probabilities has shape \(8, 2\)"):
        MostProbable(macro, values[:, :2], cost=cost)
    with pytest.raises(InputError, match="cost 'macs' is a table of space 'spos-shufflenet'"):
        MostProbable(macro, values, cost=macs(spos))
    with pytest.raises(InputError, match="feasible is a set of space 'spos-shufflenet'"):
        MostProbable(macro, values, cost=cost, feasible=FeasibleSet(spos))
    for wrong in (math.nan, math.inf):
        bad = values.copy()
        bad[1, 2] = wrong
        with pytest.raises(InputError, match=rf"log_probabilities\[1, 2\] is {wrong}"):
            MostProbable(macro, bad, cost=cost)
    bad = values.copy()
    bad[4] = -math.inf
    with pytest.raises(InputError, match=f"choice '{macro.choices[4].name}' has no option left"):
        MostProbable(macro, bad, cost=cost)


def test_what_is_left_cannot_meet_the_limits(macro, macs):
    cost = macs(macro)
    low, _ = FeasibleSet(macro).attainable(cost)
    feasible = FeasibleSet(macro, [Limit(cost, upper=low)])
    values = _values(macro)
    cheapest = feasible.sample(1, rng=np.random.default_rng(0))[0]
    values[0, cheapest[0]] = -math.inf
    rest = FeasibleSet(macro.restrict(values > -math.inf))
    least = f"{rest.attainable(cost)[0]:,}"
    with pytest.raises(
        InputError, match=rf"of the options that are left .* attainable: {least} to"
    ):
        MostProbable(macro, values, cost=cost, feasible=feasible)


def test_it_says_whether_the_row_is_proven(macro, macs, monkeypatch):
    cost = macs(macro)
    rng = np.random.default_rng(0)
    other = Table(macro, "other", "1", [Term((i,), rng.random(3)) for i in range(8)])
    rows = macro.sample(2000, rng=rng)
    limits = [Limit(one, upper=float(np.quantile(one(rows), 0.2))) for one in (cost, other)]
    feasible = FeasibleSet(macro, limits)
    exact = MostProbable(macro, _values(macro), cost=cost, feasible=feasible)
    assert exact.proven
    monkeypatch.setattr("nas_spaces.feasible.SEARCH_BUDGET", 1)
    found = MostProbable(macro, _values(macro), cost=cost, feasible=feasible)
    assert not found.proven
    assert feasible.contains(found.row[None])[0]
