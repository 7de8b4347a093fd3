"""What becomes of one candidate, wherever it is trained: build, train, judge."""

import contextlib
import pickle
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from attrs import evolve, frozen
from numpy.typing import ArrayLike

from nas_samplers.images import Splits
from nas_samplers.pool import KnowledgePool
from nas_samplers.standalone import Training, top1_error, train_network
from nas_samplers.train import DivergedError
from nas_samplers.workers import Report
from nas_spaces import InputError, SearchSpace, derive_seed, replace_file
from nas_spaces.torch import Network
from nas_spaces.torch.initialise import Scheme

__all__ = ["Candidate", "Job", "train_candidate", "trained_network"]

# Streams of randomness of one candidate.
_INITIAL, _ORDER = 0, 1
# Error of a candidate that failed: that of a network that answers nothing right.
WORST = 1.0
# Names of a candidate's trainings, and of their checkpoints.
WAYS = (
    "alone",  # the only one, from the pool or, where that has nothing for it, from scratch
    "pool",  # of two to be compared, the one from the pool
    "scratch",  # of two to be compared, the one from scratch
)


@frozen
class Candidate:
    """What became of a candidate.

    ``number``: how many were trained before it. ``arch``: its row. ``error``: share of wrong
    answers, 1 where it failed. ``failed``: why. ``steps``: optimiser steps that made its weights.
    ``hits``: blocks that began with weights from the pool, of ``blocks`` that were looked up there.
    ``scratch_error``, ``pool_error``: where it was trained both ways to compare them, the errors of
    both; neither where it diverged from scratch.
    """

    number: int
    arch: tuple[int, ...]
    error: float
    failed: str | None = None
    steps: int = 0
    hits: int = 0
    blocks: int = 0
    scratch_error: float | None = None
    pool_error: float | None = None


@frozen(eq=False)
class Job:
    """One candidate as a worker gets it; small, and made of what can be pickled.

    ``fix``: row -> the space of that one network. ``images``: a pickled function that returns
    `Splits`; a worker calls it once. ``seed``: of this candidate. ``threads``: that it computes
    with. ``folder``: where its weights and checkpoints go. ``pool``: file of the pool that it
    begins with.
    ``pair``: whether it is trained from scratch as well, and judged by that, if the pool has
    anything for it. ``keep``: whether its weights are left in the folder.
    """

    number: int
    arch: tuple[int, ...]
    fix: Callable[[ArrayLike], SearchSpace]
    images: bytes
    training: Training
    scheme: Scheme
    seed: int
    device: str
    threads: int
    checkpoint_every: int | None
    folder: Path
    pool: Path | None
    pair: bool
    keep: bool

    @property
    def weights(self) -> Path:
        """Where the weights are left."""
        return self.folder / f"{self.number}.safetensors"

    def checkpoint(self, way: str) -> Path | None:
        """Return the file that holds the state of a training, one way or the other."""
        if self.checkpoint_every is None:
            return None
        return self.folder / f"{self.number}-{way}.checkpoint"

    def remove_checkpoints(self) -> None:
        """Remove the states, which nobody needs once it is known what became of the candidate."""
        for way in WAYS:
            path = self.checkpoint(way)
            if path is not None:
                path.unlink(missing_ok=True)


def train_candidate(job: Job, report: Report) -> Candidate:
    """Train and judge a candidate; the `Work` of an executor.

    Reports the share of its steps that is done. A candidate that diverges has failed: another
    attempt would end the same. Any other error is raised.
    """
    with _threads(job.threads):
        # What makes the images may set the number of threads itself.
        splits = _splits(job.images)
        torch.set_num_threads(job.threads)
        network = _new(job)
        hits = blocks = 0
        if job.pool is not None:
            pool = _pool(job.pool, job.pool.stat().st_mtime_ns)
            _check_steps(pool, job.training.steps_on(splits.train))
            inherited = pool.initialise(network)
            hits, blocks = inherited.hits, inherited.queries
        scratch_error = pool_error = None
        if job.pair and hits:
            by_pool = _train(job, "pool", network, splits, lambda share: report(share / 2))
            network = _new(job)
            end = _train(job, "scratch", network, splits, lambda share: report((1 + share) / 2))
            if end.failed is None:
                # Diverging from the pool is an error of 1: the worst that the pool can do.
                scratch_error, pool_error = end.error, by_pool.error
        else:
            end = _train(job, "alone", network, splits, report)
    if job.keep and end.failed is None:
        tensors = {name: x.detach().cpu().contiguous() for name, x in network.state_dict().items()}
        replace_file(job.weights, safetensors.torch.save(tensors))
    return evolve(end, hits=hits, blocks=blocks, scratch_error=scratch_error, pool_error=pool_error)


def _check_steps(pool: KnowledgePool, steps: int) -> None:
    # The pool would refuse it as well, but only when the training is done.
    if pool.iterations not in (None, steps):
        raise InputError(
            f"the networks of the pool were trained for {pool.iterations} steps, the candidates "
            f"are to be for {steps}: train as long, or begin another pool"
        )


def trained_network(job: Job, space: SearchSpace) -> Network:
    """Return the network that `train_candidate` left weights of.

    Raises:
        OSError: there are none.
    """
    network = Network(space.fix(job.arch), generator=torch.Generator(), scheme=job.scheme)
    network.load_state_dict(safetensors.torch.load(job.weights.read_bytes()))
    return network.eval()


def _new(job: Job) -> Network:
    generator = torch.Generator().manual_seed(derive_seed(job.seed, _INITIAL))
    return Network(job.fix(job.arch), generator=generator, scheme=job.scheme)


def _train(job: Job, way: str, network: Network, splits: Splits, report: Report) -> Candidate:
    """Train and judge a network; ``way`` is that of its checkpoint."""
    device = torch.device(job.device)
    try:
        summary = train_network(
            network,
            job.training,
            splits.train,
            seed=derive_seed(job.seed, _ORDER),
            device=device,
            checkpoint=job.checkpoint(way),
            checkpoint_every=job.checkpoint_every or 1,
            on_record=lambda record: report(record["step"] / record["steps"]),
        )
    except DivergedError as diverged:
        return Candidate(job.number, job.arch, WORST, str(diverged))
    error = top1_error(network, splits.held_out, device=device)
    return Candidate(job.number, job.arch, error, steps=summary.steps)


@lru_cache(maxsize=1)
def _splits(images: bytes) -> Splits:
    """Return images, kept for the next candidate in this process."""
    splits: Splits = pickle.loads(images)()  # noqa: S301  (from the process that asks)
    return splits


@lru_cache(maxsize=1)
def _pool(path: Path, written: int) -> KnowledgePool:
    """Return the pool in a file of that time, kept for the next candidate of the batch."""
    return KnowledgePool.load(path)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with so many threads: results are the same wherever a candidate is trained."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
