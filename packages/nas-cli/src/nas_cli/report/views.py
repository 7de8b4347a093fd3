"""What the page says beyond the files: put together here, so that the templates only place it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen

from nas_cli.architecture_text import option_name
from nas_cli.limits import METRICS
from nas_cli.report.network import DrawnLayer, draw
from nas_cli.report.plots import option_looks
from nas_cli.report.plots.alphas import Look
from nas_cli.report.predictive import Predictive, judge
from nas_cli.report.records import RunData
from nas_cli.report.records_rank import Agreement, Rank, RankResult
from nas_cli.report.records_search import CandidateRecord, Comparison, Search
from nas_cli.report.records_training import AlphasRecord
from nas_cli.report.words import axis_of, bounds, holds, main_cost, shared_options, within
from nas_search import CandidateTable
from nas_spaces import InputError, SearchSpace

__all__ = [
    "AlphasView",
    "Headline",
    "PathView",
    "RankView",
    "SearchView",
    "TauRow",
    "largest_first",
    "view_alphas",
    "view_headline",
    "view_rank",
    "view_searches",
]


@frozen
class Headline:
    """What stands at the top. ``search``: the one that found the winner, where it is known."""

    search: Search | None
    retrained: CandidateRecord | None
    comparison: Comparison | None
    randoms: int
    interval: dict[str, float] | None


def view_headline(data: RunData) -> Headline:
    """Return what stands at the top: the first search, or the first whose winner is retrained."""
    retrained = [search for search in data.searches if search.retrain is not None]
    if not retrained:
        return Headline(data.searches[0] if data.searches else None, None, None, 0, None)
    search = retrained[0]
    assert search.retrain is not None
    comparison = search.retrain.comparison
    return Headline(
        search,
        search.retrain.winner,
        comparison,
        search.retrain.randoms,
        None if comparison is None else _interval(comparison),
    )


def _interval(comparison: Comparison) -> dict[str, float] | None:
    """Return where low, high, difference and zero lie on a line from 0 to 100."""
    if comparison.low is None or comparison.high is None:
        return None
    marks = {
        "low": comparison.low,
        "high": comparison.high,
        "difference": comparison.difference,
        "zero": 0.0,
    }
    least, most = min(marks.values()), max(marks.values())
    # Room at both ends, and a line of some length where all four are equal.
    reach = (most - least) * 1.2 or 1.0
    middle = (least + most) / 2
    return {name: round(50 + 100 * (mark - middle) / reach, 2) for name, mark in marks.items()}


@frozen
class Change:
    """One replacement by names. ``loss`` in percentage points; ``costs``: behind it, by name."""

    choice: str
    before: str
    after: str
    loss: float
    costs: dict[str, float]


@frozen
class PathView:
    """The way from a table's start to the answer.

    ``cost``: the first limited cost, with the unit where it is known. ``costs``, ``errors``: of
    the networks on the way, errors in [0, 1]; the start comes first where its cost is known.
    ``labels``: what led to each. ``limit``: lower and upper end on ``cost``.
    """

    changes: tuple[Change, ...]
    cost: str
    costs: tuple[float, ...]
    errors: tuple[float, ...]
    labels: tuple[str, ...]
    limit: tuple[float | None, float | None]


@frozen(eq=False)
class SearchView:
    """One search with what follows from it.

    ``error``: the winner's in [0, 1]; ``predicted``: whether a table predicted it. ``outside``:
    how many evaluated rows are beyond the limits. ``retrained_outside``: which retrained networks
    are, by name. ``path``: None where no table gave the winner.
    ``beyond``: whether what the training's distribution holds most probable is another network.
    """

    search: Search
    boxes: tuple[DrawnLayer, ...]
    error: float
    predicted: bool
    outside: int
    retrained_outside: frozenset[str]
    beyond: bool
    path: PathView | None
    predictive: Predictive | None

    @property
    def cost(self) -> str:
        """The metric that errors are drawn against, see `main_cost`."""
        name, history = main_cost(self.search.result.limits), self.search.history
        known = self.search.result.values
        return name if name in known and (history is None or name in history.names) else "macs"


def view_searches(data: RunData, *, rng: np.random.Generator) -> tuple[SearchView, ...]:
    """Return all searches of a run; ``rng`` draws bootstraps."""
    tables = {one.folder: one.table for one in data.searches if one.table is not None}
    views = []
    for search in data.searches:
        result, history = search.result, search.history
        predicted = result.error is None
        error = result.predicted_error if result.error is None else result.error
        assert error is not None  # reading refuses results with neither
        predictive = None
        if search.table is not None and search.random is not None:
            try:
                predictive = judge(search.table, search.random, rng=rng)
            except InputError as wrong:
                raise InputError(f"searches/{search.folder}/random.csv: {wrong}") from wrong
        source = tables.get(search.folder) or tables.get(result.table or "")
        views.append(
            SearchView(
                search,
                tuple(draw(data.space, result.winner)),
                error,
                predicted,
                0 if history is None else int((~within(history, result.limits)).sum()),
                frozenset(
                    one.name
                    for one in (search.retrain.candidates if search.retrain else ())
                    if not holds(one.all_costs, result.limits)
                ),
                _beyond(data, search),
                None if result.predicted_error is None else _path(search, source, data.space),
                predictive,
            )
        )
    return tuple(views)


def _beyond(data: RunData, search: Search) -> bool:
    """Return whether the most probable network of the run's distribution is not the winner."""
    if data.distribution is None or search.result.samples is None:
        return False
    mode, winner = data.space.canonical([data.distribution.mode, search.result.winner])
    return not np.array_equal(mode, winner)


