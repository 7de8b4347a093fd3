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
from nas_spaces import elimination as elimination_module
from nas_spaces import windows as windows_module
from nas_spaces.layers import Conv, Identity


def enumerate_rows(space):
    rows = list(itertools.product(*(np.flatnonzero(live) for live in space.mask)))
    return np.array(rows, dtype=np.int64).reshape(len(rows), space.num_choices)


def space_of(*sizes):
    """Choices that no block reads: costs are given by tables alone."""
    choices = [Choice(f"c{i}", range(size)) for i, size in enumerate(sizes)]
    return SearchSpace("free", (3, 8, 8), choices, [Block("only", [Identity()])])


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


@pytest.mark.parametrize("reduce", ["sum", "max"])
def test_integers_that_no_float_holds_are_met_exactly(plain, reduce):
    base = 2**60
    terms = [Term((3,), base + np.arange(5)), Term((0,), [0, 0, 0])]
    table = Table(plain, "cost", "1", terms, 0, reduce)
    # As floats, all five values are base.
    for offset in range(5):
        value = base + offset
        assert FeasibleSet(plain, [Limit(table, lower=value, upper=value)]).count() == 24
        below = FeasibleSet(plain, [Limit(table, upper=value)])
        assert below.count() == 24 * (offset + 1)
        assert below.sample(100, rng=np.random.default_rng(0))[:, 3].max() == offset
    assert FeasibleSet(plain, [Limit(table, upper=float(base))]).count() == 24
    for ends in ({"upper": base - 1}, {"lower": base + 5}):
        with pytest.raises(InputError, match="no architecture of space 'plain' satisfies"):
            FeasibleSet(plain, [Limit(table, **ends)])


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
    with pytest.raises(InputError, match="is not known exactly: there are several limits"):
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
    with pytest.raises(InputError, match=r"is not known exactly: .*; count_range\(\) gives"):
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
        ({"lower": high + 1}, f"cost >= {high + 1} 1"),
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
        "no architecture of space 'plain' satisfies 5 <= even <= 7 1; attainable: 0 to 8 1; "
        "nearest: 4 and 8"
    )


def test_one_of_several_windows_without_a_row_is_the_one_that_is_named(plain, cost):
    even = Table(plain, "even", "1", [Term((1,), np.array([0, 2, 4, 8]))])
    with pytest.raises(InputError, match="'plain' satisfies 5 <= even <= 7 1; attainable: 0 to 8"):
        FeasibleSet(plain, [Limit(cost, upper=115), Limit(even, lower=5, upper=7)])


