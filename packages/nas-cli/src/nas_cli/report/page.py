"""Writing the page."""

from pathlib import Path

import numpy as np
import plotly.offline
from jinja2 import Environment, PackageLoader, StrictUndefined

from nas_cli.report import words
from nas_cli.report.figures import draw_figures
from nas_cli.report.images import cosine_colour, grey_images
from nas_cli.report.reading import load_run
from nas_cli.report.views import (
    largest_first,
    view_alphas,
    view_headline,
    view_rank,
    view_searches,
)
from nas_spaces import replace_file

__all__ = ["environment", "write_report"]


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Raises:
        InputError: see `load_run`.
        OSError: the file cannot be written; an older report is left as it was.
    """
    data = load_run(run)
    # The same files give the same page: its bootstrap intervals are drawn from a fixed seed.
    searches = view_searches(data, rng=np.random.default_rng(0))
    ranks = [view_rank(rank) for rank in data.ranks]
    alphas = view_alphas(data)
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            run=data,
            judged="search" if data.alone else "supernet",
            headline=view_headline(data),
            searches=searches,
            ranks=ranks,
            verdicts=largest_first(ranks),
            alphas=alphas,
            sampling=words.SAMPLING.get(data.config.supernet.sampler or ""),
            joint=data.config.supernet.sampler in words.JOINT,
            plots=draw_figures(data, searches, ranks, alphas),
            plotlyjs=plotly.offline.get_plotlyjs(),
        )
    )
    path = Path(run) / "report.html"
    replace_file(path, html)
    return path


def environment() -> Environment:
    """Return what turns the templates into pages."""
    made = Environment(
        loader=PackageLoader("nas_cli", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "amount": words.amount,
        "si": words.si,
        "top1": words.top1,
        "duration": words.duration,
        "signed": words.signed,
        "points": words.points,
        "sentence": words.sentence,
        "tau": words.tau,
        "cost_word": words.cost_word,
        "capital": words.capital,
        "cosine_colour": cosine_colour,
        "grey_images": grey_images,
    }
    return made
