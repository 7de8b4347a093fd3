"""FP-NAS on images: rows by entropy against a fixed number, and splits searched against equal ones.

    python experiments/fp-nas/run.py --data CIFAR

Each run trains a supernet with a distribution for as many steps, and differs in how many paths a
step has. What it comes to is trained from scratch: its most probable network within the limit, and
the most probable ones without attention and with split attention in every group. It can be stopped
at any time; the same command goes on.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import pyplot

import nas_hw
from nas_samplers import (
    Distribution,
    Optimiser,
    Phase,
    Uniform,
    likely_row,
    load_data,
    run_network,
    train,
    wrong_answers,
)
from nas_spaces import FeasibleSet, Limit, SearchSpace, published
from nas_spaces.torch import Network

HERE = Path(__file__).parent

FIRST = 14  # rows of the first step, as in the paper
SPACE, SHARE = "digits-fp-nas", 0.5
LAMBDA = FIRST / float(Distribution(published.load(SPACE)).entropy())  # rows a nat
WAYS: dict[str, dict[str, Any]] = {
    "λ H": {"distribution.rows_per_nat": LAMBDA},
    "λ H / 2": {"distribution.rows_per_nat": LAMBDA / 2},
    "K = 14": {"distribution.rows": FIRST},
    "K = 7": {"distribution.rows": FIRST // 2},
    "K = 14, joint": {"distribution.rows": FIRST, "distribution.joint": "true"},
}
SPLITS = {"searched": None, "none anywhere": 0, "2 everywhere": 1}
EPOCHS, BATCH, LR = 10, 32, 0.025


def run(given: Any, way: str, seed: int) -> None:
    """Do everything of one way and seed, as far as that is not done."""
    out = given.work / f"{common.plain(way).replace('λ', 'lambda')}-{seed}"
    log = common.log_of(out)
    images = ("--data", f"imagefolder:{given.data}", "--out", out, "--resume")
    if not (out / "train" / "summary.json").exists():
        begin = ("--method", "fpnas", "--config", HERE / "config.toml", "--seed", str(seed))
        own = {**WAYS[way], **common.size(given), **full(given)}
        common.nas("train", *begin, *common.settings(own), *images, log=log)
    result = out / "searches" / "main" / "result.json"
    if not result.exists():
        common.nas("search", out, "--resume", log=log)
    found, learned = common.read(result), common.read(out / "train" / "distribution.json")
    summary = common.read(out / "train" / "summary.json")
    samples = found["samples"]
    record = {
        "way": way,
        "seed": seed,
        "size": "full" if given.full else "reduced",
        "rows": learned["rows"],
        "sampled": learned["sampled"][-1],
        "entropy": [learned["entropy"][0], learned["entropy"][-1]],
        "seconds": summary["seconds"],
        "supernet_error": found["values"]["error"],
        "better_samples": samples["better"] / samples["evaluated"],
        "random_best_error": found["random_best_error"],
        "networks": networks(given, out, learned, seed),
    }
    common.keep(HERE, [record], ("size", "way", "seed"))


def full(given: Any) -> dict[str, Any]:
    """Return what differs at full size."""
    return {"train.epochs": 50, "images.held_out": 0.5} if given.full else {}


def networks(given: Any, out: Path, learned: common.Record, seed: int) -> common.Record:
    """Return what the most probable networks come to from scratch, of each kind of attention."""
    space = published.load(
        SPACE, resolution=common.resolution(given), in_channels=3, classes=len(classes(given))
    )
    distribution = Distribution.from_record(space, learned)
    macs = nas_hw.macs(space)
    most = SHARE * FeasibleSet(space).attainable(macs)[1]
    kept, known = out / "networks.json", {}
    if kept.exists():
        known = common.read(kept)
    for name, option in SPLITS.items():
        if name not in known:
            only = space if option is None else restricted(space, option)
            row, _ = likely_row(distribution, FeasibleSet(only, [Limit(macs, upper=most)]))
            known[name] = {
                "architecture": row.tolist(),
                "macs": int(macs([row])[0]),
                "top1": from_scratch(given, space.fix(row), seed),
            }
            common.write(kept, known)
    return known


def classes(given: Any) -> list[Path]:
    """Return the folders of the classes."""
    return [path for path in (given.data / "train").iterdir() if path.is_dir()]


def restricted(space: SearchSpace, option: int) -> SearchSpace:
    """Return the space with one kind of attention in all groups."""
    alive = space.mask.copy()
    for column, choice in enumerate(space.choices):
        if choice.name.endswith("attention"):
            alive[column] = False
            alive[column, option] = True
    return space.restrict(alive)


def from_scratch(given: Any, network: SearchSpace, seed: int) -> float:
    """Return the test top-1 [%] of a network that is trained alone."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if given.full else "cpu")
    data = load_data(
        f"imagefolder:{given.data}",
        resolution=common.resolution(given),
        device=device,
        seed=seed,
        held_out=0.5,
        subset=None if given.full else 25_000,
    )
    images = data.train_and_held_out
    module = Network(network, generator=torch.Generator().manual_seed(seed))
    phase = Phase(
        "alone",
        Uniform(network, rng=np.random.default_rng(seed)),
        steps=round((50 if given.full else EPOCHS) * len(images) / BATCH),
        optimiser=Optimiser(lr=LR, weight_decay=4e-5, schedule="cosine"),
        batch_size=BATCH,
        forward=run_network,
    )
    train(module, [phase], images, seed=seed, device=device)
    return round(
        100 * (1 - float(wrong_answers(module.eval(), data.test, device=device).mean())), 3
    )


