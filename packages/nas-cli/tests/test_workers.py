import os
import time

import pytest

from nas_cli.workers import Outcome, run_tasks
from nas_spaces import InputError

# Importable by other processes, which a test file is not.
MODULE = """
import os
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


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "work_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import work_of_a_test

    return work_of_a_test


def test_results_come_in_the_order_of_the_tasks(module):
    reports, known = {}, []
    outcomes = run_tasks(
        module.square,
        [3, 1, 2, 5],
        workers=2,
        on_report=reports.__setitem__,
        on_outcome=lambda index, outcome: known.append((index, outcome.result[0])),
    )
    assert [outcome.result[0] for outcome in outcomes] == [9, 1, 4, 25]
    assert reports == {0: 1.5, 1: 0.5, 2: 1, 3: 2.5}
    assert sorted(known) == [(0, 9), (1, 1), (2, 4), (3, 25)]
    others = {outcome.result[1] for outcome in outcomes}
    assert len(others) == 2
    assert os.getpid() not in others


def test_no_tasks_need_no_process(module):
    assert run_tasks(module.square, [], workers=2) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [("die_at", "its process ended with exit code 7"), ("raise_at", "ValueError: 1 again")],
)
def test_a_task_is_tried_twice_and_the_others_go_on(module, tmp_path, name, reason):
    tasks = [(str(tmp_path), number, times) for number, times in enumerate((1, 2, 0, 0))]
    outcomes = run_tasks(getattr(module, name), tasks, workers=2)
    assert outcomes == [Outcome(0), Outcome(failed=reason), Outcome(2), Outcome(3)]


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
    with pytest.raises(InputError, match=f"{name}=0 must be at least 1"):
        run_tasks(module.square, [1], **{"workers": 1, name: 0})
