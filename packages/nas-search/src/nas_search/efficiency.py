"""How many evaluations searches need: curves, censored medians, and whether methods differ.

A search that did not reach the mark within its budget is censored: it would have needed more than
that. Everywhere here ``inf`` stands for its number of evaluations, so that it counts as slower than
all that did; nothing is dropped.

A median is what half of the searches take at most and half at least. An even number of searches has
several: it is the middle of them, as usual, where all are known. Where exactly half of the searches
reached the mark, everything from the last of these upwards is one, and only the least is known.
"""

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import InputError

__all__ = [
    "Median",
    "Ratio",
    "best_so_far",
    "censored_median",
    "evaluations_differ",
    "evaluations_to",
    "holm",
    "median_ratio",
    "regrets_differ",
]

Floats = NDArray[np.float64]


@frozen
class Median:
    """The median of evaluations, some of which may be censored.

    ``median``: half of the searches reached the mark within so many. Where exactly half did, it is
    the last of these, the least of the medians: had the others taken long, but reached the mark,
    it would be larger. inf where more than half did not reach the mark: beyond the budget.
    ``low``, ``high``: its interval at ``confidence``, from order statistics; 0 and inf where there
    are too few searches to have one (below 6 at 95 %). ``reached``: how many of the ``searches``
    reached the mark.
    """

    median: float
    low: float
    high: float
    confidence: float
    reached: int
    searches: int


@frozen
class Ratio:
    """The ratio of two medians, of which either may be beyond the budget.

    ``at_least``, ``at_most``: the same number where both medians are known; where one of them is
    only known to be above the budget, or above the last search that reached the mark because
    exactly half did, what that leaves open. ``low``, ``high``: percentile interval of the bootstrap
    at ``confidence``, with what stays open counted against it.
    """

    at_least: float
    at_most: float
    low: float
    high: float
    confidence: float


def best_so_far(values: ArrayLike, *, length: int | None = None) -> Floats:
    """Return the least value up to each evaluation ``[length]`` of a history's column ``[n]``.

    Args:
        values: in the order of evaluation, lower is better.
        length: evaluations to return, n where it is None. A search that ended before keeps its
            best.

    Raises:
        InputError: another shape, no values, values that are not finite, a length below 1.

    >>> best_so_far([0.5, 0.25, 0.75], length=5).tolist()
    [0.5, 0.25, 0.25, 0.25, 0.25]
    """
    column = _column("values", values)
    if length is not None:
        candidates.at_least(1, length=length)
    least: Floats = np.minimum.accumulate(column)
    if length is None:
        return least
    return least[np.minimum(np.arange(length), len(least) - 1)]


def evaluations_to(values: ArrayLike, mark: float) -> float:
    """Return how many evaluations it took until a value was at most ``mark``; inf where none was.

    Args:
        values: in the order of evaluation, lower is better.
        mark: to be reached.

    Raises:
        InputError: another shape, no values, values that are not finite.

    >>> evaluations_to([0.5, 0.25, 0.75], 0.25), evaluations_to([0.5, 0.25, 0.75], 0.2)
    (2.0, inf)
    """
    reached = np.flatnonzero(_column("values", values) <= mark)
    return float(reached[0] + 1) if len(reached) else math.inf


def censored_median(evaluations: ArrayLike, *, confidence: float = 0.95) -> Median:
    """Return the median of evaluations ``[n]``, inf for searches that did not reach the mark.

    Its interval lies between two order statistics, whose ranks come from the binomial
    distribution: it holds whatever the distribution, and censored values count as the largest.

    Args:
        evaluations: above 0, one for each search.
        confidence: of the interval, between 0 and 1.

    Raises:
        InputError: another shape, no searches, evaluations that are no positive numbers, another
            confidence.

    >>> found = censored_median([10, 20, 30, 40, 50, 60, 70, np.inf, np.inf])
    >>> found.median, found.low, found.high, found.reached
    (50.0, 20.0, inf, 7)
    """
    from scipy import stats  # noqa: PLC0415  (slow to import)

    taken = _evaluations("evaluations", evaluations)
    _check(confidence)
    found = stats.quantile_test(taken, q=float(np.sort(taken)[0]), p=0.5)
    interval = found.confidence_interval(confidence)
    low, high = float(interval.low), float(interval.high)
    return Median(
        float(_medians(taken[None])[0][0]),
        0.0 if math.isnan(low) else low,
        math.inf if math.isnan(high) else high,
        confidence,
        int(np.isfinite(taken).sum()),
        len(taken),
    )


