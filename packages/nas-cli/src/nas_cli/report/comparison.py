"""The page of a comparison of methods."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import plotly.offline

from nas_cli.compare_text import (
    between,
    cost_text,
    evaluations_text,
    interval_text,
    median_text,
    p_text,
    ratio_text,
)
from nas_cli.report import plots
from nas_cli.report.figures import drawn_figure
from nas_cli.report.files import parse, text_of
from nas_cli.report.page import environment
from nas_cli.report.plots.style import Floats
from nas_spaces import replace_file

__all__ = ["write_comparison"]


def write_comparison(folder: Path, record: dict[str, Any]) -> Path:
    """Write ``report.html`` into a comparison's folder and return its path.

    Args:
        folder: with ``curves.csv``.
        record: what ``comparison.json`` holds.

    Raises:
        InputError: a file of the folder that is missing or damaged.
    """
    names = [one["name"] for one in record["methods"]]
    path = folder / "curves.csv"
    curves = parse(path, lambda: _curves(text_of(path), names, record["budget"]))
    figures = {
        "curves": plots.best_curves(curves, mark=record["mark"]["accuracy"], best=record["best"]),
        "reached": plots.mark_reached(
            {one["name"]: one["evaluations"]["searches"] for one in record["methods"]},
            budget=record["budget"],
        ),
    }
    made = environment()
    made.filters |= {
        "ratio": ratio_text,
        "ratio_interval": interval_text,
        "p": p_text,
        "cost": cost_text,
    }
    html = made.get_template("compare.html.j2").render(
        name=folder.name or folder.resolve().name,
        record=record,
        against={name: between(record, names[0], name) for name in names[1:]},
        taken=lambda value: evaluations_text(value, record["budget"]),
        median=lambda method: median_text(method, record),
        settings=json.dumps({one["name"]: one["settings"] for one in record["methods"]}, indent=1),
        plots={key: drawn_figure(figure) for key, figure in figures.items()},
        plotlyjs=plotly.offline.get_plotlyjs(),
    )
    page = folder / "report.html"
    replace_file(page, html)
    return page


def _curves(text: str, names: list[str], budget: int) -> dict[str, Floats]:
    """Return the quartiles ``[budget, 3]`` of each method."""
    _, *lines = csv.reader(io.StringIO(text))
    found = {
        name: np.array([line[2:] for line in lines if line[0] == name], dtype=np.float64)
        for name in names
    }
    for name, bands in found.items():
        if bands.shape != (budget, 3):
            raise ValueError(f"it has {bands.shape} numbers of {name}; expected {(budget, 3)}")
    return found
