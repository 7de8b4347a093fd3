"""Adam on a few numbers in float64, of which only some take part in a step.

Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_samplers.validators import check_number
from nas_spaces import InputError

__all__ = ["Adam"]

# As in torch; the paper's.
EPSILON = 1e-8


class Adam:
    """Moments of values ``[d, k]``, entry by entry.

    An entry that takes no part in a step keeps its moments and its count of steps, as if it were
    a parameter of its own without a gradient: neither momentum nor decay moves it.

    Args:
        shape: of the values.
        lr: learning rate, above 0.
        betas: decay of the two moments, each in [0, 1).
        weight_decay: of the values, added to their gradient as in the paper of DARTS (not
            decoupled).

    Raises:
        InputError: an argument out of range.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        lr: float,
        betas: Iterable[float],
        weight_decay: float = 0.0,
    ) -> None:
        check_number("lr", lr, above=0)
        pair = tuple(betas) if isinstance(betas, Iterable) else ()
        if len(pair) != 2:
            raise InputError(f"betas={betas!r} must be two numbers")
        for place, beta in enumerate(pair):
            check_number(f"betas[{place}]", beta, least=0, below=1)
        check_number("weight_decay", weight_decay, least=0)
        self.lr = lr
        self.betas = (float(pair[0]), float(pair[1]))
        self.weight_decay = weight_decay
        self.first = np.zeros(shape)
        self.second = np.zeros(shape)
        self.steps = np.zeros(shape, dtype=np.int64)

    def step(
        self,
        values: NDArray[np.float64],
        gradient: NDArray[np.float64],
        where: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Return the values after a step, float64 ``[d, k]``.

        Args:
            values: float64 ``[d, k]``, not changed.
            gradient: float64 ``[d, k]``.
            where: bool ``[d, k]``, the entries that take part.
        """
        one, two = self.betas
        slope = gradient[where] + self.weight_decay * values[where]
        self.steps[where] += 1
        self.first[where] = one * self.first[where] + (1 - one) * slope
        self.second[where] = two * self.second[where] + (1 - two) * slope**2
        first = self.first[where] / (1 - one ** self.steps[where])
        second = self.second[where] / (1 - two ** self.steps[where])
        after = values.copy()
        after[where] -= self.lr * first / (np.sqrt(second) + EPSILON)
        return after

    def settings(self) -> dict[str, Any]:
        """Return what the state belongs to."""
        return {"lr": self.lr, "betas": list(self.betas), "weight_decay": self.weight_decay}

    def state_dict(self) -> dict[str, Any]:
        """Return the state: moments and counts of steps."""
        return {
            "first": self.first.copy(),
            "second": self.second.copy(),
            "steps": self.steps.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        self.first = np.array(state["first"], dtype=np.float64)
        self.second = np.array(state["second"], dtype=np.float64)
        self.steps = np.array(state["steps"], dtype=np.int64)
