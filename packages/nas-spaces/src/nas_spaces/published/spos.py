"""SPOS: Guo et al., "Single Path One-Shot NAS with Uniform Sampling", ECCV 2020.

The space of blocks, the space of channels on top of chosen blocks, and both at once. The paper's
third space, of bit widths, is in `nas_spaces.published.resnet`.
"""

from collections.abc import Sequence

from nas_spaces.errors import InputError
from nas_spaces.layers import Classifier, Conv, ShuffleUnit
from nas_spaces.space import Block, Choice, SearchSpace
from nas_spaces.vary import with_scales

__all__ = [
    "ARCHITECTURES",
    "SPACES",
    "spos_shufflenet",
    "spos_shufflenet_channels",
    "spos_shufflenet_joint",
]

# (channels, blocks) of each stage; the first block of a stage has stride 2 (table 1).
STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))
CANDIDATES = ("choice_3", "choice_5", "choice_7", "choice_x")

# The result of the paper's search for blocks, on which its search for channels was run.
PAPER_BLOCKS = (0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2)

ARCHITECTURES = {
    # The architecture of the official repository's readme: 323M multiply-adds, 3.5M parameters.
    "spos-readme": (
        "spos-shufflenet",
        (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3),
    ),
    # The paper's block search result: 319M, 3.3M.
    "spos-paper": ("spos-shufflenet", PAPER_BLOCKS),
    # The same blocks with the channels found for them: 328M, 3.4M.
    "spos-paper-channels": (
        "spos-shufflenet-channels",
        (6, 5, 3, 5, 2, 6, 3, 4, 2, 5, 7, 5, 4, 6, 7, 4, 4, 5, 4, 3),
    ),
}


def spos_shufflenet(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return SPOS's block search space: 20 choice blocks of 4 candidates, 4^20 rows.

    Three ShuffleNetV2 units with kernel 3, 5 or 7 and an Xception-like one. The classifier has
    no bias, as in the official code. ``resolution`` is a multiple of 32.
    """
    return _shufflenet("spos-shufflenet", classes, resolution, in_channels)


def spos_shufflenet_channels(
    *,
    blocks: str | Sequence[int] = PAPER_BLOCKS,
    classes: int = 1000,
    resolution: int = 224,
    in_channels: int = 3,
) -> SearchSpace:
    """Return SPOS's channel search space: 20 columns of 8 scales, 8^20 rows.

    Column ``i`` scales the middle channels of block ``i``; what enters and leaves a block stays as
    it is. The scales of a block share their weights: narrower ones use the first channels.

    Args:
        blocks: which candidate each block is, a row of "spos-shufflenet" as integers or as text;
            the result of the paper's block search where left out.
        classes: logits.
        resolution: a multiple of 32.
        in_channels: channels of an image.

    Raises:
        InputError: ``blocks`` that are no row of "spos-shufflenet", or another resolution.

    >>> space = spos_shufflenet_channels(blocks="0" * 20)
    >>> [layer.out_shape[0] for layer in space.layers([7] * 20)][:5]
    [16, 64, 64, 64, 64]
    >>> [node.shape[0] for node in space.layers([7] * 20)[1].graph if node.name == "pw1"]
    [51]
    """
    name = "spos-shufflenet-channels"
    plain = _shufflenet(name, classes, resolution, in_channels)
    try:
        row = plain.parse(blocks) if isinstance(blocks, str) else plain.check([blocks])[0]
    except InputError as error:
        raise InputError(
            f"space {name!r}: blocks={blocks!r} is no row of 'spos-shufflenet': {error}"
        ) from error
    return with_scales(plain.fix(row), name=name)


def spos_shufflenet_joint(
    *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return SPOS's joint space of blocks and channels: (4 * 8)^20 rows.

    Two columns a block, its candidate and the scale of its middle channels, in one group. Each
    candidate owns its weights; its scales share them. ``resolution`` is a multiple of 32.
    """
    name = "spos-shufflenet-joint"
    return with_scales(_shufflenet(name, classes, resolution, in_channels), name=name)


def _shufflenet(name: str, classes: int, resolution: int, in_channels: int) -> SearchSpace:
    """Return the space of blocks under a name."""
    if resolution % 32:
        raise InputError(f"space {name!r}: resolution={resolution} must be a multiple of 32")
    choices = []
    blocks = [Block("stem", [Conv(16, 3, stride=2)])]
    for stage, (channels, repeats) in enumerate(STAGES, start=1):
        for repeat in range(repeats):
            block = f"stage{stage}_{repeat}"
            stride = 2 if repeat == 0 else 1
            candidates = [_unit(channels, stride, i) for i in range(len(CANDIDATES))]
            choices.append(Choice(block, CANDIDATES))
            blocks.append(Block(block, candidates, reads=(block,)))
    blocks.append(Block("last", [Conv(1024, 1)]))
    blocks.append(Block("head", [Classifier(classes, bias=False, dropout=0.1)]))
    return SearchSpace(name, (in_channels, resolution, resolution), choices, blocks)


def _unit(channels: int, stride: int, candidate: int) -> ShuffleUnit:
    """Return one of `CANDIDATES`."""
    if CANDIDATES[candidate] == "choice_x":
        return ShuffleUnit(channels, 3, stride, kind="x")
    return ShuffleUnit(channels, (3, 5, 7)[candidate], stride)


SPACES = {
    "spos-shufflenet": spos_shufflenet,
    "spos-shufflenet-channels": spos_shufflenet_channels,
    "spos-shufflenet-joint": spos_shufflenet_joint,
}
