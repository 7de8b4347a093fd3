import itertools

import numpy as np
import pytest

from nas_search.candidates import (
    at_least,
    check_feasible,
    check_told,
    fresh,
    keys,
    pack_keys,
    representatives,
    require,
    restore_rng,
    stand_ins,
    take_new,
    unpack_keys,
)
from nas_spaces import FeasibleSet, InputError, Limit, SearchSpace


class Rare:
    """A limit that no table describes: only rows of one option."""

    name, unit = "rare", "1"

    def __init__(self, option):
        self.option = option

    def __call__(self, archs):
        return (np.asarray(archs) != self.option).sum(axis=1)


def test_keys_are_equal_for_rows_that_build_the_same_network(macro):
    archs = np.array([[0, 0, 0, 2, 1, 0, 0, 0], [0, 0, 0, 2, 1, 0, 0, 0], [0, 0, 0, 1, 2, 0, 0, 0]])
    archs = np.concatenate([archs, [[0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]]])
    first, same, other, moved, canonical = keys(macro, archs)
    assert first == same != other
    assert moved == canonical


def test_packed_keys_come_back_in_an_order_of_their_own(macro):
    archs = macro.canonical(macro.sample(20, rng=np.random.default_rng(0)))
    packed = pack_keys(set(keys(macro, archs)), 8)
    assert unpack_keys(packed, macro) == set(keys(macro, archs))
    np.testing.assert_array_equal(pack_keys(set(keys(macro, archs[::-1])), 8), packed)
    assert pack_keys(set(), 8).shape == (0, 8)


def test_representatives_are_canonical_and_feasible(macro, macs):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=50e6)])
    archs = macro.sample(500, rng=np.random.default_rng(0))
    rows, canonical = representatives(feasible, archs)
    assert len(rows) == feasible.contains(archs).sum()
    np.testing.assert_array_equal(rows, canonical)
    np.testing.assert_array_equal(rows, macro.canonical(archs[feasible.contains(archs)]))


def test_a_row_stands_for_itself_where_its_canonical_row_was_dropped(macro):
    alive = macro.mask.copy()
    alive[4, 0] = False  # no identity at the end of a stage, where canonical rows have it
    space = macro.restrict(alive)
    feasible = FeasibleSet(space)
    archs = space.sample(300, rng=np.random.default_rng(0))
    rows, canonical = representatives(feasible, archs)
    assert len(rows) == 300
    assert feasible.contains(rows).all()
    assert not feasible.contains(canonical).all()
    np.testing.assert_array_equal(space.canonical(rows), canonical)


def test_rows_outside_the_limits_stand_for_themselves(macro, macs):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=50e6)])
    archs = macro.sample(500, rng=np.random.default_rng(0))
    rows, canonical, inside = stand_ins(feasible, archs)
    assert 0 < inside.sum() < 500
    np.testing.assert_array_equal(inside, feasible.contains(rows))
    np.testing.assert_array_equal(canonical, macro.canonical(archs))
    np.testing.assert_array_equal(rows[inside], canonical[inside])
    np.testing.assert_array_equal(rows[~inside], archs[~inside])
    assert (canonical[~inside] != archs[~inside]).any()


def test_numbers_that_are_too_small_or_no_integers_are_named():
    at_least(1, batch=1, least=np.int64(2))
    with pytest.raises(InputError, match="least=0 must be an integer at least 1"):
        at_least(1, batch=1, least=0)
    for value in (2.5, 2.0, float("nan"), True, "2", None):
        with pytest.raises(InputError, match=f"least={value!r} must be an integer at least 1"):
            at_least(1, batch=1, least=value)


def test_take_new_takes_the_first_of_each_network(macro):
    archs = np.array([[0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0], [1] * 8, [2] * 8])
    visited = set()
    rows = take_new(FeasibleSet(macro), archs, 2, visited)
    assert rows.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0], [1] * 8]
    assert visited == set(keys(macro, rows))
    assert take_new(FeasibleSet(macro), archs, 5, visited).tolist() == [[2] * 8]


def test_fresh_lists_a_small_space_to_its_end(macro):
    visited = set()
    rows = fresh(FeasibleSet(macro), 10_000, visited, rng=np.random.default_rng(0))
    assert len(rows) == len(visited) == 3969  # distinct networks behind 6,561 rows
    assert not len(fresh(FeasibleSet(macro), 1, visited, rng=np.random.default_rng(0)))


