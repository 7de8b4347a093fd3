"""Two against four branches: BetaNAS, section 4.3.2 and figure 6.

    python experiments/betanas/branches.py --data CIFAR

Two blocks choose between a 1x1 and a 3x3 convolution: four networks 00, 01, 10, 11. Each is
trained alone, in the two supernets of two branches that hold it (one block is fixed), and in the
supernet of all four; epochs are in proportion to the branches, so that every network gets as many
steps. Accuracies are of the test images, norms recalibrated. One seed at a time; a seed that is
in branches.json already is left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import common

from nas_samplers import Optimiser, Phase, SupernetError, Uniform, load_data, train
from nas_search import kendall
from nas_spaces import Block, Choice, SearchSpace
from nas_spaces.layers import Classifier, Conv, Pool
from nas_spaces.torch import Supernet

HERE = Path(__file__).parent
ARCHS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
NAMES = ["00", "01", "10", "11"]
EPOCHS = 30  # of one network alone, as in the paper
IMAGES, RESOLUTION, BATCH, LR = 10_000, 16, 128, 0.1
# Which options of the two blocks a supernet holds.
SUPERNETS = {
    "alone": [([a], [b]) for a in (0, 1) for b in (0, 1)],
    "two branches": [([0], [0, 1]), ([1], [0, 1]), ([0, 1], [0]), ([0, 1], [1])],
    "four branches": [([0, 1], [0, 1])],
}


def space() -> SearchSpace:
    """Return the space of the four networks, for images of CIFAR-10 at the reduced size."""
    kernels = (1, 3)
    choices = [Choice(name, kernels) for name in ("first", "second")]
    blocks = [Block("stem", [Conv(32, stride=2)])]
    for choice in choices:
        blocks.append(
            Block(choice.name, [Conv(64, kernel=k) for k in kernels], reads=[choice.name])
        )
    blocks += [Block("pool", [Pool("max", kernel=2, stride=2)]), Block("head", [Classifier(10)])]
    return SearchSpace("branches", (3, RESOLUTION, RESOLUTION), choices, blocks)


def accuracies(data: Path, seed: int) -> dict[str, list[list[float | None]]]:
    """Return top-1 [%] by kind of supernet: one row a supernet, one entry a network."""
    images = load_data(
        f"imagefolder:{data}",
        resolution=RESOLUTION,
        device="cpu",
        seed=seed,
        subset=IMAGES + 1000,
        held_out=1000 / (IMAGES + 1000),
    )
    recalibration = [x for x, _ in images.train.fixed_batches(500, count=4, seed=seed)]
    judged = list(images.test.fixed_batches(500))
    whole, found = space(), {}
    for kind, supernets in SUPERNETS.items():
        found[kind] = []
        for number, options in enumerate(supernets):
            alive = np.zeros((2, 2), dtype=bool)
            for column, live in enumerate(options):
                alive[column, live] = True
            part = whole.restrict(alive)
            supernet = Supernet(part, generator=torch.Generator().manual_seed(seed))
            branches = int(alive[0].sum() * alive[1].sum())
            phase = Phase(
                kind,
                Uniform(part, rng=np.random.default_rng([seed, number])),
                steps=round(EPOCHS * branches * len(images.train) / BATCH),
                optimiser=Optimiser(lr=LR, schedule="cosine"),
                batch_size=BATCH,
            )
            train(supernet, [phase], images.train, seed=seed, device=torch.device("cpu"))
            held = [row for row in range(4) if alive[[0, 1], ARCHS[row]].all()]
            errors = SupernetError(supernet, recalibration, judged)(ARCHS[held])
            top1: list[float | None] = [None] * 4
            for row, error in zip(held, errors.tolist(), strict=True):
                top1[row] = round(100 * (1 - error), 2)
            found[kind].append(top1)
            print(seed, kind, options, top1, flush=True)
    return found


def collect() -> str:
    """Return the table of all seeds in Markdown."""
    runs = common.read(HERE / "branches.json")["runs"]
    rows = []
    for kind in SUPERNETS:
        means = [
            [_mean([one[name] for one in run["top1"][kind]]) for name in range(4)] for run in runs
        ]
        taus = [
            kendall(
                row,
                [_mean([one[name] for one in run["top1"]["alone"]]) for name in range(4)],
                rng=np.random.default_rng(0),
            ).tau
            for row, run in zip(means, runs, strict=True)
        ]
        cells = [common.spread((row[name] for row in means), ".1f") for name in range(4)]
        rows.append([kind, *cells, common.spread(taus) if kind != "alone" else "1"])
    return common.table(["trained", *(f"{name} [%]" for name in NAMES), "tau with alone"], rows)


def _mean(values: list[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, action="append")
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "branches.json"
    for seed in given.seed or [0, 1, 2]:
        runs = common.read(path)["runs"] if path.exists() else []
        if seed in [run["seed"] for run in runs]:
            continue
        found = {"seed": seed, **common.stamp(), "top1": accuracies(given.data, seed)}
        runs.append(found)
        common.write(path, {"runs": runs})
    common.publish(HERE, collect(), "branches")
