"""Channels and bits: searched against the usual ones, and blocks first against all at once.

    python experiments/channels-bits/run.py --data CIFAR

Of each seed and variant a supernet is trained, searched within limits, and what was found is
trained from scratch beside what it is compared with:

- ``channels``: the channels inside the blocks of ResNet-20, at its multiply-adds, against its own
  and random ones.
- ``bits``: bits and channels of ResNet-20, at the BitOPs of 2, 3 and 4 bits everywhere, against
  those and random ones.
- ``bits-float``: the same by a supernet that starts from that of ``channels``, which is in full
  precision, against what ``bits`` is compared with; beside it fewer bits of weights only.
- ``two-stage``: blocks first, within 1.25 times ResNet-20's multiply-adds, then bits and channels
  of what was found, each supernet with half of the passes; at the same BitOPs.
- ``joint``: blocks, bits and channels in one supernet, at the same BitOPs and as many passes.

It can be stopped at any time; the same command goes on.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import pyplot

import nas_hw
from nas_cli.opening import opened
from nas_cli.space_names import bits_text
from nas_cli.spaces import load_space
from nas_cli.stage_search import judge_again
from nas_search import hypervolume
from nas_spaces import SearchSpace
from nas_spaces.vary import uniform_bits, usual_channels

HERE = Path(__file__).parent

BITS = "+bits+channels=0.5,1,1.5,2"
SPACES = {
    "channels": "resnet20+channels=0.25,0.5,0.75,1,1.25,1.5,1.75,2",
    "blocks": "resnet20-blocks",
    "bits": f"resnet20{BITS}",
    "bits-float": f"resnet20{BITS}",
    "joint": f"resnet20-blocks{BITS}",
    "two-stage": BITS,  # of what was found
}
BUDGET_BITS = (2, 3, 4)  # the numbers of bits whose BitOPs are the budgets
EQUAL = 0.97  # what counts as equal cost: from so much of a budget up to all of it
BLOCKS_SHARE = 1.25  # of ResNet-20's multiply-adds, that blocks alone may have: channels can shrink
RANDOMS = {"channels": 2, "bits": 1}
# Times the epochs of the other experiments, also with --full: here many choices share each weight.
LONGER = 2
# What is trained beside a variant's winner of a budget: the same bits everywhere, at the budget;
# and at less, fewer bits of weights alone, of which supernets say that they do as well.
REFERENCES = {
    **{("bits", bits): [bits_text(bits, bits)] for bits in BUDGET_BITS},
    ("bits-float", max(BUDGET_BITS)): ["1w4a", "2w4a"],
}
# Where hypervolumes end: the error of chance [%], and BitOPs of so many bits everywhere.
CHANCE, END_BITS = 90.0, 5
# Whose supernets are asked of the same bits everywhere.
EQUAL_BITS = ("bits", "bits-float")
VARIANTS = ("channels", "bits", "bits-float", "two-stage", "joint")


def run(given: Any, variant: str, seed: int) -> None:
    """Do everything of one variant and seed, as far as that is not done."""
    out = given.work / f"{variant}-{seed}"
    resolution = common.resolution(given)
    if variant == "channels":
        macs = train_channels(given, out, seed)
        records = [found(out, "usual", "macs", macs, variant, ["channels"])]
    else:
        least, most = (budget(resolution, bits) for bits in (min(BUDGET_BITS), max(BUDGET_BITS)))
        within = paths(f"bitops>={int(EQUAL * least)}", f"bitops<={most}")
        if variant == "two-stage":
            blocks = given.work / f"blocks-{seed}"
            train(given, blocks, seed, SPACES["blocks"], 0.5)
            plain = nas_hw.macs(load_space("resnet20", resolution=resolution))([[]])[0]
            search(blocks, "main", "macs", int(BLOCKS_SHARE * plain), least=0)
            train(given, out, seed, SPACES[variant], 0.5, "--blocks", blocks, *within)
        elif variant == "bits-float":
            channels = given.work / f"channels-{seed}"
            train_channels(given, channels, seed)
            start = channels / "train" / "checkpoint.safetensors"
            train(given, out, seed, SPACES[variant], 1.0, "--weights", start, *within)
        else:
            train(given, out, seed, SPACES[variant], 1.0, *within)
        records = [
            found(
                out,
                f"{bits}-bits",
                "bitops",
                budget(resolution, bits),
                variant,
                REFERENCES.get((variant, bits), []),
            )
            for bits in BUDGET_BITS
        ]
        if variant in EQUAL_BITS:
            records[0]["equal_bits"] = equal_bits(out, records[0]["budget"])
    size = "full" if given.full else "reduced"
    ones = [{"variant": variant, "seed": seed, "size": size, **one} for one in records]
    common.keep(HERE, ones, ("size", "variant", "budget", "seed"))


def budget(resolution: int, bits: int) -> int:
    """Return the BitOPs of ResNet-20 with so many bits everywhere."""
    space: SearchSpace = load_space("resnet20", resolution=resolution)
    return int(nas_hw.bitops(uniform_bits(space, (), bits))([[]])[0])


def paths(*limits: str) -> list[str]:
    """Return the options of a supernet that is trained on paths of certain costs, as SPOS's are."""
    options = [word for limit in limits for word in ("--limit", limit)]
    return ["--set", "supernet.sampler=constrained", *options]


