"""Single paths, uniform over what is still alive: BetaNAS's training."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_samplers.alphas import Alphas
from nas_spaces.protocols import State

__all__ = ["Balanced"]


class Balanced:
    """One architecture a step, every option that was not dropped equally likely.

    Source: BetaNAS (Fang et al., "BetaNAS: Balanced Training and selective drop for neural
    architecture search", 2019), phase 1: what the architecture parameters prefer is not trained
    more often, so that candidates stay comparable; what was dropped is not trained at all.

    Args:
        alphas: says what is alive, and counts what is trained. A learner drops from it.
        rng: source of randomness; its state is part of the sampler's, the alphas are not: they
            are the learner's.

    >>> from nas_spaces import published
    >>> alphas = Alphas(published.load("nas-bench-macro"))
    >>> Balanced(alphas, rng=np.random.default_rng(0)).ask().shape, int(alphas.counts.sum())
    ((1, 8), 8)
    """

    def __init__(self, alphas: Alphas, *, rng: np.random.Generator) -> None:
        self.alphas = alphas
        self.rng = rng

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[1, d]``."""
        alive = [np.flatnonzero(row) for row in self.alphas.alive]
        rows = np.array([[options[self.rng.integers(options.size)] for options in alive]])
        self.alphas.count(rows)
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Return the state: that of the generator."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        self.rng.bit_generator.state = state["rng"]
