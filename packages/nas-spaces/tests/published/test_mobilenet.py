import pytest

from nas_spaces import InputError, published
from nas_spaces.layers import Identity, MBConv
from nas_spaces.published.mobilenet import Macro, row

WIDTHS = {
    "mobilenet-21": (32, 16, 24, 40, 80, 96, 192, 320, 1280),
    "mobilenet-21-mobile": (32, 16, 32, 40, 80, 96, 192, 320, 1280),
    "mobilenet-21-cpu": (40, 24, 32, 48, 88, 104, 216, 360, 1432),
    "mobilenet-21-gpu": (40, 24, 32, 56, 112, 128, 256, 432, 1728),
}


@pytest.mark.parametrize(("name", "widths"), WIDTHS.items())
def test_widths_and_strides_of_the_variants(name, widths):
    space = published.load(name)
    assert space.size == 6**6 * 7**15
    shapes = [placed.out_shape for placed in space.layers([0] * 21)]
    stem, first, *stages, last = widths
    expected = [(stem, 112), (first, 112)]
    for width, repeats, size in zip(
        stages, (4, 4, 4, 4, 4, 1), (56, 28, 14, 14, 7, 7), strict=True
    ):
        expected += [(width, size)] * repeats
    expected += [(last, 7), (1000, 1)]
    assert shapes == [(width, size, size) for width, size in expected]


def test_skips_stand_in_the_fifteen_blocks_that_keep_the_shape():
    space = published.load("mobilenet-21")
    skips = [
        isinstance(layer, Identity)
        for block in space.blocks
        if block.reads
        for layer in block.layers
    ]
    assert sum(skips) == 15
    assert [len(choice.options) for choice in space.choices] == [6, 7, 7, 7] * 5 + [6]
    kept = [i for i, block in enumerate(space.blocks) if len(block.layers) == 7]
    assert all(space.plan[i].in_shapes[0] == space.plan[i].out_shapes[0] for i in kept)


def test_options_name_what_is_built():
    space = published.load("mobilenet-21")
    for choice, block in zip(space.choices, space.blocks[2:-2], strict=True):
        for name, layer in zip(choice.options, block.layers, strict=True):
            if name == "skip":
                assert layer == Identity()
            else:
                assert name == f"k{layer.kernel}e{layer.expand}"
                assert layer.se is None


def test_blocks_that_a_released_network_leaves_out_are_skips():
    for name, built in (("mobile", 19), ("cpu", 19), ("gpu", 13)):
        space, arch = published.architecture(f"proxyless-{name}")
        placed = space.layers(arch)
        assert sum(isinstance(one.layer, MBConv) for one in placed) == built + 1
        assert (space.canonical([arch])[0] == arch).all()


def test_rows_are_spelled_by_their_options():
    assert row("a b | b", ("a", "b"), (2, 1)) == (0, 1, 1)
    with pytest.raises(ValueError, match="not in tuple"):
        row("a c", ("a", "b"), (2,))


def test_a_width_scales_all_but_the_last_convolution_down():
    macro = Macro.of(WIDTHS["mobilenet-21"], (4, 4, 4, 4, 4, 1), (2, 2, 2, 1, 2, 1))
    assert macro.scaled(1.0) == macro
    wide = macro.scaled(1.4)
    assert (wide.stem, wide.first, wide.last) == (48, 24, 1792)
    assert [stage[0] for stage in wide.stages] == [32, 56, 112, 136, 272, 448]
    assert [stage[1:] for stage in wide.stages] == [stage[1:] for stage in macro.stages]
    assert macro.scaled(0.5).last == 1280
    with pytest.raises(InputError, match=r"width=0 must be positive; 1\.0 is the network"):
        macro.scaled(0)


def test_hidden_sizes_of_mobilenet_v3_are_those_of_its_table():
    space, arch = published.architecture("mobilenet-v3-large")
    hidden, squeezed = [], []
    for placed in space.layers(arch):
        nodes = {node.name: node for node in placed.graph}
        if isinstance(placed.layer, MBConv):
            hidden.append(nodes["depthwise"].out_channels)
            squeezed.append(nodes["se_reduce"].out_channels if "se_reduce" in nodes else 0)
    assert hidden == [16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960]
    assert squeezed == [0, 0, 0, 24, 32, 32, 0, 0, 0, 0, 120, 168, 168, 240, 240]
