"""A small MobileNet-like space for 8x8 images: whole searches in seconds, on real data."""

from nas_spaces.layers import Classifier, Conv, Identity, MBConv
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = ["SPACES", "digits_mobile"]

# (channels, blocks, stride of the first block) of each stage.
STAGES = ((12, 2, 1), (24, 3, 2), (48, 3, 2))
KERNELS = (3, 5)
EXPANSIONS = (3, 6)


def digits_mobile(*, classes: int = 10, resolution: int = 8, in_channels: int = 1) -> SearchSpace:
    """Return a space of 8 choice blocks: 4 candidates each, and an identity where it fits.

    Candidates are inverted residual blocks with kernel 3 or 5 and expansion 3 or 6:
    4^3 * 5^5 = 200,000 rows.
    """
    blocks = [Block("stem", [Conv(8, 3, activation="relu6")])]
    choices = []
    for stage, (channels, repeats, first) in enumerate(STAGES, start=1):
        for repeat in range(repeats):
            name = f"stage{stage}_{repeat}"
            stride = first if repeat == 0 else 1
            options = [f"mb_k{k}_e{e}" for k in KERNELS for e in EXPANSIONS]
            candidates: list[MBConv | Identity] = [
                MBConv(channels, k, stride, expand=e) for k in KERNELS for e in EXPANSIONS
            ]
            if repeat:
                options.append("identity")
                candidates.append(Identity())
            choices.append(Choice(name, options))
            blocks.append(Block(name, candidates, reads=(name,)))
    blocks.append(Block("last", [Conv(96, 1, activation="relu6")]))
    blocks.append(Block("head", [Classifier(classes)]))
    return SearchSpace("digits-mobile", (in_channels, resolution, resolution), choices, blocks)


SPACES = {"digits-mobile": digits_mobile}