def test_tables_of_another_space_are_refused(plain, widths):
    table = Table(widths, "cost", "1", [Term((0,), np.arange(3))])
    with pytest.raises(InputError) as error:
        FeasibleSet(plain, [Limit(table, upper=1)])
    assert str(error.value) == (
        "a limit's metric 'cost' is a table of space 'widths' for images (3, 8, 8), "
        "not of 'plain' for images (3, 8, 8); build it from the same space"
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
    assert str(Limit(cost, lower=1e6)) == "cost >= 1,000,000 1"
    assert str(Limit(cost, upper=14 * 2**30)) == "cost <= 15,032,385,536 1"
    assert str(Limit(cost, lower=0.5)) == "cost >= 0.5 1"


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


STRUCTURES = ["independent", "chain", "shared", "any"]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", ["integer", "coarse", "float"])
@pytest.mark.parametrize("reduce", ["sum", "max"])
@pytest.mark.parametrize("tight", [False, True])
def test_any_structure_against_enumeration(
    structure, kind, reduce, tight, random_table, monkeypatch
):
    if tight:
        # Few states: integers become bins too.
        monkeypatch.setattr(windows_module, "STATE_BUDGET", 150)
        monkeypatch.setattr(windows_module, "MOST_BINS", 64)
        monkeypatch.setattr(windows_module, "LEAST_BINS", 2)
    rng = np.random.default_rng(len(structure) + 10 * len(kind))
    exact = 0
    for trial in range(3):
        whole = space_of(3, 2, 4, 3, 1, 3)
        alive = whole.mask & (rng.random(whole.mask.shape) < 0.8)
        alive[:, 0] |= ~alive.any(axis=1)
        space = whole.restrict(alive) if trial % 2 else whole
        rows = enumerate_rows(space)
        table = random_table(whole, structure, kind, reduce, rng)
        values = table(rows)
        low, high = FeasibleSet(space).attainable(table)
        assert (low, high) == pytest.approx((values.min(), values.max()), abs=1e-12)
        ends = np.sort(rng.choice(values, 2))
        for lower, upper in ((None, ends[1]), (ends[0], None), tuple(ends)):
            limit = Limit(table, lower=lower, upper=upper)
            inside = rows[limit.holds(rows)]
            feasible = FeasibleSet(space, [limit])
            least, most = feasible.count_range()
            assert least <= len(inside) <= most
            if least == most:
                exact += 1
                assert feasible.count() == least
            drawn = feasible.sample(30 * len(inside) + 20, rng=rng)
            assert np.array_equal(np.unique(drawn, axis=0), inside)
            assert 0 < feasible.acceptance(500, rng=rng) <= 1
    # Integers and maxima are counted exactly unless the tables are kept from them.
    assert exact == 9 or tight or (kind, reduce) == ("float", "sum")


@pytest.mark.parametrize("unit", [1, math.pi])
@pytest.mark.parametrize("bins", [None, 12])
def test_a_chain_is_sampled_uniformly(unit, bins, monkeypatch):
    space = space_of(3, 3, 3, 2, 3)
    rng = np.random.default_rng(21)
    terms = [
        Term(
            (c - 1, c), rng.integers(0, 9, (space.num_options[c - 1], space.num_options[c])) * unit
        )
        for c in range(1, 5)
    ]
    table = Table(space, "cost", "1", terms)
    if bins:
        monkeypatch.setattr(windows_module, "MOST_BINS", bins)
        monkeypatch.setattr(windows_module, "LEAST_BINS", 1)
        monkeypatch.setattr(windows_module, "STATE_BUDGET", 12 * bins)
    rows = enumerate_rows(space)
    quarter, half, most = np.quantile(table(rows), [0.25, 0.5, 0.75])
    for lower, upper in ((quarter, most), (None, half), (half, None)):
        limit = Limit(table, lower=lower, upper=upper)
        inside = rows[limit.holds(rows)]
        assert 20 < len(inside) < 120
        feasible = FeasibleSet(space, [limit])
        drawn = feasible.sample(100 * len(inside), rng=np.random.default_rng(22))
        assert chi_square_is_plausible(drawn, inside)
        share = feasible.acceptance(rng=np.random.default_rng(23))
        assert share == 1.0 if unit == 1 and not bins else 0.3 < share <= 1.0


def test_counts_of_a_chain_beyond_64_bits():
    space = space_of(*[2] * 101)
    changes = Table(
        space, "changes", "1", [Term((c - 1, c), [[0, 1], [1, 0]]) for c in range(1, 101)]
    )
    for lower, upper in ((0, 3), (50, 50), (40, 61), (99, 100)):
        feasible = FeasibleSet(space, [Limit(changes, lower=lower, upper=upper)])
        assert feasible.count() == 2 * sum(math.comb(100, k) for k in range(lower, upper + 1))
        assert feasible.count_range() == (feasible.count(),) * 2
        drawn = feasible.sample(300, rng=np.random.default_rng(0))
        assert feasible.contains(drawn).all()
        again = feasible.sample(300, rng=np.random.default_rng(0))
        assert (drawn == again).all()
    # Columns that the cost does not read only multiply.
    wider = space_of(*[2] * 101, 3, 3)
    changes = Table(wider, "changes", "1", changes.terms)
    assert FeasibleSet(wider, [Limit(changes, upper=1)]).count() == 9 * 2 * 101


def test_counts_of_a_space_beyond_every_float():
    d, k = 160, 100
    space = space_of(*[k] * d)
    firsts = Table(space, "firsts", "1", [Term((c,), [1] + [0] * (k - 1)) for c in range(d)])
    feasible = FeasibleSet(space, [Limit(firsts, lower=100, upper=101)])
    expected = [math.comb(d, n) * (k - 1) ** (d - n) for n in (100, 101)]
    assert feasible.count() == sum(expected)
    drawn = feasible.sample(4000, rng=np.random.default_rng(0))
    assert (firsts(drawn) == 100).mean() == pytest.approx(expected[0] / sum(expected), abs=0.02)
    assert (drawn == 0).mean(axis=0) == pytest.approx(100 / d, abs=0.05)


def test_a_maximum_is_counted_and_sampled_without_rejection():
    sizes = (6,) * 30
    space = space_of(*sizes)
    peak = Table(
        space, "peak", "bytes", [Term((c,), np.arange(6)) for c in range(30)], 1, reduce="max"
    )
    for lower, upper, expected in (
        (None, 3, 4**30),
        (3, None, 6**30 - 3**30),
        (2, 4, 5**30 - 2**30),
        (None, 0.5, None),
        (1, 1, 2**30),
        (0, 9, 6**30),
    ):
        limit = Limit(peak, lower=lower, upper=upper)
        if expected is None:
            with pytest.raises(InputError, match="attainable: 1 to 5 bytes"):
                FeasibleSet(space, [limit])
            continue
        feasible = FeasibleSet(space, [limit])
        assert feasible.count() == expected
        assert feasible.acceptance(rng=np.random.default_rng(0)) == 1.0
        assert limit.holds(feasible.sample(200, rng=np.random.default_rng(0))).all()


def test_a_chain_whose_columns_are_out_of_order():
    # In the order of its columns, half of this chain would be open at once.
    order = np.random.default_rng(0).permutation(40).tolist()
    space = space_of(*[3] * 40)
    equal = Table(
        space,
        "equal",
        "1",
        [Term(pair, np.eye(3, dtype=int)) for pair in itertools.pairwise(order)],
    )
    assert FeasibleSet(space).attainable(equal) == (0, 39)
    feasible = FeasibleSet(space, [Limit(equal, lower=20, upper=20)])
    assert feasible.count() == 3 * math.comb(39, 20) * 2**19
    assert (equal(feasible.sample(500, rng=np.random.default_rng(1))) == 20).all()


def test_a_long_chain_of_groups_with_too_many_states_for_an_exact_table():
    groups, widths, inner = 12, 6, 24
    rng = np.random.default_rng(31)
    space = space_of(*[widths, inner] * groups)
    terms = [Term((0, 1), rng.integers(1e6, 4e7, (widths, inner)))] + [
        Term((2 * g - 2, 2 * g, 2 * g + 1), rng.integers(1e6, 4e7, (widths, widths, inner)))
        for g in range(1, groups)
    ]
    macs = Table(space, "macs", "multiply-adds", terms)
    values = macs(space.sample(20_000, rng=rng))
    limit = Limit(macs, lower=np.quantile(values, 0.2), upper=np.quantile(values, 0.21))
    feasible = FeasibleSet(space, [limit])
    low, high = feasible.count_range()
    assert 0.9 * high < low < high
    assert low / space.size == pytest.approx(0.01, rel=0.3)
    rows = feasible.sample(2000, rng=rng)
    assert limit.holds(rows).all()
    assert feasible.acceptance(rng=rng) > 0.9
    logits = rng.normal(size=space.mask.shape)
    best = feasible.most_probable(logits)
    assert limit.holds(best[None]).all()
    columns = np.arange(space.num_choices)
    assert logits[columns, best].sum() > logits[columns, rows].sum(axis=1).max()
    with pytest.raises(InputError, match=r"count_range\(\) gives an interval"):
        feasible.count()


def test_what_is_known_of_the_count_under_several_limits(plain, cost):
    rows = enumerate_rows(plain)
    other = Table(plain, "other", "1", [Term((1,), [0, 1, 2, 3])])
    feasible = FeasibleSet(plain, [Limit(cost, lower=101), Limit(other, upper=2)])
    # 90 of 120 rows are within the second limit: the two cannot leave out more than they do.
    single = (cost(rows) >= 101).sum()
    assert feasible.count_range() == (single - 30, min(single, 90))
    narrow = FeasibleSet(plain, [Limit(cost, upper=112), Limit(other, upper=0)])
    low, high = narrow.count_range()
    assert 1 <= low <= narrow.contains(rows).sum() <= high
    # A limit that all rows meet takes nothing from what is known.
    both = FeasibleSet(plain, [Limit(cost, upper=112), Limit(other, upper=3)])
    assert both.count() == (cost(rows) <= 112).sum()
    assert both.acceptance(rng=np.random.default_rng(0)) == 1.0
    unlimited = FeasibleSet(plain, [Limit(other, lower=0)])
    assert unlimited.count() == 120
    with pytest.raises(InputError, match=r"count_range\(\) gives an interval"):
        narrow.count()


def test_acceptance_is_the_share_of_draws_within_all_limits(plain, cost):
    other = Table(plain, "other", "1", [Term((1,), [0, 1, 2, 3]), Term((2,), [0, 1])])
    rows = enumerate_rows(plain)
    feasible = FeasibleSet(plain, [Limit(cost, upper=115), Limit(other, upper=2)])
    inside = feasible.contains(rows).sum()
    tightest = min((cost(rows) <= 115).sum(), (other(rows) <= 2).sum())
    share = feasible.acceptance(20_000, rng=np.random.default_rng(0))
    assert share == pytest.approx(inside / tightest, abs=0.02)
    assert FeasibleSet(plain).acceptance(rng=np.random.default_rng(0)) == 1.0
    with pytest.raises(InputError, match="acceptance of n=0 rows; draw at least 1"):
        feasible.acceptance(0, rng=np.random.default_rng(0))


def test_bounds_of_costs_that_tie_too_much(plain, cost, monkeypatch):
    monkeypatch.setattr(elimination_module, "PAIR_BUDGET", 6)
    rows = enumerate_rows(plain)
    tables = FeasibleSet(plain)
    low, high = tables.attainable(cost)
    assert low <= cost(rows).min() <= cost(rows).max() <= high
    peak = Table(plain, "peak", "1", cost.terms, reduce="max")
    assert tables.attainable(peak)[1] == peak(rows).max()
    assert tables.attainable(peak)[0] <= peak(rows).min()


@pytest.mark.parametrize(
    ("module", "budget", "number"),
    [(elimination_module, "PAIR_BUDGET", 6), (windows_module, "STATE_BUDGET", 30)],
)
def test_costs_beyond_a_budget_are_met_by_rejection(
    plain, cost, module, budget, number, monkeypatch
):
    monkeypatch.setattr(module, budget, number)
    rows = enumerate_rows(plain)
    limit = Limit(cost, upper=115)
    feasible = FeasibleSet(plain, [limit])
    inside = rows[limit.holds(rows)]
    drawn = feasible.sample(200 * len(inside), rng=np.random.default_rng(2))
    assert chi_square_is_plausible(drawn, inside)
    assert feasible.count_range() == (1, 120)
    logits = np.random.default_rng(3).normal(size=plain.mask.shape)
    scores = logits[np.arange(4), inside].sum(axis=1)
    assert (feasible.most_probable(logits) == inside[scores.argmax()]).all()


def test_costs_that_are_not_finite_are_met_by_rejection(plain):
    latency = Table(
        plain, "latency", "ms", [Term((1,), [1.0, 2.0, 3.0, math.inf]), Term((0,), [0, 1, 2])]
    )
    rows = enumerate_rows(plain)
    feasible = FeasibleSet(plain, [Limit(latency, upper=3)])
    inside = rows[latency(rows) <= 3]
    drawn = feasible.sample(200 * len(inside), rng=np.random.default_rng(2))
    assert chi_square_is_plausible(drawn, inside)
    assert feasible.attainable(latency) == (1.0, math.inf)


def test_windows_between_the_values_name_the_nearest(plain, cost):
    sparse = Table(plain, "sparse", "1", [Term(t.columns, 10 * t.values) for t in cost.terms], 7)
    below, above = np.unique(sparse(enumerate_rows(plain)))[3:5].tolist()
    with pytest.raises(InputError, match=f"attainable: .*; nearest: {below} and {above}$"):
        FeasibleSet(plain, [Limit(sparse, lower=below + 0.5, upper=above - 1)])
    terms = [Term((0,), [3, 9, 5]), Term((1,), [2, 4, 2, 7])]
    peak = Table(plain, "peak", "1", terms, reduce="max")
    for lower, upper, nearest in ((6, 6, "5 and 7"), (7.5, 8, "7 and 9"), (3.2, 3.9, "3 and 4")):
        with pytest.raises(InputError, match=f"attainable: 3 to 9 1; nearest: {nearest}$"):
            FeasibleSet(plain, [Limit(peak, lower=lower, upper=upper)])


def test_bins_without_a_row_inside_are_an_error_at_once(plain):
    latency = Table(plain, "latency", "ms", [Term((1,), [0.0, 0.1, 0.2, 0.3])])
    with pytest.raises(InputError, match=r"satisf.* latency <= 0.19 ms; attainable: 0.0 to 0.3 ms"):
        FeasibleSet(plain, [Limit(latency, lower=0.11, upper=0.19)])


def test_spaces_without_a_choice():
    space = space_of()
    table = Table(space, "cost", "1", [], 5)
    for feasible in (FeasibleSet(space), FeasibleSet(space, [Limit(table, upper=5)])):
        assert feasible.count() == 1
        assert feasible.sample(3, rng=np.random.default_rng(0)).shape == (3, 0)
        assert feasible.most_probable(np.zeros((0, 0))).shape == (0,)
        assert feasible.attainable(table) == (5, 5)
    with pytest.raises(InputError, match="attainable: 5 to 5"):
        FeasibleSet(space, [Limit(table, upper=4)])
