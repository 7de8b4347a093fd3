"""How an expected cost enters the loss that architecture parameters minimise."""

import math
from collections.abc import Callable

from attrs import field, frozen

from nas_samplers.validators import number
from nas_spaces import InputError

__all__ = ["AddedCost", "CostTerm", "MultipliedCost", "Objective"]


@frozen
class Objective:
    """A loss with a cost in it: its ``value``, and its derivatives by the two."""

    value: float
    per_loss: float
    per_cost: float


CostTerm = Callable[[float, float], Objective]
"""(cross-entropy, expected cost in the table's unit) -> what is minimised."""


@frozen
class AddedCost:
    """Loss + weight * (E - reference) / reference.

    ProxylessNAS's ``CE + lambda (E - ref) / ref`` (official code, weight 0.1), and BetaNAS's
    ``CE + beta * sum_l sum_m p_lm c_lm`` with ``c`` in units of the reference, which the paper
    leaves open: a constant apart they are the same, and so are their derivatives.

    Args:
        reference: a cost in the table's unit, above 0, such as the limit that is aimed at.
        weight: what a whole reference of cost weighs, at least 0.

    Raises:
        InputError: a number out of range.

    >>> AddedCost(reference=100.0, weight=0.1)(2.0, 150.0)
    Objective(value=2.05, per_loss=1.0, per_cost=0.001)
    """

    reference: float = field(validator=number(above=0))
    weight: float = field(default=0.1, validator=number(least=0))

    def __call__(self, loss: float, cost: float) -> Objective:
        """Return the objective of a cross-entropy and an expected cost."""
        per_cost = self.weight / self.reference
        return Objective(loss + per_cost * (cost - self.reference), 1.0, per_cost)


@frozen
class MultipliedCost:
    """Loss * alpha * (log E / log reference)^beta.

    Without a reference it is FBNet's ``CE * alpha * log(LAT)^beta`` (Wu et al., 2019, equation 2;
    0.2 and 0.6), whose value depends on the unit. With one it is the multiplicative term of the
    official ProxylessNAS code (0.2 and 0.3). ``alpha`` scales the gradient and, Adam apart,
    nothing else. The weights' loss is left as it is: there the term is a factor only.

    Args:
        alpha: factor, above 0.
        beta: exponent, at least 0.
        reference: a cost above 1, or None for a logarithm of 1.

    Raises:
        InputError: a number out of range, a reference of 1 or below; when called, such a cost.

    >>> MultipliedCost()(2.0, 100.0).value == 2.0 * 0.2 * math.log(100.0) ** 0.6
    True
    """

    alpha: float = field(default=0.2, validator=number(above=0))
    beta: float = field(default=0.6, validator=number(least=0))
    reference: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.reference is not None:
            _check_logarithm("reference", self.reference)

    def __call__(self, loss: float, cost: float) -> Objective:
        """Return the objective of a cross-entropy and an expected cost."""
        _check_logarithm("the expected cost", cost)
        unit = 1.0 if self.reference is None else math.log(self.reference)
        share = math.log(cost) / unit
        factor = self.alpha * share**self.beta
        return Objective(loss * factor, factor, loss * factor * self.beta / (math.log(cost) * cost))


def _check_logarithm(name: str, value: float) -> None:
    if not value > 1 or not math.isfinite(value):
        raise InputError(
            f"{name} is {value}; a multiplied cost takes its logarithm, so it must be above 1: "
            "measure the cost in a smaller unit, or use AddedCost"
        )
