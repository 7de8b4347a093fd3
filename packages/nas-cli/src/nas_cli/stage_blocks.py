"""The stage before the others, where channels or bits are searched on top of blocks: the blocks.

It is a run of its own in the folder ``blocks`` of the run. The setting ``blocks`` says by which
method and settings; images, seed and device are the run's.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from nas_cli.config import Config, read_config, resolve
from nas_cli.folder import BLOCKS, CONFIG, check_run
from nas_cli.run import MAIN_SEARCH, Run, read_json, start_run
from nas_cli.space_names import before_additions, split_changes
from nas_cli.spaces import load_space, settled_name, stored_space
from nas_spaces import InputError

__all__ = ["blocks_left", "has_blocks", "on_blocks", "same_images", "start_blocks"]

# What both stages have in common.
SHARED = ("data", "resolution", "images", "seed", "device", "threads")


def blocks_left(run: Run) -> bool:
    """Return whether a run is to search its blocks first and has not begun what follows."""
    return run.config.blocks is not None and not (run.path / "space.json").exists()


def has_blocks(config: Config) -> bool:
    """Return whether there are blocks to search: none where a space is fixed before what is added.

    Raises:
        InputError: a space to which nothing is added.
    """
    blocks = before_additions(config.space)
    if blocks == config.space:
        raise InputError(
            f"space {config.space} has nothing to search behind the blocks; add +channels or "
            "+bits, or --set blocks=none"
        )
    return load_space(blocks).num_choices > 0


def start_blocks(run: Run) -> Run:
    """Return the run that searches the blocks of ``run``, to begin it or to go on with it.

    Raises:
        InputError: see `nas_cli.run.start_run`.
    """
    config = run.config
    assert config.blocks is not None
    values = attrs.asdict(config)
    shared = {key: values[key] for key in SHARED}
    of_blocks = {"method": "spos", **config.blocks, "space": before_additions(config.space)}
    return start_run(run.path / BLOCKS, [shared, of_blocks], resume=True)


def same_images(one: Config, other: Config) -> bool:
    """Return whether two runs have the same images, on the same device."""
    return all(getattr(one, key) == getattr(other, key) for key in SHARED)


def on_blocks(path: Path, given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return settings for a search on top of the blocks that an earlier run found.

    Images, their split and the seed are that run's where no other images are named.

    Args:
        path: the earlier run.
        given: the settings that were asked for; a ``space`` may be ``+channels`` alone.

    Raises:
        InputError: no run there, none that has found something, a space that adds nothing or is
            another one, or one that has changed since.
    """
    check_run(path)
    before = read_config(path / CONFIG)
    result = path / "searches" / MAIN_SEARCH / "result.json"
    if not result.exists():
        raise InputError(f"--blocks {path}: its search is not finished; go on with it first")
    settings = list(map(dict, given))
    if not any("data" in one for one in settings):
        values = attrs.asdict(before)
        settings.insert(0, {key: values[key] for key in ("data", "resolution", "images", "seed")})
    named = [str(one["space"]) for one in settings if "space" in one]
    added = _added(path, before, named[-1]) if named else _added_by_method(path, settings)
    row = ",".join(map(str, read_json(result, "winner")["winner"]))
    name = settled_name(path, before.space)
    _check_unchanged(path, before, name)
    return [*settings, {"space": f"{name}@{row}{added}", "blocks": None}]


def _added(path: Path, before: Config, space: str) -> str:
    """Return what a named space adds to blocks."""
    first = before_additions(space)
    if first not in ("", split_changes(before.space)[0]):
        raise InputError(
            f"--blocks {path}: its blocks are of space {before.space}, received --space {space}; "
            f"give --space {space.removeprefix(first) or '+channels'} alone"
        )
    if space == first:
        raise InputError(
            f"--blocks {path}: space {space} adds nothing to blocks; add +channels or +bits"
        )
    return space.removeprefix(first)


def _added_by_method(path: Path, settings: list[dict[str, Any]]) -> str:
    config = resolve(settings)
    added = config.space.removeprefix(before_additions(config.space))
    if not added:
        raise InputError(
            f"--blocks {path}: method {config.method} adds nothing to blocks; take one that does, "
            "like spos-channels, or add --space +channels or +bits"
        )
    return added


def _check_unchanged(path: Path, before: Config, name: str) -> None:
    """Refuse a space that is another one by now, so that the row would mean something else."""
    stored = stored_space(path, before.space)
    channels, resolution, _ = stored.input_shape
    now = load_space(name, classes=stored.num_classes, resolution=resolution, in_channels=channels)
    if (now.choices, now.blocks) != (stored.choices, stored.blocks):
        raise InputError(
            f"--blocks {path}: space {name} is not the one that it was begun with, which "
            f"{path / 'space.json'} holds; restore it"
        )
