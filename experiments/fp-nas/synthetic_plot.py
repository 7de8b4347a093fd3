"""The plot of synthetic.py in README.md."""

from pathlib import Path

import common
import numpy as np
from common import pyplot
from synthetic_arms import ARMS, COMPARED, SEEDS
from synthetic_results import Runs

HERE = Path(__file__).parent


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