def collect() -> None:
    """Rewrite the tables and the plot from results.json."""
    runs = common.largest(HERE)
    rows = []
    for way in WAYS:
        ones = [one for one in runs if one["way"] == way]
        if not ones:
            continue
        beside = {one["seed"]: one for one in runs if one["way"] == f"K = {FIRST}"}
        pairs = [(one, beside[one["seed"]]) for one in ones if one["seed"] in beside]
        rows.append(
            [
                way,
                str(len(ones)),
                common.spread((one["sampled"] for one in ones), ".0f"),
                common.spread(a["sampled"] / b["sampled"] for a, b in pairs),
                common.spread(a["seconds"] / b["seconds"] for a, b in pairs),
                common.spread((one["entropy"][1] for one in ones), ".1f"),
                common.spread((100 * one["supernet_error"] for one in ones), ".1f"),
                common.spread((100 * one["better_samples"] for one in ones), ".0f"),
                common.spread(one["networks"]["searched"]["top1"] for one in ones),
            ]
        )
    head = (
        "paths of a step",
        "seeds",
        "sampled",
        f"sampled / those of K = {FIRST}",
        f"seconds / those of K = {FIRST}",
        "entropy at the end [nats]",
        "supernet error of the mode [%]",
        "of 20 draws better than it [%]",
        "top-1 from scratch [%]",
    )
    splits = [
        [
            name,
            str(len(runs)),
            common.spread((one["networks"][name]["macs"] / 1e6 for one in runs), ".2f"),
            common.spread(one["networks"][name]["top1"] for one in runs),
        ]
        for name in SPLITS
    ]
    splits_head = ("splits of attention", "runs", "macs [M]", "top-1 from scratch [%]")
    text = [common.table(head, rows), common.table(splits_head, splits), "![rows](rows.svg)"]
    common.publish(HERE, "\n\n".join(text))

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for color, way in enumerate(WAYS):
        for number, one in enumerate(one for one in runs if one["way"] == way):
            label = way if number == 0 else None
            axes.plot(one["rows"], color=f"C{color}", alpha=0.7, label=label)
    axes.set_xlabel("moment of the record")
    axes.set_ylabel("paths of a step")
    axes.legend()
    common.save(figure, HERE / "rows.svg")


if __name__ == "__main__":
    given = common.arguments(__doc__, truth=False)
    unknown = set(given.only or ()) - set(WAYS)
    if unknown:
        raise SystemExit(f"--only {unknown.pop()!r}: the ways are {json.dumps([*WAYS])}")
    if not given.collect:
        for seed in given.seed:
            for way in WAYS:
                if not given.only or way in given.only:
                    run(given, way, seed)
    collect()
