"""ResNets (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016), and what is
searched in them: bit widths and channels, SPOS's third space (Guo et al., "Single Path One-Shot
NAS with Uniform Sampling", ECCV 2020, section 4.3), and blocks, to be searched before bits or with
them.
"""

from collections.abc import Iterable
from functools import partial

from nas_spaces.errors import InputError
from nas_spaces.layers import BasicBlock, Classifier, Conv, Identity, Layer, Pool
from nas_spaces.space import Block, Choice, SearchSpace
from nas_spaces.vary import with_bits, with_scales

__all__ = [
    "NETWORKS",
    "SPACES",
    "digits_resnet",
    "resnet",
    "resnet18_blocks",
    "resnet18_quant",
    "resnet20_blocks",
    "resnet34_quant",
]

# Depth -> (channels, basic blocks) of each stage; the first block of a later stage has stride 2.
STAGES = {
    18: ((64, 2), (128, 2), (256, 2), (512, 2)),
    20: ((16, 3), (32, 3), (64, 3)),  # of CIFAR, section 4.2
    34: ((64, 3), (128, 4), (256, 6), (512, 3)),
}
DIGITS = ((16, 2), (32, 2), (64, 2))
# Of the middle channels of a block, SPOS section 4.3.
SCALES = (0.5, 1.0, 1.5)
KERNELS = (3, 5)

Stages = tuple[tuple[int, int], ...]


def resnet(
    depth: int, *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return ResNet-18, ResNet-34, or the ResNet-20 of CIFAR, in full precision: no choice.

    ResNet-20 has 1x1 convolutions as shortcuts where the shape changes, as the larger ones do; the
    paper pads with zeros there.

    >>> resnet(34).num_choices
    0
    """
    if depth not in STAGES:
        raise InputError(f"resnet: depth={depth}; valid: {', '.join(map(str, STAGES))}")
    blocks = [
        Block(name, [BasicBlock(channels, stride)])
        for name, channels, stride in _places(STAGES[depth])
    ]
    shape = (in_channels, resolution, resolution)
    return SearchSpace(f"resnet{depth}", shape, (), _framed(_stem(depth), blocks, classes))


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
    return _quantised(18, classes, resolution, in_channels)


def resnet34_quant(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return SPOS's space of bit widths and channels of ResNet-34: 18^16 rows.

    See `resnet18_quant`.
    """
    return _quantised(34, classes, resolution, in_channels)


def resnet18_blocks(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return the blocks of ResNet-18 as choices: kernel 3 or 5, or none where the shape is kept.

    By `nas_spaces.vary` their channels and bits are searched with them, or on top of them.

    >>> resnet18_blocks().size == 2**3 * 3**5
    True
    """
    shape = (in_channels, resolution, resolution)
    return _blocks("resnet18-blocks", _stem(18), STAGES[18], shape, classes)


def resnet20_blocks(
    *, classes: int = 10, resolution: int = 32, in_channels: int = 3
) -> SearchSpace:
    """Return the blocks of CIFAR's ResNet-20 as choices: kernel 3 or 5, or none, 2^2 * 3^7 rows.

    See `resnet18_blocks`.
    """
    shape = (in_channels, resolution, resolution)
    return _blocks("resnet20-blocks", _stem(20), STAGES[20], shape, classes)


def digits_resnet(*, classes: int = 10, resolution: int = 8, in_channels: int = 1) -> SearchSpace:
    """Return a space of 6 residual blocks for images of 8 x 8 pixels, 2^2 * 3^4 rows.

    See `resnet18_blocks`; three stages of two blocks with 16, 32 and 64 channels.
    """
    shape = (in_channels, resolution, resolution)
    return _blocks("digits-resnet", _stem(20), DIGITS, shape, classes)


def _quantised(depth: int, classes: int, resolution: int, in_channels: int) -> SearchSpace:
    network = resnet(depth, classes=classes, resolution=resolution, in_channels=in_channels)
    return with_scales(with_bits(network), SCALES, name=f"resnet{depth}-quant")


def _blocks(
    name: str, stem: list[Block], stages: Stages, shape: tuple[int, int, int], classes: int
) -> SearchSpace:
    choices = []
    blocks = []
    width = stages[0][0]
    for block, channels, stride in _places(stages):
        options = [f"k{kernel}" for kernel in KERNELS]
        candidates: list[Layer] = [BasicBlock(channels, stride, kernel=k) for k in KERNELS]
        if stride == 1 and channels == width:
            options.append("identity")
            candidates.append(Identity())
        width = channels
        choices.append(Choice(block, options))
        blocks.append(Block(block, candidates, reads=(block,)))
    return SearchSpace(name, shape, choices, _framed(stem, blocks, classes))


def _places(stages: Stages) -> list[tuple[str, int, int]]:
    """Return name, channels and stride of each basic block."""
    return [
        (f"stage{stage}_{repeat}", channels, 2 if stage > 1 and repeat == 0 else 1)
        for stage, (channels, repeats) in enumerate(stages, start=1)
        for repeat in range(repeats)
    ]


def _stem(depth: int) -> list[Block]:
    if depth == 20:
        return [Block("stem", [Conv(16, 3)])]
    return [Block("stem", [Conv(64, 7, stride=2)]), Block("pool", [Pool("max", 3, 2)])]


def _framed(stem: list[Block], blocks: Iterable[Block], classes: int) -> list[Block]:
    return [*stem, *blocks, Block("head", [Classifier(classes)])]


SPACES = {
    "digits-resnet": digits_resnet,
    "resnet18-blocks": resnet18_blocks,
    "resnet18-quant": resnet18_quant,
    "resnet20-blocks": resnet20_blocks,
    "resnet34-quant": resnet34_quant,
}

NETWORKS = {
    "resnet18": partial(resnet, 18),
    "resnet20": partial(resnet, 20, classes=10, resolution=32),
    "resnet34": partial(resnet, 34),
}
