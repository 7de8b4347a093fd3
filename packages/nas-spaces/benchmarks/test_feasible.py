"""How fast feasible sets are set up, drawn from and searched; rows a second, and peak memory.

``-s`` prints the figures beside the table.
"""

import math
import tracemalloc

import numpy as np
import pytest

from nas_spaces import Block, Choice, FeasibleSet, Limit, SearchSpace, Table, Term, published
from nas_spaces.layers import Identity


def multiply_adds(primitive):
    """Convolutions and linear layers, written down here: nas_spaces has no costs of its own."""
    if hasattr(primitive, "in_features"):
        return primitive.in_features * primitive.out_features
    if not hasattr(primitive, "in_channels"):
        return 0
    channels, height, width = primitive.shape
    area = primitive.kernel**2 * height * width
    return channels * primitive.in_channels // primitive.groups * area


def groups(number):
    """Groups of 10 widths x 72 others whose cost reads the width before: 7,200 costs each."""
    widths, inner = 10, (6, 3, 2, 2)
    choices, terms = [], []
    for group in range(number):
        start = len(choices)
        sizes = (widths, *inner)
        choices += [Choice(f"g{group}_{i}", range(size)) for i, size in enumerate(sizes)]
        read = ((start - len(sizes),) if group else ()) + tuple(range(start, len(choices)))
        before, width, ratio, kernel, _, gate = np.indices((widths, *sizes))
        area = (112 >> min(6 * group // number, 4)) ** 2
        inputs, outputs = (4 * (4 + 10 * group // number + w) for w in (before, width))
        hidden = 8 * (1 + ratio * inputs // 8)
        costs = hidden * (inputs + outputs + (1 + 2 * kernel) ** 2) * area
        costs = np.where(kernel == 0, inputs * outputs * area, costs) + gate * hidden**2 // 2
        terms.append(Term(read, costs if group else costs[0]))
    space = SearchSpace(f"{number}-groups", (3, 8, 8), choices, [Block("only", [Identity()])])
    return Table(space, "macs", "multiply-adds", terms)


def table_of(name):
    if name.endswith("-groups"):
        return groups(int(name.split("-")[0]))
    if name not in published.SPACES:
        pytest.skip(f"no space {name!r}")
    return Table.from_primitives(published.load(name), "macs", "multiply-adds", multiply_adds)


@pytest.fixture(scope="module")
def tables():
    made = {}

    def get(name):
        if name not in made:
            made[name] = table_of(name)
        return made[name]

    return get


def window_of(table, ends):
    """Ends in multiply-adds, or as shares of uniform rows."""
    values = table(table.space.sample(20_000, rng=np.random.default_rng(0)))
    lower, upper = (
        end if end is None or end > 1 else float(np.quantile(values, end)) for end in ends
    )
    return Limit(table, lower=lower, upper=upper)


CASES = [
    ("spos-shufflenet", (290e6, 300e6)),
    ("spos-shufflenet", (None, 280e6)),
    ("mobilenet-21", (0.5, 0.51)),
    ("ponas-19", (0.5, 0.51)),
    ("fbnetv2-f", (0.5, 0.51)),
    ("fbnetv2-f", (None, 0.001)),
    ("10-groups", (0.01, 0.02)),
    ("17-groups", (0.01, 0.02)),
    ("32-groups", (0.01, 0.02)),
]
cases = pytest.mark.parametrize(("name", "ends"), CASES, ids=str)


@cases
def test_set_up(benchmark, tables, name, ends):
    limit = window_of(tables(name), ends)
    tracemalloc.start()
    FeasibleSet(limit.metric.space, [limit]).sample(1000, rng=np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    feasible = benchmark(FeasibleSet, limit.metric.space, [limit])
    rng = np.random.default_rng(0)
    benchmark.extra_info |= {"peak_mb": peak, "acceptance": feasible.acceptance(rng=rng)}
    print(f"\n{name} {ends}: set-up {benchmark.stats['median'] * 1e3:.1f} ms, {peak:.0f} MB")


@cases
def test_draw(benchmark, tables, name, ends):
    limit = window_of(tables(name), ends)
    feasible = FeasibleSet(limit.metric.space, [limit])
    n = 100_000 if name == "spos-shufflenet" else 20_000
    rows = benchmark(feasible.sample, n, rng=np.random.default_rng(0))
    assert limit.holds(rows).all()
    rate = n / benchmark.stats["median"]
    benchmark.extra_info |= {"rows": n, "rows_per_second": rate}
    print(f"\n{name} {ends}: {rate:,.0f} rows a second")


@cases
def test_count(benchmark, tables, name, ends):
    limit = window_of(tables(name), ends)

    def count():
        return FeasibleSet(limit.metric.space, [limit]).count_range()

    low, high = benchmark.pedantic(count, rounds=3)
    assert 0 < low <= high < limit.metric.space.size
    share = math.exp(math.log(high) - math.log(limit.metric.space.size))
    print(f"\n{name} {ends}: {share:.3%} of the space, known to {1 - low / high:.2%}")


@cases
def test_most_probable(benchmark, tables, name, ends):
    limit = window_of(tables(name), ends)
    feasible = FeasibleSet(limit.metric.space, [limit])
    logits = np.random.default_rng(1).normal(size=limit.metric.space.mask.shape)
    row = benchmark(feasible.most_probable, logits)
    assert limit.holds(row[None]).all()


def test_two_limits(benchmark, tables):
    macs = tables("spos-shufflenet")
    weights = Table.from_primitives(
        macs.space,
        "weights",
        "1",
        lambda primitive: multiply_adds(primitive) // math.prod(primitive.shape[1:]),
    )
    limits = [window_of(macs, (None, 0.05)), window_of(weights, (None, 0.05))]
    feasible = FeasibleSet(macs.space, limits)
    rows = benchmark(feasible.sample, 10_000, rng=np.random.default_rng(0))
    assert feasible.contains(rows).all()
    benchmark.extra_info["acceptance"] = feasible.acceptance(rng=np.random.default_rng(0))
