"""The command ``nas``. Torch is imported only by the commands that compute with it."""

import contextlib
import errno
import itertools
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nas_cli.run import Run
    from nas_cli.workshop import Workshop

__all__ = ["main"]

# Where the command that goes on with a run is kept for whoever has to name it.
GO_ON = "nas_cli.go_on"
STOPPED_BY_KEYBOARD = 130  # 128 + SIGINT, as shells report it


class Commands(click.Group):
    """The commands in the order of their use; what a person can mend is told in a sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of definition."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; input errors end it with exit code 2."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(f"\nstopped{_go_on(ctx)}", err=True)
            ctx.exit(STOPPED_BY_KEYBOARD)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends quietly where nobody reads on
            reason = error.strerror or str(error)
            if error.errno == errno.ENOSPC:
                reason = f"the disk is full; make room{_go_on(ctx)}"
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{where}{reason}") from error
        except ValueError as error:
            from nas_spaces import InputError

            if not isinstance(error, InputError):
                raise
            raise Failure(str(error)) from error


class Failure(click.ClickException):
    """Something that a person can mend; ends the command with exit code 2."""

    exit_code = 2


def _go_on(ctx: click.Context) -> str:
    command = ctx.meta.get(GO_ON)
    return f"; go on with: {command}" if command else ""


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
        "--space",
        help="Search space: a name that `nas spaces` lists, a JSON file, or module:attribute for "
        "one of your own.  [default: what fits the data]",
    ),
    "data": click.option(
        "--data",
        help="digits, cifar10, cifar100, imagefolder:PATH or synthetic.  [default: digits]",
    ),
    "limit": click.option(
        "--limit",
        "limits",
        multiple=True,
        help="For example 'macs<=300M', 'params<=5M', 'traffic<=8Mi' or 'macs<=50%' (of the "
        "largest architecture); may be given several times, all hold.  [default: macs<=50% for "
        "small images]",
    ),
    "out": click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Folder of the run.  [default: runs/METHOD-SPACE-N]",
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
        "--weights",
        type=click.Path(path_type=Path),
        help="Weights to start from: safetensors, or a torch file without code.",
    ),
    "resume": click.option(
        "--resume", is_flag=True, help="Go on with the run in --out; begin it if there is none."
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    ),
    "name": click.option("--name", default="main", show_default=True, help="The search's name."),
}

RUN_OPTIONS = ("method", "space", "data", "limit", "out", "seed", "device", "config", "set")


@main.command()
@_options(*RUN_OPTIONS, "weights", "resume", "json")
def pipeline(as_json: bool, **options: Any) -> None:
    """Do all of it: train, search, retrain, report."""
    with _started("pipeline", options) as shop:
        from nas_cli.run import MAIN_SEARCH
        from nas_cli.stage_retrain import retrain as retrain_stage
        from nas_cli.stage_search import search as search_stage
        from nas_cli.stage_search import search_settings
        from nas_cli.stage_train import train_supernet

        train_supernet(shop)
        if (shop.run.search(MAIN_SEARCH) / "search.json").exists():
            # Begun by `nas search`, perhaps with limits of its own: that one is gone on with.
            shop.run.config = search_settings(shop.run, MAIN_SEARCH, (), resume=True)
        search_stage(shop, MAIN_SEARCH)
        retrain_stage(shop, MAIN_SEARCH)
        _finish(shop.run, MAIN_SEARCH, as_json)


@main.command()
@_options(*RUN_OPTIONS, "weights", "resume", "json")
def train(as_json: bool, **options: Any) -> None:
    """Train a supernet, to search it as often as you like."""
    with _started("train", options) as shop:
        from nas_cli.run import read_json
        from nas_cli.stage_train import train_supernet

        train_supernet(shop)
        run = shop.run
        if as_json:
            click.echo(json.dumps({"run": str(run.path), **read_json(run.train / "summary.json")}))
        else:
            click.echo(f"run:    {run.path}")
            click.echo(f"next:   {_command('search', run.path)}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@_options("name", "limit", "set", "device")
@click.option("--resume", is_flag=True, help="Go on with the search of that name.")
@_options("json")
def search(
    run: Path,
    name: str,
    limits: tuple[str, ...],
    settings: tuple[str, ...],
    device: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Search the trained supernet of RUN, under a name.

    Limits and settings are those of RUN where they are not given; --set search.KEY=VALUE changes
    one for this search.
    """
    with _opened(run, name, device) as shop:
        from nas_cli.config import parse_setting
        from nas_cli.run import read_json
        from nas_cli.stage_search import search as search_stage
        from nas_cli.stage_search import search_settings

        given = [*map(parse_setting, settings), *([{"limits": list(limits)}] if limits else [])]
        shop.run.config = search_settings(shop.run, name, given, resume=resume)
        _remember(_command("search", run, name) + " --resume")
        search_stage(shop, name)
        found = read_json(shop.run.search(name) / "result.json")
        if as_json:
            click.echo(json.dumps({"run": str(run), **found}))
            return
        _show_search(shop.run, name, found)


