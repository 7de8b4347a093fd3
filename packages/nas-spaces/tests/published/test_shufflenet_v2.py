import pytest

from nas_spaces import published
from nas_spaces.layers import ShuffleUnit
from nas_spaces.testing import check_space

# Output channels of the stages and of the last convolution (table 5 of the paper).
WIDTHS = {
    "shufflenet-v2-1.0": (116, 232, 464, 1024),
    "shufflenet-v2-1.5": (176, 352, 704, 1024),
    "shufflenet-v2-2.0": (244, 488, 976, 2048),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_shapes_are_those_of_the_paper(name):
    space, arch = published.architecture(name)
    assert space == published.load(name)
    assert (space.num_choices, space.size, len(arch)) == (0, 1, 0)
    check_space(space)
    first, second, third, last = WIDTHS[name]
    expected = [
        (24, 112),
        (24, 56),
        *[(first, 28)] * 4,
        *[(second, 14)] * 8,
        *[(third, 7)] * 4,
        (last, 7),
        (1000, 1),
    ]
    assert [placed.out_shape for placed in space.layers([])] == [(c, s, s) for c, s in expected]


@pytest.mark.parametrize("name", WIDTHS)
def test_a_projection_keeps_its_channels(name):
    for placed in published.load(name).layers([]):
        if isinstance(placed.layer, ShuffleUnit) and placed.layer.stride == 2:
            nodes = {node.name: node for node in placed.graph}
            channels, out = placed.in_shape[0], placed.out_shape[0]
            assert nodes["proj_pw"].out_channels == channels
            assert nodes["pw2"].out_channels == out - channels
            assert nodes["pw1"].out_channels == nodes["dw"].out_channels == out // 2


def test_options():
    space = published.load("shufflenet-v2-2.0", classes=7, resolution=64, in_channels=1)
    assert space.input_shape == (1, 64, 64)
    assert space.num_classes == 7
    assert space.blocks[-1].layers[0].bias
