"""FBNetV2: Wan et al., "FBNetV2: Differentiable Neural Architecture Search for Spatial and Channel
Dimensions", CVPR 2020. The networks are the released ones; the search space is the one that Yan et
al., "FP-NAS", CVPR 2021, print as FBNetV2-F."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Literal

from attrs import frozen

from nas_spaces.layers import Classifier, Conv, Layer, PooledConv, Skip, SplitMBConv
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = ["F_GROUPS", "NETWORKS", "SPACES", "Group", "fbnetv2", "fbnetv2_f", "grouped_space"]

Row = tuple[int, float, int, int, int, str]

# [kernel (0: skip), expand, out, stride, squeeze-and-excitation, activation] of each block.
SMALL: tuple[Row, ...] = (
    (5, 1, 8, 1, 0, "relu"),
    (5, 5.4566, 24, 2, 0, "relu"),
    (5, 4.7912, 24, 1, 0, "relu"),
    (5, 5.3501, 32, 2, 1, "relu"),
    (5, 4.5379, 24, 1, 1, "relu"),
    (5, 5.7133, 56, 2, 0, "hswish"),
    (3, 4.1212, 56, 1, 0, "hswish"),
    (3, 5.1246, 56, 1, 1, "hswish"),
    (0, 5.0333, 80, 1, 0, ""),
    (5, 4.507, 80, 1, 1, "hswish"),
    (5, 1.7712, 80, 1, 1, "hswish"),
    (3, 4.5685, 144, 2, 1, "hswish"),
    (5, 5.84, 144, 1, 1, "hswish"),
    (5, 6.8754, 144, 1, 1, "hswish"),
    (0, 6.5245, 224, 1, 0, ""),
)
LARGE: tuple[Row, ...] = (
    (3, 1, 16, 1, 0, "hswish"),
    (5, 5.4566, 24, 2, 0, "hswish"),
    (5, 1.7912, 24, 1, 0, "hswish"),
    (5, 1.7912, 24, 1, 0, "hswish"),
    (5, 5.3501, 32, 2, 1, "relu"),
    (5, 3.5379, 32, 1, 1, "relu"),
    (5, 4.5379, 32, 1, 1, "relu"),
    (5, 4.5379, 32, 1, 1, "relu"),
    (5, 5.7133, 64, 2, 0, "hswish"),
    (3, 2.1212, 64, 1, 0, "hswish"),
    (0, 3.1246, 64, 1, 0, ""),
    (3, 5.0333, 104, 1, 0, "hswish"),
    (5, 2.507, 104, 1, 1, "hswish"),
    (5, 1.7712, 104, 1, 1, "hswish"),
    (5, 3.7712, 112, 1, 1, "hswish"),
    (3, 5.5685, 184, 2, 1, "hswish"),
    (5, 2.84, 184, 1, 1, "hswish"),
    (5, 4.8754, 184, 1, 1, "hswish"),
    (0, 6.5245, 224, 1, 0, ""),
)
# Stem, blocks, last layer.
NETWORK: dict[str, tuple[int, tuple[Row, ...], int]] = {
    "f1": (8, SMALL, 1600),
    "f2": (8, SMALL, 1600),
    "f3": (8, SMALL, 1984),
    "f4": (16, LARGE, 1984),
}


def fbnetv2(
    version: Literal["f1", "f2", "f3", "f4"],
    *,
    classes: int = 1000,
    resolution: int,
    in_channels: int = 3,
) -> SearchSpace:
    """Return FBNetV2-F1, -F2, -F3 or -F4 as a space with no choice.

    A skip that changes the number of channels is a 1x1 convolution with a ReLU, whatever the
    blocks around it have. The classifier takes the mean
    of the last layer's one position once more, as the released networks do.
    """
    stem, rows, last = NETWORK[version]
    blocks = [Block("stem", [Conv(stem, 3, stride=2, activation="hswish", bias=True)])]
    for number, (kernel, expand, out, stride, attention, activation) in enumerate(rows, start=1):
        layer: Layer = Skip(out, stride, activation="relu")
        if kernel:
            layer = SplitMBConv(
                out, kernel, stride, expand, activation, splits=attention, gate="hsigmoid"
            )
        blocks.append(Block(f"block{number}", [layer]))
    blocks.append(Block("last", [PooledConv(last)]))
    blocks.append(Block("head", [Classifier(classes)]))
    return SearchSpace(f"fbnetv2-{version}", (in_channels, resolution, resolution), (), blocks)


NETWORKS = {
    "fbnetv2-f1": partial(fbnetv2, "f1", resolution=128),
    "fbnetv2-f2": partial(fbnetv2, "f2", resolution=160),
    "fbnetv2-f3": partial(fbnetv2, "f3", resolution=192),
    "fbnetv2-f4": partial(fbnetv2, "f4", resolution=224),
}


@frozen
class Group:
    """Blocks in a row with the same options.

    ``expansions``: of the input's channels. ``channels``: that each block may put out. ``repeat``:
    number of blocks. ``stride``: the first one's.
    """

    expansions: tuple[float, ...]
    channels: tuple[int, ...]
    repeat: int
    stride: int


KERNELS = (0, 3, 5)
ACTIVATIONS = ("relu", "hswish")
EXPANSIONS = (0.75, 1.5, 2.25, 3.0, 3.75, 4.5)

F_GROUPS = (
    Group((1,), (12, 16), 1, 1),
    Group(EXPANSIONS, (16, 20, 24), 1, 2),
    Group(EXPANSIONS, (16, 20, 24), 2, 1),
    Group(EXPANSIONS, (16, 24, 32, 40), 1, 2),
    Group(EXPANSIONS, (16, 24, 32, 40), 2, 1),
    Group(EXPANSIONS, (48, 56, 64, 72, 80), 1, 2),
    Group(EXPANSIONS, (48, 56, 64, 72, 80), 2, 1),
    Group(EXPANSIONS, tuple(range(72, 113, 8)), 3, 1),
    Group(EXPANSIONS, tuple(range(112, 185, 8)), 1, 2),
    Group(EXPANSIONS, tuple(range(112, 185, 8)), 3, 1),
)
"""FBNetV2-F: 17 blocks in 10 groups (FP-NAS, table 1)."""


def fbnetv2_f(*, classes: int = 1000, resolution: int = 128, in_channels: int = 3) -> SearchSpace:
    """Return FBNetV2-F: 10 groups with five choices each, shared by the blocks of a group.

    Kernel (0 for none), expansion, channels, activation, squeeze-and-excitation: 2.7e24 rows, as
    the printed tables give (the paper says 6e25).
    """
    return grouped_space(
        "fbnetv2-f",
        F_GROUPS,
        attention=(0, 1),
        classes=classes,
        resolution=resolution,
        in_channels=in_channels,
    )


SPACES = {"fbnetv2-f": fbnetv2_f}


def grouped_space(
    name: str,
    groups: Sequence[Group],
    *,
    attention: tuple[int, ...],
    kernels: tuple[int, ...] = KERNELS,
    by_block: bool = False,
    stem: int = 16,
    stem_stride: int = 2,
    last: int = 1984,
    classes: int,
    resolution: int,
    in_channels: int,
) -> SearchSpace:
    """Return a space of FBNetV2's and FP-NAS's kind.

    A block with kernel 0 passes its input on, through a 1x1 convolution where the stride or the
    number of channels asks for one; its expansion, activation and attention then mean nothing.
    Candidates that differ in width or activation share weights; kernel sizes and numbers of
    splits have their own.

    Args:
        name: the space's.
        groups: its blocks.
        attention: options for `SplitMBConv.splits`.
        kernels: options for its kernel, 0 for none.
        by_block: whether each block has choices of its own instead of its group's.
        stem: channels of the first convolution.
        stem_stride: its stride.
        last: channels of the last one.
        classes: logits.
        resolution: height and width of an image.
        in_channels: channels of an image.
    """
    blocks = [Block("stem", [Conv(stem, 3, stride=stem_stride, activation="hswish")])]
    choices: list[Choice] = []
    for number, group in enumerate(groups, start=1):
        options: dict[str, tuple[int | float | str, ...]] = {
            "kernel": kernels,
            "expansion": group.expansions,
            "channels": group.channels,
            "activation": ACTIVATIONS,
            "attention": attention,
        }
        candidates = {
            stride: _candidates(group, kernels, attention, stride)
            for stride in {group.stride if repeat == 0 else 1 for repeat in range(group.repeat)}
        }
        for repeat in range(group.repeat):
            block = f"group{number}_{repeat}"
            owner = block if by_block else f"group{number}"
            reads = [f"{owner}_{variable}" for variable in options]
            if by_block or repeat == 0:
                choices += [
                    Choice(column, values, group=owner)
                    for column, values in zip(reads, options.values(), strict=True)
                ]
            layers = candidates[1 if repeat else group.stride]
            blocks.append(Block(block, layers, reads, shares=("out", "expand", "activation")))
    blocks.append(Block("last", [Conv(last, 1, activation="hswish")]))
    blocks.append(Block("head", [Classifier(classes)]))
    return SearchSpace(name, (in_channels, resolution, resolution), choices, blocks)


def _candidates(
    group: Group, kernels: tuple[int, ...], attention: tuple[int, ...], stride: int
) -> tuple[Layer, ...]:
    skips = {channels: Skip(channels, stride) for channels in group.channels}
    return tuple(
        SplitMBConv(channels, kernel, stride, expand, activation, splits)
        if kernel
        else skips[channels]
        for kernel, expand, channels, activation, splits in itertools.product(
            kernels, group.expansions, group.channels, ACTIVATIONS, attention
        )
    )
