"""An opened run with its images and its space: what its stages share."""

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from attrs import frozen
from rich.console import Console

from nas_cli.run import Run, read_json, write_json
from nas_cli.run_spaces import settled_name, stored_space
from nas_cli.spaces import load_space
from nas_cli.trained_paths import path_ranges
from nas_samplers import ImageData, load_data
from nas_spaces import (
    FeasibleSet,
    InputError,
    SearchSpace,
    derive_seed,
    replace_file,
    to_json,
)

__all__ = [
    "ALONE",
    "ALPHAS",
    "BASELINES",
    "CANDIDATES",
    "GATES",
    "INITIAL",
    "ORDER",
    "PATHS",
    "RANDOM",
    "RANK",
    "RECALIBRATION",
    "SEARCH",
    "Workshop",
]

# One stream of randomness for each use; a number never changes its meaning.
INITIAL, PATHS, ORDER, SEARCH, RANDOM, RECALIBRATION, BASELINES, ALONE, ALPHAS, GATES = range(10)
RANK = 16
CANDIDATES = 18  # 17 is of comparisons

# Where reading image files takes long: a line in so many seconds.
READ_EVERY = 5.0


@frozen(eq=False, slots=False)
class Workshop:
    """An opened run with its images and its space, loaded on first use: ``shop`` in its stages.

    ``run``: the run. ``console``: where progress is shown. ``images``: those of its settings, where
    they are read already.
    """

    run: Run
    console: Console
    images: ImageData | None = None

    def say(self, text: str) -> None:
        """Tell the person something."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @cached_property
    def device(self) -> torch.device:
        """The device that the run computes on."""
        name = self.run.config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if self.run.config.threads is not None:
            torch.set_num_threads(self.run.config.threads)
        try:
            device = torch.device(name)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"device {name!r} cannot be used ({reason}); leave --device out, or choose one "
                "that this machine has, like cpu"
            ) from error
        return device

    @cached_property
    def data(self) -> ImageData:
        """The images; those that the run was begun with, where it was."""
        data = self._read() if self.images is None else self.images
        known = self.run.path / "data.json"
        if known.exists() and read_json(known, "digest")["digest"] != data.digest:
            raise InputError(
                f"the images of {self.run.config.data!r} are not those that {self.run.path} was "
                "begun with; restore them, or begin another run"
            )
        return data

    def _read(self) -> ImageData:
        config = self.run.config
        images = config.images
        resolution = config.resolution
        if resolution is None:
            resolution = (self._stored or load_space(config.space)).input_shape[1]
        try:
            return load_data(
                config.data,
                resolution=resolution,
                device=self.device,
                seed=config.seed,
                held_out=images.held_out,
                subset=images.subset,
                classes=images.classes,
                root=None if images.root is None else Path(images.root),
                upscale=images.upscale,
                workers=images.workers,
                on_progress=self._say_read(),
            )
        except InputError as error:
            # The package names its own arguments; here they are settings.
            message = str(error).replace("upscale=True", "--set images.upscale=true")
            if message.startswith(("classes is ", "subset is ")):
                message = f"images.{message}"
            raise InputError(message) from error

    def _say_read(self) -> Callable[[int, int], None]:
        last = time.monotonic()

        def on_progress(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > READ_EVERY:
                last = time.monotonic()
                self.say(f"reading images: {done:,} of {total:,}")

        return on_progress

    @cached_property
    def _stored(self) -> SearchSpace | None:
        """The space that the run was begun with, None before that."""
        if not (self.run.path / "space.json").exists():
            return None
        return stored_space(self.run.path, self.run.config.space)

    @cached_property
    def space(self) -> SearchSpace:
        """The space for these images; the one that the run was begun with, where it was."""
        if self._stored is not None:
            return self._stored
        return self.fit_space(settled_name(self.run.path, self.run.config.space))

    def fit_space(self, name: str) -> SearchSpace:
        """Return a space for these images.

        Raises:
            InputError: see `nas_cli.spaces.load_space`; or a space that is for other images.
        """
        data = self.data
        channels, resolution, _ = data.shape
        classes = len(data.classes)
        space = load_space(name, classes=classes, resolution=resolution, in_channels=channels)
        if space.input_shape != data.shape or space.num_classes != classes:
            raise InputError(
                f"space {name} takes images {space.input_shape} of {space.num_classes} classes; "
                f"{self.run.config.data!r} has {data.shape} of {classes}"
            )
        return space

    @cached_property
    def ranges(self) -> list[FeasibleSet]:
        """The ranges of cost that a constrained training draws its paths in."""
        return path_ranges(self.space, self.run.config.limits)

    def begin(self) -> None:
        """Write what the run is made of, unless that is done; nothing is written before."""
        self.run.begin()
        data = self.data
        if not (self.run.path / "data.json").exists():
            record = {
                "digest": data.digest,
                "classes": list(data.classes),
                "mean": list(data.mean),
                "std": list(data.std),
                "train": len(data.train),
                "held_out": len(data.held_out),
                "test": len(data.test),
                "notes": list(data.notes),
            }
            write_json(self.run.path / "data.json", record)
        if not (self.run.path / "space.json").exists():
            replace_file(self.run.path / "space.json", to_json(self.space))

    def seed(self, *path: int) -> int:
        """Return the seed of one use of randomness."""
        return derive_seed(self.run.config.seed, *path)

    def rng(self, *path: int) -> np.random.Generator:
        """Return the numpy generator of one use of randomness."""
        return np.random.default_rng(self.seed(*path))

    def torch_rng(self, *path: int) -> torch.Generator:
        """Return the torch generator of one use of randomness."""
        return torch.Generator().manual_seed(self.seed(*path))
