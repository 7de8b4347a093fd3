"""How a command begins: its run is opened or made, and all that could not work is said first.

Torch is loaded only once the settings are known to be right.
"""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from rich.console import Console

from nas_cli.config import from_toml, override, parse_setting, read_config
from nas_cli.folder import BLOCKS, CONFIG, MAIN_SEARCH, RESULT, check_name
from nas_cli.group import remember
from nas_cli.limits import LimitError, parse_limit
from nas_cli.run import Run, open_run, read_json, start_run
from nas_cli.run_spaces import blocks_of
from nas_cli.scales import default_space, scale_of
from nas_cli.settings import Config
from nas_cli.show import count, noun
from nas_cli.space_names import shown_name
from nas_cli.spaces import load_space
from nas_cli.stage_blocks import (
    blocks_left,
    check_blocks,
    check_limits,
    has_blocks,
    on_blocks,
    same_images,
    some_blocks,
    start_blocks,
)
from nas_spaces import InputError

if TYPE_CHECKING:
    from nas_cli.workshop import Workshop
    from nas_samplers import ImageData

__all__ = ["opened", "started"]


@contextlib.contextmanager
def started(command: str, options: dict[str, Any]) -> Iterator["Workshop"]:
    """Begin or go on with the run that a command's options name; all is checked first."""
    names = ("method", "space", "data", "seed", "device")
    named = {key: options[key] for key in names if options[key] is not None}
    if options["weights"] is not None:
        named["weights"] = str(options["weights"])
    if options.get("warm_start") is not None:
        named["warm_start"] = str(options["warm_start"])
    if options["limits"]:
        named["limits"] = list(options["limits"])
    file = [from_toml(options["config"])] if options["config"] is not None else []
    settings = list(map(parse_setting, options["settings"]))
    given = [*file, named, *settings]
    if options["blocks"] is not None:
        if any(one.get("blocks") is not None for one in settings):
            raise InputError(
                f"--blocks {options['blocks']} has its blocks already; leave --set blocks... out"
            )
        given = on_blocks(options["blocks"], given, _begun(options))
    run = start_run(options["out"], given, resume=options["resume"])
    by_default = not run.begun and not any("limits" in one for one in given)
    try:
        if options["resume"] and not run.begun:
            click.echo(f"{run.path} holds no run yet: begins one", err=True)
        for text in run.config.limits:
            parse_limit(text)  # what needs no torch is said at once
        if command == "train" and run.config.search.evaluation == "standalone":
            raise InputError(
                f"method {run.config.method} has no supernet to train: each architecture is "
                "trained alone; run `nas pipeline`"
            )
        with _naming_default_limits(run.config) if by_default else contextlib.nullcontext():
            blocks = _start_blocks(command, run)
            click.echo("loading torch", err=True)
            with _keeping_blocks(run):
                shop = _shop(run, None if blocks is None else _search_blocks(run, blocks))
                _introduce(shop)
        _begin(shop)
        _remember(command, run)
        shop.say(f"run:      {run.path}")
        yield shop
    finally:
        run.close()


def _begun(options: dict[str, Any]) -> Config | None:
    """Return the settings of the run that a command goes on with, None where it begins one."""
    out: Path | None = options["out"]
    if not options["resume"] or out is None or not (out / CONFIG).exists():
        return None
    return read_config(out / CONFIG)


def _remember(command: str, run: Run) -> None:
    remember(f"nas {command} --resume --out {shlex.quote(str(run.path))}")


@contextlib.contextmanager
def _naming_default_limits(config: Config) -> Iterator[None]:
    """Say where limits come from that nobody gave, when a space has nothing within them."""
    try:
        yield
    except LimitError as error:
        resolution = config.resolution or load_space(config.space).input_shape[1]
        own = default_space(config.method, scale_of(config.data, resolution))
        raise InputError(
            f"{error}; no limit was given: {' and '.join(config.limits)} is the default of method "
            f"{config.method}, for its own space {own}; give --limit"
        ) from error


@contextlib.contextmanager
def _keeping_blocks(run: Run) -> Iterator[None]:
    """Say where the blocks are, when they are found and what follows is refused."""
    try:
        yield
    except InputError as error:
        if not blocks_left(run) or blocks_of(run.path) is None:
            raise
        raise InputError(
            f"{error}; the blocks are found and kept: begin another run, with --blocks "
            f"{run.path / BLOCKS}"
        ) from error


def _start_blocks(command: str, run: Run) -> Run | None:
    """Return the run that searches the blocks of ``run``, where it does that first."""
    if not blocks_left(run) or not has_blocks(run.config):
        return None
    check_blocks(run.config)
    if command != "pipeline":
        raise InputError(
            f"method {run.config.method} searches the blocks first: run `nas pipeline`, or give "
            "--blocks RUN of an earlier search"
        )
    return start_blocks(run)


