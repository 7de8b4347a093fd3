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
    "RANKS",
    "RANK_SETTINGS",
    "RESULT",
    "SEARCHES",
    "SEARCH_SETTINGS",
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

RANKS = "ranks"
"""The folder of the rankings."""

SEARCH_SETTINGS, RANK_SETTINGS = "search.json", "settings.json"
"""What a search and a ranking were begun with, in their folders."""

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
    >>> cure(Path("a/searches/small/search.json"))
    'remove a/searches/small and search again by `nas search a --name small`'
    >>> cure(Path("a/searches/small/retrain/winner/result.json"))
    'remove a/searches/small/retrain/winner/result.json and go on by `nas retrain a --name small`'
    >>> cure(Path("a/space.json"))
    'remove it where it is left, and `nas train --resume --out a` writes it again'
    """
    folder = path.parent
    if folder.name == "train":
        return f"remove {folder} and train again by `nas train --resume --out {folder.parent}`"
    retrain = next((one for one in (folder, folder.parent) if one.name == "retrain"), None)
    if retrain is not None:
        run, name = retrain.parents[2], retrain.parent.name
        return f"remove {path} and go on by `nas retrain {run} --name {name}`"
    if folder.parent.name in (SEARCHES, RANKS):
        run, command = folder.parents[1], "search" if folder.parent.name == SEARCHES else "rank"
        again = f"`nas {command} {run} --name {folder.name}"
        if path.name == (SEARCH_SETTINGS if command == "search" else RANK_SETTINGS):
            what = " and what it is held against" if command == "rank" else ""
            return f"remove {folder} and {command} again by {again}`{what}"
        # All other files are written again from the state, once the result is gone.
        result = folder / RESULT
        state = path.suffix == ".json" and path != result
        gone = [str(path)] * state + [str(result)] * (result.exists() or not state)
        return f"remove {' and '.join(gone)} and go on by {again} --resume`"
    if path.name in ("space.json", "data.json"):
        # What follows blocks begins only behind their search.
        command = "pipeline" if (folder / BLOCKS).is_dir() else "train"
        return (
            f"remove it where it is left, and `nas {command} --resume --out {folder}` writes it "
            "again"
        )
    return "restore it, or begin another run with another --out"


def check_run(path: Path) -> None:
    """Raise InputError where ``path`` holds no run."""
    from nas_spaces import InputError

    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name the folder of a run")
    if not (path / CONFIG).is_file():
        free = not path.exists() or not any(path.iterdir())
        hint = f"; `nas train --out {path}` would begin one" if free else f": no {CONFIG}"
        raise InputError(f"{path} holds no run{hint}")


def check_name(name: str) -> None:
    """Raise InputError where the name of a search or ranking is no plain folder name."""
    from nas_spaces import InputError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"--name {name!r} must be made of letters, digits, '_', '-' and '.'")
