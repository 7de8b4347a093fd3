import pytest

from nas_spaces import published
from nas_spaces.primitives import Dropout


def test_the_space_has_nineteen_blocks_of_six_and_no_identity():
    space = published.load("fairnas-19")
    assert space.size == 6**19
    assert {len(choice.options) for choice in space.choices} == {6}
    shapes = [placed.out_shape for placed in space.layers([5] * 19)][2:-2]
    widths = (32, 40, 80, 96, 192, 320)
    sizes = (56, 28, 14, 14, 7, 7)
    expected = [
        (width, size, size)
        for width, size, repeats in zip(widths, sizes, (2, 4, 4, 4, 4, 1), strict=True)
        for _ in range(repeats)
    ]
    assert shapes == expected


def test_the_ranking_space_contains_mobilenet_v2():
    space = published.load("fairnas-ranking")
    assert space.size == 6**16
    network, _ = published.architecture("mobilenet-v2")
    k3e6 = space.choices[0].options.index("k3e6")
    graphs = [placed.graph for placed in space.layers([k3e6] * 16)]
    # All but the head, where MobileNetV2 has a dropout.
    assert graphs[:-1] == [placed.graph for placed in network.layers([])][:-1]


# Kernels and expansions of the official models, block by block.
@pytest.mark.parametrize(
    ("name", "kernels", "expansions"),
    [
        ("fairnas-a", "7373733775355337375", "3336633663633666666"),
        ("fairnas-b", "5353357335337375735", "3333633363363366666"),
        ("fairnas-c", "5373333333333377335", "3333333336333366666"),
    ],
)
def test_released_networks(name, kernels, expansions):
    space, arch = published.architecture(name)
    blocks = [placed.layer for placed in space.layers(arch)][2:-2]
    assert "".join(str(block.kernel) for block in blocks) == kernels
    assert "".join(str(block.expand) for block in blocks) == expansions
    assert all(block.se is None for block in blocks)
    (dropout,) = [node for node in space.layers(arch)[-1].graph if isinstance(node, Dropout)]
    assert dropout.rate == 0.2


def test_the_first_block_has_no_residual():
    space, arch = published.architecture("fairnas-a")
    first = space.layers(arch)[1]
    assert [node.name for node in first.graph] == [
        *("depthwise", "depthwise_norm", "depthwise_act", "project", "project_norm"),
    ]
    assert (first.in_shape[0], first.out_shape[0]) == (32, 16)
