"""Evolution with crossover and mutation: SPOS, Guo et al., ECCV 2020, algorithm 1."""

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_search.repair import Repair
from nas_search.survivors import Survivors
from nas_spaces import FeasibleSet, InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["Evolution", "cross", "mutate"]

# Children made for each one wanted before random rows take their place (official code).
TRIES = 10


def cross(parents: NDArray[np.int64], n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return ``n`` children int64 ``[n, d]`` of pairs drawn with replacement from ``[k, d]``.

    Each gene comes from either of the two with probability 1/2.
    """
    pairs = parents[rng.integers(len(parents), size=(2, n))]  # [2, n, d]
    children: NDArray[np.int64] = np.where(rng.random(pairs.shape[1:]) < 0.5, pairs[0], pairs[1])
    return children


def mutate(
    parents: NDArray[np.int64],
    n: int,
    space: SearchSpace,
    probability: float,
    *,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return ``n`` mutants int64 ``[n, d]`` of rows drawn with replacement from ``[k, d]``.

    Each gene is drawn again from its live options with ``probability``, so that one of C options
    changes with probability times (1 - 1/C).
    """
    rows = parents[rng.integers(len(parents), size=n)]
    redrawn = space.sample(n, rng=rng)
    return np.where(rng.random(rows.shape) < probability, redrawn, rows)


@define(eq=False)
class Evolution:
    """Evolves a population from the best rows told so far, under limits.

    The first `ask` returns random feasible rows; every later one children of the ``parents``
    best rows told: ``crossover`` children of two of them and ``mutation`` mutants of one. "Best"
    compares the first column of values, then the next where it ties, then the order of telling.

    What the paper leaves open, and what is done here:

    - Children that miss a limit or build a network seen before are thrown away, as in the paper.
      Where 10 tries for each child wanted were not enough, those that missed a limit are brought
      inside by `Repair`, gene by gene, and only then random feasible rows fill the population (as
      they do in the official code at once; without them it would shrink). In a window of 1M
      multiply-adds of SPOS's space, where hardly a child is feasible, 6 generations then find
      more than 10 did with random rows (synthetic additive error, mean of 15 seeds).
    - The last population is measured like all others (the printed loop drops it), and the result
      is the best of everything measured, not of the last population.
    - A row is proposed at most once, told or not; the best rows are kept over generations.
    - Where no row can be found to begin with, that is an error and not an endless loop.

    Args:
        space: the search space.
        rng: the generator that everything is drawn from.
        feasible: the limits; None for the whole space.
        population: rows of one `ask`, P = 50 in the paper.
        parents: best rows that children come from, k = 10.
        crossover: children of two parents in a population, P / 2.
        mutation: children of one parent in a population, P / 2. What ``crossover`` and
            ``mutation`` leave of the population is random.
        mutation_probability: for each gene of a mutant, 0.1.

    Raises:
        InputError: numbers that do not fit together, or a feasible set of another space.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> searcher = Evolution(space, rng=np.random.default_rng(0))
    >>> least = 1.0
    >>> for generation in range(10):
    ...     archs = searcher.ask()                          # int64 [50, 8]
    ...     errors = (archs != 2).mean(axis=1)              # [50]
    ...     searcher.tell(archs, errors[:, None])
    ...     least = min(least, float(errors.min()))
    >>> least
    0.0
    """

    space: SearchSpace
    rng: np.random.Generator = field(kw_only=True)
    feasible: FeasibleSet | None = field(default=None, kw_only=True)
    population: int = field(default=50, kw_only=True)
    parents: int = field(default=10, kw_only=True)
    crossover: int = field(default=25, kw_only=True)
    mutation: int = field(default=25, kw_only=True)
    mutation_probability: float = field(default=0.1, kw_only=True)
    _allowed: FeasibleSet = field(init=False, repr=False)
    _repair: Repair = field(init=False, repr=False)
    # The parents, best first.
    _survivors: Survivors = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, population=self.population, parents=self.parents)
        candidates.at_least(0, crossover=self.crossover, mutation=self.mutation)
        if self.crossover + self.mutation > self.population:
            raise InputError(
                f"crossover={self.crossover} and mutation={self.mutation} make "
                f"{self.crossover + self.mutation} children; population={self.population} holds "
                "fewer"
            )
        if not 0 < self.mutation_probability <= 1:
            raise InputError(
                f"mutation_probability={self.mutation_probability} must be above 0 and at most 1; "
                "for no mutants give mutation=0"
            )
        self._allowed = candidates.check_feasible(self.space, self.feasible)
        self._repair = Repair(self._allowed)
        self._survivors = Survivors(self._allowed, self._select, ("best", "best_values"))

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``, ``n`` at most ``population``; no rows where nothing is left.

        Raises:
            InputError: no feasible row was found at all.
        """
        rows: list[NDArray[np.int64]] = []
        best = self._survivors.rows
        if len(best):
            crossed = cross(best, TRIES * self.crossover, rng=self.rng)
            rows.append(self._new(crossed, self.crossover))
            mutated = mutate(
                best,
                TRIES * self.mutation,
                self.space,
                self.mutation_probability,
                rng=self.rng,
            )
            rows.append(self._new(mutated, self.mutation))
        missing = self.population - sum(len(part) for part in rows)
        rows.append(candidates.fresh(self._allowed, missing, self._survivors.visited, rng=self.rng))
        return np.concatenate(rows)

    def _new(self, children: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        return self._repair.new(children, n, self._survivors.visited, rng=self.rng)

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take values ``[n, m]`` of rows ``[n, d]``, its own or foreign ones; lower is better.

        A network told before keeps its first values. Rows outside the limits are never proposed,
        and never become parents.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or number
                of columns than before, or not finite.
        """
        self._survivors.tell(archs, values)

    def _select(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the places ``[k]`` of the parents among values ``[n, m]``, best first."""
        # Stable, the first column of values last in the list of keys: it decides first.
        return np.lexsort(values.T[::-1])[: self.parents]

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state.

        ``rng``: the generator's. ``visited``, ``told``: canonical rows ``[v, d]``, ``[t, d]``.
        ``best``, ``best_values``: the parents ``[k, d]``, ``[k, m]``, best first.
        """
        return {
            "rng": self.rng.bit_generator.state,
            **self._survivors.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back; ``rng`` is set to the saved state.

        Raises:
            InputError: the state of something else.
        """
        candidates.require(state, ("rng", "visited", "told", "best", "best_values"), "Evolution")
        survivors = self._survivors.restored(state)
        candidates.restore_rng(self.rng, state["rng"])
        self._survivors = survivors
