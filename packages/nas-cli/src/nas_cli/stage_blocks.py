"""The stage before the others, where channels or bits are searched on top of blocks: the blocks.

It is a run of its own in the folder ``blocks`` of the run. The setting ``blocks`` says by which
method and settings; images, seed and device are the run's where it does not.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from nas_cli.config import read_config, resolve
from nas_cli.folder import BLOCKS, CONFIG, MAIN_SEARCH, RESULT, check_run, search_folder
from nas_cli.limits import METRICS, LimitError, build_limits
from nas_cli.recipes import RECIPES
from nas_cli.references import check_reference
from nas_cli.run import Run, read_json, start_run
from nas_cli.run_spaces import blocks_of, check_winner, settled_name, stored_space
from nas_cli.settings import Config
from nas_cli.space_names import additions, before_additions, fix_first, split_changes
from nas_cli.spaces import load_space
from nas_search import largest
from nas_spaces import InputError, SearchSpace

if TYPE_CHECKING:
    from nas_cli.workshop import Workshop

__all__ = [
    "blocks_left",
    "check_blocks",
    "check_limits",
    "has_blocks",
    "on_blocks",
    "same_images",
    "some_blocks",
    "start_blocks",
]

# How the choices are called that are added (`nas_spaces.vary`).
ENDS = {"channels": "_scale", "bits": "_bits"}
# What both stages have in common.
SHARED = ("data", "resolution", "images", "seed", "device", "threads")
# Of so many random blocks it is tried whether they can keep to the limits of what follows.
TRIED_BLOCKS = 20


def blocks_left(run: Run) -> bool:
    """Return whether a run is to search its blocks first and has not begun what follows."""
    return run.config.blocks is not None and not (run.path / "space.json").exists()


def has_blocks(config: Config) -> bool:
    """Return whether there are blocks to search: a space may be fixed before what is added to it.

    Raises:
        InputError: a space to which nothing is added, or settings that then have no effect.
    """
    blocks = before_additions(config.space)
    if blocks == config.space:
        raise InputError(
            f"space {config.space} has nothing to search behind the blocks; add +channels or "
            "+bits, or --set blocks=none"
        )
    if load_space(blocks).num_choices:
        if "@" in config.space.removeprefix(blocks):
            raise InputError(
                f"space {config.space} fixes choices behind what it adds, and blocks that are "
                "searched first are none yet: fix them too, or --set blocks=none"
            )
        return True
    if config.blocks != RECIPES[config.method].get("blocks"):
        raise InputError(
            f"setting blocks says how blocks are searched first, and those of space {blocks} are "
            "fixed; leave it out, or --set blocks=none"
        )
    return False


def check_blocks(config: Config) -> None:
    """Refuse what needs no images and would be refused once the blocks are found.

    Args:
        config: the settings of a run that has blocks to search.

    Raises:
        InputError: what is wrong.
    """
    # With all blocks that there may be.
    space = load_space(config.space)
    for name in config.references:
        check_reference(space, name)
    if config.weights is not None and not Path(config.weights).is_file():
        raise InputError(f"weights: there is no file {config.weights}")


def check_limits(shop: "Workshop", blocks: "Workshop") -> str | None:
    """Try of random blocks whether what follows them can be done.

    Args:
        shop: the run.
        blocks: the run that searches its blocks.

    Returns:
        What a person should know where it can with some of them only.

    Raises:
        LimitError: none of the random blocks would do, or limits of their own that nothing
            satisfies.
    """
    first, config = blocks.run.config, shop.run.config
    feasible = build_limits(blocks.space, first.limits)
    refused = []
    for row in feasible.sample(TRIED_BLOCKS, rng=np.random.default_rng(0)):
        try:
            build_limits(shop.fit_space(fix_first(config.space, row)), config.limits)
        except InputError as error:
            refused.append(error)
    many = f"of {TRIED_BLOCKS} random blocks within {' and '.join(first.limits) or 'no limits'}"
    if len(refused) == TRIED_BLOCKS:
        raise LimitError(
            f"{refused[0]}; so it is {many} with each: change --limit, or blocks.limits, the "
            "limits of those blocks"
        )
    if not refused:
        return None
    return (
        f"{many} {len(refused)} could not be gone on with ({refused[0]}); should those found be "
        "such, the run ends behind their search, and they are kept"
    )


def _of_blocks(config: Config) -> list[dict[str, Any]]:
    """Return the settings of the run that searches a run's blocks, the later ones count."""
    assert config.blocks is not None
    for key in ("space", "blocks"):
        if key in config.blocks:
            raise InputError(
                f"blocks.{key} cannot be set: the blocks are those that --space has before what "
                "is added to it"
            )
    values = attrs.asdict(config)
    shared = {key: values[key] for key in SHARED}
    return [shared, {"method": "spos", **config.blocks, "space": before_additions(config.space)}]


