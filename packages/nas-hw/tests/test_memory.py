import itertools

import numpy as np
import pytest
from attrs import frozen

import nas_hw
from nas_hw.operations import layer_memory
from nas_spaces import Block, Choice, FeasibleSet, InputError, Limit, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, Identity, MBConv, Zero
from nas_spaces.primitives import GraphBuilder

SHAPE = (8, 10, 10)
FULL = 4 * 8 * 100  # bytes of SHAPE


def wired(*middle):
    return SearchSpace(
        "wired",
        (3, 10, 10),
        [Choice("c", range(2))],
        [
            Block("stem", [Conv(8)]),
            Block("left", [Conv(8, 1), middle[0]] if middle else [Conv(8, 1), Conv(8, 5)], ("c",)),
            Block("right", [Conv(8, 3)], inputs=("stem",)),
            Block("sum", [Identity()], inputs=("left", "right", "stem")),
            Block("head", [Classifier(2)]),
        ],
    )


def test_sums_between_blocks():
    space = wired()
    stem = 1200 + 4 * (3 * 8 * 9 + 8) + FULL
    left = [2 * FULL + 4 * (64 * area + 8) for area in (1, 25)]
    right = 2 * FULL + 4 * (64 * 9 + 8)
    head = FULL + 32 + 32 + 4 * 18 + 8
    assert nas_hw.traffic(space)([[0], [1]]).tolist() == [
        stem + one + right + 6 * FULL + head for one in left
    ]
    # At the first sum: three blocks, the last of which is still to be added, and the sum.
    assert nas_hw.peak_memory(space)([[0], [1]]).tolist() == [4 * FULL] * 2


def test_an_identity_is_what_it_passes():
    assert nas_hw.peak_memory(wired(Identity()))([[0], [1]]).tolist() == [4 * FULL, 3 * FULL]


def test_an_identity_passes_what_is_read_later():
    def space(last):
        return SearchSpace(
            "later",
            (3, 10, 10),
            [Choice("c", range(2))],
            [
                Block("stem", [Conv(8)]),
                Block("large", [MBConv(8, 3, expand=4, residual=False)]),
                Block("again", [last, Zero()], ("c",), inputs=("stem",)),
                Block("head", [Classifier(2)], inputs=("large", "again")),
            ],
        )

    # While "large" works on 4 + 4 times 8 channels, the stem's output is kept for "again", unless
    # that is zeros.
    for last in (Identity(), Conv(8)):
        assert nas_hw.peak_memory(space(last))([[0], [1]]).tolist() == [9 * FULL, 8 * FULL]


def test_in_a_chain_a_block_s_look_up_is_its_own():
    options = [Identity(), MBConv(8, 3, expand=2), MBConv(8, 3, expand=3)]
    names = [f"b{i}" for i in range(40)]
    space = SearchSpace(
        "chain",
        SHAPE,
        [Choice(name, range(3)) for name in names],
        [*(Block(name, options, (name,)) for name in names), Block("head", [Classifier(2)])],
    )
    table = nas_hw.peak_memory(space)
    assert [term.columns for term in table.terms] == [(i,) for i in range(40)]
    deepest = FeasibleSet(space, [Limit(table, upper=5 * FULL)])
    assert table([[0] * 40, [0] * 39 + [1], [2] + [0] * 39]).tolist() == [
        FULL + 32,
        5 * FULL,
        7 * FULL,
    ]
    assert deepest.contains([[1] * 40, [2] * 40]).tolist() == [True, False]


def test_wiring_that_ties_too_many_choices_together():
    options = [Identity(), *(Conv(8, 1 + 2 * k) for k in range(199))]
    names = ("a", "b", "c")
    space = SearchSpace(
        "tied",
        (8, 4, 4),
        [Choice(name, range(200)) for name in names],
        [
            Block("stem", [Conv(8)]),
            *(Block(name, options, (name,)) for name in names),
            Block("sum", [Conv(8)], inputs=("stem", "c")),
            Block("head", [Classifier(2)]),
        ],
    )
    with pytest.raises(InputError, match="depends on 3 choices together, 8,000,000 combinations"):
        nas_hw.peak_memory(space)
    assert nas_hw.traffic(space)([[0, 0, 0]])[0] > 0


@frozen
class Half:
    """Half the channels: a width that a choice decides."""

    def graph(self, shape):
        builder = GraphBuilder(shape)
        builder.select("half", "input", 0, 2)
        return builder.graph


def test_widths_of_values_that_are_kept():
    wide = (4, 32)
    space = SearchSpace(
        "kept",
        (2, 10, 10),
        [Choice("w", wide), Choice("half", (True, False))],
        [
            Block("wide", [Conv(w, 1) for w in wide], ("w",)),
            Block("other", [Half(), Identity()], ("half",)),
            Block("narrow", [Conv(2, 1)]),
            Block("back", [Conv(w, 1) for w in wide], ("w",)),
            Block("sum", [Identity()], inputs=("wide", "back")),
            Block("head", [Classifier(2)]),
        ],
    )
    one = 400  # bytes of a channel
    expected = [
        # At "narrow": what "wide" gave, its half, and two channels; or at the sum, three of them.
        max(one * (width + (width // 2 if half else 0) + 2), 3 * width * one)
        for width in wide
        for half in (True, False)
    ]
    rows = list(itertools.product(range(2), repeat=2))
    assert nas_hw.peak_memory(space)(rows).tolist() == expected


def test_names_and_units():
    space = published.load("digits-mobile")
    for table, name, reduce in (
        (nas_hw.traffic(space), "traffic", "sum"),
        (nas_hw.peak_memory(space), "peak_memory", "max"),
    ):
        assert (table.name, table.unit, table.reduce) == (name, "bytes", reduce)
        assert table.is_integer


def test_peaks_are_those_of_the_layers_in_turn():
    space = published.load("spos-shufflenet")
    archs = space.sample(20, rng=np.random.default_rng(0))
    expected = [
        max(layer_memory(placed.graph, placed.in_shape).peak for placed in space.layers(arch))
        for arch in archs
    ]
    assert nas_hw.peak_memory(space)(archs).tolist() == expected
