"""The tables of synthetic.py in README.md, as Markdown."""

import math

import common
import numpy as np
from common import Record
from synthetic_arms import ARMS, COMPARED, FEWER, LARGER, MARK, PRODUCT, SEEDS
from synthetic_problem import MEAN, SHARES, TARGET, F, problem
from synthetic_results import (
    Runs,
    around,
    differences,
    excess_of,
    first_reached,
    interval,
    judged,
    paired,
    ratio,
    shown,
    verdict,
)

from nas_samplers import posterior_weights


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
                "-" if name == "K = 14" else judged(against),
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
                judged(against),
                ratio(runs, arm_name, base, against),
            ]
        )
    other = common.table(("first", "second", "difference of excess (95 %)", "samples"), more)
    pictures = "![excess and entropy](synthetic.svg)"
    return "\n\n".join([common.table(head, lines), "Other pairs:", other, pictures])


def contrast(temperature: float) -> float:
    """Return the mean of the largest posterior weight of 14 uniform rows; equal ones have 1/14."""
    rng = np.random.default_rng(0)
    loss, _ = problem(F, SHARES, SEEDS[0])
    tops = [
        posterior_weights(loss(loss.space.sample(14, rng=rng)), temperature).max()
        for _ in range(200)
    ]
    return float(np.mean(tops))


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
                "-" if against is None else judged(against),
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
                judged(against),
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
