import itertools

import numpy as np
import pytest

from nas_samplers import Alphas, BelowMean, WithinLimits
from nas_spaces import FeasibleSet, Limit, Table, published


@pytest.fixture
def space():
    return published.load("nas-bench-macro")  # eight choices of three


@pytest.fixture
def size(space):
    return Table.from_primitives(space, "size", "primitives", lambda primitive: 1)


def drop_all(rule, alphas):
    """Drop until nothing may go any more."""
    for _ in range(24):
        going = np.argwhere(rule(alphas)).tolist()
        if not going:
            return
        for choice, option in going:
            alphas.drop(choice, option)
    pytest.fail("more drops than options")


def any_feasible(feasible, alive):
    rows = np.array(list(itertools.product(*map(np.flatnonzero, alive))))
    return len(rows) > 0 and feasible.contains(rows).any()


@pytest.mark.parametrize("seed", range(3))
def test_what_a_feasible_architecture_needs_stays_and_nothing_else(space, size, seed):
    low, high = FeasibleSet(space).attainable(size)
    feasible = FeasibleSet(space, [Limit(size, upper=(low + high) / 2)])
    rule = BelowMean(0.1)
    alphas = Alphas(space)
    # The cheap options, the first ones, are the ones that are to go.
    noise = np.random.default_rng(seed).normal(0, 0.2, alphas.values.shape)
    alphas.values = noise + np.array([-2.0, 0.0, 2.0])
    drop_all(WithinLimits(rule, feasible), alphas)
    assert any_feasible(feasible, alphas.alive)
    kept = np.argwhere(rule(alphas)).tolist()
    assert 0 < len(kept) < 8
    for choice, option in kept:
        left = alphas.alive.copy()
        left[choice, option] = False
        assert not any_feasible(feasible, left)


def test_without_limits_the_rule_is_as_it_was(space):
    alphas = Alphas(space)
    alphas.values[2] = [-1.0, 0.5, 0.5]
    alphas.values[5] = [-1.0, -2.0, 3.0]
    rule = WithinLimits(BelowMean(0.5), FeasibleSet(space))
    dropped = np.zeros((8, 3), dtype=bool)
    dropped[2, 0] = dropped[5, 1] = True  # of two, the smaller alpha
    assert np.array_equal(rule(alphas), dropped)
    assert alphas.alive.all()


def test_the_next_smallest_goes_where_the_smallest_is_needed(space, size):
    low, _ = FeasibleSet(space).attainable(size)
    alphas = Alphas(space)
    alphas.values[4] = [-3.0, -1.0, 4.0]
    only = FeasibleSet(space, [Limit(size, upper=low)])  # identities alone
    rule = WithinLimits(BelowMean(0.5), only)
    dropped = np.zeros((8, 3), dtype=bool)
    dropped[4, 1] = True
    for _ in range(2):
        assert np.array_equal(rule(alphas), dropped)


def test_what_must_stay_is_searched_for_once(space, size, monkeypatch):
    low, high = FeasibleSet(space).attainable(size)
    rule = WithinLimits(BelowMean(0.1), FeasibleSet(space, [Limit(size, upper=(low + high) / 2)]))
    alphas = Alphas(space)
    alphas.values += [-2.0, 0.0, 2.0]
    drop_all(rule, alphas)
    searches, real = [], FeasibleSet.most_probable
    monkeypatch.setattr(
        FeasibleSet, "most_probable", lambda *args: searches.append(args) or real(*args)
    )
    assert BelowMean(0.1)(alphas).any()
    alphas.values *= 1.5
    assert not rule(alphas).any()
    assert not searches
    # With other options it is another question.
    choice = int((alphas.alive.sum(axis=1) > 1).argmax())
    alphas.drop(choice, 2)
    rule(alphas)
    assert searches


@pytest.mark.parametrize("seed", range(3))
def test_what_was_asked_before_changes_no_answer(space, size, seed):
    """A run that was resumed has a rule that remembers nothing."""
    low, high = FeasibleSet(space).attainable(size)

    def build():
        return WithinLimits(
            BelowMean(0.1), FeasibleSet(space, [Limit(size, upper=(low + high) / 2)])
        )

    rng, old = np.random.default_rng(seed), build()
    alphas = Alphas(space)
    for _ in range(12):
        alphas.values = rng.normal(0, 1, alphas.values.shape)
        going = old(alphas)
        assert np.array_equal(going, build()(alphas))
        for choice, option in np.argwhere(going).tolist():
            alphas.drop(choice, option)
    assert alphas.dropped


def test_its_name_in_a_saved_state_says_the_limits(space, size):
    rule = WithinLimits(BelowMean(0.5), FeasibleSet(space, [Limit(size, upper=30)]))
    assert (
        repr(rule) == "WithinLimits(rule=BelowMean(delta=0.5), feasible=['size <= 30 primitives'])"
    )
    rule(Alphas(space))
    assert "size <= 30" in repr(rule)
