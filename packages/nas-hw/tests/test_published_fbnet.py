"""FBNet and FBNetV2 as released, and what FP-NAS says of its spaces."""

import numpy as np
import pytest
from attrs import evolve

import nas_hw
from nas_spaces import Block, SearchSpace, published
from nas_spaces.layers import SplitMBConv
from nas_spaces.primitives import Convolution, Linear, Norm, Pool

# Multiply-adds, elements that enter global poolings, parameters in all, of norms, of biases.
COUNTS = {
    "fbnet-a": (244_452_664, 73_696, 4_321_232, 33_296, 17_648),
    "fbnet-b": (291_004_424, 97_216, 4_818_216, 33_696, 17_848),
    "fbnet-c": (378_136_224, 97_216, 5_592_784, 44_240, 23_120),
    "fbnetv2-f1": (56_231_936, 178_624, 6_024_744, 20_240, 5_096),
    "fbnetv2-f3": (121_423_712, 400_288, 6_924_840, 20_240, 5_096),
}
# Annotations of the released definitions: FLOPs, and parameters where they are written down.
ANNOTATED = {
    "fbnet-a": (244_526_360, None),
    "fbnet-b": (291_101_640, None),
    "fbnet-c": (378_233_440, None),
    "fbnetv2-f1": (56_410_560, 5_999_408),
    "fbnetv2-f2": (85_441_392, 5_999_408),
    "fbnetv2-f3": (121_824_000, 6_899_504),
    "fbnetv2-f4": (238_351_984, 6_994_824),
}


def cost(table):
    (value,) = table(np.zeros((1, 0), dtype=np.int64))
    return int(value)


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_counts_of_the_released_networks(name, expected):
    space, arch = published.architecture(name)
    nodes = [node for layer in space.layers(arch) for node in layer.graph]
    biases = [n.bias * n.shape[0] for n in nodes if isinstance(n, Convolution | Linear)]
    counted = (
        cost(nas_hw.macs(space)),
        sum(int(np.prod(node.in_shape)) for node in nodes if isinstance(node, Pool)),
        cost(nas_hw.params(space)),
        sum(2 * node.channels for node in nodes if isinstance(node, Norm)),
        sum(biases),
    )
    assert counted == expected


@pytest.mark.parametrize(("name", "flops", "params"), [(n, *v) for n, v in ANNOTATED.items()])
def test_annotations_of_the_released_networks(name, flops, params):
    space, _ = published.architecture(name)
    assert cost(nas_hw.macs(space, "mobile-vision")) == flops
    if params is not None:
        assert cost(nas_hw.params(space, "mobile-vision")) == params


# The paper: about 7M an extra split at 58M, 22.5M at 240M, which is 12 and 9 %.
@pytest.mark.parametrize(
    ("name", "millions", "share"),
    [("fbnetv2-f1", (5.5, 7), (0.09, 0.12)), ("fbnetv2-f4", (18, 22.5), (0.075, 0.09))],
)
def test_a_split_costs_what_fp_nas_measures(name, millions, share):
    network, _ = published.architecture(name)

    def macs(splits):
        blocks = []
        for block in network.blocks:
            (layer,) = block.layers
            if isinstance(layer, SplitMBConv) and layer.splits:
                layer = evolve(layer, splits=splits)
            blocks.append(Block(block.name, [layer]))
        return cost(nas_hw.macs(SearchSpace(name, network.input_shape, (), blocks)))

    for splits in (2, 4):
        extra = (macs(splits) - macs(1)) / (splits - 1)
        assert millions[0] < extra / 1e6 < millions[1]
        assert share[0] < extra / macs(1) < share[1]


# Our widths: chosen so that the medians of random rows come near the paper's.
@pytest.mark.parametrize(
    ("name", "median"), [("fp-nas-l0", 0.39e9), ("fp-nas-l1", 0.9e9), ("fp-nas-l2", 1.1e9)]
)
def test_medians_of_fp_nas_s_large_spaces(name, median):
    space = published.load(name)
    macs = nas_hw.macs(space)
    drawn = macs(space.sample(20_000, rng=np.random.default_rng(0)))
    assert np.median(drawn) == pytest.approx(median, rel=0.025)
