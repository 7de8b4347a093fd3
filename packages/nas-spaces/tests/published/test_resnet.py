import pytest

from nas_spaces import InputError, published
from nas_spaces.layers import BasicBlock
from nas_spaces.primitives import Activation, Convolution, Quantise
from nas_spaces.published.resnet import resnet
from nas_spaces.testing import check_space

REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def quantised(graph):
    """Sources and bits of the convolutions of a graph, by name."""
    return {
        node.name: (node.inputs[0], node.weight_bits, node.input_bits)
        for node in graph
        if isinstance(node, Convolution)
    }


@pytest.mark.parametrize("depth", REPEATS)
@pytest.mark.parametrize("quant", [False, True])
def test_shapes_are_those_of_resnet(depth, quant):
    space = published.load(f"resnet{depth}-quant" if quant else f"resnet{depth}")
    if not quant:
        check_space(space)
        assert published.architecture(f"resnet{depth}")[0] == space
    expected = [(64, 112), (64, 56)]
    for channels, size, repeats in zip(
        (64, 128, 256, 512), (56, 28, 14, 7), REPEATS[depth], strict=True
    ):
        expected += [(channels, size)] * repeats
    expected.append((1000, 1))
    layers = space.layers([0] * space.num_choices)
    assert [placed.out_shape for placed in layers] == [(c, s, s) for c, s in expected]


def test_columns_are_bits_and_channels_of_each_block():
    space = published.load("resnet18-quant")
    assert [choice.name for choice in space.choices[:3]] == [
        "stage1_0_bits",
        "stage1_0_scale",
        "stage1_1_bits",
    ]
    bits, scales = (choice.options for choice in space.choices[:2])
    assert bits == ((1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4))
    assert scales == (0.5, 1.0, 1.5)
    for i, (weights, inputs) in enumerate(bits):
        for j, scale in enumerate(scales):
            placed = space.layers([i, j] + [0] * 14)[2]
            assert placed.layer == BasicBlock(64, 1, scale, weights, inputs)
            (conv1,) = [node for node in placed.graph if node.name == "conv1"]
            assert conv1.out_channels == 64 * scale


def test_every_convolution_but_the_stem_is_quantised():
    space = published.load("resnet34-quant")
    layers = space.layers([4, 0] * 16)
    found = {placed.block: quantised(placed.graph) for placed in layers}
    assert found.pop("stem") == {"conv": ("input", None, None)}
    blocks = [convolutions for convolutions in found.values() if convolutions]
    assert len(blocks) == 16
    assert {where[1:] for convolutions in blocks for where in convolutions.values()} == {(3, 4)}
    assert [name for name, convolutions in found.items() if "downsample" in convolutions] == [
        "stage2_0",
        "stage3_0",
        "stage4_0",
    ]


def test_what_a_quantised_block_reads():
    graph = BasicBlock(16, 2, 0.5, 2, 4).graph((8, 10, 10))
    assert quantised(graph) == {
        "conv1": ("quantise1", 2, 4),
        "conv2": ("quantise2", 2, 4),
        "downsample": ("quantise1", 2, 4),
    }
    nodes = {node.name: node for node in graph}
    assert nodes["quantise1"].inputs == ("input",)
    assert nodes["quantise2"].inputs == ("conv1_norm",)
    # The only ReLU is the one behind the sum.
    assert [node.name for node in graph if isinstance(node, Activation)] == ["act"]
    # A shortcut without convolution is not quantised.
    assert BasicBlock(8, 1, 1.0, 2, 4).graph((8, 10, 10))[-2].inputs == ("conv2_norm", "input")


def test_a_block_in_full_precision():
    graph = BasicBlock(8).graph((8, 10, 10))
    assert not any(isinstance(node, Quantise) for node in graph)
    assert quantised(graph) == {
        "conv1": ("input", None, None),
        "conv2": ("conv1_act", None, None),
    }
    assert "downsample" in quantised(BasicBlock(12).graph((8, 10, 10)))


@pytest.mark.parametrize("bits", [(2, None), (None, 4)])
def test_both_or_neither_are_quantised(bits):
    with pytest.raises(InputError, match="give both, or neither for full precision"):
        BasicBlock(8, 1, 1.0, *bits).graph((8, 10, 10))


@pytest.mark.parametrize("bits", [0, -1, 17, 32])
def test_numbers_of_bits(bits):
    with pytest.raises(InputError, match=rf"'quantise1': bits={bits} must be a whole num"):
        BasicBlock(8, 1, 1.0, 2, bits).graph((8, 10, 10))
    with pytest.raises(InputError, match=rf"'conv1': weight_bits={bits} must be a whole"):
        BasicBlock(8, 1, 1.0, bits, 2).graph((8, 10, 10))


def test_bits_share_the_weights_of_a_block():
    for name in ("resnet18-quant", "resnet34-quant"):
        shares = {block.shares for block in published.load(name).blocks if block.reads}
        assert shares == {("weight_bits", "input_bits", "scale")}


def test_the_resnet_of_cifar():
    space = published.load("resnet20")
    assert space.num_choices == 0
    expected = [(16, 32)] + [(16, 32)] * 3 + [(32, 16)] * 3 + [(64, 8)] * 3 + [(10, 1)]
    shapes = [placed.out_shape for placed in space.layers(())]
    assert shapes == [(c, size, size) for c, size in expected]
    with pytest.raises(InputError, match="resnet: depth=19; valid: 18, 20, 34"):
        resnet(19)


@pytest.mark.parametrize(
    ("name", "network"), [("resnet18-blocks", "resnet18"), ("resnet20-blocks", "resnet20")]
)
def test_blocks_of_kernel_3_are_the_network(name, network):
    space, plain = published.load(name), published.load(network)
    assert [p.graph for p in space.layers([0] * space.num_choices)] == [
        p.graph for p in plain.layers(())
    ]
    fives = {
        node.kernel
        for placed in space.layers([1] * space.num_choices)
        if isinstance(placed.layer, BasicBlock)
        for node in placed.graph
        if isinstance(node, Convolution) and node.name != "downsample"
    }
    assert fives == {5}


def test_a_block_may_be_left_out_where_it_keeps_the_shape():
    space = published.load("digits-resnet")
    fixed = ["stage2_0", "stage3_0"]
    assert [choice.name for choice in space.choices if len(choice.options) == 2] == fixed
    assert published.load("resnet18-blocks").num_options == (3, 3, 2, 3, 2, 3, 2, 3)
    assert published.load("resnet20-blocks").num_options == (3, 3, 3, 2, 3, 3, 2, 3, 3)
