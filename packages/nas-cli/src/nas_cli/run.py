"""The folder of a run: settings, events, and who writes to it."""

import contextlib
import fcntl
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from attrs import define, field

from nas_cli.config import differences, override, read_config, resolve, to_toml
from nas_cli.folder import BLOCKS, CONFIG, RANKS, best_folder, check_run, cure, search_folder
from nas_cli.seal import sealed
from nas_cli.settings import WHERE, Config
from nas_cli.space_names import short_name
from nas_cli.typed import flatten
from nas_spaces import InputError, replace_file

__all__ = [
    "Run",
    "lock_folder",
    "new_folder",
    "open_run",
    "read_json",
    "start_run",
    "write_json",
]

LOCK = ".lock"
# What a process that was killed before it began may have left.
REMAINS = {LOCK, f".{CONFIG}.tmp"}


@define(eq=False)
class Run:
    """A run's folder, locked for this process.

    ``path``: the folder. ``config``: the settings in force. ``lock``: an open file that keeps a
    second process from writing here; it is free again when this process ends, however it ends.
    ``made``: whether this process made the folder.
    """

    path: Path
    config: Config
    lock: IO[str] = field(repr=False)
    made: bool = False

    @property
    def begun(self) -> bool:
        """Whether the settings are written, so that the run can be gone on with."""
        return (self.path / CONFIG).exists()

    def begin(self) -> None:
        """Write the settings, unless that is done."""
        if not self.begun:
            replace_file(self.path / CONFIG, sealed(to_toml(self.config)))

    def close(self) -> None:
        """Let other processes write here; a run that never began leaves nothing behind."""
        if not self.begun:
            (self.path / LOCK).unlink(missing_ok=True)
            if self.made:
                with contextlib.suppress(OSError):  # somebody else has put something into it
                    self.path.rmdir()
        self.lock.close()

    @property
    def train(self) -> Path:
        """The supernet's folder."""
        return self.path / "train"

    @property
    def checkpoint(self) -> Path:
        """The state of the supernet's training, and what it comes to; there once it has begun."""
        return self.train / "checkpoint.safetensors"

    def search(self, name: str) -> Path:
        """Return the folder of one search."""
        return search_folder(self.path, name)

    def retrain(self, name: str) -> Path:
        """Return the folder of the retraining of one search's winner."""
        return self.search(name) / "retrain"

    def best(self, name: str) -> Path:
        """Return the folder of the retrained winner of one search."""
        return best_folder(self.path, name)

    def rank(self, name: str) -> Path:
        """Return the folder of one ranking."""
        return self.path / RANKS / name

    def event(self, record: Mapping[str, Any]) -> None:
        """Append one line to ``events.jsonl``."""
        line = json.dumps({**record, "time": round(time.time(), 3)}) + "\n"
        with (self.path / "events.jsonl").open("a") as file:
            file.write(line)


def write_json(path: Path, value: Any) -> None:
    """Replace the JSON file at ``path`` in one step, making its folder where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        InputError: a file that is missing or damaged, or that lacks one of ``keys``.
    """
    try:
        value = json.loads(path.read_text())
        missing = [key for key in keys if not isinstance(value, dict) or key not in value]
        if missing or not isinstance(value, dict):
            what = f"it lacks {', '.join(missing)}" if missing else "it holds no object"
            raise InputError(f"{path} is damaged ({what}); {cure(path)}")
        return value
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {cure(path)}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); {cure(path)}") from error


def start_run(out: Path | None, overrides: Iterable[Mapping[str, Any]], *, resume: bool) -> Run:
    """Begin a run in ``out``, or go on with the one that is there.

    Args:
        out: the folder; None takes the first free ``runs/METHOD-SPACE-N``.
        overrides: settings that were given, the later ones count.
        resume: go on with the run in ``out``; where there is none, begin it, if any setting of it
            is given.

    Raises:
        InputError: a folder that holds something else, a run without ``resume``, no run and
            nothing to begin it with, or settings that differ from those of the run.
        OSError: the folder cannot be written.
    """
    given = list(overrides)
    if out is None:
        if resume:
            raise InputError("--resume needs --out, the folder of the run to go on with")
        config = resolve(given)
        out = new_folder(f"{config.method}-{Path(short_name(config.space)).stem}")
        return Run(out, config, lock_folder(out), made=True)
    if (out / CONFIG).exists():
        if not resume:
            raise InputError(
                f"--out {out} holds another run; go on with it by --resume, or name another folder"
            )
        run = open_run(out)
        asked = override(run.config, given)
        changed = differences(run.config, asked)
        if changed:
            run.close()
            raise InputError(
                f"--resume: {out} was made with other settings: {'; '.join(changed.values())}; "
                "leave them out, or begin another run with another --out"
            )
        run.config = asked
        return run
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if out.exists() and not _is_empty(out):
        raise InputError(f"--out {out} is not empty and holds no run; choose another folder")
    if resume and all(key in WHERE for one in given for key in flatten(one)):
        # A run of the defaults is hardly what was stopped, or what a mistyped folder has.
        raise InputError(
            f"--resume: {out} holds no run, and no setting is given to begin one with; check the "
            "name of the folder, or give the options of the run, such as --method"
        )
    config = resolve(given)
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    return Run(out, config, lock_folder(out), made)


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a process left that was killed before it began."""
    names = {path.name for path in folder.iterdir()} - REMAINS
    if names != {BLOCKS} or not (folder / BLOCKS).is_dir():
        return not names
    return not {path.name for path in (folder / BLOCKS).iterdir()} - REMAINS


def open_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        InputError: no run there, damaged settings, or another process that writes to it.
    """
    check_run(path)
    config = read_config(path / CONFIG)
    lock = lock_folder(path)
    _cut_torn_line(path / "events.jsonl")
    return Run(path, config, lock)


def new_folder(stem: str) -> Path:
    """Make the first folder ``runs/STEM-N`` that is free; two processes never get the same."""
    number = 1
    while True:
        path = Path("runs") / f"{stem}-{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


def lock_folder(path: Path) -> IO[str]:
    """Return an open file that keeps other processes from writing to a folder until it is closed.

    Raises:
        InputError: another process has it.
    """
    lock = (path / LOCK).open("w")
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
