"""How fast costs are looked up. Rows a second are 1 / the time a row."""

import numpy as np
import pytest

from nas_spaces import Table, published
from nas_spaces.table import Cost


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


@pytest.mark.parametrize("name", ["fbnetv2-f", "fbnetv2-fine"])
def test_look_up_in_a_large_space(benchmark, name):
    # Blocks that read five or six choices each; those that read the same ones share a look-up.
    space = published.load(name)
    table = Table.from_primitives(space, "activations", "elements", elements)
    archs = space.sample(10_000, rng=np.random.default_rng(0))
    benchmark.extra_info["rows"] = len(archs)
    assert benchmark(table, archs).shape == (10_000,)


@pytest.mark.parametrize("number", [1, 4])
def test_build_tables_of_a_large_space(benchmark, number):
    space = published.load("fbnetv2-f")
    costs = [Cost.of_primitives(f"cost {i}", "elements", elements) for i in range(number)]
    tables = benchmark.pedantic(Table.many, (space, costs), rounds=5)
    assert len(tables) == number


def test_terms_one_by_one(benchmark, table):
    # What packing several choices into one look-up is compared with.
    archs = table.space.sample(100_000, rng=np.random.default_rng(0))

    def one_by_one():
        return table.constant + sum(
            term.values[tuple(archs[:, c] for c in term.columns)] for term in table.terms
        )

    assert (benchmark(one_by_one) == table(archs)).all()
