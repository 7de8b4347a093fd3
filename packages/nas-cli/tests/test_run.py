import json

import pytest

from nas_cli.run import open_run, read_json, start_run
from nas_spaces import InputError


@pytest.fixture
def begin():
    """Begin runs, and close them in the end."""
    runs = []

    def start(out, given=(), *, resume=False):
        runs.append(start_run(out, given, resume=resume))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def test_default_folders_are_numbered(begin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(begin(None).path) for _ in range(3)]
    assert names == [f"runs/spos-digits-mobile-{n}" for n in (1, 2, 3)]


def test_a_run_that_never_began_leaves_nothing(begin, tmp_path):
    begin(tmp_path / "new").close()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    begin(tmp_path / "old").close()
    assert list((tmp_path / "old").iterdir()) == []


def test_a_begun_run_is_kept_and_opened(begin, tmp_path):
    run = begin(tmp_path / "run", [{"seed": 3}])
    run.begin()
    run.close()
    again = open_run(tmp_path / "run")
    assert again.config == run.config
    assert again.config.seed == 3
    again.close()


def test_a_second_process_is_refused(begin, tmp_path):
    run = begin(tmp_path)
    with pytest.raises(InputError, match="another process is writing"):
        begin(tmp_path)
    run.begin()
    with pytest.raises(InputError, match="another process is writing"):
        open_run(tmp_path)
    run.close()
    open_run(tmp_path).close()


def test_what_a_killed_beginning_left_is_no_obstacle(begin, tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.toml.tmp").write_text("seed = ")
    begin(tmp_path).begin()
    assert (tmp_path / "config.toml").exists()


def test_another_run_is_not_touched(begin, tmp_path):
    run = begin(tmp_path)
    run.begin()
    run.close()
    before = (tmp_path / "config.toml").read_bytes()
    with pytest.raises(InputError, match="holds another run; go on with it by --resume"):
        begin(tmp_path, [{"seed": 3}])
    assert (tmp_path / "config.toml").read_bytes() == before


def test_resume_with_other_settings_says_what_differs(begin, tmp_path):
    run = begin(tmp_path)
    run.begin()
    run.close()
    with pytest.raises(InputError, match="made with other settings: seed is 0, received 3"):
        begin(tmp_path, [{"seed": 3}], resume=True)
    # The lock is free again, and another device is no other run.
    assert begin(tmp_path, [{"seed": 0}, {"device": "cuda:1"}], resume=True).config.device == (
        "cuda:1"
    )


def test_resume_needs_a_folder(begin):
    with pytest.raises(InputError, match="--resume needs --out"):
        begin(None, resume=True)


@pytest.mark.parametrize("given", [(), ({}, {"device": "cpu", "images": {"workers": 2}})])
def test_resume_begins_nothing_that_nobody_described(begin, tmp_path, given):
    with pytest.raises(InputError, match="new holds no run, and no setting is given to begin one"):
        begin(tmp_path / "new", given, resume=True)
    assert not (tmp_path / "new").exists()
    assert begin(tmp_path / "new", [{"seed": 0}], resume=True).made


def test_foreign_folders_are_refused(begin, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; name a folder"):
        begin(tmp_path / "file")
    for resume in (False, True):
        with pytest.raises(InputError, match="is not empty and holds no run"):
            begin(tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match="holds no run; `nas train --out"):
        open_run(tmp_path)


def test_a_torn_event_is_cut(begin, tmp_path):
    run = begin(tmp_path)
    run.begin()
    run.event({"event": "stage"})
    run.close()
    events = tmp_path / "events.jsonl"
    whole = events.read_bytes()
    events.write_bytes(whole + whole[:9])
    again = open_run(tmp_path)
    assert events.read_bytes() == whole
    again.event({"event": "step"})
    assert [json.loads(line)["event"] for line in events.read_text().splitlines()] == [
        "stage",
        "step",
    ]
    again.close()


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"y\.json is missing; restore it"):
        read_json(tmp_path / "y.json")
