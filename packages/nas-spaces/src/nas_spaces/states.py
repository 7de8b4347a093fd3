"""Costs as whole states, and options in classes of equal states."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces.elimination import Numbers, Step

__all__ = ["Moves", "Scale", "reaches", "reaches_back"]


@frozen(eq=False)
class Moves:
    """A step's options in classes of equal cost and equal onward state.

    ``columns``, ``options``: as in `Step`. ``before``, ``after``: states of the frontier there.
    One entry a class, sorted by the state before: ``state``, ``onward``, ``cost`` (in states,
    from 0), ``times`` (options in it) and ``first``, its first place in ``members``, the indices
    of options. ``rise``: ``[f, b]``, the cost of each option itself, above the step's least.
    """

    columns: tuple[int, ...]
    options: NDArray[np.int64]
    before: int
    after: int
    state: NDArray[np.int64]
    onward: NDArray[np.int64]
    cost: NDArray[np.int64]
    times: NDArray[np.int64]
    first: NDArray[np.int64]
    members: NDArray[np.int64]
    rise: Numbers

    @classmethod
    def of(cls, step: Step, rise: Numbers, costs: NDArray[np.int64]) -> "Moves":
        """Return the classes of ``step`` for costs int64 ``[f, b]`` in states."""
        before, options = costs.shape
        states = np.arange(before)[:, None]
        reach = int(costs.max()) + 1
        keys = (((states * step.after) + step.onward) * reach + costs).ravel()
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        pair, cost = np.divmod(keys[first], reach)
        state, onward = np.divmod(pair, step.after)
        times = np.diff(first, append=len(keys))
        return cls(
            step.columns, step.options, before, step.after,
            state, onward, cost, times, first, order % options, rise,
        )  # fmt: skip

    @cached_property
    def largest(self) -> int:
        """The largest cost."""
        return int(self.cost.max())


@frozen(eq=False)
class Scale:
    """How the rise of a cost above ``offset`` becomes states, floored to ``unit`` at each step.

    ``bottom``, ``top``: the ends of a window of rises; None leaves an end open. ``least[i]``,
    ``most[i]``: what flooring takes at least and at most from step ``i`` on, with room for
    rounding.
    """

    unit: int | float
    offset: int | float
    bottom: int | float | None
    top: int | float | None
    least: tuple[int | float, ...]
    most: tuple[int | float, ...]

    @property
    def exact(self) -> bool:
        """Whether states are the costs themselves."""
        return self.least[0] == self.most[0] == 0

    def lowest(self, level: int, rise: Any = 0) -> Any:
        """Return the least sum of states from ``level`` on that may lead from ``rise`` inside."""
        if self.bottom is None:
            return None
        return -np.floor_divide(rise + self.most[level] - self.bottom, self.unit)

    def highest(self, level: int, rise: Any = 0) -> Any:
        """Return the largest sum of states from ``level`` on that may lead inside."""
        if self.top is None:
            return None
        return np.floor_divide(self.top - rise - self.least[level], self.unit)


def reaches(moves: Sequence[Moves]) -> list[tuple[int, int]]:
    """Return the least and largest cost before each step, and after the last."""
    least = most = np.zeros(1, dtype=np.int64)
    ends = [(0, 0)]
    for step in moves:
        lows, highs = least[step.state] + step.cost, most[step.state] + step.cost
        least, most = np.full(step.after, np.iinfo(np.int64).max), np.full(step.after, -1)
        np.minimum.at(least, step.onward, lows)
        np.maximum.at(most, step.onward, highs)
        ends.append((int(least.min()), int(most.max())))
    return ends


def reaches_back(moves: Sequence[Moves]) -> tuple[tuple[int, int], ...]:
    """Return the least and largest cost from each step on, and after the last."""
    least = most = np.zeros(1, dtype=np.int64)
    ends = [(0, 0)]
    for step in reversed(moves):
        lows, highs = least[step.onward] + step.cost, most[step.onward] + step.cost
        least, most = np.full(step.before, np.iinfo(np.int64).max), np.full(step.before, -1)
        np.minimum.at(least, step.state, lows)
        np.maximum.at(most, step.state, highs)
        ends.insert(0, (int(least.min()), int(most.max())))
    return tuple(ends)
