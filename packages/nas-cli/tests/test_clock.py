import json
from types import SimpleNamespace

import pytest

import nas_cli.clock
from nas_cli.clock import Clock
from nas_cli.run import Run
from nas_spaces import InputError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run without events, in which no time passes but what is added to ``now``."""
    run = SimpleNamespace(path=tmp_path, now=0.0)
    run.event = lambda record: Run.event(run, record)
    monkeypatch.setattr(nas_cli.clock, "time", SimpleNamespace(monotonic=lambda: run.now))
    return run


def steps(run, stage="train", **seconds):
    for step, value in seconds.items():
        run.event({"event": "step", "stage": stage, "step": int(step[1:]), "seconds": value})


def test_time_adds_up_over_processes(run):
    clock = Clock(run, "search/main")
    run.now += 7.5
    assert clock.seconds() == 7.5
    clock.save()
    run.now += 100  # is lost
    clock = Clock(run, "search/main")
    run.now += 2
    assert clock.seconds() == 9.5
    assert Clock(run, "search/other").seconds() == 0


def test_what_is_done_again_counts_once(run):
    steps(run, s4=10, s8=20)
    steps(run, stage="retrain/main/winner", s6=3)
    clock = Clock(run, "train")
    assert clock.seconds() == 20  # where no step follows, as behind the last checkpoint
    run.now += 5
    clock.go_on(before=8)
    assert clock.seconds() == 15
    steps(run, s8=15, s12=19)
    clock = Clock(run, "train")
    clock.go_on(before=12)
    assert clock.seconds() == 15
    clock.go_on(before=4)
    assert clock.seconds() == 0


def test_events_of_before_there_was_a_time(run):
    run.event({"event": "step", "stage": "train", "step": 4})
    run.event({"event": "stage", "stage": "train", "status": "begun"})
    clock = Clock(run, "train")
    clock.go_on(before=8)
    assert clock.seconds() == 0


@pytest.mark.parametrize("line", ["{", "3", '{"stage": "train", "seconds": "long"}'])
def test_damaged_events_are_named(run, line):
    (run.path / "events.jsonl").write_text(json.dumps({"stage": "train"}) + "\n" + line + "\n")
    with pytest.raises(InputError, match=r"events\.jsonl, line 2 is malformed"):
        Clock(run, "train")
