"""What blocks build, and options that are replaced by others which build the same."""

from collections.abc import Hashable, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces.blocks import Block, BlockPlan
from nas_spaces.grids import combination_index, write_combinations
from nas_spaces.layers import Layer
from nas_spaces.primitives import Shape

__all__ = [
    "Bools",
    "Built",
    "Ints",
    "Replacement",
    "Rows",
    "built_of",
]

Rows = NDArray[np.int64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@frozen(eq=False)
class Replacement:
    """Options that are replaced by others which build the same.

    ``columns``: what is replaced, in ``sizes``. ``given``: columns that say how, in
    ``given_sizes``. ``by``: int64 ``[given, columns]``, for each combination of the columns the
    one that takes its place.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    given: tuple[int, ...]
    given_sizes: tuple[int, ...]
    by: Ints

    def apply(self, rows: Rows) -> None:
        """Replace options in place."""
        here = combination_index(rows, self.columns, self.sizes)
        there = self.by[combination_index(rows, self.given, self.given_sizes), here]
        write_combinations(rows, self.columns, self.sizes, there)


@frozen(eq=False)
class Built:
    """What a block builds for each combination of its columns, in C-order.

    ``number``: int64, in all blocks equal where equal layers get inputs of one shape. ``empty``:
    bool, where the layer has no primitives: its input leaves as it is.
    """

    number: Ints
    empty: Bools


def built_of(blocks: Sequence[Block], plans: Sequence[BlockPlan]) -> list[Built]:
    """Return what each block builds."""
    numbers: dict[Hashable, int] = {}
    known: dict[tuple[Layer, Shape], bool] = {}
    result = []
    for block, plan in zip(blocks, plans, strict=True):
        number = np.empty(len(plan.in_shapes), dtype=np.int64)
        empty = np.zeros(len(plan.in_shapes), dtype=bool)
        layer: Layer | None = None
        for i, (shape, out_shape) in enumerate(zip(plan.in_shapes, plan.out_shapes, strict=True)):
            if i % plan.extra == 0:
                layer = block.layers[i // plan.extra]
            assert layer is not None
            key = (layer, shape)
            if shape == out_shape:
                # Graphs are looked at only where the shape allows nothing to be built.
                if key not in known:
                    known[key] = not layer.graph(shape)
                empty[i] = known[key]
            number[i] = numbers.setdefault((None, shape) if empty[i] else key, len(numbers))
        result.append(Built(number, empty))
    return result
