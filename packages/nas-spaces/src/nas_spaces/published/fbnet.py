"""FBNet: Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
Architecture Search", CVPR 2019. Networks as released; the paper quotes other counts (249M, 295M
and 375M multiply-adds) that these definitions do not give."""

from functools import partial
from typing import Literal

from nas_spaces.layers import Classifier, Conv, FBNetBlock, Layer, Skip
from nas_spaces.space import Block, SearchSpace

__all__ = ["NETWORKS", "fbnet"]

Row = tuple[int, int, int, int, int]

# [kernel (0: identity), expand, out, stride, groups of the 1x1 convolutions] of each block.
BLOCKS: dict[str, tuple[Row, ...]] = {
    "a": (
        (0, 1, 16, 1, 1),
        (3, 3, 24, 2, 1),
        (3, 1, 24, 1, 1),
        (0, 1, 24, 1, 1),
        (0, 1, 24, 1, 1),
        (5, 6, 32, 2, 1),
        (3, 3, 32, 1, 1),
        (5, 1, 32, 1, 1),
        (3, 3, 32, 1, 1),
        (5, 6, 64, 2, 1),
        (5, 3, 64, 1, 1),
        (5, 1, 64, 1, 2),
        (5, 6, 64, 1, 1),
        (3, 6, 112, 1, 1),
        (5, 1, 112, 1, 2),
        (5, 3, 112, 1, 1),
        (3, 1, 112, 1, 2),
        (5, 6, 184, 2, 1),
        (5, 6, 184, 1, 1),
        (5, 3, 184, 1, 1),
        (5, 6, 184, 1, 1),
        (5, 6, 352, 1, 1),
    ),
    "b": (
        (3, 1, 16, 1, 1),
        (3, 6, 24, 2, 1),
        (5, 1, 24, 1, 1),
        (3, 1, 24, 1, 1),
        (3, 1, 24, 1, 1),
        (5, 6, 32, 2, 1),
        (5, 3, 32, 1, 1),
        (3, 6, 32, 1, 1),
        (5, 6, 32, 1, 1),
        (5, 6, 64, 2, 1),
        (5, 6, 64, 1, 1),
        (0, 1, 64, 1, 1),
        (5, 3, 64, 1, 1),
        (5, 6, 112, 1, 1),
        (3, 1, 112, 1, 1),
        (5, 1, 112, 1, 1),
        (5, 3, 112, 1, 1),
        (5, 6, 184, 2, 1),
        (5, 1, 184, 1, 1),
        (5, 6, 184, 1, 1),
        (5, 6, 184, 1, 1),
        (3, 6, 352, 1, 1),
    ),
    "c": (
        (3, 1, 16, 1, 1),
        (3, 6, 24, 2, 1),
        (0, 1, 24, 1, 1),
        (3, 1, 24, 1, 1),
        (3, 1, 24, 1, 1),
        (5, 6, 32, 2, 1),
        (5, 3, 32, 1, 1),
        (5, 6, 32, 1, 1),
        (3, 6, 32, 1, 1),
        (5, 6, 64, 2, 1),
        (5, 3, 64, 1, 1),
        (5, 6, 64, 1, 1),
        (5, 6, 64, 1, 1),
        (5, 6, 112, 1, 1),
        (5, 6, 112, 1, 1),
        (5, 6, 112, 1, 1),
        (5, 3, 112, 1, 1),
        (5, 6, 184, 2, 1),
        (5, 6, 184, 1, 1),
        (5, 6, 184, 1, 1),
        (5, 6, 184, 1, 1),
        (3, 6, 352, 1, 1),
    ),
}
LAST = {"a": 1504, "b": 1984, "c": 1984}


def fbnet(
    version: Literal["a", "b", "c"],
    *,
    classes: int = 1000,
    resolution: int = 224,
    in_channels: int = 3,
) -> SearchSpace:
    """Return FBNet-A, -B or -C as a space with no choice."""
    blocks = [Block("stem", [Conv(16, 3, stride=2, bias=True)])]
    for number, (kernel, expand, out, stride, groups) in enumerate(BLOCKS[version], start=1):
        layer: Layer = (
            FBNetBlock(out, kernel, stride, expand, groups) if kernel else Skip(out, stride)
        )
        blocks.append(Block(f"block{number}", [layer]))
    blocks.append(Block("last", [Conv(LAST[version], 1, bias=True)]))
    blocks.append(Block("head", [Classifier(classes)]))
    return SearchSpace(f"fbnet-{version}", (in_channels, resolution, resolution), (), blocks)


NETWORKS = {
    "fbnet-a": partial(fbnet, "a"),
    "fbnet-b": partial(fbnet, "b"),
    "fbnet-c": partial(fbnet, "c"),
}
