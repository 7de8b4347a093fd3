"""One supernet, many limits: PONAS's table against evolution, and evolution against random search.

    python experiments/ponas/run.py --data CIFAR --truth nas-bench-macro_cifar10.json

For each seed a supernet is trained as PONAS does and swept into a candidate table. At five limits
the table answers, and evolution and random search look for themselves with 200 evaluations each.
What was found is judged by its accuracy in the benchmark, where every network was trained alone.
It can be stopped at any time; the same command goes on.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import pyplot

from nas_spaces import History

HERE = Path(__file__).parent

LIMITS = (40, 50, 60, 70, 80)  # per cent of the largest network's macs
CURVE = 60  # the limit at which the searches are drawn over their generations
SEARCH = {
    "search.searcher": "evolution",
    "search.population": 20,
    "search.parents": 10,
    "search.crossover": 10,
    "search.mutation": 10,
    "search.generations": 10,
}
KINDS = ("table", "evolution", "random search")


def run(given: Any, seed: int) -> None:
    """Do everything of one seed, as far as that is not done."""
    out = given.work / f"ponas-{seed}"
    log = common.log_of(out)
    if not (out / "train" / "summary.json").exists():
        begin = ("--method", "ponas", "--config", HERE / "config.toml", "--seed", str(seed))
        meta = common.epochs(given) / 4
        own = {"meta.epochs": meta, "train.epochs": 3 * meta, **common.size(given)}
        common.nas(
            "train",
            *begin,
            *common.settings(own),
            "--data",
            f"imagefolder:{given.data}",
            "--out",
            out,
            "--resume",
            log=log,
        )
    truth, resolution = common.read(given.truth), common.resolution(given)
    records = [
        one for limit in LIMITS for one in at_limit(out, limit, truth, seed, resolution, log)
    ]
    for one in records:
        one["size"] = "full" if given.full else "reduced"
    common.keep(HERE, records, ("size", "limit", "seed", "found by"))


def at_limit(
    out: Path, limit: int, truth: common.Record, seed: int, resolution: int, log: Path
) -> list[common.Record]:
    """Return what the table, evolution and random search find within one limit."""
    # A sweep looks at every option whatever the limit. Each limit has one of its own here only so
    # that what the table answers is measured on the supernet as well.
    sweep = search(out, f"sweep-{limit}", limit, {"search.searcher": "progressive"}, log)
    own = search(out, f"evolution-{limit}", limit, SEARCH, log)
    folder = out / "searches" / f"evolution-{limit}"
    histories = {
        kind: History.from_csv((folder / f"{file}.csv").read_text())
        for kind, file in (("evolution", "history"), ("random search", "random"))
    }
    random = histories["random search"]
    best = int(random.column("error").argmin())
    answers = {
        "table": (sweep["winner"], sweep["values"]["error"], sweep["evaluated"]),
        "evolution": (own["winner"], own["values"]["error"], own["evaluated"]),
        "random search": (
            random.archs[best].tolist(),
            float(random.column("error")[best]),
            len(random),
        ),
    }
    seconds = stage_seconds(out)
    allowed = common.possible(truth, limit, resolution)
    records = []
    for kind, (arch, error, evaluated) in answers.items():
        entry = truth["".join(map(str, arch))]
        record = {
            "limit": limit,
            "seed": seed,
            "found by": kind,
            "architecture": arch,
            "supernet_error": error,
            "evaluated": evaluated,
            "benchmark_top1": entry["mean_acc"],
            "best_possible": max(allowed),
            "median_possible": float(np.median(allowed)),
        }
        if kind == "table":
            record["predicted_error"] = sweep["predicted_error"]
            record["answer_seconds"] = answer(out, limit, log)
            record["sweep_seconds"] = seconds[f"search/sweep-{limit}"]
        else:
            record["both_searches_seconds"] = seconds[f"search/evolution-{limit}"]
            record["best_errors"] = best_by_generation(histories[kind])
        records.append(record)
    return records


def search(out: Path, name: str, limit: int, options: dict[str, Any], log: Path) -> common.Record:
    """Search the supernet under a name, unless that is done, and return the result."""
    result = out / "searches" / name / "result.json"
    if not result.exists():
        more = [*common.settings(options), "--limit", f"macs<={limit}%", "--resume"]
        common.nas("search", out, "--name", name, *more, log=log)
    return common.read(result)


def answer(out: Path, limit: int, log: Path) -> float:
    """Return how long a user waits for the table's answer [s], start of the program included."""
    begun = time.monotonic()
    more = ("--search", f"sweep-{LIMITS[0]}", "--limit", f"macs<={limit}%")
    common.nas("specialize", out, *more, log=log)
    return round(time.monotonic() - begun, 2)


def stage_seconds(out: Path) -> dict[str, float]:
    """Return how long each finished stage took [s]."""
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    finished = [one for one in events if one.get("status") == "finished"]
    return {one["stage"]: one["seconds"] for one in finished}


def best_by_generation(history: History) -> list[float]:
    """Return the least error until the end of each generation."""
    generation = history.column("generation")
    error = np.minimum.accumulate(history.column("error"))
    return [float(error[generation == one][-1]) for one in np.unique(generation)]


def collect() -> None:
    """Rewrite the tables and the plot from results.json."""
    runs = common.largest(HERE)
    rows = []
    for limit in LIMITS:
        for kind in KINDS:
            ones = [one for one in runs if (one["limit"], one["found by"]) == (limit, kind)]
            if not ones:
                continue
            regret = (one["best_possible"] - one["benchmark_top1"] for one in ones)
            rows.append(
                [
                    f"{limit} %",
                    kind,
                    common.spread((100 * one["supernet_error"] for one in ones), ".1f"),
                    common.spread(one["benchmark_top1"] for one in ones),
                    common.spread(regret),
                    common.spread((one["evaluated"] for one in ones), ".0f"),
                    common.spread(
                        (
                            one.get("answer_seconds", one.get("both_searches_seconds"))
                            for one in ones
                        ),
                        ".1f",
                    ),
                ]
            )
    head = (
        "limit",
        "found by",
        "supernet error [%]",
        "benchmark top-1 [%]",
        "below the best within the limit [points]",
        "evaluations",
        "seconds",
    )
    sweeps = common.spread((one.get("sweep_seconds") for one in runs), ".0f")
    note = (
        "Seconds of the table are those of its answer, start of the program included; the sweep "
        f"that fills it took {sweeps} s, once for all limits, together with a random search of as "
        "many evaluations. Seconds of evolution and random search are those of both together."
    )
    common.publish(HERE, f"{common.table(head, rows)}\n\n{note}\n\n![searches](searches.svg)")

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for color, kind in enumerate(KINDS[1:]):
        ones = [one for one in runs if (one["limit"], one["found by"]) == (CURVE, kind)]
        errors = 100 * np.array([one["best_errors"] for one in ones])
        x = np.arange(1, errors.shape[1] + 1)
        axes.plot(x, errors.mean(axis=0), color=f"C{color}", label=kind)
        axes.fill_between(x, errors.min(axis=0), errors.max(axis=0), color=f"C{color}", alpha=0.2)
    axes.set_xlabel("generations of 20 architectures")
    axes.set_ylabel(f"least supernet error, macs <= {CURVE} % [%]")
    axes.legend()
    common.save(figure, HERE / "searches.svg")


if __name__ == "__main__":
    given = common.arguments(__doc__)
    if not given.collect:
        for seed in given.seed:
            run(given, seed)
    collect()