def train(given: Any, out: Path, seed: int, space: str, share: float, *more: str | Path) -> None:
    """Train a supernet with a share of the passes, unless that is done."""
    if (out / "train" / "summary.json").exists():
        return
    own = {"train.epochs": LONGER * share * common.epochs(given), **common.size(given)}
    begin = ("--config", HERE / "config.toml", "--seed", str(seed), "--space", space)
    images = ("--data", f"imagefolder:{given.data}", "--out", out, "--resume")
    common.nas("train", *begin, *more, *common.settings(own), *images, log=common.log_of(out))


def train_channels(given: Any, out: Path, seed: int) -> int:
    """Train the supernet of channels, unless that is done; return ResNet-20's multiply-adds."""
    space = load_space(SPACES["channels"], resolution=common.resolution(given))
    macs = int(nas_hw.macs(space)([usual_channels(space, [0] * space.num_choices)])[0])
    train(given, out, seed, SPACES["channels"], 1.0, *paths(f"macs<={macs}"))
    return macs


def equal_bits(out: Path, name: str) -> dict[str, float]:
    """Return the supernet's top-1 [%] of the usual channels with each bits everywhere.

    ``name``: a search of it, as which they are judged.
    """
    path = out / "equal-bits.json"
    if not path.exists():
        with opened(out, name, None) as shop:
            usual = usual_channels(shop.space, [0] * shop.space.num_choices)
            choices = list(shop.space.choices)
            bits = [choice.name.endswith("_bits") for choice in choices]
            rows = {
                bits_text(*pair): np.where(bits, option, usual)
                for option, pair in enumerate(choices[bits.index(True)].options)
            }
            errors = judge_again(shop, name, list(rows.values()))
        top1 = {one: 100 * (1 - error) for one, error in zip(rows, errors, strict=True) if error}
        common.write(path, top1)
    return common.read(path)


def search(out: Path, name: str, cost: str, most: int, *, least: float = EQUAL) -> common.Record:
    """Search a supernet from a share of a cost up to all of it, unless done; return the result."""
    result = out / "searches" / name / "result.json"
    if not result.exists():
        limits = ("--limit", f"{cost}<={most}", "--limit", f"{cost}>={int(least * most)}")
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
    randoms = [one for one in networks if one["name"].startswith("random-")]
    return {
        "budget": name,
        "cost": cost,
        "most": most,
        "architecture": best["winner"],
        "evaluated": best["evaluated"],
        "supernet_error": best["values"]["error"],
        "random_search_error": best["random_best_error"],
        "winner": networks[0]["top1"],
        "winner_cost": {"macs": networks[0]["macs"], **networks[0]["costs"]}[cost],
        "random": [one["top1"] for one in randoms],
        "random_supernet_error": [one["supernet_error"] for one in randoms],
        "reference": {one["name"]: one["top1"] for one in networks if one["name"] in references},
    }


