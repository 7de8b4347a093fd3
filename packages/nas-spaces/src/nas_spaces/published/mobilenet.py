"""Networks of inverted residual blocks: the space of ProxylessNAS and SPOS, and the MobileNets.

Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR
2019; Guo et al., "Single Path One-Shot NAS with Uniform Sampling", ECCV 2020; Sandler et al.,
"MobileNetV2", CVPR 2018; Howard et al., "Searching for MobileNetV3", ICCV 2019.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import frozen

from nas_spaces.errors import InputError
from nas_spaces.layers import (
    Classifier,
    Conv,
    HiddenClassifier,
    Identity,
    Layer,
    MBConv,
    SqueezeExcite,
)
from nas_spaces.layers.layer import round_channels
from nas_spaces.primitives import Shape
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = [
    "ARCHITECTURES",
    "NETWORKS",
    "SPACES",
    "Macro",
    "inverted_residuals",
    "mobile_space",
    "mobilenet_21",
    "mobilenet_21_cpu",
    "mobilenet_21_gpu",
    "mobilenet_21_mobile",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "row",
]

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)

Candidate = Callable[..., Layer]
"""Builds a layer from keywords ``out`` and ``stride``."""


@frozen
class Macro:
    """The shape of a mobile network, without what its blocks are.

    ``stem``: channels of the 3x3 convolution at stride 2. ``first``: channels of the block behind
    it, kernel 3 and no expansion. ``stages``: (channels, blocks, stride of the first block) of
    each. ``last``: channels of the 1x1 convolution before the classifier.
    """

    stem: int
    first: int
    stages: tuple[tuple[int, int, int], ...]
    last: int

    @classmethod
    def of(cls, widths: Sequence[int], repeats: Sequence[int], strides: Sequence[int]) -> "Macro":
        """Return the network whose ``widths`` are listed from stem to last convolution."""
        stem, first, *between, last = widths
        return cls(stem, first, tuple(zip(between, repeats, strides, strict=True)), last)

    def scaled(self, width: float) -> "Macro":
        """Return the network with ``width`` times the channels, rounded to multiples of 8.

        The last convolution does not become narrower, as in MobileNetV2.

        Raises:
            InputError: a width that is not positive.
        """
        if not width > 0:
            raise InputError(f"width={width} must be positive; 1.0 is the network as published")
        if width == 1:
            return self
        return Macro(
            round_channels(self.stem * width),
            round_channels(self.first * width),
            tuple((round_channels(c * width), n, stride) for c, n, stride in self.stages),
            round_channels(self.last * max(1.0, width)),
        )


REPEATS = (4, 4, 4, 4, 4, 1)
STRIDES = (2, 2, 2, 1, 2, 1)
MACRO_21 = Macro.of((32, 16, 24, 40, 80, 96, 192, 320, 1280), REPEATS, STRIDES)
# As released; the mobile network's first stage is wider than the paper's space.
MACRO_21_MOBILE = Macro.of((32, 16, 32, 40, 80, 96, 192, 320, 1280), REPEATS, STRIDES)
MACRO_21_CPU = Macro.of((40, 24, 32, 48, 88, 104, 216, 360, 1432), REPEATS, STRIDES)
MACRO_21_GPU = Macro.of((40, 24, 32, 56, 112, 128, 256, 432, 1728), REPEATS, STRIDES)

MOBILENET_V2 = Macro.of(
    (32, 16, 24, 32, 64, 96, 160, 320, 1280), (2, 3, 4, 3, 3, 1), (2, 2, 2, 1, 2, 1)
)

# (kernel, hidden channels, out, stride, squeeze-and-excitation, activation): the paper's table 1,
# with torchvision's and the authors' published widths.
MOBILENET_V3_LARGE = (
    (3, 16, 16, 1, False, "relu"),
    (3, 64, 24, 2, False, "relu"),
    (3, 72, 24, 1, False, "relu"),
    (5, 72, 40, 2, True, "relu"),
    (5, 120, 40, 1, True, "relu"),
    (5, 120, 40, 1, True, "relu"),
    (3, 240, 80, 2, False, "hswish"),
    (3, 200, 80, 1, False, "hswish"),
    (3, 184, 80, 1, False, "hswish"),
    (3, 184, 80, 1, False, "hswish"),
    (3, 480, 112, 1, True, "hswish"),
    (3, 672, 112, 1, True, "hswish"),
    (5, 672, 160, 2, True, "hswish"),
    (5, 960, 160, 1, True, "hswish"),
    (5, 960, 160, 1, True, "hswish"),
)


def inverted_residuals(
    *, activation: str = "relu6", se: SqueezeExcite | None = None
) -> dict[str, Candidate]:
    """Return the six inverted residual blocks with kernel 3, 5, 7 and expansion 3, 6, by name.

    >>> list(inverted_residuals())
    ['k3e3', 'k3e6', 'k5e3', 'k5e6', 'k7e3', 'k7e6']
    """
    return {
        f"k{kernel}e{expand}": partial(
            MBConv, kernel=kernel, expand=expand, activation=activation, se=se
        )
        for kernel in KERNELS
        for expand in EXPANSIONS
    }


def row(text: str, options: Sequence[str], repeats: Sequence[int]) -> tuple[int, ...]:
    """Return the row that ``text`` spells: names of options, bars between the stages.

    ``repeats``: blocks of each stage; where ``text`` names fewer, the others are ``"skip"``.

    >>> row("k3e3 | k3e6 k3e3", ("k3e3", "k3e6", "skip"), (2, 2))
    (0, 2, 1, 0)
    """
    names: list[str] = []
    for stage, blocks in zip(text.split("|"), repeats, strict=True):
        given = stage.split()
        names += given + ["skip"] * (blocks - len(given))
    return tuple(options.index(name) for name in names)


def mobile_space(
    name: str,
    input_shape: Shape,
    classes: int,
    macro: Macro,
    candidates: Mapping[str, Candidate],
    *,
    skip: str | None = None,
    activation: str = "relu6",
    se: SqueezeExcite | None = None,
    dropout: float = 0.0,
) -> SearchSpace:
    """Return a space with one choice for each block of the stages of ``macro``.

    Args:
        name: the space's name.
        input_shape: (channels, height, width) of an image; every stride rounds sizes up.
        classes: number of logits.
        macro: widths, blocks and strides.
        candidates: the options of every block by name.
        skip: name of one more option, the identity, for blocks that are not the first of their
            stage; None for no such option.
        activation: of the stem, the first block and the last convolution.
        se: squeeze-and-excitation of the first block.
        dropout: before the classifier.
    """
    first = MBConv(macro.first, 3, expand=1, activation=activation, residual=False, se=se)
    blocks = [
        Block("stem", [Conv(macro.stem, 3, 2, activation=activation)]),
        Block("first", [first]),
    ]
    choices = []
    for stage, (channels, repeats, stride) in enumerate(macro.stages, start=1):
        for repeat in range(repeats):
            options = list(candidates)
            layers = [
                candidate(out=channels, stride=1 if repeat else stride)
                for candidate in candidates.values()
            ]
            if skip is not None and repeat:
                options.append(skip)
                layers.append(Identity())
            choices.append(Choice(f"stage{stage}_{repeat}", options))
            blocks.append(Block(f"stage{stage}_{repeat}", layers, reads=(choices[-1].name,)))
    blocks.append(Block("last", [Conv(macro.last, 1, activation=activation)]))
    blocks.append(Block("head", [Classifier(classes, dropout=dropout)]))
    return SearchSpace(name, input_shape, choices, blocks)


def mobilenet_21(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return ProxylessNAS's space as SPOS describes it: 21 choice blocks, 6^6 * 7^15 rows.

    Candidates are inverted residual blocks with kernel 3, 5, 7 and expansion 3, 6, and a skip in
    the 15 blocks that keep the shape of their input: the papers' 7^21 counts it in all blocks.
    Stages have 24, 40, 80, 96, 192 and 320 channels. Any resolution.
    """
    shape = (in_channels, resolution, resolution)
    return mobile_space("mobilenet-21", shape, classes, MACRO_21, inverted_residuals(), skip="skip")


