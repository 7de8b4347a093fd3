import json

import pytest

from nas_spaces import Block, InputError, SearchSpace, from_json, to_json
from nas_spaces.layers import Classifier, HiddenClassifier, MBConv, SqueezeExcite
from nas_spaces.primitives import Convolution, Linear, output_shape


def nodes(layer, shape):
    return {node.name: node for node in layer.graph(shape)}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MBConv(24, 5, 2), (8, 7, 9)),
        (MBConv(8, 3), (8, 6, 6)),
        (MBConv(16, 7, 3, expand=1, se=SqueezeExcite()), (8, 10, 11)),
    ],
)
def test_the_output_shape_without_the_graph_is_that_of_the_graph(layer, shape):
    assert layer.output(shape) == output_shape(layer.graph(shape), shape)


def test_squeeze_and_excitation_stands_between_depthwise_and_projection():
    graph = MBConv(8, 3, expand=3, activation="hswish", se=SqueezeExcite(gate="hsigmoid")).graph(
        (8, 6, 6)
    )
    assert [node.name for node in graph] == [
        *("expand", "expand_norm", "expand_act"),
        *("depthwise", "depthwise_norm", "depthwise_act"),
        *("se_pool", "se_reduce", "se_act", "se_expand", "se_gate", "se_scale"),
        *("project", "project_norm", "residual"),
    ]
    by_name = {node.name: node for node in graph}
    reduce, expand = by_name["se_reduce"], by_name["se_expand"]
    assert (reduce.in_channels, reduce.out_channels, reduce.shape) == (24, 6, (6, 1, 1))
    assert (expand.in_channels, expand.out_channels) == (6, 24)
    assert reduce.bias
    assert expand.bias
    assert (by_name["se_act"].kind, by_name["se_gate"].kind) == ("relu", "hsigmoid")
    assert by_name["se_scale"].inputs == ("depthwise_act", "se_gate")
    assert by_name["project"].inputs == ("se_scale",)


@pytest.mark.parametrize(
    ("se", "middle"),
    [
        (SqueezeExcite(0.25), 18),
        (SqueezeExcite(0.25, of="input"), 6),
        # 18 lies nearer to 16, which would lose more than a tenth.
        (SqueezeExcite(0.25, divisor=8), 24),
        (SqueezeExcite(0.25, minimum=32), 32),
        (SqueezeExcite(0.0625), 5),
        (SqueezeExcite(0.001), 1),
    ],
)
def test_channels_between_the_two_convolutions(se, middle):
    assert se.middle(24, 72) == middle
    assert nodes(MBConv(24, 3, expand=3, se=se), (24, 4, 4))["se_reduce"].out_channels == middle


def test_hidden_sizes_of_a_table_are_reached_by_their_ratio():
    # Every size up to where MobileNets end: the ratio, a float, must not lose one.
    for entering in range(1, 161, 3):
        for hidden in range(1, 961, 7):
            layer = MBConv(8, 3, expand=hidden / entering)
            assert nodes(layer, (entering, 1, 1))["depthwise"].out_channels == hidden


def test_a_nested_record_survives_json_and_can_be_hashed():
    layer = MBConv(8, 3, se=SqueezeExcite(0.5, of="input", divisor=8, minimum=16, gate="hsigmoid"))
    space = SearchSpace(
        "one", (8, 4, 4), (), [Block("b", [layer]), Block("head", [HiddenClassifier(3, 7)])]
    )
    again = from_json(to_json(space))
    assert again == space
    assert hash(again.blocks[0].layers[0]) == hash(layer)
    spelled = json.loads(to_json(space))["blocks"][0]["layers"][0]
    assert spelled["se"]["minimum"] == 16
    assert from_json(to_json(SearchSpace("none", (8, 4, 4), (), [Block("b", [MBConv(8, 3)])])))


def test_squeeze_and_excitation_makes_another_layer():
    assert MBConv(8, 3) != MBConv(8, 3, se=SqueezeExcite())
    assert MBConv(8, 3, se=SqueezeExcite(0.5)) != MBConv(8, 3, se=SqueezeExcite())


def test_the_hidden_classifier_maps_twice():
    graph = HiddenClassifier(5, 12, dropout=0.1).graph((8, 3, 3))
    assert [node.name for node in graph] == ["pool", "hidden", "hidden_act", "dropout", "linear"]
    linears = [node for node in graph if isinstance(node, Linear)]
    assert [(one.in_features, one.out_features, one.bias) for one in linears] == [
        (8, 12, True),
        (12, 5, True),
    ]
    assert len(HiddenClassifier(5, 12).graph((8, 3, 3))) == 4
    assert not any(isinstance(node, Convolution) for node in graph)
    assert output_shape(graph, (8, 3, 3)) == output_shape(Classifier(5).graph((8, 3, 3)), (8, 3, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MBConv(0, 3), "MBConv out=0 must be at least 1"),
        (lambda: MBConv(8, 4), "MBConv kernel=4 must be odd"),
        (lambda: MBConv(8, 3, 0), "MBConv stride=0 must be at least 1"),
        (lambda: MBConv(8, 3, expand=0), "MBConv expand=0 must be positive"),
        (
            lambda: MBConv(8, 3, activation="silu"),
            "MBConv activation='silu' is unknown; "
            "valid: relu, relu6, hswish, swish, sigmoid, hsigmoid",
        ),
        (
            lambda: SqueezeExcite(0),
            "SqueezeExcite ratio=0 must be positive; for none leave it out",
        ),
        (
            lambda: SqueezeExcite(of="output"),
            "SqueezeExcite of='output' is unknown; valid: hidden, input",
        ),
        (lambda: SqueezeExcite(divisor=0), "SqueezeExcite divisor=0 must be at least 1"),
        (lambda: SqueezeExcite(minimum=0), "SqueezeExcite minimum=0 must be at least 1"),
        (
            lambda: SqueezeExcite(gate="hsig"),
            "SqueezeExcite gate='hsig' is unknown; "
            "valid: relu, relu6, hswish, swish, sigmoid, hsigmoid",
        ),
    ],
)
def test_records_that_make_no_block_are_refused(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message
