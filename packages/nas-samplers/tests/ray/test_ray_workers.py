import os
import socket
import sys
import time
from functools import partial

import numpy as np
import pytest

from nas_samplers import KnowledgePool, Optimiser, RayWorkers, StandaloneError, Training, load_data
from nas_samplers.workers import Outcome
from nas_spaces import InputError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'nas-samplers[ray]'")

# Importable by other processes, which a test file is not.
MODULE = """
import os
from pathlib import Path


def square(task, report):
    report(task / 2)
    return task * task, os.getpid()


def where(task, report):
    return os.getcwd()


def fail_at(task, report):
    folder, number, times, how = task
    for attempt in range(times):
        try:
            Path(folder, f"{number}-{attempt}").touch(exist_ok=False)
        except FileExistsError:
            continue
        if how == "die":
            os._exit(7)
        raise ValueError(f"{number} again")
    return number
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "work_on_ray.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        # Ray tells its workers where this process finds modules.
        patch.syspath_prepend(folder)
        import work_on_ray

        yield work_on_ray
    sys.modules.pop("work_on_ray")


@pytest.fixture(scope="module")
def run(module):
    """One local cluster for all tests: it takes seconds to start."""
    with RayWorkers(workers=2) as executor:
        yield executor


def test_results_come_in_the_order_of_the_tasks(run, module):
    known = []
    outcomes = run(
        module.square,
        [3, 1, 2, 5],
        on_report=lambda index, value: pytest.fail("reports stay on the workers"),
        on_outcome=lambda index, outcome: known.append((index, outcome.result[0])),
    )
    assert [outcome.result[0] for outcome in outcomes] == [9, 1, 4, 25]
    assert sorted(known) == [(0, 9), (1, 1), (2, 4), (3, 25)]
    assert os.getpid() not in {outcome.result[1] for outcome in outcomes}


def test_files_are_found_where_the_caller_finds_them(run, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(module.where, [0]) == [Outcome(str(tmp_path))]


def test_no_tasks(run, module):
    assert run(module.square, []) == []


def test_a_task_is_tried_twice_and_the_others_go_on(run, module, tmp_path):
    kinds = [("raise", 1), ("raise", 2), ("die", 1), ("die", 2), ("raise", 0)]
    tasks = [(str(tmp_path), number, times, how) for number, (how, times) in enumerate(kinds)]
    outcomes = run(module.fail_at, tasks)
    assert [outcome.result for outcome in outcomes] == [0, None, 2, None, 4]
    assert outcomes[1] == Outcome(failed="ValueError: 1 again")
    assert outcomes[3].failed.startswith("WorkerCrashedError: ")
    assert len(outcomes[3].failed.splitlines()) == 1


def test_a_task_that_cannot_be_read_fails(run, module):
    class Here:
        def __reduce__(self):
            return (os.path.realpath, (3,))  # an error where it is unpickled

    [outcome] = run(module.square, [Here()])
    assert outcome.failed.startswith("TypeError: ")


def test_candidates_are_the_same_wherever_they_are_trained(run, space, tmp_path):
    def metric(folder, **options):
        return StandaloneError(
            space=space,
            images=partial(load_data, "synthetic", resolution=8, device="cpu", seed=0),
            training=Training(optimiser=Optimiser(lr=0.3), batch_size=32, steps=16),
            folder=tmp_path / folder,
            seed=0,
            pool=KnowledgePool(),
            task="synthetic",
            **options,
        )

    here, there = metric("here"), metric("there", executor=run)
    for rows in ([[0, 1, 0], [1, 0, 1]], [[0, 0, 0]]):
        np.testing.assert_array_equal(there(rows), here(rows))
    assert there.hits == here.hits > 0
    here.pool.save(tmp_path / "here.safetensors")
    there.pool.save(tmp_path / "there.safetensors")
    saved = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("here", "there")]
    assert saved[0] == saved[1]


def test_a_cluster_that_is_there_is_used_and_left_as_it_is(run, module):
    with RayWorkers() as other:
        assert other(module.square, [4])[0].result[0] == 16
    assert ray.is_initialized()
    assert run(module.square, [5])[0].result[0] == 25


def test_another_cluster_cannot_be_asked_for(run, module):
    assert run(module.square, [5])[0].result[0] == 25
    elsewhere = RayWorkers("127.0.0.1:1")
    with pytest.raises(InputError, match=r"^address='127\.0\.0\.1:1': this process is connected"):
        elsewhere(module.square, [4])


def test_what_the_caller_raises_ends_the_tasks(run, module, tmp_path):
    def stop(index, outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(module.square, [1, 2, 3], on_outcome=stop)
    assert run(module.square, [6])[0].result[0] == 36


@pytest.fixture
def no_cluster(monkeypatch):
    """Ray as it would be without the cluster of these tests; what it is told is in the list."""
    told = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **settings: told.append(settings))
    monkeypatch.setattr(ray, "shutdown", lambda: told.append("shutdown"))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 3.0})
    return told


def test_more_than_the_machine_has(no_cluster):
    with pytest.raises(InputError, match=r"^gpus=0\.5 a task, and this machine has 0 for Ray; ask"):
        RayWorkers(workers=5, cpus=0.5, gpus=0.5)(print, [1])
    settings, ended = no_cluster
    assert (settings["address"], settings["num_cpus"], ended) == ("local", 3, "shutdown")
    with pytest.raises(InputError, match=r"^cpus=4 a task, and this machine has 3 for Ray; ask"):
        RayWorkers(cpus=4)(print, [1])


def test_no_cluster_there(no_cluster, monkeypatch):
    def init(address, **_):
        raise ConnectionError(f"nobody listens at {address}\nand so on")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        InputError, match=r"at address='auto' that lets .* \(nobody listens at auto"
    ):
        RayWorkers("auto")(print, [1])


@pytest.fixture
def closed():
    """An address where nobody listens."""
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{there.getsockname()[1]}"


@pytest.mark.parametrize("how", ["called", "checked", "by Ray's variable"])
def test_nobody_at_the_address_is_said_at_once(no_cluster, monkeypatch, closed, how):
    address = closed
    if how == "by Ray's variable":
        monkeypatch.setenv("RAY_ADDRESS", closed)
        address = "auto"
    executor, begun = RayWorkers(address), time.monotonic()
    with pytest.raises(InputError, match=rf"no Ray cluster at address='{closed}' \(.*refused"):
        executor.check() if how == "checked" else executor(print, [1])
    assert time.monotonic() - begun < 5
    assert no_cluster == []


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "no.such.machine.invalid:6379", "a..b:1"])
def test_an_address_that_cannot_be(no_cluster, address):
    with pytest.raises(InputError, match=f"there is no Ray cluster at address='{address}'"):
        RayWorkers(address).check()
    assert no_cluster == []


def test_ray_client_by_ray_s_variable(no_cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://host:10001")
    with pytest.raises(InputError, match=r"address='ray://host:10001': Ray Client is not support"):
        RayWorkers("auto").check()


def test_a_check_leaves_the_cluster_again(no_cluster):
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
        RayWorkers(address).check()
    settings, ended = no_cluster
    assert (settings["address"], ended) == (address, "shutdown")


def test_a_check_leaves_what_is_in_use(run, module):
    assert run(module.square, [5])[0].result[0] == 25
    run.check()
    RayWorkers().check()
    assert ray.is_initialized()
    assert run(module.square, [6])[0].result[0] == 36


def test_more_than_a_cluster_that_is_joined_has(no_cluster):
    with pytest.warns(UserWarning, match=r"^gpus=1 a task, and the cluster has 0: tasks wait unti"):
        RayWorkers("auto", gpus=1).check()
