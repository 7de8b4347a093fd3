"""Rewards of reinforcement learning, from the values that a searcher is told.

Tukey, "Exploratory Data Analysis", 1977.
"""

from typing import Protocol

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces import FeasibleSet, InputError, Metric, Table

__all__ = ["Accuracy", "Reward", "WeightedProduct", "outlier_floor", "spread"]

# Distances of the quartiles, Tukey's outer fence.
FENCE = 3.0
# Relative; equal rewards differ by it.
ROUNDING = 1e-12


class Reward(Protocol):
    """What is maximised."""

    def __call__(
        self, archs: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return rewards ``[n]`` of rows ``[n, d]`` whose values ``[n, m]`` were told."""


@frozen
class Accuracy:
    """One minus the error, the first value told, in [0, 1].

    >>> Accuracy()(np.zeros((1, 3), dtype=np.int64), np.array([[0.25, 7.0]])).tolist()
    [0.75]
    """

    def __call__(
        self, archs: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return rewards ``[n]``."""
        rewards: NDArray[np.float64] = 1 - values[:, 0]
        return rewards


@frozen
class WeightedProduct:
    """Accuracy times (cost / target)^exponent: MnasNet, Tan et al., CVPR 2019, equation 2.

    FNAS prints the same without an exponent's value; we use MnasNet's for a soft constraint.

    Args:
        cost: any metric of rows: a `nas_spaces.Table`, measured latency, ...
        target: cost at which the reward is the accuracy, in the metric's unit, above 0.
        exponent: at most 0, so that a larger cost is never worth more; -0.07 is MnasNet's soft
            constraint, under which twice the cost must bring 5 % more accuracy.
        hard: costs below the target are worth no more than the target (MnasNet's hard constraint
            has exponent -1 and this).

    Raises:
        InputError: a target or exponent out of range; a cost that is not above 0.

    >>> from nas_spaces import Table, published
    >>> space = published.load("nas-bench-macro")
    >>> depth = Table.from_primitives(space, "depth", "layers", lambda p: p.name == "depthwise")
    >>> reward = WeightedProduct(depth, target=4)
    >>> archs = np.array([[2] * 4 + [0] * 4, [2] * 8])
    >>> reward(archs, np.array([[0.25], [0.25]])).round(4).tolist()
    [0.75, 0.7145]
    """

    cost: Metric
    target: float
    exponent: float = -0.07
    hard: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.target > 0 or not np.isfinite(self.target):
            raise InputError(f"target={self.target} must be a finite number above 0")
        if not self.exponent <= 0 or not np.isfinite(self.exponent):
            raise InputError(
                f"exponent={self.exponent} must be a finite number, at most 0: above it the reward "
                "would grow with the cost"
            )

    def check_target(self, feasible: FeasibleSet) -> None:
        """Refuse a target that no architecture can be near to.

        Limits on the same cost count, those on others do not. What a metric attains that is no
        `nas_spaces.Table` is not known; it is not checked.

        Raises:
            InputError: a target outside the attainable range of the cost.
        """
        if not isinstance(self.cost, Table):
            return
        low, high = feasible.attainable(self.cost)
        for limit in feasible.limits:
            if limit.metric.name == self.cost.name:
                low = max(low, -np.inf if limit.lower is None else limit.lower)
                high = min(high, np.inf if limit.upper is None else limit.upper)
        if not low <= self.target <= high:
            within = " within the limits" if feasible.limits else ""
            raise InputError(
                f"target={self.target:,} {self.cost.unit} is outside what {self.cost.name} can "
                f"be{within}: {low:,} to {high:,}; choose one inside"
            )

    def __call__(
        self, archs: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return rewards ``[n]``."""
        ratio = np.asarray(self.cost(archs), dtype=np.float64) / self.target
        if self.hard:
            ratio = np.maximum(ratio, 1.0)
        if not (ratio > 0).all():
            row = archs[int(np.argmin(ratio))].tolist()
            raise InputError(
                f"{self.cost.name} of architecture {row} is not above 0; the reward "
                "(cost / target)^exponent needs a positive cost"
            )
        rewards: NDArray[np.float64] = (1 - values[:, 0]) * ratio**self.exponent
        return rewards


def outlier_floor(rewards: NDArray[np.float64]) -> float:
    """Return below which rewards ``[n]`` are outliers: what learns takes such for this value.

    A candidate that could not be trained has a reward of 0 among others between 0.90 and 0.92.
    Taken as it is, it alone would decide their scale, by which all others are equal.

    The floor lies three quartile distances below the first quartile. Where quartiles are equal, as
    rewards from few held-out images may be, outer tenths take their place. There is no floor, -inf,
    where these are equal too. If more than a quarter of the rewards are low, they are no outliers.

    Args:
        rewards: of networks that were measured, each once.

    >>> float(np.round(outlier_floor(np.array([0.0, 0.90, 0.90, 0.91, 0.92])), 4))
    0.87
    """
    if not len(rewards):
        return -np.inf
    for tail in (0.25, 0.1):
        low, high = np.quantile(rewards, [tail, 1 - tail])
        if high - low > ROUNDING * max(1.0, abs(high)):
            return float(low - FENCE * (high - low))
    return -np.inf


def spread(rewards: NDArray[np.float64]) -> float:
    """Return the standard deviation of rewards ``[n]``; 0 if they are equal or there are none."""
    if not len(rewards):
        return 0.0
    std = float(rewards.std())
    return std if std > ROUNDING * max(1.0, abs(float(rewards.mean()))) else 0.0
