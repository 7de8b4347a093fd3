import numpy as np
import pytest

from nas_search.rl import Accuracy, WeightedProduct
from nas_search.rl.rewards import outlier_floor, spread
from nas_spaces import FeasibleSet, InputError, Limit


class Latency:
    name, unit = "latency_ms", "ms"

    def __call__(self, archs):
        return np.asarray(archs)[:, 0].astype(float)


def told(accuracy, latency):
    return np.array([[latency]]), np.array([[1 - accuracy]])


# Arithmetic of MnasNet's equation 2.
@pytest.mark.parametrize(
    ("latency", "reward"),
    [(80, 0.75), (160, 0.714478498532953), (40, 0.7872875127173005)],
)
def test_weighted_product(latency, reward):
    found = WeightedProduct(Latency(), target=80)(*told(0.75, latency))
    assert found.tolist() == [pytest.approx(reward, rel=1e-12)]


def test_hard_constraint_gives_nothing_for_less():
    hard = WeightedProduct(Latency(), target=80, exponent=-1.0, hard=True)
    assert hard(*told(0.75, 40)).tolist() == [0.75]
    assert hard(*told(0.75, 160)).tolist() == [0.375]


def test_accuracy_is_one_minus_the_first_value():
    archs, values = told(0.75, 1)
    assert Accuracy()(archs, np.column_stack([values, [[99.0]]])).tolist() == [0.75]


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="target=0"):
        WeightedProduct(Latency(), target=0)
    with pytest.raises(InputError, match=r"exponent=0\.07 must be a finite number, at most 0"):
        WeightedProduct(Latency(), target=1, exponent=0.07)
    with pytest.raises(InputError, match=r"latency_ms of architecture \[0\] is not above 0"):
        WeightedProduct(Latency(), target=1)(*told(0.5, 0))


def test_targets_that_nothing_attains_are_refused(macro, macs):
    cost = macs(macro)
    feasible = FeasibleSet(macro, [])
    least, most = feasible.attainable(cost)
    for target in (least, most):
        WeightedProduct(cost, target=target).check_target(feasible)
    for target in (least - 1, most + 1):
        with pytest.raises(InputError, match=f"macs can be: {least:,} to {most:,};"):
            WeightedProduct(cost, target=target).check_target(feasible)
    # Within limits on the cost there is less.
    limited = FeasibleSet(macro, [Limit(macs(macro), lower=least + 5, upper=0.6 * most)])
    for target in (least + 5, 0.6 * most):
        WeightedProduct(cost, target=target).check_target(limited)
    for target in (least, 0.95 * most):
        with pytest.raises(InputError, match=f"can be within the limits: {least + 5:,} to "):
            WeightedProduct(cost, target=target).check_target(limited)
    # What a measurement attains is not known.
    WeightedProduct(Latency(), target=1e9).check_target(feasible)


def test_outliers_are_what_is_far_below_the_quartiles():
    rewards = np.array([0.0, *np.linspace(0.8, 0.9, 9)])
    low, high = np.quantile(rewards, [0.25, 0.75])
    assert outlier_floor(rewards) == pytest.approx(low - 3 * (high - low))
    assert 0 < outlier_floor(rewards) < 0.8
    # Half of the rewards being bad, they are no outliers.
    assert outlier_floor(np.array([0.1] * 5 + [0.9] * 5)) < 0.1
    for no_scale in ([], [0.5], [0.9] * 19 + [0.1], [0.3] * 10 + [0.1 + 0.2] * 10 + [0.1]):
        assert outlier_floor(np.array(no_scale)) == -np.inf
    # Of 290 held-out images, most rewards the same.
    coarse = np.array([0.897] * 2 + [0.900] * 15 + [0.903] * 2 + [0.0])
    assert 0.88 < outlier_floor(coarse) < 0.897


def test_equal_rewards_have_no_spread():
    assert spread(np.zeros(0)) == spread(np.full(3, 0.1)) == spread(0.1 + np.arange(3) * 1e-17) == 0
    assert spread(np.array([1.0, 3.0])) == 1.0
