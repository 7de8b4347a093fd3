"""What all plots share: colours, axes, thinning.

Colours are those of Okabe and Ito, which people with any common colour vision tell apart; shape or
dash says the same a second time.
"""

from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "MOST_NUMBERED_OPTIONS",
    "MOST_POINTS",
    "ORANGE",
    "PURPLE",
    "RULE",
    "SKY",
    "VERMILION",
    "Floats",
    "evenly",
    "lines",
    "new_figure",
    "running_mean",
    "safe",
    "styled",
]

Floats = NDArray[np.float64]

BLUE, SKY, VERMILION, ORANGE, GREEN = "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73"
PURPLE = "#cc79a7"
INK, GREY, RULE = "#1d2733", "#6b7785", "#e3e8ee"

# What a browser draws without stuttering, and an eye can tell apart.
MOST_POINTS = 4000
MOST_NUMBERED_OPTIONS = 12


def safe(text: object) -> str:
    """Return text that plotly does not take for markup."""
    return escape(str(text), quote=False)


def new_figure(height: int) -> go.Figure:
    """Return an empty figure of a height [px]."""
    return styled(go.Figure(), height)


def styled(figure: go.Figure, height: int) -> go.Figure:
    """Give a figure the report's style and a height [px]; return it."""
    figure.update_layout(
        template="none",
        height=height,
        autosize=True,
        margin={"l": 56, "r": 14, "t": 0, "b": 48},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"size": 13}, "align": "left"},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
    )
    axis = {
        "gridcolor": RULE,
        "linecolor": GREY,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "tickcolor": GREY,
        "automargin": True,
        "title": {"standoff": 10},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` indices of ``n``, evenly spread, first and last included."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def lines(points: int) -> str:
    """Return the mode that draws a curve of so many points: of one, no line would be seen."""
    return "lines" if points > 1 else "lines+markers"


def running_mean(values: Floats) -> tuple[Floats, int]:
    """Return the centred running mean ``[n]`` and its width, about a 30th of the curve."""
    width = max(1, len(values) // 30) | 1
    # Shorter windows at the ends: the mean of what is there.
    kernel = np.ones(width)
    total = np.convolve(values, kernel, mode="full")[width // 2 :][: len(values)]
    count = np.convolve(np.ones(len(values)), kernel, mode="full")[width // 2 :][: len(values)]
    return total / count, width
