import itertools
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize

import nas_search.integer_program as module
from nas_search.integer_program import least_sum
from nas_spaces import InputError, Limit, Table, Term, published


def _rows(space):
    return np.array(list(itertools.product(*(np.flatnonzero(live) for live in space.mask))))


def _cost(space, rng, name, scale=1):
    terms = [
        Term((column,), scale * rng.integers(0, 9, size))
        for column, size in enumerate(space.num_options)
    ]
    return Table(space, name, "1", terms, constant=3 * scale)


@pytest.mark.parametrize("scale", [1, 10**9 + 7])
def test_the_row_of_the_least_sum_of_all(macro, scale):
    """Windows on three costs, one of a single value, against all rows one by one."""
    alive = macro.mask.copy()
    alive[0, 1] = alive[2, 0] = False
    found = nothing = 0
    for seed in range(20):
        space = macro.restrict(alive) if seed % 2 else macro
        rng, rows = np.random.default_rng(seed), _rows(space)
        losses = np.where(space.mask, rng.normal(size=space.mask.shape), np.nan)
        costs = [_cost(space, rng, f"cost {number}", scale) for number in range(3)]
        # Around the costs of three rows, which may be out of reach together.
        values = [cost(rows[[rng.integers(len(rows))]])[0] for cost in costs]
        limits = [
            Limit(costs[0], lower=values[0], upper=values[0]),
            Limit(costs[1], upper=values[1] + scale // 2),
            Limit(costs[2], lower=values[2] - 2 * scale),
        ]
        inside = np.all([limit.holds(rows) for limit in limits], axis=0)
        sums = losses[np.arange(space.num_choices), rows[inside]].sum(axis=1)
        if not inside.any():
            nothing += 1
            with pytest.raises(InputError, match="though each alone can be met"):
                least_sum(space, losses, limits)
            continue
        row, proven = least_sum(space, losses, limits)
        assert proven
        assert all(limit.holds(row[None])[0] for limit in limits)
        assert losses[np.arange(space.num_choices), row].sum() == pytest.approx(sums.min())
        found += inside.sum() > 1
    assert found > 10
    assert nothing


def test_opposed_limits_on_19_choices_of_12():
    """A corner that no row of a hundred thousand random ones is in."""
    space = published.load("ponas-19")
    rng = np.random.default_rng(0)
    first = _cost(space, rng, "first", 1000)
    # Nearly the first one again.
    terms = [Term(t.columns, t.values + rng.integers(0, 2000, 12)) for t in first.terms]
    second = Table(space, "second", "1", terms)
    rows = space.sample(100_000, rng=rng)
    spread = (second(rows) - first(rows)).max()
    limits = [Limit(first, upper=70_000), Limit(second, lower=70_000 + spread)]
    assert not np.all([limit.holds(rows) for limit in limits], axis=0).any()
    row, proven = least_sum(space, rng.random((19, 12)), limits)
    assert proven
    assert all(limit.holds(row[None])[0] for limit in limits)


def test_limits_that_nothing_satisfies_together(macro):
    rising = Table(macro, "rising", "1", [Term((0,), [0, 1, 2])])
    falling = Table(macro, "falling", "1", [Term((0,), [2, 1, 0])])
    limits = [Limit(rising, upper=0), Limit(falling, upper=1)]
    with pytest.raises(InputError, match="rising <= 0 1 and falling <= 1 1, though each alone"):
        least_sum(macro, np.zeros((8, 3)), limits)


def test_costs_that_are_no_sums_are_left_to_others(macro):
    peak = Table(macro, "peak", "1", [Term((0,), [1, 2, 3])], reduce="max")
    assert least_sum(macro, np.zeros((8, 3)), [Limit(peak, upper=2)] * 2) is None


def test_costs_of_many_digits_are_never_said_to_be_out_of_reach(macro):
    """Where the solver is not to be believed, others have to say so."""
    rising = Table(macro, "rising", "1", [Term((0,), [0, 1, 10**12])])
    limits = [Limit(rising, upper=0), Limit(rising, lower=1)]
    assert least_sum(macro, np.zeros((8, 3)), limits) is None


def test_rows_that_only_a_tolerance_lets_in_are_ruled_out(macro, monkeypatch):
    """The solver as it would be if it took a limit for a unit wider than it is."""
    rows = _rows(macro)
    cost = Table(macro, "cost", "1", [Term((column,), [0, 1, 2]) for column in range(8)])
    # The more it costs the better, so that rows a unit above the limit come first.
    losses = np.random.default_rng(4).random((8, 3)) - [0.0, 0.3, 0.6]
    limits = [Limit(cost, upper=9), Limit(cost, lower=2)]
    sums = losses[np.arange(8), rows].sum(axis=1)
    expected = rows[np.where(cost(rows) <= 9, sums, np.inf).argmin()]
    better = (sums < losses[np.arange(8), expected].sum()) & (cost(rows) == 10)
    solve, solved = scipy.optimize.milp, []

    def loose(*args, constraints, **options):
        limited = scipy.optimize.LinearConstraint(
            constraints[1].A, -np.inf, constraints[1].ub + 0.5
        )
        solved.append(
            solve(*args, constraints=[constraints[0], limited, *constraints[2:]], **options)
        )
        return solved[-1]

    monkeypatch.setattr(scipy.optimize, "milp", loose)
    row, proven = least_sum(macro, losses, limits)
    assert (row.tolist(), proven) == (expected.tolist(), True)
    assert len(solved) == better.sum() + 1 == 4
    monkeypatch.setattr(module, "TRIES", 1)
    assert least_sum(macro, losses, limits) is None


def test_no_answer_in_time(macro, monkeypatch):
    costs = [_cost(macro, np.random.default_rng(0), f"cost {number}") for number in range(2)]
    monkeypatch.setattr(module, "SECONDS", 0.0)
    assert least_sum(macro, np.zeros((8, 3)), [Limit(cost, upper=30) for cost in costs]) is None


PRINTS = """
import ctypes
import sys
from nas_search.integer_program import _aside
print("before")
with _aside():
    print("python")
    ctypes.CDLL(None).puts(b"past python")
print("after")
"""


def test_what_a_solver_writes_is_no_part_of_the_output():
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, check=True)
    assert done.stdout.split() == [b"before", b"after"]
    assert b"past python" in done.stderr
