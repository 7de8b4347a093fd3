"""A distribution over architectures in time: entropy, rows of a step, expected cost."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nas_cli.report.plots.style import BLUE, GREEN, VERMILION, lines, safe, styled
from nas_cli.report.records_training import LearnedDistribution

__all__ = ["uncertainty"]

PANEL = 150  # px


def uncertainty(learned: LearnedDistribution) -> go.Figure:
    """Draw entropy, paths of a step and, where one counted, the expected cost, one below the other.

    A dashed line is the cost's target, a dotted one where groups were joined.
    """
    known = np.isfinite(learned.costs)
    panels = 3 if learned.costed else 2
    figure = styled(
        make_subplots(rows=panels, cols=1, shared_xaxes=True, vertical_spacing=0.07),
        PANEL * panels + 60,
    )
    steps = learned.steps.tolist()
    drawn = learned.steps > 0  # before the first step nothing was drawn
    curves = [
        ("entropy", "nats", steps, learned.entropy.tolist(), BLUE, "linear", "%{y:.2f} nats"),
        (
            "paths of a step",
            "paths",
            learned.steps[drawn].tolist(),
            learned.rows[drawn].tolist(),
            GREEN,
            "hv",
            "%{y} paths",
        ),
        (
            f"expected {learned.cost}",
            str(learned.cost),
            learned.steps[known].tolist(),
            learned.costs[known].tolist(),
            VERMILION,
            "linear",
            "%{y:.3s}",
        ),
    ]
    for row, (name, axis, x, y, colour, shape, hover) in enumerate(curves[:panels], start=1):
        figure.add_scatter(
            x=x,
            y=y,
            mode=lines(len(x)),
            name=safe(name),
            showlegend=False,
            line={"color": colour, "width": 2.2, "shape": shape},
            hovertemplate=f"step %{{x:,}}<br>{hover}<extra></extra>",
            row=row,
            col=1,
        )
        figure.update_yaxes(
            title_text=safe(axis), rangemode="tozero", nticks=5, tickformat="~s", row=row, col=1
        )
    if panels == 3 and learned.target is not None:
        figure.add_hline(learned.target, line={"dash": "dash", "width": 1.5}, row=3, col=1)
        # A line is no reason for an axis to reach it.
        top = 1.08 * max(learned.target, float(learned.costs[known].max()))
        figure.update_yaxes(range=[0, top], row=3, col=1)
    if learned.joined:
        figure.add_vline(learned.joined, line={"dash": "dot", "width": 1.5})
    figure.update_xaxes(title_text="step", row=panels, col=1)
    figure.update_layout(margin={"t": 8})
    return figure
