"""Training many architectures from scratch, several at a time, to hold a ranking against.

They see what the supernet sees: trained on the training images alone and judged on the held-out
ones, so that the two accuracies of an architecture differ by how its weights came about and by
nothing else. Test images stay unseen.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from rich.console import Console

from nas_cli.config import Config, TrainConfig, cores
from nas_cli.progress import stage
from nas_cli.run import Run, read_json, write_json
from nas_cli.workshop import RANK, Workshop, optimiser_of, precision_of
from nas_samplers import Training, train_network, wrong_answers
from nas_samplers.workers import Outcome, Report, run_tasks
from nas_spaces import History, SearchSpace, replace_file
from nas_spaces.torch import Network

__all__ = [
    "ACCURACY",
    "Alone",
    "check_alone",
    "config_of_worker",
    "default_workers",
    "shop_of_worker",
    "train_alone",
    "training_of",
]

ACCURACY = "top1"
"""Column of ``standalone.csv``, which `read_truth` reads."""

# Streams of randomness of the network with an index, behind RANK.
_INITIAL, _ORDER = 16, 18
# Each process on a GPU takes memory there of its own.
WORKERS_ON_A_GPU = 4


@frozen(eq=False)
class Alone:
    """Architectures with their accuracy. ``archs``: int64 ``[n, d]``; ``top1``: ``[n]`` [%].

    ``failed``: how many could not be trained. ``reason``: why the first of them could not.
    """

    archs: NDArray[np.int64]
    top1: NDArray[np.float64]
    failed: int
    reason: str | None


@frozen
class _Job:
    """One network. ``folder``: where its state and its result are."""

    run: Path
    config: Config
    arch: tuple[int, ...]
    index: int
    folder: Path

    @property
    def result(self) -> Path:
        return self.folder / "result.json"


def training_of(config: TrainConfig, device: torch.device) -> Training:
    """Return the training of a network alone that settings describe.

    Raises:
        InputError: settings that do not fit together.
    """
    return Training(
        optimiser=optimiser_of(config),
        batch_size=config.batch_size,
        epochs=config.epochs,
        label_smoothing=config.label_smoothing,
        micro_batch=config.micro_batch,
        precision=precision_of(config, device),
        channels_last=config.channels_last,
    )


def default_workers(shop: Workshop) -> int:
    """Return how many networks are trained at a time where nothing else is said."""
    return min(cores(), WORKERS_ON_A_GPU) if shop.device.type == "cuda" else cores()


def check_alone(shop: Workshop) -> Training:
    """Return how every network is trained; refuse settings that none could begin with.

    Raises:
        InputError: what is wrong.
    """
    return training_of(shop.run.config.retrain, shop.device)


def train_alone(
    shop: Workshop, archs: NDArray[np.int64], folder: Path, *, workers: int | None, title: str
) -> Alone:
    """Train architectures ``[n, d]`` in parallel processes by the run's retrain settings.

    Every process computes with one thread, so that results do not depend on their number. What is
    finished, and the checkpoints of what is not, are kept in ``folder``: called again, it goes on.
    A network that fails is tried once more, and then left out and counted.

    Args:
        shop: the run.
        archs: rows.
        folder: one folder a network, and the table ``standalone.csv``.
        workers: processes at a time; None for the cores, on a GPU at most 4.
        title: of the stage for a person.
    """
    steps = check_alone(shop).steps_on(shop.data.train)
    config = config_of_worker(shop.run.config)
    if workers is None:
        workers = default_workers(shop)
    jobs = [
        _Job(shop.run.path, config, tuple(arch), index, folder / str(index))
        for index, arch in enumerate(archs.tolist())
    ]
    left = [job for job in jobs if not job.result.exists()]
    done = {job.index: steps for job in jobs if job.result.exists()}
    if done and left:
        shop.say(f"{title}: {len(done)} of {len(jobs)} networks are finished")
    failed: dict[int, str] = {}
    with stage(shop.console, title, steps * len(jobs), "steps") as update:

        def on_report(place: int, step: float) -> None:
            done[left[place].index] = int(step)
            update(sum(done.values()), note())

        def on_outcome(place: int, outcome: Outcome) -> None:
            index = left[place].index
            done[index] = steps
            if outcome.failed is not None:
                failed[index] = outcome.failed
                shop.say(f"{title}: network {index} failed: {outcome.failed}")
            update(sum(done.values()), note())

        def note() -> str:
            finished = sum(1 for n in done.values() if n == steps) - len(failed)
            return f"{finished} of {len(jobs)} networks"

        update(sum(done.values()), note())
        run_tasks(
            _train_one,
            left,
            workers=min(workers, max(len(left), 1)),
            on_report=on_report,
            on_outcome=on_outcome,
        )
    return _collect(shop.space, jobs, failed, folder)


def _collect(
    space: SearchSpace, jobs: Sequence[_Job], failed: dict[int, str], folder: Path
) -> Alone:
    """Return what the finished networks reached, and write the table."""
    records = [
        read_json(job.result, "architecture", ACCURACY) for job in jobs if job.index not in failed
    ]
    rows = np.array([one["architecture"] for one in records], dtype=np.int64)
    rows = rows.reshape(-1, space.num_choices)
    top1 = np.array([one[ACCURACY] for one in records], dtype=np.float64)
    table = History((ACCURACY,), ("%",), rows, top1[:, None])
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder.parent / "standalone.csv", table.to_csv())
    return Alone(rows, top1, len(failed), next(iter(failed.values()), None))


def config_of_worker(config: Config) -> Config:
    """Return the settings of a run for a process that trains one of its networks at a time."""
    # The processes are daemons, which cannot start others to read images.
    return attrs.evolve(config, threads=1, images=attrs.evolve(config.images, workers=0))


@lru_cache(maxsize=1)
def shop_of_worker(path: Path, config: Config) -> Workshop:
    """Return the run as a process sees it that trains several of its networks.

    The process that asked for it holds the lock, and writes what concerns the run as a whole.
    """
    nowhere = Path("/dev/null").open("w")  # noqa: SIM115  (open as long as the process lives)
    return Workshop(Run(path, config, nowhere), Console(file=nowhere))


def _train_one(job: _Job, report: Report) -> None:
    """Train and judge one network in a process of its own."""
    shop = shop_of_worker(job.run, job.config)
    config = job.config.retrain
    device = shop.device
    network = Network(
        shop.space.fix(job.arch),
        generator=shop.torch_rng(RANK, _INITIAL, job.index),
        scheme=job.config.supernet.scheme,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = job.folder / "checkpoint.safetensors"

    def on_record(record: dict[str, Any]) -> None:
        report(record["step"])

    train_network(
        network,
        check_alone(shop),
        shop.data.train,
        seed=shop.seed(RANK, _ORDER, job.index),
        device=device,
        checkpoint=checkpoint,
        checkpoint_every=config.checkpoint_every,
        on_record=on_record,
    )
    wrong = wrong_answers(network, shop.data.held_out, device=device)
    record = {
        "architecture": list(job.arch),
        ACCURACY: 100 * (1 - float(wrong.mean())),
        "held_out_images": len(wrong),
    }
    write_json(job.result, record)
    checkpoint.unlink(missing_ok=True)
