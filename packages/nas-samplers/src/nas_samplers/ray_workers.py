"""Independent tasks on a Ray cluster, of which any worker may die (extra ``[ray]``).

Source: P. Moritz et al., Ray: a distributed framework for emerging AI applications, OSDI 2018.
"""

import contextlib
import importlib
import math
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import define, field
from attrs.validators import optional

from nas_samplers.validators import number
from nas_samplers.workers import Attempts, OnOutcome, OnReport, Outcome, Work, reason_of
from nas_spaces import InputError

__all__ = ["RayWorkers"]

# How long the machine of a cluster may take to answer [s].
PATIENCE = 5.0


@define(eq=False)
class RayWorkers:
    """Executor: tasks on a Ray cluster.

    A task whose worker dies or that raises is tried again, behind those that wait; the others go
    on. What a task reports of its progress stays on its worker: ``on_report`` is never called.
    Ray keeps its processes from task to task, and with them what they hold in memory.

    Work, tasks and results are pickled; the functions of a module must be importable on all
    machines, and files that tasks name must be in the same place on all of them.

    Args:
        address: of a running cluster that this machine is part of, ``"auto"`` or
            ``"HOST:PORT"``; None for the one that this process is connected to, or else a cluster
            of this machine alone, which is started at the first call and sends no usage
            statistics anywhere.
        workers: tasks at a time at most; None for as many as the cluster has room for. A cluster
            of this machine alone has so many workers, None for its cores.
        attempts: how often a task is tried.
        cpus: cores that a task takes of the cluster's.
        gpus: GPUs that a task takes of the cluster's; parts of one are shared.

    Raises:
        InputError: Ray is not installed, an address that is no text or one of Ray Client
            (``ray://``), or a number out of range.

    It is called like any executor; at the end of the block it leaves the cluster, if it was this
    that joined or started it::

        with RayWorkers(workers=4) as run:
            outcomes = run(work, tasks)
    """

    address: str | None = None
    workers: int | None = field(default=None, validator=optional(number(least=1, whole=True)))
    attempts: int = field(default=2, kw_only=True, validator=number(least=1, whole=True))
    cpus: float = field(default=1, kw_only=True, validator=number(above=0))
    gpus: float = field(default=0, kw_only=True, validator=number(least=0))
    _ray: Any = field(init=False, repr=False)
    _remote: Any = field(default=None, init=False, repr=False)
    _ours: bool = field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.address, str | None):
            raise InputError(
                f"address={self.address!r} must be text, such as 'auto'; a number of workers is "
                "workers=NUMBER"
            )
        if self.address is not None:
            _refuse_client(self.address)
        try:
            self._ray = importlib.import_module("ray")
        except ImportError as error:
            raise InputError(
                "workers on Ray need the package ray, which is not installed; run "
                "`pip install 'nas-samplers[ray]'`, or use WorkerProcesses on this machine"
            ) from error

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
            on_report: never called.
            on_outcome: receives (index of the task, its outcome) when it is known.

        Raises:
            InputError: no cluster at ``address``, or a machine without room for a single task.

        Warns:
            UserWarning: a cluster without that room; it may grow, the tasks wait for it.
        """
        state = Attempts(len(tasks), attempts=self.attempts, on_outcome=on_outcome)
        if not tasks:
            return []
        self._connect()
        at_once = self.workers or len(tasks)
        running: dict[Any, int] = {}
        try:
            while state.open:
                while state.waiting and len(running) < at_once:
                    index = state.begin()
                    job = pickle.dumps((work, tasks[index]))
                    running[self._remote.remote(job, sys.path, str(Path.cwd()))] = index
                [done], _ = self._ray.wait(list(running), num_returns=1)
                state.settle(running.pop(done), self._outcome(done))
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)
        return state.outcomes()

    def check(self) -> None:
        """Join the cluster and leave it again, so that an error comes before there are tasks.

        Raises:
            InputError: as a call would.
        """
        if self._remote is None:
            try:
                self._connect()
            finally:
                self.close()

    def close(self) -> None:
        """Leave the cluster that this joined, and end it if this started it."""
        if self._ours:
            self._ray.shutdown()
        self._remote, self._ours = None, False

    def _connect(self) -> None:
        ray = self._ray
        if self.address is not None and ray.is_initialized() and not self._ours:
            raise InputError(
                f"address={self.address!r}: this process is connected to a Ray cluster already; "
                "leave the address out to use that one, or call ray.shutdown() before"
            )
        if not ray.is_initialized():
            self._start() if self.address is None else self._join(self.address)
            self._ours = True
        if self._remote is None:
            if lack := self._lack():
                warnings.warn(
                    f"{lack[0]}, and the cluster has {lack[1]}: tasks wait until it grows",
                    stacklevel=3,
                )
            # Attempts are counted here, the same for all executors: Ray would try a worker that
            # was killed for its memory again and again.
            self._remote = ray.remote(_do).options(
                num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0
            )

    def _join(self, address: str) -> None:
        if address == "auto":  # as Ray does
            address = os.environ.get("RAY_ADDRESS") or address
        _refuse_client(address)
        _knock(address)
        try:
            self._ray.init(address=address, logging_level="error", log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"there is no Ray cluster at address={address!r} that lets this process join "
                f"({_first_line(error)}); start one by `ray start --head`, set RAY_AUTH_MODE=token "
                "where it asks for a token, or leave the address out"
            ) from error

    def _start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray.init(
            address="local",
            num_cpus=None if self.workers is None else math.ceil(self.workers * self.cpus),
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
        )
        # Nothing is added to a cluster of one machine: a task without room would wait for ever.
        if lack := self._lack():
            self._ray.shutdown()
            raise InputError(
                f"{lack[0]}, and this machine has {lack[1]} for Ray; ask for less, or give the "
                "address of a cluster that has more"
            )

    def _lack(self) -> tuple[str, str] | None:
        """Return what a single task takes and how much the cluster has, where that is less."""
        there = self._ray.cluster_resources()
        for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus)):
            if there.get(name, 0) < wanted:
                return f"{name.lower()}s={wanted} a task", f"{there.get(name, 0):g}"
        return None

    def _outcome(self, reference: Any) -> Outcome:
        try:
            kind, value = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return Outcome(failed=f"{type(error).__name__}: {_first_line(error)}")
        return Outcome(**{kind: value})


def _do(job: bytes, path: Sequence[str], folder: str) -> tuple[str, Any]:
    """Do one task on a worker; an exception travels as its reason, which can be pickled."""
    # Modules and files are found where the process that asks finds them.
    with contextlib.suppress(FileNotFoundError):  # on another machine
        os.chdir(folder)
    sys.path.extend(folder for folder in path if folder not in sys.path)
    try:
        work, task = pickle.loads(job)  # noqa: S301  (from the process that asks)
        return "result", work(task, _tell_nobody)
    except Exception as error:
        return "failed", reason_of(error)


def _refuse_client(address: str) -> None:
    if address.startswith("ray://"):
        raise InputError(
            f"address={address!r}: Ray Client is not supported; run this on a machine of the "
            "cluster, with address='auto' or the HOST:PORT of its head, such as 10.0.0.1:6379"
        )


def _knock(address: str) -> None:
    """Refuse a HOST:PORT where nobody listens: Ray alone would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError, UnicodeError) as error:  # a host that is none is the last
        raise InputError(
            f"there is no Ray cluster at address={address!r} ({_first_line(error)}); start one by "
            "`ray start --head`, or leave the address out"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _tell_nobody(value: float) -> None:
    """Take a report that goes nowhere."""
