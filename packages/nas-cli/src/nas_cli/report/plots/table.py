"""What follows from a candidate table: the path of replacements, and its sums against errors."""

from collections.abc import Sequence

import plotly.graph_objects as go

from nas_cli.report.plots.search import Limits, limit_lines
from nas_cli.report.plots.style import (
    BLUE,
    GREY,
    MOST_POINTS,
    VERMILION,
    Floats,
    evenly,
    new_figure,
    safe,
)
from nas_spaces import History

__all__ = ["predicted", "replacements"]


def replacements(
    costs: Sequence[float],
    errors: Sequence[float],
    changes: Sequence[str],
    *,
    cost: str,
    limit: Limits,
) -> go.Figure:
    """Draw the way from a table's start to the limit: predicted error against cost.

    Args:
        costs: of the network behind each step ``[n]``.
        errors: predicted, in [0, 1], ``[n]``.
        changes: what each step replaced ``[n]``.
        cost: what ``costs`` are, with the unit.
        limit: lower and upper end of the limit on it, None where open.
    """
    figure = new_figure(380)
    last = len(costs) - 1
    figure.add_scatter(
        x=list(costs),
        y=[100 * error for error in errors],
        text=[safe(change) for change in changes],
        mode="lines+markers",
        showlegend=False,
        line={"color": BLUE, "width": 1.8, "shape": "vh"},
        marker={
            "color": [VERMILION if i == last else BLUE for i in range(last + 1)],
            "size": [15 if i == last else 7 for i in range(last + 1)],
            "symbol": ["star" if i == last else "circle" for i in range(last + 1)],
            "opacity": 1,
        },
        hovertemplate="%{text}<br>predicted error %{y:.2f} %<br>%{x:,}<extra></extra>",
    )
    limit_lines(figure, limit)
    figure.update_xaxes(title_text=safe(cost), tickformat="~s")
    figure.update_yaxes(title_text="predicted error [%]")
    return figure


def predicted(rows: History, sums: Floats) -> go.Figure:
    """Draw the supernet's error of ``rows`` against the table's ``sums`` ``[n]``, in [0, 1]."""
    figure = new_figure(430)
    shown = evenly(len(rows), MOST_POINTS)
    x, y = 100 * sums[shown], 100 * rows.column("error")[shown]
    figure.add_scatter(
        x=x.tolist(),
        y=y.tolist(),
        customdata=[
            (",".join(map(str, arch)), macs)
            for arch, macs in zip(
                rows.archs[shown].tolist(), rows.column("macs")[shown].tolist(), strict=True
            )
        ],
        mode="markers",
        name="random architectures",
        marker={"color": BLUE, "size": 7, "opacity": 0.5},
        hovertemplate="%{customdata[0]}<br>predicted %{x:.2f} %, measured %{y:.2f} %"
        "<br>%{customdata[1]:,} MACs<extra></extra>",
    )
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    if low < high:  # else there is nothing to draw a line between
        figure.add_scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            name="predicted = measured",
            line={"color": GREY, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    figure.update_xaxes(title_text="error predicted by the table [%]")
    figure.update_yaxes(title_text="supernet error [%]")
    return figure
