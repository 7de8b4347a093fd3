"""A run's folder as it is named: whether it is one, and which names stand in it.

Without the settings, so that what only reads a table answers at once, and `nas --help` too.
"""

import re
from pathlib import Path

__all__ = [
    "ALPHAS_FILE",
    "BLOCKS",
    "CONFIG",
    "DISTRIBUTION_FILE",
    "MAIN_SEARCH",
    "RESULT",
    "SEARCHES",
    "best_folder",
    "check_name",
    "check_run",
    "cure",
    "search_folder",
]

CONFIG = "config.toml"
"""The file that makes a folder a run."""

BLOCKS = "blocks"
"""The folder of the run that searches the blocks first, where channels or bits follow."""

SEARCHES = "searches"
"""The folder of the searches."""

MAIN_SEARCH = "main"
"""Name of the first search; its history and winner also stand at the top of the run."""

RESULT = "result.json"
"""What a search, a retraining or a ranking came to, in its folder; there once it is finished."""

ALPHAS_FILE, DISTRIBUTION_FILE = "alphas.json", "distribution.json"
"""What a training learned of the architectures, in the folder ``train``."""


def search_folder(run: Path, name: str) -> Path:
    """Return the folder of one search of the run in folder ``run``."""
    return run / SEARCHES / name


def best_folder(run: Path, name: str) -> Path:
    """Return the folder of the retrained winner of one search."""
    return run / "best" if name == MAIN_SEARCH else search_folder(run, name) / "best"


def cure(path: Path) -> str:
    """Return what makes a file of a run again that is missing or damaged.

    >>> cure(Path("a/searches/small/result.json"))
    'remove a/searches/small/result.json and go on by `nas search a --name small --resume`'
    >>> cure(Path("a/space.json"))
    'without it `nas train --resume --out a` writes it again'
    """
    *_, kind, name, _ = ("", "", *path.parts)
    if path.parent.name == "train":
        run = path.parent.parent
        return f"remove {path.parent} and train again by `nas train --resume --out {run}`"
    if path.parent.name == "retrain":
        folder = path.parent.parent
        return (
            f"remove {path} and go on by `nas retrain {folder.parent.parent} --name {folder.name}`"
        )
    if kind in (SEARCHES, "ranks"):
        command = "search" if kind == SEARCHES else "rank"
        # All other files are written again from the state, once the result is gone.
        return (
            f"remove {path.parent / RESULT} and go on by `nas {command} {path.parents[2]} "
            f"--name {name} --resume`"
        )
    if path.name == "space.json":
        return f"without it `nas train --resume --out {path.parent}` writes it again"
    return "restore it, or begin another run with another --out"


def check_run(path: Path) -> None:
    """Raise InputError where ``path`` holds no run."""
    from nas_spaces import InputError

    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name the folder of a run")
    if not (path / CONFIG).is_file():
        raise InputError(f"{path} holds no run; `nas train --out {path}` would begin one")


def check_name(name: str) -> None:
    """Raise InputError where the name of a search or ranking is no plain folder name."""
    from nas_spaces import InputError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"--name {name!r} must be made of letters, digits, '_', '-' and '.'")
