"""What is asked of images, by whom: protocols; `nas_samplers.data` has the implementations."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["FixedImages", "Images", "Split", "Splits"]


class Images(Protocol):
    """Images to train on; what `train` asks for."""

    def __len__(self) -> int: ...

    def training_batches(
        self, *, batch_size: int, seed: int, first_step: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``[b, c, h, w]`` and labels ``[b]`` without end, from a step on."""
        ...


class FixedImages(Protocol):
    """Images in a fixed order; what an error is measured on."""

    def fixed_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``[b, c, h, w]`` and labels ``[b]``, each image once."""
        ...


class Splits(Protocol):
    """Images to train on and images to judge by; `nas_samplers.ImageData` is such."""

    @property
    def train(self) -> Images: ...

    @property
    def held_out(self) -> FixedImages: ...


class Split(Protocol):
    """Images for one purpose, in batches (images, labels) on the device.

    Images are float32 ``[b, c, h, w]``, normalised by channel; labels int64 ``[b]``.
    """

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels int64 ``[n]``, on the host."""
        ...

    def __len__(self) -> int: ...

    def training_batches(
        self, *, batch_size: int, seed: int, first_step: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the endless stream of augmented batches from ``first_step`` on.

        One seeded permutation of the images follows the other and is cut into batches of
        ``batch_size``, across the ends of epochs. How an image is augmented depends on the
        seed, the epoch and the image only, so a stream begun at step k goes on, bit for bit,
        as the one begun at 0.

        Raises:
            InputError: a number out of range; later, an image that cannot be read.
        """
        ...

    def fixed_batches(
        self, batch_size: int, *, count: int | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return batches without augmentation.

        Without ``seed``: every image once, in order, the last batch as small as it comes, or
        the first ``count`` full batches. With ``seed``: ``count`` full batches (as many as
        there are, if None) of a subset drawn without replacement.

        Raises:
            InputError: a number out of range, or more images asked for than there are; later,
                an image that cannot be read.
        """
        ...
