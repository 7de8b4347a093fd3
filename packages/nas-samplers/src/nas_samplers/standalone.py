"""Training one architecture from scratch, and its error on images."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_spaces import InputError

__all__ = ["FixedImages", "run_network", "top1_error", "wrong_answers"]


class FixedImages(Protocol):
    """Images in a fixed order; `nas_samplers.data` has the implementations."""

    def fixed_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``[b, c, h, w]`` and labels ``[b]``, each image once."""
        ...


def run_network(network: nn.Module, images: Tensor, row: NDArray[np.int64]) -> Tensor:
    """Return the logits of a stand-alone network; the `Phase.forward` of retraining."""
    logits: Tensor = network(images)
    return logits


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