def mobilenet_21_mobile(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return `mobilenet_21` in the widths of the released mobile network: 32 in the first stage."""
    return mobile_space(
        "mobilenet-21-mobile",
        (in_channels, resolution, resolution),
        classes,
        MACRO_21_MOBILE,
        inverted_residuals(),
        skip="skip",
    )


def mobilenet_21_cpu(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return `mobilenet_21` in the widths of the network that was released for CPUs."""
    return mobile_space(
        "mobilenet-21-cpu",
        (in_channels, resolution, resolution),
        classes,
        MACRO_21_CPU,
        inverted_residuals(),
        skip="skip",
    )


def mobilenet_21_gpu(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return `mobilenet_21` in the widths of the network that was released for GPUs."""
    return mobile_space(
        "mobilenet-21-gpu",
        (in_channels, resolution, resolution),
        classes,
        MACRO_21_GPU,
        inverted_residuals(),
        skip="skip",
    )


def mobilenet_v2(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return MobileNetV2 1.0 (table 2): 300,774,272 multiply-adds, 3,504,872 parameters."""
    space = mobile_space(
        "mobilenet-v2",
        (in_channels, resolution, resolution),
        classes,
        MOBILENET_V2,
        {"k3e6": partial(MBConv, kernel=3, expand=6)},
        dropout=0.2,
    )
    return space.fix([0] * space.num_choices)


def mobilenet_v3_large(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return MobileNetV3-Large 1.0: 216,589,760 multiply-adds, 5,483,032 parameters.

    The paper prints 219M and 5.4M. The head's two linear maps have a bias.
    """
    se = SqueezeExcite(0.25, divisor=8, gate="hsigmoid")
    blocks = [Block("stem", [Conv(16, 3, 2, activation="hswish")])]
    channels = 16
    for i, (kernel, hidden, out, stride, squeezed, activation) in enumerate(MOBILENET_V3_LARGE):
        layer = MBConv(
            out,
            kernel,
            stride,
            expand=hidden / channels,
            activation=activation,
            se=se if squeezed else None,
        )
        blocks.append(Block(f"block{i}", [layer]))
        channels = out
    blocks.append(Block("last", [Conv(960, 1, activation="hswish")]))
    blocks.append(Block("head", [HiddenClassifier(classes, 1280, dropout=0.2)]))
    shape = (in_channels, resolution, resolution)
    return SearchSpace("mobilenet-v3-large", shape, (), blocks)


SPACES = {
    "mobilenet-21": mobilenet_21,
    "mobilenet-21-cpu": mobilenet_21_cpu,
    "mobilenet-21-gpu": mobilenet_21_gpu,
    "mobilenet-21-mobile": mobilenet_21_mobile,
}

NETWORKS = {"mobilenet-v2": mobilenet_v2, "mobilenet-v3-large": mobilenet_v3_large}

_OPTIONS = (*inverted_residuals(), "skip")

# The networks that ProxylessNAS released; blocks that they left out are skips.
ARCHITECTURES = {
    # 320.4M multiply-adds, 4.08M parameters.
    "proxyless-mobile": (
        "mobilenet-21-mobile",
        row(
            "k5e3 k3e3 | k7e3 k3e3 k5e3 k5e3 | k7e6 k5e3 k5e3 k5e3"
            "| k5e6 k5e3 k5e3 k5e3 | k7e6 k7e6 k7e3 k7e3 | k7e6",
            _OPTIONS,
            REPEATS,
        ),
    ),
    # 439.2M, 4.36M.
    "proxyless-cpu": (
        "mobilenet-21-cpu",
        row(
            "k3e6 k3e3 k3e3 k3e3 | k3e6 k3e3 k3e3 k5e3 | k3e6 k3e3"
            "| k5e6 k3e3 k3e3 k3e3 | k5e6 k5e3 k5e3 k3e3 | k5e6",
            _OPTIONS,
            REPEATS,
        ),
    ),
    # 465.3M, 7.12M (5.3M in SPOS's table 5 is not this network).
    "proxyless-gpu": (
        "mobilenet-21-gpu",
        row(
            "k5e3 | k7e3 k3e3 | k7e6 k5e3 | k5e6 k3e3 k5e3 | k7e6 k7e6 k7e6 k5e6 | k7e6",
            _OPTIONS,
            REPEATS,
        ),
    ),
}
