"""Where labelled images come from: built-in sets as arrays, image folders as lists of files."""

import http.client
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_samplers.data_order import split_by_class
from nas_spaces import InputError, nearest

__all__ = ["FOLDER", "SOURCES", "Source", "read_source"]

FOLDER = "imagefolder:"
SOURCES = ("cifar10", "cifar100", "digits", "imagefolder:PATH", "synthetic")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
TEST_FRACTION = 0.2
# Test images are the same whatever the seed of a run, so that results can be compared.
TEST_SEED = 20200
CIFAR_FILES = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}


@frozen(eq=False)
class Source:
    """Labelled images before anything is chosen from them.

    ``images``: uint8 ``[n, c, h, w]``, or ``n`` files. ``labels``: int64 ``[n]``. ``train``,
    ``test``: int64, which images; ``held_out``: the same, None where the source does not say.
    ``flip``: whether a mirrored image is still of its class. ``notes``: what a person should
    be told. ``where``: the source as error messages name it.
    """

    where: str
    classes: tuple[str, ...]
    images: NDArray[np.uint8] | tuple[Path, ...]
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    held_out: NDArray[np.int64] | None
    test: NDArray[np.int64]
    flip: bool
    notes: tuple[str, ...] = ()


def read_source(source: str, *, resolution: int, root: Path | None) -> Source:
    """Return the images that a name stands for.

    Args:
        source: ``digits``, ``cifar10``, ``cifar100``, ``synthetic`` or ``imagefolder:PATH``.
        resolution: [pixels] of the synthetic images.
        root: the folder of downloaded sets; None for ``~/.cache/nas``.

    Raises:
        InputError: an unknown name, or images that cannot be had or are wrong.
    """
    if source.startswith(FOLDER) and source != FOLDER:
        return _folder(Path(source.removeprefix(FOLDER)).expanduser())
    if source == "digits":
        return _digits()
    if source in CIFAR_FILES:
        return _cifar(source, Path.home() / ".cache" / "nas" if root is None else root)
    if source == "synthetic":
        return _synthetic(resolution)
    if Path(source).expanduser().is_dir():
        hint = f"for the images in that folder write {FOLDER}{source}"
    else:
        hint = nearest(source, SOURCES)
    raise InputError(f"data source {source!r} is unknown: {hint}")


