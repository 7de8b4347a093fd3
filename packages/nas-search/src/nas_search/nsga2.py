"""Multi-objective search: NSGA-II, Deb et al., IEEE TEVC 6(2), 2002, as FairNAS searches."""

from typing import Any, Protocol

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_search.evolution import TRIES, cross, mutate
from nas_search.pareto import crowding, fronts
from nas_search.repair import Repair
from nas_search.survivors import Survivors
from nas_spaces import FeasibleSet, InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["NSGA2", "Mutator"]


class Mutator(Protocol):
    """What proposes mutants instead of chance: a learned controller, say, as in MoreMNAS.

    ``space``: the space of the search, live options included.
    """

    @property
    def space(self) -> SearchSpace: ...

    def __call__(
        self, parents: NDArray[np.int64], *, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return mutants int64 ``[k, d]`` over live options of parents ``[n, d]``; any ``k``."""

    def tell(self, archs: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Take values ``[n, m]`` of rows ``[n, d]``: of all that the searcher is told.

        The rows are those that `nas_search.search` measures: they stand for their networks.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, of JSON values and arrays."""

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""


@define(eq=False)
class NSGA2:
    """Evolves a population towards the Pareto front of all objectives told, under limits.

    The first `ask` returns random feasible rows; every later one children of parents that won a
    binary tournament: of two rows of the population drawn at random, the one of the lower front,
    then of the larger crowding distance. A share ``mutation`` of the children are mutants of one
    parent, the others come from two by uniform crossover. `tell` keeps the best ``population`` of
    the population and the rows told (mu + lambda), by front, then by crowding distance. The
    result is what `non_dominated` leaves of the history. One objective works as well: fronts are
    then what is equally good.

    What the papers leave open, or what is done in another way here:

    - Survivors are chosen among parents and children, as by Deb et al., not among all rows ever
      told. Parents are never lost to children that they dominate; a front with more rows than
      ``population`` is thinned by crowding, and only the history holds all of it.
    - Crowding distances of the tournament are those within the survivors, not within a front
      before it is cut; fronts are the same either way. Ties are decided by the order of telling.
    - FairNAS (Chu et al., ICCV 2021) searches as MoreMNAS (Chu et al., ECCV workshops 2020) does,
      where most mutants come from a controller learned by reinforcement and the others are
      random. The papers are ambiguous about the ratios; we read them so: a child is either a
      mutant (0.8) or crossed, not both in turn as by Deb et al., and 0.2 of the mutants are
      random. ``mutator`` is the plug-in for a controller; without one all mutants are random and
      ``random_mutation`` has no effect.
    - Children that miss a limit or build a network seen before are thrown away. Where 10 tries
      for each child wanted were not enough, those that missed a limit are brought inside by
      `Repair`, and only then random feasible rows fill the population, as in `Evolution`. A row
      is proposed at most once, told or not.

    Args:
        space: the search space.
        rng: the generator that everything is drawn from.
        feasible: the limits; None for the whole space.
        population: rows of one `ask`, and rows that survive; 64.
        mutation: share of the children that are mutants of one parent, 0.8.
        mutation_probability: for each gene of a random mutant to be drawn again from its live
            options; None for 1/d, as by Deb et al.
        mutator: makes mutants from tournament winners; None for random ones only.
        random_mutation: share of the mutants that stay random where there is a ``mutator``, 0.2.

    Raises:
        InputError: numbers out of range, or a feasible set or mutator of another space.

    >>> from nas_search import non_dominated
    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> searcher = NSGA2(space, rng=np.random.default_rng(0))
    >>> told = np.zeros((0, 2))
    >>> for generation in range(10):
    ...     archs = searcher.ask()                                  # int64 [64, 8]
    ...     small, large = (archs == 0).mean(axis=1), (archs == 2).mean(axis=1)
    ...     values = np.stack([1 - small, 1 - large], axis=1)       # [64, 2]
    ...     searcher.tell(archs, values)
    ...     told = np.concatenate([told, values])
    >>> np.unique(told[non_dominated(told)], axis=0)[:, 0].tolist()
    [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]
    """

    space: SearchSpace
    rng: np.random.Generator = field(kw_only=True)
    feasible: FeasibleSet | None = field(default=None, kw_only=True)
    population: int = field(default=64, kw_only=True)
    mutation: float = field(default=0.8, kw_only=True)
    mutation_probability: float | None = field(default=None, kw_only=True)
    mutator: Mutator | None = field(default=None, kw_only=True)
    random_mutation: float = field(default=0.2, kw_only=True)
    _allowed: FeasibleSet = field(init=False, repr=False)
    _repair: Repair = field(init=False, repr=False)
    # The population, by front and crowding.
    _survivors: Survivors = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, population=self.population)
        for name in ("mutation", "random_mutation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)} is a share, from 0 to 1")
        if self.mutation_probability is not None and not 0 < self.mutation_probability <= 1:
            raise InputError(
                f"mutation_probability={self.mutation_probability} must be above 0 and at most 1; "
                "for no mutants give mutation=0, for 1/d give None"
            )
        self._allowed = candidates.check_feasible(self.space, self.feasible)
        if self.mutator is not None:
            candidates.check_part("mutator", self.mutator.space, self.space)
        self._repair = Repair(self._allowed)
        self._survivors = Survivors(self._allowed, self._select, ("rows", "values"))

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``, ``n`` at most ``population``; no rows where nothing is left.

        Raises:
            InputError: no feasible row was found at all, or a mutator's rows that do not belong to
                the space.
        """
        rows: list[NDArray[np.int64]] = []
        if len(self._survivors.rows):
            mutants = round(self.mutation * self.population)
            guided = 0 if self.mutator is None else round((1 - self.random_mutation) * mutants)
            crossed = self.population - mutants
            # Large, because what makes children draws from it with replacement.
            pool = self._winners(TRIES * self.population)
            rows.append(self._new(cross(pool, TRIES * crossed, rng=self.rng), crossed))
            if self.mutator is not None and guided:
                made = self.mutator(pool[: TRIES * guided], rng=self.rng)
                rows.append(self._new(self.space.check(made), guided))
            probability = self.mutation_probability or 1 / max(1, self.space.num_choices)
            mutated = mutate(
                pool, TRIES * (mutants - guided), self.space, probability, rng=self.rng
            )
            rows.append(self._new(mutated, mutants - guided))
        missing = self.population - sum(len(part) for part in rows)
        rows.append(candidates.fresh(self._allowed, missing, self._survivors.visited, rng=self.rng))
        return np.concatenate(rows)

    def _winners(self, n: int) -> NDArray[np.int64]:
        """Return the winners ``[n, d]`` of binary tournaments within the population."""
        rows, values = self._survivors.rows, self._survivors.values
        ranks = fronts(values)
        distances = crowding(values, ranks)
        one, other = self.rng.integers(len(rows), size=(2, n))
        # Where both are equal, the first one drawn wins: either, by chance.
        ahead = (ranks[one] < ranks[other]) | (
            (ranks[one] == ranks[other]) & (distances[one] >= distances[other])
        )
        winners: NDArray[np.int64] = rows[np.where(ahead, one, other)]
        return winners

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
        rows, told = self._survivors.tell(archs, values)
        if self.mutator is not None:
            stand_ins, _, _ = candidates.stand_ins(self._allowed, rows)
            self.mutator.tell(stand_ins, told)

    def _select(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the places ``[k]`` of what survives of values ``[n, m]``, the best first."""
        ranks = fronts(values)
        return np.lexsort((-crowding(values, ranks), ranks))[: self.population]

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state.

        ``rng``: the generator's. ``visited``, ``told``: canonical rows ``[v, d]``, ``[t, d]``.
        ``rows``, ``values``: the survivors ``[k, d]``, ``[k, m]``. ``mutator``: its state, or
        None.
        """
        return {
            "rng": self.rng.bit_generator.state,
            **self._survivors.state_dict(),
            "mutator": None if self.mutator is None else self.mutator.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back; ``rng`` is set to the saved state.

        Raises:
            InputError: the state of something else, or of a search with another kind of mutator.
        """
        fields = ("rng", "visited", "told", "rows", "values", "mutator")
        candidates.require(state, fields, "NSGA2")
        survivors = self._survivors.restored(state)
        if (state["mutator"] is None) != (self.mutator is None):
            saved, here = ("none", "one") if state["mutator"] is None else ("one", "none")
            raise InputError(
                f"mutator: the state was saved with {saved}, this searcher has {here}; make it "
                "with the same settings as before"
            )
        if self.mutator is not None:
            self.mutator.load_state_dict(state["mutator"])
        candidates.restore_rng(self.rng, state["rng"])
        self._survivors = survivors
