"""Entropy against a fixed number of rows, where the best architecture is known.

    python experiments/fp-nas/synthetic.py

runs learner, sampler and distribution on likelihoods from a function of the row instead of a
supernet, and rewrites the tables and the plot of README.md. No image and no network is needed. It
can be stopped at any time; the same command goes on. ``--only NAME`` runs one kind. The likelihoods
are in synthetic_problem.py, the kinds of runs in synthetic_arms.py.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import Record
from synthetic_arms import ARMS, MARK, Arm
from synthetic_gradient import gradient_table, gradients
from synthetic_plot import draw
from synthetic_problem import MEAN, TARGET, F, load, macs_of, problem, within_target
from synthetic_results import read, recorded, write
from synthetic_tables import (
    cost_table,
    growth_table,
    joint_table,
    reinforcement_table,
    rows_table,
    temperature_table,
)

from nas_samplers import (
    CostHinge,
    Distribution,
    EntropyRows,
    EntropySampler,
    PosteriorLearner,
    likely_row,
)
from nas_spaces import FeasibleSet, Limit, Table

HERE = Path(__file__).parent
BATCH = 0.1
"""What a held-out batch adds, the same to all rows of a step [nats]."""
EVERY, POINTS = 25, 30
"""Steps between two looks at the mode; points of a curve that are kept."""


def run(arm: Arm, seed: int) -> Record:
    """Return what one run ends with, and its way there."""
    loss, optimum = problem(arm.space, arm.shares, seed)
    distribution = Distribution(load(arm.space), joint=arm.joint)
    whole = isinstance(arm.rows, int)
    least = 1 if arm.paper_exact else 2
    rows = int(arm.rows) if whole else EntropyRows(arm.rows, least=least)
    sampler = EntropySampler(distribution, rng=np.random.default_rng([seed, 1]), rows=rows)
    cost = None
    if arm.cost is not None:
        cost = CostHinge(macs_of(arm.space), target=TARGET, weight=arm.weight, kind=arm.cost)
    learner = PosteriorLearner(
        sampler,
        lr=arm.lr,
        temperature=arm.temperature,
        cost=cost,
        paper_exact=arm.paper_exact,
        joint_from=arm.joint_from,
        steps=arm.steps,
    )
    noise = np.random.default_rng([seed, 2])
    record: Record = {"seed": seed, "nats": round(distribution.entropy(), 3), "reached": None}
    kept = set(np.linspace(1, arm.steps, POINTS).round().astype(int).tolist())
    curve: dict[str, list[float]] = {"sampled": [], "entropy": [], "excess": []}
    for step in range(1, arm.steps + 1):
        archs = sampler.ask()
        losses = loss(archs) if arm.signal else np.full(len(archs), MEAN)
        losses = losses + noise.normal(0, BATCH) + noise.normal(0, arm.noise, size=len(archs))
        learner.update(archs, losses)
        if step % EVERY and step not in kept and step < arm.steps:
            continue
        excess = round(float(loss([distribution.mode()])[0]) - optimum, 4)
        if record["reached"] is None and excess <= MARK and arm.signal:
            record["reached"] = distribution.sampled
        if step in kept:
            curve["sampled"].append(distribution.sampled)
            curve["entropy"].append(round(distribution.entropy(), 2))
            curve["excess"].append(excess)
    record |= {
        "optimum": round(optimum, 4),
        "sampled": distribution.sampled,
        "rows": distribution.rows,
        "entropy": round(distribution.entropy(), 3),
        "excess": excess,
    }
    if cost is not None:
        record |= ending(distribution, loss, seed)
    return record | {"curve": curve}


def ending(distribution: Distribution, loss: Table, seed: int) -> Record:
    """Return where a distribution ends against the target."""
    macs = macs_of(F)
    bound, found, free = within_target(seed)
    answer, exact = likely_row(distribution, FeasibleSet(load(F), [Limit(macs, upper=TARGET)]))
    return {
        "optimum_macs": free,
        "expected_macs": round(distribution.expected(macs)),
        "mode_macs": float(macs([distribution.mode()])[0]),
        "answer_macs": float(macs([answer])[0]),
        "answer_exact": exact,
        "answer_excess": round(float(loss([answer])[0]) - bound, 4),
        "reference_excess": round(found - bound, 4),
    }


def run_all(names: Iterable[str]) -> None:
    """Make the runs that are not recorded yet, one at a time."""
    results = read()
    stamp = common.stamp()
    if not results["gradients"]:
        results["gradients"] = gradients()
        write(results)
    done = {(one["arm"], one["seed"]) for one in results["runs"]}
    for name in names:
        for seed in ARMS[name].seeds:
            if (name, seed) not in done:
                results["runs"].append({"arm": name, **run(ARMS[name], seed), **stamp})
                write(results)


def collect() -> None:
    """Rewrite tables and plot from what is recorded."""
    runs = recorded()
    for name, text in {
        "synthetic": rows_table(runs),
        "synthetic, costs": cost_table(runs),
        "synthetic, temperature": temperature_table(runs),
        "synthetic, joint": joint_table(runs),
        "synthetic, growth": growth_table(runs),
        "synthetic, reinforcement": reinforcement_table(runs),
        "synthetic, gradient": gradient_table(read()["gradients"]),
    }.items():
        common.publish(HERE, text, name)
    draw(runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=ARMS, help="run these kinds only")
    parser.add_argument("--collect", action="store_true", help="run nothing; redo tables and plot")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.collect:
        run_all(given.only or ARMS)
    collect()
