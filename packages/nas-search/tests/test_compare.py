import math

import numpy as np
import pytest

from nas_search import difference
from nas_spaces import InputError


def test_it_is_students_prediction_interval():
    others = [97.0, 97.2, 96.9, 97.3, 97.1]
    result = difference(97.8, others)
    # t at 0.975 with 4 degrees of freedom is 2.776445 in every table; s^2 is 0.1 / 4.
    half = 2.776445 * math.sqrt(0.025) * math.sqrt(1 + 1 / 5)
    assert result.difference == pytest.approx(0.7)
    assert (result.low, result.high) == pytest.approx((0.7 - half, 0.7 + half), abs=1e-6)
    assert result.spread == pytest.approx(math.sqrt(0.025))
    assert result.measurable


def test_a_difference_within_the_spread_is_not_measurable():
    result = difference(97.4, [97.0, 97.2, 96.9, 97.3, 97.1])
    assert result.low < 0 < result.high
    assert not result.measurable


def test_a_worse_winner_is_measurable_too():
    result = difference(90.0, [97.0, 97.2, 96.9, 97.3, 97.1])
    assert result.high < 0
    assert result.measurable


@pytest.mark.parametrize("n", [2, 5])
def test_the_interval_is_missed_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    scores = rng.normal(97, 0.3, size=(3000, n + 1))
    wrong = np.mean([difference(row[0], row[1:], confidence=0.8).measurable for row in scores])
    assert wrong == pytest.approx(0.2, abs=5 * math.sqrt(0.16 / 3000))


def test_without_spread_nothing_is_measurable():
    for winner in (97.2, 98.0):
        result = difference(winner, [97.2, 97.2, 97.2])
        assert result.difference == pytest.approx(winner - 97.2)
        assert result.low == result.high == result.difference
        assert result.spread == 0
        assert not result.measurable


@pytest.mark.parametrize(
    ("winner", "others", "confidence", "match"),
    [
        (97, [96], 0.95, "at least 2"),
        (97, [], 0.95, "at least 2"),
        (97, [[96, 97]], 0.95, r"shape \(1, 2\)"),
        (math.nan, [96, 97], 0.95, "finite"),
        (97, [96, math.inf], 0.95, "finite"),
        (97, [96, 97], 1.0, "confidence=1.0"),
        (97, [96, 97], 0.0, "confidence=0.0"),
    ],
)
def test_bad_input_is_refused(winner, others, confidence, match):
    with pytest.raises(InputError, match=match):
        difference(winner, others, confidence)
