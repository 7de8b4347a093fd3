import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from nas_cli.config import resolve, to_toml
from nas_cli.main import main
from nas_cli.seal import sealed
from nas_spaces import History, published, to_json

# A whole pipeline in a few seconds; nothing that it finds is worth anything.
TINY = {
    "threads": 1,
    "baselines": 2,
    "images.subset": 300,
    "train.epochs": 4,
    "train.checkpoint_every": 4,
    "search.population": 8,
    "search.parents": 4,
    "search.crossover": 4,
    "search.mutation": 4,
    "search.generations": 2,
    "retrain.epochs": 1,
    "retrain.checkpoint_every": 4,
}


def settings(**changes):
    """Return the options that set `TINY` with changes; a double underscore stands for a dot."""
    values = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def run_nas(*args):
    """Run a command in this process; an exception that is not told in a sentence is raised."""
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


@pytest.fixture(scope="session")
def nas():
    return run_nas


@pytest.fixture(scope="session")
def tiny():
    return settings


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished tiny pipeline: its folder; copy it to change it."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    result = run_nas("pipeline", "--out", path, *settings())
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A trained tiny supernet: its folder; copy it to change it."""
    path = tmp_path_factory.mktemp("runs") / "trained"
    result = run_nas("train", "--out", path, *settings())
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="session")
def edit_config():
    """Make a run one that was begun with other settings: ``edit_config(run, old, new)``."""

    def edit(run, old, new):
        path = run / "config.toml"
        text = path.read_text().partition("\n")[2]
        assert old in text
        path.write_text(sealed(text.replace(old, new, 1)))

    return edit


@attrs.define
class Forked:
    """`nas` in a process of its own."""

    process: subprocess.Popen
    folder: Path

    def __call__(self, *args, kill=None):
        """Return (exit status, what was said)."""
        output = self.folder / "output"
        job = {"args": [str(arg) for arg in args], "output": str(output), "kill": kill}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        status = self.process.stdout.readline()
        assert status, "the process that runs `nas` has ended"
        return int(status), output.read_text()


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    script = Path(__file__).with_name("forked_nas.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Forked(process, tmp_path_factory.mktemp("forked"))
        process.stdin.close()


@pytest.fixture(scope="session")
def draw_images():
    """Write a folder of random images: ``draw_images(folder, classes, count=, side=)``."""

    def draw(folder, classes, count=4, side=32):
        rng = np.random.default_rng(0)
        for number, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 100, (side, side, 3)) + 50 * number
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / name / f"{index}.png")
        return folder

    return draw


class Page:
    """What a report says and draws: its text, and its plots by their labels."""

    def __init__(self, run):
        from nas_cli.report import write_report  # with all of plotly, for few of the tests

        # Without plotly itself, which is 40 times the rest.
        self.html = write_report(run).read_text(encoding="utf-8").split("<script>")[0]
        plots = r'aria-label="([^"]*)"[^>]*></div>\s*<script type="application/json">(.*?)</script>'
        self.figures = {
            unescape(label): json.loads(data)
            for label, data in re.findall(plots, self.html, flags=re.DOTALL)
        }
        shown = re.sub(r"<(style|script).*?</\1>", " ", self.html, flags=re.DOTALL)
        self.text = " ".join(unescape(re.sub(r"<[^>]*>", "", shown)).split())

    def figure(self, label):
        """Return the only plot whose label begins so."""
        [found] = [figure for name, figure in self.figures.items() if name.startswith(label)]
        return found

    def trace(self, label, name):
        """Return the only trace of that name in a plot."""
        [found] = [one for one in self.figure(label)["data"] if one.get("name") == name]
        return found


class MadeRun(SimpleNamespace):
    """A run's folder that a test fills with made-up files: its ``path`` and ``space``."""

    def write(self, name, content):
        """Write a file of the run: a text, or an object as JSON."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")

    def page(self):
        return Page(self.path)


@pytest.fixture
def make_run(tmp_path):
    """Begin a `MadeRun` with what every run has: ``make_run(name, **settings)``."""

    def make(name="made", *, space="digits-mobile", **settings):
        run = MadeRun(path=tmp_path / name, space=published.load(space))
        run.write("config.toml", to_toml(resolve([{"data": "digits", "space": space, **settings}])))
        run.write("space.json", to_json(run.space))
        return run

    return make


class Compared:
    """Comparisons of made-up searches: at most 40 evaluations, the best 75 %, the mark 70 %."""

    budget, best, mark = 40, 0.25, 0.3

    def setting(self, methods, seeds=8):
        from nas_cli.compare_question import question_of
        from nas_cli.compare_result import Setting  # with scipy, for few of the tests
        from nas_cli.truth import Named, Truth

        asked = {"space": "nas-bench-201", "truth": "t.csv", "budget": self.budget, "seeds": seeds}
        none = Named(0, ())
        rows, accuracy = np.zeros((1, 6), dtype=np.int64), np.array([75.0])
        return Setting(
            question=question_of({**asked, "methods": ",".join(methods)}),
            truth=Truth("t.csv", "0" * 64, "top1", rows, accuracy, None, none, none, 0),
            architectures=100,
            by="row",
            best=self.best,
            mark=self.mark,
            at_mark=3,
            limits=(),
            cost="training",
            cost_unit="multiply-adds",
        )

    def searched(self, reached, budget=budget, cost=2.0):
        """Return a history that reaches the mark with evaluation ``reached``, None for never."""
        error = np.full(budget, 0.5)
        if reached is not None:
            error[reached - 1 :] = [0.28] + [self.best] * (budget - reached)
        values = np.stack([error, np.full(budget, cost)], axis=1)
        archs = np.zeros((budget, 6), dtype=np.int64)
        return History(("error", "training"), ("1", "multiply-adds"), archs, values)

    def record(self, **methods):
        """Return the record of searches that reach the mark with these evaluations."""
        seeds = len(next(iter(methods.values())))
        found = {name: [self.searched(one) for one in taken] for name, taken in methods.items()}
        return self.describe(found, seeds)

    def describe(self, found, seeds=8):
        """Return the record of histories by method."""
        from nas_cli.compare_result import describe

        return describe(self.setting(found, seeds), found)


@pytest.fixture(scope="session")
def compared():
    return Compared()
