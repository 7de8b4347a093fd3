"""Single paths drawn from architecture parameters: ProxylessNAS's training."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_samplers.alphas import Alphas, draw_options
from nas_spaces.protocols import State

__all__ = ["Weighted"]


class Weighted:
    """One architecture a step, each choice drawn from its options' probabilities.

    Source: ProxylessNAS (Cai et al., ICLR 2019), section 3.2: weights are trained on the path
    that binary gates sample, so what is preferred is trained more often. `Balanced` is the same
    without that feedback.

    Args:
        alphas: has the probabilities, and counts what is trained.
        rng: source of randomness; its state is part of the sampler's, the alphas are not: they
            are the learner's.

    >>> from nas_spaces import published
    >>> alphas = Alphas(published.load("nas-bench-macro"))
    >>> alphas.values[:, 2] = 50.0
    >>> Weighted(alphas, rng=np.random.default_rng(0)).ask().tolist()
    [[2, 2, 2, 2, 2, 2, 2, 2]]
    """

    def __init__(self, alphas: Alphas, *, rng: np.random.Generator) -> None:
        self.alphas = alphas
        self.rng = rng

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[1, d]``."""
        rows = draw_options(self.alphas.log_probabilities(), self.rng)[None]
        self.alphas.count(rows)
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Return the state: that of the generator."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        self.rng.bit_generator.state = state["rng"]
