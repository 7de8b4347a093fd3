"""The one driver of a search: budget, limits, history, checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_search import candidates
from nas_spaces import FeasibleSet, History, InputError, Metric, Searcher, SearchSpace
from nas_spaces.jsonable import from_jsonable, to_jsonable

__all__ = ["SearchResult", "best", "search"]

# Proposals in a row without anything new after which a searcher counts as exhausted.
IDLE_ASKS = 100
STATE_FORMAT = 1


@frozen
class SearchResult:
    """What a search measured.

    ``history``: a row for each architecture measured, in order; the columns are ``generation``
    (which `ask` proposed it, from 0), the objectives, then what was recorded besides.
    ``stopped``: ``"budget"``, or ``"exhausted"`` where nothing new was left to propose.
    """

    history: History
    stopped: Literal["budget", "exhausted"]


def search(
    searcher: Searcher,
    objectives: Sequence[Metric],
    *,
    space: SearchSpace,
    budget: int,
    feasible: FeasibleSet | None = None,
    record: Sequence[Metric] = (),
    resume: Mapping[str, Any] | None = None,
    checkpoint: Callable[[dict[str, Any]], None] | None = None,
) -> SearchResult:
    """Ask, measure, tell, until the budget is spent.

    Each network is measured once, as its canonical row where that is feasible; rows that build a
    network measured before are answered from the history and cost nothing. Rows beyond the budget
    are not measured and not told.

    Args:
        searcher: proposes rows, and is told the values ``[n, m]`` of the ``m`` objectives.
        objectives: what to minimise; a searcher of one objective orders by the first and breaks
            ties by the next.
        space: the search space.
        budget: distinct architectures to measure, those of ``resume`` included.
        feasible: the limits; None for the whole space.
        record: further metrics for the history only.
        resume: what ``checkpoint`` received; the search goes on from there, exactly as if it had
            never stopped. The searcher must be made with the same settings.
        checkpoint: called after each `tell` with the whole state, made of JSON values.

    Raises:
        InputError: a budget below 1, no objective, metrics of the same name, a proposal outside
            the limits, a metric's value that is missing or not finite, a limit that nothing
            satisfies, or a state of another search.

    >>> from nas_spaces import Table, published
    >>> from nas_search import Random
    >>> space = published.load("nas-bench-macro")
    >>> size = Table.from_primitives(space, "size", "primitives", lambda primitive: 1)
    >>> searcher = Random(space, rng=np.random.default_rng(0))
    >>> result = search(searcher, [size], space=space, budget=60)
    >>> len(result.history), result.stopped, result.history.names
    (60, 'budget', ('generation', 'size'))
    """
    allowed = candidates.check_feasible(space, feasible)
    metrics = (*objectives, *record)
    if not objectives:
        raise InputError("objectives is empty; give at least one metric to minimise")
    if budget < 1:
        raise InputError(f"budget={budget} must be at least 1 architecture")
    names = ("generation", *(metric.name for metric in metrics))
    if len(set(names)) < len(names):
        raise InputError(f"metrics must have names of their own; the history has {names}")
    history = History.empty(space.num_choices, names, ("1", *(metric.unit for metric in metrics)))
    told_columns = slice(1, 1 + len(objectives))
    generation = idle = 0
    if resume is not None:
        history, generation, idle = _restore(resume, searcher, history, allowed)
    known = {key: row for row, key in enumerate(candidates.keys(space, history.archs))}

    while len(history) < budget and idle < IDLE_ASKS:
        proposed = space.check(searcher.ask())
        if not len(proposed):
            break
        _refuse_infeasible(allowed, proposed)
        rows, canonical = candidates.representatives(allowed, proposed)
        keys = [row.tobytes() for row in canonical]
        new: list[int] = []
        for index, key in enumerate(keys):
            if key not in known and len(history) + len(new) < budget:
                known[key] = len(history) + len(new)
                new.append(index)
        if new:
            values = _measure(metrics, space, rows[new])
            history = history.append(
                rows[new], np.column_stack([np.full(len(new), generation), values])
            )
        idle = 0 if new else idle + 1
        answered = [index for index, key in enumerate(keys) if key in known]
        places = [known[keys[index]] for index in answered]
        searcher.tell(proposed[answered], history.values[places, told_columns])
        generation += 1
        if checkpoint is not None:
            checkpoint(
                {
                    "format": STATE_FORMAT,
                    "searcher": type(searcher).__name__,
                    "state": _saved(searcher),
                    "history": history.to_csv(),
                    "generation": generation,
                    "idle": idle,
                }
            )
    return SearchResult(history, "budget" if len(history) >= budget else "exhausted")


def best(
    history: History, objectives: Sequence[str], *, feasible: FeasibleSet | None = None
) -> int:
    """Return the row of the least values: by the first objective, then the next, then the first.

    Args:
        history: what was measured.
        objectives: names of its columns, in the order that they count.
        feasible: only rows within these limits; None for all.

    Raises:
        InputError: an unknown column, no objective, or no row to choose from.

    >>> history = History.empty(1, ("error",), ("1",))
    >>> history = history.append([[0], [1], [2]], [[0.5], [0.1], [0.1]])
    >>> best(history, ["error"])
    1
    """
    if not objectives:
        raise InputError("objectives is empty; name at least one column of the history")
    columns = [history.column(name) for name in objectives]
    rows = np.arange(len(history))
    if feasible is not None:
        rows = rows[feasible.contains(history.archs)]
    if not len(rows):
        raise InputError(f"none of the {len(history)} architectures measured is within the limits")
    order = np.lexsort([column[rows] for column in reversed(columns)])
    return int(rows[order[0]])


def _refuse_infeasible(feasible: FeasibleSet, archs: NDArray[np.int64]) -> None:
    outside = np.flatnonzero(~feasible.contains(archs))
    if not len(outside):
        return
    row = outside[0]
    missed = [limit for limit in feasible.limits if not limit.holds(archs[[row]])[0]]
    reason = (
        f"misses {missed[0]} with {missed[0].metric(archs[[row]])[0]:,}"
        if missed
        else "uses an option that was dropped from the space"
    )
    raise InputError(
        f"the searcher proposed architecture {feasible.space.format(archs[row])}, which {reason}; "
        "searchers propose feasible rows only"
    )


def _measure(
    metrics: Sequence[Metric], space: SearchSpace, archs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return values ``[n, metrics]`` of architectures ``[n, d]``."""
    columns = []
    for metric in metrics:
        values = np.asarray(metric(archs), dtype=np.float64)
        if values.shape != (len(archs),):
            raise InputError(
                f"metric {metric.name!r} returned values of shape {values.shape} for {len(archs)} "
                f"architectures; expected ({len(archs)},)"
            )
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise InputError(
                f"metric {metric.name!r} is {values[wrong[0]]} for architecture "
                f"{space.format(archs[wrong[0]])}; a metric returns finite numbers"
            )
        columns.append(values)
    return np.column_stack(columns)


