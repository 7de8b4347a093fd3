"""SPOS: Guo et al., "Single Path One-Shot NAS with Uniform Sampling", ECCV 2020."""

from nas_spaces.errors import InputError
from nas_spaces.layers import Classifier, Conv, ShuffleUnit
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = ["ARCHITECTURES", "SPACES", "spos_shufflenet"]

# (channels, blocks) of each stage; the first block of a stage has stride 2 (table 1).
STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))
CANDIDATES = ("choice_3", "choice_5", "choice_7", "choice_x")

ARCHITECTURES = {
    # The architecture of the official repository's readme: 323M multiply-adds, 3.5M parameters.
    "spos-readme": (
        "spos-shufflenet",
        (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3),
    ),
    # The paper's block search result: 319M, 3.3M.
    "spos-paper": (
        "spos-shufflenet",
        (0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2),
    ),
}


def spos_shufflenet(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return SPOS's block search space: 20 choice blocks of 4 candidates, 4^20 rows.

    Three ShuffleNetV2 units with kernel 3, 5 or 7 and an Xception-like one. The classifier has
    no bias, as in the official code. ``resolution`` is a multiple of 32.
    """
    if resolution % 32:
        raise InputError(
            f"space 'spos-shufflenet': resolution={resolution} must be a multiple of 32"
        )
    blocks = [Block("stem", [Conv(16, 3, stride=2)])]
    choices = []
    for stage, (channels, repeats) in enumerate(STAGES, start=1):
        for repeat in range(repeats):
            stride = 2 if repeat == 0 else 1
            name = f"stage{stage}_{repeat}"
            candidates = [ShuffleUnit(channels, kernel, stride) for kernel in (3, 5, 7)]
            candidates.append(ShuffleUnit(channels, 3, stride, kind="x"))
            choices.append(Choice(name, CANDIDATES))
            blocks.append(Block(name, candidates, reads=(name,)))
    blocks.append(Block("last", [Conv(1024, 1)]))
    blocks.append(Block("head", [Classifier(classes, bias=False, dropout=0.1)]))
    return SearchSpace("spos-shufflenet", (in_channels, resolution, resolution), choices, blocks)


SPACES = {"spos-shufflenet": spos_shufflenet}
