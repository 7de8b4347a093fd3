"""Feasible rows near rows that miss a limit."""

import numpy as np
from numpy.typing import NDArray

from nas_spaces import FeasibleSet, Limit, Table

__all__ = ["repair"]


def repair(
    feasible: FeasibleSet, archs: NDArray[np.int64], *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows among ``archs`` ``[n, d]`` that one gene after another brought inside.

    All changes of one gene are looked up: one of those that are feasible is taken at random;
    where none is, the change that comes nearest to the limits, and so on, each gene at most once.
    Rows that are feasible already stay as they are; those that reach a dead end are left out.

    Args:
        feasible: the limits.
        archs: int64 ``[n, d]`` over live options.
        rng: chooses between equally good changes.

    Returns:
        int64 ``[k, d]``, ``k <= n``, in the order of ``archs``, all of them feasible.
    """
    scales = [_scale(feasible, limit) for limit in feasible.limits]
    mended = [_mend(feasible, row, scales, rng) for row in archs]
    rows = [row for row in mended if row is not None]
    return np.stack(rows) if rows else archs[:0].copy()


def _mend(
    feasible: FeasibleSet, row: NDArray[np.int64], scales: list[float], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    space = feasible.space
    free = np.ones(space.num_choices, dtype=bool)
    here = _excess(feasible, row[None], scales)[0]
    while here > 0:
        changes = [
            (column, option)
            for column in np.flatnonzero(free)
            for option in np.flatnonzero(space.mask[column])
            if option != row[column]
        ]
        if not changes:
            return None
        rows = np.repeat(row[None], len(changes), axis=0)
        columns, options = np.array(changes).T
        rows[np.arange(len(rows)), columns] = options
        excess = _excess(feasible, rows, scales)
        best = rng.choice(np.flatnonzero(excess == excess.min()))
        if excess[best] >= here:
            return None
        free[columns[best]] = False
        row, here = rows[best], excess[best]
    return row


def _excess(
    feasible: FeasibleSet, rows: NDArray[np.int64], scales: list[float]
) -> NDArray[np.float64]:
    """Return how far rows ``[n, d]`` are outside, summed over the limits; 0 inside."""
    total = np.zeros(len(rows))
    for limit, scale in zip(feasible.limits, scales, strict=True):
        values = limit.metric(rows)
        if limit.lower is not None:
            total += np.maximum(limit.lower - values, 0) / scale
        if limit.upper is not None:
            total += np.maximum(values - limit.upper, 0) / scale
    return total


def _scale(feasible: FeasibleSet, limit: Limit) -> float:
    """Return what makes distances to limits of different units comparable."""
    if isinstance(limit.metric, Table):
        low, high = feasible.attainable(limit.metric)
        if high > low:
            return float(high - low)
    ends = [abs(end) for end in (limit.lower, limit.upper) if end]
    return max(ends, default=1.0)
