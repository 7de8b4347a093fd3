"""The folder of a run: settings, events, and who writes to it."""

import fcntl
import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from attrs import evolve, field, frozen

from nas_cli.config import Config, differences, read_config, resolve, to_toml
from nas_spaces import InputError, replace_file

__all__ = ["MAIN_SEARCH", "Run", "check_name", "open_run", "read_json", "start_run", "write_json"]

MAIN_SEARCH = "main"
"""Name of the first search; its history and winner also stand at the top of the run."""


@frozen(eq=False)
class Run:
    """A run's folder.

    ``path``: the folder. ``config``: all settings. ``lock``: an open file that keeps a second
    process from writing here; it is free again when this process ends, however it ends.
    """

    path: Path
    config: Config
    lock: IO[str] = field(repr=False)

    @property
    def train(self) -> Path:
        """The supernet's folder."""
        return self.path / "train"

    def search(self, name: str) -> Path:
        """Return the folder of one search."""
        return self.path / "searches" / name

    def best(self, name: str) -> Path:
        """Return the folder of the retrained winner of one search."""
        return self.path / "best" if name == MAIN_SEARCH else self.search(name) / "best"

    def configured(self, config: Config) -> "Run":
        """Return the same run with other settings in force; nothing is written."""
        return evolve(self, config=config)

    def event(self, record: Mapping[str, Any]) -> None:
        """Append one line to ``events.jsonl``."""
        line = json.dumps({**record, "time": round(time.time(), 3)}) + "\n"
        with (self.path / "events.jsonl").open("a") as file:
            file.write(line)


def check_name(name: str) -> None:
    """Raise InputError where a search's name is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"--name {name!r} must be made of letters, digits, '_', '-' and '.'")


def write_json(path: Path, value: Any) -> None:
    """Replace the JSON file at ``path`` in one step, making its folder where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        InputError: a file that is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it and resume the run") from error


def start_run(out: Path | None, overrides: Iterable[Mapping[str, Any]], *, resume: bool) -> Run:
    """Begin a run in ``out``, or go on with the one that is there.

    Args:
        out: the folder; None takes the first free ``runs/METHOD-SPACE-N``.
        overrides: settings that were given, the later ones count.
        resume: go on with the run in ``out``; where there is none, begin it.

    Raises:
        InputError: a folder that holds something else, a run without ``resume``, or settings
            that differ from those of the run.
        OSError: the folder cannot be written.
    """
    given = list(overrides)
    if out is None and resume:
        raise InputError("--resume needs --out, the folder of the run to go on with")
    if out is not None and (out / "config.toml").exists():
        if not resume:
            raise InputError(
                f"--out {out} holds another run; go on with it by --resume, or name another folder"
            )
        run = open_run(out)
        changed = differences(run.config, given)
        if changed:
            raise InputError(
                f"--resume: {out} was made with other settings: {'; '.join(changed)}; leave them "
                "out, or begin another run with another --out"
            )
        return run
    config = resolve(given)
    if out is None:
        stem = f"{config.method}-{Path(config.space).stem}"
        out = next(p for n in range(1, 10**6) if not (p := Path("runs") / f"{stem}-{n}").exists())
    elif out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    elif out.exists() and any(path.name != ".lock" for path in out.iterdir()):
        raise InputError(f"--out {out} is not empty and holds no run; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    lock = _lock(out)
    replace_file(out / "config.toml", to_toml(config))
    return Run(out, config, lock)


def open_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        InputError: no run there, damaged settings, or another process that writes to it.
    """
    if not (path / "config.toml").is_file():
        raise InputError(f"{path} holds no run; `nas train --out {path}` would begin one")
    lock = _lock(path)
    _cut_torn_line(path / "events.jsonl")
    return Run(path, read_config(path / "config.toml"), lock)


def _lock(path: Path) -> IO[str]:
    lock = (path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise InputError(f"another process is writing to {path}; wait for it or stop it") from error
    return lock


def _cut_torn_line(path: Path) -> None:
    """Remove the part of a last line that a killed process left behind."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
