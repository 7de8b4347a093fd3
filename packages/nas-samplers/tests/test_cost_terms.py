import math

import pytest
import torch

from nas_samplers import AddedCost, MultipliedCost
from nas_spaces import InputError

TERMS = {
    AddedCost(reference=300.0, weight=0.3): lambda ce, e: ce + 0.3 * (e - 300.0) / 300.0,
    MultipliedCost(): lambda ce, e: ce * 0.2 * e.log() ** 0.6,
    MultipliedCost(0.2, 0.3, reference=80.0): lambda ce, e: (
        0.2 * ce * (e.log() / math.log(80.0)) ** 0.3
    ),
}


@pytest.mark.parametrize("term", list(TERMS))
@pytest.mark.parametrize(("loss", "cost"), [(2.3, 120.0), (0.4, 1e6), (1.0, 1.5)])
def test_the_derivatives_are_those_of_autograd(term, loss, cost):
    ce = torch.tensor(loss, dtype=torch.float64, requires_grad=True)
    expected = torch.tensor(cost, dtype=torch.float64, requires_grad=True)
    value = TERMS[term](ce, expected)
    per_loss, per_cost = torch.autograd.grad(value, (ce, expected))
    ours = term(loss, cost)
    assert ours.value == pytest.approx(value.item(), rel=1e-12)
    assert ours.per_loss == pytest.approx(per_loss.item(), rel=1e-12)
    assert ours.per_cost == pytest.approx(per_cost.item(), rel=1e-12)


def test_costs_whose_logarithm_is_no_price_are_refused():
    with pytest.raises(InputError, match=r"the expected cost is 0\.9.*smaller unit"):
        MultipliedCost()(2.0, 0.9)
    with pytest.raises(InputError, match=r"reference is 1\.0"):
        MultipliedCost(reference=1.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AddedCost(reference=0.0), "reference=0.0 must be a finite number above 0"),
        (lambda: AddedCost(1.0, weight=-1), "weight=-1 must be a finite number at least 0"),
        (lambda: MultipliedCost(alpha=math.inf), "alpha=inf must be a finite number above 0"),
        (lambda: MultipliedCost(beta=-0.1), "beta=-0.1 must be a finite number at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(build, message):
    with pytest.raises(InputError) as error:
        build()
    assert str(error.value) == message
