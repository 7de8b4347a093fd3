"""The command ``nas``. Torch is imported only by the commands that compute with it."""

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nas_cli.run import Run

__all__ = ["main"]


class Commands(click.Group):
    """The commands, with input errors told in a sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        from nas_spaces import InputError

        try:
            return super().invoke(ctx)
        except InputError as error:
            raise Failure(str(error)) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                reason = "the disk is full; make room and go on with --resume"
            else:
                reason = error.strerror or str(error)
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{where}{reason}") from error


class Failure(click.ClickException):
    """Something that a person can mend; ends the command with exit code 2."""

    exit_code = 2


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nas-cli")
def main() -> None:
    """Neural architecture search: from images and a limit to a trained network.

    `nas pipeline` does all of it; its stages can be run one by one: train, search, retrain,
    report. Costs are in multiply-adds (macs), which papers often call FLOPs.
    """


def _options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options, each declared once in `OPTIONS`."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(names):
            function = OPTIONS[name](function)
        return function

    return add


OPTIONS: dict[str, Callable[[Callable[..., None]], Callable[..., None]]] = {
    "method": click.option("--method", help="Method, see the README.  [default: spos]"),
    "space": click.option(
        "--space", help="Search space: a name that `nas spaces` lists, or a JSON file."
    ),
    "data": click.option(
        "--data",
        help="digits, cifar10, cifar100, imagefolder:PATH or synthetic.  [default: digits]",
    ),
    "limit": click.option(
        "--limit",
        "limits",
        multiple=True,
        help="For example 'macs<=300M', 'params<=5M' or 'macs<=50%' (of the largest "
        "architecture); may be given several times, all hold.  [default: macs<=50%]",
    ),
    "out": click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Folder of the run.  [default: a new one in runs/]",
    ),
    "seed": click.option("--seed", type=int, help="Seed of all randomness.  [default: 0]"),
    "device": click.option("--device", help="cpu, cuda or cuda:N.  [default: a GPU if present]"),
    "config": click.option(
        "--config", type=click.Path(path_type=Path), help="TOML file with settings."
    ),
    "set": click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="One setting, for example train.epochs=5; every setting stands in a run's "
        "config.toml. May be given several times.",
    ),
    "weights": click.option(
        "--weights", type=click.Path(path_type=Path), help="Weights to start from."
    ),
    "resume": click.option(
        "--resume", is_flag=True, help="Go on with the run in --out; begin it if there is none."
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    ),
    "name": click.option("--name", default="main", show_default=True, help="The search's name."),
}

RUN_OPTIONS = ("method", "space", "data", "out", "seed", "device", "config", "set", "weights")


@main.command()
@_options(*RUN_OPTIONS, "limit", "resume", "json")
def pipeline(as_json: bool, **options: Any) -> None:
    """Train a supernet, search it, retrain the winner, write the report."""
    run = _start(options)
    from nas_cli import stages

    shop = _shop(run)
    _introduce(shop)
    stages.train_supernet(shop)
    stages.search(shop, "main", run.config.limits, run.config.search)
    stages.retrain(shop, "main")
    _finish(run, "main", as_json)


@main.command()
@_options(*RUN_OPTIONS, "limit", "resume", "json")
def train(as_json: bool, **options: Any) -> None:
    """Train a supernet; `nas search` then searches it as often as you like."""
    run = _start(options)
    from nas_cli import stages
    from nas_cli.run import read_json

    shop = _shop(run)
    _introduce(shop)
    stages.train_supernet(shop)
    if as_json:
        click.echo(json.dumps({"run": str(run.path), **read_json(run.train / "summary.json")}))
    else:
        click.echo(f"run:  {run.path}\nnext: nas search {run.path} --limit 'macs<=50%'")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@_options("name", "limit", "set", "device", "resume", "json")
def search(
    run: Path,
    name: str,
    limits: tuple[str, ...],
    settings: tuple[str, ...],
    device: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Search the trained supernet of RUN within limits, under a name.

    The settings are those of RUN; --set search.KEY=VALUE changes them for this search.
    """
    from nas_cli.config import with_search_settings
    from nas_cli.run import check_name, open_run, read_json

    check_name(name)
    opened = open_run(run)
    config = with_search_settings(opened.config, settings, device)
    opened = opened.configured(config)
    known = opened.search(name) / "search.json"
    if known.exists() and not resume:
        from nas_spaces import InputError

        raise InputError(
            f"{run} holds a search {name!r} already; go on with it by --resume, or choose another "
            "--name"
        )
    if known.exists() and not limits:
        limits = tuple(read_json(known)["limits"])
    from nas_cli import stages

    shop = _shop(opened)
    stages.search(shop, name, limits or config.limits, config.search)
    found = read_json(opened.search(name) / "result.json")
    if as_json:
        click.echo(json.dumps({"run": str(run), **found}))
        return
    values = found["values"]
    click.echo(f"winner:       {','.join(map(str, found['winner']))}")
    click.echo(f"held-out top-1 in the supernet: {100 * (1 - values['error']):.2f} %")
    click.echo(f"cost:         {values['macs']:,.0f} macs, {values['params']:,.0f} params")
    option = "" if name == "main" else f" --name {name}"
    click.echo(f"next:         nas retrain {run}{option}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@_options("name", "device", "weights", "json")
@click.option("--resume", is_flag=True, help="Accepted for symmetry: retraining always goes on.")
def retrain(
    run: Path, name: str, device: str | None, weights: Path | None, resume: bool, as_json: bool
) -> None:
    """Train the winner of a search of RUN from scratch, and random architectures beside it."""
    from nas_cli.config import with_search_settings
    from nas_cli.run import check_name, open_run

    check_name(name)
    opened = open_run(run)
    opened = opened.configured(with_search_settings(opened.config, (), device))
    from nas_cli import stages

    stages.retrain(_shop(opened), name, weights)
    _finish(opened, name, as_json)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write RUN/report.html from what RUN holds so far."""
    from nas_cli.report import write_report
    from nas_cli.run import open_run

    click.echo(write_report(open_run(run).path))


@main.command()
@click.argument("name", required=False)
@_options("json")
def spaces(name: str | None, as_json: bool) -> None:
    """List the search spaces, or show one: its size, cost range and choices."""
    from nas_cli.limits import cost_tables
    from nas_spaces import FeasibleSet, published

    if name is None:
        sizes = {known: published.load(known).size for known in sorted(published.SPACES)}
        if as_json:
            click.echo(json.dumps(sizes))
        for known, size in () if as_json else sizes.items():
            click.echo(f"{known:20} {size:.3g} architectures")
        return
    space = published.load(name)
    everything = FeasibleSet(space)
    costs = {key: everything.attainable(table) for key, table in cost_tables(space).items()}
    if as_json:
        choices = [{"name": c.name, "options": c.options} for c in space.choices]
        value = {
            "name": name,
            "size": space.size,
            "input_shape": space.input_shape,
            "costs": costs,
            "choices": choices,
        }
        click.echo(json.dumps(value))
        return
    click.echo(f"{name}: {space.size:,} architectures of {space.num_choices} choices")
    click.echo(f"input: {' x '.join(map(str, space.input_shape))}")
    for key, (low, high) in costs.items():
        click.echo(f"{key}: {low:,} to {high:,}")
    for index, choice in enumerate(space.choices):
        options = ", ".join(f"{i}: {option}" for i, option in enumerate(choice.options))
        click.echo(f"  {index:2} {choice.name}: {options}")


@main.command()
@click.argument("space")
@click.argument("arch", required=False)
@_options("json")
def cost(space: str, arch: str | None, as_json: bool) -> None:
    """Show what an architecture costs: SPACE ARCH, or the name of a published architecture.

    ARCH is a row of option indices, for example 2,1,0,1.
    """
    from nas_cli.limits import cost_tables
    from nas_spaces import InputError, nearest, published

    if arch is None:
        if space in published.SPACES:
            example = ",".join(["0"] * published.load(space).num_choices)
            raise InputError(
                f"cost {space}: the architecture is missing; give a row of options like {example}"
            )
        if space not in published.ARCHITECTURES:
            names = [*published.SPACES, *published.ARCHITECTURES]
            raise InputError(f"{space!r} is no space or architecture: {nearest(space, names)}")
        loaded, row = published.architecture(space)
    else:
        loaded = published.load(space)
        row = loaded.parse(arch)
    tables = cost_tables(loaded)
    costs = {key: table([row])[0].item() for key, table in tables.items()}
    if as_json:
        units = {key: table.unit for key, table in tables.items()}
        value = {"space": loaded.name, "architecture": row.tolist(), **costs, "units": units}
        click.echo(json.dumps(value))
        return
    click.echo(f"{loaded.name} {loaded.format(row)}")
    for key, value in costs.items():
        click.echo(f"{key}: {value:,} {tables[key].unit}")


def _start(options: dict[str, Any]) -> "Run":
    """Begin or go on with the run that a command's options name."""
    from nas_cli.config import from_toml, parse_setting
    from nas_cli.run import start_run

    named = {
        key: options[key]
        for key in ("method", "space", "data", "seed", "device")
        if options[key] is not None
    }
    if options["weights"] is not None:
        named["weights"] = str(options["weights"])
    if options["limits"]:
        named["limits"] = list(options["limits"])
    file = [from_toml(options["config"])] if options["config"] is not None else []
    given = [*file, named, *(parse_setting(text) for text in options["settings"])]
    return start_run(options["out"], given, resume=options["resume"])


def _shop(run: "Run") -> Any:
    from rich.console import Console

    from nas_cli.stages import Workshop

    return Workshop(run, Console(stderr=True))


def _introduce(shop: Any) -> None:
    """Say what is about to happen, and fail before any work if it cannot."""
    config, data, space = shop.run.config, shop.data, shop.space
    from nas_cli.limits import build_limits

    shop.say(f"run:      {shop.run.path}")
    shop.say(f"method:   {config.method} on {shop.device}, seed {config.seed}")
    shop.say(
        f"data:     {config.data}: {len(data.classes)} classes; {len(data.train):,} images to "
        f"train, {len(data.held_out):,} to search, {len(data.test):,} to test"
    )
    for note in data.notes:
        shop.say(f"          {note}")
    shop.say(f"space:    {space.name}: {space.size:,} architectures, images {space.input_shape}")
    feasible = build_limits(space, config.limits)
    for limit, text in zip(feasible.limits, config.limits, strict=False):
        shop.say(f"limit:    {limit} ({text})")


def _finish(run: "Run", name: str, as_json: bool) -> None:
    """Write the report and show the result."""
    from nas_cli.report import write_report
    from nas_cli.run import read_json

    page = write_report(run.path)
    found = read_json(run.search(name) / "result.json")
    done = read_json(run.search(name) / "retrain" / "result.json")
    if as_json:
        value = {"run": str(run.path), "report": str(page), "search": found, **done}
        click.echo(json.dumps(value))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"trained from scratch, {done['candidates'][0]['test_images']} test images")
    for heading in ("network", "top-1 %", "macs", "params"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for one in done["candidates"]:
        table.add_row(one["name"], f"{one['top1']:.2f}", f"{one['macs']:,}", f"{one['params']:,}")
    console = Console()
    console.print(table)
    say = click.echo
    if done["comparison"] is not None:
        found_text = done["comparison"]
        say(
            f"{found_text['verdict']} ({found_text['difference']:+.2f} points, "
            f"{found_text['confidence']:.0%} interval {found_text['low']:+.2f} to "
            f"{found_text['high']:+.2f})"
        )
    say(f"winner: {','.join(map(str, found['winner']))}, weights in {run.best(name)}")
    say(f"report: {page}")
    say(f"run:    {run.path}")
    say(f"next:   nas search {run.path} --name smaller --limit 'macs<=30%'")


if __name__ == "__main__":
    sys.exit(main())
