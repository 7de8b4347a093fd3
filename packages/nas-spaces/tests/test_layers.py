import pytest

from nas_spaces import InputError
from nas_spaces.layers import (
    LAYERS,
    Classifier,
    Conv,
    Identity,
    Layer,
    MBConv,
    Pool,
    ShuffleUnit,
    Zero,
)
from nas_spaces.primitives import Convolution, output_shape


def convolutions(layer, shape):
    """(name, in, out, kernel, stride, groups) of each convolution."""
    return [
        (node.name, node.in_channels, node.out_channels, node.kernel, node.stride, node.groups)
        for node in layer.graph(shape)
        if isinstance(node, Convolution)
    ]


def names(layer, shape):
    return [node.name for node in layer.graph(shape)]


def test_layers_are_frozen_records_that_json_can_name():
    for name, cls in LAYERS.items():
        assert name == cls.__name__
        assert isinstance(cls, type)
        assert hasattr(cls, "graph")
    assert isinstance(Identity(), Layer)
    assert hash(Conv(8)) == hash(Conv(8))
    with pytest.raises(AttributeError):
        Conv(8).out = 9


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv(16, 3, 2), (16, 4, 4)),
        (Conv(8, groups=None), (8, 8, 8)),
        (MBConv(24, 5, 2), (24, 4, 4)),
        (MBConv(8, 3), (8, 8, 8)),
        (ShuffleUnit(8, 3), (8, 8, 8)),
        (ShuffleUnit(20, 3, 2), (20, 4, 4)),
        (ShuffleUnit(20, 3, 2, kind="x"), (20, 4, 4)),
        (Pool("max", 3, 2), (8, 4, 4)),
        (Pool(), (8, 1, 1)),
        (Classifier(5), (5, 1, 1)),
        (Identity(), (8, 8, 8)),
        (Zero(), (8, 8, 8)),
        (Zero(2), (8, 4, 4)),
    ],
)
def test_output_shapes(layer, shape):
    assert output_shape(layer.graph((8, 8, 8)), (8, 8, 8)) == shape


def test_conv_norm_activation():
    assert names(Conv(8), (3, 8, 8)) == ["conv", "conv_norm", "conv_act"]
    assert names(Conv(8, activation=None), (3, 8, 8)) == ["conv", "conv_norm"]
    assert convolutions(Conv(8, groups=None), (8, 8, 8)) == [("conv", 8, 8, 3, 1, 8)]


def test_mbconv_expands_and_adds_its_input_where_the_shape_is_kept():
    assert convolutions(MBConv(16, 5, 2, expand=3), (8, 8, 8)) == [
        ("expand", 8, 24, 1, 1, 1),
        ("depthwise", 24, 24, 5, 2, 24),
        ("project", 24, 16, 1, 1, 1),
    ]
    assert [c[0] for c in convolutions(MBConv(8, 3, expand=1), (8, 8, 8))] == [
        "depthwise",
        "project",
    ]
    assert "residual" in names(MBConv(8, 3), (8, 8, 8))
    for other in (MBConv(16, 3), MBConv(8, 3, 2), MBConv(8, 3, residual=False)):
        assert "residual" not in names(other, (8, 8, 8))


def test_mbconv_projection_is_linear():
    assert "project_act" not in names(MBConv(16, 3), (8, 8, 8))


def test_shuffle_unit_at_stride_1_passes_half_of_the_channels():
    assert convolutions(ShuffleUnit(16, 5, scale=0.8), (16, 8, 8)) == [
        ("pw1", 8, 6, 1, 1, 1),
        ("dw", 6, 6, 5, 1, 6),
        ("pw2", 6, 8, 1, 1, 1),
    ]
    graph = {node.name: node for node in ShuffleUnit(16, 3).graph((16, 8, 8))}
    assert (graph["pass"].start, graph["pass"].step) == (0, 2)
    assert (graph["enter"].start, graph["enter"].step) == (1, 2)
    assert graph["join"].inputs == ("pass", "pw2_act")


def test_shuffle_unit_at_stride_2_projects_all_channels():
    assert convolutions(ShuffleUnit(64, 7, 2), (16, 8, 8)) == [
        ("proj_dw", 16, 16, 7, 2, 16),
        ("proj_pw", 16, 16, 1, 1, 1),
        ("pw1", 16, 32, 1, 1, 1),
        ("dw", 32, 32, 7, 2, 32),
        ("pw2", 32, 48, 1, 1, 1),
    ]


def test_xception_unit_has_three_depthwise_convolutions():
    assert convolutions(ShuffleUnit(16, 3, kind="x"), (16, 8, 8)) == [
        ("dw1", 8, 8, 3, 1, 8),
        ("pw1", 8, 8, 1, 1, 1),
        ("dw2", 8, 8, 3, 1, 8),
        ("pw2", 8, 8, 1, 1, 1),
        ("dw3", 8, 8, 3, 1, 8),
        ("pw3", 8, 8, 1, 1, 1),
    ]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (ShuffleUnit(8, 3, kind="y"), "ShuffleUnit kind='y' is unknown; valid: k, x"),
        (
            ShuffleUnit(8, 5, kind="x"),
            "ShuffleUnit kind='x' has kernel 3; received kernel=5",
        ),
        (
            ShuffleUnit(16, 3),
            "ShuffleUnit at stride 1 keeps a number of channels divisible by 4; received 8 -> 16",
        ),
        (ShuffleUnit(16, 3, 3), "ShuffleUnit stride=3; valid: 1, 2"),
    ],
)
def test_shuffle_units_that_do_not_fit(layer, message):
    with pytest.raises(InputError) as error:
        layer.graph((8, 8, 8))
    assert str(error.value) == message


def test_classifier_dropout_is_there_only_where_asked_for():
    assert names(Classifier(5), (8, 8, 8)) == ["pool", "linear"]
    assert names(Classifier(5, dropout=0.1), (8, 8, 8)) == ["pool", "dropout", "linear"]
    assert not Classifier(5, bias=False).graph((8, 8, 8))[-1].bias
