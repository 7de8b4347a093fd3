"""Regularised evolution: Real et al., AAAI 2019, algorithm 1."""

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_search.repair import Repair
from nas_search.survivors import Survivors
from nas_spaces import FeasibleSet, InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["RegularizedEvolution"]

# Children of one parent before a random row takes their place.
TRIES = 100


@define(eq=False)
class RegularizedEvolution:
    """Mutates the best of a few drawn from a population in which the oldest dies.

    The first ``population`` rows are random. Then, for each row that is proposed, ``sample``
    members are drawn, and the child of the best of them differs from it in
    one gene, drawn uniformly; its new option differs from the old one. What is told joins the
    population, whose oldest member dies.

    What the paper leaves open, and what is done here:

    - A network is measured once: a child that builds one known already is drawn again, and after
      100 children in vain a random row is proposed (the paper trains it again).
    - Children outside the limits are drawn again too; where none of the 100 is inside, one is
      brought there by `Repair`.
    - The members of a sample are distinct (drawn with replacement, fewer would compete).
    - "Best" compares the first column of values, then the next, then the age.

    Args:
        space: the search space, with a choice of at least two live options.
        rng: the generator that everything is drawn from.
        feasible: the limits; None for the whole space.
        population: P, 100 in the paper, 10 on NAS-Bench-201 (Dong and Yang, ICLR 2020).
        sample: S, 25 in the paper, 3 on NAS-Bench-201; at most ``population``.
        batch: children of one `ask`, 1 in the paper; more for parallel evaluation, at the price
            of parents that know less.

    Raises:
        InputError: numbers that do not fit together, or a feasible set of another space.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> searcher = RegularizedEvolution(
    ...     space, rng=np.random.default_rng(0), population=20, sample=5
    ... )
    >>> least = 1.0
    >>> for _ in range(150):
    ...     archs = searcher.ask()
    ...     errors = (archs != 2).mean(axis=1)
    ...     searcher.tell(archs, errors[:, None])
    ...     least = min(least, float(errors.min()))
    >>> least
    0.0
    """

    space: SearchSpace
    rng: np.random.Generator = field(kw_only=True)
    feasible: FeasibleSet | None = field(default=None, kw_only=True)
    population: int = field(default=100, kw_only=True)
    sample: int = field(default=25, kw_only=True)
    batch: int = field(default=1, kw_only=True)
    _allowed: FeasibleSet = field(init=False, repr=False)
    _repair: Repair = field(init=False, repr=False)
    # The population, the oldest first.
    _alive: Survivors = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, population=self.population, sample=self.sample, batch=self.batch)
        if self.sample > self.population:
            raise InputError(
                f"sample={self.sample} is more than population={self.population}; give at most "
                "as many"
            )
        if not (self.space.mask.sum(axis=1) > 1).any():
            raise InputError(
                f"space {self.space.name!r} has one live option a choice; nothing can be mutated"
            )
        self._allowed = candidates.check_feasible(self.space, self.feasible)
        self._repair = Repair(self._allowed)
        self._alive = Survivors(self._allowed, self._youngest, ("rows", "values"))

    def _youngest(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.arange(len(values))[-self.population :]

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``; no rows where nothing is left.

        The first population is asked for whole; then ``n`` is ``batch`` at most.

        Raises:
            InputError: no feasible row was found at all.
        """
        missing = self.population - len(self._alive.rows)
        if missing > 0:
            rows = candidates.fresh(self._allowed, missing, self._alive.visited, rng=self.rng)
            if len(rows) or not len(self._alive.rows):
                return rows
        children = [self._child() for _ in range(self.batch)]
        return np.concatenate(children)

    def _child(self) -> NDArray[np.int64]:
        """Return a new child ``[1, d]`` of the best of a sample; a random row or, at last, none."""
        size = min(self.sample, len(self._alive.rows))
        drawn = self.rng.choice(len(self._alive.rows), size=size, replace=False)
        # The first column decides first, then the others, then the age.
        order = np.lexsort((drawn, *self._alive.values[drawn].T[::-1]))
        parent = self._alive.rows[drawn[order[0]]]
        children = self._mutants(parent)
        found = self._repair.new(children, 1, self._alive.visited, rng=self.rng)
        if len(found):
            return found
        return candidates.fresh(self._allowed, 1, self._alive.visited, rng=self.rng)

    def _mutants(self, parent: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rows ``[TRIES, d]``, each with one gene of the parent changed."""
        live = self.space.mask
        able = np.flatnonzero(live.sum(axis=1) > 1)
        genes = able[self.rng.integers(len(able), size=TRIES)]
        rows = np.repeat(parent[None], TRIES, axis=0)
        weights = np.where(live[genes], self.rng.random((TRIES, live.shape[1])), -1.0)
        weights[np.arange(TRIES), parent[genes]] = -2.0  # another option than before
        rows[np.arange(TRIES), genes] = weights.argmax(axis=1)
        return rows

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take values ``[n, m]`` of rows ``[n, d]``, its own or foreign ones; lower is better.

        A network told before keeps its first values. Rows outside the limits are never proposed,
        and never become parents.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or number
                of columns than before, or not finite.
        """
        self._alive.tell(archs, values)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state.

        ``rng``: the generator's. ``visited``, ``told``: canonical rows ``[v, d]``, ``[t, d]``.
        ``rows``, ``values``: the population ``[p, d]``, ``[p, m]``, the oldest first.
        """
        return {"rng": self.rng.bit_generator.state, **self._alive.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Take a state back; ``rng`` is set to the saved state.

        Raises:
            InputError: the state of something else, or of a larger population.
        """
        fields = ("rng", "visited", "told", "rows", "values")
        candidates.require(state, fields, "RegularizedEvolution")
        alive = self._alive.restored(state)
        if len(alive.rows) > self.population:
            raise InputError(
                f"state has {len(alive.rows)} members; population={self.population} holds fewer"
            )
        candidates.restore_rng(self.rng, state["rng"])
        self._alive = alive
