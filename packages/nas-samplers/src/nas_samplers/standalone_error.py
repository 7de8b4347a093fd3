"""The error of architectures that are trained alone, each of them, as a metric."""

import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import ArrayLike, NDArray

from nas_samplers.batch_log import BatchLog
from nas_samplers.candidate import WORST, Candidate, Job, train_candidate, trained_network
from nas_samplers.images import Splits
from nas_samplers.pool import KnowledgePool
from nas_samplers.pool_guard import PoolGuard
from nas_samplers.settings import check_settings
from nas_samplers.standalone import Training
from nas_samplers.validators import number
from nas_samplers.workers import Executor, Outcome, run_here
from nas_spaces import InputError, SearchSpace, derive_seed
from nas_spaces.protocols import State
from nas_spaces.torch.initialise import Scheme

__all__ = ["StandaloneError"]

POOL, LOG = "pool.safetensors", "candidates.jsonl"


@define(eq=False, kw_only=True)
class StandaloneError:
    """Metric: the share of wrong answers of each architecture, trained alone and then judged.

    The value of a candidate depends on ``seed``, on its running number, and with a pool on the
    candidates of the batches before, but not on where and beside how many others it is trained:
    a batch, the rows of one call, begins with the pool as it was before the batch, and its blocks
    are added when all of it is finished, in the order of the rows.

    A candidate that diverges, or fails otherwise at every attempt of the executor, gets an error
    of 1, that of a network that answers nothing right, and the search goes on.

    Source: FNAS (Liu et al., 2021), whose candidates are trained alone for few epochs. Left open
    there, and decided here: which pool a batch begins with, and the error of a candidate that
    fails; for a candidate trained both ways, the error from scratch counts, so that it compares
    with the first candidates, for which the pool was empty.

    Killed and resumed: save `state_dict` after every call, together with the state of the search.
    What comes back from `load_state_dict` repeats the batch that was not finished, of which the
    candidates that were finished are not trained again.

    Args:
        space: the search space.
        images: a function without arguments that returns the images, which each worker calls
            once: a function of a module, or ``functools.partial`` of one, so that it can be
            pickled. They are wanted on ``device``.
        training: how each candidate is trained.
        folder: for what workers leave behind, of the unfinished batch and the one before; on
            storage that all workers see. A search has a folder of its own.
        seed: of all randomness.
        executor: does the training; see `nas_samplers.workers` and `RayWorkers`.
        pool: trained blocks that candidates begin with; None trains all from scratch. It is
            added to, and holds the blocks of this search at its end.
        guard: decides whether beginning with the pool is of use: as many candidates as it lacks
            pairs, the first of each batch, are trained both ways and judged from scratch. What
            gives no pair, because the pool has nothing for it or it diverges from scratch, is
            made up for in the next batch.
        task: what the images are called in the pool.
        scheme: of the initial weights.
        device: where candidates are trained.
        threads: that each computes with; results depend on it.
        checkpoint_every: steps between two writes of the state of a candidate, from which a
            killed training goes on; None begins it anew.
        fix: row -> the space of that one network, as a function that can be pickled; None for
            ``space.fix``. Needed where the workers cannot import the layers of ``space``.
        refuses: whether a search is refused as soon as two candidates or more were to be trained
            and none could be: the settings are wrong then.
        failures_stand: whether a candidate that failed at every attempt of the executor is left
            alone when its batch was killed and is gone on with, so that the search ends as if it
            had not been; otherwise it is tried again. One that diverged would do it again.
        on_progress: called with what is done of a batch, in candidates, and their number; first
            with what was done before a kill. A candidate that is tried again takes back what it
            had done.
        on_candidate: called with each candidate of a finished batch, in the order of the rows.
        on_failure: called with each candidate that failed, as soon as that is known.
        on_kept: called with each candidate as soon as the folder holds what became of it: after a
            kill it is not trained again.

    Raises:
        InputError: a guard without a pool, images that cannot be pickled, a number out of range.

    >>> from functools import partial
    >>> from tempfile import mkdtemp
    >>> from nas_samplers import Optimiser, load_data
    >>> from nas_spaces import published
    >>> error = StandaloneError(
    ...     space=published.load("digits-mobile", in_channels=3),
    ...     images=partial(load_data, "synthetic", resolution=8, device="cpu", seed=0),
    ...     training=Training(optimiser=Optimiser(lr=0.1), batch_size=32, steps=10),
    ...     folder=Path(mkdtemp()),
    ...     seed=0,
    ... )
    >>> error([[0] * 8, [1] * 8]).shape
    (2,)
    """

    space: SearchSpace
    images: Callable[[], Splits]
    training: Training
    folder: Path
    seed: int
    executor: Executor = run_here
    pool: KnowledgePool | None = None
    guard: PoolGuard | None = None
    task: str = ""
    scheme: Scheme = "kaiming"
    device: str = "cpu"
    threads: int = field(default=1, validator=number(least=1, whole=True))
    checkpoint_every: int | None = None
    fix: Callable[[ArrayLike], SearchSpace] | None = None
    refuses: bool = True
    failures_stand: bool = True
    on_progress: Callable[[float, int], None] | None = None
    on_candidate: Callable[[Candidate], None] | None = None
    on_failure: Callable[[Candidate], None] | None = None
    on_kept: Callable[[Candidate], None] | None = None

    trained: int = field(default=0, init=False)
    """Candidates so far."""
    hits: int = field(default=0, init=False)
    """Blocks so far that began with weights from the pool."""
    blocks: int = field(default=0, init=False)
    """Blocks so far that were looked up in the pool."""
    failures: list[Candidate] = field(factory=list, init=False)
    """Candidates so far that failed."""
    _pickled: bytes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.guard is not None and self.pool is None:
            raise InputError("a guard judges a pool; pass pool as well, or no guard")
        if self.pool is not None and not self.task:
            raise InputError("a pool names what its blocks were trained on; pass task")
        try:
            self._pickled = pickle.dumps(self.images)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"images cannot be sent to workers ({error}); pass a function of a module, or "
                "functools.partial of one"
            ) from error

    @property
    def name(self) -> str:
        """``"error"``."""
        return "error"

    @property
    def unit(self) -> str:
        """A share, in [0, 1]."""
        return "1"

    def __call__(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return errors ``[n]`` of architectures ``[n, d]``.

        Raises:
            InputError: rows that are not of the space, a folder of another search, or see
                ``refuses``.
        """
        rows = self.space.check(archs)
        if not len(rows):
            return np.empty(0)
        self._clear()
        jobs = self._jobs(rows)
        candidates = self._train(jobs)
        failures = [*self.failures, *(one for one in candidates if one.failed is not None)]
        trained = self.trained + len(candidates)
        if self.refuses and trained > 1 and len(failures) == trained:
            self._forget(jobs[0].folder)
            raise InputError(
                f"none of the first {trained} candidates could be trained; the first failed "
                f"because: {failures[0].failed}"
            )
        self._learn(jobs, candidates)
        self.trained, self.failures = trained, failures
        self.hits += sum(one.hits for one in candidates)
        self.blocks += sum(one.blocks for one in candidates)
        self._save_pool()
        if self.on_candidate is not None:
            for one in candidates:
                self.on_candidate(one)
        return np.array([one.error for one in candidates])

    def state_dict(self) -> dict[str, Any]:
        """Return the state, of which the pool is a file in the folder."""
        return {
            "settings": self._settings(),
            "trained": self.trained,
            "hits": self.hits,
            "blocks": self.blocks,
            "failures": [
                {"number": one.number, "arch": list(one.arch), "failed": one.failed}
                for one in self.failures
            ],
            "guard": None if self.guard is None else self.guard.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back, and with it the pool.

        Raises:
            InputError: a state of other settings, or a pool that is not in the folder any more.
        """
        check_settings(self._settings(), state["settings"], "stand-alone metric")
        self.trained, self.hits, self.blocks = (state[k] for k in ("trained", "hits", "blocks"))
        self.failures = [
            Candidate(one["number"], tuple(one["arch"]), WORST, one["failed"])
            for one in state["failures"]
        ]
        if self.pool is not None and self.trained:
            self.pool = KnowledgePool.load(self._batch(self.trained) / POOL)
        if self.guard is not None:
            self.guard.load_state_dict(state["guard"])

    def _settings(self) -> dict[str, Any]:
        return {
            "space": self.space.name,
            "seed": self.seed,
            "training": repr(self.training),
            "scheme": self.scheme,
            "threads": self.threads,
            "pool": self.pool is not None,
            "guard": self.guard is not None,
            "task": self.task,
        }

    def _batch(self, first: int) -> Path:
        """Return the folder of the batch that begins with a candidate."""
        return self.folder / f"batch-{first}"

    def _clear(self) -> None:
        """Remove what was left behind by batches that a saved state is the end of."""
        for batch in self.folder.glob("batch-*"):
            if int(batch.name.removeprefix("batch-")) < self.trained:
                shutil.rmtree(batch)

    def _forget(self, batch: Path) -> None:
        """Remove what a batch has left: kept, it would fail whoever has mended the reason."""
        for path in batch.iterdir():
            if path.name != POOL:  # which a saved state begins with
                path.unlink()

    def _save_pool(self) -> None:
        if self.pool is not None:
            batch = self._batch(self.trained)
            batch.mkdir(parents=True, exist_ok=True)
            self.pool.save(batch / POOL)

    def _jobs(self, rows: NDArray[np.int64]) -> list[Job]:
        batch = self._batch(self.trained).absolute()
        batch.mkdir(parents=True, exist_ok=True)
        if self.trained == 0:
            self._save_pool()
        helps = self.pool is not None and (self.guard is None or self.guard.uses_pool)
        pairs = 0 if self.guard is None else self.guard.missing
        return [
            Job(
                number=place,
                arch=tuple(row),
                fix=self.fix or self.space.fix,
                images=self._pickled,
                training=self.training,
                scheme=self.scheme,
                seed=derive_seed(self.seed, place),
                device=self.device,
                threads=self.threads,
                checkpoint_every=self.checkpoint_every,
                folder=batch,
                pool=batch / POOL if helps else None,
                pair=helps and place - self.trained < pairs,
                keep=self.pool is not None,
            )
            for place, row in enumerate(rows.tolist(), self.trained)
        ]

    def _train(self, jobs: Sequence[Job]) -> list[Candidate]:
        """Return what became of the jobs, those of before a kill included."""
        archs = {"archs": [list(job.arch) for job in jobs]}
        log = BatchLog(jobs[0].folder / LOG, {**self._settings(), **archs})
        known = log.read()
        left = [job for job in jobs if job.number not in known]
        done: dict[int, float] = {}

        def advance(shares: dict[int, float]) -> None:
            before = dict(done)
            done.update(shares)
            if self.on_progress is not None and done != before:
                self.on_progress(sum(done.values()), len(jobs))

        def tell(candidate: Candidate) -> None:
            if candidate.failed is not None and self.on_failure is not None:
                self.on_failure(candidate)

        def on_report(place: int, share: float) -> None:
            advance({left[place].number: share})

        def on_outcome(place: int, outcome: Outcome) -> None:
            job = left[place]
            if outcome.failed is None:
                candidate = outcome.result
            else:
                candidate = Candidate(job.number, job.arch, WORST, outcome.failed)
            if outcome.failed is None or self.failures_stand:
                log.append(candidate)
                job.remove_checkpoints()
                if self.on_kept is not None:
                    self.on_kept(candidate)
            known[job.number] = candidate
            advance({job.number: 1.0})
            tell(candidate)

        done.update(dict.fromkeys(known, 1.0))
        if self.on_progress is not None:
            self.on_progress(sum(done.values()), len(jobs))
        for candidate in known.values():
            tell(candidate)
        self.executor(train_candidate, left, on_report=on_report, on_outcome=on_outcome)
        return [known[job.number] for job in jobs]

    def _learn(self, jobs: Sequence[Job], candidates: Sequence[Candidate]) -> None:
        """Give the pool and the guard what the batch has shown."""
        for job, one in zip(jobs, candidates, strict=True):
            scratch, pool = one.scratch_error, one.pool_error
            if self.guard is not None and scratch is not None and pool is not None:
                self.guard.tell(scratch, pool)
            if self.pool is not None and one.blocks:
                # The workers asked copies of it.
                self.pool.count(self.task, one.hits, one.blocks)
            if self.pool is not None and one.failed is None:
                network = trained_network(job, self.space)
                self.pool.add(network, iterations=one.steps, task=self.task)
