"""NAS-Bench-Macro: Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search",
CVPR 2021. All 6,561 architectures were trained alone on CIFAR-10."""

from nas_spaces.layers import Classifier, Conv, Layer, MBConv, Skip
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = ["ARCHITECTURES", "SPACES", "nas_bench_macro"]

# (channels, blocks) of each stage; the first block of a stage has stride 2.
STAGES = ((64, 2), (128, 3), (256, 3))
CANDIDATES = ("identity", "mb_k3_e3", "mb_k5_e6")

ARCHITECTURES = {
    # The best of the benchmark by mean accuracy.
    "nas-bench-macro-best": ("nas-bench-macro", (2, 2, 2, 1, 2, 2, 2, 0)),
}


def nas_bench_macro(
    *, classes: int = 10, resolution: int = 32, in_channels: int = 3
) -> SearchSpace:
    """Return the benchmark's space: 8 choice blocks of 3 candidates, 3^8 rows.

    Candidates are an identity and inverted residual blocks with kernel 3, expansion 3 and
    kernel 5, expansion 6. Where the stride is 2 the identity is a 1x1 convolution with a norm.
    The options' indices are the digits of the benchmark's keys, which `SearchSpace.notate` gives.
    """
    blocks = [Block("stem", [Conv(32, 3, activation="relu6")])]
    choices = []
    for stage, (channels, repeats) in enumerate(STAGES, start=1):
        for repeat in range(repeats):
            stride = 2 if repeat == 0 else 1
            name = f"stage{stage}_{repeat}"
            candidates: list[Layer] = [
                Skip(channels, stride),
                MBConv(channels, 3, stride, expand=3),
                MBConv(channels, 5, stride, expand=6),
            ]
            choices.append(Choice(name, CANDIDATES))
            blocks.append(Block(name, candidates, reads=(name,)))
    blocks.append(Block("last", [Conv(1280, 1, activation="relu6")]))
    blocks.append(Block("head", [Classifier(classes)]))
    return SearchSpace(
        "nas-bench-macro",
        (in_channels, resolution, resolution),
        choices,
        blocks,
        notation="{index}" * len(choices),
    )


SPACES = {"nas-bench-macro": nas_bench_macro}
