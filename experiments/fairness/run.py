"""Fairness of training and the ranking it gives: samplers at equal cost on NAS-Bench-Macro.

    python experiments/fairness/run.py --data CIFAR --truth nas-bench-macro_cifar10.json

trains one supernet for each variant and seed, ranks 200 architectures with it, and rewrites the
table and the plot of README.md. It can be stopped at any time; the same command goes on.
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import pyplot

HERE = Path(__file__).parent

RANKING = common.settings({"search.recalibration_images": 1000, "search.evaluation_images": 2500})
RANKED = ("architectures", "tau", "macs", "regret", "gap", "verdict")
M = 3  # candidates of a block
LR = 0.025
# Sums of M gradients at LR / M are means of them at LR. ``share``: of the epochs of single paths.
VARIANTS: dict[str, dict[str, Any]] = {
    "uniform": {"supernet.sampler": "uniform", "share": 1.0, "train.lr": LR},
    # Larger batches at the same cost are fewer steps; the learning rate goes with the batch.
    "uniform, batch 128": {
        "supernet.sampler": "uniform",
        "share": 1.0,
        "train.lr": 2 * LR,
        "train.batch_size": 128,
    },
    "uniform, batch 128, zero residual": {
        "supernet.sampler": "uniform",
        "supernet.scheme": "zero-residual",
        "share": 1.0,
        "train.lr": 2 * LR,
        "train.batch_size": 128,
    },
    "expectation-fair": {
        "supernet.sampler": "expectation-fair",
        "share": 1 / M,
        "train.lr": LR,
    },
    "expectation-fair, lr/3": {
        "supernet.sampler": "expectation-fair",
        "share": 1 / M,
        "train.lr": LR / M,
    },
    "strict-fair": {"supernet.sampler": "strict-fair", "share": 1 / M, "train.lr": LR},
    "strict-fair, lr/3": {
        "supernet.sampler": "strict-fair",
        "share": 1 / M,
        "train.lr": LR / M,
    },
}


def dropout_share(rate: float) -> float:
    """Return the share of epochs in which path dropout runs as many candidates of a block.

    A step keeps each of M candidates with probability 1 - r^(1 / M), at least one; r rises from
    0 to ``rate`` in the course of the training.
    """
    ramp = np.linspace(0, rate, 1001)
    kept = M * (1 - ramp ** (1 / M)) + ramp  # all dropped, with probability r: one is kept
    return 1 / float(kept.mean())


VARIANTS |= {
    f"path dropout, r = {rate}": {
        "supernet.sampler": "path-dropout",
        "supernet.path_dropout": rate,
        "share": dropout_share(rate),
        "train.lr": LR,
    }
    for rate in (0.05, 0.3, 0.9)
}


def run(given: Any, variant: str, seed: int) -> None:
    """Train and rank one supernet, as far as that is not done."""
    own = dict(VARIANTS[variant])
    own["train.epochs"] = round(common.epochs(given) * own.pop("share"), 6)
    out = given.work / f"{common.plain(variant)}-{seed}"
    log = common.log_of(out)
    if not (out / "train" / "summary.json").exists():
        options = common.settings({**common.size(given), **own})
        source = f"imagefolder:{given.data}"
        where = ("--config", HERE / "config.toml", "--data", source, "--seed", seed)
        common.nas("train", *map(str, where), *options, "--out", out, "--resume", log=log)
    result = out / "ranks" / "macro" / "result.json"
    if not result.exists():
        more = ("--architectures", "200", "--name", "macro", "--resume", *RANKING)
        common.nas("rank", out, "--truth", given.truth, *more, log=log)
    ranked, trained = common.read(result), common.read(out / "train" / "summary.json")
    batch_size = tomllib.loads((out / "config.toml").read_text())["train"]["batch_size"]
    record = {
        "variant": variant,
        "seed": seed,
        "size": "full" if given.full else "reduced",
        "settings": {"train.batch_size": batch_size, **own},
        "steps": trained["steps"],
        "loss": trained["loss"],
        "training_seconds": trained["seconds"],
        **{key: ranked[key] for key in RANKED},
    }
    common.keep(HERE, [record], ("size", "variant", "seed"))


def collect() -> None:
    """Rewrite the table and the plot from results.json."""
    runs = common.largest(HERE)
    found = {name: [one for one in runs if one["variant"] == name] for name in VARIANTS}
    found = {name: ones for name, ones in found.items() if ones}
    kinds = ("recalibrated", "own_norms")

    def taus(ones: list[common.Record], kind: str) -> list[float | None]:
        return [one["tau"][kind]["tau"] for one in ones]

    rows = [
        [
            name,
            str(len(ones)),
            *(common.spread(taus(ones, kind)) for kind in kinds),
            *(common.spread((one["gap"][kind] for one in ones), ".1f") for kind in kinds),
            common.spread((one["regret"]["recalibrated"]["10"] for one in ones), ".2f"),
        ]
        for name, ones in found.items()
    ]
    head = (
        "training",
        "seeds",
        "tau, recalibrated",
        "tau, own norms",
        "gap, recalibrated [points]",
        "gap, own norms [points]",
        "regret of the best 10 [points]",
    )
    macs = common.spread(one["macs"]["tau"] for one in runs)
    text = f"{common.table(head, rows)}\n\nMACs alone: tau {macs}.\n\n![taus](taus.svg)"
    common.publish(HERE, text)
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(found) + 1.2), layout="constrained")
    for place, ones in enumerate(found.values()):
        for kind, mark, shift in zip(kinds, "os", (-0.12, 0.12), strict=True):
            x = [value for value in taus(ones, kind) if value is not None]
            axes.plot(x, [place + shift] * len(x), mark, color=f"C{kinds.index(kind)}")
    for kind, mark in zip(kinds, "os", strict=True):
        axes.plot([], [], mark, color=f"C{kinds.index(kind)}", label=kind.replace("_", " "))
    level = float(np.mean([one["macs"]["tau"] for one in runs]))
    axes.axvline(level, color="grey", linestyle="--", label="MACs alone")
    axes.set_yticks(range(len(found)), found)
    axes.invert_yaxis()
    axes.set_xlabel("Kendall's tau against stand-alone accuracy")
    axes.legend(loc="lower left", fontsize="small")
    common.save(figure, HERE / "taus.svg")


if __name__ == "__main__":
    given = common.arguments(__doc__)
    if not given.collect:
        for seed in given.seed:
            for variant in given.only or VARIANTS:
                run(given, variant, seed)
    collect()
