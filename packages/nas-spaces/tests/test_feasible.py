import itertools
import math

import numpy as np
import pytest

from nas_spaces import (
    Block,
    Choice,
    FeasibleSet,
    InputError,
    Limit,
    SearchSpace,
    Table,
    Term,
    published,
)
from nas_spaces.layers import Conv


def enumerate_rows(space):
    return np.array(
        list(itertools.product(*(np.flatnonzero(live) for live in space.mask))), dtype=np.int64
    )


@pytest.fixture
def cost(plain):
    """Integers with ties, one look-up over two choices: groups {0}, {1, 2}, {3}."""
    rng = np.random.default_rng(1)
    return Table(
        plain,
        "cost",
        "1",
        [
            Term(read, rng.integers(0, 12, [plain.num_options[c] for c in read]))
            for read in [(0,), (1, 2), (3,)]
        ],
        100,
    )


def chi_square_is_plausible(rows, expected_rows):
    """Whether rows look like uniform draws from ``expected_rows``, and hit nothing else."""
    places = {row.tobytes(): i for i, row in enumerate(expected_rows)}
    counts = np.bincount([places[row.tobytes()] for row in rows], minlength=len(places))
    mean = len(rows) / len(places)
    statistic = ((counts - mean) ** 2 / mean).sum()
    freedom = len(places) - 1
    # Mean and standard deviation of chi-square; the seeds are fixed.
    return statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_the_chi_square_test_notices_a_bias(plain):
    rows = enumerate_rows(plain)
    rng = np.random.default_rng(0)
    assert chi_square_is_plausible(rows[rng.integers(len(rows), size=12000)], rows)
    skewed = np.minimum(rng.integers(len(rows) + 15, size=12000), len(rows) - 1)
    assert not chi_square_is_plausible(rows[skewed], rows)


WINDOWS = [{"upper": 115}, {"lower": 118}, {"lower": 112, "upper": 118}, {"lower": 0, "upper": 999}]


@pytest.mark.parametrize("ends", WINDOWS)
def test_one_limit_is_counted_and_sampled_exactly(plain, cost, ends):
    feasible = FeasibleSet(plain, [Limit(cost, **ends)])
    rows = enumerate_rows(plain)
    inside = rows[(cost(rows) >= ends.get("lower", 0)) & (cost(rows) <= ends.get("upper", 999))]
    assert len(inside) > 5
    assert feasible.count() == len(inside)
    drawn = feasible.sample(200 * len(inside), rng=np.random.default_rng(2))
    assert chi_square_is_plausible(drawn, inside)
    assert (
        feasible.contains(rows).nonzero()[0]
        == np.flatnonzero([any((row == other).all() for other in inside) for row in rows])
    ).all()


