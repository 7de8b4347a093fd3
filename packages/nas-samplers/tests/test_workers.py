import os
import signal
import sys
import time

import pytest

from nas_samplers.workers import Outcome, WorkerProcesses, run_here, run_tasks
from nas_spaces import InputError

# Importable by other processes, which a test file is not.
MODULE = """
import os
import signal
import sys
import time
from pathlib import Path


def square(task, report):
    report(task / 2)
    return task * task, os.getpid()


def first_time(folder, task):
    try:
        Path(folder, str(task)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def die_at(task, report):
    folder, number, times = task
    for attempt in range(times):
        if first_time(folder, f"{number}-{attempt}"):
            os._exit(7)
    return number


def raise_at(task, report):
    folder, number, times = task
    for attempt in range(times):
        if first_time(folder, f"{number}-{attempt}"):
            raise ValueError(f"{number} again")
    return number


def work_for_ever(task, report):
    Path(task).write_text(str(os.getpid()))
    while True:
        report(0)
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where processes find the module, and what is written beside it."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="module")
def module(folder):
    (folder / "work_of_a_test.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import work_of_a_test

        yield work_of_a_test
    sys.modules.pop("work_of_a_test")


@pytest.fixture(scope="module")
def crew(module):
    """Two processes for most tests: each takes seconds to import what this package needs."""
    with WorkerProcesses(2) as run:
        yield run


def test_results_come_in_the_order_of_the_tasks(crew, module):
    reports, known = {}, []
    outcomes = crew(
        module.square,
        [3, 1, 2, 5],
        on_report=reports.__setitem__,
        on_outcome=lambda index, outcome: known.append((index, outcome.result[0])),
    )
    assert [outcome.result[0] for outcome in outcomes] == [9, 1, 4, 25]
    assert reports == {0: 1.5, 1: 0.5, 2: 1, 3: 2.5}
    assert sorted(known) == [(0, 9), (1, 1), (2, 4), (3, 25)]
    pids = {outcome.result[1] for outcome in outcomes}
    assert os.getpid() not in pids
    assert len(pids) == 2
    # They stay for the next call.
    assert {outcome.result[1] for outcome in crew(module.square, [1, 2, 3, 4])} <= pids


def test_no_tasks_need_no_process(module):
    run = WorkerProcesses(2)
    assert run(module.square, []) == []
    assert run._crew == []


def test_a_process_that_died_while_it_had_nothing_to_do_costs_no_attempt(crew, module):
    pid = crew(module.square, [1])[0].result[1]
    os.kill(pid, signal.SIGKILL)
    while any(worker.process.is_alive() for worker in crew._crew if worker.process.pid == pid):
        time.sleep(0.01)
    crew.attempts = 1
    outcomes = crew(module.square, [2, 3])
    crew.attempts = 2
    assert [outcome.result[0] for outcome in outcomes] == [4, 9]
    assert pid not in {outcome.result[1] for outcome in outcomes}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("die_at", "its process ended with exit code 7"), ("raise_at", "ValueError: 1 again")],
)
def test_a_task_is_tried_twice_and_the_others_go_on(crew, module, tmp_path, name, reason):
    tasks = [(str(tmp_path), number, times) for number, times in enumerate((1, 2, 0, 0))]
    outcomes = crew(getattr(module, name), tasks)
    assert outcomes == [Outcome(0), Outcome(failed=reason), Outcome(2), Outcome(3)]


def test_what_a_process_cannot_find_is_a_failure(crew, module, tmp_path, monkeypatch):
    (tmp_path / "found_later.py").write_text("def nothing(task, report): pass")
    # The processes have begun before.
    assert crew(module.square, [2, 2])[0].result[0] == 4
    monkeypatch.syspath_prepend(tmp_path)
    import found_later

    assert crew(found_later.nothing, [1]) == [
        Outcome(failed="ModuleNotFoundError: No module named 'found_later'")
    ]
    assert crew(module.square, [3])[0].result[0] == 9


def test_processes_end_with_what_asked_for_them(module, tmp_path):
    def stop(index, value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(module.work_for_ever, [str(tmp_path / "pid")], workers=1, on_report=stop)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} still runs")


@pytest.mark.parametrize("name", ["workers", "attempts"])
def test_numbers_out_of_range_are_refused(module, name):
    with pytest.raises(InputError, match=f"{name}=0 must be an integer at least 1"):
        run_tasks(module.square, [1], **{"workers": 1, name: 0})


def test_in_this_process(module, tmp_path):
    reports, known = [], []
    tasks = [(str(tmp_path), number, times) for number, times in enumerate((1, 2, 0))]
    outcomes = run_here(
        module.raise_at, tasks, on_outcome=lambda index, outcome: known.append((index, outcome))
    )
    assert outcomes == [Outcome(0), Outcome(failed="ValueError: 1 again"), Outcome(2)]
    # What failed once stood behind what had not been tried.
    assert [index for index, _ in known] == [2, 0, 1]
    assert [outcome for _, outcome in known] == [outcomes[2], outcomes[0], outcomes[1]]
    [outcome] = run_here(module.square, [3], on_report=lambda *told: reports.append(told))
    assert outcome.result == (9, os.getpid())
    assert reports == [(0, 1.5)]
    with pytest.raises(InputError, match="attempts=0 must be an integer at least 1"):
        run_here(module.square, [3], attempts=0)


def test_an_error_of_the_callers_own_ends_everything(module):
    def stop(index, outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_here(module.square, [1, 2], on_outcome=stop)
