import json

import numpy as np
import pytest

from nas_samplers import Constrained, cost_ranges
from nas_spaces import FeasibleSet, InputError, Limit, Table, Term, published
from nas_spaces.primitives import Convolution, Linear
from nas_spaces.testing import check_sampler

DRAWS = 4000


def macs_of(primitive):
    if isinstance(primitive, Convolution):
        channels, height, width = primitive.shape
        inputs = primitive.in_channels // primitive.groups
        return channels * inputs * primitive.kernel**2 * height * width
    if isinstance(primitive, Linear):
        return primitive.in_features * primitive.out_features
    return 0


def macs(space):
    return Table.from_primitives(space, "macs", "multiply-adds", macs_of)


def row_sums(space, scale=1):
    """Return a table whose cost is the sum of the options' indices."""
    terms = [Term((c,), np.arange(n) * scale) for c, n in enumerate(space.num_options)]
    return Table(space, "sum", "1", terms)


@pytest.fixture(scope="module")
def digits():
    return published.load("digits-mobile")


@pytest.fixture(scope="module")
def macro():
    return published.load("nas-bench-macro")


def windows(sets):
    return [(one.limits[0].lower, one.limits[0].upper) for one in sets]


@pytest.mark.parametrize("name", ["digits-mobile", "nas-bench-macro", "spos-shufflenet"])
def test_it_keeps_the_rules_of_samplers(name):
    space = published.load(name)
    table = macs(space)
    sets = cost_ranges(space, Limit(table, upper=sum(FeasibleSet(space).attainable(table)) / 2))
    assert len(sets) > 2
    check_sampler(lambda rng: Constrained(sets, rng=rng), space, asks=100)


def test_restricted_spaces_too(digits):
    alive = digits.mask.copy()
    alive[0, 1:] = False
    space = digits.restrict(alive)
    sets = cost_ranges(space, Limit(macs(digits), upper=6e5))
    check_sampler(lambda rng: Constrained(sets, rng=rng), space)
    sampler = Constrained(sets, rng=np.random.default_rng(0))
    assert {int(sampler.ask()[0, 0]) for _ in range(200)} == {0}


def test_a_space_without_choices(digits):
    space = digits.fix([0] * 8)
    [only] = cost_ranges(space, Limit(macs(space), upper=1e9))
    sampler = Constrained([only], rng=np.random.default_rng(0))
    assert sampler.ask().shape == (1, 0)
    sampler.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    assert sampler.ask().shape == (1, 0)


def test_sets_are_equally_likely_and_rows_uniform_in_each(macro):
    # The smallest row, the 8 next to it, and the 9 largest.
    table = row_sums(macro)
    sets = [
        FeasibleSet(macro, [Limit(table, lower=low, upper=high)])
        for low, high in ((0, 0), (1, 1), (15, 16))
    ]
    assert [one.count() for one in sets] == [1, 8, 9]
    sampler = Constrained(sets, rng=np.random.default_rng(7))
    rows = np.concatenate([sampler.ask() for _ in range(DRAWS)])
    sums = rows.sum(axis=1)
    for number, one in enumerate(sets):
        inside = rows[one.contains(rows)]
        expected = DRAWS / 3
        assert abs(len(inside) - expected) < 5 * (DRAWS * 2 / 9) ** 0.5, number
        _, counts = np.unique(inside, axis=0, return_counts=True)
        assert len(counts) == one.count()
        mean = len(inside) / len(counts)
        free = max(len(counts) - 1, 1)
        assert (((counts - mean) ** 2 / mean).sum() - free) / (2 * free) ** 0.5 < 5
    assert set(sums.tolist()) == {0, 1, 15, 16}


def test_state_is_json_and_goes_on_with_the_same_rows(digits):
    sets = cost_ranges(digits, Limit(macs(digits), upper=6e5))
    original = Constrained(sets, rng=np.random.default_rng(0))
    for _ in range(150):  # some sets are in their second portion, all are within one
        original.ask()
    state = json.loads(json.dumps(original.state_dict()))
    restored = Constrained(sets, rng=np.random.default_rng(1))
    restored.load_state_dict(state)
    before = [original.ask() for _ in range(500)]
    np.testing.assert_array_equal(before, [restored.ask() for _ in range(500)])
    # The state that was handed out did not move on.
    restored.load_state_dict(state)
    np.testing.assert_array_equal(before, [restored.ask() for _ in range(500)])


