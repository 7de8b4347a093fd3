"""What a search judges architectures by: the supernet, or each trained alone.

An `Evaluation` is one search's: what it has seen so far is saved with the search.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import torch
from attrs import define, field
from numpy.typing import NDArray

from nas_cli.stage_train import trained_supernet
from nas_cli.standalone_metric import default_workers, standalone_error
from nas_cli.training import training_of
from nas_cli.warm_start import POOL, warm_pool
from nas_cli.workshop import CANDIDATES, RECALIBRATION, Workshop
from nas_samplers import (
    Candidate,
    KnowledgePool,
    PoolGuard,
    RayWorkers,
    StandaloneError,
    SupernetError,
    WorkerProcesses,
)
from nas_samplers.workers import Executor, run_here
from nas_spaces import InputError, Metric
from nas_spaces.torch import Supernet

__all__ = [
    "Evaluation",
    "Standalone",
    "candidates_folder",
    "check_cluster",
    "check_evaluation",
    "evaluated_by",
    "supernet_error",
]

OnProgress = Callable[[float], None]
"""Told how many more architectures are evaluated."""


class Evaluation(Protocol):
    """What one search judges architectures by."""

    def metric(self, on_progress: OnProgress) -> Metric:
        """Return the error, which tells how far it is."""
        ...

    def state_dict(self) -> dict[str, Any] | None:
        """Return what it has learned from the architectures so far; None where nothing."""
        ...

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take that back."""
        ...

    def conclude(self) -> dict[str, Any]:
        """Keep what outlives the search; return what its result says of the evaluation."""
        ...


@contextlib.contextmanager
def evaluated_by(shop: Workshop, folder: Path, on_kept: Callable[[], None]) -> Iterator[Evaluation]:
    """Provide what the run's settings judge architectures by.

    Args:
        shop: the run, with the settings of this search.
        folder: of the search.
        on_kept: called when an architecture that was trained alone is kept, before its batch is.

    Raises:
        InputError: no trained supernet.
    """
    if shop.run.config.search.evaluation == "supernet":
        yield _BySupernet(supernet_error(shop, trained_supernet(shop)))
        return
    with _executor(shop) as run:
        yield Standalone(shop, folder, run, on_kept)


def check_evaluation(shop: Workshop) -> None:
    """Refuse settings that the evaluation could not begin with.

    Raises:
        InputError: what is wrong.
    """
    config = shop.run.config
    if config.search.evaluation == "supernet":
        return
    if config.weights is not None:
        raise InputError(
            f"--weights {config.weights}: they are for a supernet; search.evaluation=standalone "
            "has none, leave them out"
        )
    training_of(config.retrain, shop.device)
    training, pool = training_of(config.train, shop.device), _first_pool(shop)
    steps = training.steps_on(shop.data.train)
    if pool is not None and pool.iterations not in (None, steps):
        raise InputError(
            f"--warm-start {config.warm_start}: the networks of its pool were trained for "
            f"{pool.iterations:,} steps, this run's candidates are to be for {steps:,}; set "
            "train.epochs and train.batch_size to the same, or --set candidates.pool=false"
        )
    candidates = config.candidates
    if candidates.address is not None and candidates.executor != "ray":
        raise InputError(
            f"candidates.address={candidates.address} is of a Ray cluster, and candidates.executor "
            f"is {candidates.executor}; add --set candidates.executor=ray, or leave the address "
            "out (--set candidates.address=none)"
        )
    with _executor(shop):
        pass


def check_cluster(shop: Workshop) -> None:
    """Refuse an address at which there is no Ray cluster.

    Raises:
        InputError: what is wrong.
    """
    config = shop.run.config
    alone, where = config.search.evaluation == "standalone", config.candidates
    # One of this machine takes seconds to start, and nothing needs to be there for it.
    if alone and where.executor == "ray" and where.address is not None:
        _cluster(shop).check()


def candidates_folder(folder: Path) -> Path:
    """Return where the candidates of a search leave what it needs until it has finished."""
    return folder / "candidates"


