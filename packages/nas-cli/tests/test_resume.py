"""A run that is killed at any moment and gone on with ends with the same bytes."""

import contextlib
import json
import random
import shutil
import tomllib

import pytest

from nas_samplers.workers import run_here

FILES = (
    "history.csv",
    "searches/main/history.csv",
    "searches/main/random.csv",
    "searches/main/result.json",
    "searches/main/retrain/result.json",
    "best/architecture.json",
    "best/model.safetensors",
    "train/checkpoint.safetensors",
    "config.toml",
)


def contents(run):
    return {name: (run / name).read_bytes() for name in FILES}


def events(run, *keys):
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [tuple(line.get(key) for key in keys) for line in lines]


def begun(run, stage):
    return events(run, "stage", "status").count((stage, "begun"))


def kill_until_done(forked, out, tiny, moments, limit):
    """Kill a run at every one of ``moments``, going on after each; return how often."""
    kills = 0
    while True:
        # Once its settings are written, a run needs no other option than its folder.
        settings = [] if (out / "config.toml").exists() else tiny()
        status, said = forked("pipeline", "--out", out, "--resume", *settings, kill=next(moments))
        if status == 0:
            return kills
        assert status < 0, said
        kills += 1
        assert kills < limit


def test_killed_before_files_are_replaced(forked, tiny, finished, tmp_path):
    rng = random.Random(0)
    # A process that is killed before it replaced three files may only repeat what was there.
    moments = iter(lambda: {"replace": rng.randint(5, 10)}, None)
    kills = kill_until_done(forked, tmp_path / "run", tiny, moments, 20)
    assert kills >= 3
    assert contents(tmp_path / "run") == contents(finished)


def test_killed_while_events_are_written(forked, tiny, finished, tmp_path):
    rng = random.Random(0)
    moments = iter(lambda: {"event": rng.randint(4, 8)}, None)
    kills = kill_until_done(forked, tmp_path / "run", tiny, moments, 20)
    assert kills >= 3
    assert contents(tmp_path / "run") == contents(finished)
    assert begun(tmp_path / "run", "train") < kills


def test_killed_after_random_times(forked, tiny, finished, tmp_path):
    rng = random.Random(0)
    # Longer and longer, so that a slow machine gets to the end as well.
    moments = ({"seconds": rng.uniform(0.3, 1.0) * 1.3**n} for n in range(100))
    kill_until_done(forked, tmp_path / "run", tiny, moments, 30)
    assert contents(tmp_path / "run") == contents(finished)


@pytest.mark.parametrize(
    ("stage", "kill"),
    [
        ("search/main", {"replace": 2, "file": "main/history.json"}),
        ("retrain/main/winner", {"replace": 2, "file": "winner/checkpoint.safetensors"}),
        ("retrain/main/winner", {"replace": 1, "file": "best/model.safetensors"}),
        ("retrain/main/random-1", {"replace": 1, "file": "random-1/result.json"}),
    ],
)
def test_finished_stages_are_not_repeated(forked, tiny, finished, tmp_path, stage, kill):
    run = tmp_path / "run"
    status, _ = forked("pipeline", "--out", run, *tiny(), kill=kill)
    assert status == -9
    [*_, (last, _)] = events(run, "stage", "status")
    assert last == stage
    status, said = forked("pipeline", "--out", run, "--resume")
    assert status == 0
    assert begun(run, "train") == 1
    assert begun(run, stage) == 2
    assert "supernet: trained already" in said
    assert contents(run) == contents(finished)


def lengthen(run, stage):
    """Make every time of a stage a million seconds a step, 4 where it tells none."""
    edited = []
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event.get("stage") == stage and "seconds" in event:
            event["seconds"] = 1e6 * event.get("step", 4)
        edited.append(json.dumps(event) + "\n")
    (run / "events.jsonl").write_text("".join(edited))


def seconds_of(run, stage):
    [seconds] = [last for *of, last in events(run, "stage", "status", "seconds")
                 if of == [stage, "finished"]]  # fmt: skip
    return seconds


@pytest.mark.parametrize(
    ("method", "stage", "state", "times"),
    [
        # The state of step 4 is there, and steps behind it are done again.
        ("spos", "train", "train/checkpoint.safetensors", 2),
        ("spos", "retrain/main/winner", "winner/checkpoint.safetensors", 2),
        ("spos", "search/main", "main/history.json", 2),
        # 2 steps of the largest network come before 8 of the supernet.
        ("ponas", "train", "train/checkpoint.safetensors", 4),
    ],
)
def test_seconds_are_those_of_all_processes(forked, tiny, tmp_path, method, stage, state, times):
    run, options = tmp_path / "run", tiny(baselines=0)
    if method == "ponas":
        options += ["--method", method, "--set", "meta.epochs=1", "--set", "meta.batch_size=144"]
    kill = {"replace": times, "file": state}
    assert forked("pipeline", "--out", run, *options, kill=kill)[0] == -9
    lengthen(run, stage)
    command = "train" if method == "ponas" else "pipeline"
    assert forked(command, "--out", run, "--resume")[0] == 0
    least = 10e6 if method == "ponas" else 4e6
    assert least < seconds_of(run, stage) < least + 1e6
    if stage == "train":
        found = json.loads((run / "train/summary.json").read_text())
        assert found["seconds"] == seconds_of(run, stage)


