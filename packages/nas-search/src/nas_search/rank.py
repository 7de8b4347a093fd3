"""How well one score ranks architectures by another: lower is better in both.

Every interval is a percentile interval of the bootstrap: architectures are drawn with replacement,
and draws for which the statistic is undefined are left out.
"""

import itertools
import math

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import InputError

__all__ = ["Kendall", "TauDifference", "kendall", "repeatability", "tau_difference", "top_k_regret"]

Floats = NDArray[np.float64]

# Rows that are compared with all others at once, to bound memory.
BLOCK = 512


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


@frozen
class TauDifference:
    """How much better one score ranks than another, on the same architectures.

    ``difference``: tau of the first minus tau of the second. ``low``, ``high``: its interval at
    ``confidence``. All three are None where it is undefined; ``undefined`` then says why.
    ``verdict``: ``"better"`` or ``"worse"`` where the interval lies above or below 0, ``"no
    better"`` where it holds 0, ``"undefined"``.
    """

    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    undefined: str | None = None

    @property
    def verdict(self) -> str:
        """What the interval says of the first score."""
        if self.low is None or self.high is None:
            return "undefined"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no better"


def kendall(
    a: ArrayLike,
    b: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Kendall:
    """Return Kendall's tau-b of two scores ``[n]`` of the same architectures.

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
    x, y = _scores(a=a, b=b)
    _check(confidence, resamples)
    undefined = _undefined(a=x, b=y)
    if undefined is not None:
        return Kendall(None, None, None, confidence, undefined)
    tau = _tau(x, y)
    drawn = _drawn_taus(x, y, _draws(len(x), resamples, rng))
    return Kendall(tau, *_interval(drawn, tau, confidence), confidence)


def tau_difference(
    a: ArrayLike,
    b: ArrayLike,
    truth: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> TauDifference:
    """Compare how two scores ``[n]`` rank the same architectures by the truth ``[n]``.

    The bootstrap is paired: both taus of a draw are of the same architectures. What makes a set of
    architectures easy or hard to rank then cancels, which two intervals side by side would count
    twice.

    Args:
        a: scores ``[n]``.
        b: scores ``[n]``.
        truth: what they are to rank by ``[n]``.
        rng: draws the bootstrap.
        confidence: of the interval, between 0 and 1.
        resamples: draws of the bootstrap.

    Raises:
        InputError: see `kendall`.

    >>> rng = np.random.default_rng(0)
    >>> truth = np.arange(40)
    >>> tau_difference(truth + rng.normal(size=40), rng.normal(size=40), truth, rng=rng).verdict
    'better'
    """
    x, y, z = _scores(a=a, b=b, truth=truth)
    _check(confidence, resamples)
    undefined = _undefined(a=x, b=y, truth=z)
    if undefined is not None:
        return TauDifference(None, None, None, confidence, undefined)
    value = _tau(x, z) - _tau(y, z)
    draws = _draws(len(x), resamples, rng)
    drawn = _drawn_taus(x, z, draws) - _drawn_taus(y, z, draws)
    return TauDifference(value, *_interval(drawn, value, confidence), confidence)


def repeatability(
    repeats: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Kendall:
    """Return the mean tau-b between repeated trainings ``[n, r]`` of the same architectures.

    It is how far one training agrees with another, and so about what any other score can reach;
    one without noise of its own could rank a little better, since here both sides have some.

    Args:
        repeats: scores ``[n, r]``, a column for each training, r at least 2.
        rng: draws the bootstrap.
        confidence: of the interval, between 0 and 1.
        resamples: draws of the bootstrap.

    Raises:
        InputError: another shape, scores that are not finite; another confidence; no resamples.

    >>> repeats = [[1, 1], [2, 3], [3, 2], [4, 4]]
    >>> round(repeatability(repeats, rng=np.random.default_rng(0)).tau, 3)
    0.667
    """
    scores = np.asarray(repeats, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise InputError(f"repeats has shape {scores.shape}; expected [n, r] with r at least 2")
    if not np.isfinite(scores).all():
        raise InputError("repeats must be finite")
    _check(confidence, resamples)
    undefined = _undefined(**{f"training {i}": column for i, column in enumerate(scores.T)})
    if undefined is not None:
        return Kendall(None, None, None, confidence, undefined)
    pairs = list(itertools.combinations(scores.T, 2))
    tau = sum(_tau(x, y) for x, y in pairs) / len(pairs)
    draws = _draws(len(scores), resamples, rng)
    drawn = np.stack([_drawn_taus(x, y, draws) for x, y in pairs]).mean(axis=0)
    return Kendall(tau, *_interval(drawn, tau, confidence), confidence)


def top_k_regret(score: ArrayLike, truth: ArrayLike, k: int) -> float:
    """Return what choosing among the top ``k`` of a score costs, in the unit of the truth.

    That is the best truth among the k architectures of the lowest score, less the best of all:
    what is lost by somebody who trains k of n from scratch and keeps the best. Where equal scores
    compete for the last places, it is the mean over all ways to give them away.

    Args:
        score: ``[n]``, lower is better.
        truth: ``[n]``, lower is better.
        k: how many are chosen; more than n choose all.

    Raises:
        InputError: scores of different or other shapes, empty or not finite; k below 1.

    >>> top_k_regret([1, 2, 3], [0.5, 0.25, 0.0], 1)
    0.5
    >>> top_k_regret([1, 1, 3], [0.5, 0.25, 0.0], 1)
    0.375
    """
    x, y = _scores(score=score, truth=truth)
    candidates.at_least(1, k=k)
    if not len(x):
        raise InputError("score is empty; a regret needs at least one architecture")
    k = min(k, len(x))
    last = np.sort(x)[k - 1]
    certain, tied = y[x < last], np.sort(y[x == last])
    best = certain.min(initial=math.inf)
    places = k - len(certain)
    # The i-th best of the tied is the best that is drawn where the other places go to worse ones.
    ways = [math.comb(len(tied) - 1 - i, places - 1) for i in range(len(tied))]
    every = math.comb(len(tied), places)
    chosen = sum(w / every * min(best, t) for w, t in zip(ways, tied.tolist(), strict=True))
    return max(float(chosen - y.min()), 0.0)


def _scores(**given: ArrayLike) -> list[Floats]:
    """Return scores as float64 ``[n]``; refuse other shapes and what is not finite."""
    arrays = {name: np.asarray(scores, dtype=np.float64) for name, scores in given.items()}
    first = next(iter(arrays.values()))
    if any(x.ndim != 1 or x.shape != first.shape for x in arrays.values()):
        shapes = " and ".join(f"{name} has shape {x.shape}" for name, x in arrays.items())
        raise InputError(f"{shapes}; expected [n] of the same n")
    if not all(np.isfinite(x).all() for x in arrays.values()):
        raise InputError(f"{' and '.join(arrays)} must be finite")
    return list(arrays.values())


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} must lie between 0 and 1")
    candidates.at_least(1, resamples=resamples)


def _undefined(**given: Floats) -> str | None:
    """Return why tau of scores ``[n]`` is undefined; None where it is not."""
    n = len(next(iter(given.values())))
    if n < 2:
        return f"tau compares pairs of architectures and there are {n}: give scores of 2 or more"
    constant = [name for name, scores in given.items() if (scores == scores[0]).all()]
    return f"{constant[0]} is constant" if constant else None


def _tau(x: Floats, y: Floats) -> float:
    from scipy import stats  # noqa: PLC0415  (slow to import)

    return float(stats.kendalltau(x, y).statistic)


def _draws(n: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Return ``[resamples, n]``: how often each row is in each draw of ``n`` with replacement."""
    rows = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(rows.ravel(), minlength=n * resamples).reshape(-1, n).astype(np.float64)


def _drawn_taus(x: Floats, y: Floats, draws: Floats) -> Floats:
    """Return tau-b of each of ``draws [r, n]``, NaN where it is undefined.

    Weights take the place of repeated rows, so that all draws share one comparison of all pairs,
    which takes a small part of the time of calling scipy for each.
    """
    n = len(x)
    concordant = np.zeros(len(draws))  # less the discordant, each pair counted twice
    for start in range(0, n, BLOCK):
        block = slice(start, start + BLOCK)
        signs = np.sign(x[block, None] - x) * np.sign(y[block, None] - y)
        concordant += ((draws[:, block] @ signs) * draws).sum(axis=1)
    different = _different_pairs(x, draws) * _different_pairs(y, draws)
    taus = np.full(len(draws), np.nan)
    np.divide(concordant, np.sqrt(different), out=taus, where=different > 0)
    return taus


def _different_pairs(scores: Floats, draws: Floats) -> Floats:
    """Return ``[r]``: pairs of different scores in each of ``draws``, each counted twice."""
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)
    tied = np.add.reduceat(draws[:, order], starts, axis=1)
    different: Floats = draws.sum(axis=1) ** 2 - (tied**2).sum(axis=1)
    return different


def _interval(drawn: Floats, value: float, confidence: float) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    tail = (1 - confidence) / 2
    # Few pairs and few resamples can leave no draw; the estimate itself is one.
    low, high = np.quantile(known if len(known) else [value], [tail, 1 - tail])
    return float(low), float(high)
