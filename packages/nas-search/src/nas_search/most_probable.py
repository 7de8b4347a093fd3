"""The row that a learned distribution names: how BetaNAS, ProxylessNAS, FBNet and DARTS end."""

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import FeasibleSet, InputError, SearchSpace, Table
from nas_spaces.protocols import State
from nas_spaces.table import check_table

__all__ = ["MostProbable"]


@define(eq=False)
class MostProbable:
    """Proposes one row, the most probable feasible one of independent choices, until it is told.

    The papers take the most probable option of each choice (BetaNAS of those that are left, DARTS
    without zeros) and let a cost term in training see to the limit, which may then be missed. Here
    the limit holds: see `FeasibleSet.most_probable`. Between options of a choice that are equally
    probable the cheaper one is taken, where the row stays feasible.

    As a searcher it has the one row measured, recorded and resumed as any other search.

    Args:
        space: the search space.
        log_probabilities: float ``[d, k]``, ``k`` as in ``space.mask``; constants added to a
            choice do not matter. -inf for options that are out of the question: they were dropped,
            or are not to be taken.
        cost: decides between equally probable options.
        feasible: the limits; None for the whole space.

    Raises:
        InputError: values of another shape or not a number, a choice without options, a cost or
            limits of another space, or options left that cannot meet the limits, with the costs
            that they can reach.

    >>> from nas_spaces import Limit, published
    >>> space = published.load("nas-bench-macro")
    >>> size = Table.from_primitives(space, "size", "channels", lambda p: p.shape[0])
    >>> depth = Table.from_primitives(space, "depth", "layers", lambda p: p.name == "depthwise")
    >>> values = np.log(np.tile([0.2, 0.5, 0.3], (8, 1)) ** np.arange(1, 9)[:, None])
    >>> shallow = FeasibleSet(space, [Limit(depth, upper=6)])
    >>> MostProbable(space, values, cost=size, feasible=shallow).row
    array([0, 0, 1, 1, 1, 1, 1, 1])
    """

    space: SearchSpace
    log_probabilities: ArrayLike
    cost: Table = field(kw_only=True)
    feasible: FeasibleSet | None = field(default=None, kw_only=True)
    row: NDArray[np.int64] = field(init=False)
    """The row int64 ``[d]``."""
    proven: bool = field(init=False)
    """Whether no feasible row is more probable; not known where several tight limits made the
    search too long, see `FeasibleSet.find_most_probable`."""
    _told: bool = field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        allowed = candidates.check_feasible(self.space, self.feasible)
        check_table(self.space, self.cost, "cost")
        values = self._check_values()
        try:
            # Limits speak of the whole space; only what can be reached is another.
            left = FeasibleSet(self.space.restrict(values > -np.inf), allowed.limits)
        except InputError as error:
            raise InputError(f"of the options that are left {error}") from error
        row, self.proven = left.find_most_probable(values)
        self.row = self._cheapest(left, values, row)

    def _check_values(self) -> NDArray[np.float64]:
        """Return the values float64 ``[d, k]``, -inf for options that are not live."""
        values = np.asarray(self.log_probabilities, dtype=np.float64)
        mask = self.space.mask
        if values.shape != mask.shape:
            raise InputError(
                f"log_probabilities has shape {values.shape}; space {self.space.name!r} has "
                f"{mask.shape[0]} choices of at most {mask.shape[1]} options: {mask.shape}"
            )
        values = np.where(mask, values, -np.inf)
        wrong = np.argwhere(np.isnan(values) | (values == np.inf))
        if len(wrong):
            choice, option = wrong[0]
            raise InputError(
                f"log_probabilities[{choice}, {option}] is {values[choice, option]}; give a "
                "number, or -inf for an option that is out of the question"
            )
        empty = np.flatnonzero((values == -np.inf).all(axis=1))
        if len(empty):
            raise InputError(
                f"choice {self.space.choices[empty[0]].name!r} has no option left; leave one in"
            )
        return values

    def _cheapest(
        self, left: FeasibleSet, values: NDArray[np.float64], row: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return ``row`` with options replaced by cheaper ones that are as probable."""
        for choice in range(len(row)):
            equals = np.flatnonzero(values[choice] == values[choice, row[choice]])
            rows = np.tile(row, (len(equals), 1))
            rows[:, choice] = equals
            rows = rows[left.contains(rows)]
            row = rows[self.cost(rows).argmin()]  # the first of equally cheap ones
        return row

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[1, d]``, and ``[0, d]`` once the row was told."""
        return self.row[None][: 0 if self._told else 1].copy()

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take values ``[n, m]`` of rows ``[n, d]``; they change nothing but what is proposed.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or not
                finite.
        """
        rows, _ = candidates.check_told(self.space, archs, values)
        (own,) = candidates.keys(self.space, self.row[None])
        self._told |= own in candidates.keys(self.space, rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: the row ``[d]``, and whether it was told."""
        return {"row": self.row.copy(), "told": self._told}

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of something else, or of another distribution or limit.
        """
        candidates.require(state, ("row", "told"), "MostProbable")
        (row,) = self.space.check(np.asarray(state["row"])[None])
        if (row != self.row).any():
            raise InputError(
                f"the state is of architecture {self.space.format(row)}; the most probable one "
                f"here is {self.space.format(self.row)}: begin anew"
            )
        self._told = bool(state["told"])
