"""FairNAS: Chu et al., "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural
Architecture Search", ICCV 2021."""

from nas_spaces.published.mobilenet import (
    MOBILENET_V2,
    STRIDES,
    Macro,
    inverted_residuals,
    mobile_space,
    row,
)
from nas_spaces.space import SearchSpace

__all__ = ["ARCHITECTURES", "MACRO_19", "REPEATS", "SPACES", "fairnas_19", "fairnas_ranking"]

REPEATS = (2, 4, 4, 4, 4, 1)
MACRO_19 = Macro.of((32, 16, 32, 40, 80, 96, 192, 320, 1280), REPEATS, STRIDES)


def fairnas_19(*, classes: int = 1000, resolution: int = 224, in_channels: int = 3) -> SearchSpace:
    """Return FairNAS's space: 19 choice blocks of 6 candidates, 6^19 rows.

    Inverted residual blocks with kernel 3, 5, 7 and expansion 3, 6; no skip. Any resolution.
    """
    shape = (in_channels, resolution, resolution)
    # The official models have the dropout.
    return mobile_space("fairnas-19", shape, classes, MACRO_19, inverted_residuals(), dropout=0.2)


def fairnas_ranking(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return the space of FairNAS's ranking study: MobileNetV2 with 16 choice blocks, 6^16 rows.

    Widths, blocks and strides are MobileNetV2's, the candidates those of `fairnas_19`; stem and
    first block are fixed. No resolution is given with the study; the default is MobileNetV2's.
    """
    shape = (in_channels, resolution, resolution)
    return mobile_space("fairnas-ranking", shape, classes, MOBILENET_V2, inverted_residuals())


SPACES = {"fairnas-19": fairnas_19, "fairnas-ranking": fairnas_ranking}

_OPTIONS = tuple(inverted_residuals())

# The official models: 388M, 345M and 321M multiply-adds.
ARCHITECTURES = {
    "fairnas-a": (
        "fairnas-19",
        row(
            "k7e3 k3e3 | k7e3 k3e6 k7e6 k3e3 | k3e3 k7e6 k7e6 k5e3"
            "| k3e6 k5e3 k5e3 k3e6 | k3e6 k7e6 k3e6 k7e6 | k5e6",
            _OPTIONS,
            REPEATS,
        ),
    ),
    "fairnas-b": (
        "fairnas-19",
        row(
            "k5e3 k3e3 | k5e3 k3e3 k3e6 k5e3 | k7e3 k3e3 k3e6 k5e3"
            "| k3e3 k3e6 k7e3 k3e3 | k7e6 k5e6 k7e6 k3e6 | k5e6",
            _OPTIONS,
            REPEATS,
        ),
    ),
    "fairnas-c": (
        "fairnas-19",
        row(
            "k5e3 k3e3 | k7e3 k3e3 k3e3 k3e3 | k3e3 k3e3 k3e3 k3e6"
            "| k3e3 k3e3 k3e3 k3e3 | k7e6 k7e6 k3e6 k3e6 | k5e6",
            _OPTIONS,
            REPEATS,
        ),
    ),
}
