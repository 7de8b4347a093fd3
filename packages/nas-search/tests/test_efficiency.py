import itertools
import math

import numpy as np
import pytest
from scipy import stats

from nas_search import (
    best_so_far,
    censored_median,
    evaluations_differ,
    evaluations_to,
    holm,
    median_ratio,
    regrets_differ,
)
from nas_spaces import InputError

INF = math.inf


def rng():
    return np.random.default_rng(0)


def test_the_best_so_far_never_rises_and_stays_where_a_search_ends():
    assert best_so_far([3, 1, 2]).tolist() == [3, 1, 1]
    assert best_so_far([3, 1, 2], length=2).tolist() == [3, 1]
    assert best_so_far([3, 1, 2], length=5).tolist() == [3, 1, 1, 1, 1]


def test_the_first_evaluation_that_reaches_the_mark_counts():
    assert evaluations_to([3, 1, 0, 1], 1) == 2
    assert evaluations_to([3, 1, 0, 1], 3) == 1
    assert evaluations_to([3, 1, 0, 1], -1) == INF


@pytest.mark.parametrize("values", [[], [[1.0]], [np.nan], [1, INF]])
def test_no_columns(values):
    for ask in (best_so_far, lambda v: evaluations_to(v, 0)):
        with pytest.raises(InputError, match="values "):
            ask(values)
    with pytest.raises(InputError, match="length=0 must be an integer at least 1"):
        best_so_far([1], length=0)


def test_a_median_counts_censored_searches_as_the_slowest():
    found = censored_median([40, 10, INF, 30, 20])
    assert (found.median, found.reached, found.searches) == (30, 4, 5)
    assert censored_median([10, 20, 30, INF]).median == 25
    assert censored_median([INF] * 8).low == censored_median([INF] * 8).median == INF


def test_a_median_is_beyond_the_budget_where_fewer_than_half_reached_the_mark():
    found = [censored_median([10] * k + [INF] * (50 - k)) for k in (24, 25, 26)]
    assert [one.median for one in found] == [INF, 10, 10]
    # The least of the medians where only that is known, the middle of them where all are.
    assert censored_median([10, 20, INF, INF]).median == 20
    assert censored_median([10, 20, 300, INF]).median == 160
    assert censored_median([10, INF, INF]).median == INF


def test_an_interval_needs_six_searches_at_95_percent():
    found = censored_median([1, 2, 3, 4, 5])
    assert (found.low, found.high) == (0, INF)
    found = censored_median([1, 2, 3, 4, 5, 6])
    assert (found.low, found.high) == (1, 6)
    assert censored_median([1, 2, 3, 4, 5], confidence=0.9).low == 1


def test_the_interval_of_the_median_covers_it():
    # An exponential of median 100, censored at 150; at most 5 % of intervals may miss it.
    drawn = rng().exponential(100 / math.log(2), size=(400, 25))
    drawn[drawn > 150] = INF
    found = [censored_median(one) for one in drawn]
    inside = np.mean([one.low <= 100 <= one.high for one in found])
    assert 0.94 < inside < 1


def test_a_ratio_of_known_medians():
    a, b = rng().uniform(80, 120, 50), rng().uniform(40, 60, 50)
    found = median_ratio(a, b, budget=300, rng=rng())
    assert found.at_least == found.at_most == pytest.approx(np.median(a) / np.median(b))
    assert found.low < found.at_least < found.high
    # The same as what scipy makes of the logarithms' difference, but for its own draws.
    other = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.median(x, axis) / np.median(y, axis),
        method="percentile",
        vectorized=True,
        n_resamples=2000,
        random_state=rng(),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), rel=0.03)


def test_a_ratio_of_medians_beyond_the_budget_is_a_bound():
    fast, never = [50.0] * 10, [INF] * 10
    found = median_ratio(never, fast, budget=300, rng=rng())
    assert (found.at_least, found.at_most, found.low, found.high) == (6, INF, 6, INF)
    found = median_ratio(fast, never, budget=300, rng=rng())
    assert (found.at_least, found.at_most, found.low) == (0, 1 / 6, 0)
    found = median_ratio(never, never, budget=300, rng=rng())
    assert (found.at_least, found.at_most, found.low, found.high) == (0, INF, 0, INF)


def test_a_ratio_is_open_where_exactly_half_reached_the_mark():
    half, all_of_them = [10.0] * 25 + [INF] * 25, [10.0] * 50
    found = median_ratio(half, all_of_them, budget=300, rng=rng())
    assert (found.at_least, found.at_most, found.low, found.high) == (1, INF, 1, INF)
    found = median_ratio(all_of_them, half, budget=300, rng=rng())
    assert (found.at_least, found.at_most, found.low, found.high) == (0, 1, 0, 1)
    found = median_ratio(half, half, budget=300, rng=rng())
    assert (found.at_least, found.at_most) == (0, INF)


@pytest.mark.parametrize(("a_reached", "b_reached"), list(itertools.product(range(5), repeat=2)))
def test_a_ratio_holds_however_long_censored_searches_would_have_taken(a_reached, b_reached):
    budget, taken = 300, np.array([20.0, 70.0, 110.0, 290.0])
    a, b = (np.where(np.arange(4) < k, taken, INF) for k in (a_reached, b_reached))
    found = median_ratio(a, b, budget=budget, rng=rng(), resamples=1)
    ratios = [
        np.median(np.where(np.isinf(a), longer, a)) / np.median(np.where(np.isinf(b), other, b))
        for longer, other in itertools.product((budget + 1, 1e4, 1e9), repeat=2)
    ]
    assert found.at_least <= min(ratios) <= max(ratios) <= found.at_most


