"""Labelled images for training, for searching and for the last test, from one call.

>>> data = load_data("synthetic", resolution=16, device="cpu", seed=0)
>>> data.shape, len(data.train), len(data.held_out), len(data.test)
((3, 16, 16), 410, 102, 128)
>>> images, labels = next(data.train.training_batches(batch_size=32, seed=0))
>>> images.shape, labels.shape
(torch.Size([32, 3, 16, 16]), torch.Size([32]))
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch.nn import functional

from nas_samplers.data_files import FileImages, FileSplit, check_sizes, decode
from nas_samplers.data_order import split_by_class
from nas_samplers.data_sources import Source, read_source
from nas_samplers.data_tensors import TensorImages, TensorSplit, channel_statistics
from nas_samplers.images import Split
from nas_samplers.validators import check_number
from nas_spaces import InputError

__all__ = ["ImageData", "load_data"]

# Up to here images are decoded once and kept on the device.
SMALL = 64  # pixels a side
SMALL_BYTES = 2 << 30
_SUBSET_STREAM, _HELD_OUT_STREAM, _CLASS_STREAM = 3, 4, 5


@frozen(eq=False)
class ImageData:
    """Images of some classes, split by what they are for.

    ``shape``: (channels, height, width) [pixels] as the network sees them. ``train``: to train
    on. ``held_out``: to search with. ``train_and_held_out``: both, to train on once the search
    is over. ``test``: for the last number only. ``mean``, ``std``: what each channel was
    normalised by, in [0, 1]. ``digest``: hex; of the images (of names and sizes, where files
    stay files), labels and splits, so that a run can tell whether its data changed. ``notes``:
    sentences that a person should be told.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train: Split
    held_out: Split
    train_and_held_out: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    notes: tuple[str, ...]


