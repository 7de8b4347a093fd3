"""Image files: decoded once where they are small, read by a DataLoader where they are large."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas_samplers.data_order import check_batches, fixed_order, sample_bits, training_order
from nas_spaces import InputError

__all__ = ["FileImages", "FileSplit", "check_sizes", "decode", "read_image"]

# So many files make one task of a decoding thread.
CHUNK = 256
# Of large images so many headers are looked at before training begins.
LOOKED_AT = 256
# Statistics of ImageNet's training images, which networks for such images are trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The images of a test are scaled so that the crop is 224 of 256 pixels, as is usual.
CROP_FRACTION = 224 / 256


def read_image(path: Path, *, smallest: int = 0, draft: int = 0) -> Image.Image:
    """Return an image as RGB.

    Args:
        path: its file.
        smallest: [pixels] that each side must have.
        draft: where positive, a JPEG is decoded at the coarsest scale of at least so many
            pixels a side, which is quicker.

    Raises:
        InputError: the file is not a whole image, smaller than ``smallest``, or of grey values
            without a fixed range.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            if draft and min(size) >= 2 * draft:
                image.draft("RGB", (draft, draft))
            pixels = _to_rgb(image)
    except Exception as error:  # decoders raise almost anything at a broken file
        raise InputError(
            f"image {path} cannot be read ({error}); replace or remove the file"
        ) from error
    if min(size) < smallest:
        raise InputError(
            f"image {path} is {size[0]}x{size[1]} and the network takes {smallest}x{smallest}: "
            "lower the resolution, give larger images, or allow enlarging with upscale=True"
        )
    return pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of these modes cuts everything above 255 off, without a word.
    # PGM files of 16 bits, and with older versions of Pillow PNG files as well, are of mode I.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"}):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in {"I", "F"}:
        raise ValueError(
            f"its mode {image.mode!r} has no fixed range of values; save it with 8 or 16 bits"
        )
    return image.convert("RGB")