def supernet_error(shop: Workshop, supernet: Supernet) -> SupernetError:
    """Return the metric: fixed training and held-out images, the same for every architecture."""
    config, train, held_out = shop.run.config.search, shop.data.train, shop.data.held_out
    recalibration: list[torch.Tensor] = []
    wanted = min(config.recalibration_images, len(train))
    if wanted:
        size = min(config.recalibration_batch, wanted)
        batches = train.fixed_batches(size, count=wanted // size, seed=shop.seed(RECALIBRATION))
        recalibration = [images for images, _ in batches]
    size = min(config.evaluation_batch, len(held_out))
    if 0 < config.evaluation_images < len(held_out):
        size = min(size, config.evaluation_images)
        judged = held_out.fixed_batches(
            size, count=config.evaluation_images // size, seed=shop.seed(RECALIBRATION, 1)
        )
    else:
        judged = held_out.fixed_batches(size)
    return SupernetError(
        supernet,
        recalibration,
        list(judged),
        fold=config.fold,
        channels_last=shop.run.config.train.channels_last,
    )


@define(eq=False)
class _BySupernet:
    """The supernet's error, which learns nothing from what it judges."""

    error: SupernetError

    def metric(self, on_progress: OnProgress) -> Metric:
        return attrs.evolve(self.error, on_progress=on_progress)

    def state_dict(self) -> None:
        return None

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        pass

    def conclude(self) -> dict[str, Any]:
        return {
            "recalibration_images": sum(len(images) for images in self.error.recalibration),
            "evaluation_images": sum(len(labels) for _, labels in self.error.batches),
        }


@define(eq=False)
class Standalone:
    """The errors of architectures that are trained alone, from a pool that grows with them."""

    shop: Workshop
    folder: Path
    run: Executor
    on_kept: Callable[[], None]
    error: StandaloneError = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.shop.run.config
        pool = _first_pool(self.shop)
        if pool is None and config.candidates.pool:
            pool = KnowledgePool(least_similarity=config.candidates.least_similarity)
        pairs = config.candidates.pairs
        self.error = standalone_error(
            self.shop,
            config.train,
            candidates_folder(self.folder),
            self.shop.seed(CANDIDATES, 0),
            self.run,
            pool=pool,
            guard=None if pool is None or not pairs else PoolGuard(pairs=pairs),
        )
        self.error.on_candidate = self._record
        self.error.on_failure = self._say_failure
        self.error.on_kept = self._keep

    def metric(self, on_progress: OnProgress) -> Metric:
        self.error.on_progress = _increments(on_progress)
        return self.error

    def state_dict(self) -> dict[str, Any]:
        return self.error.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        if state is not None:
            self.error.load_state_dict(state)

    def conclude(self) -> dict[str, Any]:
        error, config = self.error, self.shop.run.config
        found: dict[str, Any] = {
            "evaluation_images": len(self.shop.data.held_out),
            "epochs": config.train.epochs,
            "failed": [
                {"architecture": list(one.arch), "why": one.failed} for one in error.failures
            ],
        }
        if error.pool is not None:
            error.pool.save(self.folder / POOL)
            verdict = None if error.guard is None else error.guard.verdict
            found["pool"] = {
                "blocks": len(error.pool),
                "hits": error.hits,
                "looked_up": error.blocks,
                "verdict": None if verdict is None else str(verdict),
                "used": error.guard is None or error.guard.uses_pool,
            }
        return found

    def train_longer(
        self, archs: NDArray[np.int64], folder: Path, on_progress: OnProgress
    ) -> NDArray[np.float64]:
        """Return the errors ``[n]`` of rows trained from scratch by the settings of ``retrain``.

        On the training images alone, and judged on the held-out ones, as in the search. What is
        finished is kept in ``folder``.
        """
        config = self.shop.run.config.retrain
        error = standalone_error(self.shop, config, folder, self.shop.seed(CANDIDATES, 1), self.run)
        error.refuses = False
        error.on_progress = _increments(on_progress)
        error.on_failure = self._say_failure
        error.on_kept = self._keep
        return error(archs)

    def _keep(self, _: Candidate) -> None:
        self.on_kept()

    def _record(self, one: Candidate) -> None:
        self.shop.run.event(
            {
                "event": "candidate",
                "search": self.folder.name,
                **attrs.asdict(one),
            }
        )

    def _say_failure(self, one: Candidate) -> None:
        self.shop.say(
            f"candidate {one.number} failed, it counts as an error of 100 %: {one.failed}"
        )


def _first_pool(shop: Workshop) -> KnowledgePool | None:
    """Return the pool of a warm start, None where there is none or none is used."""
    config = shop.run.config.candidates
    pool = warm_pool(shop) if config.pool else None
    if pool is not None:
        pool.least_similarity = config.least_similarity
    return pool


@contextlib.contextmanager
def _executor(shop: Workshop) -> Iterator[Executor]:
    config = shop.run.config.candidates
    if config.executor == "ray":
        with _cluster(shop) as cluster:
            yield cluster
        return
    workers = config.workers or default_workers(shop)
    if workers == 1:
        yield run_here
        return
    with WorkerProcesses(workers) as processes:
        yield processes


def _cluster(shop: Workshop) -> RayWorkers:
    config = shop.run.config.candidates
    gpus = 0.0 if shop.device.type == "cpu" else 1 / default_workers(shop)
    return RayWorkers(config.address, config.workers, gpus=gpus)


def _increments(on_progress: OnProgress) -> Callable[[float, int], None]:
    """Return what takes the share of a batch that is done, and tells what is new of it."""
    before = 0.0

    def tell(done: float, total: int) -> None:
        nonlocal before
        on_progress(done - before)
        before = 0.0 if done >= total else done

    return tell
