"""Architecture parameters learnt through mixtures of all candidates: DARTS and FBNet."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_samplers.adam import Adam
from nas_samplers.alphas import softmax_gradient
from nas_samplers.cost_terms import CostTerm, Objective
from nas_samplers.micro_batches import split_batch
from nas_samplers.relaxed import Gumbel, Mixture
from nas_samplers.settings import check_settings, named
from nas_spaces.protocols import State
from nas_spaces.torch import Supernet

__all__ = ["RelaxedLearner"]


class RelaxedLearner:
    """Moves alphas down the gradient of a mixture's loss on held-out images.

    With `Mixture` it is DARTS of first order (Liu et al., ICLR 2019): the weights of the moment
    stand for those that training to the end would give; there is no unrolled step. With `Gumbel`
    it is FBNet's (Wu et al., 2019), whose gates it draws anew, with
    ``cost=MultipliedCost(alpha=0.2, beta=0.6)``.

    A mixture that has been trained is not an architecture. The usual end is the most probable
    row: ``FeasibleSet(...).most_probable(alphas.log_probabilities())``; DARTS leaves out options
    that let nothing through: ``alphas.log_probabilities(exclude=zero_options(space))``.

    Departure from FBNet: the cost is the mean over the probabilities, not that of the gates that
    were drawn; the two agree on average as the temperature nears 0.

    Weights, their gradients and the statistics of norms are not touched; the network is run in
    the mode that it is in, which `train` makes that of training. Computed in float32.

    Args:
        sampler: draws the gates, and has the alphas. One phase trains weights with it.
        lr: of Adam (DARTS 3e-4).
        betas: of Adam (DARTS).
        weight_decay: of Adam, on the alphas (DARTS 1e-3).
        cost: how the expected cost of the alphas enters the loss; None leaves it out.

    Raises:
        InputError: an argument out of range, or a cost term for alphas without a cost.

    >>> from nas_samplers.alphas import Alphas
    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile")
    >>> supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    >>> mixture = Mixture(Alphas(space))
    >>> learner = RelaxedLearner(mixture)
    >>> images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    >>> sorted(learner.learn(supernet, mixture.ask(), images, labels))
    ['alive', 'held_out_loss', 'objective', 'temperature']
    """

    def __init__(
        self,
        sampler: Mixture | Gumbel,
        *,
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        weight_decay: float = 1e-3,
        cost: CostTerm | None = None,
    ) -> None:
        self.sampler = sampler
        self.alphas = sampler.alphas
        if cost is not None:
            self.alphas.costs()
        self.cost = cost
        shape = self.alphas.values.shape
        self.adam = Adam(shape, lr=lr, betas=betas, weight_decay=weight_decay)

    def learn(
        self,
        network: Supernet,
        archs: NDArray[np.int64],
        images: Tensor,
        labels: Tensor,
        *,
        micro_batch: int | None = None,
    ) -> dict[str, float]:
        """Update the alphas from held-out images.

        Args:
            network: the supernet; it comes back as it was.
            archs: the rows of the training step; all live options take part anyway.
            images: ``[b, c, h, w]``.
            labels: ``[b]``.
            micro_batch: images that pass at once; None for all. Loss and gradient are the means
                over all images either way, of the same gates; norms use the statistics of each
                part.

        Returns:
            ``held_out_loss`` of the mixture, ``objective`` with the cost in it, ``temperature``,
            ``alive``: the number of live options, and ``expected_cost`` where there is a cost.
        """
        alphas = self.alphas
        relaxed = self.sampler.relax()
        gates = torch.tensor(
            relaxed.gates, dtype=torch.float32, device=images.device, requires_grad=True
        )
        # Norms would write their running statistics; here they write into copies.
        copies = {name: buffer.clone() for name, buffer in network.named_buffers()}
        value, slopes = 0.0, np.zeros(relaxed.gates.shape)
        for part in split_batch(len(images), micro_batch):
            share = len(labels[part]) / len(labels)
            logits = functional_call(network, copies, (images[part], gates))
            loss = F.cross_entropy(logits, labels[part])
            (slope,) = torch.autograd.grad(loss, gates)
            value += share * float(loss.detach())
            slopes += share * slope.double().cpu().numpy()
        objective = Objective(value, 1.0, 0.0)
        record: dict[str, float] = {"held_out_loss": value}
        # The gates are a softmax of alphas divided by the temperature.
        gradient = softmax_gradient(relaxed.gates, slopes)
        gradient /= relaxed.temperature
        if self.cost is not None:
            record["expected_cost"] = alphas.expected_cost()
            objective = self.cost(value, record["expected_cost"])
            gradient = objective.per_loss * gradient + objective.per_cost * alphas.cost_gradient()
        alphas.values = self.adam.step(alphas.values, gradient, alphas.alive)
        alphas.snapshot()
        return {
            **record,
            "objective": objective.value,
            "temperature": relaxed.temperature,
            "alive": float(alphas.alive.sum()),
        }

    def _settings(self) -> dict[str, Any]:
        return {
            "sampler": type(self.sampler).__name__,
            "cost": named(self.cost),
            **self.adam.settings(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state, that of the alphas included; the sampler's is its own."""
        return {
            "settings": self._settings(),
            "alphas": self.alphas.state_dict(),
            "adam": self.adam.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a learner with other settings, or of another space.
        """
        check_settings(self._settings(), state["settings"], "learner")
        self.alphas.load_state_dict(state["alphas"])
        self.adam.load_state_dict(state["adam"])
