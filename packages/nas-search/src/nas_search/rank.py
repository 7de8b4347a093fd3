"""How well one score ranks architectures by another."""

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces import InputError

__all__ = ["Kendall", "kendall"]


@frozen
class Kendall:
    """A rank correlation with its interval.

    ``tau``: Kendall's tau-b in [-1, 1]. ``low``, ``high``: percentile interval of the bootstrap at
    ``confidence``. All three are None where tau is undefined; ``undefined`` then says why.
    """

    tau: float | None
    low: float | None
    high: float | None
    confidence: float
    undefined: str | None = None


def kendall(
    a: ArrayLike,
    b: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Kendall:
    """Return Kendall's tau-b of two scores ``[n]`` of the same architectures.

    The interval comes from drawing architectures with replacement; draws in which a score is
    constant are left out.

    Args:
        a: scores ``[n]``.
        b: scores ``[n]``.
        rng: draws the bootstrap.
        confidence: of the interval, between 0 and 1.
        resamples: draws of the bootstrap.

    Raises:
        InputError: scores of different or other shapes, or not finite; another confidence; no
            resamples.

    >>> result = kendall([1, 2, 3, 4], [1, 3, 2, 4], rng=np.random.default_rng(0))
    >>> round(result.tau, 3)
    0.667
    >>> kendall([1, 2, 3], [5, 5, 5], rng=np.random.default_rng(0)).undefined
    'b is constant'
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"a has shape {x.shape} and b has shape {y.shape}; expected [n] twice")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("a and b must be finite")
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} must lie between 0 and 1")
    if resamples < 1:
        raise InputError(f"resamples={resamples} must be at least 1")
    for name, scores in (("a", x), ("b", y)):
        if _constant(scores):
            return Kendall(None, None, None, confidence, f"{name} is constant")
    draws = []
    for _ in range(resamples):
        rows = rng.integers(len(x), size=len(x))
        if not (_constant(x[rows]) or _constant(y[rows])):
            draws.append(_tau(x[rows], y[rows]))
    tail = (1 - confidence) / 2
    # Few pairs and few resamples can leave no draw; the estimate itself is one.
    low, high = np.quantile(draws or [_tau(x, y)], [tail, 1 - tail])
    return Kendall(_tau(x, y), float(low), float(high), confidence)


def _constant(scores: NDArray[np.float64]) -> bool:
    return len(scores) < 2 or bool((scores == scores[0]).all())


def _tau(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    from scipy import stats  # noqa: PLC0415  (slow to import)

    return float(stats.kendalltau(x, y).statistic)
