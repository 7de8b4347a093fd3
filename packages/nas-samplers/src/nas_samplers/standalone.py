"""Training one architecture alone, and its error on images."""

from collections.abc import Callable, Sized
from pathlib import Path

import numpy as np
import torch
from attrs import field, frozen
from attrs.validators import optional
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_samplers.fixed import Fixed
from nas_samplers.images import FixedImages, Images
from nas_samplers.optimiser import Optimiser
from nas_samplers.phase import Phase
from nas_samplers.train import Precision, Record, train
from nas_samplers.training_state import Summary
from nas_samplers.validators import number, one_of
from nas_spaces import InputError

__all__ = [
    "Training",
    "run_network",
    "top1_error",
    "train_network",
    "wrong_answers",
]


def run_network(network: nn.Module, images: Tensor, row: NDArray[np.int64]) -> Tensor:
    """Return the logits of a stand-alone network; the `Phase.forward` of retraining."""
    logits: Tensor = network(images)
    return logits


@frozen(kw_only=True)
class Training:
    """How an architecture is trained alone.

    Args:
        optimiser: how weights are updated.
        batch_size: images of a step, at least 2.
        epochs: passes over the training images, of which at least one step is made.
        steps: optimiser steps, in place of epochs.
        label_smoothing: of the cross-entropy.
        micro_batch: images that pass at once, at least 2; None passes the whole batch.
        precision: bfloat16 runs the forward pass under autocast.
        channels_last: keep activations and weights in that memory format.

    Raises:
        InputError: a number out of range, or not one of ``epochs`` and ``steps``.

    >>> Training(optimiser=Optimiser(), batch_size=32, epochs=1.5).steps_on(range(640))
    30
    """

    optimiser: Optimiser
    batch_size: int = field(validator=number(least=2, whole=True))
    epochs: float | None = field(default=None, validator=optional(number(above=0)))
    steps: int | None = field(default=None, validator=optional(number(least=1, whole=True)))
    label_smoothing: float = field(default=0.0, validator=number(least=0, below=1))
    micro_batch: int | None = field(default=None, validator=optional(number(least=2, whole=True)))
    precision: Precision = field(default="float32", validator=one_of("float32", "bfloat16"))
    channels_last: bool = True

    def __attrs_post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise InputError(
                f"epochs={self.epochs} and steps={self.steps}: a training has one of the two; "
                "leave the other out"
            )

    def steps_on(self, images: Sized) -> int:
        """Return the optimiser steps on these training images."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(round(self.epochs * len(images) / self.batch_size), 1)

    def phase(self, images: Sized) -> Phase:
        """Return the one phase of the training of a network without choices."""
        return Phase(
            "alone",
            Fixed(()),
            steps=self.steps_on(images),
            optimiser=self.optimiser,
            batch_size=self.batch_size,
            label_smoothing=self.label_smoothing,
            micro_batch=self.micro_batch,
            forward=run_network,
        )


def train_network(
    network: nn.Module,
    training: Training,
    images: Images,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    checkpoint_every: int = 500,
    on_record: Callable[[Record], None] | None = None,
) -> Summary:
    """Train one network among many, which nobody watches, by the one training loop.

    Args:
        network: a network without choices; trained in place, moved to ``device``.
        training: how.
        images: training images.
        seed: of the order of images, augmentation and dropout.
        device: where to train.
        checkpoint: the file that holds the state; read if it exists. It is removed where the
            training fails for what it is: from that state it would fail again.
        checkpoint_every: steps between two writes of it.
        on_record: receives the records of `train`.

    Raises:
        DivergedError: loss or weights are not finite.
        InputError: a checkpoint that is damaged or of another training.
        OSError: the checkpoint cannot be written.
    """
    try:
        return train(
            network,
            [training.phase(images)],
            images,
            seed=seed,
            device=device,
            precision=training.precision,
            channels_last=training.channels_last,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            on_record=on_record,
        )
    except InputError:
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        raise


@torch.inference_mode()
def wrong_answers(
    network: nn.Module, images: FixedImages, *, device: torch.device, batch_size: int = 256
) -> NDArray[np.bool_]:
    """Return bool ``[n]``: for which images the most probable class is wrong.

    Raises:
        InputError: no images.
    """
    network.eval()
    wrong = [
        (network(batch.to(device)).argmax(dim=1) != labels.to(device)).cpu()
        for batch, labels in images.fixed_batches(batch_size)
    ]
    if not wrong:
        raise InputError("there are no images to measure the error on")
    answers: NDArray[np.bool_] = torch.cat(wrong).numpy()
    return answers


def top1_error(
    network: nn.Module, images: FixedImages, *, device: torch.device, batch_size: int = 256
) -> float:
    """Return the share of wrong answers, in [0, 1]."""
    return float(wrong_answers(network, images, device=device, batch_size=batch_size).mean())