def _show_search(run: "Run", name: str, found: dict[str, Any]) -> None:
    """Show what a search found."""
    values = found["values"]
    click.echo(f"limits: {' and '.join(found['limits']) or 'none'}")
    click.echo(f"winner: {','.join(map(str, found['winner']))}")
    costs = (f"{value:,.0f} {key}" for key, value in values.items() if key != "error")
    click.echo(f"cost:   {', '.join(costs)}")
    if "predicted_error" in found:
        many = len(found["path"])
        click.echo(
            f"table:  {100 * (1 - found['predicted_error']):.2f} % predicted, "
            f"{many} replacement{'' if many == 1 else 's'}"
        )
    if "error" in values:
        best, many = found["random_best_error"], found["evaluated"]
        beside = "" if best is None else f" (random search: {100 * (1 - best):.2f} %)"
        how = f"of {many:,} architectures the best"
        if found["stopped"] == "complete":  # then the best of what was evaluated does not win
            how = f"{many:,} architecture{'' if many == 1 else 's'} evaluated"
        click.echo(
            f"top-1:  {100 * (1 - values['error']):.2f} % of {found['evaluation_images']:,} "
            f"held-out images with the supernet's weights, {how}{beside}"
        )
    again = _specialize(run, name, found)
    if again is not None:
        click.echo(f"other:  {again} --limit '{_smaller(run, name, found)}'")
    click.echo(f"next:   {_command('retrain', run.path, name)}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--limit",
    "limits",
    multiple=True,
    help="As of a search; may be given several times, all hold.  [default: none]",
)
@click.option("--name", help="Keep the answer as a search of this name, for `nas retrain`.")
@click.option(
    "--search",
    "source",
    default="main",
    show_default=True,
    help="The search with the table: one by search.searcher=progressive.",
)
@click.option(
    "--score",
    type=click.Choice(["loss", "loss/saving"]),
    default="loss/saving",
    show_default=True,
    help="Which replacement comes first: that of the least loss, as in the paper, or of the least "
    "loss for what it saves.",
)
@click.option("--exact", is_flag=True, help="The table's best row in place of the greedy path.")
@_options("json")
def specialize(run: Path, limits: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Answer a limit from the candidate table of RUN, in a second.

    Nothing is evaluated and torch is not needed. `nas search RUN --name table --set
    search.searcher=progressive` measures a table on any trained supernet.
    """
    from nas_cli.specialize import show_answer
    from nas_cli.specialize import specialize as answer

    found = answer(run, limits, **options)
    if as_json:
        click.echo(json.dumps({"run": str(run), **found}))
        return
    click.echo(show_answer(run, found))
    name = options["name"]
    click.echo(f"next:   {_command('retrain', run, name)}" if name else "keep:   add --name NAME")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@_options("name", "set", "device", "weights")
@click.option("--resume", is_flag=True, help="Go on, which a retraining does in any case.")
@_options("json")
def retrain(
    run: Path,
    name: str,
    settings: tuple[str, ...],
    device: str | None,
    weights: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Train a search's winner from scratch, and random ones.

    The random architectures are within the limits of the search and show what it was worth. --set
    retrain.KEY=VALUE and --set baselines=N change settings of RUN; --weights are for the winner.
    """
    with _opened(run, name, device) as shop:
        from nas_cli.config import parse_setting
        from nas_cli.stage_retrain import retrain as retrain_stage
        from nas_cli.stage_retrain import retrain_settings

        given = map(parse_setting, settings)
        shop.run.config, weights = retrain_settings(shop.run, name, given, weights)
        _remember(_command("retrain", run, name))
        retrain_stage(shop, name, weights)
        _finish(shop.run, name, as_json)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="A table of accuracies in percent: NAS-Bench-Macro's JSON, or CSV with the columns "
    "`architecture` and accuracies, like NAS-Bench-201's.",
)
@click.option("--column", help="Which accuracy of the table.  [default: the only one, or mean_acc]")
@click.option("--standalone", type=int, help="Train so many random architectures from scratch.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Another run on the same space: do the two supernets agree?",
)
@click.option(
    "--architectures",
    type=int,
    help="How many, drawn by the run's seed; of a table at most so many, 0 for all.  "
    "[default: 200]",
)
@click.option("--name", default="main", show_default=True, help="The ranking's name.")
@_options("set", "device")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that train from scratch.  [default: the cores; on a GPU at most 4]",
)
@click.option("--resume", is_flag=True, help="Go on with the ranking of that name.")
@_options("json")
def rank(
    run: Path,
    name: str,
    settings: tuple[str, ...],
    device: str | None,
    workers: int | None,
    resume: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Say how far the ranking by a supernet can be believed.

    Architectures are judged by the supernet and by one of --truth, --standalone and --against:
    rank correlation, what choosing by the supernet costs, and whether it is better than counting
    multiply-adds. --set search.KEY=VALUE changes how the supernet is judged, retrain.KEY how
    --standalone trains.
    """
    with _opened(run, name, device) as shop:
        from rich.console import Console

        from nas_cli.config import parse_setting
        from nas_cli.rank_result import show_rank
        from nas_cli.report import write_report
        from nas_cli.stage_rank import ask_rank, question_of
        from nas_cli.stage_rank import rank as rank_stage

        given = map(parse_setting, settings)
        shop.run.config, what = ask_rank(shop.run, name, question_of(**asked), given, resume=resume)
        _remember(_command("rank", run, name) + " --resume")
        found = rank_stage(shop, name, what, workers=workers)
        page = write_report(shop.run.path)
        if as_json:
            click.echo(json.dumps({"run": str(run), "report": str(page), **found}))
            return
        console = Console()
        for part in show_rank(found):
            console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
        click.echo(f"report: {page}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@_options("json")
def report(run: Path, as_json: bool) -> None:
    """Write RUN/report.html from what RUN holds so far."""
    from nas_cli.report import write_report

    page = write_report(run)
    click.echo(json.dumps({"run": str(run), "report": str(page)}) if as_json else page)


@main.command()
@click.argument("name", required=False)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    help="Show how many architectures are within it; may be given several times, all hold.",
)
@_options("json")
def spaces(name: str | None, limits: tuple[str, ...], as_json: bool) -> None:
    """List the search spaces, or show one: size, costs, choices.

    NAME is what --space takes. With --limit: how much of the space is within the limits.
    """
    from nas_cli import show
    from nas_spaces import InputError

    record: dict[str, Any]
    if name is not None and limits:
        record = show.describe_limits(name, limits)
        text = show.show_limits(record)
    elif name is not None:
        record = show.describe_space(name)
        text = show.show_space(record)
    elif limits:
        raise InputError("--limit needs the name of a space, like `nas spaces digits-mobile`")
    else:
        record = show.list_spaces()
        text = show.show_list(record)
    click.echo(json.dumps(record) if as_json else text)


@main.command()
@click.argument("space")
@click.argument("arch", required=False)
@click.option(
    "--convention",
    default="standard",
    show_default=True,
    help="Count macs and params as other tables do: conv-only, mobile-vision or nas-bench-201.",
)
@_options("json")
def cost(space: str, arch: str | None, convention: str, as_json: bool) -> None:
    """Show what an architecture costs.

    SPACE ARCH, where SPACE is what --space takes and ARCH a row of option indices like 2,1,0,1 or
    the benchmark's own notation; or the name of a published architecture.
    """
    from nas_cli.show import describe_cost, show_cost

    record = describe_cost(space, arch, convention)
    click.echo(json.dumps(record) if as_json else show_cost(record))


def _command(command: str, run: Path, name: str = "main") -> str:
    option = "" if name == "main" else f" --name {name}"
    return f"nas {command} {shlex.quote(str(run))}{option}"


def _remember(command: str) -> None:
    """Keep the command that goes on, for whoever stops this one or runs out of disk."""
    click.get_current_context().meta[GO_ON] = command


@contextlib.contextmanager
def _started(command: str, options: dict[str, Any]) -> Iterator["Workshop"]:
    """Begin or go on with the run that a command's options name; all is checked first."""
    from nas_cli.config import from_toml, parse_setting
    from nas_cli.limits import parse_limit
    from nas_cli.run import start_run

    names = ("method", "space", "data", "seed", "device")
    named = {key: options[key] for key in names if options[key] is not None}
    if options["weights"] is not None:
        named["weights"] = str(options["weights"])
    if options["limits"]:
        named["limits"] = list(options["limits"])
    file = [from_toml(options["config"])] if options["config"] is not None else []
    given = [*file, named, *map(parse_setting, options["settings"])]
    run = start_run(options["out"], given, resume=options["resume"])
    try:
        for text in run.config.limits:
            parse_limit(text)  # what needs no torch is said at once
        shop = _shop(run)
        _introduce(shop)
        shop.begin()
        _remember(f"nas {command} --resume --out {shlex.quote(str(run.path))}")
        shop.say(f"run:      {run.path}")
        yield shop
    finally:
        run.close()


@contextlib.contextmanager
def _opened(path: Path, name: str, device: str | None) -> Iterator["Workshop"]:
    """Open a run for a further search or retraining."""
    from nas_cli.config import override
    from nas_cli.run import check_name, open_run

    check_name(name)
    run = open_run(path)
    try:
        if device is not None:
            run.config = override(run.config, [{"device": device}])
        yield _shop(run)
    finally:
        run.close()


def _shop(run: "Run") -> "Workshop":
    click.echo("loading torch", err=True)
    from rich.console import Console

    from nas_cli.workshop import Workshop

    return Workshop(run, Console(stderr=True))


def _introduce(shop: "Workshop") -> None:
    """Say what is about to happen, and fail before any work if it cannot."""
    from nas_cli.show import count
    from nas_cli.stage_retrain import check_retrain
    from nas_cli.stage_search import check_search
    from nas_cli.stage_train import check_train

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
    shop.say(f"space:    {space.name}: {count(space.size)} architectures, images {images}")
    for limit in check_search(shop).limits:
        shop.say(f"limit:    {limit}")
    check_train(shop)
    check_retrain(shop)


def _finish(run: "Run", name: str, as_json: bool) -> None:
    """Write the report and show the result."""
    from nas_cli.report import write_report
    from nas_cli.run import read_json

    page = write_report(run.path)
    found = read_json(run.search(name) / "result.json", "winner", "values")
    done = read_json(run.retrain(name) / "result.json")
    if as_json:
        value = {"run": str(run.path), "report": str(page), "search": found, **done}
        click.echo(json.dumps(value))
        return
    from rich.console import Console
    from rich.table import Table

    images = done["candidates"][0]["test_images"]
    table = Table(title=f"trained from scratch, {images:,} test images", title_justify="left")
    for heading in ("network", "top-1 %", "macs", "params"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for one in done["candidates"]:
        table.add_row(one["name"], f"{one['top1']:.2f}", f"{one['macs']:,}", f"{one['params']:,}")
    console = Console()
    console.print(table)
    comparison = done["comparison"]
    if comparison is not None:
        verdict = (
            f"{comparison['verdict']} ({comparison['difference']:+.2f} points, "
            f"{comparison['confidence']:.0%} interval {comparison['low']:+.2f} to "
            f"{comparison['high']:+.2f})"
        )
        console.print(verdict, highlight=False, markup=False)
    click.echo(f"winner: {','.join(map(str, found['winner']))}, weights in {run.best(name)}")
    click.echo(f"report: {page}")
    click.echo(f"run:    {run.path}")
    limit = _smaller(run, name, found)
    names = itertools.chain(["smaller"], (f"smaller-{n}" for n in itertools.count(2)))
    free = next(name for name in names if not run.search(name).exists())
    again = _specialize(run, name, found) or _command("search", run.path)
    click.echo(f"next:   {again} --name {free} --limit '{limit}'")


def _specialize(run: "Run", name: str, found: dict[str, Any]) -> str | None:
    """Return the command that answers another limit from a search's table; None without one."""
    source = name if (run.search(name) / "table.json").exists() else found.get("table")
    if source is None:
        return None
    option = "" if source == "main" else f" --search {source}"
    return _command("specialize", run.path) + option


def _smaller(run: "Run", name: str, found: dict[str, Any]) -> str:
    """Return a limit halfway from the cost of a search's winner to that of the smallest network."""
    from nas_cli.limits import METRICS, parse_limit
    from nas_cli.run import read_json
    from nas_cli.spaces import stored_space
    from nas_spaces import FeasibleSet

    asked = read_json(run.search(name) / "search.json", "limits")["limits"]
    limited = [parse_limit(text).metric for text in asked]
    metric = limited[0] if limited and "macs" not in limited else "macs"
    space = stored_space(run.path, run.config.space)
    low, high = FeasibleSet(space).attainable(METRICS[metric](space))
    return f"{metric}<={math.ceil(50 * (low + found['values'][metric]) / high)}%"


if __name__ == "__main__":
    sys.exit(main())
