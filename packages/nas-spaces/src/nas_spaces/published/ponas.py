"""PONAS: Huang and Chu, "PONAS: Progressive One-shot Neural Architecture Search for Very Efficient
Deployment", 2020."""

from functools import partial

from nas_spaces.layers import MBConv, SqueezeExcite
from nas_spaces.published.fairnas import MACRO_19, REPEATS
from nas_spaces.published.mobilenet import EXPANSIONS, KERNELS, Candidate, mobile_space, row
from nas_spaces.space import SearchSpace

__all__ = ["ARCHITECTURES", "SPACES", "ponas_19"]

SQUEEZE_EXCITE = SqueezeExcite(0.25, minimum=8)


def _candidates() -> dict[str, Candidate]:
    return {
        f"k{kernel}e{expand}{'se' if se else ''}": partial(
            MBConv, kernel=kernel, expand=expand, se=se
        )
        for kernel in KERNELS
        for expand in EXPANSIONS
        for se in (None, SQUEEZE_EXCITE)
    }


def ponas_19(*, classes: int = 1000, resolution: int = 224, in_channels: int = 3) -> SearchSpace:
    """Return PONAS's space: 19 choice blocks of 12 candidates, 12^19 rows.

    Inverted residual blocks with kernel 3, 5, 7, expansion 3, 6, and with or without
    squeeze-and-excitation (a quarter of the hidden channels, at least 8), in C-order: the last
    option is the largest block. Widths as in FairNAS. Any resolution.
    """
    shape = (in_channels, resolution, resolution)
    # The official models have the dropout.
    return mobile_space("ponas-19", shape, classes, MACRO_19, _candidates(), dropout=0.2)


SPACES = {"ponas-19": ponas_19}

_OPTIONS = tuple(_candidates())

# The official models. Their published 326M, 349M and 376M multiply-adds count convolutions only,
# without those of squeeze-and-excitation and without the classifier.
ARCHITECTURES = {
    "ponas-a": (
        "ponas-19",
        row(
            "k5e6 k5e3 | k7e3se k5e3se k5e3 k7e3 | k7e6se k5e3se k5e3se k5e3se"
            "| k5e3 k7e3 k7e3 k7e3se | k7e6se k7e3se k5e3 k7e3se | k5e6se",
            _OPTIONS,
            REPEATS,
        ),
    ),
    "ponas-b": (
        "ponas-19",
        row(
            "k3e6se k7e3se | k5e6 k5e3se k5e3 k5e3 | k7e6 k5e3se k5e3se k5e3se"
            "| k5e6se k7e3 k7e3 k7e3se | k7e6se k7e3se k5e3 k7e3 | k5e6se",
            _OPTIONS,
            REPEATS,
        ),
    ),
    "ponas-c": (
        "ponas-19",
        row(
            "k5e6 k7e3se | k5e6se k5e3se k5e3 k7e3 | k7e6 k5e3se k7e3se k5e6se"
            "| k5e6se k7e3 k7e3 k5e6se | k7e6se k7e3se k5e3 k7e3se | k5e6se",
            _OPTIONS,
            REPEATS,
        ),
    ),
}
