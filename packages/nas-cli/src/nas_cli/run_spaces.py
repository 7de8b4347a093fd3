"""The search space of a run as its folder has it: begun with, blocks found, candidates left."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_cli.alphas_file import read_last_alphas
from nas_cli.folder import ALPHAS_FILE, BLOCKS, CONFIG, MAIN_SEARCH, RESULT, cure, search_folder
from nas_cli.module_spaces import is_module
from nas_cli.space_names import fix_first, split_changes
from nas_cli.spaces import load_space
from nas_spaces import InputError, SearchSpace, from_json
from nas_spaces.layers import LAYERS

__all__ = ["blocks_of", "check_winner", "live_space", "settled_name", "stored_space"]


def blocks_of(run: Path) -> tuple[int, ...] | None:
    """Return the blocks that a run has searched first, a row; None where it has not.

    Raises:
        InputError: a damaged result.
    """
    path = search_folder(run / BLOCKS, MAIN_SEARCH) / RESULT
    if not path.exists() or not _blocks_come_first(run / CONFIG):
        return None
    try:
        return tuple(int(option) for option in json.loads(path.read_text())["winner"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); {cure(path)}") from error


def _blocks_come_first(path: Path) -> bool:
    """Whether the settings of a run say that blocks are searched first."""
    try:
        return bool(tomllib.loads(path.read_text()).get("blocks", "none") != "none")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: {error}") from error


def check_winner(path: Path, winner: Any, space: SearchSpace) -> NDArray[np.int64]:
    """Return what a search's result has as its winner as a row int64 ``[d]`` of a space.

    Raises:
        InputError: it is none; the message names ``path``, the result's file, and the cure.
    """
    try:
        row: NDArray[np.int64] = space.check([winner])[0]
    except InputError as error:
        raise InputError(f"{path} is damaged (winner: {error}); {cure(path)}") from error
    return row


def settled_name(run: Path, name: str) -> str:
    """Return a run's setting ``space`` with the blocks that the run has searched first.

    Raises:
        InputError: see `blocks_of`.
    """
    blocks = blocks_of(run)
    return name if blocks is None else fix_first(name, blocks)


def live_space(run: Path, space: SearchSpace) -> SearchSpace:
    """Return ``space`` without the candidates that a run's training dropped, with its numbering.

    They were no longer trained, so that with the supernet's weights nothing can be said of them.

    Raises:
        InputError: a damaged file of architecture parameters.
    """
    path = run / "train" / ALPHAS_FILE
    if not path.exists():
        return space
    _, alive = read_last_alphas(path, space)
    return space if (alive == space.mask).all() else space.restrict(alive)


def stored_space(run: Path, name: str) -> SearchSpace:
    """Return the space that a run was begun with, whatever has become of where it came from.

    Args:
        run: the run's folder, with ``space.json`` and ``data.json``.
        name: the run's setting ``space``. Layers of one's own have no name that JSON could say:
            then the module is needed, and must still hold the same space.

    Raises:
        InputError: a damaged file, or a module that is gone or holds another space.
    """
    path = run / "space.json"
    try:
        text = path.read_text()
        return from_json(text)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {cure(path)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: {error}; {cure(path)}") from error
    except InputError as error:
        if not is_module(split_changes(name)[0]):
            raise InputError(f"{path}: {error}; {cure(path)}") from error
    try:
        channels, resolution, _ = json.loads(text)["input_shape"]
        classes = len(json.loads((run / "data.json").read_text())["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} or {run / 'data.json'} is damaged: {error}") from error
    name = settled_name(run, name)
    space = load_space(name, classes=classes, resolution=resolution, in_channels=channels)
    own = {type(layer).__name__: type(layer) for block in space.blocks for layer in block.layers}
    try:
        same = from_json(text, layers={**LAYERS, **own}) == space
    except InputError:
        same = False
    if not same:
        raise InputError(
            f"space {name} is not the one that {run} was begun with, which {path} holds; restore "
            "the module, or begin another run"
        )
    return space
