"""A pool of trained blocks on real training: within one task, and from one task to another.

    python experiments/fnas/pool.py --data CIFAR --truth nas-bench-macro_cifar10.json

Two tasks, of five classes of CIFAR-10 each. Networks of NAS-Bench-Macro are trained alone for few
epochs, from scratch and from a pool of those before them: of the same task (first half), or of the
other task to begin with (second half). How well their errors rank them is judged by the accuracies
that the benchmark has. It can be stopped at any time; the same command goes on.
"""

import argparse
import itertools
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import common

from nas_samplers import KnowledgePool, Optimiser, StandaloneError, Training, load_data
from nas_search import kendall, tau_difference
from nas_spaces import published
from nas_spaces.jsonable import from_jsonable, to_jsonable

HERE = Path(__file__).parent
RESOLUTION, IMAGES = 16, 3000  # a third of them to judge
NETWORKS, BATCH, STEP = 40, 10, 32  # STEP: images of one
EPOCHS = (1, 2, 4, 8)
HALVES = {"first": slice(0, 5), "second": slice(5, 10)}  # of the classes by name
# Which half is trained, and whose pool it begins with: none, an empty one, to which all add, or the
# other half's, from which all begin as it was: in one batch, or their own blocks would replace it.
WAYS = {
    "scratch, first": ("first", None),
    "pool, first": ("first", "own"),
    "scratch, second": ("second", None),
    "pool, second": ("second", "own"),
    "pool of the first, second": ("second", "pool, first"),
}


def architectures(seed: int) -> np.ndarray:
    """Return the networks ``[n, 8]``, all different."""
    space = published.load("nas-bench-macro", resolution=RESOLUTION)
    rows = space.sample(4 * NETWORKS, rng=np.random.default_rng(seed))
    rows = rows[np.sort(np.unique(space.canonical(rows), axis=0, return_index=True)[1])]
    assert len(rows) >= NETWORKS
    return rows[:NETWORKS]


def half_of(data: Path, half: str, work: Path) -> Path:
    """Return a folder with links to the images of some classes."""
    classes = sorted(path.name for path in (data / "train").iterdir())[HALVES[half]]
    for part, name in itertools.product(("train", "test"), classes):
        link = work / half / part / name
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((data / part / name).absolute(), target_is_directory=True)
    return work / half


def pool_file(given: argparse.Namespace, way: str, epochs: int, seed: int) -> Path:
    """Return where the pool stands that a way leaves behind."""
    return Path(given.work / f"{common.plain(way)}-{epochs}-{seed}.safetensors")


def errors(given: argparse.Namespace, way: str, epochs: int, seed: int) -> list[float]:
    """Return the errors of all networks, trained in one way; goes on where it was stopped."""
    half, begun_with = WAYS[way]
    space = published.load("nas-bench-macro", resolution=RESOLUTION, classes=5)
    pool = None
    if begun_with == "own":
        pool = KnowledgePool()
    elif begun_with is not None:
        pool = KnowledgePool.load(pool_file(given, begun_with, epochs, seed))
    folder = given.work / f"{common.plain(way)}-{epochs}-{seed}"
    error = StandaloneError(
        space=space,
        images=partial(
            load_data,
            f"imagefolder:{half_of(given.data, half, given.work)}",
            resolution=RESOLUTION,
            device="cpu",
            seed=seed,
            held_out=1 / 3,
            subset=IMAGES,
        ),
        training=Training(
            optimiser=Optimiser(lr=0.025, weight_decay=4e-5),
            batch_size=STEP,
            epochs=epochs,
        ),
        folder=folder,
        seed=seed,
        pool=pool,
        task=half,
    )
    rows, kept, known = architectures(seed), folder / "state.json", []
    if kept.exists():
        saved = json.loads(kept.read_text())
        known = saved["errors"]
        error.load_state_dict(from_jsonable(saved["state"]))
    batch = BATCH if begun_with in (None, "own") else len(rows)
    for first in range(len(known), len(rows), batch):
        known += error(rows[first : first + batch]).tolist()
        common.write(
            kept, {"errors": known, "state": to_jsonable(error.state_dict(), "the metric")}
        )
    if error.failures:
        raise SystemExit(
            f"{way}: {len(error.failures)} networks failed: {error.failures[0].failed}"
        )
    if error.pool is not None:
        error.pool.save(pool_file(given, way, epochs, seed))
    return known


