"""Independent tasks: one after the other in this process, or in several, of which any may die.

An executor is any callable of the shape of `Executor`; `nas_samplers.ray_workers` has one for Ray.
What becomes of a task does not depend on which does it.

>>> def root(task, report):
...     return task**0.5
>>> [outcome.result for outcome in run_here(root, [4, 9])]
[2.0, 3.0]
"""

import contextlib
import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Protocol, Self

from attrs import define, field, frozen

from nas_samplers.validators import check_number, number
from nas_spaces import InputError

__all__ = [
    "Attempts",
    "Executor",
    "Outcome",
    "Report",
    "Work",
    "WorkerProcesses",
    "reason_of",
    "run_here",
    "run_tasks",
]

Report = Callable[[float], None]
"""Told by a task how far it is, in units of its own."""
Work = Callable[[Any, Report], Any]
"""(task, report) -> result; a function of a module, so that another process can import it."""
OnReport = Callable[[int, float], None]
"""Receives (index of the task, what it reported)."""

# How long a process may take to end that has nothing left to do [s].
PATIENCE = 10.0


@frozen
class Outcome:
    """What became of a task: its ``result``, or the reason why it ``failed``."""

    result: Any = None
    failed: str | None = None


OnOutcome = Callable[[int, Outcome], None]
"""Receives (index of the task, its outcome) when it is known."""


