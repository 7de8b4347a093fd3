"""Which values are not dominated, and in what order: Pareto fronts and crowding distances."""

from bisect import bisect_right

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_spaces import InputError

__all__ = ["crowding", "fronts", "hypervolume", "non_dominated"]


def non_dominated(values: ArrayLike) -> NDArray[np.bool_]:
    """Return bool ``[n]``: which rows of values ``[n, m]`` no other row dominates.

    A row dominates another if it is at most as large in every column and smaller in one; lower is
    better. Equal rows do not dominate each other. One or two columns take O(n log n), more take
    O(n) steps for each row of the front.

    Raises:
        InputError: values of another shape, or NaN.

    >>> non_dominated([[1, 4], [2, 2], [3, 3], [4, 1]])
    array([ True,  True, False,  True])
    """
    kept: NDArray[np.bool_] = _ranks(values, most=1) == 0
    return kept


def fronts(values: ArrayLike) -> NDArray[np.int64]:
    """Return int64 ``[n]``: the front of each row of values ``[n, m]``, 0 for the first.

    Front 0 is what no row dominates, front 1 what only rows of front 0 dominate, and so on (the
    non-dominated sort of Deb et al., IEEE TEVC 6(2), 2002, section III-A). Equal rows share a
    front; lower values are better. One or two columns take O(n log n), more take O(n^2) at most
    and O(n) memory.

    Raises:
        InputError: values of another shape, or NaN.

    >>> fronts([[1, 4], [2, 2], [3, 3], [4, 1], [4, 4]])
    array([0, 0, 1, 0, 2])
    """
    return _ranks(values, most=None)


