import itertools

import pytest

from nas_spaces import InputError
from nas_spaces.layers import FBNetBlock, PooledConv, Skip, SplitMBConv
from nas_spaces.primitives import Activation, Convolution, Norm, Pool, Shuffle, output_shape


def convolutions(layer, shape):
    """(name, in, out, kernel, stride, groups, bias) of each convolution."""
    return [
        (
            node.name,
            node.in_channels,
            node.out_channels,
            node.kernel,
            node.stride,
            node.groups,
            node.bias,
        )
        for node in layer.graph(shape)
        if isinstance(node, Convolution)
    ]


def activations(layer, shape):
    return [(n.name, n.kind) for n in layer.graph(shape) if isinstance(n, Activation)]


def hidden(layer, channels):
    (depthwise,) = [c for c in convolutions(layer, (channels, 8, 8)) if c[0] == "depthwise"]
    return depthwise[1]


def test_fbnet_blocks_group_their_pointwise_convolutions_and_shuffle_between():
    layer = FBNetBlock(16, 5, 2, 3, groups=2)
    assert convolutions(layer, (8, 9, 9)) == [
        ("expand", 8, 24, 1, 1, 2, True),
        ("depthwise", 24, 24, 5, 2, 24, True),
        ("project", 24, 16, 1, 1, 2, True),
    ]
    order = [node.name for node in layer.graph((8, 9, 9))]
    assert order.index("expand_act") < order.index("shuffle") < order.index("depthwise")
    assert order[-1] == "project_norm"
    assert output_shape(layer.graph((8, 9, 9)), (8, 9, 9)) == (16, 5, 5)


def test_fbnet_blocks_without_expansion_still_shuffle():
    graph = FBNetBlock(8, 3, expand=1, groups=2).graph((8, 9, 9))
    assert [node.name for node in graph if isinstance(node, Convolution | Shuffle)] == [
        "shuffle",
        "depthwise",
        "project",
    ]
    assert graph[-1].inputs == ("input", "project_norm")
    plain = FBNetBlock(8, 3, expand=1).graph((8, 9, 9))
    assert not [node for node in plain if isinstance(node, Shuffle)]


# Released widths: FBNetV2-F1 and F4, and hand-made ones.
@pytest.mark.parametrize(
    ("channels", "expand", "expected"),
    [
        # 43.65 is nearest to 40, which loses more than 5 %.
        (8, 5.4566, 48),
        (24, 4.7912, 112),
        (24, 1.7912, 48),
        (56, 4.1212, 232),
        (144, 6.8754, 992),
        # 12 lies half way and goes up; 9 would lose more than 5 % at 8.
        (16, 0.75, 16),
        (12, 0.75, 16),
        (4, 0.75, 8),
    ],
)
def test_hidden_channels_are_multiples_of_eight(channels, expand, expected):
    assert hidden(SplitMBConv(24, 3, expand=expand), channels) == expected


def test_expansions_that_change_nothing_have_no_convolution():
    assert [c[0] for c in convolutions(SplitMBConv(24, 3, expand=1), (8, 4, 4))] == [
        "depthwise",
        "project",
    ]
    # 12 channels become 16, by a convolution.
    assert [c[0] for c in convolutions(SplitMBConv(24, 3, expand=1), (12, 4, 4))] == [
        "expand",
        "depthwise",
        "project",
    ]
    assert convolutions(SplitMBConv(24, 3, expand=0.75), (16, 4, 4))[0][0] == "depthwise"


def test_squeeze_and_excitation_has_a_quarter_of_the_channels_and_the_block_s_activation():
    layer = SplitMBConv(24, 5, 2, 3, "hswish", splits=1, gate="hsigmoid")
    assert convolutions(layer, (24, 8, 8)) == [
        ("expand", 24, 72, 1, 1, 1, False),
        ("depthwise", 72, 72, 5, 2, 72, False),
        # 18 is nearest to 16, which loses more than 5 %.
        ("se_reduce", 72, 24, 1, 1, 1, True),
        ("se_expand", 24, 72, 1, 1, 1, True),
        ("project", 72, 24, 1, 1, 1, False),
    ]
    assert activations(layer, (24, 8, 8)) == [
        ("expand_act", "hswish"),
        ("depthwise_act", "hswish"),
        ("se_act", "hswish"),
        ("se_gate", "hsigmoid"),
    ]
    assert ("se_gate", "sigmoid") in activations(SplitMBConv(24, 5, splits=1), (24, 8, 8))
    assert not [c for c in convolutions(SplitMBConv(24, 5), (24, 8, 8)) if c[0].startswith("se_")]


@pytest.mark.parametrize(
    ("splits", "channels", "middle"),
    # max(72 * 2 // 4, 32), max(72 * 4 // 4, 32), and the least, 32.
    [(2, 24, 36), (4, 24, 72), (2, 8, 32), (4, 8, 32)],
)
def test_split_attention_replicates_the_depthwise_convolution_only(splits, channels, middle):
    width = hidden(SplitMBConv(24, 3, expand=3), channels)
    layer = SplitMBConv(24, 3, 1, 3, "relu", splits)
    assert convolutions(layer, (channels, 8, 8)) == [
        ("expand", channels, width, 1, 1, 1, False),
        ("depthwise", width, splits * width, 3, 1, width, False),
        ("split_reduce", width, middle, 1, 1, 1, True),
        ("split_expand", middle, splits * width, 1, 1, 1, True),
        ("project", width, 24, 1, 1, 1, False),
    ]
    graph = layer.graph((channels, 8, 8))
    norms = [node.name for node in graph if isinstance(node, Norm)]
    assert norms == ["expand_norm", "depthwise_norm", "split_reduce_norm", "project_norm"]
    (pool,) = [node for node in graph if isinstance(node, Pool)]
    assert pool.in_shape == (width, 8, 8)


def test_the_input_is_added_where_the_shape_is_kept():
    for layer, added in (
        (SplitMBConv(24, 3), True),
        (SplitMBConv(24, 3, splits=2), True),
        (SplitMBConv(24, 3, 2), False),
        (SplitMBConv(32, 3), False),
    ):
        assert (layer.graph((24, 8, 8))[-1].name == "residual") == added


def test_the_shape_without_the_graph_is_the_graph_s():
    for stride, size, splits in itertools.product((1, 2), (7, 8), (0, 1, 2, 4)):
        layer, shape = SplitMBConv(20, 5, stride, splits=splits), (12, size, size + 1)
        assert layer.output(shape) == output_shape(layer.graph(shape), shape)
    for stride, channels in itertools.product((1, 2), (12, 20)):
        skip, shape = Skip(20, stride), (channels, 7, 8)
        assert skip.output(shape) == output_shape(skip.graph(shape), shape)


def test_what_is_no_number_of_splits_is_refused():
    with pytest.raises(InputError) as error:
        SplitMBConv(8, 3, splits=-1).graph((8, 8, 8))
    assert str(error.value) == "SplitMBConv splits=-1; valid: 0 (none), 1, 2, ..."


def test_the_last_layer_of_fbnetv2_pools_between_its_convolutions():
    layer = PooledConv(1600)
    assert convolutions(layer, (224, 4, 4)) == [
        ("expand", 224, 1344, 1, 1, 1, False),
        ("conv", 1344, 1600, 1, 1, 1, False),
    ]
    graph = layer.graph((224, 4, 4))
    assert [node.name for node in graph if isinstance(node, Norm)] == ["expand_norm"]
    assert activations(layer, (224, 4, 4)) == [("expand_act", "hswish"), ("act", "hswish")]
    assert output_shape(graph, (224, 4, 4)) == (1600, 1, 1)
