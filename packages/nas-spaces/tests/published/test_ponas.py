import pytest

from nas_spaces import published
from nas_spaces.layers import MBConv
from nas_spaces.primitives import Dropout


def test_twelve_candidates_in_c_order_the_largest_last():
    space = published.load("ponas-19")
    assert space.size == 12**19
    for block in space.blocks[2:-2]:
        built = [(one.kernel, one.expand, one.se is not None) for one in block.layers]
        assert built == [(k, e, se) for k in (3, 5, 7) for e in (3, 6) for se in (False, True)]
    assert space.choices[0].options[-1] == "k7e6se"


def test_squeeze_and_excitation_has_a_quarter_of_the_hidden_channels_and_at_least_8():
    space = published.load("ponas-19")
    for arch in ([1] * 19, [11] * 19):
        for placed in space.layers(arch):
            nodes = {node.name: node for node in placed.graph}
            if "se_reduce" in nodes:
                hidden = nodes["depthwise"].out_channels
                assert nodes["se_reduce"].out_channels == max(hidden // 4, 8)
                assert nodes["se_gate"].kind == "sigmoid"
    # So narrow that the minimum counts.
    se = space.blocks[2].layers[1].se
    nodes = {node.name: node for node in MBConv(8, 3, expand=3, se=se).graph((8, 4, 4))}
    assert nodes["se_reduce"].out_channels == 8


# Kernels, expansions and squeeze-and-excitation of the official models, block by block.
@pytest.mark.parametrize(
    ("name", "kernels", "expansions", "squeezed"),
    [
        ("ponas-a", "5575577555577777575", "6333336333333363336", "0011001111000111011"),
        ("ponas-b", "3755557555577777575", "6363336333633363336", "1101000111100111001"),
        ("ponas-c", "5755577575577577575", "6363336336633663336", "0111000111100111011"),
    ],
)
def test_released_networks(name, kernels, expansions, squeezed):
    space, arch = published.architecture(name)
    blocks = [placed.layer for placed in space.layers(arch)][2:-2]
    assert "".join(str(block.kernel) for block in blocks) == kernels
    assert "".join(str(block.expand) for block in blocks) == expansions
    assert "".join(str(int(block.se is not None)) for block in blocks) == squeezed
    (dropout,) = [node for node in space.layers(arch)[-1].graph if isinstance(node, Dropout)]
    assert dropout.rate == 0.2