def collect(path: Path) -> str:
    """Return the table as Markdown."""
    runs = common.read(path)["runs"]
    rows = []
    for way, (half, begun_with) in WAYS.items():
        for epochs in EPOCHS:
            ones = [one for one in runs if (one["way"], one["epochs"]) == (way, epochs)]
            if not ones:
                continue
            taus, orders, gains, against, as_good = [], [], [], [], []
            for one in ones:
                rng = np.random.default_rng(one["seed"])
                score, truth = 1 - later(one["errors"]), later(one["truth"])
                taus.append(kendall(score, truth, rng=rng))
                orders.append(kendall(score, np.arange(len(score)), rng=rng).tau)
                if begun_with is None:
                    continue
                # The same networks and seed, by epochs.
                scratch = {
                    other["epochs"]: other["errors"]
                    for other in runs
                    if (other["way"], other["seed"]) == (f"scratch, {half}", one["seed"])
                }
                as_good.append(epochs_for(1 - float(score.mean()), scratch))
                from_scratch = 1 - later(scratch[epochs])
                gains.append(100 * float((score - from_scratch).mean()))
                against.append(tau_difference(score, from_scratch, truth, rng=rng))
            rows.append(
                [
                    way,
                    str(epochs),
                    common.spread(
                        (100 * float(later(one["errors"]).mean()) for one in ones), ".1f"
                    ),
                    "; ".join(interval(one.tau, one.low, one.high) for one in taus),
                    common.spread(orders, "+.2f"),
                    common.spread(gains, "+.1f"),
                    "; ".join(as_good) or "-",
                    "; ".join(interval(one.difference, one.low, one.high) for one in against)
                    or "-",
                ]
            )
    head = (
        "weights from, classes",
        "epochs",
        "mean error [%]",
        "tau (95 %), a seed each",
        "tau with the order of training",
        "accuracy gained [points]",
        "epochs from scratch for the same error",
        "tau gained (95 %)",
    )
    return common.table(head, rows)


def later(values: list[float]) -> np.ndarray:
    """Return the values of the networks behind the first batch, for which an empty pool is empty.

    They are left out of all ways, so that all speak of the same networks.
    """
    return np.array(values[BATCH:])


def epochs_for(error: float, scratch: dict[int, list[float]]) -> str:
    """Return how many epochs from scratch come to a mean error, linear in their logarithm.

    Args:
        error: in [0, 1].
        scratch: errors of the same networks, by epochs.
    """
    known = sorted((float(later(errors).mean()), epochs) for epochs, errors in scratch.items())
    means, epochs = zip(*known, strict=True)
    if error < means[0]:
        return f"above {max(epochs)}"
    if error > means[-1]:
        return f"below {min(epochs)}"
    return f"{2 ** np.interp(error, means, np.log2(epochs)):.1f}"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Return a value with its interval, or that there is none: equal errors have no order."""
    if value is None or low is None or high is None:
        return "undefined"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="CIFAR-10 as folders: train/CLASS, test/CLASS"
    )
    parser.add_argument("--truth", type=Path, required=True, help="NAS-Bench-Macro's JSON file")
    parser.add_argument("--work", type=Path, default=Path("runs/pool"), help="folder for the runs")
    parser.add_argument("--seed", type=int, action="append", help="[0, 1, 2]")
    given = parser.parse_args()
    path = HERE / "pool.json"
    for seed, epochs, way in itertools.product(given.seed or [0, 1, 2], EPOCHS, WAYS):
        runs = common.read(path)["runs"] if path.exists() else []
        key = {"way": way, "epochs": epochs, "seed": seed}
        if any(key.items() <= one.items() for one in runs):
            continue
        truth = common.read(given.truth)
        names = ["".join(map(str, row)) for row in architectures(seed).tolist()]
        found = {
            **key,
            **common.stamp(),
            "truth": [truth[name]["mean_acc"] for name in names],
            "errors": errors(given, way, epochs, seed),
        }
        common.write(path, {"runs": [*runs, found]})
    common.publish(HERE, collect(path), "pool")
