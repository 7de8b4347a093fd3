"""Several candidates of a block at once, some left out at random: One-Shot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_samplers.relaxed import name_options, run_gates
from nas_samplers.settings import check_settings
from nas_samplers.validators import check_number
from nas_spaces import InputError, SearchSpace
from nas_spaces.protocols import State
from nas_spaces.torch import check_gates

__all__ = ["PathDropout", "drop_probability"]


def drop_probability(rate: float, candidates: int) -> float:
    """Return with what probability each of ``candidates`` is dropped: ``rate^(1 / candidates)``.

    All of them are then dropped together with probability ``rate``, however many they are.

    >>> drop_probability(0.01, 2)
    0.1
    """
    return float(rate ** (1.0 / candidates))


class PathDropout:
    """In each step every live option is left out with the same probability; the rest are averaged.

    Source: One-Shot (Bender et al., ICML 2018), section 3.2. The rate grows linearly from 0 over
    the first ``ramp`` steps. Where all options of a choice are dropped, one of them is kept at
    random, as SPOS has it for its comparison; a rate of 1 is then single path training, uniform.
    Use it with ``Phase(..., sampler=dropout, join=dropout.join)``: the images of a step share what
    is dropped, one forward pass runs all that is kept.

    Departure from the paper: a block returns the mean of what is kept, not its sum. Candidates of
    these spaces carry their own shortcuts, so that a sum of n would multiply what enters a block
    by about n, and a single path would meet in evaluation what it never met in training.

    Args:
        space: the search space; options that were dropped from it take no part.
        rng: source of randomness; its state is part of the sampler's.
        rate: ``r``, the probability that all options of a choice are dropped, in [0, 1].
        ramp: steps over which it grows, at least 0.

    Raises:
        InputError: a rate or a ramp out of range; a space without choices, or one whose blocks
            depend on several.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> PathDropout(space, rng=np.random.default_rng(0), rate=1.0, ramp=0).ask().shape
    (1, 8)
    """

    def __init__(
        self, space: SearchSpace, *, rng: np.random.Generator, rate: float, ramp: int
    ) -> None:
        check_number("rate", rate, least=0, most=1)
        check_number("ramp", ramp, least=0, whole=True)
        if not space.num_choices:
            raise InputError(f"space {space.name!r} has no choices; there is nothing to drop")
        check_gates(space)
        self.space = space
        self.rng = rng
        self.rate = rate
        self.ramp = ramp
        self.asked = 0

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``, rows that name every kept option; shorter columns repeat."""
        rate = self.rate * min(1.0, self.asked / self.ramp if self.ramp else 1.0)
        self.asked += 1
        mask = self.space.mask
        chances = np.array([[drop_probability(rate, int(row.sum()))] for row in mask])
        drawn = self.rng.random(mask.shape)
        kept = mask & (drawn >= chances)
        # Of what is dropped the largest draw is as likely to be one option as another.
        last = np.where(mask, drawn, -1.0).argmax(axis=1)
        none = ~kept.any(axis=1)
        kept[none, last[none]] = True
        return name_options(kept)

    def join(self, network: nn.Module, images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Return logits ``[b, classes]`` of the mean of the options that ``rows`` name."""
        kept = np.zeros(self.space.mask.shape)
        kept[np.arange(rows.shape[1]), rows] = 1.0
        return run_gates(network, images, kept / kept.sum(axis=1, keepdims=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the state: steps and generator, and the settings that they belong to."""
        return {
            "rate": self.rate,
            "ramp": self.ramp,
            "asked": self.asked,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a sampler with another rate or ramp.
        """
        for key, ours in (("rate", self.rate), ("ramp", self.ramp)):
            check_settings({key: ours}, {key: state[key]}, "sampler")
        self.asked = int(state["asked"])
        self.rng.bit_generator.state = state["rng"]
