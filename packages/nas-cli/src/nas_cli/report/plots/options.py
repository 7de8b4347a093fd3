"""Heat maps of one number for each option of each choice."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from nas_cli.architecture_text import option_name
from nas_cli.report.plots.style import (
    INK,
    MOST_NUMBERED_OPTIONS,
    Floats,
    new_figure,
    safe,
)
from nas_cli.report.words import shared_options
from nas_spaces import Choice

__all__ = ["candidate_losses", "marginals", "path_counts"]


def path_counts(counts: Sequence[Sequence[int]], choices: Sequence[Choice]) -> go.Figure:
    """Draw how often each option of each choice was sampled: a row a choice, a column an option.

    Args:
        counts: ``[d][k]``, ``k`` the choice's number of options.
        choices: the space's, in the same order.
    """
    return _options(
        counts,
        [[f"{count}" for count in row] for row in counts],
        choices,
        colour="#5aa5dc",
        hover="%{y}: %{customdata}<br>sampled %{z:,} times<extra></extra>",
    )


def marginals(
    chances: Sequence[Sequence[float]], mode: Sequence[int], choices: Sequence[Choice]
) -> go.Figure:
    """Draw how probable each option of each choice is, in percent.

    Args:
        chances: ``[d][k]`` in [0, 1].
        mode: the options of the most probable row ``[d]``, marked by a star.
        choices: the space's, in the same order; those of one option are left out.
    """
    several = [i for i, choice in enumerate(choices) if len(choice.options) > 1]
    percent = [[round(100 * chance, 2) for chance in chances[i]] for i in several]
    return _options(
        percent,
        [
            ["★" if j == best else f"{value:.0f}" for j, value in enumerate(row)]
            for row, best in zip(percent, [mode[i] for i in several], strict=True)
        ],
        [choices[i] for i in several],
        colour="#5aa5dc",
        hover="%{y}: %{customdata}<br>%{z:.1f} %<extra></extra>",
    )


def candidate_losses(
    losses: Floats, start: Sequence[int], winner: Sequence[int], choices: Sequence[Choice]
) -> go.Figure:
    """Draw what each option of each choice adds to the error, in percentage points.

    Args:
        losses: ``[d, k]`` in [0, 1], nan for options that were not measured.
        start: the best option of each choice ``[d]``, marked by a star.
        winner: the options of the search's answer ``[d]``, outlined where they are others.
        choices: the space's, in the same order.
    """
    sizes = [len(choice.options) for choice in choices]
    z: list[list[float | None]] = [
        [None if math.isnan(loss) else round(100 * loss, 4) for loss in row[:size]]
        for row, size in zip(losses.tolist(), sizes, strict=True)
    ]
    text = [
        ["★" if j == best else "" if loss is None else _short(loss) for j, loss in enumerate(row)]
        for row, best in zip(z, start, strict=True)
    ]
    figure = _options(
        z,
        text,
        choices,
        colour="#e9965c",
        hover="%{y}: %{customdata}<br>adds %{z:.2f} points of error<extra></extra>",
    )
    for i, (best, chosen) in enumerate(zip(start, winner, strict=True)):
        if best != chosen:
            figure.add_shape(
                type="rect",
                x0=chosen - 0.46,
                x1=chosen + 0.46,
                y0=i - 0.44,
                y1=i + 0.44,
                line={"color": INK, "width": 2.5},
            )
    return figure


def _short(points: float) -> str:
    """Return percentage points in at most four characters."""
    return f"{points:.1f}" if abs(points) < 9.95 else f"{points:.0f}"


def _options(
    z: Sequence[Sequence[float | None]],
    text: Sequence[Sequence[str]],
    choices: Sequence[Choice],
    *,
    colour: str,
    hover: str,
) -> go.Figure:
    """Draw numbers ``[d][k]`` from 0, with ``text`` in the cells where there is room for it."""
    width = max(len(choice.options) for choice in choices)
    # One set of labels serves all rows where shorter rows only lack options at the end.
    shared = shared_options(choices)
    labels = [str(number) for number in range(width)] if shared is None else list(shared)
    gaps: list[list[None]] = [[None] * (width - len(row)) for row in z]
    largest = max((value for row in z for value in row if value is not None), default=0)
    figure = new_figure(90 + 34 * len(choices))
    figure.add_heatmap(
        x=list(range(width)),
        y=[safe(choice.name) for choice in choices],
        z=[[*row, *gap] for row, gap in zip(z, gaps, strict=True)],
        # Null would be written as a word.
        text=[[*row, *("" for _ in gap)] for row, gap in zip(text, gaps, strict=True)],
        customdata=[
            [*(safe(option_name(choice, j)) for j in range(len(choice.options))), *gap]
            for choice, gap in zip(choices, gaps, strict=True)
        ],
        zmin=0,
        # A table of nothing but zeros is white.
        zmax=largest if largest > 0 else 1,
        colorscale=[[0, "#ffffff"], [1, colour]],
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        texttemplate="%{text}" if width <= MOST_NUMBERED_OPTIONS else None,
        # Ten columns and more still fit a telephone.
        textfont={"color": INK, "size": 13 if width <= 8 else 11},
        hovertemplate=hover,
    )
    every = max(1, math.ceil(width / MOST_NUMBERED_OPTIONS))
    figure.update_xaxes(
        tickmode="array",
        tickvals=list(range(0, width, every)),
        ticktext=[safe(label) for label in labels][::every],
        title_text="option" if shared is None else None,
        showgrid=False,
        side="top",
        # Slanted names run into each other on a narrow page.
        autotickangles=[0, 90],
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_layout(margin={"t": 48, "b": 12})
    return figure
