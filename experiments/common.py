"""What the experiments share: running `nas`, one record a run, and a results file that grows.

Every run stands in a folder of its own under ``--work`` and is gone on with where it was stopped,
so that seeds can be spread over days and machines: ``results.json`` is merged by run.
"""

import argparse
import datetime
import json
import math
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from filelock import FileLock

import nas_hw
from nas_search import Ratio
from nas_spaces import FeasibleSet, published
from nas_spaces.files import replace_file

mpl.use("svg")
from matplotlib import pyplot
from matplotlib.figure import Figure

Record = dict[str, Any]


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of what all experiments are told."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for the runs")
    parser.add_argument("--only", action="append", help="run these variants only")
    parser.add_argument("--collect", action="store_true", help="run nothing; redo table and plot")
    return parser


def arguments(about: str | None, *, truth: bool = True) -> argparse.Namespace:
    """Return the command line of an experiment that trains supernets; ``truth``: with a table."""
    told = parser(about)
    told.add_argument(
        "--data", type=Path, required=True, help="CIFAR-10 as folders: train/CLASS, test/CLASS"
    )
    if truth:
        told.add_argument("--truth", type=Path, required=True, help="NAS-Bench-Macro's JSON file")
    told.add_argument(
        "--seed", type=int, action="append", help="a seed; may be given several times [0, 1, 2]"
    )
    told.add_argument(
        "--full", action="store_true", help="for a GPU: 32 pixels, all images, 50 epochs of paths"
    )
    given = told.parse_args()
    given.seed = given.seed or [0, 1, 2]
    return given


def nas(*command: str | Path, log: Path) -> None:
    """Run one ``nas`` command; what it says to a person goes to ``log``.

    Raises:
        SystemExit: it failed; the end of the log says why.
    """
    words = [sys.executable, "-m", "nas_cli.main", *map(str, command)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, check=False)  # noqa: S603
    if done.returncode:
        tail = "\n".join(log.read_text().splitlines()[-5:])
        raise SystemExit(f"`nas {' '.join(map(str, command))}` failed:\n{tail}")


def size(given: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the full size over those of the config file; none if reduced."""
    if not given.full:
        return {}
    return {
        "resolution": resolution(given),
        "images.subset": "none",
        "images.held_out": 0.1,
        "threads": "none",
    }


def resolution(given: argparse.Namespace) -> int:
    """Return the side of the images [pixels]."""
    return 32 if given.full else 16


def epochs(given: argparse.Namespace) -> float:
    """Return the epochs of single paths: what all supernets of an experiment cost."""
    return 50 if given.full else 20


def settings(values: Mapping[str, Any]) -> list[str]:
    """Return ``--set`` options of the command line."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def read(path: Path) -> Record:
    """Return the object in a JSON file."""
    value: Record = json.loads(path.read_text())
    return value


def write(path: Path, value: Record) -> None:
    """Write an object as a JSON file, whole or not at all."""
    replace_file(path, json.dumps(value, indent=1) + "\n")


def device() -> str:
    """Return what the runs are computed on, in words."""
    cpu = f"{platform.machine()} CPU"
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    return f"{name}, torch {torch.__version__}"


def stamp() -> Record:
    """Return on what and when something is measured."""
    return {
        "device": device(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def keep(folder: Path, records: Iterable[Record], key: Sequence[str]) -> list[Record]:
    """Merge records into ``folder/results.json``: those with equal ``key`` fields are replaced."""
    path = folder / "results.json"
    # Several seeds may run at once.
    with FileLock(f"{path}.lock"):
        runs = {_key(one, key): one for one in (read(path)["runs"] if path.exists() else [])}
        for record in records:
            before = runs.get(_key(record, key), {})
            # A record that is collected again keeps where and when it was measured.
            measured = stamp()
            if before == record | {name: before.get(name) for name in measured}:
                measured = {name: before[name] for name in measured}
            runs[_key(record, key)] = {**record, **measured}
        ordered = [runs[one] for one in sorted(runs)]
        write(path, {"runs": ordered})
    return ordered


def log_of(out: Path) -> Path:
    """Return the file for what the commands of a run say."""
    return out.parent / f"{out.name}.log"


def plain(name: str) -> str:
    """Return a name that a folder can have."""
    return "".join(c for c in name.replace(" ", "-") if c.isalnum() or c in "-.")


def possible(truth: Record, limit: int, resolution: int) -> list[float]:
    """Return the accuracies [%] of all of NAS-Bench-Macro within a limit.

    ``limit``: on macs, in per cent of the largest network's. ``resolution``: that was searched at.
    """
    space = published.load("nas-bench-macro", resolution=resolution)
    macs = nas_hw.macs(space)
    archs = np.array([[int(option) for option in name] for name in truth])
    within = macs(archs) <= limit / 100 * FeasibleSet(space).attainable(macs)[1]
    accuracies = np.array([one["mean_acc"] for one in truth.values()])
    return [float(value) for value in accuracies[within]]


def largest(folder: Path) -> list[Record]:
    """Return the runs of ``folder/results.json`` at full size, or the reduced ones without them.

    Raises:
        SystemExit: no run is recorded.
    """
    if not (folder / "results.json").exists():
        raise SystemExit(f"{folder / 'results.json'} is missing: no run is recorded yet")
    runs: list[Record] = read(folder / "results.json")["runs"]
    return [one for one in runs if one["size"] == "full"] or runs


def _key(record: Record, key: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(record[name]) for name in key)


def spread(values: Iterable[float | None], form: str = ".2f") -> str:
    """Return the mean and the range of a few seeds' values: ``0.53 (0.50 to 0.55)``."""
    known = np.array([value for value in values if value is not None], dtype=float)
    if not len(known):
        return "-"
    if len(known) == 1:
        return f"{known[0]:{form}} (one seed)"
    return f"{known.mean():{form}} ({known.min():{form}} to {known.max():{form}})"


def uncensored(evaluations: Iterable[float | None]) -> list[float]:
    """Return what searches needed, inf for None: more than their budget."""
    return [math.inf if one is None else one for one in evaluations]


def within(value: float, budget: int) -> str:
    """Return a number of evaluations, or that it is above the budget."""
    return f"{value:g}" if math.isfinite(value) else f"above {budget}"


def times(ratio: Ratio) -> str:
    """Return how many times fewer evaluations a search takes, with its interval."""
    known = f"{ratio.at_least:.1f}"
    if ratio.at_most != ratio.at_least:
        known = f"above {known}" if math.isinf(ratio.at_most) else f"below {ratio.at_most:.1f}"
    high = f"{ratio.high:.1f}" if math.isfinite(ratio.high) else "open"
    return f"{known} ({ratio.low:.1f} to {high})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def publish(folder: Path, text: str, name: str = "results") -> None:
    """Put ``text`` between the two marks of a name in ``folder/README.md``."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    path = folder / "README.md"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; the same figure gives the same file."""
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