def decode(
    paths: Sequence[Path],
    *,
    resolution: int,
    upscale: bool,
    on_progress: Callable[[int, int], None] | None,
) -> NDArray[np.uint8]:
    """Return images uint8 ``[n, 3, resolution, resolution]``, scaled and cropped to the middle.

    Args:
        paths: files of the images.
        resolution: [pixels].
        upscale: whether smaller images are enlarged.
        on_progress: told (images decoded, all images) now and then.

    Raises:
        InputError: an image that cannot be read or is too small.
    """
    result = np.empty((len(paths), 3, resolution, resolution), dtype=np.uint8)
    smallest = 0 if upscale else resolution

    def decode_chunk(start: int) -> int:
        stop = min(start + CHUNK, len(paths))
        for row in range(start, stop):
            image = read_image(paths[row], smallest=smallest, draft=resolution)
            if image.size != (resolution, resolution):
                image = ImageOps.fit(
                    image, (resolution, resolution), method=Image.Resampling.BILINEAR
                )
            result[row] = np.asarray(image).transpose(2, 0, 1)
        return stop

    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for done in pool.map(decode_chunk, range(0, len(paths), CHUNK)):
            if on_progress is not None:
                on_progress(done, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error the rest need not be decoded
    return result


def check_sizes(paths: Sequence[Path], resolution: int) -> None:
    """Look at up to 256 images, evenly spaced, and refuse a set that is mostly too small.

    A large set has a few small images, which are enlarged as torchvision's transforms do it.

    Raises:
        InputError: an unreadable image, or half of those looked at have a side below
            ``resolution`` [pixels].
    """
    places = np.unique(np.linspace(0, len(paths) - 1, LOOKED_AT).astype(np.int64))
    small: list[tuple[Path, tuple[int, int]]] = []
    for place in places:
        path = paths[place]
        try:
            with Image.open(path) as image:
                size = image.size
        except Exception as error:  # decoders raise almost anything at a broken file
            raise InputError(
                f"image {path} cannot be read ({error}); replace or remove the file"
            ) from error
        if min(size) < resolution:
            small.append((path, size))
    if 2 * len(small) >= len(places):
        path, (width, height) = small[0]
        raise InputError(
            f"{len(small)} of {len(places)} images are smaller than the network's "
            f"{resolution}x{resolution} (image {path} is {width}x{height}): lower the resolution, "
            "give larger images, or allow enlarging with upscale=True"
        )


@frozen(eq=False)
class FileImages:
    """Images in files.

    ``labels``: int64 ``[n]``. ``resolution``: [pixels] as the network sees them. ``flip``:
    whether half of the training images are mirrored. ``workers``: processes that decode; 0 for
    none. ``mean``, ``std``: of each channel, in [0, 1].
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    resolution: int
    flip: bool
    workers: int
    device: torch.device
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@frozen(eq=False)
class FileSplit:
    """Some of the images in files; see `nas_samplers.images.Split`.

    ``index``: int64 ``[n]``, which of ``images``.
    """

    images: FileImages
    index: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels int64 ``[n]``."""
        return self.images.labels[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def training_batches(
        self, *, batch_size: int, seed: int, first_step: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the endless stream of augmented batches from ``first_step`` on."""
        check_batches(batch_size, seed, first_step)
        order = training_order(len(self), batch_size=batch_size, seed=seed, first_step=first_step)
        return self._batches(
            _TrainingFiles(self.images, self.index, seed),
            (list(zip(e.tolist(), s.tolist(), strict=True)) for e, s in order),
        )

    def fixed_batches(
        self, batch_size: int, *, count: int | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return batches without augmentation, in order or of a seeded subset."""
        order = fixed_order(len(self), batch_size, count=count, seed=seed)
        return self._batches(_FixedFiles(self.images, self.index), (s.tolist() for s in order))

    def _batches(
        self, files: "_TrainingFiles | _FixedFiles", order: Iterable[list[object]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.images.device
        mean, std = (
            torch.tensor(v, device=device).view(-1, 1, 1)
            for v in (self.images.mean, self.images.std)
        )
        loader = DataLoader(
            files,
            batch_sampler=order,
            num_workers=self.images.workers,
            collate_fn=_collate,
            pin_memory=device.type == "cuda",
            # The loader seeds its workers from here, and leaves the global generator alone.
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            pixels, labels = (part.to(device, non_blocking=True) for part in batch)
            yield (pixels.to(torch.float32) / 255).sub_(mean).div_(std), labels


Sample = tuple[Tensor, int] | InputError


def _collate(samples: Sequence[Sample]) -> tuple[Tensor, Tensor] | InputError:
    # Raised in a worker process, an error would arrive wrapped in that process's traceback.
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    pairs = [sample for sample in samples if not isinstance(sample, InputError)]
    return torch.stack([p for p, _ in pairs]), torch.tensor([label for _, label in pairs])


class _TrainingFiles(Dataset[Sample]):
    """Augmented images by (epoch, sample)."""

    def __init__(self, images: FileImages, index: NDArray[np.int64], seed: int) -> None:
        from torchvision.transforms import v2  # noqa: PLC0415 (seconds to import)

        self.images, self.index, self.seed = images, index, seed
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(images.resolution),
                v2.RandomHorizontalFlip(0.5 if images.flip else 0.0),
                v2.PILToTensor(),
            ]
        )

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, sample = key
        row = self.index[sample]
        try:
            image = read_image(self.images.paths[row])
        except InputError as error:
            return error
        bits = sample_bits(self.seed, np.array([epoch]), np.array([sample]))
        # The transforms draw from torch's global generator; it gets its state back. Only the
        # CPU's is seeded: torch.manual_seed would seed the accelerators' too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(bits[0] >> np.uint64(1)))
            return self.transform(image), int(self.images.labels[row])


class _FixedFiles(Dataset[Sample]):
    """Images by sample, scaled and cropped to the middle."""

    def __init__(self, images: FileImages, index: NDArray[np.int64]) -> None:
        from torchvision.transforms import v2  # noqa: PLC0415 (seconds to import)

        self.images, self.index = images, index
        self.transform = v2.Compose(
            [
                v2.Resize(round(images.resolution / CROP_FRACTION)),
                v2.CenterCrop(images.resolution),
                v2.PILToTensor(),
            ]
        )

    def __getitem__(self, sample: int) -> Sample:
        row = self.index[sample]
        try:
            image = read_image(self.images.paths[row])
        except InputError as error:
            return error
        return self.transform(image), int(self.images.labels[row])