class Executor(Protocol):
    """Does tasks and returns what became of each, in the order of the tasks.

    ``on_report`` receives (index of the task, what it reported), where the executor can tell;
    ``on_outcome`` receives (index of the task, its outcome) when it is known.
    """

    def __call__(
        self,
        work: Work,
        tasks: Sequence[Any],
        *,
        on_report: OnReport | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> list[Outcome]: ...


class Attempts:
    """Which tasks wait, how often each was tried, and what became of them.

    Args:
        tasks: how many there are.
        attempts: how often one is tried at most.
        on_outcome: receives (index of the task, its outcome) when it is known.

    Raises:
        InputError: attempts below 1.
    """

    def __init__(self, tasks: int, *, attempts: int, on_outcome: OnOutcome | None = None) -> None:
        check_number("attempts", attempts, least=1, whole=True)
        self.waiting = deque(range(tasks))
        self._tried = [0] * tasks
        self._attempts = attempts
        self._outcomes: dict[int, Outcome] = {}
        self._on_outcome = on_outcome

    @property
    def open(self) -> bool:
        """Whether there are tasks of which nothing final is known."""
        return len(self._outcomes) < len(self._tried)

    def begin(self) -> int:
        """Return the task to try next."""
        index = self.waiting.popleft()
        self._tried[index] += 1
        return index

    def settle(self, index: int, outcome: Outcome) -> None:
        """Take what an attempt gave: a task that failed waits again while it has attempts left."""
        if outcome.failed is not None and self._tried[index] < self._attempts:
            self.waiting.append(index)
            return
        self._outcomes[index] = outcome
        if self._on_outcome is not None:
            self._on_outcome(index, outcome)

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes in the order of the tasks, once none is open."""
        return [self._outcomes[index] for index in range(len(self._tried))]


def run_here(
    work: Work,
    tasks: Sequence[Any],
    *,
    attempts: int = 2,
    on_report: OnReport | None = None,
    on_outcome: OnOutcome | None = None,
) -> list[Outcome]:
    """Do tasks one after the other in this process and return what became of each.

    A task that raises is tried again, behind those that wait. One that ends its process ends this
    one.

    Args:
        work: what to do; nothing is pickled.
        tasks: one argument each.
        attempts: how often a task is tried.
        on_report: receives (index of the task, what it reported).
        on_outcome: receives (index of the task, its outcome) when it is known.

    Raises:
        InputError: attempts below 1.
    """
    state = Attempts(len(tasks), attempts=attempts, on_outcome=on_outcome)

    def report_of(index: int) -> Report:
        return lambda value: None if on_report is None else on_report(index, value)

    while state.waiting:
        index = state.begin()
        try:
            outcome = Outcome(work(tasks[index], report_of(index)))
        except Exception as error:
            outcome = Outcome(failed=reason_of(error))
        state.settle(index, outcome)
    return state.outcomes()


def run_tasks(
    work: Work,
    tasks: Sequence[Any],
    *,
    workers: int,
    attempts: int = 2,
    on_report: OnReport | None = None,
    on_outcome: OnOutcome | None = None,
) -> list[Outcome]:
    """Do tasks in processes that are started for them, see `WorkerProcesses`.

    Raises:
        InputError: workers or attempts below 1.
    """
    with WorkerProcesses(workers, attempts=attempts) as run:
        return run(work, tasks, on_report=on_report, on_outcome=on_outcome)


@define(eq=False)
class _Worker:
    """A process that does one task after the other. ``task``: the one that it is at."""

    process: SpawnProcess
    pipe: Connection
    task: int | None = None


@define(eq=False)
class WorkerProcesses:
    """Executor: tasks in parallel processes, which stay for the next call.

    A task whose process dies or that raises is tried again, behind those that wait; the
    others go on. Processes are started afresh (spawn), so that threads and devices that this one
    uses do not matter to them, and end with this process, however it ends. What they keep in
    memory, such as images, is there for the next tasks: close them when there are none.

    Work, tasks and results are pickled.

    Args:
        workers: processes at a time; as many as there are tasks, if those are fewer.
        attempts: how often a task is tried.

    Raises:
        InputError: workers or attempts below 1.

    A script guards what starts them by ``if __name__ == "__main__"``, as for any process::

        with WorkerProcesses(4) as run:
            outcomes = run(work, tasks)
    """

    workers: int = field(validator=number(least=1, whole=True))
    attempts: int = field(default=2, kw_only=True, validator=number(least=1, whole=True))
    _crew: list[_Worker] = field(factory=list, init=False, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(
        self,
        work: Work,
        tasks: Sequence[Any],
        *,
        on_report: OnReport | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> list[Outcome]:
        """Do tasks and return what became of each.

        Args:
            work: what to do.
            tasks: one argument each.
            on_report: receives (index of the task, what it reported).
            on_outcome: receives (index of the task, its outcome) when it is known.
        """
        state = Attempts(len(tasks), attempts=self.attempts, on_outcome=on_outcome)
        try:
            while state.open:
                self._assign(work, tasks, state)
                busy = {worker.pipe: worker for worker in self._crew if worker.task is not None}
                for pipe in connection.wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    self._listen(busy[pipe], state, on_report)
        except BaseException:
            # Whoever is at a task would answer to the next call.
            self.close()
            raise
        return state.outcomes()

    def close(self) -> None:
        """End the processes; a later call starts others."""
        crew, self._crew = self._crew, []
        for worker in crew:
            worker.pipe.close()
            if worker.task is not None:
                worker.process.terminate()
        for worker in crew:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _bury(self) -> None:
        """Forget who died without a task, which is no task's fault."""
        dead = [one for one in self._crew if one.task is None and not one.process.is_alive()]
        for worker in dead:
            self._crew.remove(worker)
            worker.pipe.close()

    def _assign(self, work: Work, tasks: Sequence[Any], state: Attempts) -> None:
        self._bury()
        idle = deque(worker for worker in self._crew if worker.task is None)
        while state.waiting and (idle or len(self._crew) < self.workers):
            if not idle:
                self._crew.append(_hire())
            worker = idle.popleft() if idle else self._crew[-1]
            worker.task = state.begin()
            # Where it has died, the next read from its pipe says so.
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(pickle.dumps((work, tasks[worker.task])))

    def _listen(self, worker: _Worker, state: Attempts, on_report: OnReport | None) -> None:
        assert worker.task is not None
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):
            self._crew.remove(worker)
            worker.process.join()
            reason = f"its process ended with exit code {worker.process.exitcode}"
            state.settle(worker.task, Outcome(failed=reason))
            return
        if kind == "report":
            if on_report is not None:
                on_report(worker.task, value)
            return
        index, worker.task = worker.task, None
        state.settle(index, Outcome(**{kind: value}))


def _hire() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    # Without a copy of its end here, the pipe closes when the process dies.
    theirs.close()
    return _Worker(process, ours)


def _serve(pipe: Connection) -> None:
    """Do tasks until the pipe closes."""
    # Ctrl-C reaches every process of the terminal; the one that is asked ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            received = pipe.recv_bytes()
        except EOFError:
            return
        try:
            work, task = pickle.loads(received)  # noqa: S301  (from the process that started this)
            answer = ("result", work(task, lambda value: pipe.send(("report", value))))
        except Exception as error:
            if isinstance(error, BrokenPipeError):
                return  # nobody waits for this any more
            answer = ("failed", reason_of(error))
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return


def reason_of(error: Exception) -> str:
    """Return why a task failed, in words for a person."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
