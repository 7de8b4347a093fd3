"""The supernet's ranking against the truth."""

import numpy as np
import plotly.graph_objects as go

from nas_cli.report.plots.style import BLUE, MOST_POINTS, ORANGE, evenly, new_figure
from nas_spaces import History

__all__ = ["SCORES", "agreement"]

SCORES: dict[str, tuple[str, dict[str, object]]] = {
    "error_recalibrated": ("norms recalibrated", {"color": BLUE, "opacity": 0.5}),
    "error_own_norms": ("the supernet's own norms", {"color": ORANGE, "symbol": "x-thin-open"}),
}
"""Column of ``values.csv`` -> name and marker of its points."""


def agreement(values: History, axis: str) -> go.Figure:
    """Draw supernet top-1 against the truth, a point an architecture and score.

    Args:
        values: columns truth and, where there are any, those of `SCORES`, as errors in [0, 1];
            what is no finite number is left out.
        axis: what the truth is.
    """
    figure = new_figure(470)
    costs = [name for name in ("macs", "params") if name in values.names]
    for column, (legend, marker) in SCORES.items():
        if column not in values.names:
            continue
        error = values.column(column)
        # A second supernet is held against with the same kind of norms.
        own = column.replace("error", "truth")
        truth = values.column(own if own in values.names else "truth")
        known = np.flatnonzero(np.isfinite(error) & np.isfinite(truth))
        if not len(known):
            continue
        shown = known[evenly(len(known), MOST_POINTS)]
        figure.add_scatter(
            x=(100 - 100 * truth[shown]).tolist(),
            y=(100 - 100 * error[shown]).tolist(),
            text=[
                "<br>".join(
                    [
                        ",".join(map(str, values.archs[row].tolist())),
                        *(f"{values.column(name)[row]:,.0f} {_unit(name)}" for name in costs),
                    ]
                )
                for row in shown.tolist()
            ],
            mode="markers",
            name=legend,
            marker={"size": 6, **marker},
            hovertemplate="%{text}<br>truth %{x:.2f} %, supernet %{y:.2f} %<extra></extra>",
        )
    figure.update_xaxes(title_text=axis)
    figure.update_yaxes(title_text="supernet top-1 [%]")
    return figure


def _unit(name: str) -> str:
    return {"macs": "MACs", "params": "parameters"}[name]
