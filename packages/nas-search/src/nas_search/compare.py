"""What a search was worth: its winner against random architectures."""

import math

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike

from nas_spaces import InputError

__all__ = ["Difference", "difference"]


@frozen
class Difference:
    """A winner against others, in the unit of the scores.

    ``difference``: the winner's score minus the others' mean. ``low``, ``high``: the interval
    around it at ``confidence``. ``measurable``: whether the interval excludes 0. ``spread``: the
    others' standard deviation; where it is 0 the noise is not known (the scores are coarser than
    it), low and high equal the difference and nothing is called measurable.
    """

    difference: float
    low: float
    high: float
    confidence: float
    measurable: bool
    spread: float


def difference(winner: float, others: ArrayLike, confidence: float = 0.95) -> Difference:
    """Compare the winner's score with those of random architectures trained the same way.

    The interval is Student's t prediction interval for one more score of the others' kind:
    half its width is ``t * s * sqrt(1 + 1/n)`` with n - 1 degrees of freedom and s the others'
    standard deviation. An interval for the mean alone, ``s / sqrt(n)``, would be too narrow: the
    winner is trained once, so that its own score is as noisy as the spread among the others. A
    measurable difference thus says that a random architecture would hardly score like this.

    Args:
        winner: its score, in any unit.
        others: ``[n]`` scores in the same unit, n at least 2.
        confidence: of the interval, between 0 and 1.

    Raises:
        InputError: fewer than two others, scores that are not finite, or another confidence.

    >>> result = difference(97.8, [97.0, 97.2, 96.9, 97.3, 97.1])
    >>> f"{result.difference:+.2f} ({result.low:+.2f} to {result.high:+.2f})"
    '+0.70 (+0.22 to +1.18)'
    >>> result.measurable
    True
    """
    from scipy import stats  # noqa: PLC0415  (slow to import)

    scores = np.asarray(others, dtype=np.float64)
    if scores.ndim != 1 or len(scores) < 2:
        raise InputError(
            f"others has shape {scores.shape}; a comparison needs the scores [n] of at least 2 "
            "random architectures"
        )
    if not (math.isfinite(winner) and np.isfinite(scores).all()):
        raise InputError(
            f"scores must be finite; received winner={winner}, others={scores.tolist()}"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} must lie between 0 and 1")
    n = len(scores)
    delta = float(winner - scores.mean())
    # Equal scores can leave a rounding error in the standard deviation.
    spread = float(scores.std(ddof=1)) if scores.min() < scores.max() else 0.0
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    half = quantile * spread * math.sqrt(1 + 1 / n)
    measurable = spread > 0 and abs(delta) > half
    return Difference(delta, delta - half, delta + half, confidence, measurable, spread)