def median_ratio(
    a: ArrayLike,
    b: ArrayLike,
    *,
    budget: float | tuple[float, float],
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Ratio:
    """Return how many times as many evaluations a takes as b: median(a) / median(b).

    Searches are drawn with replacement, those of a and b independently. Of a median that is not
    known there is a bound (see `Ratio`), so that the ratio of a draw may be known up to a bound
    only: the interval reaches from the quantile of the lower bounds to that of the upper ones.

    Args:
        a: evaluations ``[n]`` of one method, inf where a search did not reach the mark.
        b: ``[m]``, of the other.
        budget: evaluations that a search had; a pair where those of a had others than those of b.
        rng: draws the bootstrap.
        confidence: of the interval, between 0 and 1.
        resamples: draws of the bootstrap.

    Raises:
        InputError: another shape, no searches, evaluations that are no positive numbers, or above
            the budget and finite; another confidence; no resamples.

    >>> rng = np.random.default_rng(0)
    >>> found = median_ratio([90, 100, 110], [45, 50, 55], budget=300, rng=rng)
    >>> found.at_least, found.at_most, bool(1.5 < found.low < 2 < found.high < 2.5)
    (2.0, 2.0, True)
    >>> median_ratio([np.inf] * 3, [45, 50, 55], budget=300, rng=rng).at_least
    6.0
    """
    first, second, budgets = _both(a, b, budget)
    _check(confidence)
    candidates.at_least(1, resamples=resamples)
    at_least, at_most = _bounds(first[None], second[None], budgets)
    lower, upper = _bounds(
        first[rng.integers(len(first), size=(resamples, len(first)))],
        second[rng.integers(len(second), size=(resamples, len(second)))],
        budgets,
    )
    tail = (1 - confidence) / 2
    # Without interpolation, which inf has none of.
    low = np.quantile(lower, tail, method="lower")
    high = np.quantile(upper, 1 - tail, method="higher")
    return Ratio(float(at_least[0]), float(at_most[0]), float(low), float(high), confidence)


def evaluations_differ(a: ArrayLike, b: ArrayLike, *, budget: float | tuple[float, float]) -> float:
    """Return the p value of two methods needing the same number of evaluations: logrank test.

    Searches that did not reach the mark are censored at the budget.

    Args:
        a: evaluations ``[n]`` of one method, inf where a search did not reach the mark.
        b: ``[m]``, of the other.
        budget: evaluations that a search had; a pair where those of a had others than those of b.

    Returns:
        two-sided p; 1 where no search reached the mark, or all did at once.

    Raises:
        InputError: see `median_ratio`.

    >>> round(evaluations_differ([10, 20, 30, 40], [np.inf] * 4, budget=300), 3)
    0.007
    """
    from scipy import stats  # noqa: PLC0415  (slow to import)

    first, second, budgets = _both(a, b, budget)
    if len(np.unique(np.concatenate([first, second]))) == 1:
        return 1.0  # nothing to tell them apart by, for which the statistic is 0 / 0
    samples = [
        stats.CensoredData(one[np.isfinite(one)], right=np.full(int(np.isinf(one).sum()), most))
        for one, most in zip((first, second), budgets, strict=True)
    ]
    return float(stats.logrank(*samples).pvalue)


def regrets_differ(a: ArrayLike, b: ArrayLike) -> float:
    """Return the p value of two methods ending with the same regret: Mann-Whitney U test.

    Args:
        a: final regrets ``[n]`` of one method.
        b: ``[m]``, of the other.

    Returns:
        two-sided p; 1 where all are equal.

    Raises:
        InputError: another shape, no searches, regrets that are not finite.

    >>> round(regrets_differ([0.1, 0.2, 0.3, 0.4], [1.1, 1.2, 1.3, 1.4]), 4)
    0.0286
    """
    from scipy import stats  # noqa: PLC0415  (slow to import)

    first, second = _column("a", a), _column("b", b)
    if len(np.unique(np.concatenate([first, second]))) == 1:
        return 1.0
    return float(stats.mannwhitneyu(first, second, alternative="two-sided").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for as many tests as there are: Holm, Scand. J. Stat. 6, 1979.

    Args:
        p_values: in [0, 1], one for each test.

    Raises:
        InputError: what is no probability.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not ((given >= 0) & (given <= 1)).all():
        raise InputError(f"p_values={p_values} must be probabilities [k], 0 to 1")
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    corrected = np.empty(len(given))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(p) for p in corrected]


def _medians(samples: Floats) -> tuple[Floats, Floats]:
    """Return the least and the largest ``[r]`` that is known of the medians of samples ``[r, n]``.

    Both are the same number, or inf, but where only the lower of the middle two is known.
    """
    # numpy takes the mean of the middle two, which is inf where one of them is.
    largest: Floats = np.median(samples, axis=1)
    lower = (samples.shape[1] - 1) // 2
    least = np.where(np.isinf(largest), np.partition(samples, lower, axis=1)[:, lower], largest)
    return least, largest


def _bounds(a: Floats, b: Floats, budgets: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return the least and the largest ``[r]`` that median(a) / median(b) can be.

    Args:
        a: samples ``[r, n]``.
        b: samples ``[r, m]``.
        budgets: of a and of b; medians that are not known lie between them and inf.
    """
    (least_a, largest_a), (least_b, largest_b) = _medians(a), _medians(b)
    least = np.minimum(least_a, budgets[0]) / largest_b
    largest = largest_a / np.minimum(least_b, budgets[1])
    return least, largest


def _column(name: str, values: ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not len(column):
        raise InputError(f"{name} has shape {column.shape}; expected [n] with n at least 1")
    if not np.isfinite(column).all():
        raise InputError(f"{name} must be finite")
    return column


def _evaluations(name: str, evaluations: ArrayLike) -> Floats:
    taken = np.asarray(evaluations, dtype=np.float64)
    if taken.ndim != 1 or not len(taken):
        raise InputError(f"{name} has shape {taken.shape}; expected [n] with n at least 1")
    if not (taken > 0).all():
        raise InputError(
            f"{name} must be above 0, and inf where a search did not reach the mark; received "
            f"{taken.min()}"
        )
    return taken


def _both(
    a: ArrayLike, b: ArrayLike, budget: float | tuple[float, float]
) -> tuple[Floats, Floats, tuple[float, float]]:
    """Return the evaluations of both, and the budget of each."""
    budgets = (budget, budget) if isinstance(budget, int | float) else budget
    if len(budgets) != 2:
        raise InputError(f"budget={budget} must be one number, or a pair: of a and of b")
    samples = _evaluations("a", a), _evaluations("b", b)
    for name, taken, most in zip("ab", samples, budgets, strict=True):
        reached = taken[np.isfinite(taken)]
        if len(reached) and reached.max() > most:
            raise InputError(
                f"{name} holds {reached.max():g} evaluations, budget={most:g}; what took more "
                "than the budget is inf"
            )
    return *samples, budgets


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} must lie between 0 and 1")
