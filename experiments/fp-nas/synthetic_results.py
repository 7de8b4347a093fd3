"""The records of synthetic.py, in synthetic.json, and how two arms of them differ."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
from common import Record
from numpy.typing import NDArray
from scipy import stats
from synthetic_arms import ARMS

from nas_spaces.files import replace_file

RESULTS = Path(__file__).parent / "synthetic.json"
MARGIN = 0.02
"""Difference of excesses that counts as none [nats]."""

Runs = dict[str, dict[int, Record]]
Interval = tuple[float, float, float]
"""Mean, and the ends of its 95 % interval."""


def read() -> Record:
    """Return what is recorded."""
    found = common.read(RESULTS) if RESULTS.exists() else {}
    return {"gradients": [], "runs": []} | found


def write(results: Record) -> None:
    """Write the results, a run a line, whole or not at all."""
    parts = [
        f" {json.dumps(key)}: [\n  " + ",\n  ".join(map(json.dumps, rows)) + "\n ]"
        for key, rows in results.items()
        if rows
    ]
    replace_file(RESULTS, "{\n" + ",\n".join(parts) + "\n}\n")


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


def judged(difference: Interval) -> str:
    """Return a difference of excesses in words, and what it says."""
    return f"{interval(difference)}: {verdict(difference)}"


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
