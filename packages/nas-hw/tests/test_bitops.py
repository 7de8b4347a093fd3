import numpy as np
import pytest

import nas_hw
from nas_hw.count import bitops_of, macs_of, params_of
from nas_spaces import SearchSpace, published
from nas_spaces.layers import BasicBlock, Classifier, Conv, Pool
from nas_spaces.primitives import Convolution, GraphBuilder
from nas_spaces.space import Block
from nas_spaces.testing import check_metric
from nas_spaces.vary import uniform_bits, with_bits

REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
USUAL = 1  # index of scale 1.0
BITS = {(1, 2): 0, (2, 2): 1, (1, 4): 2, (2, 4): 3, (3, 4): 4, (4, 4): 5}


def row(blocks, bits, scale=USUAL):
    return [[BITS[bits], scale] * blocks]


def resnet(depth, bits):
    """ResNet with the same bits everywhere, also those that are in no space."""
    return with_bits(published.load(f"resnet{depth}"), [bits]).fix([0] * sum(REPEATS[depth]))


# SPOS, table of section 4.3; "G" of 2^30.
@pytest.mark.parametrize(
    ("depth", "bits", "published_g"),
    [
        (18, 2, 6.32),
        (18, 3, 14.21),
        (18, 4, 25.27),
        (34, 2, 13.21),
        (34, 3, 29.72),
        (34, 4, 52.83),
    ],
)
def test_the_table_of_the_paper(depth, bits, published_g):
    (count,) = nas_hw.bitops(resnet(depth, (bits, bits)))([[]])
    assert round(count / 2**30, 2) == published_g
    # What a winner of SPOS's space is compared with.
    space = published.load(f"resnet{depth}-quant")
    everywhere = uniform_bits(space, [0] * space.num_choices, bits)
    assert nas_hw.bitops(everywhere)([[]]).tolist() == [count]


@pytest.mark.parametrize(
    ("depth", "bits", "expected"),
    [
        (18, 2, 6_782_189_568),
        (18, 3, 15_259_926_528),
        (18, 4, 27_128_758_272),
        (34, 2, 14_180_941_824),
        (34, 3, 31_907_119_104),
        (34, 4, 56_723_767_296),
    ],
)
def test_exact_counts(depth, bits, expected):
    assert nas_hw.bitops(resnet(depth, (bits, bits)))([[]]).tolist() == [expected]


def test_rows_of_the_spaces():
    eighteen = nas_hw.bitops(published.load("resnet18-quant"))
    assert eighteen(row(8, (2, 2))).tolist() == [6_782_189_568]
    assert eighteen(row(8, (4, 4))).tolist() == [27_128_758_272]
    # The extremes of the space.
    assert eighteen(row(8, (1, 2), 0)).tolist() == [1_714_814_976]
    assert eighteen(row(8, (4, 4), 2)).tolist() == [40_538_996_736]
    thirty_four = nas_hw.bitops(published.load("resnet34-quant"))
    assert thirty_four(row(16, (4, 4)))[0] / 2**30 == pytest.approx(52.83, abs=0.005)


def test_equal_products_cost_the_same():
    table = nas_hw.bitops(published.load("resnet18-quant"))
    assert table(row(8, (2, 2))) == table(row(8, (1, 4)))


@pytest.mark.parametrize("name", ["resnet18-quant", "resnet34-quant"])
def test_the_table_is_a_sum_over_layers(name):
    space = published.load(name)
    table = nas_hw.bitops(space)
    check_metric(table, space)
    assert table.is_integer
    assert (table.name, table.unit) == ("bitops", "bit operations")
    rows = space.sample(10, rng=np.random.default_rng(0))
    expected = [
        sum(
            macs_of(node) * layer.layer.weight_bits * layer.layer.input_bits
            for layer in space.layers(arch)
            if isinstance(layer.layer, BasicBlock)
            for node in layer.graph
        )
        for arch in rows
    ]
    assert table(rows).tolist() == expected


def test_full_precision_counts_nothing():
    space = published.load("spos-shufflenet")
    assert nas_hw.bitops(space)(space.sample(5, rng=np.random.default_rng(0))).tolist() == [0] * 5
    build = GraphBuilder((4, 5, 5))
    build.convolution("weights", "input", 8, kernel=3, weight_bits=2)
    build.quantise("quantise", "input", 4)
    build.convolution("inputs", "quantise", 8, kernel=3)
    build.convolution("both", "quantise", 8, kernel=3, weight_bits=2)
    assert {node.name: bitops_of(node) for node in build.graph} == {
        "weights": 0,
        "quantise": 0,
        "inputs": 0,
        "both": 4 * 8 * 9 * 25 * 2 * 4,
    }


def test_known_answers_of_resnet():
    for name, macs, params in (
        ("resnet18", 1_814_073_344, 11_689_512),
        ("resnet34", 3_663_761_408, 21_797_672),
    ):
        space = published.load(name)
        assert nas_hw.macs(space)([[]]).tolist() == [macs]
        assert nas_hw.params(space)([[]]).tolist() == [params]


def test_quantising_changes_no_multiply_adds_and_adds_a_level_for_each_activation():
    plain, quantised = published.load("resnet18"), resnet(18, (2, 4))
    assert nas_hw.macs(quantised)([[]]) == nas_hw.macs(plain)([[]])
    # Two activations in each of eight blocks.
    assert nas_hw.params(quantised)([[]]) == nas_hw.params(plain)([[]]) + 2 * 8
    graph = BasicBlock(8, 2, 1.0, 2, 4).graph((8, 10, 10))
    assert [params_of(node) for node in graph if node.name.startswith("quantise")] == [1, 1]


def test_quantised_multiply_adds_of_resnet18():
    layers = resnet(18, (1, 1)).layers([])
    counts = {"downsample": 0, "others": 0, "plain": 0}
    for layer in layers:
        for node in layer.graph:
            if isinstance(node, Convolution) and node.weight_bits:
                counts["downsample" if node.name == "downsample" else "others"] += macs_of(node)
            else:
                counts["plain"] += macs_of(node)
    assert counts == {
        "downsample": 19_267_584,
        "others": 1_676_279_808,
        "plain": 118_013_952 + 512_000,
    }


def test_layers_without_bits_in_a_space_with_bits():
    space = SearchSpace(
        "mixed",
        (3, 8, 8),
        (),
        [
            Block("stem", [Conv(4)]),
            Block("pool", [Pool("max", 3, 2)]),
            Block("one", [BasicBlock(4, 1, 1.0, 2, 3)]),
            Block("two", [BasicBlock(4)]),
            Block("head", [Classifier(2)]),
        ],
    )
    assert nas_hw.bitops(space)([[]]).tolist() == [2 * 4 * 4 * 9 * 16 * 6]
