"""Methods over the same table: how good they are after so many architectures, and who is there."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from nas_cli.report.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Floats,
    new_figure,
    safe,
)

__all__ = ["best_curves", "mark_reached"]

LOOKS = tuple(
    zip(
        (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, INK),
        ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid"),
        strict=True,
    )
)
# What is reached at this share of the budget is where the axis of accuracy begins.
EARLY = 0.05


def best_curves(curves: Mapping[str, Floats], *, mark: float, best: float) -> go.Figure:
    """Draw the best accuracy so far [%]: the median over searches, and a band of the quartiles.

    Args:
        curves: by method, ``[budget, 3]``: lower quartile, median, upper quartile.
        mark: the accuracy to be reached.
        best: the best that can be reached.
    """
    figure = new_figure(480)
    for number, (name, bands) in enumerate(curves.items()):
        colour, _ = LOOKS[number % len(LOOKS)]
        x = list(range(1, len(bands) + 1))
        common = {"x": x, "legendgroup": name, "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(**common, y=bands[:, 2].tolist(), mode="lines", showlegend=False)
        figure.add_scatter(
            **common,
            y=bands[:, 0].tolist(),
            mode="lines",
            fill="tonexty",
            fillcolor=f"rgba{(*_rgb(colour), 0.13)}",
            showlegend=False,
        )
    for number, (name, bands) in enumerate(curves.items()):
        colour, dash = LOOKS[number % len(LOOKS)]
        figure.add_scatter(
            x=list(range(1, len(bands) + 1)),
            y=bands[:, 1].tolist(),
            customdata=bands[:, [0, 2]].tolist(),
            name=safe(name),
            legendgroup=name,
            mode="lines",
            line={"color": colour, "dash": dash, "width": 2.5},
            hovertemplate=f"{safe(name)}<br>after %{{x:,}} architectures<br>%{{y:.2f}} %, "
            "half of the searches %{customdata[0]:.2f} to %{customdata[1]:.2f} %<extra></extra>",
        )
    figure.add_hline(
        y=mark,
        line={"color": INK, "width": 1.5, "dash": "dash"},
        annotation={"text": "mark", "font": {"color": INK}, "bgcolor": "rgba(255,255,255,0.8)"},
        annotation_position="bottom right",
    )
    early = [bands[int(EARLY * (len(bands) - 1)), 0] for bands in curves.values()]
    lowest = min(early)
    figure.update_yaxes(
        title_text="best accuracy so far [%]",
        range=[lowest, best + 0.06 * max(best - lowest, 0.01)],
    )
    figure.update_xaxes(title_text="architectures measured", rangemode="tozero")
    return figure


def mark_reached(evaluations: Mapping[str, Sequence[float | None]], *, budget: int) -> go.Figure:
    """Draw how many searches [%] have reached the mark after so many architectures.

    Args:
        evaluations: by method, one for each search; None for those that never reach it.
        budget: architectures of a search.
    """
    figure = new_figure(400)
    for number, (name, taken) in enumerate(evaluations.items()):
        colour, dash = LOOKS[number % len(LOOKS)]
        reached = np.sort([one for one in taken if one is not None])
        share = 100 * np.arange(1, len(reached) + 1) / len(taken)
        last = float(share[-1]) if len(share) else 0.0
        figure.add_scatter(
            x=[0, *reached.tolist(), budget],
            y=[0, *share.tolist(), last],
            name=safe(name),
            mode="lines",
            line={"color": colour, "dash": dash, "width": 2.5, "shape": "hv"},
            hovertemplate=f"{safe(name)}<br>%{{y:.0f}} % of the searches are there after %{{x:,}} "
            "architectures<extra></extra>",
        )
    figure.update_xaxes(title_text="architectures measured", rangemode="tozero")
    figure.update_yaxes(title_text="searches that reached the mark [%]", range=[0, 102])
    return figure


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