KINDS: dict[str, tuple[str, Callable[[common.Record], float]]] = {
    "the same bits everywhere": (
        "bits",
        lambda one: one["reference"][REFERENCES["bits", int(one["budget"][0])][0]],
    ),
    "random bits and channels": ("bits", lambda one: float(np.mean(one["random"]))),
    "bits and channels searched": ("bits", lambda one: one["winner"]),
    "the same from full precision": ("bits-float", lambda one: one["winner"]),
    "blocks first, then bits and channels": ("two-stage", lambda one: one["winner"]),
    "blocks, bits and channels at once": ("joint", lambda one: one["winner"]),
}
"""What is compared at budgets of BitOPs: its name -> the variant and the top-1 of a record."""

PAIRS = (
    ("bits and channels searched", "the same bits everywhere"),
    ("bits and channels searched", "random bits and channels"),
    ("the same from full precision", "the same bits everywhere"),
    ("the same from full precision", "random bits and channels"),
    ("the same from full precision", "bits and channels searched"),
    ("blocks, bits and channels at once", "blocks first, then bits and channels"),
    ("blocks first, then bits and channels", "the same bits everywhere"),
    ("blocks, bits and channels at once", "the same bits everywhere"),
)


def of_channels(runs: list[common.Record]) -> str:
    """Return the table of channels at equal multiply-adds, empty without runs."""
    ones = [one for one in runs if one["variant"] == "channels"]
    values = {
        "searched": [one["winner"] for one in ones],
        "usual": [one["reference"]["channels"] for one in ones],
        "random, mean of two": [float(np.mean(one["random"])) for one in ones],
        "random, best of two": [max(one["random"]) for one in ones],
    }
    rows = [
        [
            name,
            str(len(ones)),
            common.spread(own),
            "-"
            if name == "searched"
            else common.spread(np.subtract(values["searched"], own).tolist(), "+.2f"),
        ]
        for name, own in values.items()
    ]
    head = (
        "channels at equal multiply-adds",
        "seeds",
        "top-1 from scratch [%]",
        "searched minus it [points]",
    )
    return common.table(head, rows) if ones else ""


def of_budgets(runs: list[common.Record]) -> list[str]:
    """Return the tables of networks at budgets of BitOPs, empty without runs."""
    names = [f"{bits}-bits" for bits in BUDGET_BITS]
    # Of each kind and seed the top-1 at each budget, and last the hypervolume.
    known: dict[str, dict[int, list[float | None]]] = {kind: {} for kind in KINDS}
    for kind, (variant, top1) in KINDS.items():
        for seed in sorted({one["seed"] for one in runs if one["variant"] == variant}):
            tops = {
                one["budget"]: top1(one)
                for one in runs
                if (one["variant"], one["seed"]) == (variant, seed)
            }
            known[kind][seed] = [*(tops.get(name) for name in names), volume_of(tops)]
    rows = [
        [kind, str(len(seeds)), *spreads(list(seeds.values()))]
        for kind, seeds in known.items()
        if seeds
    ]
    pairs = []
    for first, second in PAIRS:
        both = sorted(known[first].keys() & known[second].keys())
        differences = [
            [
                None if a is None or b is None else a - b
                for a, b in zip(known[first][seed], known[second][seed], strict=True)
            ]
            for seed in both
        ]
        if both:
            pairs.append([f"{first} minus {second}", str(len(both)), *spreads(differences, "+")])
    budgets = [f"at the BitOPs of {bits} bits" for bits in BUDGET_BITS]
    head = ("top-1 from scratch [%]", "seeds", *budgets, "hypervolume")
    pairs_head = ("difference by seed [points]", "seeds", *budgets, "hypervolume")
    tables = [common.table(head, rows)] if rows else []
    return [*tables, common.table(pairs_head, pairs)] if pairs else tables


