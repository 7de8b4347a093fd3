"""FP-NAS: Yan et al., "FP-NAS: Fast Probabilistic Neural Architecture Search", CVPR 2021.

FBNetV2-F with choices for each block, with searchable split attention, and the larger spaces L0,
L1 and L2. Of these the paper's text gives the number of blocks, the input, the size, the target and
the median cost; their widths stand in a supplement that we have not got. Ours have the variables,
the expansions, the first and the last layer of FBNetV2-F++, 12 or 13 groups in place of 10, and
widths that come near the sizes and the medians:

=========  ======  =====  ===============  =======================  ============================
space      blocks  input  size             target [multiply-adds]   median of random rows
=========  ======  =====  ===============  =======================  ============================
fp-nas-l0  27      224    1.9e32 (2e32)    0.4e9                    0.39e9 (0.39e9)
fp-nas-l1  32      240    1.0e36 (1e36)    0.7e9                    0.89e9 (0.9e9)
fp-nas-l2  32      256    1.0e36 (1e36)    1.0e9                    1.08e9 (1.1e9)
=========  ======  =====  ===============  =======================  ============================

In brackets: the paper's.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from nas_spaces.published.fbnetv2 import EXPANSIONS, F_GROUPS, Group, grouped_space
from nas_spaces.space import SearchSpace

__all__ = ["SPACES", "digits_fp_nas", "fbnetv2_fine", "fbnetv2_splits", "fp_nas"]

SPLITS = (0, 1, 2, 4)

# Channels (first, last, step), blocks of each group, stride of the first block, for each stage.
Stage = tuple[tuple[int, int, int], tuple[int, ...], int]
STAGES: dict[str, tuple[Stage, ...]] = {
    "l0": (
        ((16, 20, 4), (1,), 1),
        ((24, 32, 4), (1, 3), 2),
        ((48, 72, 8), (1, 3), 2),
        ((96, 120, 8), (1, 4), 2),
        ((136, 168, 8), (1, 4), 1),
        ((208, 272, 16), (1, 4), 2),
        ((288, 352, 16), (3,), 1),
    ),
    "l1": (
        ((16, 24, 8), (1,), 1),
        ((32, 48, 8), (1, 3), 2),
        ((64, 96, 8), (1, 4), 2),
        ((128, 160, 8), (1, 5), 2),
        ((176, 216, 8), (1, 5), 1),
        ((272, 352, 16), (1, 5), 2),
        ((368, 448, 16), (1, 3), 1),
    ),
    "l2": (
        ((16, 24, 8), (1,), 1),
        ((32, 48, 8), (1, 3), 2),
        ((72, 104, 8), (1, 4), 2),
        ((144, 176, 8), (1, 5), 2),
        ((184, 224, 8), (1, 5), 1),
        ((304, 384, 16), (1, 5), 2),
        ((384, 464, 16), (1, 3), 1),
    ),
}


def fbnetv2_fine(
    *, classes: int = 1000, resolution: int = 128, in_channels: int = 3
) -> SearchSpace:
    """Return FBNetV2-F-Fine: FBNetV2-F with five choices for each of the 17 blocks.

    5.8e42 rows, as the printed tables give (the paper says 1e45).
    """
    return grouped_space(
        "fbnetv2-fine",
        F_GROUPS,
        attention=(0, 1),
        by_block=True,
        classes=classes,
        resolution=resolution,
        in_channels=in_channels,
    )


def fbnetv2_splits(
    *, classes: int = 1000, resolution: int = 128, in_channels: int = 3
) -> SearchSpace:
    """Return FBNetV2-F++: FBNetV2-F with 0, 1, 2 or 4 splits of attention in each group.

    One split is ordinary squeeze-and-excitation: 2^10 times FBNetV2-F.
    """
    return grouped_space(
        "fbnetv2-f++",
        F_GROUPS,
        attention=SPLITS,
        classes=classes,
        resolution=resolution,
        in_channels=in_channels,
    )


def fp_nas(
    version: Literal["l0", "l1", "l2"],
    *,
    classes: int = 1000,
    resolution: int,
    in_channels: int = 3,
) -> SearchSpace:
    """Return the space in which FP-NAS-L0, -L1 or -L2 is searched; its widths are ours."""
    groups: list[Group] = []
    for (first, last, step), repeats, stride in STAGES[version]:
        for number, repeat in enumerate(repeats):
            groups.append(
                Group(
                    EXPANSIONS if groups else (1,),
                    tuple(range(first, last + 1, step)),
                    repeat,
                    1 if number else stride,
                )
            )
    return grouped_space(
        f"fp-nas-{version}",
        groups,
        attention=SPLITS,
        classes=classes,
        resolution=resolution,
        in_channels=in_channels,
    )


def digits_fp_nas(
    *,
    attention: tuple[int, ...] = (0, 2),
    classes: int = 10,
    resolution: int = 8,
    in_channels: int = 1,
) -> SearchSpace:
    """Return a space of FBNetV2-F++'s variables for 8x8 images: 5 groups, 7 blocks, 4e7 rows.

    Expansion, channels, activation and splits of ``attention`` (none or 2), shared by the blocks
    of a group, with a kernel of 3: 17.6 nats. What has weights of its own has few options, and
    widths are of a group, so that a short training reaches all: with widths of each block the loss
    of a supernet hardly falls in as many steps, since where widths change no block is residual.
    """
    expansions = (1.5, 3.0, 4.5, 6.0)
    groups = (
        Group((1.0,), (8, 12), 1, 1),
        Group(expansions, (16, 20, 24), 1, 2),
        Group(expansions, (16, 20, 24), 2, 1),
        Group(expansions, (32, 40, 48), 1, 2),
        Group(expansions, (32, 40, 48), 2, 1),
    )
    return grouped_space(
        "digits-fp-nas",
        groups,
        attention=attention,
        kernels=(3,),
        stem=8,
        stem_stride=1,
        last=96,
        classes=classes,
        resolution=resolution,
        in_channels=in_channels,
    )


SPACES: dict[str, Callable[..., SearchSpace]] = {
    "digits-fp-nas": digits_fp_nas,
    "fbnetv2-fine": fbnetv2_fine,
    "fbnetv2-f++": fbnetv2_splits,
    "fp-nas-l0": partial(fp_nas, "l0", resolution=224),
    "fp-nas-l1": partial(fp_nas, "l1", resolution=240),
    "fp-nas-l2": partial(fp_nas, "l2", resolution=256),
}
