"""What the gradient of each row of a step counts, known beforehand or from the rows' losses.

Weights that depend on the losses of all rows seem to need all graphs at once. They do not: each
row's gradient is computed as soon as its loss is known, for a weight of the moment, and what came
before is multiplied by what the new loss leaves of it. One graph is alive at a time.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from nas_samplers.validators import number

__all__ = ["GradientSum", "RowWeights", "Weigh", "mean_rows", "posterior_rows", "sum_rows"]


@runtime_checkable
class RowWeights(Protocol):
    """Weighs the rows of one step as their losses come."""

    def add(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Take a row's loss; return factors of the gradient so far, and of this row's."""
        ...

    def finish(self) -> Tensor:
        """Return the factor of the gradient when all rows have come."""
        ...


Weigh = Callable[[int], float | RowWeights]
"""Number of rows of a step -> what each of them counts, or what says so from their losses."""


def sum_rows(rows: int) -> float:
    """Every row counts 1: gradients are summed (FairNAS)."""
    return 1.0


def mean_rows(rows: int) -> float:
    """Every row counts 1 / rows: gradients are averaged."""
    return 1.0 / rows


def posterior_rows(temperature: float = 1.0) -> Weigh:
    """Return what weighs rows by softmax(-loss / temperature) over the rows of the step.

    PARSEC (Casale et al., 2019) and FP-NAS (Yan et al., CVPR 2021): the derivative of
    -log((1/K) sum_k L_k) by the weights is that of sum_k (L_k / sum L) loss_k. Likelihoods are of
    the training batch, with its mean loss for -log L as in `posterior_weights`; where labels are
    smoothed, so is that loss.

    Args:
        temperature: above 0.

    Raises:
        InputError: a temperature out of range.

    >>> weights = posterior_rows()(2)
    >>> keep, count = weights.add(torch.tensor(1.0))
    >>> keep, count = weights.add(torch.tensor(0.0))  # e times as likely
    >>> f"{keep * weights.finish():.3f} {count * weights.finish():.3f}"
    '0.269 0.731'
    """
    return _Posterior(temperature)


@frozen
class _Posterior:
    temperature: float = field(validator=number(above=0))

    def __call__(self, rows: int) -> RowWeights:
        return _Streamed(self.temperature)


@define
class _Streamed:
    """A softmax over what comes: the smallest loss so far, and the sum relative to its entry."""

    temperature: float
    smallest: Tensor | None = None
    total: Tensor | None = None

    def add(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        if self.smallest is None or self.total is None:
            self.smallest, self.total = loss, torch.ones_like(loss)
            return torch.ones_like(loss), torch.ones_like(loss)
        smallest = torch.minimum(self.smallest, loss)
        keep, count = self._ratio(self.smallest - smallest), self._ratio(loss - smallest)
        self.smallest, self.total = smallest, self.total * keep + count
        return keep, count

    def _ratio(self, above: Tensor) -> Tensor:
        """Return how likely a row is relative to the likeliest, its loss being so much above."""
        # loss / temperature overflows float32 at tiny temperatures, so losses are subtracted first.
        # A temperature may itself be 0 in float32: above = 0 would then be 0 / 0.
        ratio = torch.exp(-above / self.temperature)
        return torch.where(above == 0, torch.ones_like(above), ratio)

    def finish(self) -> Tensor:
        assert self.total is not None  # a step has at least one row
        return 1 / self.total


class GradientSum:
    """Gradients of rows, combined as their losses come.

    A row's gradient is gathered in ``.grad`` apart from those before it, since of a row that
    passes in parts the loss is only known behind the last one.

    Args:
        parameters: of the network; their gradients are None.
        weights: of the rows of this step.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], weights: RowWeights) -> None:
        self.parameters = parameters
        self.weights = weights
        self.sums: dict[int, Tensor] = {}

    def add(self, loss: Tensor) -> None:
        """Take the gradient of a row out of ``.grad``, given its loss, detached."""
        keep, count = self.weights.add(loss)
        if self.sums:
            torch._foreach_mul_(list(self.sums.values()), keep)
        for place, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            own = parameter.grad.mul_(count)
            parameter.grad = None
            if place in self.sums:
                self.sums[place] += own
            else:
                self.sums[place] = own

    def finish(self) -> None:
        """Put the combined gradient into ``.grad``, None where no row has one."""
        if self.sums:
            torch._foreach_mul_(list(self.sums.values()), self.weights.finish())
        for place, total in self.sums.items():
            self.parameters[place].grad = total
        self.sums.clear()
