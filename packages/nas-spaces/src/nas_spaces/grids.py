"""Arrays with one axis a column of architectures, and their entries by number, in C-order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["combination_index", "spread", "write_combinations"]


def spread(values: NDArray[Any], columns: Sequence[int], axes: Sequence[int]) -> NDArray[Any]:
    """Return ``values`` of ``columns`` with one axis for each of ``axes``, to be broadcast.

    ``axes`` hold all ``columns``, in any order; the others of them have length 1.
    """
    moved = values.transpose([columns.index(axis) for axis in axes if axis in columns])
    sizes = iter(moved.shape)
    return moved.reshape([next(sizes) if axis in columns else 1 for axis in axes])


def combination_index(
    rows: NDArray[np.int64], columns: Sequence[int], sizes: Sequence[int]
) -> NDArray[np.int64]:
    """Return the combination of ``columns`` in each row, in C-order."""
    index = np.zeros(len(rows), dtype=np.int64)
    for column, size in zip(columns, sizes, strict=True):
        index = index * size + rows[:, column]
    return index


def write_combinations(
    rows: NDArray[np.int64], columns: Sequence[int], sizes: Sequence[int], index: NDArray[np.int64]
) -> None:
    """Set ``columns`` of ``rows`` to combinations, in place."""
    for column, size in zip(reversed(columns), reversed(sizes), strict=True):
        rows[:, column] = index % size
        index = index // size
