import itertools
import math

import numpy as np
import pytest

from nas_spaces import Block, Choice, FeasibleSet, InputError, Limit, SearchSpace, Table, Term
from nas_spaces import feasible as feasible_module
from nas_spaces import windows as windows_module
from nas_spaces.layers import Identity
from nas_spaces.probable import improve


def enumerate_rows(space):
    rows = list(itertools.product(*(np.flatnonzero(live) for live in space.mask)))
    return np.array(rows, dtype=np.int64).reshape(len(rows), space.num_choices)


def space_of(*sizes):
    """Choices that no block reads: costs are given by tables alone."""
    choices = [Choice(f"c{i}", range(size)) for i, size in enumerate(sizes)]
    return SearchSpace("free", (3, 8, 8), choices, [Block("only", [Identity()])])


@pytest.mark.parametrize("structure", ["independent", "chain", "shared", "any"])
@pytest.mark.parametrize("bins", [False, True])
def test_the_most_probable_row_against_enumeration(structure, bins, random_table, monkeypatch):
    if bins:
        monkeypatch.setattr(windows_module, "STATE_BUDGET", 100)
        monkeypatch.setattr(windows_module, "LEAST_BINS", 2)
    rng = np.random.default_rng(len(structure))
    space = space_of(3, 2, 4, 3, 1, 3)
    rows = enumerate_rows(space)
    columns = np.arange(6)
    for trial in range(12):
        kinds = ["integer", "float", "coarse"][: trial % 4]
        limits = []
        for kind in kinds:
            table = random_table(space, structure, kind, ["sum", "max"][trial % 2], rng)
            limits.append(Limit(table, upper=np.quantile(table(rows), 0.6)))
        inside = rows[np.all([limit.holds(rows) for limit in limits], axis=0)] if limits else rows
        feasible = FeasibleSet(space, limits)
        smooth = rng.normal(size=space.mask.shape)
        holes = np.where(rng.random(smooth.shape) < 0.2, -np.inf, smooth)
        # Integers tie often: the first of the best rows wins.
        for logits in (smooth, holes, rng.integers(0, 3, smooth.shape), np.zeros(smooth.shape)):
            scores = logits[columns, inside].sum(axis=1)
            if scores.max() == -np.inf:
                with pytest.raises(InputError, match="logits rule out every feasible row"):
                    feasible.most_probable(logits)
            else:
                best = feasible.most_probable(logits)
                assert best.dtype == np.int64
                assert (best == inside[scores.argmax()]).all()


def test_ties_of_a_space_whose_ranks_pass_64_bits():
    space = space_of(*[4] * 60)
    ones = Table(
        space,
        "ones",
        "1",
        [Term((c, 59), np.add.outer(np.arange(4), [0, 1, 2, 3])) for c in range(59)],
    )
    feasible = FeasibleSet(space, [Limit(ones, lower=100, upper=100)])
    best = feasible.most_probable(np.zeros((60, 4)))
    # The last column counts 59 times: 100 is 59 and 41, which is 13 threes and a two.
    assert best.tolist() == [0] * 45 + [2] + [3] * 13 + [1]


def test_a_row_that_was_found_stands_where_its_equals_are_too_many(monkeypatch):
    space = space_of(4, 4, 4, 4, 4)
    rng = np.random.default_rng(14)
    tables = [
        Table(space, name, "1", [Term((c,), rng.integers(0, 9, 4)) for c in range(5)])
        for name in ("one", "other")
    ]
    feasible = FeasibleSet(space, [Limit(table, upper=14) for table in tables])
    logits = rng.integers(0, 2, (5, 4))
    first = feasible.most_probable(logits)
    # Enough to find a row, and too few to settle which of its equals comes first.
    monkeypatch.setattr(feasible_module, "SEARCH_BUDGET", 6)
    found = feasible.most_probable(logits)
    assert feasible.contains([first, found]).all()
    columns = np.arange(5)
    assert logits[columns, found].sum() == logits[columns, first].sum()
    assert found.tolist() > first.tolist()


def test_options_that_are_not_live_are_never_probable(plain, cost):
    alive = plain.mask.copy()
    alive[3, 4] = alive[0, 1] = False
    logits = np.zeros(plain.mask.shape)
    logits[3, 4] = logits[0, 1] = 9
    logits[2, 2:] = math.nan
    row = FeasibleSet(plain.restrict(alive), [Limit(cost, upper=120)]).most_probable(logits)
    assert row[3] != 4
    assert row[0] != 1


def test_what_most_probable_refuses(plain, cost):
    feasible = FeasibleSet(plain, [Limit(cost, upper=115)])
    with pytest.raises(
        InputError, match=r"logits has shape \(4, 4\); space 'plain' has 4 choices of"
    ):
        feasible.most_probable(np.zeros((4, 4)))
    logits = np.zeros(plain.mask.shape)
    logits[1, 2] = math.nan
    with pytest.raises(InputError, match=r"logits\[1, 2\] is nan; give a finite number, or -inf"):
        feasible.most_probable(logits)


