"""Trainings of many architectures from scratch, several at a time, to hold a ranking against."""

from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_cli.progress import stage
from nas_cli.standalone_metric import default_workers, standalone_error
from nas_cli.training import training_of
from nas_cli.workshop import RANK, Workshop
from nas_samplers import Candidate, WorkerProcesses
from nas_spaces import History, replace_file

__all__ = ["ACCURACY", "Trained", "train_from_scratch"]

ACCURACY = "top1"
"""Column of ``standalone.csv``, which `read_truth` reads."""

# Stream of randomness, behind RANK.
_TRAININGS = 19


@frozen(eq=False)
class Trained:
    """Architectures with their accuracy. ``archs``: int64 ``[n, d]``; ``top1``: ``[n]`` [%].

    ``failed``: how many could not be trained. ``reason``: why the first of them could not.
    """

    archs: NDArray[np.int64]
    top1: NDArray[np.float64]
    failed: int
    reason: str | None


def train_from_scratch(
    shop: Workshop, archs: NDArray[np.int64], folder: Path, *, workers: int | None, title: str
) -> Trained:
    """Train architectures ``[n, d]`` in parallel processes by the run's retrain settings.

    They are judged as the supernet is, so that the two accuracies of an architecture differ by how
    its weights came about and by nothing else. What is finished, and the checkpoints of what is
    not, are kept in ``folder``: called again, it goes on, and tries again what failed for another
    reason than that it diverged.

    Args:
        shop: the run.
        archs: rows.
        folder: for what is finished; the table ``standalone.csv`` is written beside it.
        workers: processes at a time; None for the cores, on a GPU at most 4.
        title: of the stage for a person.
    """
    how, many = shop.run.config.retrain, len(archs)
    steps = training_of(how, shop.device).steps_on(shop.data.train)
    begun = False

    def on_progress(done: float, total: int) -> None:
        nonlocal begun
        if done and not begun:
            shop.say(f"{title}: {done:g} of {total} networks are finished")
        begun = True
        update(round(done * steps), f"{done:.1f} of {total} networks")

    def on_failure(one: Candidate) -> None:
        shop.say(f"{title}: network {one.number} failed: {one.failed}")

    with (
        WorkerProcesses(min(workers or default_workers(shop), many)) as run,
        stage(shop.console, title, steps * many, "steps") as update,
    ):
        error = standalone_error(shop, how, folder, shop.seed(RANK, _TRAININGS), run)
        # How many are enough is for the ranking to say, and those that failed have time.
        error.refuses = error.failures_stand = False
        error.on_progress, error.on_failure = on_progress, on_failure
        errors = error(archs)
    failures = error.failures
    trained = np.setdiff1d(np.arange(many), [one.number for one in failures])
    rows, top1 = archs[trained], 100 * (1 - errors[trained])
    table = History((ACCURACY,), ("%",), rows, top1[:, None])
    replace_file(folder.parent / "standalone.csv", table.to_csv())
    return Trained(rows, top1, len(failures), failures[0].failed if failures else None)
