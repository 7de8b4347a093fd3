"""Channels and bits: searched against the usual ones, and blocks first against all at once.

    python experiments/channels-bits/run.py --data CIFAR

Of each seed and variant a supernet is trained, searched within limits, and what was found is
trained from scratch beside what it is compared with:

- ``channels``: the channels inside the blocks of one network of NAS-Bench-Macro, at its
  multiply-adds, against its own channels and random ones.
- ``bits``: bits and channels of ResNet-20, at the BitOPs of 2, 3 and 4 bits everywhere, against
  those and random ones.
- ``two-stage``: blocks of ResNet-20 first, then bits and channels of what was found, each supernet
  with half of the passes; at the same BitOPs.
- ``joint``: blocks, bits and channels in one supernet, at the same BitOPs and as many passes.

It can be stopped at any time; the same command goes on.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import pyplot

import nas_hw
from nas_cli.spaces import load_space
from nas_search import hypervolume
from nas_spaces import SearchSpace
from nas_spaces.vary import uniform_bits, usual_channels

HERE = Path(__file__).parent

NETWORK = "nas-bench-macro@2,2,2,1,2,2,2,0+channels"
BITS = "+bits+channels=0.5,1,1.5"
SPACES = {"bits": f"resnet20{BITS}", "joint": f"resnet20-blocks{BITS}"}
BLOCKS = "resnet20-blocks"
BUDGET_BITS = (2, 3, 4)  # the numbers of bits whose BitOPs are the budgets
EQUAL = 0.97  # what counts as equal cost: from so much of a budget up to all of it
RANDOMS = {"channels": 4, "bits": 2}
VARIANTS = ("channels", "bits", "two-stage", "joint")


def run(given: Any, variant: str, seed: int) -> None:
    """Do everything of one variant and seed, as far as that is not done."""
    out = given.work / f"{variant}-{seed}"
    resolution = common.resolution(given)
    if variant == "channels":
        space = load_space(NETWORK, resolution=resolution)
        macs = nas_hw.macs(space)([usual_channels(space, [0] * space.num_choices)])[0]
        train(given, out, seed, NETWORK, 1.0)
        records = [found(out, "usual", "macs", int(macs), variant, ["channels"])]
    else:
        if variant == "two-stage":
            blocks = given.work / f"blocks-{seed}"
            train(given, blocks, seed, BLOCKS, 0.5)
            plain = nas_hw.macs(load_space("resnet20", resolution=resolution))([[]])[0]
            search(blocks, "main", "macs", int(plain))
            train(given, out, seed, BITS, 0.5, "--blocks", blocks)
        else:
            train(given, out, seed, SPACES[variant], 1.0)
        records = [
            found(
                out,
                f"{bits}-bits",
                "bitops",
                budget(resolution, bits),
                variant,
                [f"{bits}w{bits}a"] if variant == "bits" else [],
            )
            for bits in BUDGET_BITS
        ]
    size = "full" if given.full else "reduced"
    ones = [{"variant": variant, "seed": seed, "size": size, **one} for one in records]
    common.keep(HERE, ones, ("size", "variant", "budget", "seed"))


def budget(resolution: int, bits: int) -> int:
    """Return the BitOPs of ResNet-20 with so many bits everywhere."""
    space: SearchSpace = load_space("resnet20", resolution=resolution)
    return int(nas_hw.bitops(uniform_bits(space, (), bits))([[]])[0])


def train(given: Any, out: Path, seed: int, space: str, share: float, *more: str | Path) -> None:
    """Train a supernet with a share of the passes, unless that is done."""
    if (out / "train" / "summary.json").exists():
        return
    own = {"train.epochs": share * common.epochs(given), **common.size(given)}
    begin = ("--config", HERE / "config.toml", "--seed", str(seed), "--space", space)
    images = ("--data", f"imagefolder:{given.data}", "--out", out, "--resume")
    common.nas("train", *begin, *more, *common.settings(own), *images, log=common.log_of(out))


def search(out: Path, name: str, cost: str, most: int) -> common.Record:
    """Search a supernet within a limit, unless that is done; return the result."""
    result = out / "searches" / name / "result.json"
    if not result.exists():
        least = int(EQUAL * most)
        limits = ("--limit", f"{cost}<={most}", "--limit", f"{cost}>={least}")
        common.nas("search", out, "--name", name, *limits, "--resume", log=common.log_of(out))
    return common.read(result)


def found(
    out: Path, name: str, cost: str, most: int, variant: str, references: list[str]
) -> common.Record:
    """Search within a limit and train from scratch; return what came of it."""
    best = search(out, name, cost, most)
    result = out / "searches" / name / "retrain" / "result.json"
    if not result.exists():
        own = {"baselines": RANDOMS.get(variant, 0), "references": references}
        common.nas("retrain", out, "--name", name, *common.settings(own), log=common.log_of(out))
    networks = common.read(result)["candidates"]
    return {
        "budget": name,
        "cost": cost,
        "most": most,
        "architecture": best["winner"],
        "supernet_error": best["values"]["error"],
        "random_supernet_error": best["random_best_error"],
        "winner": networks[0]["top1"],
        "winner_cost": {"macs": networks[0]["macs"], **networks[0]["costs"]}[cost],
        "random": [one["top1"] for one in networks if one["name"].startswith("random-")],
        "reference": [one["top1"] for one in networks if one["name"] in references],
    }


def collect() -> None:
    """Rewrite the tables and the plot from results.json."""
    runs = common.largest(HERE)
    named = [*(f"{bits}-bits" for bits in BUDGET_BITS)]
    head = ("channels at equal multiply-adds", "seeds", "top-1 from scratch [%]")
    ones = [one for one in runs if one["variant"] == "channels"]
    rows = [
        ["searched", str(len(ones)), common.spread(one["winner"] for one in ones)],
        ["usual", str(len(ones)), common.spread(top1 for one in ones for top1 in one["reference"])],
        ["random", str(len(ones)), common.spread(np.mean(one["random"]) for one in ones)],
    ]
    text = [common.table(head, rows)] if ones else []
    kinds = [
        ("the same bits everywhere", "bits", lambda one: one["reference"][0]),
        ("random bits and channels", "bits", lambda one: float(np.mean(one["random"]))),
        ("bits and channels searched", "bits", lambda one: one["winner"]),
        ("blocks first, then bits and channels", "two-stage", lambda one: one["winner"]),
        ("blocks, bits and channels at once", "joint", lambda one: one["winner"]),
    ]
    rows, lines = [], {}
    for label, variant, value in kinds:
        cells = []
        for name in named:
            at = [o for o in runs if (o["variant"], o["budget"]) == (variant, name)]
            cells.append(common.spread(value(one) for one in at))
            if at:
                lines.setdefault(label, []).append(
                    (at[0]["most"] / 2**30, np.mean([value(one) for one in at]))
                )
        seeds = {one["seed"] for one in runs if one["variant"] == variant}
        volume = common.spread((volume_of(runs, variant, seed, value) for seed in seeds), ".3f")
        if seeds:
            rows.append([label, str(len(seeds)), *cells, volume])
    if rows:
        budgets = [f"top-1 at the BitOPs of {bits} bits [%]" for bits in BUDGET_BITS]
        text.append(common.table(("ResNet-20", "seeds", *budgets, "hypervolume"), rows))
        text.append(
            "Hypervolume: of error (up to 100 %) and BitOPs (up to those of 4 bits everywhere), as "
            "a share of both."
        )
        text.append("![top-1](top1.svg)")
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for label, points in lines.items():
            axes.plot(*zip(*points, strict=True), "o-", label=label)
        axes.set_xlabel("BitOPs [G of 2^30]")
        axes.set_ylabel("top-1 from scratch [%]")
        axes.legend()
        common.save(figure, HERE / "top1.svg")
    common.publish(HERE, "\n\n".join(text))


def volume_of(runs: list[common.Record], variant: str, seed: int, value: Any) -> float | None:
    """Return the share of error x BitOPs that a seed's networks dominate, None if incomplete."""
    ones = [one for one in runs if (one["variant"], one["seed"]) == (variant, seed)]
    if len(ones) < len(BUDGET_BITS):
        return None
    most = max(one["most"] for one in ones)
    points = np.array([[1 - value(one) / 100, one["most"] / most] for one in ones])
    return float(hypervolume(points, np.array([1.0, 1.0])))


if __name__ == "__main__":
    given = common.arguments(__doc__, truth=False)
    unknown = set(given.only or ()) - set(VARIANTS)
    if unknown:
        raise SystemExit(f"--only {unknown.pop()!r}: the variants are {', '.join(VARIANTS)}")
    if not given.collect:
        for seed in given.seed:
            for variant in VARIANTS:
                if not given.only or variant in given.only:
                    run(given, variant, seed)
    collect()
