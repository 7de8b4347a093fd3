"""The stage before the others, where channels or bits are searched on top of blocks: the blocks.

It is a run of its own in the folder ``blocks`` of the run, by the same settings and another method.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nas_cli.config import read_config, resolve
from nas_cli.folder import BLOCKS, CONFIG, check_run
from nas_cli.references import reference
from nas_cli.run import MAIN_SEARCH, Run, read_json, start_run
from nas_cli.spaces import load_space, settled_name
from nas_cli.varied import fix_first, unvaried
from nas_spaces import InputError

__all__ = ["begin_blocks", "blocks_left", "on_blocks"]

# What is of the search on top of the blocks only.
OF_MAIN = ("method", "space", "blocks", "references", "weights", "warm_start")


def blocks_left(run: Run) -> bool:
    """Return whether a run is to search its blocks first and has not begun what follows."""
    config = run.config
    if config.blocks is None or (run.path / "space.json").exists():
        return False
    first = unvaried(config.space)
    if first == config.space:
        raise InputError(
            f"space {config.space} has nothing to search behind the blocks; add +channels or "
            "+bits, or --set blocks=none"
        )
    space = load_space(first)
    if not space.num_choices:
        return False
    # What would be refused behind the first search is refused before it.
    varied = load_space(fix_first(config.space, [0] * space.num_choices))
    for name in config.references:
        reference(varied, [0] * varied.num_choices, name)
    return True


def begin_blocks(run: Run, given: Iterable[Mapping[str, Any]]) -> Run:
    """Begin the run that searches the blocks of ``run``, or go on with it.

    Args:
        run: what comes behind; its settings are written here, so that it can be gone on with.
        given: the settings that were asked for.

    Raises:
        InputError: see `nas_cli.run.start_run`.
    """
    shared = [{key: value for key, value in one.items() if key not in OF_MAIN} for one in given]
    of_blocks = {"method": run.config.blocks, "space": unvaried(run.config.space)}
    blocks = start_run(run.path / BLOCKS, [*shared, of_blocks], resume=True)
    try:
        blocks.begin()
        run.begin()
    except BaseException:
        blocks.close()
        raise
    return blocks


def on_blocks(path: Path, given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return settings for a search on top of the blocks that an earlier run found.

    Images are that run's where nothing else is asked for.

    Args:
        path: the earlier run.
        given: the settings that were asked for; a ``space`` may be ``+channels`` alone.

    Raises:
        InputError: no run there, none that has found something, or a space that adds nothing.
    """
    check_run(path)
    before = read_config(path / CONFIG)
    result = path / "searches" / MAIN_SEARCH / "result.json"
    if not result.exists():
        raise InputError(f"--blocks {path}: its search is not finished; go on with it first")
    images = {"root": before.images.root, "subset": before.images.subset}
    same: dict[str, Any] = {
        "data": before.data,
        "resolution": before.resolution,
        "images": {**images, "classes": before.images.classes, "upscale": before.images.upscale},
    }
    settings = [same, *map(dict, given)]
    named = [str(one["space"]) for one in settings if "space" in one]
    if named and named[-1].startswith("+"):
        added = named[-1]
    else:
        space = resolve(settings).space
        added = space.removeprefix(unvaried(space))
        if not added:
            raise InputError(
                f"--blocks {path}: space {space} adds nothing to blocks; add +channels or +bits, "
                "or take a method that does, like spos-channels"
            )
    row = ",".join(map(str, read_json(result, "winner")["winner"]))
    fixed = f"{settled_name(path, before.space)}@{row}"
    return [*settings, {"space": fixed + added, "blocks": None}]