def of_equal_bits(runs: list[common.Record]) -> str:
    """Return what the same bits everywhere have by supernets and from scratch, as a table."""
    ones = [one for one in runs if "equal_bits" in one]
    if not ones:
        return ""
    names = list(ones[0]["equal_bits"])
    rows = [
        [f"by the supernet of `{variant}`", str(len(own))]
        + [common.spread([one["equal_bits"][name] for one in own]) for name in names]
        for variant in EQUAL_BITS
        if (own := [one for one in ones if one["variant"] == variant])
    ]
    alone = {
        name: [one["reference"][name] for one in runs if name in one["reference"]] for name in names
    }
    trained = [common.spread(tops) if tops else "-" for tops in alone.values()]
    rows.append(["from scratch", str(max(map(len, alone.values()))), *trained])
    head = ("the usual channels with the same bits everywhere: top-1 [%]", "seeds", *names)
    return common.table(head, rows)


def of_orders(runs: list[common.Record]) -> str:
    """Return how often a supernet orders a winner and a random one as trainings do, as a table."""
    rows = []
    for variant in VARIANTS:
        # Points of top-1 by which winners are better, for the supernet and trained from scratch.
        pairs = [
            (100 * (judged - one["supernet_error"]), one["winner"] - top1)
            for one in runs
            if one["variant"] == variant
            for judged, top1 in zip(one["random_supernet_error"], one["random"], strict=True)
            if judged is not None
        ]
        if pairs:
            by_supernet, alone = zip(*pairs, strict=True)
            same = sum(a * b > 0 for a, b in pairs)
            rows.append(
                [
                    variant,
                    f"{same} of {len(pairs)}",
                    common.spread(by_supernet, "+.2f"),
                    common.spread(alone, "+.2f"),
                ]
            )
    head = (
        "winner against a random one",
        "same order",
        "supernet [points]",
        "from scratch [points]",
    )
    return common.table(head, rows) if rows else ""


def spreads(seeds: Sequence[Sequence[float | None]], sign: str = "") -> list[str]:
    """Return mean and range over seeds of each column; the last is of hypervolumes."""
    columns = list(zip(*seeds, strict=True))
    forms = [".2f"] * (len(columns) - 1) + [".3f"]
    return [common.spread(own, sign + form) for own, form in zip(columns, forms, strict=True)]


def volume_of(tops: Mapping[str, float]) -> float | None:
    """Return the share of error x BitOPs that a seed's networks dominate, None if incomplete.

    ``tops``: the top-1 [%] at each budget. BitOPs of equal bits everywhere go with their square.
    """
    if len(tops) < len(BUDGET_BITS):
        return None
    points = [
        [(100 - tops[f"{bits}-bits"]) / CHANCE, (bits / END_BITS) ** 2] for bits in BUDGET_BITS
    ]
    return float(hypervolume(points, [1.0, 1.0]))


def collect() -> None:
    """Rewrite the tables and the plot from results.json."""
    runs = common.largest(HERE)
    tables = (of_channels(runs), *of_budgets(runs), of_equal_bits(runs), of_orders(runs))
    text = [one for one in tables if one]
    lines: dict[str, list[tuple[float, float]]] = {}
    for kind, (variant, top1) in KINDS.items():
        for name in (f"{bits}-bits" for bits in BUDGET_BITS):
            ones = [one for one in runs if (one["variant"], one["budget"]) == (variant, name)]
            if ones:
                mean = float(np.mean([top1(one) for one in ones]))
                lines.setdefault(kind, []).append((ones[0]["most"] / 2**30, mean))
    if lines:
        text.append("![top-1](top1.svg)")
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for kind, points in lines.items():
            axes.plot(*zip(*points, strict=True), "o-", label=kind)
        axes.set_xlabel("BitOPs [G of 2^30]")
        axes.set_ylabel("top-1 from scratch [%]")
        axes.legend()
        common.save(figure, HERE / "top1.svg")
    common.publish(HERE, "\n\n".join(text))


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