def load_data(
    source: str,
    *,
    resolution: int,
    device: torch.device | str,
    seed: int,
    held_out: float = 0.2,
    subset: int | None = None,
    classes: int | None = None,
    root: Path | None = None,
    upscale: bool = False,
    flip: bool | None = None,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Load images and split them; test images are never among the others.

    Images of up to 64 pixels that fit 2 GiB live on the device as one uint8 tensor and are
    augmented there (a crop after padding by an eighth of the side, half of them mirrored,
    except digits). Larger image folders are read by a DataLoader (random resized crop, half of
    them mirrored; in evaluation scaled and cropped to the middle).

    Args:
        source: ``digits``, ``cifar10``, ``cifar100``, ``synthetic`` or ``imagefolder:PATH``.
            A folder holds ``train/`` with ``val/`` or ``test/`` (with both, val is held out),
            or one folder a class; then a fifth of the images, the same for every seed, is for
            testing.
        resolution: side [pixels] of the images as the network sees them.
        device: where batches are wanted.
        seed: draws the held-out images, the subset and the classes.
        held_out: fraction of the training images to hold out, drawn by class; without effect
            where the source has held-out images of its own, which a note says.
        subset: so many of the training images, drawn by class, before any is held out.
        classes: so many of the classes, drawn before anything else; test images of the others are
            left out too. None for all.
        root: folder for downloaded sets; None for ``~/.cache/nas``.
        upscale: whether images smaller than ``resolution`` are enlarged.
        flip: whether half of the training images are mirrored; None for what suits the source.
        workers: processes that read large images; 0 for none. Batches do not depend on it.
        on_progress: told (images decoded, all images) while a folder of small ones is read.

    Raises:
        InputError: an unknown source, a number out of range, or images that are missing,
            unreadable, too few or too small.
    """
    device = torch.device(device)
    _check_numbers(resolution=resolution, seed=seed, held_out=held_out, workers=workers)
    read = read_source(source, resolution=resolution, root=root)
    if classes is not None:
        read = _draw_classes(read, classes, seed=seed)
    flip = read.flip if flip is None else flip
    train, held, notes = _draw(read, held_out=held_out, subset=subset, seed=seed)
    both = np.union1d(train, held)
    used = np.concatenate([both, read.test])
    labels = read.labels[used]
    # From here on images are numbered by their place in `used`.
    place = np.full(len(read.labels), -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    parts = [place[rows] for rows in (train, held, both, read.test)]
    digest = hashlib.sha256()
    for array in (labels, *parts):
        digest.update(len(array).to_bytes(8, "little") + array.tobytes())

    splits: list[Split]
    if isinstance(read.images, np.ndarray):
        pixels, scaled = _fit(read.images, used, resolution, upscale=upscale, where=read.where)
        notes += scaled
    elif resolution <= SMALL and len(used) * 3 * resolution**2 <= SMALL_BYTES:
        paths = [read.images[row] for row in used]
        pixels = decode(paths, resolution=resolution, upscale=upscale, on_progress=on_progress)
    else:
        pixels = None
    if pixels is not None:
        digest.update(pixels.reshape(-1).data)
        channels = pixels.shape[1]
        mean, std = channel_statistics(pixels, parts[0])
        tensors = TensorImages.place(
            pixels,
            labels,
            mean=mean,
            std=std,
            padding=resolution // 8,
            flip=flip,
            device=device,
        )
        splits = [TensorSplit(tensors, rows) for rows in parts]
    else:
        files = FileImages(
            tuple(Path(read.images[row]) for row in used),
            labels,
            resolution=resolution,
            flip=flip,
            workers=workers,
            device=device,
        )
        if not upscale:
            check_sizes(files.paths, resolution)
        for path in files.paths:
            digest.update(f"{path.relative_to(read.where)}:{path.stat().st_size}\n".encode())
        channels, mean, std = len(files.mean), files.mean, files.std
        splits = [FileSplit(files, rows) for rows in parts]
    return ImageData(
        name=source,
        classes=read.classes,
        shape=(channels, resolution, resolution),
        train=splits[0],
        held_out=splits[1],
        train_and_held_out=splits[2],
        test=splits[3],
        mean=mean,
        std=std,
        digest=digest.hexdigest(),
        notes=tuple(notes),
    )


def _check_numbers(*, resolution: int, seed: int, held_out: float, workers: int) -> None:
    check_number("resolution", resolution, least=1, whole=True)
    check_number("seed", seed, least=0, whole=True)
    if not 0 < held_out < 1:
        raise InputError(
            f"held_out is {held_out}; it is a fraction of the training images, above 0 and below 1"
        )
    check_number("workers", workers, least=0, whole=True)


def _draw_classes(read: Source, number: int, *, seed: int) -> Source:
    """Return a source of so many of its classes, in their order; labels count anew."""
    known = len(read.classes)
    if not 2 <= number <= known:
        raise InputError(f"classes is {number}; {read.where} has {known}: give 2 to {known}")
    rng = np.random.default_rng((_CLASS_STREAM, seed))
    kept = np.sort(rng.choice(known, size=number, replace=False))
    place = np.full(known, -1, dtype=np.int64)
    place[kept] = np.arange(number)
    labels = place[read.labels]

    def those(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[labels[rows] >= 0]

    note = f"{number} of {known} classes, drawn by the seed, are used"
    return attrs.evolve(
        read,
        classes=tuple(read.classes[i] for i in kept),
        labels=labels,
        train=those(read.train),
        held_out=None if read.held_out is None else those(read.held_out),
        test=those(read.test),
        notes=(*read.notes, note),
    )


def _draw(
    read: Source, *, held_out: float, subset: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Return (train, held out, notes), the first two as rows of the source."""
    notes = list(read.notes)
    pool = read.train
    least = 2 if read.held_out is None else 1
    if subset is not None:
        if not least * len(read.classes) <= subset <= len(pool):
            raise InputError(
                f"subset is {subset}; {read.where} has {len(pool)} training images of "
                f"{len(read.classes)} classes: give {least * len(read.classes)} to {len(pool)}"
            )
        rng = np.random.default_rng((_SUBSET_STREAM, seed))
        taken, _ = split_by_class(read.labels[pool], subset, rng=rng, least=least)
        notes.append(f"{len(taken)} of {len(pool)} training images, drawn by class, are used")
        pool = pool[taken]
    if read.held_out is not None:
        count = len(read.held_out)
        notes.append(
            f"val/ has {count:,} held-out images, taken in place of a share of {held_out:g}"
        )
        return pool, read.held_out, notes
    labels = read.labels[pool]
    sizes = np.bincount(labels, minlength=len(read.classes))
    if sizes.min() < least:
        name = read.classes[int(sizes.argmin())]
        raise InputError(
            f"class {name!r} of {read.where} has {sizes.min()} training image; at least {least} "
            "are needed, as some are held out: add images, remove the class, or give held-out "
            "images in val/ beside train/ and test/"
        )
    rng = np.random.default_rng((_HELD_OUT_STREAM, seed))
    taken, left = split_by_class(labels, round(held_out * len(pool)), rng=rng, keep=1)
    return pool[left], pool[taken], notes


def _fit(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    resolution: int,
    *,
    upscale: bool,
    where: str,
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return some images scaled to the resolution, and a note where they had another."""
    side = images.shape[2]
    if side < resolution and not upscale:
        raise InputError(
            f"images of {where} are {side}x{side} and the network takes {resolution}x{resolution}: "
            "lower the resolution, choose other data, or allow enlarging with upscale=True"
        )
    size = len(rows) * images.shape[1] * resolution**2
    if size > SMALL_BYTES:
        raise InputError(
            f"images of {where} at {resolution}x{resolution} need {size / 2**30:.1f} GiB and are "
            f"kept in memory up to {SMALL_BYTES / 2**30:.0f} GiB: lower the resolution or give a "
            f"subset, or write them to files and use imagefolder:PATH"
        )
    if side == resolution:
        return np.ascontiguousarray(images[rows]), []
    result = np.empty((len(rows), images.shape[1], resolution, resolution), dtype=np.uint8)
    for start in range(0, len(rows), 1024):
        part = torch.from_numpy(images[rows[start : start + 1024]]).to(torch.float32)
        scaled = functional.interpolate(
            part, (resolution, resolution), mode="bilinear", antialias=True
        )
        result[start : start + 1024] = scaled.round().clamp(0, 255).to(torch.uint8).numpy()
    return result, [f"images are scaled from {side}x{side} to {resolution}x{resolution}"]