def _search_blocks(run: Run, blocks: Run) -> "ImageData | None":
    """Search the blocks of a run that then searches on top of them.

    Returns:
        The images, None where the run has others.

    Raises:
        InputError: what is wrong, before anything is written where it can be known.
    """
    try:
        images, shop = _check_both(run, blocks)
        run.begin()
        _remember("pipeline", run)
        _begin(shop)
        from nas_cli.report import write_report
        from nas_cli.stage_search import search
        from nas_cli.stage_train import train_supernet

        train_supernet(shop)
        search(shop, MAIN_SEARCH)
        found = read_json(blocks.search(MAIN_SEARCH) / RESULT, "winner")
        shop.say(f"blocks:   {','.join(map(str, found['winner']))}, {write_report(blocks.path)}")
    finally:
        blocks.close()
    return images


def _check_both(run: Run, blocks: Run) -> tuple["ImageData | None", "Workshop"]:
    """Refuse what either search could not do, as far as it can be known.

    Returns:
        The run's images, None where the blocks are searched on others, and the search for blocks.

    Raises:
        InputError: what is wrong.
    """
    behind = _shop(run)
    _check_behind_blocks(behind)
    # Others would wait in memory for the whole search.
    images = behind.data if same_images(run.config, blocks.config) else None
    shop = _shop(blocks, images)
    shop.say(f"blocks:   searched first, in {blocks.path}")
    try:
        _introduce(shop)
    except InputError as error:
        cure = """; give that search its own, like --set 'blocks.limits=["macs<=50%"]'"""
        raise InputError(f"blocks: {error}{cure * isinstance(error, LimitError)}") from error
    note = check_limits(behind, shop) if blocks_of(run.path) is None else None
    if note is not None:
        shop.say(f"note:     {note}")
    return images, shop


def _check_behind_blocks(shop: "Workshop") -> None:
    """Refuse what would be refused once the blocks are found, as far as it can be known.

    Raises:
        InputError: what is wrong.
    """
    run, config, images = shop.run, shop.run.config, shop.data
    if config.weights is not None and config.search.evaluation == "supernet":
        from nas_samplers import read_weights

        # They are for the blocks that are found, and need not fit all that there may be.
        tensors = read_weights(Path(config.weights))
        statistic = ".running_mean"
        norms = [name.removesuffix(statistic) for name in tensors if name.endswith(statistic)]
        if not config.supernet.affine and any(f"{name}.weight" in tensors for name in norms):
            raise InputError(
                f"--weights {config.weights}: its norms have weights and biases, for which a "
                "supernet with supernet.affine=false has no place; add --set supernet.affine=true"
            )
        config = attrs.evolve(config, weights=None)

    def check(config: Config) -> None:
        _introduce(_shop(attrs.evolve(run, config=config), images, quiet=True))

    try:
        check(config)
    except InputError as error:
        if blocks_of(run.path) is not None:
            raise
        # Some methods cannot choose blocks and what is inside them at once, and need not. What some
        # blocks cost says nothing of the limits.
        some = attrs.evolve(config, space=some_blocks(config.space), limits=())
        try:
            check(some)
        except InputError:
            raise error from None


@contextlib.contextmanager
def opened(path: Path, name: str, device: str | None) -> Iterator["Workshop"]:
    """Open a run for what is made of its supernet, under a name."""
    check_name(name)
    run = open_run(path)
    try:
        if device is not None:
            run.config = override(run.config, [{"device": device}])
        click.echo("loading torch", err=True)
        yield _shop(run)
    finally:
        run.close()


def _shop(run: Run, images: "ImageData | None" = None, *, quiet: bool = False) -> "Workshop":
    from nas_cli.workshop import Workshop

    return Workshop(run, Console(stderr=True, quiet=quiet), images)


def _begin(shop: "Workshop") -> None:
    from nas_cli.warm_start import keep_warm_start

    shop.begin()
    keep_warm_start(shop)


def _introduce(shop: "Workshop") -> None:
    """Say what is about to happen, and fail before any work if it cannot."""
    from nas_cli.stage_retrain import check_retrain
    from nas_cli.stage_search import check_search
    from nas_cli.stage_train import check_train
    from nas_cli.warm_start import check_warm_start

    config = shop.run.config
    shop.say(f"method:   {config.method} on {shop.device}, seed {config.seed}")
    data = shop.data
    shop.say(
        f"data:     {config.data}: {len(data.classes)} classes; {len(data.train):,} images to "
        f"train, {len(data.held_out):,} to search, {len(data.test):,} to test"
    )
    for note in data.notes:
        shop.say(f"          {note}")
    space = shop.space
    images = " x ".join(map(str, space.input_shape))
    name = shown_name(space.name, config.space)
    shop.say(f"space:    {name}: {count(space.size)} {noun(space.size)}, images {images}")
    if space.size == 1 and not shop.run.begun:
        raise InputError(
            f"space {config.space} leaves nothing to search: 1 architecture; give it choices, such "
            "as +channels or several +bits"
        )
    for note in check_warm_start(shop):
        shop.say(note)
    for limit in check_search(shop).limits:
        shop.say(f"limit:    {limit}")
    check_train(shop)
    check_retrain(shop)