@pytest.mark.parametrize(
    ("stage", "state", "removed"),
    [
        ("train", "train/checkpoint.safetensors", "train"),
        ("search/main", "main/history.json", "searches"),
    ],
)
def test_what_is_begun_anew_has_a_time_of_its_own(forked, tiny, tmp_path, stage, state, removed):
    run, options = tmp_path / "run", tiny(baselines=0)
    kill = {"replace": 2, "file": state}
    assert forked("pipeline", "--out", run, *options, kill=kill)[0] == -9
    lengthen(run, stage)
    shutil.rmtree(run / removed)
    assert forked("pipeline", "--out", run, "--resume")[0] == 0
    assert seconds_of(run, stage) < 1e6


def test_a_finished_run_is_left_as_it_is(forked, finished):
    before, lines = contents(finished), (finished / "events.jsonl").read_bytes()
    status, said = forked("pipeline", "--out", finished, "--resume")
    assert status == 0
    assert "retrain main: finished already" in said
    assert contents(finished) == before
    assert (finished / "events.jsonl").read_bytes() == lines


def test_stage_by_stage_gives_the_same_files(nas, tiny, finished, tmp_path):
    run = tmp_path / "run"
    begun = nas("train", "--out", run, "--resume", *tiny())
    assert begun.exit_code == 0
    assert f"{run} holds no run yet: begins one" in begun.stderr.splitlines()
    assert "holds no run" not in nas("train", "--out", run, "--resume").stderr
    assert nas("search", run).exit_code == 0
    assert nas("retrain", run).exit_code == 0
    assert contents(run) == contents(finished)


ALONE = {
    "baselines": 0,
    "train__epochs": 0.3,
    "train__batch_size": 16,
    "search__population": 4,
    "search__generations": 2,
    "policy__batch": 4,
    "critic": "none",
    "candidates__workers": 1,
    "candidates__pool": "false",
    "candidates__finalists": 1,
}


@pytest.fixture
def executors(monkeypatch):
    """Executors that train here; the list has what each was asked for, and which were checked."""
    asked = []

    class Cluster:
        def __init__(self, address, workers, **_):
            self.asked = ("ray", address, workers)

        def __enter__(self):
            asked.append(self.asked)
            return run_here

        def __exit__(self, *_):
            pass

        def check(self):
            asked.append(("checked", *self.asked[1:]))

    @contextlib.contextmanager
    def processes(workers):
        asked.append(("processes", None, workers))
        yield run_here

    monkeypatch.setattr("nas_cli.evaluation.RayWorkers", Cluster)
    monkeypatch.setattr("nas_cli.evaluation.WorkerProcesses", processes)
    return asked


@pytest.fixture
def begun_alone(forked, tiny, tmp_path):
    """A run by fnas, killed in its search of candidates, with one worker."""
    out, kill = tmp_path / "run", {"replace": 1, "file": "main/history.json"}
    status, said = forked("pipeline", "--method", "fnas", "--out", out, *tiny(**ALONE), kill=kill)
    assert status == -9, said
    return out


@pytest.mark.parametrize("command", ["pipeline", "search"])
@pytest.mark.parametrize(
    "wanted", [("processes", None, 3), ("ray", "10.0.0.1:6379", 2)], ids=["processes", "ray"]
)
def test_a_search_goes_on_where_it_is_asked_to(nas, executors, begun_alone, command, wanted):
    out, known = begun_alone, begun_alone / "searches/main/search.json"
    settings = json.loads(known.read_text())
    where = {"executor", "address", "workers"}
    assert not where & set(settings["candidates"])
    # As nas-cli 0.6.2 and before it wrote them.
    before = tomllib.loads((out / "config.toml").read_text())["candidates"]
    assert (before["executor"], before["workers"]) == ("processes", 1)
    settings["candidates"] |= {"executor": "processes", "address": None, "workers": 1}
    known.write_text(json.dumps(settings))
    given = {"executor": wanted[0], "workers": wanted[2]}
    if wanted[1] is not None:
        given["address"] = wanted[1]
    options = [
        part for key, value in given.items() for part in ("--set", f"candidates.{key}={value}")
    ]
    folder = ["--out", out] if command == "pipeline" else [out]
    result = nas(command, *folder, "--resume", *options)
    assert result.exit_code == 0, result.output
    checked = {("checked", *wanted[1:])} if wanted[0] == "ray" else set()
    assert set(executors) == {wanted} | checked


def test_a_finished_search_needs_no_cluster(nas, executors, begun_alone):
    go_on = ("pipeline", "--out", begun_alone, "--resume")
    assert nas(*go_on).exit_code == 0
    gone = ["--set", "candidates.executor=ray", "--set", "candidates.address=10.0.0.1:6379"]
    assert nas(*go_on, *gone).exit_code == 0
    assert all(kind != "checked" for kind, *_ in executors)
