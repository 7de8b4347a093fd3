import pytest

from nas_spaces import InputError, published
from nas_spaces.layers import Identity, MBConv
from nas_spaces.primitives import Activation


def test_without_options_it_is_the_mobile_space_with_identities():
    space, mobile = published.load("betanas"), published.load("mobilenet-21")
    assert space.size == mobile.size == 6**6 * 7**15
    assert [b.layers for b in space.blocks[:-1]] == [b.layers for b in mobile.blocks[:-1]]
    assert {options[-1] for options in (c.options for c in space.choices) if len(options) == 7} == {
        "identity"
    }


def test_squeeze_and_excitation_stands_in_every_block():
    space = published.load("betanas", se=True)
    middles = []
    for option in range(6):
        for placed in space.layers([option] * 21):
            if isinstance(placed.layer, MBConv):
                nodes = {node.name: node for node in placed.graph}
                hidden = nodes["depthwise"].out_channels
                # A sixteenth, what lies between two numbers rounded up.
                assert nodes["se_reduce"].out_channels == (hidden + 15) // 16
                middles.append(nodes["se_reduce"].out_channels)
    assert len(middles) == 6 * 22
    assert min(middles) == 2
    for block in space.blocks:
        assert all(isinstance(one, Identity) or one.se for one in block.layers if block.reads)


def test_the_activation_is_everywhere():
    space = published.load("betanas", activation="swish", se=True)
    kinds = {
        node.kind
        for placed in space.layers([0] * 21)
        for node in placed.graph
        if isinstance(node, Activation) and not node.name.startswith("se_")
    }
    assert kinds == {"swish"}


def test_the_width_multiplier_of_the_paper():
    space = published.load("betanas", width=1.4)
    widths = list(dict.fromkeys(placed.out_shape[0] for placed in space.layers([0] * 21)))
    assert widths == [48, 24, 32, 56, 112, 136, 272, 448, 1792, 1000]
    assert space.num_options == published.load("betanas").num_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": -1}, "width=-1 must be positive; 1.0 is the network as published"),
        (
            {"activation": "silu"},
            "MBConv activation='silu' is unknown; "
            "valid: relu, relu6, hswish, swish, sigmoid, hsigmoid",
        ),
    ],
)
def test_options_that_make_no_network(options, message):
    with pytest.raises(InputError) as error:
        published.load("betanas", **options)
    assert str(error.value) == message
