import functools
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

import nas_hw
from nas_hw.count import macs_cost, macs_of, params_cost, params_of
from nas_spaces import Block, Choice, FeasibleSet, Limit, SearchSpace, Table, published
from nas_spaces.layers import Classifier, Conv, MBConv, Pool, ShuffleUnit, Zero
from nas_spaces.testing import check_metric


@pytest.fixture(scope="session")
def data():
    """The folder with data of other projects; tests that need it are skipped without it."""
    beside = Path(__file__).parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("NAS_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set NAS_TEST_DATA to the folder that has it")
    return folder


def of(layer, shape):
    graph = layer.graph(shape)
    return sum(map(macs_of, graph)), sum(map(params_of, graph))


# Counted by hand: weights x positions; parameters with two a channel for each norm.
@pytest.mark.parametrize(
    ("layer", "shape", "macs", "params"),
    [
        (Conv(16, 3), (8, 10, 10), 8 * 16 * 9 * 100, 8 * 16 * 9 + 32),
        (Conv(16, 5, 2), (8, 10, 10), 8 * 16 * 25 * 25, 8 * 16 * 25 + 32),
        (Conv(8, 3, groups=None), (8, 10, 10), 8 * 9 * 100, 8 * 9 + 16),
        (Conv(16, 1, groups=4), (8, 10, 10), 2 * 16 * 100, 2 * 16 + 32),
        (Classifier(5), (8, 10, 10), 40, 45),
        (Classifier(5, bias=False), (8, 10, 10), 40, 40),
        (
            MBConv(8, 3, expand=3),
            (8, 10, 10),
            (8 * 24 + 24 * 9 + 24 * 8) * 100,
            8 * 24 + 24 * 9 + 24 * 8 + 2 * (24 + 24 + 8),
        ),
        (
            ShuffleUnit(16, 5),
            (16, 10, 10),
            (8 * 8 + 8 * 25 + 8 * 8) * 100,
            8 * 8 + 8 * 25 + 8 * 8 + 2 * 24,
        ),
        (Pool("max"), (8, 10, 10), 0, 0),
        (Zero(2), (8, 10, 10), 0, 0),
    ],
)
def test_layers_counted_by_hand(layer, shape, macs, params):
    assert of(layer, shape) == (macs, params)


def test_a_convolution_with_a_bias():
    graph = Conv(16, 3).graph((8, 10, 10))
    (convolution,) = [node for node in graph if node.name == "conv"]
    assert params_of(convolution) == 8 * 16 * 9
    assert params_of(type(convolution)(**{**fields(convolution), "bias": True})) == 8 * 16 * 9 + 16


def fields(node):
    return {name: getattr(node, name) for name in type(node).__annotations__ if name != "weighted"}


# Verified with the official module of SPOS.
@pytest.mark.parametrize(
    ("arch", "macs", "params"),
    [
        ([0] * 20, 295_842_496, 3_154_880),
        ([1] * 20, 313_654_976, 3_211_968),
        ([2] * 20, 340_373_696, 3_297_600),
        ([3] * 20, 358_825_920, 3_870_816),
        (
            [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3],
            322_918_720,
            3_558_464,
        ),
    ],
)
def test_known_answers_of_spos(arch, macs, params):
    space = published.load("spos-shufflenet")
    assert nas_hw.macs(space)([arch]).tolist() == [macs]
    assert nas_hw.params(space)([arch]).tolist() == [params]


def test_the_architecture_of_the_spos_paper_has_the_published_size():
    space, arch = published.architecture("spos-paper")
    assert nas_hw.macs(space)([arch])[0] / 1e6 == pytest.approx(319, abs=0.5)
    assert nas_hw.params(space)([arch])[0] / 1e6 == pytest.approx(3.3, abs=0.05)


def test_all_of_nas_bench_macro(data):
    table = json.loads((data / "nas-bench-macro_cifar10.json").read_text())
    space = published.load("nas-bench-macro")
    rows = np.array(list(itertools.product(range(3), repeat=8)))
    records = [table["".join(map(str, row))] for row in rows]
    assert len(records) == 6561
    assert nas_hw.macs(space)(rows).tolist() == [record["flops"] for record in records]
    assert nas_hw.params(space)(rows).tolist() == [record["params"] for record in records]


# One row of the benchmark, for where the data is absent.
def test_a_row_of_nas_bench_macro():
    space = published.load("nas-bench-macro")
    row = space.parse("02012100")
    assert nas_hw.macs(space)([row]).tolist() == [47_327_744]
    assert nas_hw.params(space)([row]).tolist() == [890_666]


@functools.cache
def tables_of(name):
    """Both tables of a published space: large spaces take a second."""
    space = published.load(name)
    return {table.name: table for table in Table.many(space, [macs_cost(), params_cost()])}


@pytest.mark.parametrize("name", sorted(published.SPACES))
@pytest.mark.parametrize(("count", "of"), [("macs", macs_of), ("params", params_of)])
def test_tables_are_sums_over_layers(name, count, of):
    table = tables_of(name)[count]
    space = table.space
    rows = space.sample(20, rng=np.random.default_rng(0))
    sums = [sum(of(node) for placed in space.layers(row) for node in placed.graph) for row in rows]
    assert table(rows).tolist() == sums


@pytest.mark.parametrize("name", sorted(published.SPACES))
@pytest.mark.parametrize("count", ["macs", "params"])
def test_costs_conform_and_depend_on_the_network_alone(name, count):
    table = tables_of(name)[count]
    space = table.space
    check_metric(table, space)
    assert table.is_integer
    rows = space.sample(200, rng=np.random.default_rng(1))
    # Of isomorphic cells the cheapest is canonical; elsewhere equal networks cost the same.
    same = np.less_equal if name.startswith("nas-bench-201") else np.equal
    assert same(table(space.canonical(rows)), table(rows)).all()


def test_names_and_units():
    space = published.load("digits-mobile")
    assert (nas_hw.macs(space).name, nas_hw.macs(space).unit) == ("macs", "multiply-adds")
    assert (nas_hw.params(space).name, nas_hw.params(space).unit) == ("params", "parameters")


def test_costs_of_a_block_that_reads_the_width_before_it():
    space = SearchSpace(
        "widths",
        (3, 8, 8),
        [Choice("w", (8, 16)), Choice("k", (1, 3))],
        [
            Block("first", [Conv(8, 1), Conv(16, 1)], reads=("w",)),
            Block("second", [Conv(4, k) for _ in range(2) for k in (1, 3)], reads=("w", "k")),
            Block("head", [Classifier(2)]),
        ],
    )
    rows = list(itertools.product(range(2), repeat=2))
    expected = [
        64 * (3 * width + width * 4 * kernel**2) + 8 for width in (8, 16) for kernel in (1, 3)
    ]
    assert nas_hw.macs(space)(rows).tolist() == expected


def test_a_window_of_macs_holds_the_share_of_the_space_that_it_should():
    space = published.load("spos-shufflenet")
    feasible = FeasibleSet(space, [Limit(nas_hw.macs(space), lower=290e6, upper=300e6)])
    assert feasible.count() / space.size == pytest.approx(0.0109, abs=5e-5)
