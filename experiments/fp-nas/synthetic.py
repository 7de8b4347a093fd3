"""Entropy against a fixed number of rows, where the best architecture is known.

    python experiments/fp-nas/synthetic.py

runs learner, sampler and distribution on likelihoods from a function of the row instead of a
supernet, and rewrites the tables and the plot of README.md. No image and no network is needed. It
can be stopped at any time; the same command goes on. ``--only NAME`` runs one kind.
"""

import argparse
import datetime
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from attrs import evolve, frozen
from numpy.typing import NDArray
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import Record, pyplot

import nas_hw
from nas_samplers import (
    CostHinge,
    Distribution,
    EntropyRows,
    EntropySampler,
    PosteriorLearner,
    likely_row,
    posterior_weights,
)
from nas_spaces import FeasibleSet, Limit, SearchSpace, Table, published
from nas_spaces.elimination import eliminate, extremes, live_terms
from nas_spaces.published.fbnetv2 import Group, grouped_space
from nas_spaces.table import Term

HERE = Path(__file__).parent
RESULTS = HERE / "synthetic.json"

MEAN, SPREAD = 3.0, 0.25
"""Mean negative log-likelihood of uniform rows, and its standard deviation [nats]."""
NOISE, BATCH = 0.03, 0.1
"""What a held-out batch adds: to each row its own, and the same to all rows of a step [nats]."""
SHARES = (0.6, 0.3, 0.1)
"""Of the variance: single choices, pairs within a group, pairs across neighbouring groups."""
LINKS = (("channels", "channels"), ("channels", "expansion"), ("kernel", "kernel"))
"""Choices of a group and of the next one that act together."""

STEPS, LR = 3000, 0.016
SEEDS = tuple(range(100, 110))
"""Seeds below 100 served to find out how many steps are enough."""
MORE, FEWER, FEWEST = (*SEEDS, *range(110, 130)), SEEDS[:6], SEEDS[:3]
"""Ten do not tell the three apart that matter most; these have thirty."""
MARK, MARGIN = 0.15, 0.02
"""Excess that a mode has to come down to, and difference that counts as none [nats]."""
EVERY, POINTS = 25, 30
"""Steps between two looks at the mode; points of a curve that are kept."""
TARGET = 35e6
"""Multiply-adds of the hinge."""
BISECTIONS = 20
F, LARGER = "fbnetv2-f", ("fbnetv2-f++", "fp-nas-l0", "fp-nas-l1", "fbnetv2-fine")
COUNTS, DRAWS = (14, 100, 1000, 10_000, 100_000, 1_000_000), 5
"""Rows of a gradient, and gradients of each."""


@frozen(kw_only=True)
class Arm:
    """One kind of run. ``rows``: a number K, or rows a nat."""

    rows: int | float = 0.25
    space: str = F
    steps: int = STEPS
    lr: float = LR
    temperature: float = 1.0
    paper_exact: bool = False
    joint: bool = False
    joint_from: int | None = None
    cost: Literal["log", "linear"] | None = None
    weight: float = 0.3
    shares: tuple[float, float, float] = SHARES
    signal: bool = True
    noise: float = NOISE
    seeds: tuple[int, ...] = SEEDS