def _saved(searcher: Searcher) -> Any:
    state = searcher.state_dict()
    try:
        return to_jsonable(state, "state")
    except TypeError as error:
        raise InputError(f"the searcher's {error}") from error


def _restore(
    state: Mapping[str, Any], searcher: Searcher, empty: History, feasible: FeasibleSet
) -> tuple[History, int, int]:
    """Load the searcher's state; return history, generation and idle proposals."""
    fields = ("format", "searcher", "state", "history", "generation", "idle")
    candidates.require(state, fields, "a search")
    if state["format"] != STATE_FORMAT:
        raise InputError(f"resume has format {state['format']}; this version reads {STATE_FORMAT}")
    kind = type(searcher).__name__
    if state["searcher"] != kind:
        raise InputError(f"resume is of a search by {state['searcher']}; this one is by {kind}")
    history = History.from_csv(state["history"])
    if (history.names, history.units) != (empty.names, empty.units):
        raise InputError(
            f"resume has the columns {history.names} in {history.units}; this search has "
            f"{empty.names} in {empty.units}"
        )
    if not feasible.contains(history.archs).all():
        raise InputError("resume is of a search under other limits: it holds infeasible rows")
    searcher.load_state_dict(from_jsonable(state["state"]))
    return history, int(state["generation"]), int(state["idle"])
