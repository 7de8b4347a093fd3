import numpy as np
import pytest

from nas_spaces import InputError, published
from nas_spaces.layers import ShuffleUnit
from nas_spaces.published.spos import PAPER_BLOCKS
from nas_spaces.testing import check_space
from nas_spaces.vary import SCALES

# The published table; the others are exact in tenths.
MIDDLES = {
    64: [6, 12, 19, 25, 32, 38, 44, 51],
    160: [16, 32, 48, 64, 80, 96, 112, 128],
    320: [32, 64, 96, 128, 160, 192, 224, 256],
    640: [64, 128, 192, 256, 320, 384, 448, 512],
}


def primitive(layer, shape, name):
    (node,) = [node for node in layer.graph(shape) if node.name == name]
    return node


@pytest.mark.parametrize("out", MIDDLES)
@pytest.mark.parametrize("kind", ["k", "x"])
@pytest.mark.parametrize("stride", [1, 2])
def test_middle_channels_are_rounded_down(out, kind, stride):
    entering = (out if stride == 1 else out // 2, 8, 8)
    for scale, middle in zip(SCALES, MIDDLES[out], strict=True):
        unit = ShuffleUnit(out, 3, stride, kind=kind, scale=scale)
        assert primitive(unit, entering, "pw1").out_channels == middle
        assert unit.graph(entering)[-1].shape[0] == out


def test_integers_survive_floating_point():
    # 0.1 * 6 lies above 0.6, and 1.4 - 0.8 below it.
    for scale, middle in ((0.1 * 6, 96), (1.4 - 0.8, 96), (0.599, 95)):
        unit = ShuffleUnit(320, 3, scale=scale)
        assert primitive(unit, (320, 8, 8), "pw1").out_channels == middle


def test_channels_are_scaled_within_the_blocks_of_the_paper():
    space, arch = published.architecture("spos-paper-channels")
    blocks, plain = published.architecture("spos-paper")
    for placed, of in zip(space.layers(arch), blocks.layers(plain), strict=True):
        assert (placed.block, placed.in_shape, placed.out_shape) == (
            of.block,
            of.in_shape,
            of.out_shape,
        )
        if isinstance(of.layer, ShuffleUnit):
            assert (placed.layer.kernel, placed.layer.kind) == (of.layer.kernel, of.layer.kind)
    scales = [p.layer.scale for p in space.layers(arch) if isinstance(p.layer, ShuffleUnit)]
    assert scales == [SCALES[i] for i in arch]
    # At scale 1 everywhere it is the network that the blocks build.
    ones = space.layers([SCALES.index(1.0)] * 20)
    assert [p.graph for p in ones] == [p.graph for p in blocks.layers(plain)]


def test_blocks_are_a_row_or_a_text():
    row = [3, 2, 1, 0] * 5
    texts = ("32103210321032103210", ",".join(map(str, row)))
    spaces = [
        published.load("spos-shufflenet-channels", blocks=blocks)
        for blocks in (row, tuple(row), np.array(row), *texts)
    ]
    assert all(space == spaces[0] for space in spaces)
    assert spaces[0] != published.load("spos-shufflenet-channels")
    units = [block.layers[0] for block in spaces[0].blocks[1:5]]
    assert [(unit.kind, unit.kernel) for unit in units] == [("x", 3), ("k", 7), ("k", 5), ("k", 3)]
    check_space(spaces[0])
    assert published.load("spos-shufflenet-channels", blocks=PAPER_BLOCKS) == published.load(
        "spos-shufflenet-channels"
    )


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ("012", "has 3 columns"),
        ([0] * 19 + [4], "has options 0..3"),
        ([0.5] * 20, "architectures are integers"),
        ([[0], [1, 2]], "is no array"),
        ("a" * 20, "is no row of integers"),
    ],
)
def test_other_blocks_are_refused(blocks, reason):
    with pytest.raises(InputError) as error:
        published.load("spos-shufflenet-channels", blocks=blocks)
    message = str(error.value)
    assert message.startswith("space 'spos-shufflenet-channels': blocks=")
    assert reason in message


@pytest.mark.parametrize("name", ["spos-shufflenet-channels", "spos-shufflenet-joint"])
def test_resolutions_are_multiples_of_32(name):
    with pytest.raises(InputError) as error:
        published.load(name, resolution=48)
    assert str(error.value) == f"space {name!r}: resolution=48 must be a multiple of 32"


def test_a_joint_row_is_a_row_of_blocks_and_one_of_channels():
    joint = published.load("spos-shufflenet-joint")
    rows = joint.sample(3, rng=np.random.default_rng(0))
    for row in rows:
        channels = published.load("spos-shufflenet-channels", blocks=row[0::2])
        assert [p.graph for p in joint.layers(row)] == [p.graph for p in channels.layers(row[1::2])]
    assert [choice.group for choice in joint.choices[:4]] == ["stage1_0"] * 2 + ["stage1_1"] * 2