def test_fresh_finds_what_rejection_misses_in_a_small_space(macro):
    # Two limits that no table helps with, met by 1 of 6,561 rows.
    feasible = FeasibleSet(macro, [Limit(Rare(2), upper=0), Limit(Rare(2), lower=0)])
    with pytest.raises(InputError, match="rows drawn"):
        feasible.sample(50, rng=np.random.default_rng(0))
    visited = set()
    assert fresh(feasible, 50, visited, rng=np.random.default_rng(0)).tolist() == [[2] * 8]
    assert fresh(feasible, 50, visited, rng=np.random.default_rng(0)).tolist() == []


def test_fresh_exhausts_a_small_set_in_a_huge_space(spos, macs):
    feasible = FeasibleSet(spos, [Limit(macs(spos), upper=272e6)])
    visited = set()
    rows = fresh(feasible, 5000, visited, rng=np.random.default_rng(0))
    assert len(rows) == feasible.count() < 5000
    assert feasible.contains(rows).all()


def test_fresh_rows_are_uniform_over_rows(macro, macs):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=30.5e6)])
    every = np.array(list(itertools.product(range(3), repeat=8)))
    every = macro.canonical(every[feasible.contains(every)])
    networks, rows = np.unique(every, axis=0, return_counts=True)
    assert len(networks) < rows.sum()  # several rows build some of the networks
    rng = np.random.default_rng(0)
    draws = 2000
    picked = np.concatenate([fresh(feasible, 1, set(), rng=rng) for _ in range(draws)])
    share = rows / rows.sum()
    measured = (picked[:, None] == networks).all(axis=2).mean(axis=0)
    assert measured.sum() == pytest.approx(1)
    # Five standard errors.
    assert (np.abs(measured - share) < 5 * np.sqrt(share / draws)).all()


def test_a_space_without_choices_has_one_network(macro):
    fixed = macro.fix([2] * 8)
    visited = set()
    assert fresh(FeasibleSet(fixed), 5, visited, rng=np.random.default_rng(0)).shape == (1, 0)
    assert fresh(FeasibleSet(fixed), 5, visited, rng=np.random.default_rng(0)).shape == (0, 0)
    assert unpack_keys(pack_keys(visited, 0), fixed) == visited


def test_a_feasible_set_of_another_space_is_refused(macro, spos):
    assert check_feasible(macro, None).limits == ()
    with pytest.raises(InputError, match=r"'spos-shufflenet'.*'nas-bench-macro'"):
        check_feasible(macro, FeasibleSet(spos))
    alive = macro.mask.copy()
    alive[0, 0] = False
    with pytest.raises(InputError, match="live options"):
        check_feasible(macro.restrict(alive), FeasibleSet(macro))


@pytest.mark.parametrize(
    ("archs", "values", "match"),
    [
        ([[0] * 8], [0.5], r"shape \(1,\); expected \[1, m\]"),
        ([[0] * 8], [[0.5], [0.5]], r"shape \(2, 1\); expected \[1, m\]"),
        ([[0] * 8], [[]], r"shape \(1, 0\)"),
        ([[0] * 7], [[0.5]], "7 columns"),
        ([[0] * 8, [1] * 8], [[0.5], [np.nan]], r"values\[1\] is \[nan\].*1,1,1,1,1,1,1,1"),
        ([[0] * 8], [[np.inf]], "finite"),
    ],
)
def test_what_is_told_is_checked(macro, archs, values, match):
    with pytest.raises(InputError, match=match):
        check_told(macro, archs, values)


def test_foreign_states_are_refused():
    with pytest.raises(InputError, match="no state of Random: it has no visited"):
        require({"rng": 1}, ("rng", "visited"), "Random")
    with pytest.raises(InputError, match="no state"):
        require(None, ("rng",), "Random")
    other = np.random.Generator(np.random.MT19937(0)).bit_generator.state
    for state in (other, {"bit_generator": "PCG64"}, 3):
        with pytest.raises(InputError, match="rng, a PCG64"):
            restore_rng(np.random.default_rng(0), state)


def test_listed_rows_are_those_of_the_live_options(macro):
    alive = macro.mask.copy()
    alive[:6, 1:] = False
    alive[6, 1] = False
    space: SearchSpace = macro.restrict(alive)
    rows = fresh(FeasibleSet(space), 100, set(), rng=np.random.default_rng(0))
    # 1^6 * 2 * 3 rows, of which (0, 2) and (2, 0) build one network.
    assert sorted(map(tuple, rows[:, 6:])) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]
