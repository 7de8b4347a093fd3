"""Random search: uniform feasible architectures, each network once. The baseline of any search."""

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import FeasibleSet, SearchSpace
from nas_spaces.protocols import State

__all__ = ["Random"]


@define(eq=False)
class Random:
    """Proposes uniform feasible architectures that were neither proposed nor told before.

    Rows are drawn uniformly over rows of the space, then rows that build the same network are
    taken once.

    Args:
        space: the search space.
        rng: the generator that everything is drawn from.
        feasible: the limits; None for the whole space.
        batch: rows of one `ask`.

    Raises:
        InputError: a batch below 1, or a feasible set of another space.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> searcher = Random(space, rng=np.random.default_rng(0), batch=4)
    >>> archs = searcher.ask()
    >>> archs.shape
    (4, 8)
    >>> searcher.tell(archs, archs.sum(axis=1, keepdims=True))
    """

    space: SearchSpace
    rng: np.random.Generator = field(kw_only=True)
    feasible: FeasibleSet | None = field(default=None, kw_only=True)
    batch: int = field(default=50, kw_only=True)
    _allowed: FeasibleSet = field(init=False, repr=False)
    _visited: set[bytes] = field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, batch=self.batch)
        self._allowed = candidates.check_feasible(self.space, self.feasible)

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``, ``n`` at most ``batch``; no rows where nothing is left.

        Raises:
            InputError: no feasible row was found at all.
        """
        return candidates.fresh(self._allowed, self.batch, self._visited, rng=self.rng)

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take note of rows ``[n, d]``, so that they are not proposed again; ``[n, m]`` values.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or not
                finite.
        """
        rows, _ = candidates.check_told(self.space, archs, values)
        self._visited.update(candidates.keys(self.space, rows))

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: the generator's, and the canonical rows visited ``[v, d]``."""
        return {
            "rng": self.rng.bit_generator.state,
            "visited": candidates.pack_keys(self._visited, self.space.num_choices),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back; ``rng`` is set to the saved state.

        Raises:
            InputError: the state of something else.
        """
        candidates.require(state, ("rng", "visited"), "Random")
        visited = candidates.unpack_keys(state["visited"], self.space)
        candidates.restore_rng(self.rng, state["rng"])
        self._visited = visited
