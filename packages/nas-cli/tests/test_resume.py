"""A run that is killed at any moment and gone on with ends with the same bytes."""

import json
import random

import pytest

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


def test_a_finished_run_is_left_as_it_is(forked, finished):
    before, lines = contents(finished), (finished / "events.jsonl").read_bytes()
    status, said = forked("pipeline", "--out", finished, "--resume")
    assert status == 0
    assert "retrain main: finished already" in said
    assert contents(finished) == before
    assert (finished / "events.jsonl").read_bytes() == lines


def test_stage_by_stage_gives_the_same_files(nas, tiny, finished, tmp_path):
    run = tmp_path / "run"
    assert nas("train", "--out", run, "--resume", *tiny()).exit_code == 0
    assert nas("search", run).exit_code == 0
    assert nas("retrain", run).exit_code == 0
    assert contents(run) == contents(finished)
