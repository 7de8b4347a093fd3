import json
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from nas_cli.main import main

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