ADAPTIVE, FIXED = Arm(), Arm(rows=14)
SLOWER = STEPS * 4 // 3, LR * 3 / 4
PAIRS = (0.3, 0.6, 0.1)
PRODUCT = 1 / 256  # The temperature that makes weights those of a batch of 256 images.
ARMS = {
    "K = 4": Arm(rows=4, seeds=MORE),
    "K = 7": Arm(rows=7),
    "K = 14": evolve(FIXED, seeds=MORE),
    "K = 28": Arm(rows=28),
    "λ = 1/8": Arm(rows=1 / 8),
    "λ = 1/4": evolve(ADAPTIVE, seeds=MORE),
    "λ = 1/2": Arm(rows=1 / 2),
    "K = 14, slower": evolve(FIXED, steps=SLOWER[0], lr=SLOWER[1]),
    "λ = 1/4, slower": evolve(ADAPTIVE, steps=SLOWER[0], lr=SLOWER[1]),
    "temperature 0.1": evolve(ADAPTIVE, temperature=0.1),
    "temperature 1/256": evolve(ADAPTIVE, temperature=PRODUCT),
    "joint from 1/4": evolve(ADAPTIVE, joint_from=STEPS // 4),
    "joint from 1/2": evolve(ADAPTIVE, joint_from=STEPS // 2),
    "joint": evolve(ADAPTIVE, joint=True),
    "K = 14, joint": evolve(FIXED, joint=True),
    "pairs, factorised": evolve(ADAPTIVE, shares=PAIRS, seeds=FEWER),
    "pairs, joint from 1/4": evolve(ADAPTIVE, shares=PAIRS, seeds=FEWER, joint_from=STEPS // 4),
    "pairs, joint": evolve(ADAPTIVE, shares=PAIRS, seeds=FEWER, joint=True),
    **{
        f"{name}, {space}": evolve(arm, space=space, seeds=FEWER)
        for space in LARGER
        for name, arm in (("λ = 1/4", ADAPTIVE), ("K = 14", FIXED))
    },
    "printed": evolve(ADAPTIVE, paper_exact=True, seeds=FEWER),
    "printed, K = 14": evolve(FIXED, paper_exact=True, seeds=FEWER),
    "printed, temperature 0.1": evolve(ADAPTIVE, paper_exact=True, seeds=FEWER, temperature=0.1),
    "equal": evolve(ADAPTIVE, signal=False, noise=0.0, seeds=FEWEST),
    "equal, printed": evolve(ADAPTIVE, signal=False, noise=0.0, paper_exact=True, seeds=FEWEST),
    "equal, printed, K = 14": evolve(
        FIXED, signal=False, noise=0.0, paper_exact=True, seeds=FEWEST
    ),
    "noise": evolve(ADAPTIVE, signal=False, seeds=FEWEST),
    "noise, K = 14": evolve(FIXED, signal=False, seeds=FEWEST),
    "noise, printed": evolve(ADAPTIVE, signal=False, paper_exact=True, seeds=FEWEST),
    "log, λ = 1/4": evolve(ADAPTIVE, cost="log", seeds=FEWER),
    "log, K = 14": evolve(FIXED, cost="log", seeds=FEWER),
    "log, λ = 1/4, temperature 0.1": evolve(ADAPTIVE, cost="log", temperature=0.1, seeds=FEWER),
    "linear, λ = 1/4": evolve(ADAPTIVE, cost="linear", seeds=FEWER),
    "linear, K = 14": evolve(FIXED, cost="linear", seeds=FEWER),
    "linear, λ = 1/4, weight 3": evolve(ADAPTIVE, cost="linear", weight=3.0, seeds=FEWER),
}
COMPARED = tuple(ARMS)[:9]
"""Those that differ in the rows of a step."""


# --- the likelihood -------------------------------------------------------------------------------


def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values whose means along each axis are 0: effects that no smaller term explains."""
    for axis in range(values.ndim):
        values = values - values.mean(axis=axis, keepdims=True)
    return values


def single(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the effects of a choice: half that more is better, ever less so, half chance."""
    more = centred(-(1 - (1 - np.arange(size) / (size - 1)) ** 2))
    chance = centred(rng.normal(size=size))
    both: NDArray[np.float64] = more / more.std() + chance / chance.std()
    return both * rng.lognormal(sigma=0.5)


def pair(sizes: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return what two choices do together."""
    return centred(rng.normal(size=sizes)) * rng.lognormal(sigma=0.5)


def likelihood(space: SearchSpace, shares: Sequence[float], *, rng: np.random.Generator) -> Table:
    """Return the mean negative log-likelihood [nats] of rows: a sum over choices and pairs.

    All terms are centred, so that uniform rows have exactly the mean `MEAN`, the standard
    deviation `SPREAD` and the ``shares`` of its square.
    """
    sizes = space.num_options
    groups = list(Distribution(space).groups.values())
    kinds = {
        number: {space.choices[c].name.rpartition("_")[2]: c for c in columns}
        for number, columns in enumerate(groups)
    }
    inside = [two for columns in groups for two in itertools.combinations(columns, 2)]
    across = [
        (kinds[number][one], kinds[number + 1][other])
        for number in range(len(groups) - 1)
        for one, other in LINKS
    ]
    parts = (
        [Term((c,), single(size, rng)) for c, size in enumerate(sizes) if size > 1],
        *(
            [
                Term((a, b), pair((sizes[a], sizes[b]), rng))
                for a, b in two
                if min(sizes[a], sizes[b]) > 1
            ]
            for two in (inside, across)
        ),
    )
    terms: list[Term] = []
    for part, share in zip(parts, shares, strict=True):
        variance = sum(float((term.values**2).mean()) for term in part)
        scale = SPREAD * math.sqrt(share / variance)
        terms += [Term(term.columns, term.values * scale) for term in part]
    return Table(space, "loss", "nats", terms, constant=MEAN)


def best_row(space: SearchSpace, terms: Iterable[Term]) -> NDArray[np.int64]:
    """Return the row int64 ``[d]`` of the least sum of terms, exactly.

    Only neighbouring groups share terms, so that choices can be eliminated one after the other
    (dynamic programming along the chain of groups).
    """
    steps = eliminate(space, live_terms(space, Table(space, "sum", "nats", list(terms)))[0])
    assert steps is not None, "few choices are open at a time"
    return np.asarray(extremes(steps, space.num_choices)[0])


@cache
def problem(space: str, shares: tuple[float, float, float], seed: int) -> tuple[Table, float]:
    """Return a likelihood and its optimum [nats]."""
    loss = likelihood(load(space), shares, rng=np.random.default_rng([seed, 0]))
    return loss, float(loss([best_row(loss.space, loss.terms)])[0])


@cache
def load(space: str) -> SearchSpace:
    """Return a published space."""
    return published.load(space)


@cache
def macs_of(space: str) -> Table:
    """Return its multiply-adds."""
    return nas_hw.macs(load(space))


@cache
def within_target(seed: int) -> tuple[float, float, float]:
    """Return what a row of at most `TARGET` multiply-adds can have, for a seed's likelihood.

    Returns:
        A bound below the loss of all such rows [nats], from the Lagrangian; the loss of one of
        them, which is as far from the optimum as from the bound at most; and the multiply-adds of
        the best row of all.
    """
    space, macs = load(F), macs_of(F)
    loss, _ = problem(F, SHARES, seed)
    bound, found = -math.inf, math.inf
    low, high = 0.0, 1e-6  # Nats for a multiply-add.
    for price in (low, high, *[None] * BISECTIONS):
        now = (low + high) / 2 if price is None else price
        priced = [Term(term.columns, term.values * now) for term in macs.terms]
        row = best_row(space, [*loss.terms, *priced])
        value, cost = float(loss([row])[0]), float(macs([row])[0])
        if price == 0:
            free = cost
        bound = max(bound, value + now * (cost - TARGET))
        if cost <= TARGET:
            found, high = min(found, value), now
        else:
            low = now
    return bound, found, free


# --- runs -----------------------------------------------------------------------------------------


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


def gradients() -> list[Record]:
    """Return cosines of the learner's gradient with the exact one, by the number of rows.

    The space has 1,728 rows in two groups of FBNetV2-F's kind; all of them give the exact one.
    """
    space = grouped_space(
        "two groups",
        (Group((1,), (12, 16), 1, 1), Group((0.75, 1.5, 2.25), (16, 20), 1, 2)),
        attention=(0, 1),
        classes=10,
        resolution=32,
        in_channels=3,
    )
    archs = np.array([*np.ndindex(*space.num_options)])
    rng = np.random.default_rng(0)
    loss = likelihood(space, SHARES, rng=rng)
    macs = nas_hw.macs(space)
    cost = CostHinge(macs, target=float(np.median(macs(archs))))
    records = []
    for joint in (False, True):
        distribution = Distribution(space, joint=joint)
        alive = distribution.alive
        distribution.values[alive] = rng.normal(0, 0.5, size=int(alive.sum()))
        sampler = EntropySampler(distribution, rng=rng)
        chances = np.exp(distribution.log_probability(archs))
        # All rows with their probabilities; as a mean of draws there is nothing to centre.
        likelihoods = chances * np.exp(MEAN - loss(archs))
        costs = chances * cost.excess(archs)
        weights = likelihoods / likelihoods.sum() - cost.weight * costs / costs.sum()
        exact = distribution.score(archs, weights).ravel()
        for paper_exact in (False, True):
            learner = PosteriorLearner(sampler, cost=cost, paper_exact=paper_exact)
            for count in COUNTS:
                cosines = []
                for _ in range(DRAWS):
                    drawn = distribution.sample(count, rng=rng)
                    found = learner.gradient(drawn, loss(drawn)).ravel()
                    norms = np.linalg.norm(found) * np.linalg.norm(exact)
                    cosines.append(round(float(found @ exact / norms), 6))
                records.append(
                    {"joint": joint, "printed": paper_exact, "rows": count, "cosines": cosines}
                )
    return records


def contrast(temperature: float) -> float:
    """Return the mean of the largest posterior weight of 14 uniform rows; equal ones have 1/14."""
    rng = np.random.default_rng(0)
    loss, _ = problem(F, SHARES, SEEDS[0])
    tops = [
        posterior_weights(loss(loss.space.sample(14, rng=rng)), temperature).max()
        for _ in range(200)
    ]
    return float(np.mean(tops))


def read() -> Record:
    """Return what is recorded."""
    return common.read(RESULTS) if RESULTS.exists() else {"gradients": [], "runs": []}


def write(results: Record) -> None:
    """Write the results, a run a line."""
    parts = [
        f" {json.dumps(key)}: [\n  " + ",\n  ".join(map(json.dumps, rows)) + "\n ]"
        for key, rows in results.items()
        if rows
    ]
    RESULTS.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def run_all(names: Iterable[str]) -> None:
    """Make the runs that are not recorded yet, one at a time."""
    results: Record = {"gradients": [], "runs": []} | read()
    stamp = {
        "device": common.device(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    if not results["gradients"]:
        results["gradients"] = gradients()
        write(results)
    done = {(one["arm"], one["seed"]) for one in results["runs"]}
    for name in names:
        for seed in ARMS[name].seeds:
            if (name, seed) not in done:
                results["runs"].append({"arm": name, **run(ARMS[name], seed), **stamp})
                write(results)


# --- tables ---------------------------------------------------------------------------------------

Runs = dict[str, dict[int, Record]]
Interval = tuple[float, float, float]
"""Mean, and the ends of its 95 % interval."""


def recorded() -> Runs:
    """Return the runs by arm and seed; all arms are there."""
    runs: Runs = {name: {} for name in ARMS}
    for one in read()["runs"]:
        if one["arm"] in runs:
            runs[one["arm"]][one["seed"]] = one
    missing = [name for name, arm in ARMS.items() if set(arm.seeds) - runs[name].keys()]
    if missing:
        raise SystemExit(f"not all is recorded yet: --only {missing[0]!r} is missing")
    return runs


def shown(runs: Runs, arm: str, key: str, form: str = ".3f", scale: float = 1.0) -> str:
    """Return the mean and the range of a field."""
    return common.spread((one[key] * scale for one in runs[arm].values()), form)


def differences(
    runs: Runs, arm: str, base: str, of: Callable[[Record], float]
) -> NDArray[np.float64]:
    """Return the differences of two arms, one for each seed that both have."""
    seeds = sorted(runs[arm].keys() & runs[base].keys())
    return np.array([of(runs[arm][seed]) - of(runs[base][seed]) for seed in seeds])


def around(values: NDArray[np.float64]) -> Interval:
    """Return a mean with Student's t interval at 95 %."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    mean = float(values.mean())
    return mean, mean - half, mean + half


def excess_of(one: Record) -> float:
    """Return the excess that a run ends with [nats]."""
    return float(one["excess"])


def paired(runs: Runs, arm: str, base: str, of: Callable[[Record], float] = excess_of) -> Interval:
    """Return how two arms differ, seed by seed: a seed is a likelihood."""
    return around(differences(runs, arm, base, of))


def interval(difference: Interval) -> str:
    """Return a difference in words."""
    mean, low, high = difference
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def verdict(difference: Interval) -> str:
    """Return what a difference of excesses says of an arm."""
    _, low, high = difference
    if high <= 0:
        return "better"
    if high <= MARGIN:
        return "equal" if low <= 0 else "equal, a little worse"
    return "worse" if low > 0 else "not settled"


def ratio(runs: Runs, arm: str, base: str, against: Interval) -> str:
    """Return how many samples an arm takes, in those of another one that is not better."""
    if against[2] > MARGIN:
        return "-"
    seeds = sorted(runs[arm].keys() & runs[base].keys())
    ratios = [runs[arm][s]["sampled"] / runs[base][s]["sampled"] for s in seeds]
    return common.spread(ratios)


def first_reached(runs: Runs, arm: str) -> str:
    """Return the median of the samples to the mark, those that did not come there above all."""
    taken = common.uncensored(one["reached"] for one in runs[arm].values())
    median = float(np.median(taken))
    words = f"{median:,.0f}" if math.isfinite(median) else "not reached"
    return f"{words} ({sum(map(math.isfinite, taken))} of {len(taken)})"


def rows_table(runs: Runs) -> str:
    """Return entropy against fixed numbers, as Markdown."""
    lines = []
    for name in COMPARED:
        arm = ARMS[name]
        against = paired(runs, name, "K = 14")
        first = (
            round(arm.rows * runs[name][SEEDS[0]]["nats"])
            if isinstance(arm.rows, float)
            else arm.rows
        )
        lines.append(
            [
                name,
                f"{len(runs[name])}",
                f"{arm.steps:,}",
                f"{first}",
                shown(runs, name, "sampled", ",.0f"),
                shown(runs, name, "excess"),
                "-" if name == "K = 14" else f"{interval(against)}: {verdict(against)}",
                "-" if name == "K = 14" else ratio(runs, name, "K = 14", against),
                first_reached(runs, name),
            ]
        )
    head = (
        "rows of a step",
        "seeds",
        "steps",
        "rows of the first",
        "sampled",
        "excess of the mode [nats]",
        "minus that of K = 14 (95 %)",
        "sampled / those of K = 14",
        f"sampled to an excess of {MARK} (reached)",
    )
    pairs = (
        ("λ = 1/4", "K = 4"),
        ("λ = 1/4", "K = 7"),
        ("λ = 1/8", "K = 4"),
        ("λ = 1/4, slower", "K = 14, slower"),
        ("λ = 1/2", "K = 28"),
        ("joint", "K = 14, joint"),
        ("joint from 1/4", "K = 14, joint"),
    )
    labels = {
        "joint": "λ = 1/4, joint",
        "joint from 1/4": "λ = 1/4, joint from 1/4 of the steps (FP-NAS)",
        "K = 14, joint": "K = 14, joint (PARSEC)",
    }
    more = []
    for arm_name, base in pairs:
        against = paired(runs, arm_name, base)
        more.append(
            [
                labels.get(arm_name, arm_name),
                labels.get(base, base),
                f"{interval(against)}: {verdict(against)}",
                ratio(runs, arm_name, base, against),
            ]
        )
    other = common.table(("first", "second", "difference of excess (95 %)", "samples"), more)
    pictures = "![excess and entropy](synthetic.svg)"
    return "\n\n".join([common.table(head, lines), "Other pairs:", other, pictures])


def temperature_table(runs: Runs) -> str:
    """Return what temperatures give, as Markdown."""
    lines = []
    for name, temperature in (
        ("λ = 1/4", 1.0),
        ("temperature 0.1", 0.1),
        ("temperature 1/256", PRODUCT),
        ("printed", 1.0),
        ("printed, temperature 0.1", 0.1),
    ):
        lines.append(
            [
                f"{temperature:.3g}",
                "as printed" if name.startswith("printed") else "centred",
                f"{contrast(temperature):.2f}",
                shown(runs, name, "sampled", ",.0f"),
                shown(runs, name, "entropy", ".1f"),
                shown(runs, name, "excess"),
            ]
        )
    head = (
        "temperature",
        "weights",
        "largest of 14 weights at the start",
        "sampled",
        "entropy at the end [nats]",
        "excess [nats]",
    )
    return common.table(head, lines)


def joint_table(runs: Runs) -> str:
    """Return joint against factorised, as Markdown."""
    lines = []
    for name, label, base in (
        ("λ = 1/4", "factorised", None),
        ("joint from 1/4", "joint from 1/4 of the steps", "λ = 1/4"),
        ("joint from 1/2", "joint from 1/2 of the steps", "λ = 1/4"),
        ("joint", "joint", "λ = 1/4"),
        ("K = 14, joint", "joint, K = 14 (PARSEC)", "λ = 1/4"),
        ("pairs, factorised", "factorised; more of pairs", None),
        ("pairs, joint from 1/4", "joint from 1/4; more of pairs", "pairs, factorised"),
        ("pairs, joint", "joint; more of pairs", "pairs, factorised"),
    ):
        against = None if base is None else paired(runs, name, base)
        lines.append(
            [
                label,
                str(len(runs[name])),
                shown(runs, name, "sampled", ",.0f"),
                shown(runs, name, "excess"),
                "-" if against is None else f"{interval(against)}: {verdict(against)}",
                first_reached(runs, name),
            ]
        )
    head = (
        "distribution",
        "seeds",
        "sampled",
        "excess [nats]",
        "minus that of the factorised one (95 %)",
        f"sampled to {MARK} (reached)",
    )
    return common.table(head, lines)


def growth_table(runs: Runs) -> str:
    """Return what larger spaces take, as Markdown."""

    def left(one: Record) -> float:
        return float(100 * one["excess"] / (MEAN - one["optimum"]))

    nats = runs["λ = 1/4"][SEEDS[0]]["nats"]
    lines = []
    for space in (F, *LARGER):
        tail = "" if space == F else f", {space}"
        adaptive, fixed = f"λ = 1/4{tail}", f"K = 14{tail}"
        own = runs[adaptive][SEEDS[0]]["nats"]
        times = (own - nats) / math.log(10)
        against = paired(runs, adaptive, fixed)
        lines.append(
            [
                space,
                f"{own:.1f}",
                "1" if space == F else f"10^{times:.1f}",
                f"{round(0.25 * own)}",
                shown(runs, adaptive, "sampled", ",.0f"),
                ratio(runs, adaptive, fixed, against),
                shown(runs, adaptive, "excess"),
                shown(runs, fixed, "excess"),
                f"{interval(against)}: {verdict(against)}",
                " / ".join(
                    f"{np.mean([left(one) for one in runs[name].values()]):.1f}"
                    for name in (adaptive, fixed)
                ),
            ]
        )
    head = (
        "space",
        "nats",
        "times FBNetV2-F",
        "first K at λ = 1/4",
        "sampled",
        "of those of K = 14",
        "excess, λ = 1/4 [nats]",
        "excess, K = 14 [nats]",
        "difference (95 %)",
        "of what is to be gained [%]",
    )
    larger = [
        differences(runs, f"λ = 1/4, {space}", f"K = 14, {space}", excess_of) for space in LARGER
    ]
    pooled = around(np.concatenate(larger))
    note = (
        f"All pairs in larger spaces, {sum(map(len, larger))} in number: {interval(pooled)} nats, "
        f"{verdict(pooled)}."
    )
    return f"{common.table(head, lines)}\n\n{note}"


def reinforcement_table(runs: Runs) -> str:
    """Return what weights that are not centred do, as Markdown."""
    lines = []
    for name, rows, weights, likelihoods in (
        ("λ = 1/4", "λ = 1/4", "centred", "as above"),
        ("printed", "λ = 1/4", "as printed", "as above"),
        ("K = 14", "K = 14", "centred", "as above"),
        ("printed, K = 14", "K = 14", "as printed", "as above"),
        ("equal", "λ = 1/4", "centred", "all equal"),
        ("equal, printed", "λ = 1/4", "as printed", "all equal"),
        ("equal, printed, K = 14", "K = 14", "as printed", "all equal"),
        ("noise", "λ = 1/4", "centred", "all equal but for noise"),
        ("noise, K = 14", "K = 14", "centred", "all equal but for noise"),
        ("noise, printed", "λ = 1/4", "as printed", "all equal but for noise"),
    ):
        one = ARMS[name]
        lines.append(
            [
                likelihoods,
                weights,
                rows,
                str(len(runs[name])),
                shown(runs, name, "sampled", ",.0f"),
                shown(runs, name, "entropy", ".1f"),
                shown(runs, name, "excess") if one.signal else "-",
            ]
        )
    head = (
        "likelihoods",
        "weights",
        "rows",
        "seeds",
        "sampled",
        "entropy at the end [nats]",
        "excess [nats]",
    )
    start = runs["λ = 1/4"][SEEDS[0]]["nats"]
    return f"{common.table(head, lines)}\n\nAll begin at {start:.2f} nats."


def cost_table(runs: Runs) -> str:
    """Return where modes end against the target, as Markdown."""
    names = [name for name, arm in ARMS.items() if arm.cost]
    lines = []
    for name in names:
        ends = runs[name].values()
        inside = sum(one["mode_macs"] <= TARGET for one in ends)
        lines.append(
            [
                name,
                shown(runs, name, "sampled", ",.0f"),
                shown(runs, name, "entropy", ".1f"),
                shown(runs, name, "expected_macs", scale=1 / TARGET),
                shown(runs, name, "mode_macs", scale=1 / TARGET),
                f"{inside} of {len(ends)}",
                shown(runs, name, "answer_macs", scale=1 / TARGET),
                shown(runs, name, "answer_excess"),
            ]
        )
    head = (
        "hinge",
        "sampled",
        "entropy [nats]",
        "expected cost / target",
        "mode / target",
        "modes within",
        "answer / target",
        "excess of the answer [nats]",
    )
    optima = shown(runs, names[0], "optimum_macs", ".2f", 1 / TARGET)
    gap = max(one["reference_excess"] for one in runs[names[0]].values())
    note = (
        f"Target {TARGET / 1e6:g} million multiply-adds, {len(FEWER)} seeds. The best row of all "
        f"has {optima} of it. The excess is that over a bound which no row within the target can "
        f"pass; some row comes as near to it as {gap:.3f} nats in every seed."
    )
    pairs = []
    for kind in ("log", "linear"):
        arm, base = f"{kind}, λ = 1/4", f"{kind}, K = 14"
        against = paired(runs, arm, base, lambda one: float(one["answer_excess"]))
        pairs.append(
            f"λ = 1/4 minus K = 14, {kind} hinge: {interval(against)} nats, {verdict(against)}; "
            f"samples: {ratio(runs, arm, base, against)}."
        )
    return "\n\n".join([common.table(head, lines), note, *pairs])


def gradient_table(records: Sequence[Record]) -> str:
    """Return cosines with the exact gradient, as Markdown."""
    kinds = list(itertools.product((False, True), (False, True)))
    found = {(one["joint"], one["printed"], one["rows"]): one["cosines"] for one in records}
    counts = sorted({one["rows"] for one in records})
    lines = [
        [
            f"{count:,}",
            *(common.spread(found[joint, printed, count], ".5f") for joint, printed in kinds),
        ]
        for count in counts
    ]
    head = ["rows K"]
    for joint, printed in kinds:
        distribution = "joint" if joint else "factorised"
        head.append(f"{distribution}, {'as printed' if printed else 'centred'}")
    return common.table(head, lines)


def draw(runs: Runs) -> None:
    """Draw excess by samples, and what becomes of the entropy."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name in COMPARED[:7]:
        curves = [runs[name][seed]["curve"] for seed in SEEDS]
        sampled, excess = (
            np.mean([c[key] for c in curves], axis=0) for key in ("sampled", "excess")
        )
        left.plot(sampled, excess, "-" if name.startswith("λ") else "--", label=name)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlim(left=500)
    left.set_ylim(top=1)
    left.set_xlabel("architectures sampled")
    left.set_ylabel("excess of the mode [nats], mean of ten seeds")
    left.legend(fontsize="small")
    for name, label in (
        ("λ = 1/4", "centred"),
        ("printed", "as printed"),
        ("equal", "all equal, centred"),
        ("equal, printed", "all equal, as printed"),
        ("noise", "all equal but for noise, centred"),
        ("noise, printed", "all equal but for noise, as printed"),
    ):
        curves = [one["curve"] for one in runs[name].values()]
        x = np.linspace(1, ARMS[name].steps, len(curves[0]["entropy"]))
        right.plot(x, np.mean([c["entropy"] for c in curves], axis=0), label=label)
    right.set_xlabel("training steps, λ = 1/4")
    right.set_ylabel("entropy [nats]")
    right.legend(fontsize="small")
    common.save(figure, HERE / "synthetic.svg")


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
