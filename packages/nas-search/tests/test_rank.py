import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas_search import kendall, repeatability, tau_difference, top_k_regret
from nas_spaces import InputError


def by_definition(a, b):
    """Kendall's tau-b from all pairs."""
    signs = [np.sign(x[:, None] - x)[np.triu_indices(len(x), 1)] for x in (a, b)]
    return (signs[0] * signs[1]).sum() / np.sqrt(np.prod([np.abs(s).sum() for s in signs]))


def test_it_is_tau_b_with_ties():
    rng = np.random.default_rng(0)
    a = rng.integers(6, size=40).astype(float)
    b = a + rng.integers(6, size=40)
    assert kendall(a, b, rng=rng, resamples=10).tau == pytest.approx(by_definition(a, b))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = 2 / np.pi * np.arcsin(0.6)  # of a normal pair with correlation 0.6
    hits = 0
    for _ in range(40):
        a = rng.normal(size=60)
        b = 0.6 * a + 0.8 * rng.normal(size=60)
        result = kendall(a, b, rng=rng, confidence=0.9, resamples=60)
        assert result.low < result.high
        hits += result.low <= truth <= result.high
    assert 28 <= hits <= 40


def test_the_generator_decides_the_interval():
    a, b = np.random.default_rng(0).random((2, 20))

    def interval(seed):
        result = kendall(a, b, rng=np.random.default_rng(seed), resamples=50)
        return result.low, result.high

    assert interval(0) == interval(0) != interval(1)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([1, 1, 1], [1, 2, 3], "a is constant"),
        ([1, 2, 3], [2, 2, 2], "b is constant"),
        ([1], [1], "tau compares pairs of architectures and there are 1: give scores of 2 or more"),
        ([], [], "tau compares pairs of architectures and there are 0: give scores of 2 or more"),
    ],
)
def test_constant_scores_have_no_tau_and_say_so(a, b, reason):
    result = kendall(a, b, rng=np.random.default_rng(0))
    assert (result.tau, result.low, result.high) == (None, None, None)
    assert result.undefined == reason


def test_of_one_architecture_nothing_has_a_tau():
    rng = np.random.default_rng(0)
    for found in (tau_difference([1], [1], [1], rng=rng), repeatability([[1, 2]], rng=rng)):
        assert found.low is None
        assert found.undefined.startswith("tau compares pairs of architectures and there are 1")


@pytest.mark.parametrize("n", [3, 40, 1100])
def test_the_interval_is_that_of_draws_one_by_one(n):
    rng = np.random.default_rng(n)
    a, b = rng.integers(n, size=n).astype(float), rng.integers(n, size=n).astype(float)
    result = kendall(a, b, rng=np.random.default_rng(1), resamples=20)
    rows = np.random.default_rng(1).integers(n, size=(20, n))
    taus = [kendalltau(a[drawn], b[drawn]).statistic for drawn in rows]
    low, high = np.quantile([tau for tau in taus if np.isfinite(tau)], [0.025, 0.975])
    assert (result.low, result.high) == pytest.approx((low, high))


def test_draws_that_are_constant_are_left_out():
    result = kendall([1, 2], [1, 2], rng=np.random.default_rng(0), resamples=20)
    assert (result.tau, result.low, result.high) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("a", "b", "options", "match"),
    [
        ([1, 2], [1, 2, 3], {}, r"\(2,\) and b has shape \(3,\)"),
        ([[1, 2]], [[1, 2]], {}, "shape"),
        ([1, np.nan], [1, 2], {}, "finite"),
        ([1, 2], [1, 2], {"confidence": 1.0}, "confidence=1.0"),
        ([1, 2], [1, 2], {"resamples": 0}, "resamples=0"),
    ],
)
def test_bad_input_is_refused(a, b, options, match):
    with pytest.raises(InputError, match=match):
        kendall(a, b, rng=np.random.default_rng(0), **options)


def noisy(truth, noise, rng):
    return truth + noise * rng.normal(size=len(truth))


@pytest.mark.parametrize(
    ("noises", "verdict"),
    [((0.2, 3.0), "better"), ((3.0, 0.2), "worse"), ((1.0, 1.0), "no better")],
)
def test_the_verdict_on_two_scores(noises, verdict):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=80)
    a, b = (noisy(truth, noise, rng) for noise in noises)
    found = tau_difference(a, b, truth, rng=rng, resamples=200)
    assert found.verdict == verdict
    assert found.difference == pytest.approx(by_definition(a, truth) - by_definition(b, truth))
    assert found.low < found.difference < found.high