def _path(search: Search, table: CandidateTable | None, space: SearchSpace) -> PathView:
    """Return the way to a winner; ``table``: None where it is not in the run's folder."""
    result = search.result
    changes = []
    for step in result.path:
        choice = space.choices[step.choice]
        before, after = option_name(choice, step.before), option_name(choice, step.after)
        changes.append(Change(choice.name, before, after, 100 * step.loss, step.costs))
    name = main_cost(result.limits)
    assert result.predicted_error is not None
    # Counted from the end: the file says what the last one is predicted to err.
    losses = [step.loss for step in result.path]
    errors = [result.predicted_error - sum(losses[i:]) for i in range(1, len(losses) + 1)]
    costs = [step.costs.get(name, math.nan) for step in result.path]
    labels = [f"{one.choice}: {one.before} → {one.after}" for one in changes]
    cost = name
    if name in METRICS:
        priced = METRICS[name](space)
        cost = axis_of(name, priced.unit)
        if table is not None:
            costs.insert(0, float(priced(table.start[None])[0]))
            errors.insert(0, result.predicted_error - sum(losses))
            labels.insert(0, "the table's best of each choice")
    if not np.isfinite(costs).all():
        costs, errors, labels = [], [], []
    return PathView(
        tuple(changes),
        cost,
        tuple(costs),
        tuple(errors),
        tuple(labels),
        bounds(result.limits).get(name, (None, None)),
    )


@frozen
class TauRow:
    """One line of the table of taus.

    ``low``, ``high``, ``at``: where interval and tau lie on the table's axis, in percent; None
    where they are not known.
    """

    label: str
    agreement: Agreement
    low: float | None
    high: float | None
    at: float | None


@frozen(eq=False)
class RankView:
    """One trust report. ``zero``: where tau 0 lies on the axis of ``taus``, in percent.

    ``truth``, ``axis``: what the truth is, in a sentence and at an axis. ``regret``: label -> the
    points for each k of ``tops``, of scores whose truth is not the same for all. ``gap``: label ->
    points. ``used``: label of the score that the searches use.
    """

    rank: Rank
    truth: str
    axis: str
    taus: tuple[TauRow, ...]
    zero: float
    tops: tuple[str, ...]
    regret: dict[str, tuple[float | None, ...]]
    gap: dict[str, float]
    used: str | None


