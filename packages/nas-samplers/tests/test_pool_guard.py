import math

import numpy as np
import pytest

from nas_samplers import PoolGuard, PoolVerdict
from nas_spaces import InputError


def told(differences, pairs=5, scratch=0.5):
    guard = PoolGuard(pairs)
    for difference in differences:
        guard.tell(scratch, scratch + difference)
    return guard


def test_the_interval_is_that_of_paired_differences():
    differences = [-0.05, -0.03, 0.01, -0.06, -0.02]
    verdict = told(differences).verdict
    mean = np.mean(differences)
    margin = 2.776445105 * np.std(differences, ddof=1) / math.sqrt(5)
    assert verdict.difference == pytest.approx(mean)
    assert verdict.interval == pytest.approx((mean - margin, mean + margin))
    assert verdict.pairs == 5
    # It is of pairs: what all candidates have in common does not matter.
    spread = PoolGuard()
    for i, difference in enumerate(differences):
        spread.tell(0.1 + 0.2 * i, 0.1 + 0.2 * i + difference)
    assert spread.verdict.interval == pytest.approx(verdict.interval)


@pytest.mark.parametrize(
    "differences, conclusion, uses",
    [
        ([-0.05, -0.03, -0.04, -0.06, -0.02], "helps", True),
        ([0.05, 0.03, 0.04, 0.06, 0.02], "harms", False),
        ([-0.05, 0.03, 0.04, -0.06, 0.02], "no measurable difference", True),
        ([0.05, 0.03, 0.04, 0.06], "not known yet", True),
        ([0.05], "not known yet", True),
        ([], "not known yet", True),
        # Equal ones say nothing of how far the next would be off, large as they are.
        ([0.0] * 5, "no measurable difference", True),
        ([0.25] * 5, "no measurable difference", True),
        ([0.25] * 4 + [0.26], "harms", False),
    ],
)
def test_verdicts(differences, conclusion, uses):
    guard = told(differences)
    assert guard.verdict.conclusion == conclusion
    assert guard.uses_pool is uses
    assert guard.missing == 5 - len(differences)


def test_no_verdict_before_the_last_pair():
    guard = PoolGuard(pairs=4)
    for pool in (0.9, 0.91, 0.92):
        guard.tell(0.1, pool)
        assert guard.verdict.conclusion == "not known yet"
        assert guard.uses_pool
    guard.tell(0.1, 0.9)
    assert guard.verdict.conclusion == "harms"


def test_equal_differences_are_equal_whatever_they_are_differences_of():
    guard = PoolGuard(pairs=3)
    # Each is 0.1, up to rounding.
    for scratch, pool in [(0.3, 0.4), (0.2, 0.3), (0.7, 0.8)]:
        guard.tell(scratch, pool)
    assert len({pool - scratch for scratch, pool in guard.errors}) > 1
    assert guard.verdict.conclusion == "no measurable difference"
    assert guard.verdict.interval is None
    assert guard.uses_pool


def test_pairs_beyond_those_that_decide_are_kept_and_change_nothing():
    guard = told([-0.05, -0.03, -0.04, -0.06, -0.02])
    before = guard.verdict
    guard.tell(0.1, 0.9)
    assert guard.verdict == before
    assert len(guard.errors) == 6
    assert guard.missing == 0
    assert guard.errors[-1] == (0.1, 0.9)


def test_where_nothing_differs_a_difference_is_found_one_time_of_twenty():
    rng = np.random.default_rng(0)
    found = 0
    for errors in rng.normal(0.5, 0.05, (2000, 5, 2)):
        guard = PoolGuard()
        for scratch, pool in errors:
            guard.tell(scratch, pool)
        found += guard.verdict.conclusion != "no measurable difference"
    # Binomial with n = 2000, p = 0.05: 100 with a standard deviation of 9.7.
    assert 60 < found < 140


@pytest.mark.parametrize(
    "differences, sentence",
    [
        ([], "Whether the pool helps is not known yet: no pair was trained."),
        (
            [-0.25],
            "Whether the pool helps is not known yet: it changes the error by -25.00 points, in 1 "
            "pair.",
        ),
        (
            [0.25] * 2,
            "Starting from the pool makes no measurable difference: it changes the error by +25.00 "
            "points each time, so that how far this varies is not known, in 2 pairs.",
        ),
        (
            [0.24, 0.26],
            "Starting from the pool harms: it changes the error by +25.00 points (95 % interval "
            "+12.29 to +37.71), in 2 pairs.",
        ),
        (
            [-0.125, 0.125],
            "Starting from the pool makes no measurable difference: it changes the error by +0.00 "
            "points (95 % interval -158.83 to +158.83), in 2 pairs.",
        ),
    ],
)
def test_sentences(differences, sentence):
    assert str(told(differences, pairs=2).verdict) == sentence


def test_verdicts_are_frozen_values():
    assert told([0.25] * 5).verdict == PoolVerdict("no measurable difference", 0.25, None, 5)
    with pytest.raises(AttributeError):
        told([]).verdict.pairs = 3


def test_a_state_comes_back():
    guard = told([-0.05, 0.02, 0.01])
    other = PoolGuard()
    other.load_state_dict(guard.state_dict())
    for each in (guard, other):
        each.tell(0.3, 0.4)
        each.tell(0.2, 0.1)
    assert other.verdict == guard.verdict
    assert other.state_dict() == guard.state_dict()


def test_bad_states_change_nothing():
    guard = told([-0.05])
    with pytest.raises(InputError, match="its pairs is 3, this one's is 5"):
        guard.load_state_dict(PoolGuard(3).state_dict())
    for errors in ([[0.1, 0.2], [0.1, 1.5]], [[float("nan"), 0.1]]):
        with pytest.raises(InputError, match=r"must be in \[0, 1\]"):
            guard.load_state_dict({"pairs": 5, "errors": errors})
    assert guard.errors == told([-0.05]).errors


@pytest.mark.parametrize("pairs", [1, 0, -2, 2.5, True, "5"])
def test_an_interval_needs_two_pairs(pairs):
    with pytest.raises(InputError, match=r"pairs=.* must be an integer at least 2"):
        PoolGuard(pairs)


@pytest.mark.parametrize("error", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_error_is_refused(error):
    guard = PoolGuard()
    with pytest.raises(InputError, match="scratch_error="):
        guard.tell(error, 0.5)
    with pytest.raises(InputError, match="pool_error="):
        guard.tell(0.5, error)
    assert guard.errors == ()
