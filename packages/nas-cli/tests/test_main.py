import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nas_cli.training
import nas_cli.workshop
from nas_cli.config import read_config
from nas_cli.limits import build_limits
from nas_cli.run import open_run
from nas_spaces import from_json


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    "args", [["--help"], ["pipeline", "--help"], ["cost", "spos-readme"], ["spaces"], ["settings"]]
)
def test_what_computes_nothing_does_not_import_torch(args):
    said = python(
        "import sys\n"
        "from nas_cli.main import main\n"
        f"try: main({args!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    ).stdout
    loaded = said.splitlines()[-1].split()
    assert loaded[0] == "LOADED"
    assert not {"torch", "torchvision", "scipy", "plotly"} & set(loaded)
    if "--help" in args:
        assert not {"numpy", "nas_spaces", "rich"} & set(loaded)


def test_help_names_the_commands_in_the_order_of_their_use(nas):
    lines = nas("--help").stdout.split("Commands:\n")[1].splitlines()
    commands = ["pipeline", "train", "search", "specialize", "retrain", "rank", "report", "export"]
    commands += ["compare", "spaces", "cost", "settings"]
    assert [line.split()[0] for line in lines] == commands
    assert not [line for line in lines if line.endswith("...")]


def test_json_of_a_pipeline_is_alone_on_standard_output(nas, finished):
    result = nas("pipeline", "--resume", "--out", finished, "--json")
    said = json.loads(result.stdout)
    assert said["run"] == str(finished)
    assert said["search"]["winner"] == said["candidates"][0]["architecture"]
    assert [one["name"] for one in said["candidates"]] == ["winner", "random-1", "random-2"]
    assert Path(said["report"]).is_file()
    assert "digits: 10 classes" in result.stderr


@pytest.mark.parametrize(
    ("command", "key"),
    [("train", "path_counts"), ("search", "winner"), ("retrain", "candidates"), ("report", "run")],
)
def test_json_of_the_stages_is_alone_on_standard_output(nas, finished, command, key):
    resume = ["--resume", "--out"] if command == "train" else ["--resume"]
    args = [finished] if command == "report" else [*resume, finished]
    said = json.loads(nas(command, *args, "--json").stdout)
    assert said["run"] == str(finished)
    assert key in said


def test_the_end_names_result_folder_and_next_command(nas, finished):
    result = nas("pipeline", "--resume", "--out", finished)
    lines = result.stdout.splitlines()
    end = lines[next(i for i, line in enumerate(lines) if line.startswith("winner: ")) :]
    assert [line.split(":")[0].strip() for line in (end[0], *end[-4:])] == [
        "winner",
        "report",
        "run",
        "export",
        "next",
    ]
    # Below the winner's row, what it stands for.
    row = end[0].removeprefix("winner: ").split(", weights in ")[0]
    decoded = nas("cost", "digits-mobile", row).stdout.splitlines()[1 : len(end) - 4]
    assert [line.strip() for line in end[1:-4]] == [line.strip() for line in decoded]
    assert end[1].startswith("        stage1: ")
    assert lines[-4:-1] == [
        f"report: {finished}/report.html",
        f"run:    {finished}",
        f"export: nas export {finished}",
    ]
    # The supernet was trained on paths around the limit: smaller networks need another one.
    command = f"next:   nas pipeline --config {finished}/config.toml --limit 'macs<="
    assert lines[-1].startswith(command)
    # The command that is proposed has something to find, and something smaller.
    space = from_json((finished / "space.json").read_text())
    limit = lines[-1].removeprefix(command).removesuffix("'")
    [smaller] = build_limits(space, (f"macs<={limit}",)).limits
    found = json.loads((finished / "searches/main/result.json").read_text())
    assert smaller.upper < found["values"]["macs"]
    assert "2 random architectures" in " ".join(lines)
    assert "95% interval" in " ".join(lines)
    assert [line for line in result.stderr.splitlines() if "already" in line] == [
        "supernet: trained already",
        "search main: finished already",
        "retrain main: finished already",
    ]


def test_a_pipeline_says_what_it_does(nas, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = nas("pipeline", "--seed", "1", "--limit", "macs<=400k", *tiny(baselines=0)).stderr
    for line in (
        "method:   spos on cpu, seed 1",
        "data:     digits: 10 classes; 240 images to train, 60 to search, 359 to test",
        "space:    digits-mobile: 200,000 architectures, images 1 x 8 x 8",
        "limit:    macs <= 400,000 multiply-adds",
        "run:      runs/spos-digits-mobile-1",
        "supernet: trains paths of 351,515 to 436,364 multiply-adds (macs), 7 ranges equally often",
        "supernet: 15 steps",
        "search main: 16 architectures",
        "search main, random: 16 architectures",
        "retrain winner (1 of 1): 9 steps",
    ):
        assert line in said.splitlines()
    assert (tmp_path / "runs/spos-digits-mobile-1/best/model.safetensors").exists()


def test_same_seed_same_files_and_another_seed_another_history(nas, tiny, finished, tmp_path):
    files = ("history.csv", "searches/main/random.csv", "best/model.safetensors")
    nas("pipeline", "--out", tmp_path / "same", *tiny())
    for name in files:
        assert (tmp_path / "same" / name).read_bytes() == (finished / name).read_bytes()
    nas("pipeline", "--out", tmp_path / "other", "--seed", "1", *tiny())
    for name in files:
        assert (tmp_path / "other" / name).read_bytes() != (finished / name).read_bytes()


def test_file_then_options_then_set(nas, tiny, tmp_path):
    file = tmp_path / "some.toml"
    file.write_text("seed = 1\nbaselines = 7\n[train]\nlr = 0.125\nwarmup = 0.5\n")
    options = ["--config", file, "--seed", "2", "--out", tmp_path / "run"]
    assert nas("train", *options, *tiny(train__lr=0.25)).exit_code == 0
    config = read_config(tmp_path / "run" / "config.toml")
    assert (config.seed, config.train.lr, config.train.warmup) == (2, 0.25, 0.5)
    assert config.baselines == 2


def test_resolved_settings_repeat_the_run(nas, trained, tmp_path):
    assert (
        nas("train", "--config", trained / "config.toml", "--out", tmp_path / "again").exit_code
        == 0
    )
    for name in ("config.toml", "space.json", "data.json", "train/checkpoint.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes()


def stop(*_, **__):
    raise KeyboardInterrupt


def test_stopped_by_the_keyboard(nas, tiny, tmp_path, monkeypatch):
    out = tmp_path / "a run"
    with monkeypatch.context() as patch:
        patch.setattr(nas_cli.training, "train", stop)
        result = nas("pipeline", "--out", out, *tiny())
    assert result.exit_code == 130
    assert result.stderr.endswith(f"stopped; go on with: nas pipeline --resume --out '{out}'\n")
    assert nas("train", "--out", out, "--resume").exit_code == 0


def test_stopped_before_the_run_began(nas, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(nas_cli.workshop, "load_data", stop)
    result = nas("pipeline", "--out", tmp_path / "run", *tiny())
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "stopped")
    assert not (tmp_path / "run").exists()


def test_a_stopped_search_and_retraining_say_how_to_go_on(nas, trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("nas_search.search", stop)
        result = nas("search", run, "--name", "half", "--limit", "macs<=30%")
    assert result.exit_code == 130
    assert f"go on with: nas search {run} --name half --resume" in result.stderr
    assert nas("search", run, "--name", "half", "--resume").exit_code == 0
    # What says only where it is computed is not kept with the search, and so is said again.
    with monkeypatch.context() as patch:
        patch.setattr("nas_search.search", stop)
        given = ("--set", "candidates.workers = 2", "--set", "search.generations=3")
        result = nas("search", run, "--name", "more", *given)
    said = f"go on with: nas search {run} --name more --set 'candidates.workers = 2' --resume\n"
    assert result.stderr.endswith(said)
    with monkeypatch.context() as patch:
        patch.setattr(nas_cli.training, "train", stop)
        result = nas("retrain", run, "--name", "half")
    assert result.exit_code == 130
    assert f"go on with: nas retrain {run} --name half" in result.stderr


def test_a_full_disk_loses_nothing(nas, tiny, finished, tmp_path, monkeypatch):
    out = tmp_path / "run"
    sync, left = os.fsync, [6]

    def fill(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill)
        result = nas("pipeline", "--out", out, *tiny())
    assert result.exit_code == 2
    assert f"the disk is full; make room; go on with: nas pipeline --resume --out {out}" in (
        result.stderr
    )
    assert not list(out.rglob("*.tmp"))
    assert nas("pipeline", "--out", out, "--resume").exit_code == 0
    for name in ("history.csv", "best/model.safetensors"):
        assert (out / name).read_bytes() == (finished / name).read_bytes()


def test_a_folder_that_cannot_be_made(nas, tmp_path):
    (tmp_path / "file").write_text("x")
    result = nas("pipeline", "--out", tmp_path / "file" / "run")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path}/file/run: Not a directory\n"


def test_the_lock_is_free_after_every_command(nas, finished):
    nas("search", finished)
    nas("retrain", finished, "--weights", "no.safetensors")
    open_run(finished).close()


def test_the_run_is_locked_while_a_command_works(nas, finished):
    run = open_run(finished)
    for command in (["search", finished], ["train", "--resume", "--out", finished]):
        result = nas(*command)
        assert result.exit_code == 2
        assert "another process is writing" in result.stderr
    # Reading is always possible.
    assert nas("report", finished).exit_code == 0
    run.close()


def test_other_errors_are_not_hidden(nas, tiny, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(nas_cli.workshop, "load_data", fail)
    with pytest.raises(ValueError, match="a mistake of ours"):
        nas("pipeline", "--out", tmp_path / "run", *tiny())