def opposed(space, rows, rng, narrow):
    """Two limits that pull apart, on costs that rise together; and how many rows both leave."""
    values = [rng.integers(1, 40, size) for size in space.num_options]
    first = Table(space, "first", "1", [Term((c,), v) for c, v in enumerate(values)])
    other = Table(
        space,
        "other",
        "1",
        [Term((c,), v + rng.integers(0, 8, len(v))) for c, v in enumerate(values)],
    )
    upper = np.quantile(first(rows), 0.3)
    lower = np.quantile(other(rows[first(rows) <= upper]), narrow)
    limits = [Limit(first, upper=upper), Limit(other, lower=lower)]
    return limits, rows[np.all([limit.holds(rows) for limit in limits], axis=0)]


def test_opposed_limits_that_spend_the_search_still_have_a_row(monkeypatch):
    space = space_of(5, 4, 5, 4, 5, 4, 5, 3)
    rows = enumerate_rows(space)
    columns = np.arange(8)
    proven = best = 0
    for trial in range(8):
        rng = np.random.default_rng(trial)
        limits, inside = opposed(space, rows, rng, 0.999)
        assert 0 < len(inside) < 0.002 * space.size
        feasible = FeasibleSet(space, limits)
        logits = rng.normal(size=space.mask.shape)
        scores = logits[columns, inside].sum(axis=1)

        row, exact = feasible.find_most_probable(logits)
        assert exact
        assert (row == inside[scores.argmax()]).all()
        with monkeypatch.context() as patch:
            patch.setattr(feasible_module, "SEARCH_BUDGET", 20)
            row, exact = feasible.find_most_probable(logits)
            proven += exact
            assert row.dtype == np.int64
            assert feasible.contains(row[None])[0]
            # Once more, and another set of the same limits: the same row.
            assert (feasible.most_probable(logits) == row).all()
            assert (FeasibleSet(space, limits).most_probable(logits) == row).all()
        score = logits[columns, row].sum()
        best += np.isclose(score, scores.max())
        # No exchange of one or two options is left that would help.
        near = inside[(inside != row).sum(axis=1) <= 2]
        assert logits[columns, near].sum(axis=1).max(initial=-math.inf) <= score + 1e-12
        # And among the few rows that both limits leave it is one of the most probable.
        assert (scores > score + 1e-12).mean() <= 0.02
    assert proven == 0
    assert best >= 6


def test_a_row_that_is_found_otherwise_has_no_option_that_is_never_taken(monkeypatch):
    space = space_of(5, 4, 5, 4, 5, 4, 5, 3)
    rng = np.random.default_rng(3)
    limits, inside = opposed(space, enumerate_rows(space), rng, 0.995)
    feasible = FeasibleSet(space, limits)
    logits = rng.normal(size=space.mask.shape)
    # Of what is feasible only rows with one option are left, and that is not a likely one.
    kept = inside[len(inside) // 2]
    never = logits.copy()
    never[0, np.arange(5) != kept[0]] = never[4, np.arange(5) != kept[4]] = -math.inf
    monkeypatch.setattr(feasible_module, "SEARCH_BUDGET", 10)
    row, exact = feasible.find_most_probable(never)
    assert not exact
    assert (row[[0, 4]] == kept[[0, 4]]).all()
    assert feasible.contains(row[None])[0]
    # Two options a choice, of which each limit alone has rows, and both have none.
    monkeypatch.setattr(feasible_module, "SEARCH_BUDGET", 1)
    for _ in range(100):
        few = np.full(space.mask.shape, -math.inf)
        for column, size in enumerate(space.num_options):
            few[column, rng.choice(size, 2, replace=False)] = rng.normal(size=2)
        left = enumerate_rows(space.restrict(few > -math.inf))
        if not feasible.contains(left).any() and all(one.holds(left).any() for one in limits):
            break
    else:
        pytest.fail("no such options")
    with pytest.raises(
        InputError, match=r"none of the .* search of 1 steps .* whose logit is not -inf: .*first"
    ):
        feasible.find_most_probable(few)


def test_limits_without_a_table_are_met_as_well_where_the_search_is_spent(plain, monkeypatch):
    class Odd:
        name, unit = "odd", "1"

        def __call__(self, archs):
            return np.asarray(archs).sum(axis=1) % 3 + np.asarray(archs)[:, 0]

    rows = enumerate_rows(plain)
    feasible = FeasibleSet(plain, [Limit(Odd(), upper=0)])
    inside = rows[feasible.contains(rows)]
    logits = np.random.default_rng(0).normal(size=plain.mask.shape)
    logits[0, 2] += 20  # which no feasible row has
    monkeypatch.setattr(feasible_module, "SEARCH_BUDGET", 5)
    row, exact = feasible.find_most_probable(logits)
    assert not exact
    assert (row == inside[logits[np.arange(4), inside].sum(axis=1).argmax()]).all()


def test_improving_a_row_stops_where_its_budget_does(plain):
    logits = np.outer(np.arange(1.0, 5.0), np.arange(5.0))  # the last choices gain the most
    logits[~plain.mask] = -math.inf
    start = np.zeros(4, dtype=np.int64)
    seen = []

    def accept(rows):
        seen.append(len(rows))
        # One option at a time, and no more than one step of it.
        return (np.abs(rows - start).max(axis=1) <= 1) & ((rows != start).sum(axis=1) <= 2)

    row, left = improve(start, logits, accept, 10_000)
    assert row.tolist() == [0, 0, 1, 1]
    assert left == 10_000 - sum(seen)
    row, left = improve(start, logits, accept, 3)
    assert left == 0
    assert row.tolist() == start.tolist()
    assert improve(start, logits, accept, 0)[0].tolist() == start.tolist()
