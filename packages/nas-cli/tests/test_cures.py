"""What errors about a run's files propose makes the files again."""

import re
import shlex
import shutil
from pathlib import Path

import pytest


def follow(nas, said, run):
    """Do what an error says: remove files and folders, run the last command that it names."""
    said = " ".join(said.split())
    for path in map(Path, re.findall(rf"(?:remove|and) ({re.escape(str(run))}/[\w./-]+)", said)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if "remove it where it is left" in said:
        Path(re.search(rf"{re.escape(str(run))}/[\w./-]+", said)[0]).unlink(missing_ok=True)
    command = re.findall(r"`nas ([^`]+)`", said)[0]
    result = nas(*shlex.split(command))
    assert result.exit_code == 0, f"{said}\n{result.output}"


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("space.json", "report"),
        ("data.json", "export"),
        ("best/architecture.json", "export"),
        ("best/model.safetensors", "export"),
        ("train/summary.json", "report"),
        ("searches/main/search.json", "report"),
        ("searches/main/search.json", "retrain"),
        ("searches/main/search.json", "pipeline --resume --out"),
        ("searches/main/result.json", "retrain"),
        ("searches/main/history.csv", "report"),
        ("searches/main/retrain/result.json", "report"),
        ("searches/main/retrain/settings.json", "retrain"),
    ],
)
def test_a_file_is_made_again(nas, finished, tmp_path, name, command, damage):
    run = shutil.copytree(finished, tmp_path / "run")
    path = run / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    words = [*command.split(), str(run)]
    result = nas(*words)
    if result.exit_code == 0:
        assert damage == "gone"  # as before a stage has written it
        return
    assert result.exit_code == 2
    assert damage == "gone" or str(path) in result.output
    follow(nas, result.output, run)
    again = nas(*words)
    assert again.exit_code == 0, f"{result.output}\n{again.output}"
    # Of a retraining that is finished, nothing needs its settings any more.
    assert path.exists() or name == "searches/main/retrain/settings.json"


@pytest.mark.parametrize("name", ["history.json", "random.json", "search.json"])
def test_the_state_of_a_search_is_made_again(nas, finished, tmp_path, name):
    run = shutil.copytree(finished, tmp_path / "run")
    folder = run / "searches/main"
    (folder / "result.json").unlink()
    whole = (folder / name).read_text()
    (folder / name).write_text(whole[: len(whole) // 2])
    said = nas("search", run, "--resume")
    assert said.exit_code == 2
    assert f"{folder / name} is damaged" in said.output
    follow(nas, said.output, run)
    result = "searches/main/result.json"
    assert (run / result).read_bytes() == (finished / result).read_bytes()