def crowding(values: ArrayLike, ranks: ArrayLike) -> NDArray[np.float64]:
    """Return float64 ``[n]``: how far the neighbours of each row are within its front.

    The distance of Deb et al. (2002, section III-B): for each column the rows of a front are put
    in order; the first and the last have an infinite distance, the others the gap between their
    two neighbours over the range of the column in that front, summed over the columns. Rows that
    tie in a column stay in the order in which they are given. A column without range adds nothing
    between its ends.

    Args:
        values: finite, ``[n, m]``.
        ranks: integers ``[n]``, the front of each row as `fronts` gives them.

    Raises:
        InputError: values of another shape or not finite, or ranks that do not fit.

    >>> crowding([[1, 5], [2, 3], [4, 2], [5, 1]], [0, 0, 0, 0])
    array([ inf, 1.5 , 1.25,  inf])
    """
    rows = _check(values)
    if not np.isfinite(rows).all():
        index = np.argwhere(~np.isfinite(rows))[0][0]
        raise InputError(f"values[{index}] is {rows[index].tolist()}; distances need finite values")
    members = np.asarray(ranks)
    if members.shape != (len(rows),) or (members.dtype.kind not in "iu" and len(rows)):
        raise InputError(
            f"ranks has shape {members.shape} and dtype {members.dtype}; expected integers "
            f"[{len(rows)}], one for each row of values, as fronts(values) gives them"
        )
    distances = np.zeros(len(rows))
    if not len(rows):
        return distances
    # Rows by front; every column sorts within these runs.
    sorted_ranks = np.sort(members)
    first = np.r_[True, sorted_ranks[1:] != sorted_ranks[:-1]]  # [n]: begins a front
    last = np.r_[first[1:], True]
    starts, ends = np.flatnonzero(first), np.flatnonzero(last)  # [fronts]
    sizes = ends - starts + 1
    # Halves, so that no difference overflows; quotients stay the same.
    for column in rows.T / 2:
        order = np.lexsort((column, members))
        ordered = column[order]
        spans = np.repeat(ordered[ends] - ordered[starts], sizes)  # [n]
        gaps = np.zeros(len(rows))
        gaps[1:-1] = ordered[2:] - ordered[:-2]
        shares = np.divide(gaps, spans, out=np.zeros(len(rows)), where=spans > 0)
        shares[first | last] = np.inf
        distances[order] += shares
    return distances


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume that rows dominate below a reference point (Zitzler and Thiele, 1998).

    Exact, by slices along the last objective: for fronts of some hundred rows and few objectives.

    Args:
        values: ``[n, m]``, lower is better in every column; rows that are not below the reference
            in all columns add nothing.
        reference: ``[m]``, as bad as values can count.

    Raises:
        InputError: values that are no numbers, or another number of columns.

    >>> hypervolume([[0.0, 0.5], [0.5, 0.0]], [1.0, 1.0])
    0.75
    """
    rows, end = _check(values), np.asarray(reference, dtype=np.float64)
    if end.shape != rows.shape[1:] or not np.isfinite(end).all():
        raise InputError(
            f"reference {end.tolist()} must be one finite number for each of the {rows.shape[1]} "
            "objectives"
        )
    return _volume(rows[(rows < end).all(axis=1)], end)


def _volume(rows: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    if not len(rows):
        return 0.0
    if rows.shape[1] == 1:
        return float(end[0] - rows.min())
    rows = rows[np.argsort(rows[:, -1], kind="stable")]
    tops = np.append(rows[1:, -1], end[-1])
    heights = tops - rows[:, -1]
    return sum(
        float(height) * _volume(rows[: i + 1, :-1], end[:-1])
        for i, height in enumerate(heights)
        if height > 0
    )


def _check(values: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InputError(f"values has shape {rows.shape}; expected [n, m], m at least 1")
    if np.isnan(rows).any():
        index = np.argwhere(np.isnan(rows))[0][0]
        raise InputError(f"values[{index}] is {rows[index].tolist()}; NaN has no place in an order")
    return rows


def _ranks(values: ArrayLike, most: int | None) -> NDArray[np.int64]:
    """Return the front of each row, int64 ``[n]``; -1 may stand for those from ``most`` on."""
    rows = _check(values)
    # In this order a row can only be dominated by one before it.
    order = np.lexsort(rows.T[::-1])
    columns = rows.T.take(order, axis=1)  # [m, n], contiguous
    # Equal rows share a front, so one of them stands for all; among distinct rows, one that comes
    # before and is not larger in the columns after the first dominates.
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    distinct = columns.compress(new, axis=1)
    ranked = _chain(distinct[-1]) if len(columns) <= 2 else _peel(distinct[1:], most)
    ranks = np.empty(len(rows), dtype=np.int64)
    ranks[order] = ranked[np.cumsum(new) - 1]
    return ranks


def _chain(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """One or two columns, the last one ``[n]`` given: one sweep with a bisection for each row.

    The least second value of each front so far decides whether the front dominates the row; these
    are in ascending order, because a row of the next front is dominated by one of this.
    """
    least: list[float] = []
    ranks: list[int] = []
    for second in seconds.tolist():
        rank = bisect_right(least, second)
        if rank == len(least):
            least.append(second)
        else:
            least[rank] = second
        ranks.append(rank)
    return np.array(ranks, dtype=np.int64)


def _peel(columns: NDArray[np.float64], most: int | None) -> NDArray[np.int64]:
    """Any number of columns, all but the first ``[m - 1, n]``: one front after another."""
    ranks = np.full(columns.shape[1], -1, dtype=np.int64)
    left = np.arange(columns.shape[1])
    rank = 0
    while len(left) and rank != most:
        kept = _scan(columns.take(left, axis=1))
        ranks[left[kept]] = rank
        left = left[~kept]
        rank += 1
    return ranks


def _scan(columns: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which of ``[m - 1, n]`` are not dominated: each that is kept strikes out others."""
    first, *others = columns
    kept = np.ones(len(first), dtype=bool)
    for index in range(len(first)):
        if kept[index]:
            # Column by column: a reduction over a short axis takes three times as long.
            free = first[index + 1 :] < first[index]
            for column in others:
                free |= column[index + 1 :] < column[index]
            kept[index + 1 :] &= free
    return kept
