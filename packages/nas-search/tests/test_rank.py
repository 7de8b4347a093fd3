import numpy as np
import pytest

from nas_search import kendall
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
        ([1], [2], "a is constant"),
        ([], [], "a is constant"),
    ],
)
def test_constant_scores_have_no_tau_and_say_so(a, b, reason):
    result = kendall(a, b, rng=np.random.default_rng(0))
    assert (result.tau, result.low, result.high) == (None, None, None)
    assert result.undefined == reason


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