def _digits() -> Source:
    """Scikit-learn's 1,797 handwritten digits of 8x8 pixels."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise InputError(
            "data source 'digits' needs scikit-learn: pip install 'nas-samplers[digits]'"
        ) from error
    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)  # [n, 1, 8, 8]
    labels = digits.target.astype(np.int64)
    test, train = _draw_test(labels)
    classes = tuple(str(name) for name in digits.target_names)
    return Source("digits", classes, images, labels, train, None, test, flip=False)


def _draw_test(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(TEST_SEED)
    return split_by_class(labels, round(TEST_FRACTION * len(labels)), rng=rng, keep=2)


def _cifar(name: str, root: Path) -> Source:
    from torchvision import datasets  # noqa: PLC0415 (seconds to import)

    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    folder, archive = CIFAR_FILES[name]
    try:
        root.mkdir(parents=True, exist_ok=True)
        train, test = (kind(str(root), train=t, download=True) for t in (True, False))
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(
            f"data source {name!r} could not be downloaded to {root} ({error}); put {archive} "
            f"there, or its folder {folder}, or give the images as {FOLDER}PATH with train/ and "
            "test/, one folder a class in each"
        ) from error
    images = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)
    labels = np.array([*train.targets, *test.targets], dtype=np.int64)
    rows = np.arange(len(labels), dtype=np.int64)
    border = len(train.data)
    return Source(
        name, tuple(train.classes), images, labels, rows[:border], None, rows[border:], flip=True
    )


def _synthetic(resolution: int) -> Source:
    """Ten classes, 512 + 128 images of 3 channels: a coarse pattern of the class, and noise."""
    number, border = 640, 512
    rng = np.random.default_rng(TEST_SEED)
    labels = np.arange(number, dtype=np.int64) % 10
    coarse = 40 * rng.standard_normal((10, 3, 4, 4), dtype=np.float32)
    cell = np.arange(resolution) * 4 // resolution
    images = np.empty((number, 3, resolution, resolution), dtype=np.uint8)
    for row, label in enumerate(labels):
        noise = 30 * rng.standard_normal(images.shape[1:], dtype=np.float32)
        pattern = coarse[label][:, cell[:, None], cell]
        images[row] = np.clip(128 + pattern + noise, 0, 255)
    rows = np.arange(number, dtype=np.int64)
    classes = tuple(f"pattern-{i}" for i in range(10))
    return Source(
        "synthetic", classes, images, labels, rows[:border], None, rows[border:], flip=True
    )


def _folder(path: Path) -> Source:
    """List an image folder: train/ with val/ or test/, or one folder a class."""
    if not path.exists():
        raise InputError(
            f"data folder {path} does not exist; give a folder with train/ and test/ (or val/), "
            "or with one folder a class"
        )
    if not path.is_dir():
        raise InputError(f"data folder {path} is a file; unpack it and give the folder")
    inside = _folders(path)
    train = next((folder for folder in inside if folder.name == "train"), None)
    # A class may be called "train"; a split has folders inside.
    if train is None or not _folders(train):
        return _plain_folder(path, path, ())
    splits = {folder.name: folder for folder in inside if folder.name in {"train", "val", "test"}}
    others = [folder.name for folder in inside if folder.name not in splits]
    notes = [f"not read, being neither train, val nor test: {', '.join(others)}"] if others else []
    if len(splits) == 1:
        return _plain_folder(path, train, notes)
    classes, files, labels = _images(train)
    parts = {"train": np.arange(len(files), dtype=np.int64)}
    for name in ("val", "test"):
        if name not in splits:
            continue
        found, more, numbers = _images(splits[name], least=1)
        foreign = [label for label in found if label not in classes]
        if foreign:
            raise InputError(
                f"class {foreign[0]!r} is in {splits[name]} but not in {train}; "
                "add its training images, or remove it"
            )
        missing = [label for label in classes if label not in found]
        if missing:
            notes.append(f"classes without images in {name}: {', '.join(missing)}")
        parts[name] = np.arange(len(files), len(files) + len(more), dtype=np.int64)
        files += more
        labels += [classes.index(found[number]) for number in numbers]
    held_out = None
    if "test" not in parts:
        notes.append("no test folder: the images in val are the test images")
        test = parts["val"]
    else:
        test = parts["test"]
        if "val" in parts:
            held_out = parts["val"]
    return Source(
        str(path),
        tuple(classes),
        tuple(files),
        np.array(labels, dtype=np.int64),
        parts["train"],
        held_out,
        test,
        flip=True,
        notes=tuple(notes),
    )


def _plain_folder(path: Path, folder: Path, notes: Sequence[str]) -> Source:
    classes, files, numbers = _images(folder)
    labels = np.array(numbers, dtype=np.int64)
    sizes = np.bincount(labels)
    if sizes.min() < 3:
        name = classes[int(sizes.argmin())]
        raise InputError(
            f"class {name!r} in {folder} has too few images ({sizes.min()}); at least 3 are "
            "needed, to train on, to search with and to test: add images or remove the class"
        )
    test, train = _draw_test(labels)
    note = (
        f"no test or val folder: {TEST_FRACTION:.0%} of the images, drawn by class, are the "
        f"test images ({len(test)} of {len(labels)})"
    )
    return Source(
        str(path),
        tuple(classes),
        tuple(files),
        labels,
        train,
        None,
        test,
        flip=True,
        notes=(*notes, note),
    )


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(path: Path, *, least: int = 2) -> tuple[list[str], list[Path], list[int]]:
    """Return classes, at least so many, files, and the class number of each file."""
    folders = _folders(path)
    if not folders:
        state = "holds no folder" if any(path.iterdir()) else "is empty"
        raise InputError(f"data folder {path} {state}; it needs one folder a class, with images")
    if len(folders) < least:
        raise InputError(
            f"data folder {path} has one class ({folders[0].name!r}); at least two are needed"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        before = len(files)
        for parent, inner, names in os.walk(folder, followlinks=True):
            inner.sort()
            files += [
                Path(parent, name)
                for name in sorted(names)
                if name.lower().endswith(SUFFIXES) and not name.startswith(".")
            ]
        if len(files) == before:
            raise InputError(
                f"class folder {folder} holds no image ({', '.join(SUFFIXES)}); "
                "add images or remove it"
            )
        labels += [label] * (len(files) - before)
    return [folder.name for folder in folders], files, labels
