"""How fast costs are looked up, and feasible rows drawn. Rows a second are 1 / the time a row."""

import numpy as np
import pytest

from nas_spaces import FeasibleSet, Limit, Table, published


def elements(primitive):
    channels, height, width = primitive.shape
    return channels * height * width


@pytest.fixture(scope="module")
def table():
    space = published.load("spos-shufflenet")
    return Table.from_primitives(space, "activations", "elements", elements)


@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_look_up(benchmark, table, rows):
    archs = table.space.sample(rows, rng=np.random.default_rng(0))
    benchmark.extra_info["rows"] = rows
    values = benchmark(table, archs)
    assert values.shape == (rows,)


def test_terms_one_by_one(benchmark, table):
    # What packing several choices into one look-up is compared with.
    archs = table.space.sample(100_000, rng=np.random.default_rng(0))

    def one_by_one():
        return table.constant + sum(
            term.values[tuple(archs[:, c] for c in term.columns)] for term in table.terms
        )

    assert (benchmark(one_by_one) == table(archs)).all()


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_draw_feasible_rows(benchmark, table, share):
    rng = np.random.default_rng(0)
    upper = np.quantile(table(table.space.sample(100_000, rng=rng)), share)
    feasible = FeasibleSet(table.space, [Limit(table, upper=float(upper))])
    benchmark.extra_info["rows"] = 10_000
    rows = benchmark(feasible.sample, 10_000, rng=rng)
    assert table(rows).max() <= upper


def test_set_up_a_feasible_set(benchmark, table):
    low, high = FeasibleSet(table.space).attainable(table)
    limit = Limit(table, upper=(low + high) / 2)
    feasible = benchmark(FeasibleSet, table.space, [limit])
    assert 0 < feasible.count() < table.space.size