def test_draws_beyond_the_budget_open_the_interval_upwards():
    half = [100.0] * 11 + [INF] * 9
    found = median_ratio(half, [50.0] * 20, budget=300, rng=rng())
    assert (found.at_least, found.at_most, found.low, found.high) == (2, 2, 2, INF)


def test_a_ratio_of_searches_with_different_budgets():
    never, fast = [INF] * 10, [50.0] * 10
    found = median_ratio(never, fast, budget=(1500, 300), rng=rng())
    assert (found.at_least, found.at_most, found.low, found.high) == (30, INF, 30, INF)
    found = median_ratio(fast, never, budget=(1500, 300), rng=rng())
    assert (found.at_least, found.at_most) == (0, 1 / 6)
    # What one of them took may be above the budget of the other.
    found = median_ratio([900.0] * 10, fast, budget=(1500, 300), rng=rng())
    assert (found.at_least, found.at_most) == (18, 18)


def test_the_same_generator_gives_the_same_interval():
    a, b = rng().uniform(80, 120, 20), rng().uniform(40, 60, 20)
    assert median_ratio(a, b, budget=300, rng=rng()) == median_ratio(a, b, budget=300, rng=rng())


def test_the_logrank_test_by_hand():
    # Peto's sum over the times of events: observed less expected of a, and its variance.
    a, b, budget = [5.0, 8.0, 12.0, INF], [9.0, 15.0, INF, INF], 20
    observed = expected = variance = 0.0
    for time in (5, 8, 9, 12, 15):
        at_a, at_b = (sum(x >= time for x in one) for one in (a, b))
        n = at_a + at_b
        observed += time in a
        expected += at_a / n
        variance += at_a * at_b / n**2
    p = 2 * stats.norm.sf(abs(observed - expected) / math.sqrt(variance))
    assert evaluations_differ(a, b, budget=budget) == pytest.approx(p)


def test_the_logrank_test_censors_each_at_its_own_budget():
    # From 10 on nothing is known of b: only one event of a, at 8, is held against it.
    a, b = [8.0, 40.0, 60.0], [INF] * 3
    early = evaluations_differ([8.0, INF, INF], b, budget=10)
    assert evaluations_differ(a, b, budget=(100, 10)) == pytest.approx(early)
    assert evaluations_differ(a, b, budget=100) < 0.5 * early


def test_methods_that_cannot_be_told_apart():
    assert evaluations_differ([INF] * 5, [INF] * 5, budget=10) == 1
    assert evaluations_differ([3.0] * 5, [3.0] * 5, budget=10) == 1
    assert regrets_differ([0.5] * 5, [0.5] * 5) == 1
    same = list(range(1, 20))
    assert evaluations_differ(same, same, budget=30) == pytest.approx(1)
    assert evaluations_differ([10.0] * 9, [INF] * 9, budget=10) < 0.001


def test_regrets_by_mann_and_whitney():
    a, b = [0.1, 0.2, 0.2, 0.4], [0.3, 0.5, 0.6, 0.6, 0.9]
    assert regrets_differ(a, b) == stats.mannwhitneyu(a, b).pvalue
    assert regrets_differ(range(30), range(40, 70)) < 1e-6


def test_p_values_of_many_tests():
    assert holm([]) == []
    assert holm([0.02]) == [0.02]
    assert holm([0.01, 0.02, 0.03, 0.9]) == pytest.approx([0.04, 0.06, 0.06, 0.9])
    assert holm([0.9, 0.8]) == [1, 1]
    with pytest.raises(InputError, match="must be probabilities"):
        holm([0.5, 1.5])
    with pytest.raises(InputError, match="must be probabilities"):
        holm([np.nan])


@pytest.mark.parametrize("taken", [[], [[1.0]], [0.0], [np.nan], [-1, INF]])
def test_no_evaluations(taken):
    for ask in (
        censored_median,
        lambda one: evaluations_differ(one, [1.0], budget=9),
        lambda one: median_ratio([1.0], one, budget=9, rng=rng()),
    ):
        with pytest.raises(InputError, match=r"shape|must be above 0"):
            ask(taken)


def test_other_arguments_out_of_range():
    with pytest.raises(InputError, match="b holds 12 evaluations, budget=10"):
        evaluations_differ([1.0], [12.0], budget=10)
    with pytest.raises(InputError, match="b holds 12 evaluations, budget=10"):
        median_ratio([1.0], [12.0], budget=(20, 10), rng=rng())
    with pytest.raises(InputError, match=r"budget=\(1, 2, 3\) must be one number, or a pair"):
        evaluations_differ([1.0], [1.0], budget=(1, 2, 3))
    with pytest.raises(InputError, match="confidence=1 must lie between 0 and 1"):
        censored_median([1.0], confidence=1)
    with pytest.raises(InputError, match="confidence=0 must lie"):
        median_ratio([1.0], [1.0], budget=9, rng=rng(), confidence=0)
    with pytest.raises(InputError, match="resamples=0"):
        median_ratio([1.0], [1.0], budget=9, rng=rng(), resamples=0)
    with pytest.raises(InputError, match="a must be finite"):
        regrets_differ([np.nan], [1.0])
