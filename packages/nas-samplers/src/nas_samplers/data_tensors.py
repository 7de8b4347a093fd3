"""Small images: all of them in one uint8 tensor on the device, augmented a batch at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nas_samplers.data_order import check_batches, fixed_order, sample_bits, training_order

__all__ = ["TensorImages", "TensorSplit", "channel_statistics"]

_FIELD = 21  # bits of a hash that decide one crop offset
_FIELD_MASK = np.uint64((1 << _FIELD) - 1)


def channel_statistics(
    images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of some images, in [0, 1].

    Args:
        images: uint8 ``[n, c, h, w]``.
        rows: int64 ``[m]``, which of them.

    Sums are of integers, so the result does not depend on the order. A channel that never
    changes gets a deviation of 1.
    """
    channels = images.shape[1]
    total = np.zeros(channels, dtype=np.int64)
    squares = np.zeros(channels, dtype=np.int64)
    for start in range(0, len(rows), 1024):
        values = images[rows[start : start + 1024]].astype(np.int64)
        total += values.sum(axis=(0, 2, 3))
        squares += (values * values).sum(axis=(0, 2, 3))
    number = len(rows) * images.shape[2] * images.shape[3]
    mean = total / number
    deviation = np.sqrt(np.maximum(squares / number - mean**2, 0))
    deviation[deviation == 0] = 255
    return tuple((mean / 255).tolist()), tuple((deviation / 255).tolist())


@frozen(eq=False)
class TensorImages:
    """Images on a device.

    ``padded``: uint8 ``[n, c, h + 2p, w + 2p]``, with ``padding`` black pixels on each side, so
    that a random crop is a window. ``targets``: int64 ``[n]`` on the device; ``labels``: the
    same on the host. ``scale``, ``shift``: float32 ``[c, 1, 1]``, a pixel becomes
    ``pixel * scale + shift``. ``flip``: whether half of the training images are mirrored.
    """

    padded: Tensor
    padding: int
    targets: Tensor
    labels: NDArray[np.int64]
    scale: Tensor
    shift: Tensor
    flip: bool

    @classmethod
    def place(
        cls,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        padding: int,
        flip: bool,
        device: torch.device,
    ) -> "TensorImages":
        """Put images uint8 ``[n, c, h, w]`` and labels int64 ``[n]`` on the device."""
        mean_of, std_of = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (mean, std))
        return cls(
            padded=functional.pad(torch.from_numpy(images).to(device), (padding,) * 4),
            padding=padding,
            targets=torch.from_numpy(labels).to(device),
            labels=labels,
            scale=(1 / (255 * std_of)).to(device, torch.float32),
            shift=(-mean_of / std_of).to(device, torch.float32),
            flip=flip,
        )

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return float32 of the shape of ``pixels`` uint8 ``[b, c, h, w]``."""
        return pixels.to(torch.float32).mul_(self.scale).add_(self.shift)


@frozen(eq=False)
class TensorSplit:
    """Some of the images on a device; see `nas_samplers.images.Split`.

    ``index``: int64 ``[n]``, which rows of ``images``.
    """

    images: TensorImages
    index: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels int64 ``[n]``, on the host."""
        return self.images.labels[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def training_batches(
        self, *, batch_size: int, seed: int, first_step: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the endless stream of augmented batches from ``first_step`` on."""
        check_batches(batch_size, seed, first_step)
        return self._training_batches(batch_size, seed, first_step)

    def _training_batches(
        self, batch_size: int, seed: int, first_step: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        images = self.images
        device, span = images.padded.device, 2 * images.padding
        height, width = images.padded.shape[2] - span, images.padded.shape[3] - span
        # A view [n, c, 2p + 1, 2p + 1, h, w] of every crop of every image.
        crops = images.padded.unfold(2, height, 1).unfold(3, width, 1)
        # On a CPU numpy copies such windows faster than torch: a batch in two thirds of the time.
        windows = crops.numpy() if device.type == "cpu" else None
        order = training_order(len(self), batch_size=batch_size, seed=seed, first_step=first_step)
        for epochs, samples in order:
            bits = sample_bits(seed, epochs, samples)
            places = np.stack([self.index[samples], *_offsets(bits, span + 1)])
            row, down, right = torch.from_numpy(places).to(device, non_blocking=True)
            if windows is None:
                pixels = crops[row, :, down, right]  # [b, c, h, w]
            else:
                pixels = torch.from_numpy(windows[places[0], :, places[1], places[2]])
            if images.flip:
                # The host knows who is mirrored, so only those are touched, without a sync.
                mirrored = np.flatnonzero(bits >> np.uint64(63))
                chosen = torch.from_numpy(mirrored).to(device, non_blocking=True)
                pixels.index_copy_(0, chosen, pixels.index_select(0, chosen).flip(-1))
            yield images.normalise(pixels), images.targets[row]

    def fixed_batches(
        self, batch_size: int, *, count: int | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return batches without augmentation, in order or of a seeded subset."""
        return self._fixed_batches(fixed_order(len(self), batch_size, count=count, seed=seed))

    def _fixed_batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        images, pad = self.images, self.images.padding
        height, width = (side - 2 * pad for side in images.padded.shape[2:])
        whole = images.padded[:, :, pad : pad + height, pad : pad + width]
        for samples in order:
            row = torch.from_numpy(self.index[samples]).to(images.padded.device)
            yield images.normalise(whole[row]), images.targets[row]


def _offsets(bits: NDArray[np.uint64], number: int) -> list[NDArray[np.int64]]:
    """Return two offsets int64 ``[b]`` in ``[0, number)`` from different bits."""
    fields = (bits & _FIELD_MASK, (bits >> np.uint64(_FIELD)) & _FIELD_MASK)
    return [((f * np.uint64(number)) >> np.uint64(_FIELD)).astype(np.int64) for f in fields]
