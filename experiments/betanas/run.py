"""Balance: what trains how often and what is dropped when, with BetaNAS and without balance.

    python experiments/betanas/run.py --data CIFAR --truth nas-bench-macro_cifar10.json

Each variant trains one supernet a seed and ends with its most probable network within the limit,
which is judged by its accuracy in the benchmark, where every network was trained alone. Uniform
training with evolution stands beside them. It can be stopped at any time; the same command goes
on.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import pyplot

HERE = Path(__file__).parent

LIMIT = 60  # per cent of the largest network's macs
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "betanas": ("betanas", {}),
    "betanas, two-path gates": ("betanas", {"alphas.variant": "two-path"}),
    "binary gates without balance": ("proxyless", {"alphas.variant": "all"}),
    "proxyless": ("proxyless", {}),
    "uniform + evolution": ("spos", {"supernet.sampler": "uniform"}),
}


def run(given: Any, variant: str, seed: int) -> None:
    """Train one supernet and take its answer, as far as that is not done."""
    method, own = VARIANTS[variant]
    out = given.work / f"{common.plain(variant)}-{seed}"
    log = common.log_of(out)
    if not (out / "train" / "summary.json").exists():
        begin = ("--method", method, "--config", HERE / "config.toml", "--seed", str(seed))
        own = {**own, **common.size(given), "train.epochs": common.epochs(given)}
        limit = ("--limit", f"macs<={LIMIT}%", *common.settings(own))
        source = ("--data", f"imagefolder:{given.data}")
        common.nas("train", *begin, *source, *limit, "--out", out, "--resume", log=log)
    if not (out / "searches" / "main" / "result.json").exists():
        common.nas("search", out, "--resume", log=log)
    found = common.read(out / "searches" / "main" / "result.json")
    trained = common.read(out / "train" / "summary.json")
    truth = common.read(given.truth)
    allowed = common.possible(truth, LIMIT, common.resolution(given))
    record = {
        "variant": variant,
        "size": "full" if given.full else "reduced",
        "seed": seed,
        "architecture": found["winner"],
        "supernet_error": found["values"]["error"],
        "random_best_error": found.get("random_best_error"),
        "benchmark_top1": truth["".join(map(str, found["winner"]))]["mean_acc"],
        "best_possible": max(allowed),
        "median_possible": float(np.median(allowed)),
        "steps": trained["steps"],
        "seconds": trained["seconds"],
        "path_counts": trained["path_counts"],
    }
    alphas = out / "train" / "alphas.json"
    if alphas.exists():
        record["alphas"] = thin(common.read(alphas))
    common.keep(HERE, [record], ("size", "variant", "seed"))


def thin(alphas: common.Record, most: int = 25) -> common.Record:
    """Return the past of architecture parameters at so many moments, the last one included.

    Which candidates are live follows from the drops, see `live`.
    """
    last = len(alphas["steps"]) - 1
    kept = np.unique(np.linspace(0, last, min(most, last + 1)).round().astype(int))
    thinned = {key: alphas[key] for key in ("choices", "options", "dropped")}
    thinned |= {key: [alphas[key][i] for i in kept] for key in ("steps", "counts")}
    moments = [alphas["alphas"][i] for i in kept]
    thinned["alphas"] = [
        [[None if one is None else round(one, 4) for one in row] for row in moment]
        for moment in moments
    ]
    return thinned


def live(alphas: common.Record, step: int) -> list[list[bool]]:
    """Return which options of each choice are live after a step."""
    alive = [[True] * len(options) for options in alphas["options"]]
    for drop in alphas["dropped"]:
        if drop["step"] <= step:
            alive[drop["choice"]][drop["option"]] = False
    return alive


def imbalance(record: common.Record) -> float:
    """Return how often the most trained live option of a block is trained for the least, mean."""
    counts = np.array(record["path_counts"], dtype=float)
    alive = counts > -1
    if "alphas" in record:
        alive = np.array(live(record["alphas"], record["steps"]))
    ratios = [
        row[mask].max() / max(row[mask].min(), 1) for row, mask in zip(counts, alive, strict=True)
    ]
    return float(np.mean(ratios))


def drops_in_words(one: common.Record) -> list[str]:
    """Return what a run dropped and when, in one cell."""
    alphas = one["alphas"]
    return [
        "; ".join(
            f"{drop['step']:,}: {alphas['choices'][drop['choice']]} "
            f"{alphas['options'][drop['choice']][drop['option']]}"
            for drop in alphas["dropped"]
        )
    ]


def collect() -> None:
    """Rewrite the table and the plot from results.json."""
    runs = common.largest(HERE)
    found = {name: [one for one in runs if one["variant"] == name] for name in VARIANTS}
    found = {name: ones for name, ones in found.items() if ones}
    rows = []
    for name, ones in found.items():
        drops = [len(one["alphas"]["dropped"]) if "alphas" in one else 0 for one in ones]
        rows.append(
            [
                name,
                str(len(ones)),
                common.spread(one["benchmark_top1"] for one in ones),
                common.spread(one["best_possible"] - one["benchmark_top1"] for one in ones),
                common.spread(map(imbalance, ones), ".1f"),
                common.spread(drops, ".0f"),
                common.spread((one["seconds"] for one in ones), ".0f"),
            ]
        )
    head = (
        "training",
        "seeds",
        "benchmark top-1 [%]",
        "below the best within the limit [points]",
        "most / least trained live candidate",
        "dropped",
        "training [s]",
    )
    dropped = [
        [name, str(one["seed"]), *drops_in_words(one)]
        for name, ones in found.items()
        for one in ones
        if one.get("alphas", {}).get("dropped")
    ]
    drops = common.table(("training", "seed", "dropped, by step"), dropped)
    networks = common.table(
        ("training", "seed", "network", "its supernet error [%]", "least of 200 random [%]"),
        [
            [
                name,
                str(one["seed"]),
                "".join(map(str, one["architecture"])),
                f"{100 * one['supernet_error']:.1f}",
                "-"
                if one["random_best_error"] is None
                else f"{100 * one['random_best_error']:.1f}",
            ]
            for name, ones in found.items()
            for one in ones
        ],
    )
    middle = common.spread(one["median_possible"] for one in runs)
    best = common.spread(one["best_possible"] for one in runs)
    text = (
        f"{common.table(head, rows)}\n\nOf all networks within the limit the best has {best} %, "
        f"the median {middle} %.\n\n{networks}\n\n{drops}\n\n![counts](counts.svg)"
    )
    common.publish(HERE, text)
    drawn = {name: ones[0] for name, ones in found.items() if "alphas" in ones[0]}
    figure, grid = pyplot.subplots(
        3, len(drawn), figsize=(3.2 * len(drawn), 7), sharex="col", layout="constrained"
    )
    for column, (name, one) in enumerate(drawn.items()):
        steps, alphas = one["alphas"]["steps"], one["alphas"]
        for row, key in enumerate(("alphas", "counts", "alive")):
            axes = grid[row][column] if len(drawn) > 1 else grid[row]
            if key == "alive":
                left = [sum(map(sum, live(alphas, step))) for step in steps]
                axes.plot(steps, left, color="C0")
            else:
                values = np.array(alphas[key], dtype=float)  # [T, d, k]
                block = values.shape[1] // 2
                for option in range(values.shape[2]):
                    label = alphas["options"][block][option]
                    axes.plot(steps, values[:, block, option], color=f"C{option}", label=label)
                axes.legend(fontsize="x-small")
            axes.set_ylabel(
                {
                    "alphas": "alpha of a block in the middle",
                    "counts": "times trained, the same block",
                    "alive": "live candidates of all blocks",
                }[key],
                fontsize="small",
            )
        (grid[0][column] if len(drawn) > 1 else grid[0]).set_title(name, fontsize="small")
        (grid[2][column] if len(drawn) > 1 else grid[2]).set_xlabel("steps")
    common.save(figure, HERE / "counts.svg")


if __name__ == "__main__":
    given = common.arguments(__doc__)
    if not given.collect:
        for seed in given.seed:
            for variant in given.only or VARIANTS:
                run(given, variant, seed)
    collect()
