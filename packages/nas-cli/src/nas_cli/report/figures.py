"""All plots of a page."""

import json
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from attrs import frozen

from nas_cli.limits import METRICS
from nas_cli.report import plots
from nas_cli.report.records import RunData
from nas_cli.report.views import AlphasView, RankView, SearchView
from nas_cli.report.words import bounds, within
from nas_search import non_dominated

__all__ = ["Drawn", "draw_figures", "drawn_figure"]


@frozen
class Drawn:
    """One plot: its JSON, which can stand in a script element, and its height [px]."""

    json: str
    height: int


def draw_figures(
    data: RunData,
    searches: Sequence[SearchView],
    ranks: Sequence[RankView],
    alphas: AlphasView | None,
) -> dict[str, Drawn]:
    """Return each plot by the id of its place on the page."""
    figures: dict[str, go.Figure] = {}
    if "train" in data.curves:
        figures["training"] = plots.training(data.curves["train"])
    if data.train is not None and data.space.choices:
        figures["paths"] = plots.path_counts(data.train.path_counts, data.space.choices)
    if alphas is not None and alphas.drops:
        figures["live"] = plots.live_candidates(alphas.alphas, data.space.choices)
    if data.distribution is not None:
        learned = data.distribution
        figures["uncertainty"] = plots.uncertainty(learned)
        figures["marginals"] = plots.marginals(learned.marginals, learned.mode, data.space.choices)
    for index, view in enumerate(searches):
        found = _search(view, data)
        figures |= {f"{name}-{index}": figure for name, figure in found.items()}
    for index, rank in enumerate(ranks):
        if rank.rank.values is not None and len(rank.rank.values):
            figures[f"truth-{index}"] = plots.agreement(rank.rank.values, rank.axis)
    drawn = {name: drawn_figure(figure) for name, figure in figures.items()}
    if alphas is not None:
        cards = plots.probabilities(alphas.alphas, data.space.choices, counted=alphas.counted)
        for index, card in enumerate(cards):
            text = json.dumps(card, separators=(",", ":"))
            drawn[f"alphas-{index}"] = Drawn(_script_json(text), card["layout"]["height"])
    return drawn


def drawn_figure(figure: go.Figure) -> Drawn:
    """Return a figure as a page holds it."""
    return Drawn(_script_json(figure.to_json()), int(figure.layout.height))


def _search(view: SearchView, data: RunData) -> dict[str, go.Figure]:
    search, figures = view.search, {}
    result, history = search.result, search.history
    if history is not None:
        objectives = np.stack([history.column("error"), history.column(view.cost)], axis=1)
        inside = within(history, result.limits)
        figures["candidates"] = plots.candidates(
            history,
            non_dominated(objectives),
            search.random,
            inside=inside,
            cost=view.cost,
            unit=METRICS[view.cost](data.space).unit,
            winner=(view.error, result.values[view.cost]),
            predicted=view.predicted,
            limit=bounds(result.limits).get(view.cost, (None, None)),
            judged="search" if data.alone else "supernet",
        )
        figures["progress"] = plots.progress(
            history, inside, search.random, judged="search" if data.alone else "supernet"
        )
    if search.table is not None:
        figures["table"] = plots.candidate_losses(
            search.table.losses, search.table.start.tolist(), result.winner, data.space.choices
        )
    if view.path is not None and len(view.path.costs) > 1:
        path = view.path
        figures["path"] = plots.replacements(
            path.costs, path.errors, path.labels, cost=path.cost, limit=path.limit
        )
    if view.predictive is not None and search.random is not None:
        figures["predicted"] = plots.predicted(search.random, view.predictive.sums)
    prefix = f"retrain/{search.folder}/"
    retrained = {
        stage.removeprefix(prefix): (curve.step, curve.loss)
        for stage, curve in data.curves.items()
        if stage.startswith(prefix)
    }
    if retrained:
        figures["retraining"] = plots.retraining(retrained)
    return figures


def _script_json(text: str) -> str:
    """Return JSON that can stand inside a script element: no markup can end it early."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