def start_blocks(run: Run) -> Run:
    """Return the run that searches the blocks of ``run``, to begin it or to go on with it.

    Raises:
        InputError: see `nas_cli.run.start_run`.
    """
    try:
        return start_run(run.path / BLOCKS, _of_blocks(run.config), resume=True)
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


def on_blocks(
    path: Path, given: Iterable[Mapping[str, Any]], begun: Config | None = None
) -> list[dict[str, Any]]:
    """Return settings for a search on top of the blocks that an earlier run found.

    Images, their split and the seed are that run's where no other images are named.

    Args:
        path: the earlier run.
        given: the settings that were asked for; a ``space`` may be ``+channels`` alone.
        begun: the settings of the run that is gone on with, where one is.

    Raises:
        InputError: no run there, none that has found something, a space that adds nothing or is
            another one, or one that has changed since; a run that was begun on other blocks.
    """
    check_run(path)
    before = read_config(path / CONFIG)
    result = search_folder(path, MAIN_SEARCH) / RESULT
    if not result.exists():
        first = path / BLOCKS
        other = f", or take its own: --blocks {first}" if blocks_of(path) is not None else ""
        raise InputError(f"--blocks {path}: its search is not finished; go on with it first{other}")
    settings = list(map(dict, given))
    if begun is None and not any("data" in one for one in settings):
        values = attrs.asdict(before)
        settings.insert(0, {key: values[key] for key in ("data", "resolution", "images", "seed")})
    stored = stored_space(path, before.space)
    row = check_winner(result, read_json(result, "winner")["winner"], stored)
    name = settled_name(path, before.space)
    _check_unchanged(path, stored, name)
    fixed = f"{name}@{stored.format(row)}"
    named = [str(one["space"]) for one in settings if "space" in one]
    if named:
        added = _added(path, before, named[-1])
    elif begun is None:
        added = _added_by_method(path, before, stored, settings)
    elif begun.space.startswith(f"{fixed}+"):
        added = begun.space.removeprefix(fixed)
    else:
        raise InputError(
            f"--blocks {path}: the run was begun with "
            f"{'its own blocks' if begun.blocks else f'other blocks, space {begun.space}'}; leave "
            "--blocks out"
        )
    return [*settings, {"space": fixed + added, "blocks": None}]


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


def _added_by_method(
    path: Path, before: Config, stored: SearchSpace, settings: list[dict[str, Any]]
) -> str:
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
    choices = [choice.name for choice in stored.choices]
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


def _check_unchanged(path: Path, stored: SearchSpace, name: str) -> None:
    """Refuse a space that is another one by now, so that the row would mean something else."""
    channels, resolution, _ = stored.input_shape
    now = load_space(name, classes=stored.num_classes, resolution=resolution, in_channels=channels)
    if (now.choices, now.blocks) != (stored.choices, stored.blocks):
        raise InputError(
            f"--blocks {path}: space {name} is not the one that it was begun with, which "
            f"{path / 'space.json'} holds; restore it"
        )
