from types import SimpleNamespace

import pytest

import nas_cli.clock
from nas_cli.clock import Clock
from nas_cli.run import Run


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
    clock = Clock(run, "search/main", goes_on=False)
    run.now += 7.5
    assert clock.seconds() == 7.5
    clock.save()
    run.now += 100  # is lost
    clock = Clock(run, "search/main", goes_on=True)
    run.now += 2
    assert clock.seconds() == 9.5
    assert Clock(run, "search/other", goes_on=True).seconds() == 0
    assert Clock(run, "search/main", goes_on=False).seconds() == 0


def test_what_is_done_again_counts_once(run):
    steps(run, s4=10, s8=20)
    steps(run, stage="retrain/main/winner", s6=3)
    clock = Clock(run, "train", goes_on=True)
    assert clock.seconds() == 20  # where no step follows, as behind the last checkpoint
    run.now += 5
    assert clock.at(8) == 15
    run.now += 4
    assert clock.at(12) == 19
    steps(run, s8=15, s12=19)
    assert Clock(run, "train", goes_on=True).at(12) == 15
    assert Clock(run, "train", goes_on=True).at(4) == 0
    assert Clock(run, "train", goes_on=False).at(12) == 0


def test_events_of_before_there_was_a_time(run):
    run.event({"event": "step", "stage": "train", "step": 4})
    run.event({"event": "stage", "stage": "train", "status": "begun"})
    clock = Clock(run, "train", goes_on=True)
    assert (clock.seconds(), clock.at(8)) == (0, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"3",
        b"\xff\xfe\xfd",
        b'{"stage": "train", "seconds": "long"}',
        b'{"stage": "train", "seconds": NaN}',
        b'{"stage": "train", "seconds": 9, "step": 8',
    ],
)
def test_damaged_events_stop_nothing(run, line):
    steps(run, s4=10)
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    steps(run, s8=20)
    assert Clock(run, "train", goes_on=True).at(8) == 10
    assert Clock(run, "train", goes_on=True).seconds() == 20
