"""Single path, uniform sampling."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_spaces import SearchSpace
from nas_spaces.protocols import State

__all__ = ["Uniform"]


class Uniform:
    """One architecture a step, every live option of every choice equally likely.

    Source: SPOS (Guo et al., 2020), section 3.2.

    Args:
        space: the search space.
        rng: source of randomness; its state is part of the sampler's.

    >>> import numpy as np
    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> Uniform(space, rng=np.random.default_rng(0)).ask().shape
    (1, 8)
    """

    def __init__(self, space: SearchSpace, *, rng: np.random.Generator) -> None:
        self.space = space
        self.rng = rng

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[1, d]``."""
        return self.space.sample(1, rng=self.rng)

    def state_dict(self) -> dict[str, Any]:
        """Return the state: that of the generator."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        self.rng.bit_generator.state = state["rng"]
