"""Which candidates BetaNAS may drop for good."""

from collections.abc import Callable

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nas_samplers.alphas import Alphas
from nas_samplers.validators import number

__all__ = ["BelowMean", "BelowShare", "DropRule"]

DropRule = Callable[[Alphas], NDArray[np.bool_]]
"""Alphas -> bool ``[d, k]``, the live options that may go. Who asks never drops the last."""


@frozen
class BelowMean:
    """Options whose alpha is below the mean of its choice's live ones by more than ``delta``.

    BetaNAS compares alpha itself with a threshold. That is not well defined: probabilities do not
    change when all alphas of a choice move together, and they do move. The paper's section 4.4
    speaks of alphas "much lower than the average of the others"; measured from the mean, the rule
    sees differences only. An alpha at the threshold stays (the paper has > in equation 3 and < in
    equation 7).

    Args:
        delta: above 0. Adam moves an alpha by about its learning rate a step.

    Raises:
        InputError: another delta.
    """

    delta: float = field(validator=number(above=0))

    def __call__(self, alphas: Alphas) -> NDArray[np.bool_]:
        """Return bool ``[d, k]``."""
        alive = alphas.alive
        means = np.where(alive, alphas.values, 0.0).sum(1) / alive.sum(1)
        below: NDArray[np.bool_] = alive & (alphas.values < means[:, None] - self.delta)
        return below


@frozen
class BelowShare:
    """Options whose probability is below ``rho / m``, m the live options of their choice.

    Shift invariant as well, and a threshold that follows the number of candidates.

    Args:
        rho: in (0, 1), the share of an even probability that keeps an option.

    Raises:
        InputError: another rho.
    """

    rho: float = field(validator=number(above=0, below=1))

    def __call__(self, alphas: Alphas) -> NDArray[np.bool_]:
        """Return bool ``[d, k]``."""
        even = self.rho / alphas.alive.sum(1, keepdims=True)
        below: NDArray[np.bool_] = alphas.alive & (alphas.probabilities() < even)
        return below
