"""The report's plots, as plotly figures.

Errors come in as [0, 1] and are drawn in percent. Colours are those of Okabe and Ito, which
people with any common colour vision tell apart; shape or dash says the same a second time.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from nas_spaces import Choice, History

__all__ = ["candidates", "path_counts", "progress", "retraining", "training"]

Floats = NDArray[np.float64]

BLUE, SKY, VERMILION, ORANGE, GREEN = "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73"
INK, GREY, RULE = "#1d2733", "#6b7785", "#e3e8ee"

# What a browser draws without stuttering, and an eye can tell apart.
MOST_POINTS = 4000
MOST_NUMBERED_OPTIONS = 12


def _figure(height: int) -> go.Figure:
    return _style(go.Figure(), height)


def _style(figure: go.Figure, height: int) -> go.Figure:
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


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` indices of ``n``, evenly spread, first and last included."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _running_mean(values: Floats) -> tuple[Floats, int]:
    """Return the centred running mean ``[n]`` and its width, about a 30th of the curve."""
    width = max(1, len(values) // 30) | 1
    # Shorter windows at the ends: the mean of what is there.
    kernel = np.ones(width)
    total = np.convolve(values, kernel, mode="full")[width // 2 :][: len(values)]
    count = np.convolve(np.ones(len(values)), kernel, mode="full")[width // 2 :][: len(values)]
    return total / count, width


def training(step: Floats, epoch: Floats, loss: Floats, lr: Floats) -> go.Figure:
    """Draw the loss and, below it, the learning rate over the steps, all ``[n]``."""
    figure = _style(
        make_subplots(
            rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06
        ),
        430,
    )
    mean, width = _running_mean(loss)
    shown = _evenly(len(step), MOST_POINTS)
    x = step[shown].tolist()
    hover = "step %{x:,}, epoch %{customdata:.2f}<br>loss %{y:.4f}<extra></extra>"
    figure.add_scatter(
        x=x,
        y=loss[shown].tolist(),
        customdata=epoch[shown].tolist(),
        mode="lines" if width > 1 else "lines+markers",
        name="logged",
        line={"color": SKY, "width": 1},
        opacity=0.7,
        hovertemplate=hover,
        row=1,
        col=1,
    )
    if width > 1:
        figure.add_scatter(
            x=x,
            y=mean[shown].tolist(),
            customdata=epoch[shown].tolist(),
            mode="lines",
            name=f"mean of {width} logged",
            line={"color": BLUE, "width": 2.5},
            hovertemplate=hover,
            row=1,
            col=1,
        )
    figure.add_scatter(
        x=x,
        y=lr[shown].tolist(),
        mode="lines",
        name="learning rate",
        showlegend=False,
        line={"color": VERMILION, "width": 2},
        hovertemplate="step %{x:,}<br>learning rate %{y:.3g}<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="training loss", row=1, col=1)
    figure.update_yaxes(title_text="learning<br>rate", rangemode="tozero", nticks=4, row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    return figure


def retraining(curves: Mapping[str, tuple[Floats, Floats]]) -> go.Figure:
    """Draw the running mean of the loss of each retrained candidate.

    Args:
        curves: candidate name -> (steps ``[n]``, loss ``[n]``); ``"winner"`` stands out.
    """
    figure = _figure(360)
    # The winner last, so that it is drawn over the others.
    names = sorted(curves, key=lambda name: (name == "winner", name))
    for i, name in enumerate(names):
        step, loss = curves[name]
        wins = name == "winner"
        mean, _ = _running_mean(loss)
        shown = _evenly(len(step), MOST_POINTS)
        figure.add_scatter(
            x=step[shown].tolist(),
            y=mean[shown].tolist(),
            text=[escape(name, quote=False)] * len(shown),
            mode="lines",
            name="winner" if wins else "random architectures",
            legendgroup="winner" if wins else "random",
            showlegend=wins or i == 0,
            line={"color": VERMILION if wins else GREY, "width": 3 if wins else 1.2},
            hovertemplate="%{text}<br>step %{x:,}<br>loss %{y:.4f}<extra></extra>",
        )
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text="training loss")
    return figure


def candidates(
    history: History,
    front: NDArray[np.bool_],
    random: History | None,
    *,
    winner: tuple[float, float],
    limit: tuple[float | None, float | None],
) -> go.Figure:
    """Draw error against MACs.

    Args:
        history: what the search evaluated; columns error, macs, generation.
        front: bool ``[n]``, which rows of ``history`` nothing dominates.
        random: the baseline; None where there is none.
        winner: its error and MACs.
        limit: lower and upper end of the limit on MACs, None where open.
    """
    figure = _figure(470)
    hover = (
        "%{customdata[0]}<br>supernet top-1 %{customdata[1]:.1f} %, error %{y:.1f} %"
        "<br>%{x:,} MACs<br>generation %{customdata[2]}<extra>%{fullData.name}</extra>"
    )

    def points(rows: History, shown: NDArray[np.int64]) -> dict[str, object]:
        error = 100 * rows.column("error")[shown]
        names = [",".join(map(str, arch)) for arch in rows.archs[shown].tolist()]
        generation = rows.column("generation")[shown].astype(int).tolist()
        return {
            "x": rows.column("macs")[shown].tolist(),
            "y": error.tolist(),
            "customdata": list(zip(names, (100 - error).tolist(), generation, strict=True)),
            "hovertemplate": hover,
        }

    if random is not None and len(random):
        figure.add_scatter(
            **points(random, _evenly(len(random), MOST_POINTS)),
            mode="markers",
            name="random search",
            marker={
                "size": 6,
                "symbol": "x-thin",
                "line": {"color": ORANGE, "width": 1.2},
            },
        )
    if len(history):
        figure.add_scatter(
            **points(history, _evenly(len(history), MOST_POINTS)),
            mode="markers",
            name="searched",
            marker={"color": BLUE, "size": 6, "opacity": 0.45},
        )
        order = np.flatnonzero(front)
        order = order[np.lexsort((history.column("error")[order], history.column("macs")[order]))]
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
        name="winner",
        marker={
            "color": VERMILION,
            "size": 17,
            "symbol": "star",
            "line": {"color": "white", "width": 1},
        },
        hovertemplate="winner<br>error %{y:.1f} %<br>%{x:,} MACs<extra></extra>",
    )
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
    figure.update_xaxes(title_text="MACs (multiply-adds)", tickformat="~s")
    figure.update_yaxes(title_text="supernet error [%]")
    return figure


def progress(history: History, random: History | None) -> go.Figure:
    """Draw the best error so far and each generation's mean, by evaluated architectures.

    Args:
        history: what the search evaluated, in order; columns error and generation.
        random: the same for the baseline; its generations are batches of equal size.
    """
    figure = _figure(400)
    sources = [("search", BLUE, "circle", history)]
    if random is not None:
        sources.append(("random", ORANGE, "x", random))
    for name, colour, symbol, rows in sources:
        if not len(rows):
            continue
        generation = rows.column("generation")
        order = np.argsort(generation, kind="stable")
        error = 100 * rows.column("error")[order]
        _, first, count = np.unique(generation[order], return_index=True, return_counts=True)
        evaluated = np.cumsum(count).tolist()
        best = np.minimum.accumulate(error)[first + count - 1].tolist()
        mean = (np.add.reduceat(error, first) / count).tolist()
        for what, values, dash in (("best so far", best, "solid"), ("mean", mean, "dot")):
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
    figure.update_yaxes(title_text="supernet error [%]")
    return figure


def path_counts(counts: Sequence[Sequence[int]], choices: Sequence[Choice]) -> go.Figure:
    """Draw how often each option of each choice was sampled: a row a choice, a column an option.

    Args:
        counts: ``[d][k]``, ``k`` the choice's number of options.
        choices: the space's, in the same order.
    """
    width = max(len(choice.options) for choice in choices)
    longest = max((choice.options for choice in choices), key=len)
    # One set of labels serves all rows where shorter rows only lack options at the end.
    same = all(choice.options == longest[: len(choice.options)] for choice in choices)
    labels = [escape(str(option), quote=False) for option in longest] if same else range(width)
    gaps = [[None] * (width - len(row)) for row in counts]
    figure = _figure(90 + 34 * len(choices))
    figure.add_heatmap(
        x=list(range(width)),
        y=[escape(choice.name, quote=False) for choice in choices],
        z=[[*row, *gap] for row, gap in zip(counts, gaps, strict=True)],
        customdata=[
            [*(escape(str(option), quote=False) for option in choice.options), *gap]
            for choice, gap in zip(choices, gaps, strict=True)
        ],
        zmin=0,
        zmax=max(1, max((max(row, default=0) for row in counts), default=0)),
        colorscale=[[0, "#ffffff"], [1, "#5aa5dc"]],
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        texttemplate="%{z}" if width <= MOST_NUMBERED_OPTIONS else None,
        textfont={"color": INK},
        hovertemplate="%{y}: %{customdata}<br>sampled %{z:,} times<extra></extra>",
    )
    every = max(1, math.ceil(width / MOST_NUMBERED_OPTIONS))
    figure.update_xaxes(
        tickmode="array",
        tickvals=list(range(0, width, every)),
        ticktext=[str(label) for label in labels][::every],
        title_text=None if same else "option",
        showgrid=False,
        side="top",
        # Slanted names run into each other on a narrow page.
        autotickangles=[0, 90],
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_layout(margin={"t": 48, "b": 12})
    return figure
