"""Loss and learning rate over the steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from nas_cli.report.plots.style import (
    BLUE,
    GREY,
    INK,
    MOST_POINTS,
    SKY,
    VERMILION,
    Floats,
    evenly,
    lines,
    new_figure,
    running_mean,
    safe,
    styled,
)
from nas_cli.report.records_training import Curve

__all__ = ["retraining", "training"]

Rows = NDArray[np.int64]


def training(curve: Curve) -> go.Figure:
    """Draw the loss and, below it, the learning rate over the steps of all phases."""
    figure = styled(
        make_subplots(
            rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06
        ),
        430,
    )
    phases = _phases(curve)
    # No mean goes across the border of two phases, which may train different networks.
    means = [running_mean(curve.loss[rows]) for rows in phases]
    widths = {width for _, width in means}
    shown = [rows[evenly(len(rows), MOST_POINTS // len(phases))] for rows in phases]
    x = _joined(curve.step, shown)
    epoch = _joined(curve.epoch, shown)
    hover = "step %{x:,}, epoch %{customdata:.2f}<br>loss %{y:.4f}<extra></extra>"
    figure.add_scatter(
        x=x,
        y=_joined(curve.loss, shown),
        customdata=epoch,
        mode="lines+markers" if widths == {1} else "lines",
        name="logged",
        line={"color": SKY, "width": 1},
        opacity=0.7,
        hovertemplate=hover,
        row=1,
        col=1,
    )
    if widths != {1}:
        figure.add_scatter(
            x=x,
            y=_joined(np.concatenate([mean for mean, _ in means]), shown),
            customdata=epoch,
            mode="lines",
            name=f"mean of {min(widths)} logged" if len(widths) == 1 else "running mean",
            line={"color": BLUE, "width": 2.5},
            hovertemplate=hover,
            row=1,
            col=1,
        )
    figure.add_scatter(
        x=x,
        y=_joined(curve.lr, shown),
        mode="lines",
        name="learning rate",
        showlegend=False,
        line={"color": VERMILION, "width": 2},
        hovertemplate="step %{x:,}<br>learning rate %{y:.3g}<extra></extra>",
        row=2,
        col=1,
    )
    if len(phases) > 1:
        _name_phases(figure, curve, phases)
    figure.update_yaxes(title_text="training loss", row=1, col=1)
    figure.update_yaxes(title_text="learning<br>rate", rangemode="tozero", nticks=4, row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    return figure


def _phases(curve: Curve) -> list[Rows]:
    """Return the indices of each phase's points, in order."""
    borders = [i for i in range(1, len(curve.phase)) if curve.phase[i] != curve.phase[i - 1]]
    return np.split(np.arange(len(curve.step)), borders)


def _joined(values: Floats, parts: list[Rows]) -> list[float | None]:
    """Return ``values`` at the indices of all parts, with a gap between two parts."""
    joined: list[float | None] = []
    for part in parts:
        joined += [*([None] if joined else []), *values[part].tolist()]
    return joined


def _name_phases(figure: go.Figure, curve: Curve, phases: list[Rows]) -> None:
    """Write the phases' names above the curve, with a line where one begins."""
    for number, rows in enumerate(phases):
        begin = float(curve.step[rows[0]])
        if number:
            begin = (begin + float(curve.step[rows[0] - 1])) / 2
            figure.add_vline(x=begin, line={"color": GREY, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=begin,
            xref="x",
            y=1,
            yref="paper",
            text=safe(curve.phase[rows[0]] or "phase without a name"),
            showarrow=False,
            xanchor="left",
            yanchor="top",
            xshift=4,
            # On a narrow page the name of a short phase reaches into the next one.
            yshift=-18 * (number % 3),
            bgcolor="rgba(255,255,255,0.8)",
            font={"color": INK},
        )


def retraining(curves: Mapping[str, tuple[Floats, Floats]]) -> go.Figure:
    """Draw the running mean of the loss of each retrained candidate.

    Args:
        curves: candidate name -> (steps ``[n]``, loss ``[n]``); ``"winner"`` stands out.
    """
    figure = new_figure(360)
    # The winner last, so that it is drawn over the others.
    names = sorted(curves, key=lambda name: (name == "winner", name))
    kinds: set[str] = set()
    for name in names:
        step, loss = curves[name]
        kind = _kind(name)
        mean, _ = running_mean(loss)
        shown = evenly(len(step), MOST_POINTS)
        figure.add_scatter(
            x=step[shown].tolist(),
            y=mean[shown].tolist(),
            text=[safe(name)] * len(shown),
            mode=lines(len(shown)),
            name=kind,
            legendgroup=kind,
            showlegend=kind not in kinds,
            line=LINES[kind],
            hovertemplate="%{text}<br>step %{x:,}<br>loss %{y:.4f}<extra></extra>",
        )
        kinds.add(kind)
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text="training loss")
    return figure


RANDOM = "random architectures"
LINES: dict[str, dict[str, Any]] = {
    "winner": {"color": VERMILION, "width": 3},
    "references": {"color": BLUE, "width": 1.8},
    RANDOM: {"color": GREY, "width": 1.2},
}
"""Kind of a retrained network -> how its line looks."""


def _kind(name: str) -> str:
    if name.startswith("random-"):
        return RANDOM
    return "winner" if name == "winner" else "references"