def test_the_same_score_is_no_better_than_itself():
    a, truth = np.random.default_rng(0).random((2, 20))
    found = tau_difference(a, a, truth, rng=np.random.default_rng(0), resamples=20)
    assert (found.difference, found.low, found.high, found.verdict) == (0, 0, 0, "no better")


def test_a_difference_is_paired():
    # Both scores err alike; side by side their intervals would overlap.
    rng = np.random.default_rng(0)
    truth = rng.normal(size=100)
    a = noisy(truth, 1.0, rng)
    b = noisy(a, 0.3, rng)
    apart = [kendall(x, truth, rng=rng, resamples=200) for x in (a, b)]
    found = tau_difference(a, b, truth, rng=rng, resamples=200)
    assert apart[0].low < apart[1].high
    assert found.high - found.low < 0.5 * (apart[0].high - apart[0].low)


@pytest.mark.parametrize("constant", ["a", "b", "truth"])
def test_a_difference_to_a_constant_is_undefined(constant):
    scores = {name: np.arange(5.0) for name in ("a", "b", "truth")} | {constant: np.ones(5)}
    found = tau_difference(**scores, rng=np.random.default_rng(0))
    assert (found.difference, found.low, found.high) == (None, None, None)
    assert found.verdict == "undefined"
    assert found.undefined == f"{constant} is constant"


def test_repeatability_is_the_mean_over_all_pairs_of_trainings():
    rng = np.random.default_rng(0)
    repeats = np.arange(30)[:, None] + rng.normal(scale=8, size=(30, 3))
    pairs = itertools.combinations(repeats.T, 2)
    found = repeatability(repeats, rng=rng, resamples=50)
    assert found.tau == pytest.approx(np.mean([by_definition(a, b) for a, b in pairs]))
    assert found.low < found.tau < found.high
    repeats[:, 1] = 5
    assert repeatability(repeats, rng=rng).undefined == "training 1 is constant"


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7, 9])
def test_regret_is_the_mean_over_all_ways_to_break_ties(k):
    rng = np.random.default_rng(k)
    score, truth = rng.integers(3, size=7), rng.random(7)
    chosen = []
    for order in itertools.permutations(range(7)):
        ranked = sorted(order, key=lambda i: score[i])  # equal scores keep the order
        chosen.append(truth[ranked[:k]].min() - truth.min())
    assert top_k_regret(score, truth, k) == pytest.approx(np.mean(chosen))


def test_regret_of_scores_that_are_all_equal():
    # Drawn blindly: the least of k of 1..n is (n + 1) / (k + 1) on average.
    truth = np.random.default_rng(0).permutation(np.arange(1.0, 2001.0))
    assert top_k_regret(np.zeros(2000), truth, 9) == pytest.approx(2001 / 10 - 1)


@pytest.mark.parametrize(
    ("function", "args", "match"),
    [
        (tau_difference, ([1, 2], [1, 2], [1, 2, 3]), r"truth has shape \(3,\)"),
        (tau_difference, ([1, 2], [1, 2], [1, np.inf]), "finite"),
        (repeatability, ([[1], [2]],), "r at least 2"),
        (repeatability, ([1, 2],), r"\[n, r\]"),
        (repeatability, ([[1, 2], [2, np.nan]],), "finite"),
    ],
)
def test_bad_scores_are_refused(function, args, match):
    with pytest.raises(InputError, match=match):
        function(*args, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (([1, 2], [1, 2], 0), "k=0"),
        (([], [], 1), "empty"),
        (([1, 2], [1], 1), "shape"),
        (([1, 2], [1, np.nan], 1), "finite"),
    ],
)
def test_bad_regrets_are_refused(args, match):
    with pytest.raises(InputError, match=match):
        top_k_regret(*args)


@pytest.mark.parametrize(("discordant", "tau"), [(2, 0.9487), (15, 0.6153), (20, 0.4871)])
def test_the_correlations_of_fairnas_are_of_13_models(discordant, tau):
    """78 pairs, of which 2, 15 or 20 are the other way round."""
    order = list(range(13))
    for _ in range(discordant):
        # Each exchange of neighbours in order makes one pair more discordant.
        i = next(i for i in range(12) if order[i] < order[i + 1])
        order[i], order[i + 1] = order[i + 1], order[i]
    found = kendall(np.arange(13), order, rng=np.random.default_rng(0), resamples=1)
    assert found.tau == pytest.approx((78 - 2 * discordant) / 78)
    # The paper cuts off what is behind the fourth decimal.
    assert int(found.tau * 1e4) / 1e4 == tau
