"""Rows that are measured because somebody named them."""

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import FeasibleSet, InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["Listed"]


@define(eq=False)
class Listed:
    """Proposes given rows, in their order, each network once.

    As a searcher they are measured, recorded and resumed as any other search: the answer of a
    learned distribution beside samples of it, or architectures of a paper.

    Args:
        space: the search space.
        rows: int ``[n, d]``.
        feasible: the limits, which all rows keep; None for the whole space.
        batch: rows of one `ask`.

    Raises:
        InputError: no rows, rows that do not belong to the space or are beyond the limits, or a
            batch below 1.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> searcher = Listed(space, [[0] * 8, [1] * 8, [0] * 8])
    >>> searcher.ask().tolist()
    [[0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]]
    """

    space: SearchSpace
    rows: NDArray[np.int64] = field(converter=np.asarray)
    feasible: FeasibleSet | None = field(default=None, kw_only=True)
    batch: int = field(default=50, kw_only=True)
    _visited: set[bytes] = field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, batch=self.batch)
        allowed = candidates.check_feasible(self.space, self.feasible)
        self.rows = self.space.check(self.rows)
        if not len(self.rows):
            raise InputError("rows is empty; list at least one architecture")
        inside = allowed.contains(self.rows)
        if not inside.all():
            row = self.rows[~inside][0]
            raise InputError(
                f"rows: {self.space.format(row)} is not within the limits "
                f"{' and '.join(map(str, allowed.limits)) or 'of the live options'}; leave it out"
            )

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``, ``n`` at most ``batch``; no rows once all were told."""
        found: dict[bytes, NDArray[np.int64]] = {}
        for key, row in zip(candidates.keys(self.space, self.rows), self.rows, strict=True):
            if key not in self._visited and len(found) < self.batch:
                found.setdefault(key, row)
        return np.array([*found.values()], dtype=np.int64).reshape(-1, self.space.num_choices)

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take note of rows ``[n, d]``, so that they are not proposed again; ``[n, m]`` values.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or not
                finite.
        """
        rows, _ = candidates.check_told(self.space, archs, values)
        self._visited.update(candidates.keys(self.space, rows))

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: the list ``[n, d]``, and the canonical rows told ``[v, d]``."""
        return {
            "rows": self.rows.copy(),
            "visited": candidates.pack_keys(self._visited, self.space.num_choices),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of something else, or of another list.
        """
        candidates.require(state, ("rows", "visited"), "Listed")
        visited = candidates.unpack_keys(state["visited"], self.space)
        if not np.array_equal(self.space.check(state["rows"]), self.rows):
            raise InputError("the state is of another list of rows: begin anew")
        self._visited = visited
