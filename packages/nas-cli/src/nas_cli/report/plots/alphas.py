"""Architecture parameters over time: BetaNAS, figure 5."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from attrs import frozen
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from nas_cli.architecture_text import option_name
from nas_cli.report.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    evenly,
    lines,
    safe,
    styled,
)
from nas_cli.report.records_training import AlphasRecord
from nas_spaces import Choice

__all__ = ["Look", "live_candidates", "option_looks", "probabilities"]

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, INK)
DASHES = ("solid", "dot", "dash", "dashdot")

# Each block has a plot of its own with two lines an option.
MOST_SNAPSHOTS = 120


@frozen
class Look:
    """How one option's lines look, for the legend that all blocks share."""

    name: str
    colour: str
    dash: str


def option_looks(names: tuple[str, ...]) -> list[Look]:
    """Return how the lines of the options look, by their number."""
    return [
        Look(name, COLOURS[j % len(COLOURS)], DASHES[j // len(COLOURS) % len(DASHES)])
        for j, name in enumerate(names)
    ]


def probabilities(
    alphas: AlphasRecord, choices: Sequence[Choice], *, counted: bool
) -> list[dict[str, Any]]:
    """Draw each choice: its options' probabilities and, below, how often they were trained.

    The axes have the same ends for all choices. A cross is where an option was dropped.

    Args:
        alphas: of all choices.
        choices: their options' names.
        counted: whether to draw how often options were trained.

    Returns:
        plotly figures as JSON values: as objects of its library some hundred lines take seconds.
    """
    shown = evenly(len(alphas.steps), MOST_SNAPSHOTS)
    layout = _layout(alphas, counted=counted).to_plotly_json()
    return [
        {"data": _lines(alphas, index, choice, shown, counted=counted), "layout": layout}
        for index, choice in enumerate(choices)
    ]


def _layout(alphas: AlphasRecord, *, counted: bool) -> go.Layout:
    figure = styled(
        make_subplots(
            rows=2 if counted else 1,
            cols=1,
            shared_xaxes=True,
            vertical_spacing=0.08,
            row_heights=[0.58, 0.42] if counted else [1],
        ),
        250 if counted else 165,
    )
    figure.update_layout(
        showlegend=False, font={"size": 11}, margin={"l": 30, "r": 10, "t": 4, "b": 22}
    )
    end = float(alphas.steps[-1])
    figure.update_xaxes(range=[0, end * 1.04 or 1], nticks=4, tickformat="~s")
    top = float(np.nanmax(alphas.probabilities))
    figure.update_yaxes(range=[0, min(1.02, 1.08 * top)], nticks=4, row=1, col=1)
    if counted:
        most = int(alphas.counts.max())
        figure.update_yaxes(range=[0, 1.05 * most], nticks=3, tickformat="~s", row=2, col=1)
    return figure.layout


def _lines(
    alphas: AlphasRecord, index: int, choice: Choice, shown: NDArray[np.int64], *, counted: bool
) -> list[dict[str, Any]]:
    """Return the traces of one choice, at the snapshots ``shown``."""
    gone = {one.option: one.step for one in alphas.dropped if one.choice == index}
    looks = option_looks(tuple(option_name(choice, j) for j in range(len(choice.options))))
    traces: list[dict[str, Any]] = []
    for j, look in enumerate(looks):
        name = safe(look.name)
        at = f"{name}<br>step %{{x:,}}<br>"
        line = {"color": look.colour, "width": 1.8, "dash": look.dash}
        common = {"type": "scatter", "name": name, "line": line}
        live = shown[alphas.alive[shown, index, j]]
        x = alphas.steps[live].tolist()
        y = np.round(alphas.probabilities[live, index, j], 4).tolist()
        sizes, symbols = [0] * len(x), ["circle"] * len(x)
        if j in gone:
            # The snapshots may lie far apart: the cross is at the step itself.
            x, y = [*x, gone[j]], [*y, y[-1] if y else 0]
            sizes, symbols = [*sizes, 8], [*symbols, "x"]
        traces.append(
            common
            | {
                "x": x,
                "y": y,
                "mode": "lines+markers" if j in gone else lines(len(x)),
                "marker": {"symbol": symbols, "size": sizes} if j in gone else {},
                "hovertemplate": at + "probability %{y:.3f}<extra></extra>",
            }
        )
        if counted:
            traces.append(
                common
                | {
                    "x": alphas.steps[shown].tolist(),
                    "y": alphas.counts[shown, index, j].tolist(),
                    "xaxis": "x2",
                    "yaxis": "y2",
                    "mode": lines(len(shown)),
                    "hovertemplate": at + "trained %{y:,} times<extra></extra>",
                }
            )
    return traces


def live_candidates(alphas: AlphasRecord, choices: tuple[Choice, ...]) -> go.Figure:
    """Draw how many candidates are live: of all choices together, and of each."""
    live = alphas.alive.sum(axis=2)  # [t, d]
    height = 110 + 20 * len(choices)
    figure = styled(
        make_subplots(
            rows=2,
            cols=1,
            shared_xaxes=True,
            vertical_spacing=16 / (height + 100),
            row_heights=[120 / (height + 120), height / (height + 120)],
        ),
        height + 120,
    )
    x = alphas.steps.tolist()
    figure.add_scatter(
        x=x,
        y=live.sum(axis=1).tolist(),
        mode="lines",
        showlegend=False,
        line={"color": BLUE, "width": 2.5, "shape": "hv"},
        hovertemplate="step %{x:,}<br>%{y} live candidates<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_heatmap(
        x=x,
        y=[
            f"{safe(choice.name)}: {left} of {len(choice.options)}"
            for choice, left in zip(choices, live[-1].tolist(), strict=True)
        ],
        z=live.T.tolist(),
        zmin=0,
        zmax=int(live.max()),
        colorscale=[[0, "#ffffff"], [1, "#0072b2"]],
        showscale=False,
        ygap=2,
        hovertemplate="%{y}<br>step %{x:,}<br>%{z} live<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="live", rangemode="tozero", nticks=4, row=1, col=1)
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    # Else the cells of the first and last moment reach beyond them.
    figure.update_xaxes(range=[x[0], x[-1]])
    figure.update_layout(margin={"t": 8})
    return figure
