"""Bit widths and channels of ResNets: SPOS's third space (Guo et al., "Single Path One-Shot NAS
with Uniform Sampling", ECCV 2020, section 4.3), and the ResNets themselves (He et al., CVPR 2016).
"""

from functools import partial

from nas_spaces.layers import BasicBlock, Classifier, Conv, Pool
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = ["NETWORKS", "SPACES", "resnet", "resnet18_quant", "resnet34_quant"]

# Depth -> basic blocks of each stage.
REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
CHANNELS = (64, 128, 256, 512)
# (bits of weights, bits of activations).
BITS = ((1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4))
# Of the middle channels of a block.
SCALES = (0.5, 1.0, 1.5)


def resnet(
    depth: int, *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return ResNet-18 or ResNet-34 in full precision: a space with no choice.

    >>> resnet(34).num_choices
    0
    """
    blocks = [
        Block(name, [BasicBlock(channels, stride)]) for name, channels, stride in _places(depth)
    ]
    return _space(f"resnet{depth}", (), blocks, classes, in_channels, resolution)


def resnet18_quant(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return SPOS's space of bit widths and channels of ResNet-18: 18^8 rows.

    Two columns a basic block, in one group: the bits ``(weights, activations)`` of all its
    convolutions, and its middle channels as a multiple of its width. Stem and classifier stay in
    full precision. All candidates of a block share its weights in full precision; each number of
    activation bits has clipping levels of its own.

    >>> space = resnet18_quant()
    >>> space.num_choices, space.size == 18**8
    (16, True)
    """
    return _quantised(18, classes, in_channels, resolution)


def resnet34_quant(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return SPOS's space of bit widths and channels of ResNet-34: 18^16 rows.

    See `resnet18_quant`.
    """
    return _quantised(34, classes, in_channels, resolution)


def _quantised(depth: int, classes: int, in_channels: int, resolution: int) -> SearchSpace:
    choices = []
    blocks = []
    for name, channels, stride in _places(depth):
        reads = (f"{name}_bits", f"{name}_scale")
        choices.append(Choice(reads[0], BITS, group=name))
        choices.append(Choice(reads[1], SCALES, group=name))
        candidates = [
            BasicBlock(channels, stride, scale, *bits) for bits in BITS for scale in SCALES
        ]
        shares = ("scale", "weight_bits", "input_bits")
        blocks.append(Block(name, candidates, reads, shares=shares))
    return _space(f"resnet{depth}-quant", tuple(choices), blocks, classes, in_channels, resolution)


def _places(depth: int) -> list[tuple[str, int, int]]:
    """Return name, channels and stride of each basic block."""
    return [
        (f"stage{stage}_{repeat}", channels, 2 if stage > 1 and repeat == 0 else 1)
        for stage, (channels, repeats) in enumerate(
            zip(CHANNELS, REPEATS[depth], strict=True), start=1
        )
        for repeat in range(repeats)
    ]


def _space(
    name: str,
    choices: tuple[Choice, ...],
    blocks: list[Block],
    classes: int,
    in_channels: int,
    resolution: int,
) -> SearchSpace:
    """Return a space of ``blocks`` between the stem and the head of a ResNet."""
    stem = [Block("stem", [Conv(64, 7, stride=2)]), Block("pool", [Pool("max", 3, 2)])]
    head = [Block("head", [Classifier(classes)])]
    shape = (in_channels, resolution, resolution)
    return SearchSpace(name, shape, choices, [*stem, *blocks, *head])


SPACES = {"resnet18-quant": resnet18_quant, "resnet34-quant": resnet34_quant}

NETWORKS = {f"resnet{depth}": partial(resnet, depth) for depth in REPEATS}
