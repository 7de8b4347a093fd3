"""Gates that mix all live candidates of a block: DARTS and FBNet's Gumbel-softmax.

A step is one forward pass of the mixture (`Phase.join`), with the memory and time of all
candidates. `RelaxedLearner` moves the alphas behind the gates.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from nas_samplers.alphas import Alphas
from nas_samplers.settings import check_settings, named
from nas_samplers.validators import number
from nas_spaces import InputError
from nas_spaces.protocols import State
from nas_spaces.torch import check_gates

__all__ = ["Cooling", "Gumbel", "Mixture", "Relaxation", "Temperature", "name_options", "run_gates"]

Temperature = Callable[[int], float]
"""Training step, from 0 -> temperature, above 0."""


@frozen
class Cooling:
    """A temperature that falls exponentially: ``start * exp(-rate * epoch)``.

    FBNet (Wu et al., 2019): 5.0 and 0.045.

    Args:
        steps_per_epoch: training steps of an epoch; the temperature falls at every step.
        start: at the first step.
        rate: per epoch.

    Raises:
        InputError: a number out of range.

    >>> Cooling(100)(0), round(Cooling(100)(200), 3)
    (5.0, 4.57)
    """

    steps_per_epoch: int = field(validator=number(least=1))
    start: float = field(default=5.0, validator=number(above=0))
    rate: float = field(default=0.045, validator=number(least=0))

    def __call__(self, step: int) -> float:
        """Return the temperature of a training step."""
        return self.start * math.exp(-self.rate * step / self.steps_per_epoch)


@frozen(eq=False)
class Relaxation:
    """``gates``: float64 ``[d, k]``, a softmax of (alphas + noise) / ``temperature``."""

    gates: NDArray[np.float64]
    temperature: float


class Mixture:
    """Every live candidate in every step, weighted by its probability.

    Source: DARTS (Liu et al., ICLR 2019), equation 2. It draws nothing. Use it with
    ``Phase(..., sampler=mixture, join=mixture.join)``.

    Args:
        alphas: has the probabilities, and counts what is trained.

    Raises:
        InputError: a space whose blocks depend on several choices.

    >>> from nas_spaces import published
    >>> Mixture(Alphas(published.load("nas-bench-macro"))).ask()[:, 0].tolist()
    [0, 1, 2]
    """

    def __init__(self, alphas: Alphas) -> None:
        check_gates(alphas.space)
        self.alphas = alphas

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``, rows that name every live option; shorter columns repeat."""
        rows = name_options(self.alphas.alive)
        self.alphas.count(rows)
        return rows

    def relax(self) -> Relaxation:
        """Return the gates: the probabilities."""
        return Relaxation(self.alphas.probabilities(), 1.0)

    def join(self, network: nn.Module, images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Return logits ``[b, classes]`` of the mixture."""
        return run_gates(network, images, self.relax().gates)

    def state_dict(self) -> dict[str, Any]:
        """Return the state: none, the alphas are the learner's."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""


class Gumbel:
    """Every live candidate in every step, weighted by a random softmax that hardens over time.

    Source: FBNet (Wu et al., 2019), equations 5 and 6: gates are a softmax of the alphas plus
    Gumbel noise, divided by a temperature; near 0 they are nearly one candidate, drawn from the
    probabilities. Use it with ``Phase(..., sampler=gumbel, join=gumbel.join)``: the images of a
    step share their gates, micro-batches included.

    Args:
        alphas: what is drawn from; counts what is trained.
        rng: source of randomness; its state is part of the sampler's. A learner draws from it too.
        temperature: of each training step, from 0.

    Raises:
        InputError: a space whose blocks depend on several choices.

    >>> from nas_spaces import published
    >>> alphas = Alphas(published.load("nas-bench-macro"))
    >>> gumbel = Gumbel(alphas, rng=np.random.default_rng(0), temperature=Cooling(100))
    >>> gumbel.ask().shape, gumbel.relax().gates.sum(axis=1).round(6).tolist()[:2]
    ((3, 8), [1.0, 1.0])
    """

    def __init__(
        self, alphas: Alphas, *, rng: np.random.Generator, temperature: Temperature
    ) -> None:
        check_gates(alphas.space)
        self.alphas = alphas
        self.rng = rng
        self.temperature = temperature
        self.asked = 0
        self._gates: NDArray[np.float64] | None = None

    def ask(self) -> NDArray[np.int64]:
        """Draw the gates of a step.

        Returns:
            int64 ``[n, d]``, rows that name every live option; shorter columns repeat.
        """
        self.asked += 1
        self._gates = self.relax().gates
        rows = name_options(self.alphas.alive)
        self.alphas.count(rows)
        return rows

    def relax(self) -> Relaxation:
        """Return fresh gates at the temperature of the present step.

        Raises:
            InputError: the temperature is not above 0.
        """
        temperature = self.temperature(max(self.asked - 1, 0))
        if not temperature > 0:
            raise InputError(
                f"temperature is {temperature} at step {max(self.asked - 1, 0)}; it must be above 0"
            )
        chances = self.alphas.log_probabilities()
        noisy = (chances + self.rng.gumbel(size=chances.shape)) / temperature
        return Relaxation(softmax(noisy, axis=1), temperature)

    def join(self, network: nn.Module, images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Return logits ``[b, classes]`` with the gates of the last `ask`.

        Raises:
            InputError: nothing was asked for yet.
        """
        if self._gates is None:
            raise InputError("join uses the gates that ask draws; call ask first")
        return run_gates(network, images, self._gates)

    def state_dict(self) -> dict[str, Any]:
        """Return the state: steps and generator; gates do not outlive their step."""
        return {
            "temperature": named(self.temperature),
            "asked": self.asked,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a sampler with another temperature.
        """
        ours, theirs = named(self.temperature), state["temperature"]
        check_settings({"temperature": ours}, {"temperature": theirs}, "sampler")
        self.asked = int(state["asked"])
        self._gates = None
        self.rng.bit_generator.state = state["rng"]


def name_options(taken: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the fewest rows int64 ``[n, d]`` that name all options ``taken``, bool ``[d, k]``.

    Columns of fewer options begin again.

    >>> name_options(np.array([[True, True, True], [False, True, False]])).tolist()
    [[0, 1], [1, 1], [2, 1]]
    """
    columns = [np.flatnonzero(row) for row in taken]
    rows = max(column.size for column in columns)
    return np.stack([np.resize(column, rows) for column in columns], axis=1).astype(np.int64)


def run_gates(network: nn.Module, images: Tensor, gates: NDArray[np.float64]) -> Tensor:
    """Return logits of a supernet's mixture; ``gates`` ``[d, k]`` are constants."""
    logits: Tensor = network(images, torch.as_tensor(gates, dtype=torch.float32))
    return logits
