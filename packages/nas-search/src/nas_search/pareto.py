"""Which values are not dominated: the Pareto front."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_spaces import InputError

__all__ = ["non_dominated"]


def non_dominated(values: ArrayLike) -> NDArray[np.bool_]:
    """Return bool ``[n]``: which rows of values ``[n, m]`` no other row dominates.

    A row dominates another if it is at most as large in every column and smaller in one; lower is
    better. Equal rows do not dominate each other. Two columns take O(n log n), more take O(n)
    steps for each row of the front.

    Raises:
        InputError: values of another shape, or NaN.

    >>> non_dominated([[1, 4], [2, 2], [3, 3], [4, 1]])
    array([ True,  True, False,  True])
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InputError(f"values has shape {rows.shape}; expected [n, m], m at least 1")
    if np.isnan(rows).any():
        raise InputError(f"values[{np.argwhere(np.isnan(rows))[0][0]}] holds NaN")
    # In this order a row can only be dominated by one before it.
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    kept = np.empty(len(rows), dtype=bool)
    kept[order] = _sweep(ordered) if rows.shape[1] == 2 else _scan(ordered)
    return kept


def _sweep(ordered: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Two columns: compare with the least second value of all rows before."""
    if not len(ordered):
        return np.zeros(0, dtype=bool)
    first, second = ordered.T
    least = np.minimum.accumulate(second)
    starts = np.r_[True, first[1:] != first[:-1]]
    # [n]: where the rows begin that have the same first value.
    start = np.maximum.accumulate(np.where(starts, np.arange(len(first)), 0))
    dominated_by_smaller = (start > 0) & (least[start - 1] <= second)
    dominated_by_equal = second[start] < second
    kept: NDArray[np.bool_] = ~(dominated_by_smaller | dominated_by_equal)
    return kept


def _scan(ordered: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Any number of columns: each row that is kept strikes out what it dominates."""
    kept = np.ones(len(ordered), dtype=bool)
    for index, row in enumerate(ordered):
        if kept[index]:
            behind = ordered[index + 1 :]
            kept[index + 1 :] &= ~((row <= behind).all(axis=1) & (row < behind).any(axis=1))
    return kept
