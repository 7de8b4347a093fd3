"""A run's folder as it is named: whether it is one, and which names stand in it.

Without the settings, so that what only reads a table answers at once.
"""

import re
from pathlib import Path

from nas_spaces import InputError

__all__ = ["ALPHAS_FILE", "BLOCKS", "CONFIG", "DISTRIBUTION_FILE", "check_name", "check_run"]

CONFIG = "config.toml"
"""The file that makes a folder a run."""

BLOCKS = "blocks"
"""The folder of the run that searches the blocks first, where channels or bits follow."""

ALPHAS_FILE, DISTRIBUTION_FILE = "alphas.json", "distribution.json"
"""What a training learned of the architectures, in the folder ``train``."""


def check_run(path: Path) -> None:
    """Raise InputError where ``path`` holds no run."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name the folder of a run")
    if not (path / CONFIG).is_file():
        raise InputError(f"{path} holds no run; `nas train --out {path}` would begin one")


def check_name(name: str) -> None:
    """Raise InputError where the name of a search or ranking is no plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"--name {name!r} must be made of letters, digits, '_', '-' and '.'")
