"""Feasible rows near rows that miss a limit."""

import math
from functools import cached_property

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_search import candidates
from nas_spaces import FeasibleSet, Limit, Table

__all__ = ["Repair"]

# Rows repaired for each one that is wanted.
REPAIRS = 2
INT64 = np.iinfo(np.int64)


@frozen(eq=False, slots=False)
class Repair:
    """Brings rows that miss a limit inside, one gene after another.

    All changes of one gene are looked up: one of those that are feasible is taken at random;
    where none is, the change that comes nearest to the limits, and so on, each gene at most once.

    ``feasible``: the limits.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> depth = Table.from_primitives(space, "depth", "blocks", lambda p: p.name == "depthwise")
    >>> repair = Repair(FeasibleSet(space, [Limit(depth, upper=2)]))
    >>> rows = repair(np.full((1, 8), 2), rng=np.random.default_rng(0))
    >>> depth(rows).tolist(), int((rows != 2).sum())
    ([2], 6)
    """

    feasible: FeasibleSet

    def __call__(self, archs: NDArray[np.int64], *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return feasible rows int64 ``[k, d]`` near rows ``[n, d]``, in their order, ``k <= n``.

        Rows that are feasible already stay as they are; those that reach a dead end are left out.

        Args:
            archs: over live options.
            rng: chooses between equally good changes.
        """
        rows = archs.copy()
        columns, options = self._changes
        free = np.ones(rows.shape, dtype=bool)
        here = self._excess(rows)
        left = np.flatnonzero(here > 0)
        while len(left) and len(columns):
            # [k, c, d]: every change of each row that is still outside.
            changed = np.repeat(rows[left][:, None], len(columns), axis=1)
            changed[:, np.arange(len(columns)), columns] = options
            excess = self._excess(changed.reshape(-1, rows.shape[1])).reshape(len(left), -1)
            excess[~free[left][:, columns] | (rows[left][:, columns] == options)] = np.inf
            # The best, by chance where several are.
            least = excess.min(axis=1)
            ties = excess == least[:, None]
            best = np.where(ties, rng.random(excess.shape), -1.0).argmax(axis=1)
            better = least < here[left]
            left, best, least = left[better], best[better], least[better]
            rows[left, columns[best]] = options[best]
            free[left, columns[best]] = False
            here[left] = least
            left = left[least > 0]
        inside: NDArray[np.int64] = rows[here == 0]
        return inside

    def new(
        self,
        children: NDArray[np.int64],
        n: int,
        visited: set[bytes],
        *,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return up to ``n`` feasible rows whose networks are not in ``visited``, and add them.

        First those among ``children``; where they are not enough, others of them repaired.
        """
        found = candidates.take_new(self.feasible, children, n, visited)
        missing = n - len(found)
        if not missing:
            return found
        outside = children[~self.feasible.contains(children)]
        mended = self(outside[: REPAIRS * missing], rng=rng)
        return np.concatenate([found, candidates.take_new(self.feasible, mended, missing, visited)])

    @cached_property
    def _changes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Columns and options of every change of one gene, ``[c]`` each."""
        columns, options = np.nonzero(self.feasible.space.mask)
        return columns, options

    @cached_property
    def _scales(self) -> list[float]:
        """What makes distances to limits of different units comparable."""
        return [self._scale(limit) for limit in self.feasible.limits]

    def _scale(self, limit: Limit) -> float:
        if isinstance(limit.metric, Table):
            low, high = self.feasible.attainable(limit.metric)
            if high > low:
                return float(high - low)
        ends = [abs(end) for end in (limit.lower, limit.upper) if end]
        return float(max(ends, default=1.0))

    def _excess(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how far rows ``[n, d]`` are outside, summed over the limits; 0 inside."""
        total = np.zeros(len(rows))
        for limit, scale in zip(self.feasible.limits, self._scales, strict=True):
            values = np.asarray(limit.metric(rows))
            lower, upper = limit.lower, limit.upper
            if values.dtype.kind in "iu":
                # As in Limit.holds: float64 would round integers beyond 2^53.
                values = values.astype(np.int64)
                lower = None if lower is None else max(math.ceil(lower), INT64.min)
                upper = None if upper is None else min(math.floor(upper), INT64.max)
            if lower is not None:
                total += (lower - np.minimum(values, lower)) / scale
            if upper is not None:
                total += (np.maximum(values, upper) - upper) / scale
        return total
