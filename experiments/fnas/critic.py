"""A critic taken to another task: from CIFAR-10 to CIFAR-100 on NAS-Bench-201.

    python experiments/fnas/critic.py --truth nas-bench-201.csv

searches CIFAR-10 by FNAS, and CIFAR-100 with a new critic and with the one of that search; beside
them the best networks of CIFAR-10 are measured one after the other. It rewrites its table in
README.md. It can be stopped at any time; the same command goes on. Settings are those that run.py
has found.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import common

from nas_cli.compare_methods import Methods, build_searcher, override_methods, rng_of
from nas_cli.compare_question import question_of
from nas_cli.config import parse_setting
from nas_cli.stage_compare import Bench, open_bench
from nas_search import (
    censored_median,
    evaluations_differ,
    evaluations_to,
    median_ratio,
    search,
)
from nas_search.rl import PPO, Critic
from nas_spaces import History

HERE = Path(__file__).parent
TUNED, OTHERS = "NAS-Bench-201, CIFAR-100, fnas", "NAS-Bench-201, CIFAR-100"  # of run.py
SEEDS, BUDGET, BEFORE = 50, 150, 300
"""Searches of each kind; architectures that each may measure, and those of the search before."""
KINDS = {
    "new critic": None,
    "critic of CIFAR-10": 20,
    "critic of CIFAR-10, trusted at once": 1,
}
"""After how many measured rewards a critic is trusted; None is a new one, trusted after 20."""
COPIED = "no search: the networks of CIFAR-10, best first"


def open_table(given: argparse.Namespace, task: str, mark: float) -> Bench:
    """Return the table of one task."""
    column = f"{task}_test_accuracy_200_epochs"
    asked = {"space": "nas-bench-201", "truth": given.truth, "column": column, "mark": mark}
    return open_bench(question_of({**asked, "methods": "fnas"}))


def settings_of(words: dict[str, Any]) -> Methods:
    """Return the settings of FNAS that run.py has found."""
    own = [f"{key}={value}" for key, value in words.items() if key.startswith("fnas.")]
    return override_methods(Methods(), ["fnas"], map(parse_setting, own))


def run_search(
    bench: Bench, settings: Methods, index: int, budget: int, critic: Critic | None
) -> tuple[History, Critic]:
    """Return what one search measured, and what its critic knows."""
    rng = rng_of(0, "fnas", index)
    # The buffer is annealed as in the searches of run.py.
    searcher = build_searcher("fnas", settings, bench.feasible, rng=rng, budget=BEFORE)
    assert isinstance(searcher, PPO)
    assert searcher.critic is not None
    if critic is not None:
        searcher.critic.inherit(critic)
    found = search(
        searcher, [bench.error], space=bench.space, budget=budget, feasible=bench.feasible
    )
    return found.history, searcher.critic


def of_seed(given: argparse.Namespace, settings: Methods, index: int) -> common.Record:
    """Return what the searches of one seed needed."""
    # Other draws than those of the search on CIFAR-100.
    before, earlier = run_search(
        open_table(given, "cifar10", 99.9), settings, SEEDS + index, BEFORE, None
    )
    bench = open_table(given, "cifar100", 99.5)
    errors = {}
    for kind, least in KINDS.items():
        own = settings
        if least is not None:
            assert settings.fnas.critic is not None
            critic = attrs.evolve(settings.fnas.critic, least=least)
            own = attrs.evolve(settings, fnas=attrs.evolve(settings.fnas, critic=critic))
        history, _ = run_search(bench, own, index, BUDGET, None if least is None else earlier)
        errors[kind] = history.column("error")
    order = np.argsort(before.column("error"), kind="stable")
    errors[COPIED] = bench.error(before.archs[order[:BUDGET]])
    evaluations = {kind: evaluations_to(error, bench.mark) for kind, error in errors.items()}
    return {
        "seed": index,
        **common.stamp(),
        "evaluations": {
            kind: taken if math.isfinite(taken) else None for kind, taken in evaluations.items()
        },
    }


def collect(runs: list[common.Record], others: common.Record) -> str:
    """Return the table as Markdown; ``others``: run.py's record of plain PPO."""
    taken = {
        kind: common.uncensored(one["evaluations"][kind] for one in runs)
        for kind in (*KINDS, COPIED)
    }
    ppo = common.uncensored(others["methods"]["ppo"]["evaluations"])
    rows = []
    for kind, evaluations in taken.items():
        median = censored_median(evaluations)
        against = ["-", "-"]
        if kind != "new critic":
            base = taken["new critic"]
            p = evaluations_differ(base, evaluations, budget=BUDGET)
            against = [times(base, evaluations, BUDGET), f"{p:.2g}"]
        rows.append(
            [
                kind,
                common.within(median.median, BUDGET),
                f"{common.within(median.low, BUDGET)} to {common.within(median.high, BUDGET)}",
                f"{median.reached} of {median.searches}",
                *against,
                times(ppo, evaluations, others["budget"]),
            ]
        )
    head = (
        "search on CIFAR-100",
        "median evaluations to 99.5 %",
        "95 % interval",
        f"reached within {BUDGET}",
        "times fewer than with a new one (95 %)",
        "p",
        "times fewer than plain PPO (95 %)",
    )
    return common.table(head, rows)


def times(base: list[float], evaluations: list[float], budget: int) -> str:
    """Return how many times fewer evaluations searches took than others of some budget."""
    rng = np.random.default_rng(0)
    return common.times(median_ratio(base, evaluations, budget=(budget, BUDGET), rng=rng))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, required=True, help="NAS-Bench-201's CSV file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "critic.json"
    tables = {one["comparison"]: one for one in common.read(HERE / "results.json")["runs"]}
    if not {TUNED, OTHERS} <= tables.keys():
        raise SystemExit("settings and plain PPO come from run.py, which has to have run")
    settings = settings_of(tables[TUNED]["settings"])
    asked = attrs.asdict(settings.fnas)
    kept = common.read(path) if path.exists() else {"settings": asked, "runs": []}
    if kept["settings"] != asked:
        raise SystemExit(f"{path} is of other settings than run.py has found; remove it")
    for index in range(len(kept["runs"]), SEEDS):
        kept["runs"].append(of_seed(given, settings, index))
        common.write(path, kept)
    common.publish(HERE, collect(kept["runs"], tables[OTHERS]), "critic")
