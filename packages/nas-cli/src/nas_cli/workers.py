"""Independent tasks in several processes, of which any may die."""

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from attrs import define, frozen

from nas_spaces import InputError

__all__ = ["Outcome", "Report", "Work", "run_tasks"]

Report = Callable[[float], None]
"""Told by a task how far it is, in units of its own."""
Work = Callable[[Any, Report], Any]
"""(task, report) -> result; a function of a module, so that another process can import it."""

# How long a process may take to end that has nothing left to do [s].
PATIENCE = 10.0


@frozen
class Outcome:
    """What became of a task: its ``result``, or the reason why it ``failed``."""

    result: Any = None
    failed: str | None = None


@define(eq=False)
class _Worker:
    """A process that does one task after the other. ``task``: the one that it is at."""

    process: SpawnProcess
    pipe: Connection
    task: int | None = None


def run_tasks(
    work: Work,
    tasks: Sequence[Any],
    *,
    workers: int,
    attempts: int = 2,
    on_report: Callable[[int, float], None] | None = None,
    on_outcome: Callable[[int, Outcome], None] | None = None,
) -> list[Outcome]:
    """Do tasks in parallel processes and return what became of each.

    A task whose process dies or that raises is tried again, behind those that wait; the
    others go on. Processes are started afresh (spawn), so that threads and devices that this one
    uses do not matter to them, and end with this process, however it ends.

    Args:
        work: what to do; it, the tasks and the results are pickled.
        tasks: one argument each.
        workers: processes at a time.
        attempts: how often a task is tried.
        on_report: receives (index of the task, what it reported).
        on_outcome: receives (index of the task, its outcome) when it is known.

    Raises:
        InputError: workers or attempts below 1.
    """
    for name, number in (("workers", workers), ("attempts", attempts)):
        if number < 1:
            raise InputError(f"{name}={number} must be at least 1")
    outcomes: dict[int, Outcome] = {}
    tried = [0] * len(tasks)
    waiting = deque(range(len(tasks)))
    crew: list[_Worker] = []

    def settle(index: int, outcome: Outcome) -> None:
        if outcome.failed is not None and tried[index] < attempts:
            waiting.append(index)
            return
        outcomes[index] = outcome
        if on_outcome is not None:
            on_outcome(index, outcome)

    try:
        while len(outcomes) < len(tasks):
            for worker in crew:
                if worker.task is None and waiting:
                    _assign(worker, waiting.popleft(), tasks, tried)
            while waiting and len(crew) < workers:
                worker = _hire(work)
                crew.append(worker)
                _assign(worker, waiting.popleft(), tasks, tried)
            busy = {worker.pipe: worker for worker in crew if worker.task is not None}
            for pipe in connection.wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker = busy[pipe]
                assert worker.task is not None
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    crew.remove(worker)
                    worker.process.join()
                    reason = f"its process ended with exit code {worker.process.exitcode}"
                    settle(worker.task, Outcome(failed=reason))
                    continue
                if kind == "report":
                    if on_report is not None:
                        on_report(worker.task, value)
                    continue
                index, worker.task = worker.task, None
                settle(index, Outcome(**{kind: value}))
    finally:
        _dismiss(crew)
    return [outcomes[index] for index in range(len(tasks))]


def _hire(work: Work) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    process.start()
    # Without a copy of its end here, the pipe closes when the process dies.
    theirs.close()
    return _Worker(process, ours)


def _assign(worker: _Worker, index: int, tasks: Sequence[Any], tried: list[int]) -> None:
    worker.task = index
    tried[index] += 1
    # Where it has died, the next read from its pipe says so.
    with contextlib.suppress(OSError):
        worker.pipe.send(tasks[index])


def _dismiss(crew: Sequence[_Worker]) -> None:
    for worker in crew:
        worker.pipe.close()
        if worker.task is not None:
            worker.process.terminate()
    for worker in crew:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(work: Work, pipe: Connection) -> None:
    """Do tasks until the pipe closes."""
    # Ctrl-C reaches every process of the terminal; the one that is asked ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("result", work(task, lambda value: pipe.send(("report", value))))
        except Exception as error:
            if isinstance(error, BrokenPipeError):
                return  # nobody waits for this any more
            answer = ("failed", _reason(error))
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
