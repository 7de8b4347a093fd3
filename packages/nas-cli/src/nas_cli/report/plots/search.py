"""What a search evaluated: error against MACs, and its progress."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas_cli.report.plots.style import (
    BLUE,
    GREY,
    INK,
    MOST_POINTS,
    ORANGE,
    VERMILION,
    evenly,
    new_figure,
)
from nas_cli.report.words import axis_of, cost_word
from nas_spaces import History

__all__ = ["candidates", "limit_lines", "progress"]

Limits = tuple[float | None, float | None]


def candidates(
    history: History,
    front: NDArray[np.bool_],
    random: History | None,
    *,
    cost: str,
    unit: str,
    inside: NDArray[np.bool_],
    winner: tuple[float, float],
    predicted: bool,
    limit: Limits,
    judged: str,
) -> go.Figure:
    """Draw error against a cost.

    Args:
        history: what the search evaluated; columns error, generation and the cost's.
        front: bool ``[n]``, which rows of ``history`` nothing dominates.
        random: the baseline; None where there is none.
        cost: the metric's name.
        unit: of the cost.
        inside: bool ``[n]``, which rows of ``history`` are within the limits.
        winner: its error and its cost.
        predicted: whether the winner's error is a prediction, not a measurement.
        limit: lower and upper end of the limit on the cost, None where open.
        judged: by what, ``supernet`` or ``search``.
    """
    figure = new_figure(470)
    word = cost_word(cost)
    hover = (
        "%{customdata[0]}<br>" + judged + " top-1 %{customdata[1]:.1f} %, error %{y:.1f} %"
        f"<br>%{{x:,}} {word}<br>"
        "generation %{customdata[2]}<extra>%{fullData.name}</extra>"
    )

    def points(rows: History, shown: NDArray[np.int64]) -> dict[str, object]:
        error = 100 * rows.column("error")[shown]
        names = [",".join(map(str, arch)) for arch in rows.archs[shown].tolist()]
        generation = rows.column("generation")[shown].astype(int).tolist()
        return {
            "x": rows.column(cost)[shown].tolist(),
            "y": error.tolist(),
            "customdata": list(zip(names, (100 - error).tolist(), generation, strict=True)),
            "hovertemplate": hover,
        }

    if random is not None and len(random):
        figure.add_scatter(
            **points(random, evenly(len(random), MOST_POINTS)),
            mode="markers",
            name="random search",
            marker={
                "size": 6,
                "symbol": "x-thin",
                "line": {"color": ORANGE, "width": 1.2},
            },
        )
    for name, chosen, marker in (
        (
            "searched, outside the limit",
            ~inside,
            {"color": GREY, "size": 6, "symbol": "circle-open", "opacity": 0.7},
        ),
        ("searched", inside, {"color": BLUE, "size": 6, "opacity": 0.45}),
    ):
        rows = np.flatnonzero(chosen)
        if len(rows):
            shown = rows[evenly(len(rows), MOST_POINTS)]
            figure.add_scatter(**points(history, shown), mode="markers", name=name, marker=marker)
    if len(history):
        order = np.flatnonzero(front)
        order = order[np.lexsort((history.column("error")[order], history.column(cost)[order]))]
        figure.add_scatter(
            **points(history, order),
            mode="lines+markers",
            name="Pareto front",
            # What the front attains at a given cost is a staircase.
            line={"color": INK, "width": 1.5, "shape": "hv"},
            marker={"color": INK, "size": 6, "symbol": "diamond"},
        )
    figure.add_scatter(
        x=[winner[1]],
        y=[100 * winner[0]],
        mode="markers",
        name="winner, predicted" if predicted else "winner",
        marker={
            "color": VERMILION,
            "size": 17,
            "symbol": "star-open" if predicted else "star",
            "line": {"color": VERMILION if predicted else "white", "width": 2 if predicted else 1},
        },
        hovertemplate="%{fullData.name}<br>error %{y:.1f} %<br>%{x:,} " + word + "<extra></extra>",
    )
    limit_lines(figure, limit)
    figure.update_xaxes(title_text=axis_of(cost, unit), tickformat="~s")
    figure.update_yaxes(title_text=f"{judged} error [%]")
    return figure


def limit_lines(figure: go.Figure, limit: Limits) -> None:
    """Draw the lower and upper end of a limit on what the horizontal axis shows."""
    for bound, side in zip(limit, ("right", "left"), strict=True):
        if bound is not None:
            figure.add_vline(
                x=bound,
                line={"color": VERMILION, "width": 1.5, "dash": "dash"},
                annotation={
                    "text": "limit",
                    "font": {"color": VERMILION},
                    "bgcolor": "rgba(255,255,255,0.8)",
                    "xshift": 4 if side == "right" else -4,
                },
                annotation_position=f"top {side}",
            )


def progress(
    history: History, inside: NDArray[np.bool_], random: History | None, *, judged: str
) -> go.Figure:
    """Draw the best error so far and each generation's mean, by evaluated architectures.

    Args:
        history: what the search evaluated, in order; columns error and generation.
        inside: bool ``[n]``, which rows of it are within the limits; only these can be the best.
        random: the same for the baseline; its generations are batches of equal size.
        judged: by what, ``supernet`` or ``search``.
    """
    figure = new_figure(400)
    sources = [("search", BLUE, "circle", history, inside)]
    if random is not None:
        sources.append(("random", ORANGE, "x", random, np.ones(len(random), dtype=bool)))
    for name, colour, symbol, rows, counts in sources:
        if not len(rows):
            continue
        generation = rows.column("generation")
        order = np.argsort(generation, kind="stable")
        error = 100 * rows.column("error")[order]
        _, first, count = np.unique(generation[order], return_index=True, return_counts=True)
        evaluated = np.cumsum(count).tolist()
        least = np.minimum.accumulate(np.where(counts[order], error, np.inf))[first + count - 1]
        best = [value if np.isfinite(value) else None for value in least.tolist()]
        mean = (np.add.reduceat(error, first) / count).tolist()
        for what, values, dash in (("best so far", best, "solid"), ("mean", mean, "dot")):
            if values[-1] is None:  # none is within the limits
                continue
            figure.add_scatter(
                x=evaluated,
                y=values,
                mode="lines+markers",
                name=f"{name}: {what}",
                line={"color": colour, "width": 2.5 if dash == "solid" else 1.8, "dash": dash},
                marker={"size": 6, "symbol": symbol if dash == "solid" else f"{symbol}-open"},
                hovertemplate="%{fullData.name}<br>after %{x:,} architectures"
                "<br>error %{y:.2f} %<extra></extra>",
            )
    figure.update_xaxes(title_text="evaluated architectures", rangemode="tozero")
    figure.update_yaxes(title_text=f"{judged} error [%]")
    return figure
