"""The error of architectures that are trained alone, by a run's settings, as a metric.

They see what a supernet sees: trained on the training images alone and judged on the held-out ones.
"""

from functools import lru_cache, partial
from pathlib import Path

import attrs
from numpy.typing import ArrayLike
from rich.console import Console

from nas_cli.config import cores
from nas_cli.run import Run
from nas_cli.settings import Config, TrainConfig
from nas_cli.training import training_of
from nas_cli.workshop import Workshop
from nas_samplers import ImageData, KnowledgePool, PoolGuard, StandaloneError
from nas_samplers.workers import Executor
from nas_spaces import SearchSpace

__all__ = ["default_workers", "standalone_error"]

# Each process on a GPU takes memory there of its own.
WORKERS_ON_A_GPU = 4


def default_workers(shop: Workshop) -> int:
    """Return how many networks are trained at a time where nothing else is said."""
    return min(cores(), WORKERS_ON_A_GPU) if shop.device.type == "cuda" else cores()


def standalone_error(
    shop: Workshop,
    how: TrainConfig,
    folder: Path,
    seed: int,
    run: Executor,
    *,
    pool: KnowledgePool | None = None,
    guard: PoolGuard | None = None,
) -> StandaloneError:
    """Return the metric; each network computes with one thread, so that workers do not matter.

    Args:
        shop: the run.
        how: the settings of the trainings.
        folder: for what workers leave behind.
        seed: of the trainings.
        run: does them.
        pool: what they begin with; None is from scratch.
        guard: of the pool.

    Raises:
        InputError: settings that do not fit together.
    """
    config, path = _config_of_worker(shop.run.config), shop.run.path
    return StandaloneError(
        space=shop.space,
        images=partial(_images, path, config),
        training=training_of(how, shop.device),
        folder=folder,
        seed=seed,
        executor=run,
        pool=pool,
        guard=guard,
        task=f"{config.data} {shop.data.digest[:12]}",
        scheme=config.supernet.scheme,
        device=str(shop.device),
        checkpoint_every=how.checkpoint_every,
        fix=partial(_fix, path, config),
    )


def _config_of_worker(config: Config) -> Config:
    # The processes are daemons, which cannot start others to read images.
    return attrs.evolve(config, threads=1, images=attrs.evolve(config.images, workers=0))


@lru_cache(maxsize=1)
def _shop_of_worker(path: Path, config: Config) -> Workshop:
    """Return the run as a process sees it that trains several of its networks.

    The process that asked for it holds the lock, and writes what concerns the run as a whole.
    """
    nowhere = Path("/dev/null").open("w")  # noqa: SIM115  (open as long as the process lives)
    return Workshop(Run(path, config, nowhere), Console(file=nowhere))


def _images(path: Path, config: Config) -> ImageData:
    return _shop_of_worker(path, config).data


def _fix(path: Path, config: Config, row: ArrayLike) -> SearchSpace:
    return _shop_of_worker(path, config).space.fix(row)