def test_every_window_of_one_value_is_exact(plain, cost):
    rows = enumerate_rows(plain)
    values, counts = np.unique(cost(rows), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        assert FeasibleSet(plain, [Limit(cost, lower=value, upper=value)]).count() == count


def test_attainable_is_the_exact_range(plain, cost):
    values = cost(enumerate_rows(plain))
    assert FeasibleSet(plain).attainable(cost) == (values.min(), values.max())


def test_no_limit_is_the_whole_space(plain):
    feasible = FeasibleSet(plain)
    assert feasible.count() == 120
    rows = feasible.sample(12000, rng=np.random.default_rng(3))
    assert chi_square_is_plausible(rows, enumerate_rows(plain))
    assert feasible.contains(rows).all()


def test_several_limits_hold_together_and_stay_uniform(plain, cost):
    rng = np.random.default_rng(5)
    other = Table(
        plain,
        "other",
        "1",
        [Term((c,), rng.integers(0, 9, plain.num_options[c])) for c in range(4)],
    )
    largest = Table(plain, "peak", "1", other.terms, reduce="max")
    limits = [Limit(cost, lower=110, upper=120), Limit(other, upper=20), Limit(largest, upper=7)]
    feasible = FeasibleSet(plain, limits)
    rows = enumerate_rows(plain)
    inside = rows[
        (cost(rows) >= 110) & (cost(rows) <= 120) & (other(rows) <= 20) & (largest(rows) <= 7)
    ]
    assert 5 < len(inside) < 100
    drawn = feasible.sample(200 * len(inside), rng=np.random.default_rng(6))
    assert chi_square_is_plausible(drawn, inside)
    with pytest.raises(InputError, match="the exact count is known for one limit on a sum of int"):
        feasible.count()


def test_continuous_costs_are_met_exactly_and_uniformly(plain):
    rng = np.random.default_rng(7)
    terms = [Term((c,), rng.random(plain.num_options[c])) for c in range(4)]
    latency = Table(plain, "latency", "ms", terms, 0.5)
    rows = enumerate_rows(plain)
    values = latency(rows)
    # Ends that are values of rows: a rounding of either end would lose or add one.
    lower, upper = np.sort(values)[[20, 60]].tolist()
    feasible = FeasibleSet(plain, [Limit(latency, lower=lower, upper=upper)])
    inside = rows[(values >= lower) & (values <= upper)]
    assert len(inside) == 41
    drawn = feasible.sample(200 * len(inside), rng=np.random.default_rng(8))
    assert chi_square_is_plausible(drawn, inside)
    with pytest.raises(InputError, match="the exact count is known for one limit"):
        feasible.count()


def test_metrics_that_are_no_table_are_met_by_rejection(plain):
    class Total:
        name, unit = "total", "1"

        def __call__(self, archs):
            return np.asarray(archs).sum(axis=1)

    feasible = FeasibleSet(plain, [Limit(Total(), upper=2)])
    rows = enumerate_rows(plain)
    inside = rows[rows.sum(axis=1) <= 2]
    drawn = feasible.sample(200 * len(inside), rng=np.random.default_rng(9))
    assert chi_square_is_plausible(drawn, inside)


def test_rejection_gives_up_with_a_count(plain):
    class Nothing:
        name, unit = "nothing", "1"

        def __call__(self, archs):
            return np.ones(len(np.asarray(archs)))

    with pytest.raises(InputError) as error:
        FeasibleSet(plain, [Limit(Nothing(), upper=0)])
    assert str(error.value).startswith("0 of ")
    assert str(error.value).endswith("rows drawn satisfy all of: nothing <= 0 1; widen a limit")


def test_restricted_spaces(plain, cost):
    alive = plain.mask.copy()
    alive[1] = [True, False, False, True, False]
    alive[3, 0] = False
    smaller = plain.restrict(alive)
    rows = enumerate_rows(smaller)
    assert len(rows) == 48
    middle = int(np.median(cost(rows)))
    # A table of the whole space serves a restricted one: the numbering is the same.
    feasible = FeasibleSet(smaller, [Limit(cost, upper=middle)])
    inside = rows[cost(rows) <= middle]
    assert feasible.count() == len(inside)
    drawn = feasible.sample(200 * len(inside), rng=np.random.default_rng(10))
    assert chi_square_is_plausible(drawn, inside)
    assert feasible.attainable(cost) == (cost(rows).min(), cost(rows).max())
    dropped = np.array([[0, 1, 0, 1]])
    assert not feasible.contains(dropped)[0]


def test_unattainable_limits_are_errors_at_once_with_the_range(plain, cost):
    values = cost(enumerate_rows(plain))
    low, high = values.min(), values.max()
    for ends, text in (
        ({"upper": low - 1}, f"cost <= {low - 1} 1"),
        ({"lower": high + 1}, f"{high + 1} <= cost 1"),
    ):
        with pytest.raises(InputError) as error:
            FeasibleSet(plain, [Limit(cost, **ends)])
        assert str(error.value) == (
            f"no architecture of space 'plain' satisfies {text}; attainable: {low} to {high} 1"
        )


def test_a_window_between_the_values_is_an_error(plain):
    even = Table(plain, "even", "1", [Term((1,), np.array([0, 2, 4, 8]))])
    with pytest.raises(InputError) as error:
        FeasibleSet(plain, [Limit(even, lower=5, upper=7)])
    assert str(error.value) == (
        "no architecture of space 'plain' satisfies 5 <= even <= 7 1; attainable: 0 to 8 1"
    )


def test_tables_of_another_space_are_refused(plain, widths):
    table = Table(widths, "cost", "1", [Term((0,), np.arange(3))])
    with pytest.raises(InputError) as error:
        FeasibleSet(plain, [Limit(table, upper=1)])
    assert str(error.value) == (
        "limit on cost: its table is of another space: 'widths' for images (3, 8, 8), "
        "not 'plain' for images (3, 8, 8)"
    )


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({}, "limit on cost: lower=None, upper=None; give at least one finite end"),
        (
            {"upper": float("nan")},
            "limit on cost: lower=None, upper=nan; give at least one finite end",
        ),
        (
            {"lower": 1, "upper": float("inf")},
            "limit on cost: lower=1, upper=inf; give at least one finite end",
        ),
        ({"lower": 2, "upper": 1}, "limit on cost: lower=2 exceeds upper=1"),
    ],
)
def test_what_a_limit_refuses(cost, ends, message):
    with pytest.raises(InputError) as error:
        Limit(cost, **ends)
    assert str(error.value) == message


def test_a_limit_says_what_it_is(cost):
    assert str(Limit(cost, lower=1e6, upper=2e6)) == "1,000,000 <= cost <= 2,000,000 1"


def test_the_same_generator_gives_the_same_rows(plain, cost):
    feasible = FeasibleSet(plain, [Limit(cost, upper=115)])
    first = feasible.sample(50, rng=np.random.default_rng(11))
    assert (first == feasible.sample(50, rng=np.random.default_rng(11))).all()
    assert (first != feasible.sample(50, rng=np.random.default_rng(12))).any()
    assert feasible.sample(0, rng=np.random.default_rng(0)).shape == (0, 4)


