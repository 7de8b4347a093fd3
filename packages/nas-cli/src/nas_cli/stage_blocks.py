"""The stage before the others, where channels or bits are searched on top of blocks: the blocks.

It is a run of its own in the folder ``blocks`` of the run. The setting ``blocks`` says by which
method and settings; images, seed and device are the run's.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from nas_cli.config import read_config, resolve
from nas_cli.folder import BLOCKS, CONFIG, MAIN_SEARCH, RESULT, check_run, search_folder
from nas_cli.limits import METRICS, build_limits
from nas_cli.references import check_reference
from nas_cli.run import Run, read_json, start_run
from nas_cli.run_spaces import blocks_of, settled_name, stored_space
from nas_cli.settings import Config
from nas_cli.space_names import additions, before_additions, fix_first, split_changes
from nas_cli.spaces import load_space
from nas_search import largest
from nas_spaces import InputError

__all__ = ["blocks_left", "check_blocks", "on_blocks", "same_images", "some_blocks", "start_blocks"]

# How the choices are called that are added (`nas_spaces.vary`).
ENDS = {"channels": "_scale", "bits": "_bits"}
# What both stages have in common.
SHARED = ("data", "resolution", "images", "seed", "device", "threads")


def blocks_left(run: Run) -> bool:
    """Return whether a run is to search its blocks first and has not begun what follows."""
    return run.config.blocks is not None and not (run.path / "space.json").exists()


def check_blocks(config: Config) -> bool:
    """Refuse what needs no images and would be refused once the blocks are found.

    Returns:
        Whether there are blocks to search: a space that is fixed before what is added has none.

    Raises:
        InputError: what is wrong.
    """
    blocks = before_additions(config.space)
    if blocks == config.space:
        raise InputError(
            f"space {config.space} has nothing to search behind the blocks; add +channels or "
            "+bits, or --set blocks=none"
        )
    if not load_space(blocks).num_choices:
        return False
    # With all blocks that there may be.
    space = load_space(config.space)
    build_limits(space, config.limits)
    for name in config.references:
        check_reference(space, name)
    if config.weights is not None and not Path(config.weights).is_file():
        raise InputError(f"weights: there is no file {config.weights}")
    return True


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
    try:
        return start_run(run.path / BLOCKS, [shared, of_blocks], resume=True)
    except InputError as error:
        raise InputError(f"blocks: {error}") from error


def some_blocks(name: str) -> str:
    """Return the name of a space of which the blocks are fixed: those with most multiply-adds."""
    space = load_space(before_additions(name))
    return fix_first(name, largest(space, METRICS["macs"](space)))


def same_images(one: Config, other: Config) -> bool:
    """Return whether two runs have the same images, on the same device."""
    keys = ("data", "resolution", "seed", "device")
    images = attrs.evolve(one.images, workers=other.images.workers)
    return images == other.images and all(getattr(one, key) == getattr(other, key) for key in keys)


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
    result = search_folder(path, MAIN_SEARCH) / RESULT
    if not result.exists():
        first = path / BLOCKS
        other = f", or take its own: --blocks {first}" if blocks_of(path) is not None else ""
        raise InputError(f"--blocks {path}: its search is not finished; go on with it first{other}")
    settings = list(map(dict, given))
    if not any("data" in one for one in settings):
        values = attrs.asdict(before)
        settings.insert(0, {key: values[key] for key in ("data", "resolution", "images", "seed")})
    row = ",".join(map(str, read_json(result, "winner")["winner"]))
    named = [str(one["space"]) for one in settings if "space" in one]
    added = _added(path, before, named[-1]) if named else _added_by_method(path, before, settings)
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


def _added_by_method(path: Path, before: Config, settings: list[dict[str, Any]]) -> str:
    """Return what a method adds to blocks; once more only where the space is named."""
    config = resolve(settings)
    added = config.space.removeprefix(before_additions(config.space))
    if not added:
        raise InputError(
            f"--blocks {path}: method {config.method} adds nothing to blocks; take one that does, "
            "like spos-channels, or add --space +channels or +bits"
        )
    known = set(additions(before.space))
    # Published spaces have such choices without saying so in their names.
    choices = [choice.name for choice in stored_space(path, before.space).choices]
    known |= {kind for kind, end in ENDS.items() if any(name.endswith(end) for name in choices)}
    again = [kind for kind in additions(added) if kind in known]
    if again:
        cures = [f"--space {added} to vary what it found once more"]
        left = [f"+{kind}" for kind in additions(added) if kind not in again]
        if left:
            cures.insert(0, f"--space {''.join(left)} for what is not")
        if blocks_of(path) is not None:
            cures.insert(0, f"--blocks {path / BLOCKS} for its blocks alone")
        raise InputError(
            f"--blocks {path}: {' and '.join(again)} are searched there already (space "
            f"{before.space}); give {', or '.join(cures)}"
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