SCORE_WORDS = {
    "recalibrated": "Supernet, norms recalibrated",
    "own_norms": "Supernet, its own norms",
    "macs": "MACs alone",
    "params": "Parameters alone",
    "ceiling": "Ceiling",
}
"""Key in ``ranks/NAME/result.json`` -> what gave the score."""


GAPS = {"recalibrated": "with norms recalibrated", "own_norms": "with its own norms"}


def view_rank(rank: Rank) -> RankView:
    """Return one trust report for the page."""
    result = rank.result
    if result is None:
        return RankView(rank, "", "truth [%]", (), 0, (), {}, {}, None)
    truth, axis = _truth(result)
    known: dict[str, Agreement | None] = {
        **result.tau,
        "macs": result.macs,
        "params": result.params,
        "ceiling": result.ceiling,
    }
    found = {key: known[key] for key in (*SCORE_WORDS, *known) if known.get(key) is not None}
    ends = [end for one in found.values() if one for end in (one.low, one.tau) if end is not None]
    # From 0 to 1, and as far below as something lies there.
    floor = min([0.0, *(math.floor(10 * end) / 10 for end in ends)])

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - floor) / (1 - floor), 2)

    regret = {
        _label(key): values for key, values in (result.regret or {}).items() if values is not None
    }
    tops = sorted({k for values in regret.values() for k in values}, key=int)
    return RankView(
        rank,
        truth,
        axis,
        tuple(
            TauRow(_label(key), one, place(one.low), place(one.high), place(one.tau))
            for key, one in found.items()
            if one is not None
        ),
        place(0.0) or 0.0,
        tuple(tops),
        {label: tuple(values.get(k) for k in tops) for label, values in regret.items()},
        {GAPS.get(key, key): gap for key, gap in (result.gap or {}).items() if gap is not None},
        None if result.judged is None else _label(result.judged),
    )


def largest_first(ranks: Sequence[RankView]) -> list[tuple[int, RankView]]:
    """Return the finished trust reports with their places, that of the most architectures first.

    Of equal numbers, a truth comes before another supernet, which may err alike.
    """
    found = [(i, view, view.rank.result) for i, view in enumerate(ranks)]
    finished = [(i, view, result) for i, view, result in found if result is not None]
    finished.sort(key=lambda one: (-one[2].architectures, one[2].truth == "run"))
    return [(i, view) for i, view, _ in finished]


def _label(key: str) -> str:
    return SCORE_WORDS.get(key, key)


def _truth(result: RankResult) -> tuple[str, str]:
    if result.truth == "standalone":
        return "networks that were trained alone, from scratch", "top-1 trained alone [%]"
    if result.truth == "run":
        which = f" of {result.column}" if result.column else ""
        return f"another supernet{which}", f"top-1 with the supernet{which} [%]"
    column = f", column {result.column}" if result.column else ""
    return f"{result.truth}{column}", f"top-1 by {result.column or result.truth} [%]"


@frozen(eq=False)
class AlphasView:
    """The architecture parameters of a run.

    ``looks``: the legend, None where options are named differently from choice to choice.
    ``counted``: whether options were drawn for training at all. ``drops``: step, choice and
    option by name. ``live``: candidates left at the end. ``most``: all that there are.
    """

    alphas: AlphasRecord
    looks: tuple[Look, ...] | None
    counted: bool
    drops: tuple[tuple[int, str, str], ...]
    live: int
    most: int


def view_alphas(data: RunData) -> AlphasView | None:
    """Return what is said of a run's architecture parameters, None where it has none."""
    alphas, choices = data.alphas, data.space.choices
    if alphas is None:
        return None
    shared: Any = shared_options(choices)
    return AlphasView(
        alphas,
        None if shared is None else tuple(option_looks(shared)),
        bool(alphas.counts.any()),
        tuple(
            (one.step, choices[one.choice].name, option_name(choices[one.choice], one.option))
            for one in alphas.dropped
        ),
        int(alphas.alive[-1].sum()),
        int(alphas.alive[0].sum()),
    )
