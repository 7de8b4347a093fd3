"""What a stretch of training is: the rows of a step, and what is done with them."""

from collections.abc import Callable

import numpy as np
from attrs import field, frozen
from attrs.validators import optional
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_samplers.micro_batches import split_batch
from nas_samplers.optimiser import Optimiser
from nas_samplers.row_weights import Weigh, mean_rows, sum_rows
from nas_samplers.validators import number
from nas_spaces.protocols import Learner, Sampler

__all__ = ["Forward", "Join", "Phase", "Weigh", "mean_rows", "sum_rows"]

Forward = Callable[[nn.Module, Tensor, NDArray[np.int64]], Tensor]
"""(network, images, row) -> logits."""
Join = Callable[[nn.Module, Tensor, NDArray[np.int64]], Tensor]
"""(network, images, rows ``[n, d]``) -> logits: one pass for all rows of a step."""


def _run_path(network: nn.Module, images: Tensor, row: NDArray[np.int64]) -> Tensor:
    logits: Tensor = network(images, row)
    return logits


@frozen(eq=False)
class Phase:
    """One stretch of training.

    The rows of one ``sampler.ask()`` share one batch and one optimiser step.

    Args:
        name: for people and checkpoints.
        sampler: draws the rows.
        steps: optimiser steps.
        optimiser: how weights are updated; its state does not outlive the phase.
        batch_size: images of a step, at least 2 (norms need them).
        label_smoothing: of the cross-entropy.
        micro_batch: images that pass at once, at least 2; gradients of the parts add up to the
            batch's, norms use the statistics of each part. The learner is told, and its held-out
            batches pass in parts too. None passes the whole batch.
        weigh: what the gradient of each row counts: a number (`sum_rows`, `mean_rows`), or what
            says so from the losses as they come (`posterior_rows`).
        forward: how the network is called.
        join: one forward pass for all rows of a step, in place of ``forward`` once for each; its
            loss counts once, whatever ``weigh`` says. What mixes candidates needs it: the
            samplers of `nas_samplers.relaxed` and `nas_samplers.path_dropout` bring theirs.
        learner: updates the sampler's distribution from held-out images; what it records are
            finite numbers.
        learn_from: steps before the learner's first update.
        learn_every: steps between two updates by the learner.
        before: called with the network when the phase begins.

    Raises:
        InputError: a number out of range.
    """

    name: str
    sampler: Sampler
    steps: int = field(validator=number(least=1, whole=True))
    optimiser: Optimiser
    batch_size: int = field(validator=number(least=2, whole=True))
    label_smoothing: float = field(default=0.0, validator=number(least=0, below=1))
    micro_batch: int | None = field(default=None, validator=optional(number(least=2, whole=True)))
    weigh: Weigh = sum_rows
    forward: Forward = _run_path
    join: Join | None = None
    learner: Learner | None = None
    learn_from: int = field(default=0, validator=number(least=0, whole=True))
    learn_every: int = field(default=1, validator=number(least=1, whole=True))
    before: Callable[[nn.Module], None] | None = None

    def learns(self, step: int) -> bool:
        """Whether the learner is called after so many steps."""
        if self.learner is None or step <= self.learn_from:
            return False
        return step % self.learn_every == 0

    def learned(self, step: int) -> int:
        """Return how often the learner has been called after so many steps."""
        return max(step // self.learn_every - self.learn_from // self.learn_every, 0)

    @property
    def parts(self) -> list[slice]:
        """Slices of a batch that pass at once, of nearly equal size."""
        return split_batch(self.batch_size, self.micro_batch)
