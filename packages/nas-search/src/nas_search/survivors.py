"""What an evolving searcher remembers: the rows that parents come from, and what it has seen."""

from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import define, evolve, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import FeasibleSet, InputError
from nas_spaces.protocols import State

__all__ = ["Survivors"]


@define(eq=False)
class Survivors:
    """The feasible rows that a selection leaves of all that were told, and the networks seen.

    Args:
        feasible: the limits; rows outside never survive.
        select: given values ``[n, m]``, returns the indices ``[k]`` of what survives, in order.
        names: what a saved state calls ``rows`` and ``values``.

    ``rows``: int64 ``[k, d]``. ``values``: float64 ``[k, m]``. ``visited``: keys of the networks
    proposed or told (`candidates.keys`), which whoever proposes adds to. ``told``: of those told.
    """

    feasible: FeasibleSet
    select: Callable[[NDArray[np.float64]], NDArray[np.int64]]
    names: tuple[str, str]
    rows: NDArray[np.int64] = field(init=False)
    values: NDArray[np.float64] = field(init=False)
    visited: set[bytes] = field(factory=set)
    told: set[bytes] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.rows = np.zeros((0, self.feasible.space.num_choices), dtype=np.int64)
        self.values = np.zeros((0, 0))

    def tell(
        self, archs: ArrayLike, values: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Take values ``[n, m]`` of rows ``[n, d]``; a network told before keeps its first values.

        Returns:
            Both, checked.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or number
                of columns than before, or not finite.
        """
        rows, told = candidates.check_told(self.feasible.space, archs, values)
        if len(self.rows) and told.shape[1] != self.values.shape[1]:
            raise InputError(
                f"values has {told.shape[1]} columns; it had {self.values.shape[1]} before"
            )
        able = candidates.first_told(self.feasible, rows, self.told)
        self.visited |= self.told
        if len(able):
            both, both_values = rows[able], told[able]
            if len(self.rows):
                both = np.concatenate([self.rows, both])
                both_values = np.concatenate([self.values, both_values])
            order = self.select(both_values)
            self.rows, self.values = both[order], both_values[order]
        return rows, told

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: canonical rows visited and told, rows and values."""
        rows, values = self.names
        num_choices = self.feasible.space.num_choices
        return {
            "visited": candidates.pack_keys(self.visited, num_choices),
            "told": candidates.pack_keys(self.told, num_choices),
            rows: self.rows.copy(),
            values: self.values.copy(),
        }

    def restored(self, state: State) -> "Survivors":
        """Return what has a saved state; this one stays as it is.

        Raises:
            InputError: the state of another space, or rows and values that do not fit together.
        """
        rows_name, values_name = self.names
        space = self.feasible.space
        rows = space.check(state[rows_name])
        values = np.array(state[values_name], dtype=np.float64)
        if values.ndim != 2 or len(values) != len(rows):
            raise InputError(
                f"state has {rows_name} of shape {rows.shape} and {values_name} of shape "
                f"{values.shape}; expected a row of values for each row"
            )
        other = evolve(
            self,
            visited=candidates.unpack_keys(state["visited"], space),
            told=candidates.unpack_keys(state["told"], space),
        )
        other.rows, other.values = rows.copy(), values
        return other
