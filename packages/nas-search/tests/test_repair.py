import numpy as np
import pytest

from nas_search import Repair
from nas_spaces import FeasibleSet, Limit, Table, Term


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_repaired_rows_are_feasible_and_near(spos, macs, rng):
    feasible = FeasibleSet(spos, [Limit(macs(spos), lower=320e6, upper=325e6)])
    archs = spos.sample(200, rng=rng)
    outside = archs[~feasible.contains(archs)]
    assert len(outside) > 100
    mended = Repair(feasible)(outside, rng=rng)
    assert mended.dtype == np.int64
    assert len(mended) == len(outside)
    assert feasible.contains(mended).all()
    changed = (mended != outside).sum(axis=1)
    assert changed.min() >= 1
    # A row drawn instead would differ in 15 of 20 genes.
    assert changed.mean() < 4


def test_feasible_rows_stay(spos, macs, rng):
    feasible = FeasibleSet(spos, [Limit(macs(spos), upper=330e6)])
    archs = feasible.sample(50, rng=rng)
    np.testing.assert_array_equal(Repair(feasible)(archs, rng=rng), archs)


def test_all_limits_hold(spos, macs, additive_error, rng):
    limits = [
        Limit(macs(spos), upper=300e6),
        Limit(additive_error(spos, 7), lower=0.4, upper=0.45),
    ]
    feasible = FeasibleSet(spos, limits)
    archs = spos.sample(100, rng=rng)
    mended = Repair(feasible)(archs, rng=rng)
    assert feasible.contains(mended).all()
    assert len(mended) > 80


def test_dead_ends_are_left_out(spos, macs, rng):
    table = macs(spos)
    least, _ = FeasibleSet(spos).attainable(table)
    # A window so small that single changes rarely end in it.
    feasible = FeasibleSet(spos, [Limit(table, lower=300e6, upper=300.01e6)])
    archs = spos.sample(50, rng=rng)
    mended = Repair(feasible)(archs, rng=rng)
    assert len(mended) < 50
    assert feasible.contains(mended).all()
    cheapest = FeasibleSet(spos, [Limit(table, upper=least)])
    assert (table(Repair(cheapest)(archs, rng=rng)) == least).all()


def test_dropped_options_are_not_used(macro, macs, rng):
    alive = macro.mask.copy()
    alive[2, 0] = alive[5, 1] = False
    space = macro.restrict(alive)
    feasible = FeasibleSet(space, [Limit(macs(space), upper=60e6)])
    mended = Repair(feasible)(space.sample(50, rng=rng), rng=rng)
    assert len(mended) == 50
    assert feasible.contains(mended).all()


def test_seeds_decide(spos, macs):
    feasible = FeasibleSet(spos, [Limit(macs(spos), lower=320e6, upper=325e6)])
    archs = spos.sample(20, rng=np.random.default_rng(3))
    first, again, other = (
        Repair(feasible)(archs, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_nothing_in_nothing_out(spos, macs, rng):
    feasible = FeasibleSet(spos, [Limit(macs(spos), upper=330e6)])
    assert Repair(feasible)(spos.sample(0, rng=rng), rng=rng).shape == (0, 20)


@pytest.mark.parametrize(
    "ends", [{"upper": 2**60}, {"upper": 2.0**60}, {"lower": 2**60 + 1}, {"upper": 2**60 + 1.5}]
)
def test_large_integers_are_compared_exactly(macro, rng, ends):
    values = 2**60 + np.arange(3)
    feasible = FeasibleSet(macro, [Limit(Table(macro, "c", "1", [Term((0,), values)]), **ends)])
    mended = Repair(feasible)(macro.sample(100, rng=rng), rng=rng)
    assert len(mended) == 100
    assert feasible.contains(mended).all()


@pytest.mark.parametrize("ends", [{"upper": 2**70}, {"lower": -(2**70)}, {"upper": 1e30}])
def test_ends_beyond_all_integers_change_nothing(macro, macs, rng, ends):
    archs = macro.sample(20, rng=rng)
    tables = [macs(macro), Table(macro, "constant", "1", [], constant=4)]
    repair = Repair(FeasibleSet(macro, [Limit(table, **ends) for table in tables]))
    np.testing.assert_array_equal(repair(archs, rng=rng), archs)
