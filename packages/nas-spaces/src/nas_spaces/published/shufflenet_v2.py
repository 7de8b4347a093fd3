"""ShuffleNetV2: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture
Design", ECCV 2018.

Networks, not spaces. Their published counts (146M, 299M and 591M multiply-adds) are those of the
authors' stride-2 unit, whose projection branch keeps its channels; other implementations halve
the output between the branches and come out a little below.
"""

from functools import partial

from nas_spaces.layers import Classifier, Conv, Pool, ShuffleUnit
from nas_spaces.space import Block, SearchSpace

__all__ = ["NETWORKS", "shufflenet_v2"]

# Width multiplier -> channels of the three stages and of the last convolution (table 5).
WIDTHS = {
    "1.0": (116, 232, 464, 1024),
    "1.5": (176, 352, 704, 1024),
    "2.0": (244, 488, 976, 2048),
}
REPEATS = (4, 8, 4)
# The largest alone has a dropout before its classifier (authors' code).
DROPOUT = {"2.0": 0.2}


def shufflenet_v2(
    width: str, *, classes: int = 1000, resolution: int = 224, in_channels: int = 3
) -> SearchSpace:
    """Return ShuffleNetV2 1.0, 1.5 or 2.0 (a ``width`` of `WIDTHS`): a space with no choice."""
    *stages, last = WIDTHS[width]
    blocks = [Block("stem", [Conv(24, 3, stride=2)]), Block("pool", [Pool("max", 3, 2)])]
    for stage, (channels, repeats) in enumerate(zip(stages, REPEATS, strict=True), start=2):
        for repeat in range(repeats):
            unit = ShuffleUnit(channels, 3, stride=2 if repeat == 0 else 1)
            blocks.append(Block(f"stage{stage}_{repeat}", [unit]))
    blocks.append(Block("last", [Conv(last, 1)]))
    blocks.append(Block("head", [Classifier(classes, dropout=DROPOUT.get(width, 0.0))]))
    shape = (in_channels, resolution, resolution)
    return SearchSpace(f"shufflenet-v2-{width}", shape, (), blocks)


NETWORKS = {f"shufflenet-v2-{width}": partial(shufflenet_v2, width) for width in WIDTHS}
