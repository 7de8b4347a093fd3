"""MnasNet: Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019,
and its factorised space as FNAS searches it: Liu et al., "FNAS: Uncertainty-Aware Fast Neural
Architecture Search", 2021.

An architecture is the sequence of tokens that a controller emits, one column a token: for each
stage in order kernel, expansion, ratio of squeeze-and-excitation, width, repeats, skip. The value
in a column is the token, an index into `TOKENS`.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from nas_spaces.layers import Classifier, Conv, Identity, Layer, MBConv, SqueezeExcite
from nas_spaces.layers.layer import round_channels
from nas_spaces.published.mobilenet import Macro
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = ["NETWORKS", "SPACES", "TOKENS", "mnasnet", "mnasnet_a1", "mnasnet_b1"]

# Widths, blocks and strides that the tokens vary; FNAS prints no table.
MACRO = Macro.of((32, 16, 24, 40, 80, 96, 192, 320, 1280), (3, 3, 3, 2, 4, 1), (2, 2, 2, 1, 2, 1))

TOKENS: dict[str, tuple[int | float | str, ...]] = {
    "kernel": (3, 5),
    "expand": (3, 6),
    # Of the channels that enter a block, as in MnasNet.
    "se": (0, 0.25),
    # Factor on the stage's width, and what is added to its number of blocks.
    "width": (0.75, 1.0, 1.25),
    "repeats": (-1, 0, 1),
    "skip": ("none", "identity"),
}

# (kernel, expansion, channels, stride of the first block, blocks, ratio of squeeze-and-excitation).
A1 = (
    (3, 1, 16, 1, 1, 0),
    (3, 6, 24, 2, 2, 0),
    (5, 3, 40, 2, 3, 0.25),
    (3, 6, 80, 2, 4, 0),
    (3, 6, 112, 1, 2, 0.25),
    (5, 6, 160, 2, 3, 0.25),
    (3, 6, 320, 1, 1, 0),
)
B1 = (
    (3, 1, 16, 1, 1, 0),
    (3, 3, 24, 2, 3, 0),
    (5, 3, 40, 2, 3, 0),
    (5, 6, 80, 2, 3, 0),
    (3, 6, 96, 1, 2, 0),
    (5, 6, 192, 2, 4, 0),
    (3, 6, 320, 1, 1, 0),
)


def mnasnet(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3, width: float = 1.0
) -> SearchSpace:
    """Return the factorised space that FNAS searches: 6 tokens for each of 6 stages, 144^6 rows.

    All blocks of a stage share its tokens. A stage has at least one block; blocks beyond its
    number are identities that cost nothing. ``skip`` says whether blocks behind the first of a
    stage add their input; the first, which is there to change size and width, never does. So rows
    may build the same network: where ``repeats`` -1 and 0 both leave one block, and where one
    block makes ``skip`` irrelevant. Candidates of a block share weights but for kernel and
    squeeze-and-excitation. Any resolution.

    Args:
        classes: number of logits.
        resolution: height and width of an image.
        in_channels: channels of an image.
        width: factor on all widths on top of the tokens (FNAS's larger network has 1.3); the
            last convolution does not become narrower.

    Raises:
        InputError: a width that is not positive.
    """
    macro = MACRO.scaled(width)
    blocks = [
        Block("stem", [Conv(macro.stem, 3, 2)]),
        Block("first", [MBConv(macro.first, 3, expand=1, activation="relu", residual=False)]),
    ]
    choices = []
    for stage, (channels, base, stride) in enumerate(MACRO.stages, start=1):
        choices += [Choice(f"stage{stage}_{name}", options) for name, options in TOKENS.items()]
        fewest, most = max(1, base - 1), base + 1
        for index in range(most):
            idle = {"skip"} if index == 0 else set()
            if index < fewest:
                idle.add("repeats")
            asked = [name for name in TOKENS if name not in idle]
            layers = [
                _layer(
                    dict(zip(asked, values, strict=True)),
                    channels=channels * width,
                    base=base,
                    stride=stride,
                    index=index,
                )
                for values in itertools.product(*(TOKENS[name] for name in asked))
            ]
            blocks.append(
                Block(
                    f"stage{stage}_{index}",
                    layers,
                    reads=[f"stage{stage}_{name}" for name in asked],
                    shares=("out", "expand", "residual"),
                )
            )
    blocks.append(Block("last", [Conv(macro.last, 1)]))
    blocks.append(Block("head", [Classifier(classes, dropout=0.2)]))
    return SearchSpace("mnasnet", (in_channels, resolution, resolution), choices, blocks)


def _layer(
    tokens: Mapping[str, Any], *, channels: float, base: int, stride: int, index: int
) -> Layer:
    """Return the layer at ``index`` of a stage of ``base`` blocks, from the tokens that matter."""
    if index >= max(1, base + tokens.get("repeats", 0)):
        return Identity()
    return MBConv(
        # Nearest, or 24 channels would be as wide at 0.75 as at 1.
        round_channels(channels * tokens["width"], keep=0.0),
        tokens["kernel"],
        1 if index else stride,
        expand=tokens["expand"],
        activation="relu",
        residual=tokens.get("skip") == "identity",
        se=_squeeze(tokens["se"]),
    )


def _squeeze(ratio: float) -> SqueezeExcite | None:
    return SqueezeExcite(ratio, of="input") if ratio else None


def mnasnet_a1(*, classes: int = 1000, resolution: int = 224, in_channels: int = 3) -> SearchSpace:
    """Return MnasNet-A1 (figure 7): 311,579,072 multiply-adds, 3,887,038 parameters."""
    return _network("mnasnet-a1", A1, classes, resolution, in_channels)


def mnasnet_b1(*, classes: int = 1000, resolution: int = 224, in_channels: int = 3) -> SearchSpace:
    """Return MnasNet-B1: 314,415,872 multiply-adds, 4,383,312 parameters."""
    return _network("mnasnet-b1", B1, classes, resolution, in_channels)


def _network(
    name: str,
    table: tuple[tuple[int, int, int, int, int, float], ...],
    classes: int,
    resolution: int,
    in_channels: int,
) -> SearchSpace:
    blocks = [Block("stem", [Conv(32, 3, 2)])]
    for stage, (kernel, expand, channels, stride, repeats, ratio) in enumerate(table):
        for index in range(repeats):
            layer = MBConv(
                channels,
                kernel,
                1 if index else stride,
                expand=expand,
                activation="relu",
                se=_squeeze(ratio),
            )
            blocks.append(Block(f"stage{stage}_{index}", [layer]))
    blocks.append(Block("last", [Conv(1280, 1)]))
    blocks.append(Block("head", [Classifier(classes, dropout=0.2)]))
    return SearchSpace(name, (in_channels, resolution, resolution), (), blocks)


SPACES = {"mnasnet": mnasnet}

NETWORKS = {"mnasnet-a1": mnasnet_a1, "mnasnet-b1": mnasnet_b1}
