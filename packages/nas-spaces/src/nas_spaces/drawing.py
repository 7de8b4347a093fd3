"""Rows of a window, drawn uniformly without a retry.

With exact counts of completions every row of the window has a number; a random number is read
off step by step, each class of options taking as many as it has completions. Counts beyond 2^62
are float64, and each step draws anew.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces.elimination import Numbers
from nas_spaces.states import Moves
from nas_spaces.windows import Window

__all__ = ["Drawer"]

# Partial sums of one portion of rows (8 bytes each); fewer rows are dominated by overhead.
PORTION_ENTRIES = 2**21


@frozen(eq=False)
class _Fan:
    """What drawing needs of a step: classes by rank, int64 ``[c, f]``, padded with weight 0.

    ``shift``: place in the next table less the cost so far. ``times``: None where all are 1.
    """

    classes: int
    shift: NDArray[np.int64]
    cost: NDArray[np.int64]
    onward: NDArray[np.int64]
    first: NDArray[np.int64]
    times: NDArray[np.int64] | None

    @classmethod
    def of(cls, moves: Moves, kept: Sequence[int], start: int, width: int) -> "_Fan":
        """Build from the classes ``kept``, for a next table of ``width`` columns from ``start``."""
        state, times = moves.state[kept], moves.times[kept]
        sizes = np.bincount(state, minlength=moves.before)
        rank = np.arange(len(state)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        shape = (int(sizes.max()), moves.before)

        def padded(values: NDArray[np.int64], empty: int = 0) -> NDArray[np.int64]:
            grid = np.full(shape, empty, dtype=np.int64)
            grid[rank, state] = values[kept]
            return grid

        shift = moves.onward * width + moves.cost - start
        single = (times == 1).all() and (sizes == shape[0]).all()
        return cls(
            shape[0],
            padded(shift, -start),
            padded(moves.cost),
            padded(moves.onward),
            padded(moves.first),
            None if single else padded(moves.times),
        )

    def edges(
        self, table: Numbers, spent: NDArray[np.int64], state: NDArray[np.int64], classes: int
    ) -> Numbers:
        """Return ``[classes + 1, n]``: the completions of all classes before each.

        ``table``: of the level behind the step, flat. ``spent``, ``state``: of each row.
        """
        edges = np.empty((classes + 1, len(spent)), dtype=table.dtype)
        edges[0] = 0
        if classes > len(spent):
            # All classes at once; for many rows that would not stay in the caches.
            weights = table.take(spent + self.shift[:classes].take(state, axis=1))
            if self.times is not None:
                weights *= self.times[:classes].take(state, axis=1)
            np.cumsum(weights, axis=0, out=edges[1:])
            return edges
        for rank in range(classes):
            single = self.shift.shape[1] == 1
            shift = self.shift[rank, 0] if single else self.shift[rank].take(state)
            weights = table.take(spent + shift)
            if self.times is not None:
                weights *= self.times[rank].take(state)
            np.add(edges[rank], weights, out=edges[rank + 1])
        return edges


@frozen(eq=False)
class Drawer:
    """Uniform rows of a window; keeps its tables."""

    window: Window

    @cached_property
    def _tables(self) -> tuple[Numbers, ...]:
        """The completions at each level."""
        window = self.window
        levels = [table for table, _ in window.completions((window.low, window.high))]
        return tuple(levels[::-1])

    @property
    def is_empty(self) -> bool:
        """Whether no row is inside."""
        return self.window.is_vacant or not self._tables[0][0, 0]

    @cached_property
    def _fans(self) -> tuple[_Fan, ...]:
        fans = []
        for level, (step, place) in enumerate(
            zip(self.window.moves, self.window.layout[1:], strict=True)
        ):
            # Classes from which the window is out of reach would only be looked up in vain.
            kept = [number for number, *_ in self.window.shifts(level)]
            fans.append(_Fan.of(step, kept, *place))
        return tuple(fans)

    def sample(self, n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``n`` rows int64 ``[n, d]``, uniform over the window and independent."""
        archs = np.empty((self.window.num_choices, n), dtype=np.int64)
        for column, options in self.window.free:
            archs[column] = options[rng.integers(len(options), size=n)]
        # Exact counts number the rows: one number a row says everything about it.
        counts = self._tables[0]
        numbers = rng.integers(counts[0, 0], size=n) if counts.dtype == np.int64 else None
        most = max((fan.classes for fan in self._fans), default=1)
        portion = min(max(PORTION_ENTRIES // most, 1), 2**13)
        for start in range(0, n, portion):
            rows = slice(start, start + portion)
            self._walk(archs[:, rows], None if numbers is None else numbers[rows], rng)
        return np.ascontiguousarray(archs.T)

    def _walk(
        self, archs: NDArray[np.int64], numbers: NDArray[np.int64] | None, rng: np.random.Generator
    ) -> None:
        """Fill ``archs`` ``[d, n]``: of each row's class of options, option, and what it leaves."""
        n = archs.shape[1]
        rows = np.arange(n)
        spent = np.zeros(n, dtype=np.int64)
        state = np.zeros(n, dtype=np.int64)
        for step, fan, table in zip(self.window.moves, self._fans, self._tables[1:], strict=True):
            flat = table.ravel()
            # The last class takes whatever number is left; draws of their own need the total.
            classes = fan.classes - (numbers is not None)
            edges = fan.edges(flat, spent, state, classes)
            draw = rng.random(n) * edges[-1] if numbers is None else numbers
            chosen = np.zeros(n, dtype=np.int64)
            if classes > n:
                chosen += (draw >= edges[1:]).sum(axis=0)
            else:
                for edge in edges[1:]:
                    chosen += draw >= edge
            place = chosen * step.before + state
            option = fan.first.take(place)
            if numbers is not None:
                numbers = numbers - edges.take(chosen * n + rows)
            if fan.times is not None:
                if numbers is None:
                    times = fan.times.take(place)
                    # A float draw can round up to the number of members.
                    option += np.minimum((rng.random(n) * times).astype(np.int64), times - 1)
                else:
                    behind = flat.take(spent + fan.shift.take(place))
                    member, numbers = np.divmod(numbers, behind)
                    option += member
            spent += fan.cost.take(place)
            state = fan.onward.take(place)
            option = step.members.take(option)
            for axis, column in enumerate(step.columns):
                archs[column] = step.options[:, axis].take(option)
