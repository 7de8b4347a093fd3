import numpy as np
import pytest

from nas_samplers import Alphas, BelowMean, BelowShare
from nas_spaces import InputError, published


@pytest.fixture
def alphas():
    return Alphas(published.load("nas-bench-macro"))  # eight choices of three


@pytest.mark.parametrize("shift", [0.0, 8.0, -1024.0])
@pytest.mark.parametrize("rule", [BelowMean(0.5), BelowShare(0.5)])
def test_what_all_alphas_of_a_choice_share_does_not_matter(alphas, rule, shift):
    alphas.values[1] = [-1.5, 0.25, 0.5]
    alphas.values += shift
    expected = np.zeros_like(alphas.alive)
    expected[1, 0] = True
    assert np.array_equal(rule(alphas), expected)


def test_equality_keeps(alphas):
    alphas.values[0] = [-1.0, 0.5, 0.5]
    assert not BelowMean(1.0)(alphas).any()
    assert BelowMean(np.nextafter(1.0, 0))(alphas)[0].tolist() == [True, False, False]


def test_the_mean_is_that_of_live_options(alphas):
    alphas.values[0] = [-100.0, -1.0, 1.0]
    assert BelowMean(0.9)(alphas)[0].tolist() == [True, False, False]
    alphas.drop(0, 0)
    assert BelowMean(0.9)(alphas)[0].tolist() == [False, True, False]
    assert not BelowMean(1.1)(alphas)[0].any()


def test_the_share_follows_the_number_of_live_options(alphas):
    alphas.values[0] = np.log([0.2, 0.3, 0.5])
    assert BelowShare(0.59)(alphas)[0].tolist() == [False, False, False]
    assert BelowShare(0.61)(alphas)[0].tolist() == [True, False, False]
    alphas.drop(0, 0)  # 0.375 and 0.625 of two
    assert BelowShare(0.74)(alphas)[0].tolist() == [False, False, False]
    assert BelowShare(0.76)(alphas)[0].tolist() == [False, True, False]


def test_the_last_one_is_never_below(alphas):
    alphas.drop(0, 0)
    alphas.drop(0, 1)
    alphas.values[0] = [5.0, 5.0, -900.0]
    assert not BelowMean(1e-9)(alphas)[0].any()
    assert not BelowShare(0.999)(alphas)[0].any()


def test_thresholds_out_of_range():
    for wrong in (lambda: BelowMean(0.0), lambda: BelowShare(0.0), lambda: BelowShare(1.0)):
        with pytest.raises(
            InputError, match=r"^(delta|rho)=[01]\.0 must be a finite number above 0"
        ):
            wrong()