def test_wrong_sets(digits, macro):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="sets is empty; give at least one"):
        Constrained([], rng=rng)
    with pytest.raises(InputError, match=r"sets\[1\] is of space 'nas-bench-macro' and sets\[0\]"):
        Constrained([FeasibleSet(digits), FeasibleSet(macro)], rng=rng)
    one = Constrained([FeasibleSet(digits)], rng=rng)
    two = Constrained([FeasibleSet(digits)] * 2, rng=rng)
    with pytest.raises(InputError, match="state has rows of 2 sets; this sampler has 1"):
        one.load_state_dict(two.state_dict())


def test_the_ranges_of_the_paper():
    space = published.load("spos-shufflenet")
    sets = cost_ranges(space, Limit(macs(space), upper=330e6))
    # The largest network has 399M, the smallest 270M: nothing is clipped.
    assert windows(sets) == [(n * 10e6, (n + 1) * 10e6) for n in range(29, 36)]


def test_ranges_of_another_limit_are_scaled_and_clipped(digits):
    table = macs(digits)
    low, high = FeasibleSet(digits).attainable(table)
    limit = 660e3
    expected = [(limit * n / 33, limit * (n + 1) / 33) for n in range(29, 36)]
    found = windows(cost_ranges(digits, Limit(table, upper=limit)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # 109 % of this limit is more than the largest network has.
    near = windows(cost_ranges(digits, Limit(table, upper=high * 0.97)))
    assert near[-1][1] == high
    assert len(near) < 7
    assert windows(cost_ranges(digits, Limit(table, upper=low * 1.02)))[0][0] == low


@pytest.mark.parametrize(("lower", "upper"), [(3e5, 6.5e5), (3e5, None), (1, 6.5e5), (1e5, 9e9)])
def test_a_window_is_cut_into_seven_equal_parts(digits, lower, upper):
    table = macs(digits)
    low, high = FeasibleSet(digits).attainable(table)
    sets = cost_ranges(digits, Limit(table, lower=lower, upper=upper))
    edges = np.linspace(max(low, lower), min(high, upper or high), 8)
    np.testing.assert_allclose(windows(sets), np.stack([edges[:-1], edges[1:]], axis=1))


def test_ranges_that_hold_nothing_are_left_out(macro):
    # Costs are 0, 100, .. 1600: a range of 3 % rarely holds one.
    table = row_sums(macro, scale=100)
    sets = cost_ranges(macro, Limit(table, upper=400))
    rows = [one.sample(50, rng=np.random.default_rng(0)) for one in sets]
    # 400 closes one range of the paper and opens the next; 88 % to 109 % hold nothing else.
    assert {int(cost) for part in rows for cost in table(part)} == {400}
    assert len(sets) == 2


def test_where_no_range_holds_anything_the_limit_is_the_range(macro):
    table = row_sums(macro, scale=100)
    for upper in (50, 160, 1e9):  # 88 % to 109 % lie between two costs, or beyond all
        assert windows(cost_ranges(macro, Limit(table, upper=upper))) == [(None, upper)]
    exactly = cost_ranges(macro, Limit(table, lower=400, upper=400))
    assert windows(exactly) == [(400, 400)]


def test_ranges_above_the_limit_are_not_alone(macro):
    # 88 % to 109 % of 390 hold 400 only, which no candidate costs.
    table = row_sums(macro, scale=100)
    assert windows(cost_ranges(macro, Limit(table, upper=390))) == [(None, 390)]
    assert len(cost_ranges(macro, Limit(table, upper=410))) == 1


def test_continuous_costs(macro):
    rng = np.random.default_rng(3)
    terms = [Term((c,), rng.random(n)) for c, n in enumerate(macro.num_options)]
    table = Table(macro, "latency", "ms", terms)
    low, high = FeasibleSet(macro).attainable(table)
    limit = low + (high - low) * 0.4
    sets = cost_ranges(macro, Limit(table, upper=limit))
    sampler = Constrained(sets, rng=rng)
    rows = np.concatenate([sampler.ask() for _ in range(300)])
    assert table(rows).max() <= limit * 36 / 33 * (1 + 1e-12)
    assert table(rows).min() >= limit * 29 / 33 * (1 - 1e-12)


def test_a_metric_that_is_no_table(macro):
    class Ones:
        name, unit = "ones", "1"

        def __call__(self, archs):
            return (np.asarray(archs) == 1).sum(axis=1)

    sets = cost_ranges(macro, Limit(Ones(), upper=4))
    assert windows(sets) == [(None, 4)]


def test_limits_that_nothing_satisfies(digits, macro):
    with pytest.raises(InputError, match="attainable: 159,264 to 1,212,288"):
        cost_ranges(digits, Limit(macs(digits), upper=3))
    with pytest.raises(InputError, match="a limit's metric 'macs' is a table of space"):
        cost_ranges(digits, Limit(macs(macro), upper=3e5))
