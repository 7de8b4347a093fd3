"""FP-NAS on images: rows by entropy against a fixed number, and splits searched against equal ones.

    python experiments/fp-nas/run.py --data CIFAR

Each run trains a supernet with a distribution for as many steps, and differs in how many paths a
step has. Its most probable network within the limit is trained from scratch; of the first kind also
the most probable ones with the same attention everywhere, at that network's multiply-adds. It can
be stopped at any time; the same command goes on.
"""

import sys
import tomllib
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
from nas_spaces import FeasibleSet, Limit, SearchSpace, published, to_json
from nas_spaces.torch import Network

HERE = Path(__file__).parent

ATTENTION = (0, 1, 2, 4)  # none, squeeze-and-excitation, so many splits
FIRST = 14  # rows of the first step, as in the paper
CLOSE = 0.03  # by which multiply-adds may differ that count as equal
EPOCHS, BATCH, LR = 10, 32, 0.025


def space_of(given: Any) -> SearchSpace:
    """Return the space: digits-fp-nas with more kinds of attention."""
    return published.load(
        "digits-fp-nas",
        attention=ATTENTION,
        classes=sum(path.is_dir() for path in (given.data / "train").iterdir()),
        resolution=common.resolution(given),
        in_channels=3,
    )


def ways(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """Return the settings of each kind of run."""
    # Rows a nat, so that a step begins with as many.
    rows = {"distribution.rows_per_nat": round(FIRST / Distribution(space).entropy(), 4)}
    return {
        "λ H": rows,
        "λ H, joint from 3/4": {**rows, "distribution.join_after": 0.75},
        "λ H / 2": {name: value / 2 for name, value in rows.items()},
        f"K = {FIRST}": {"distribution.rows": FIRST},
        f"K = {FIRST // 2}": {"distribution.rows": FIRST // 2},
        f"K = {FIRST}, joint": {"distribution.rows": FIRST, "distribution.joint": "true"},
    }


def run(given: Any, way: str, seed: int) -> None:
    """Do everything of one way and seed, as far as that is not done."""
    out = given.work / f"{common.plain(way).replace('λ', 'lambda')}-{seed}"
    log = common.log_of(out)
    images = ("--data", f"imagefolder:{given.data}", "--out", out, "--resume")
    if not (out / "train" / "summary.json").exists():
        file = given.work / f"space-{common.resolution(given)}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(to_json(space_of(given)))
        begin = ("--method", "fpnas", "--config", HERE / "config.toml", "--seed", str(seed))
        begin = (*begin, "--space", file)
        own = {**ways(space_of(given))[way], **common.size(given), **full(given)}
        common.nas("train", *begin, *common.settings(own), *images, log=log)
    result = out / "searches" / "main" / "result.json"
    if not result.exists():
        common.nas("search", out, "--resume", log=log)
    found, learned = common.read(result), common.read(out / "train" / "distribution.json")
    summary = common.read(out / "train" / "summary.json")
    own = tomllib.loads((out / "config.toml").read_text())["distribution"]
    record = {
        "way": way,
        "seed": seed,
        "size": "full" if given.full else "reduced",
        "steps": learned["steps"],
        "rows": learned["rows"],
        "sampled": learned["sampled"][-1],
        "uniform": round(own["warmup"] * summary["steps"]) * own["warmup_rows"],
        "entropy": [learned["entropy"][0], learned["entropy"][-1]],
        "seconds": summary["seconds"],
        "supernet_error": found["values"]["error"],
        "target": learned["target"],
        "networks": networks(given, out, found["winner"], seed, all_kinds=way == "λ H"),
    }
    common.keep(HERE, [record], ("size", "way", "seed"))


def full(given: Any) -> dict[str, Any]:
    """Return what differs at full size."""
    return {"train.epochs": 50, "images.held_out": 0.5} if given.full else {}


def networks(
    given: Any, out: Path, winner: list[int], seed: int, *, all_kinds: bool
) -> common.Record:
    """Return what the winner comes to from scratch, and with it each kind of attention.

    ``all_kinds``: whether the most probable network with the same attention everywhere is trained
    too, for each kind, at the winner's multiply-adds.
    """
    space = space_of(given)
    macs = nas_hw.macs(space)
    rows = {"winner": winner}
    learned = common.read(out / "train" / "distribution.json")
    distribution = Distribution.from_record(space, learned)
    if all_kinds:
        most = float(macs([winner])[0])
        equal = Limit(macs, lower=(1 - CLOSE) * most, upper=(1 + CLOSE) * most)
        for option, kind in enumerate(ATTENTION):
            alike = FeasibleSet(restricted(space, option), [equal])
            rows[str(kind)] = likely_row(distribution, alike)[0].tolist()
    kept, known = out / "networks.json", {}
    if kept.exists():
        known = common.read(kept)
    for name, row in rows.items():
        if known.get(name, {}).get("architecture") != row:
            known[name] = {
                "architecture": row,
                "macs": int(macs([row])[0]),
                "log_probability": float(distribution.log_probability([row])[0]),
                "top1": from_scratch(given, space.fix(row), seed),
            }
            common.write(kept, known)
    return known


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


def learnt_from(one: common.Record) -> int:
    """Return how many paths were drawn from the distribution, behind the uniform ones."""
    return int(one["sampled"] - one["uniform"])


def share(one: common.Record) -> float:
    """Return the multiply-adds of a run's winner as a share of the target."""
    return float(one["networks"]["winner"]["macs"] / one["target"])


def top1(one: common.Record) -> float:
    """Return the top-1 from scratch of a run's winner [%]."""
    return float(one["networks"]["winner"]["top1"])


def collect() -> None:
    """Rewrite the tables and the plot from results.json."""
    runs = common.largest(HERE)
    rows = []
    named = list(dict.fromkeys(one["way"] for one in runs))
    for way in named:
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
                common.spread(learnt_from(a) / learnt_from(b) for a, b in pairs),
                common.spread(a["seconds"] / b["seconds"] for a, b in pairs),
                common.spread((one["entropy"][1] for one in ones), ".1f"),
                common.spread((100 * one["supernet_error"] for one in ones), ".1f"),
                common.spread(share(one) for one in ones),
                common.spread(top1(one) for one in ones),
                common.spread(top1(a) - top1(b) for a, b in pairs),
            ]
        )
    head = (
        "paths of a step",
        "seeds",
        "sampled",
        f"sampled / those of K = {FIRST}",
        "without the warm-up's",
        f"seconds / those of K = {FIRST}",
        "entropy at the end [nats]",
        "supernet error of the mode [%]",
        "its macs / target",
        "top-1 from scratch [%]",
        f"minus that of K = {FIRST} [points]",
    )
    several = [one["networks"] for one in runs if len(one["networks"]) > 1]
    splits = [
        [
            kind,
            str(len(several)),
            common.spread(one[kind]["macs"] / 1e6 for one in several),
            common.spread((one[kind]["log_probability"] for one in several), ".1f"),
            common.spread(one[kind]["top1"] for one in several),
            "-"
            if kind == "winner"
            else common.spread(one["winner"]["top1"] - one[kind]["top1"] for one in several),
        ]
        for kind in ("winner", *map(str, ATTENTION))
    ]
    splits_head = (
        "splits of attention",
        "runs",
        "macs [M]",
        "log-probability",
        "top-1 from scratch [%]",
        "winner minus it [points]",
    )
    text = [common.table(head, rows), common.table(splits_head, splits), "![rows](rows.svg)"]
    common.publish(HERE, "\n\n".join(text))

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for color, way in enumerate(named):
        for number, one in enumerate(one for one in runs if one["way"] == way):
            label = way if number == 0 else None
            axes.plot(one["steps"], one["rows"], color=f"C{color}", alpha=0.7, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("paths of a step")
    axes.legend()
    common.save(figure, HERE / "rows.svg")


if __name__ == "__main__":
    given = common.arguments(__doc__, truth=False)
    if not given.collect:
        kinds = ways(space_of(given))
        unknown = set(given.only or ()) - set(kinds)
        if unknown:
            raise SystemExit(f"--only {unknown.pop()!r}: the ways are {', '.join(kinds)}")
        for seed in given.seed:
            for way in kinds:
                if not given.only or way in given.only:
                    run(given, way, seed)
    collect()
