"""The arms of synthetic.py: which kinds of runs there are, and on which seeds."""

from typing import Literal

from attrs import evolve, frozen
from synthetic_problem import SHARES, F

STEPS, LR = 3000, 0.016
SEEDS = tuple(range(100, 110))
"""Seeds below 100 served to find out how many steps are enough."""
MORE, FEWER, FEWEST = (*SEEDS, *range(110, 130)), SEEDS[:6], SEEDS[:3]
"""Ten do not tell the three apart that matter most; these have thirty."""
NOISE = 0.03
"""What a held-out batch adds to each row by itself [nats]."""
MARK = 0.15
"""Excess that a mode has to come down to [nats]."""
LARGER = ("fbnetv2-f++", "fp-nas-l0", "fp-nas-l1", "fbnetv2-fine")


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