def multiply_adds(primitive):
    """The usual count, written down here because nas_spaces has no costs of its own."""
    if not hasattr(primitive, "in_channels") and not hasattr(primitive, "in_features"):
        return 0
    if hasattr(primitive, "in_features"):
        return primitive.in_features * primitive.out_features
    channels, height, width = primitive.shape
    area = primitive.kernel**2 * height * width
    return channels * primitive.in_channels // primitive.groups * area


def test_windows_of_the_space_of_spos():
    space = published.load("spos-shufflenet")
    macs = Table.from_primitives(space, "macs", "multiply-adds", multiply_adds)
    window = FeasibleSet(space, [Limit(macs, lower=290e6, upper=300e6)])
    assert window.count() / 4**20 == pytest.approx(0.0109, abs=5e-5)
    rows = window.sample(2000, rng=np.random.default_rng(0))
    assert macs(rows).min() >= 290e6
    assert macs(rows).max() <= 300e6
    small = FeasibleSet(space, [Limit(macs, upper=280e6)])
    assert small.count() / 4**20 == pytest.approx(1e-5, abs=5e-6)
    assert macs(small.sample(100, rng=np.random.default_rng(0))).max() <= 280e6
    # The windows of a partition add up to the space: no row is lost at an edge.
    low, high = FeasibleSet(space).attainable(macs)
    edges = np.linspace(low - 1, high, 8).astype(int).tolist()
    parts = [
        FeasibleSet(space, [Limit(macs, lower=lower + 1, upper=upper)]).count()
        for lower, upper in itertools.pairwise(edges)
    ]
    assert sum(parts) == 4**20


def test_a_table_at_another_resolution_is_refused():
    small, large = (published.load("spos-shufflenet", resolution=r) for r in (64, 224))
    table = Table(large, "cost", "1", [Term((0,), np.arange(4))])
    with pytest.raises(InputError, match=r"images \(3, 224, 224\), not .* images \(3, 64, 64\)"):
        FeasibleSet(small, [Limit(table, upper=1)])


@pytest.mark.parametrize("unit", [1, 0.1, 0.5])
def test_rows_on_the_bounds_of_a_continuous_cost_are_drawn(plain, unit):
    rng = np.random.default_rng(3)
    rows = enumerate_rows(plain)
    for _ in range(12):
        table = Table(
            plain,
            "cost",
            "ms",
            [Term((c,), rng.integers(0, 6, k) * unit) for c, k in enumerate(plain.num_options)],
            0.3,
        )
        values = table(rows)
        upper = rng.choice(values)
        wanted = rows[values <= upper]
        drawn = FeasibleSet(plain, [Limit(table, upper=upper)]).sample(
            60 * len(wanted), rng=np.random.default_rng(0)
        )
        assert np.array_equal(np.unique(drawn, axis=0), wanted)


def test_the_attainable_ends_of_a_continuous_cost_are_feasible():
    space = published.load("spos-shufflenet")
    rng = np.random.default_rng(0)
    for _ in range(10):
        table = Table(space, "cost", "ms", [Term((c,), rng.random(4)) for c in range(20)], 0.1)
        low, high = FeasibleSet(space).attainable(table)
        for limit in (Limit(table, upper=low), Limit(table, lower=high)):
            rows = FeasibleSet(space, [limit]).sample(3, rng=rng)
            assert limit.holds(rows).all()


def test_counts_beyond_64_bits_are_exact_at_both_ends():
    space = SearchSpace(
        "binary",
        (3, 8, 8),
        [Choice(f"c{i}", (0, 1)) for i in range(80)],
        [Block(f"b{i}", [Conv(3, 1), Conv(3, 3)], reads=(f"c{i}",)) for i in range(80)],
    )
    ones = Table(space, "ones", "1", [Term((i,), [0, 1]) for i in range(80)])
    for lower, upper in ((75, 80), (70, 71), (0, 5), (40, 40), (0, 80)):
        feasible = FeasibleSet(space, [Limit(ones, lower=lower, upper=upper)])
        assert feasible.count() == sum(math.comb(80, k) for k in range(lower, upper + 1))
        drawn = ones(feasible.sample(4000, rng=np.random.default_rng(0)))
        shares = np.bincount(drawn - lower, minlength=upper - lower + 1) / 4000
        expected = [math.comb(80, k) / feasible.count() for k in range(lower, upper + 1)]
        assert np.abs(shares - expected).max() < 0.03


def test_limits_that_exclude_each_other_are_an_error_at_once(plain, cost):
    other = Table(plain, "other", "1", [Term((0,), [0, 1, 2])])
    same = Table(plain, "same", "1", [Term((0,), [2, 1, 0])])
    with pytest.raises(InputError) as error:
        FeasibleSet(plain, [Limit(other, upper=0), Limit(same, upper=0)])
    assert "rows drawn satisfy all of: other <= 0 1; attainable: 0 to 2 1; same" in str(error.value)
