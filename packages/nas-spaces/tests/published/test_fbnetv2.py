import itertools
import math

import numpy as np
import pytest

from nas_spaces import published
from nas_spaces.layers import Skip, SplitMBConv
from nas_spaces.primitives import Activation, Pool
from nas_spaces.published.fbnetv2 import Group, grouped_space


def small_space(**options):
    """Two groups, three blocks: small enough to look at every row."""
    groups = (Group((1,), (8, 16), 1, 1), Group((1.5, 3.0), (8, 16), 2, 1))
    options = {"attention": (0, 1), "classes": 5, "resolution": 8, "in_channels": 3, **options}
    return grouped_space("small", groups, stem=8, last=16, **options)


def group_sizes(space):
    sizes = {}
    for choice in space.choices:
        sizes[choice.group] = sizes.get(choice.group, 1) * len(choice.options)
    return list(sizes.values())


@pytest.mark.parametrize(
    ("name", "resolution", "blocks", "last"),
    [
        ("fbnetv2-f1", 128, 15, 1600),
        ("fbnetv2-f2", 160, 15, 1600),
        ("fbnetv2-f3", 192, 15, 1984),
        ("fbnetv2-f4", 224, 19, 1984),
    ],
)
def test_the_released_networks_at_their_resolutions(name, resolution, blocks, last):
    space, arch = published.architecture(name)
    placed = space.layers(arch)
    assert space.input_shape == (3, resolution, resolution)
    assert len(placed) == blocks + 3
    assert placed[-3].out_shape == (224, resolution // 32, resolution // 32)
    assert placed[-2].out_shape == (last, 1, 1)
    # The second pooling sees one position.
    (pool,) = [node for node in placed[-1].graph if isinstance(node, Pool)]
    assert pool.in_shape == (last, 1, 1)
    gates = {
        node.kind
        for layer in placed
        for node in layer.graph
        if isinstance(node, Activation) and node.name == "se_gate"
    }
    assert gates == {"hsigmoid"}
    assert placed[0].graph[0].bias


def test_skips_of_the_released_networks_are_convolutions_only_where_the_width_changes():
    space, arch = published.architecture("fbnetv2-f4")
    skips = [layer for layer in space.layers(arch) if isinstance(layer.layer, Skip)]
    assert [(layer.in_shape[0], layer.out_shape[0], len(layer.graph)) for layer in skips] == [
        (64, 64, 0),
        (184, 224, 3),
    ]
    # The released code's default for convolutions, which the table of blocks does not show.
    assert [node.kind for node in skips[-1].graph if isinstance(node, Activation)] == ["relu"]


def test_the_groups_are_those_of_the_printed_table():
    space = published.load("fbnetv2-f")
    assert group_sizes(space) == [24, 216, 216, 288, 288, 360, 360, 432, 720, 720]
    # The entropy of uniform choice, in nats.
    assert sum(map(math.log, group_sizes(space))) == pytest.approx(56.25366304594702)
    variables = ["kernel", "expansion", "channels", "activation", "attention"]
    assert [choice.name for choice in space.choices] == [
        f"group{number}_{variable}" for number in range(1, 11) for variable in variables
    ]
    assert [choice.group for choice in space.choices[::5]] == [f"group{n}" for n in range(1, 11)]


def test_the_blocks_of_a_group_share_its_choices():
    space = published.load("fbnetv2-f")
    blocks = space.blocks[1:-2]
    repeats = [
        len(list(same)) for _, same in itertools.groupby(blocks, key=lambda block: block.reads)
    ]
    assert repeats == [1, 1, 2, 1, 2, 1, 2, 3, 1, 3]
    sizes = [shape[1] for shape in (layer.out_shape for layer in space.layers([0] * 50)[1:-2])]
    assert sizes == [64] + [32] * 3 + [16] * 3 + [8] * 6 + [4] * 4


def test_a_row_says_what_its_blocks_are():
    space = published.load("fbnetv2-f")
    row = np.zeros(50, dtype=np.int64)
    # Group 8: kernel 5, expansion 3, 96 channels, hswish, squeeze-and-excitation.
    row[35:40] = [2, 3, 3, 1, 1]
    layers = [layer for layer in space.layers(row) if layer.block.startswith("group8")]
    assert [layer.layer for layer in layers] == [SplitMBConv(96, 5, 1, 3.0, "hswish", 1)] * 3
    assert [layer.in_shape[0] for layer in layers] == [48, 96, 96]


def test_without_a_kernel_the_other_variables_of_a_group_mean_nothing():
    space = published.load("fbnetv2-f")
    rows = space.sample(500, rng=np.random.default_rng(0))
    expected = rows.copy().reshape(500, 10, 5)
    expected[expected[:, :, 0] == 0] *= np.array([1, 0, 1, 0, 0])
    assert (expected.reshape(500, 50) != rows).any()
    np.testing.assert_array_equal(space.canonical(rows), expected.reshape(500, 50))


@pytest.mark.parametrize("by_block", [False, True])
def test_canonical_rows_are_the_distinct_networks(by_block):
    space = small_space(by_block=by_block)
    if by_block:
        # The second group begins with a skip; where that is an identity, the block behind moves up.
        alive = space.mask.copy()
        for column in (5, 6, 8, 9, 13, 14):
            alive[column, 1:] = False
        space = space.restrict(alive)
    live = [np.flatnonzero(row) for row in space.mask]
    rows = np.array(list(itertools.product(*live)))

    def built(row):
        # What each group builds, in order; a block that builds nothing is not there.
        return tuple((p.block.split("_")[0], p.graph) for p in space.layers(row) if p.graph)

    canonical = space.canonical(rows)
    assert len(np.unique(canonical, axis=0)) == len({built(row) for row in rows}) < len(rows)
    for row, same in zip(rows[::97], canonical[::97], strict=True):
        assert built(row) == built(same)
