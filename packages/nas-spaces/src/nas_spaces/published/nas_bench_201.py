"""NAS-Bench-201: Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural
Architecture Search", ICLR 2020. All 15,625 cells were trained alone on three data sets."""

from collections.abc import Callable

from nas_spaces.errors import InputError
from nas_spaces.layers import (
    Classifier,
    Conv,
    Identity,
    Layer,
    NormRelu,
    Pool,
    ReluConvNorm,
    ResidualDown,
    Zero,
)
from nas_spaces.space import Block, Choice, SearchSpace

__all__ = ["SPACES", "nas_bench_201"]

CHANNELS = (16, 32, 64)
CELLS = 5  # in each stage
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# (node, the node before it that the edge comes from), in the order of the benchmark's texts.
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
NOTATION = "|{option}~0|+|{option}~0|{option}~1|+|{option}~0|{option}~1|{option}~2|"
# SPOS ranks the benchmark's cells in three smaller spaces too (Guo et al., 2020, appendix).
REDUCED = {
    "nas-bench-201-reduce-1": ("nor_conv_1x1",),
    "nas-bench-201-reduce-2": ("avg_pool_3x3",),
    "nas-bench-201-reduce-3": ("nor_conv_1x1", "avg_pool_3x3"),
}


def nas_bench_201(*, classes: int = 10, resolution: int = 32, in_channels: int = 3) -> SearchSpace:
    """Return the benchmark's space: a cell of 6 edges with 5 operations each, 5^6 rows.

    A cell has four nodes; an edge from each node to each later one applies its operation, and a
    node is the sum of the edges that end in it. The same cell stands five times in each of three
    stages with 16, 32 and 64 channels; residual blocks between the stages halve the resolution.
    Columns and operations are in the benchmark's order, and `SearchSpace.parse` reads its texts.

    Args:
        classes: 10 and 100 for CIFAR, 120 for ImageNet16-120.
        resolution: a multiple of 4; 32 for CIFAR, 16 for ImageNet16-120.
        in_channels: channels of an image.

    Raises:
        InputError: a resolution that cannot be halved twice.
    """
    return _build("nas-bench-201", OPERATIONS, classes, resolution, in_channels)


def _build(
    name: str, operations: tuple[str, ...], classes: int, resolution: int, in_channels: int
) -> SearchSpace:
    if resolution % 4:
        raise InputError(f"space {name!r}: resolution={resolution} must be a multiple of 4")
    choices = [Choice(f"node{node}_from{source}", operations) for node, source in EDGES]
    blocks = [Block("stem", [Conv(CHANNELS[0], 3, activation=None)])]
    for stage, channels in enumerate(CHANNELS, start=1):
        if stage > 1:
            blocks.append(Block(f"down{stage}", [ResidualDown(channels)]))
        for cell in range(CELLS):
            blocks += _cell(f"stage{stage}_cell{cell}", blocks[-1].name, operations, channels)
    blocks.append(Block("last", [NormRelu()]))
    blocks.append(Block("head", [Classifier(classes)]))
    shape = (in_channels, resolution, resolution)
    return SearchSpace(name, shape, choices, blocks, notation=NOTATION)


def _cell(name: str, source: str, operations: tuple[str, ...], channels: int) -> list[Block]:
    """Return an edge's block for each edge, and one that sums those into the last node."""
    candidates = [_operation(operation, channels) for operation in operations]
    # What is summed for each node: the cell's input, and then the edges that end in it.
    inputs: dict[int, list[str]] = {0: [source]}
    blocks = []
    for node, before in EDGES:
        edge = f"node{node}_from{before}"
        block = f"{name}_{edge}"
        blocks.append(Block(block, candidates, reads=(edge,), inputs=inputs[before]))
        inputs.setdefault(node, []).append(block)
    last = max(inputs)
    # A block of its own: whatever follows has the sum, instead of each reader summing again.
    blocks.append(Block(f"{name}_node{last}", [Identity()], inputs=inputs[last]))
    return blocks


def _operation(name: str, channels: int) -> Layer:
    layers: dict[str, Layer] = {
        "none": Zero(),
        "skip_connect": Identity(),
        "nor_conv_1x1": ReluConvNorm(channels, 1),
        "nor_conv_3x3": ReluConvNorm(channels, 3),
        "avg_pool_3x3": Pool("average", 3),
    }
    return layers[name]


def _reduced(name: str, left_out: tuple[str, ...]) -> Callable[..., SearchSpace]:
    operations = tuple(operation for operation in OPERATIONS if operation not in left_out)

    def build(*, classes: int = 10, resolution: int = 32, in_channels: int = 3) -> SearchSpace:
        return _build(name, operations, classes, resolution, in_channels)

    build.__doc__ = f"Return `nas_bench_201` without {' and '.join(left_out)}."
    return build


SPACES: dict[str, Callable[..., SearchSpace]] = {
    "nas-bench-201": nas_bench_201,
    **{name: _reduced(name, left_out) for name, left_out in REDUCED.items()},
}
