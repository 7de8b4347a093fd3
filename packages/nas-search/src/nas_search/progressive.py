"""Progressive search: PONAS, Huang and Chu, 2020. A sweep over the choices fills a table.

Each choice in turn tries all its options in the network that the choices before it have settled.
What an option adds to the error of its choice's best stays in a `CandidateTable`, from which
`nas_search.specialise` answers any limit on the cost without another evaluation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_search.candidate_table import CandidateTable
from nas_spaces import FeasibleSet, InputError, Limit, SearchSpace, Table
from nas_spaces.protocols import State
from nas_spaces.table import check_table

__all__ = ["Progressive", "largest"]


def largest(space: SearchSpace, cost: Table, *then: Table) -> NDArray[np.int64]:
    """Return the live architecture int64 ``[d]`` that costs most, the network PONAS trains first.

    Of equals the one that costs most by the tables ``then``, one after the other (multiply-adds do
    not tell bits apart); of equals by all the one that `FeasibleSet.most_probable` names: the
    lexicographically first, unless a cost that is not of integers makes that take too long to
    settle.

    Raises:
        InputError: a table of another space.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> largest(space, Table.from_primitives(space, "size", "channels", lambda p: p.shape[0]))
    array([2, 2, 2, 2, 2, 2, 2, 2])
    """
    feasible = FeasibleSet(space)
    for table in (cost, *then):
        check_table(space, table, "cost")
        _, most = feasible.attainable(table)
        feasible = FeasibleSet(space, [*feasible.limits, Limit(table, lower=most)])
    return feasible.most_probable(np.zeros(space.mask.shape))


@define(eq=False)
class Progressive:
    """Sweeps the choices one by one, each option of a choice against the others.

    For each choice l in order, rows with the choices before it at their best and those behind it
    at a fixed suffix are proposed, one for each live option; the option of the least error is
    settled (of equals the cheaper one, then the first) and the next choice follows. At the end
    `table` has what was measured: at most one network an option, ``budget`` of them in all.

    Rows recur in a sweep (the winner of a choice with its suffix is a row of the next one, and
    rows may build the same network), while searchers propose no network twice. So each network is
    proposed once: rows whose networks have been told, by whom ever, are answered from that, and a
    choice whose rows are all known is settled without a proposal. Until every row of a choice is
    told, `ask` returns those that are missing; rows lost on the way (a run that was killed, or
    cut by its budget) are so proposed again. The first value told of a network counts.

    What the source leaves open, and what is done here: the suffix is the largest architecture,
    the one that the supernet inherits its weights from. Rows ``[r, d]`` in its place, for example
    ``space.sample(r, rng=rng)``, are all tried behind each option and their errors averaged, the
    same ones for all options and choices. Limits play no part: the sweep looks at every option
    of the space, and `nas_search.specialise` meets the limits.

    Args:
        space: the search space; options that are not live are left out.
        cost: decides between options of equal error, and which architecture is the largest.
        suffix: int ``[d]`` or ``[r, d]``, live options only; None for the largest architecture.
        order: the choices in the order of the sweep; None for the order of the columns, which is
            the network's in most spaces (rows that agree in early blocks are cheap to evaluate
            together).
        then: given the finished table, returns rows ``[n, d]`` that are proposed at the end of the
            sweep, to be measured with the rest: `nas_search.specialise`'s answer to a limit, for
            example. An empty list proposes none. Called anew by each `ask` at the end.

    Raises:
        InputError: a space without choices, a cost of another space, a suffix that is no row of
            live options, an order that does not name each choice once, or a ``then`` that cannot
            be called.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> size = Table.from_primitives(space, "size", "channels", lambda p: p.shape[0])
    >>> searcher = Progressive(space, cost=size)
    >>> while not searcher.done:
    ...     archs = searcher.ask()                          # int64 [n, 8], n at most 3
    ...     errors = 0.1 + 0.05 * (archs != 1).mean(axis=1) # [n]
    ...     searcher.tell(archs, errors[:, None])
    >>> table = searcher.table()
    >>> table.start
    array([1, 1, 1, 1, 1, 1, 1, 1])
    >>> table.losses[0].round(5)
    array([0.00625, 0.     , 0.00625])
    """

    space: SearchSpace
    cost: Table = field(kw_only=True)
    suffix: ArrayLike | None = field(default=None, kw_only=True)
    order: Sequence[int] | None = field(default=None, kw_only=True)
    then: Callable[[CandidateTable], ArrayLike] | None = field(default=None, kw_only=True)
    _order: tuple[int, ...] = field(init=False, repr=False)
    _suffixes: NDArray[np.int64] = field(init=False, repr=False)
    _everything: FeasibleSet = field(init=False, repr=False)
    # Errors by the bytes of the canonical row. All else follows from it, and is kept for speed:
    # how many choices are settled, the options that they got, and their losses.
    _known: dict[bytes, float] = field(factory=dict, init=False, repr=False)
    _settled: int = field(default=0, init=False, repr=False)
    _start: NDArray[np.int64] = field(init=False, repr=False)
    _losses: NDArray[np.float64] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.space.num_choices:
            raise InputError(f"space {self.space.name!r} has no choice; there is nothing to sweep")
        check_table(self.space, self.cost, "cost")
        columns = range(self.space.num_choices)
        self._order = tuple(columns if self.order is None else self.order)
        if sorted(self._order) != list(columns):
            raise InputError(
                f"order is {list(self._order)}; name each of the choices 0..{len(columns) - 1} of "
                f"space {self.space.name!r} once"
            )
        if self.then is not None and not callable(self.then):
            raise InputError(
                f"then is a {type(self.then).__name__}; give a function that returns rows of the "
                "finished table, or None for none"
            )
        self._everything = FeasibleSet(self.space)
        suffix = largest(self.space, self.cost) if self.suffix is None else self.suffix
        self._suffixes = self._check_suffix(suffix)
        self._restart()

    def _check_rows(self, given: ArrayLike, name: str) -> NDArray[np.int64]:
        """Return rows int64 ``[r, d]`` of live options, from one row or several."""
        try:
            values = np.asarray(given)
        except ValueError as error:
            raise InputError(f"{name} is no row of integers: {error}") from error
        if values.shape == (0,):  # an empty list is no row, not a row without columns
            return np.zeros((0, self.space.num_choices), dtype=np.int64)
        rows = self.space.check(values[None] if values.ndim == 1 else values)
        dropped = np.flatnonzero(~self._everything.contains(rows))
        if len(dropped):
            raise InputError(
                f"{name} {self.space.format(rows[dropped[0]])} uses an option that was dropped "
                f"from space {self.space.name!r}; use live options"
            )
        return rows.copy()

    def _check_suffix(self, suffix: ArrayLike) -> NDArray[np.int64]:
        """Return suffix rows int64 ``[r, d]``, live and at least one."""
        rows = self._check_rows(suffix, "suffix")
        if not len(rows):
            raise InputError("suffix has no row; give at least one")
        return rows

    def _restart(self) -> None:
        self._settled = 0
        self._start = np.zeros(self.space.num_choices, dtype=np.int64)
        self._losses = np.full(self.space.mask.shape, np.nan)
        self._advance()

    @property
    def done(self) -> bool:
        """Whether every choice is settled; nothing more is proposed but the rows of ``then``."""
        return self._settled == self.space.num_choices

    @property
    def settled(self) -> int:
        """How many choices are settled."""
        return self._settled

    @property
    def budget(self) -> int:
        """How many networks a sweep from the start measures at most, without ``then``."""
        live = [int(self.space.mask[column].sum()) for column in self._order]
        r = len(self._suffixes)
        # Behind the last choice no suffix is left. From the second choice on, the rows whose
        # option is the suffix's own were measured with the choice before.
        return r * (sum(live[:-1]) - max(len(live) - 2, 0)) + live[-1] - (len(live) > 1)

    def _block(self) -> NDArray[np.int64]:
        """Return the rows int64 ``[live options * r, d]`` that settle the next choice."""
        frozen_columns, column = list(self._order[: self._settled]), self._order[self._settled]
        options = np.flatnonzero(self.space.mask[column])
        rows = np.tile(self._suffixes, (len(options), 1))
        rows[:, frozen_columns] = self._start[frozen_columns]
        rows[:, column] = np.repeat(options, len(self._suffixes))
        return rows

    def _advance(self) -> None:
        """Settle choices as long as all their rows are known."""
        while not self.done:
            rows = self._block()
            keys = candidates.keys(self.space, rows)
            if not all(key in self._known for key in keys):
                return
            column = self._order[self._settled]
            options = np.flatnonzero(self.space.mask[column])
            shape = (len(options), len(self._suffixes))
            errors = np.array([self._known[key] for key in keys]).reshape(shape).mean(axis=1)
            costs = self.cost(rows).reshape(shape).sum(axis=1)
            best = np.lexsort((costs, errors))[0]  # stable: the first of equals
            self._start[column] = options[best]
            self._losses[column, options] = errors - errors[best]
            self._settled += 1

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``: the rows that the next choice still waits for.

        When done the rows of ``then`` that were not told, or none. A canonical row stands for all
        that build its network, where its options are live.

        Raises:
            InputError: ``then`` returned other than rows of live options; and what it raises.
        """
        if not self.done:
            rows = self._block()
        elif self.then is None:
            return np.zeros((0, self.space.num_choices), dtype=np.int64)
        else:
            rows = self._check_rows(self.then(self.table()), "then")
        return candidates.take_new(self._everything, rows, len(rows), set(self._known))

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take values ``[n, m]`` of rows ``[n, d]``, its own or foreign ones; lower is better.

        The first column is the error. A network told before keeps its first value.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or not
                finite.
        """
        rows, told = candidates.check_told(self.space, archs, values)
        for key, error in zip(candidates.keys(self.space, rows), told[:, 0].tolist(), strict=True):
            self._known.setdefault(key, error)
        self._advance()

    def table(self) -> CandidateTable:
        """Return what the sweep measured.

        Raises:
            InputError: the sweep is not done.
        """
        if not self.done:
            raise InputError(
                f"the sweep has settled {self._settled} of {self.space.num_choices} choices and "
                f"waits for {len(self.ask())} rows of the next; go on until ask() returns no row"
            )
        (key,) = candidates.keys(self.space, self._start[None])
        return CandidateTable(self.space, self._losses.copy(), self._start.copy(), self._known[key])

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state.

        ``suffix``: ``[r, d]``. ``archs``, ``errors``: the networks told, canonical rows ``[n, d]``
        with ``[n]``; the sweep's place follows from them.
        """
        return {
            "suffix": self._suffixes.copy(),
            "archs": candidates.pack_keys(set(self._known), self.space.num_choices),
            "errors": np.array([self._known[key] for key in sorted(self._known)], dtype=float),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of something else.
        """
        candidates.require(state, ("suffix", "archs", "errors"), "Progressive")
        suffixes = self._check_suffix(state["suffix"])
        errors = np.asarray(state["errors"], dtype=np.float64).reshape(-1, 1)
        rows, told = candidates.check_told(self.space, state["archs"], errors)
        self._suffixes = suffixes
        self._known = {
            row.tobytes(): error for row, error in zip(rows, told[:, 0].tolist(), strict=True)
        }
        self._restart()
