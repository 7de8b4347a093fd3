"""The command ``nas``: its commands, and what they do in their order.

What a command needs it imports itself: `nas --help` loads none of it, and torch is loaded only by
the commands that compute with it.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from nas_cli.folder import MAIN_SEARCH, RESULT, SEARCH_SETTINGS
from nas_cli.group import Commands, command_of, remember
from nas_cli.options import RUN_OPTIONS, takes

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nas-cli")
def main() -> None:
    """Neural architecture search: from images and a limit to a trained network.

    `nas pipeline` does all of it; its stages can be run one by one: train, search, retrain,
    report. Costs are in multiply-adds (macs), which papers often call FLOPs.
    """


@main.command()
@takes(*RUN_OPTIONS, "weights", "warm_start", "resume", "json")
def pipeline(as_json: bool, **options: Any) -> None:
    """Do all of it: train, search, retrain, report."""
    from nas_cli.opening import started

    with started("pipeline", options) as shop:
        from nas_cli.ending import finish
        from nas_cli.stage_retrain import retrain as retrain_stage
        from nas_cli.stage_search import search as search_stage
        from nas_cli.stage_search import search_settings
        from nas_cli.stage_train import train_supernet

        train_supernet(shop)
        if (shop.run.search(MAIN_SEARCH) / SEARCH_SETTINGS).exists():
            # Begun by `nas search`, perhaps with limits of its own: that one is gone on with.
            shop.run.config = search_settings(shop.run, MAIN_SEARCH, (), resume=True)
        search_stage(shop, MAIN_SEARCH)
        retrain_stage(shop, MAIN_SEARCH)
        finish(shop.run, MAIN_SEARCH, as_json)


@main.command()
@takes(*RUN_OPTIONS, "weights", "resume", "json")
def train(as_json: bool, **options: Any) -> None:
    """Train a supernet, to search it as often as you like."""
    from nas_cli.opening import started

    with started("train", options) as shop:
        from nas_cli.run import read_json
        from nas_cli.stage_train import train_supernet

        train_supernet(shop)
        run = shop.run
        if as_json:
            click.echo(json.dumps({"run": str(run.path), **read_json(run.train / "summary.json")}))
        else:
            click.echo(f"run:    {run.path}")
            click.echo(f"next:   {command_of('search', run.path)}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@takes("name", "limit", "set", "device")
@click.option("--resume", is_flag=True, help="Go on with the search of that name.")
@takes("json")
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
    from nas_cli.opening import opened

    with opened(run, name, device) as shop:
        from nas_cli.config import key_of, parse_setting
        from nas_cli.ending import show_search
        from nas_cli.run import read_json
        from nas_cli.settings import WHERE
        from nas_cli.stage_search import search as search_stage
        from nas_cli.stage_search import search_settings

        given = [*map(parse_setting, settings), *([{"limits": list(limits)}] if limits else [])]
        shop.run.config = search_settings(shop.run, name, given, resume=resume)
        # Where it is computed is not kept with a search.
        where = [f" --set {shlex.quote(text)}" for text in settings if key_of(text) in WHERE]
        remember("".join([command_of("search", run, name), *where, " --resume"]))
        search_stage(shop, name)
        found = read_json(shop.run.search(name) / RESULT)
        if as_json:
            click.echo(json.dumps({"run": str(run), **found}))
            return
        show_search(shop.run, name, found)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@takes("more_limits")
@click.option("--name", help="Keep the answer as a search of this name, for `nas retrain`.")
@click.option(
    "--search",
    "source",
    default=MAIN_SEARCH,
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
@takes("json")
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
    click.echo(f"next:   {command_of('retrain', run, name)}" if name else "keep:   add --name NAME")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@takes("name", "set", "device", "weights")
@click.option("--resume", is_flag=True, help="Go on, which a retraining does in any case.")
@takes("json")
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
    retrain.KEY=VALUE, baselines=N and references=[...] change settings of RUN; --weights are for
    the winner.
    """
    from nas_cli.opening import opened

    with opened(run, name, device) as shop:
        from nas_cli.config import parse_setting
        from nas_cli.ending import finish
        from nas_cli.stage_retrain import retrain as retrain_stage
        from nas_cli.stage_retrain import retrain_settings

        given = map(parse_setting, settings)
        shop.run.config, weights = retrain_settings(shop.run, name, given, weights)
        remember(command_of("retrain", run, name))
        retrain_stage(shop, name, weights)
        finish(shop.run, name, as_json)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="A table of accuracies in percent: NAS-Bench-Macro's JSON, or CSV with the columns "
    "`architecture` and accuracies, like NAS-Bench-201's.",
)
@takes("column")
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
@click.option("--name", default=MAIN_SEARCH, show_default=True, help="The ranking's name.")
@takes("set", "device")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that train from scratch.  [default: the cores; on a GPU at most 4]",
)
@click.option("--resume", is_flag=True, help="Go on with the ranking of that name.")
@takes("json")
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
    from nas_cli.opening import opened
    from nas_cli.rank_question import ask_rank, question_of

    question = question_of(**asked)
    with opened(run, name, device) as shop:
        from rich.console import Console

        from nas_cli.config import parse_setting
        from nas_cli.rank_text import show_rank
        from nas_cli.report import write_report
        from nas_cli.stage_rank import rank as rank_stage

        given = map(parse_setting, settings)
        shop.run.config, what = ask_rank(shop.run, name, question, given, resume=resume)
        remember(command_of("rank", run, name) + " --resume")
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
@takes("json")
def report(run: Path, as_json: bool) -> None:
    """Write RUN/report.html from what RUN holds so far."""
    from nas_cli.report import write_report

    page = write_report(run)
    click.echo(json.dumps({"run": str(run), "report": str(page)}) if as_json else page)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["pt2", "onnx"]),
    default="pt2",
    show_default=True,
    help="pt2: a program for torch alone; onnx: for runtimes of ONNX.",
)
@takes("name", "json")
def export(run: Path, form: str, name: str, as_json: bool) -> None:
    """Write the retrained winner as a program for other tools.

    Beside its weights, in RUN/best or RUN/searches/NAME/best. The program takes images from 0 to 1,
    any number at a time, normalises them and gives logits; it is read back and compared with the
    network. ONNX needs `pip install 'nas-cli[onnx]'`.
    """
    from nas_cli.export import export_winner, show_export

    record = export_winner(run, form, name)
    click.echo(json.dumps({"run": str(run), **record}) if as_json else show_export(record))


@main.command()
@click.option("--space", help="Search space: a name that `nas spaces` lists, or as of a run.")
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="The table: accuracies in percent of all architectures, as `nas rank` reads them.",
)
@takes("column")
@click.option(
    "--methods",
    help="Names with commas between them.  [default: random,evolution,regularized,nsga2,ppo,fnas]",
)
@click.option("--budget", type=int, help="Architectures of a search, distinct.  [default: 300]")
@click.option("--seeds", type=int, help="Searches of each method.  [default: 50]")
@click.option(
    "--mark",
    type=float,
    help="What is to be reached, in percent of the best accuracy that can be.  [default: 99.9]",
)
@takes("more_limits")
@click.option(
    "--cost-column",
    help="Column of the table with what a training cost.  [default: none, multiply-adds are "
    "counted for --images and --epochs]",
)
@click.option("--images", type=int, help="Images of an epoch of training.  [default: 50000]")
@click.option("--epochs", type=int, help="Epochs of a training.  [default: 200]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the comparison.  [default: runs/compare-SPACE-N]",
)
@takes("seed")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="METHOD.KEY=VALUE",
    help="One setting of a method, for example ppo.policy.lr=0.01. May be given several times.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes that search.  [default: the cores]"
)
@click.option(
    "--resume", is_flag=True, help="Go on with the comparison in --out; begin it if there is none."
)
@takes("json")
def compare(
    out: Path | None, workers: int | None, resume: bool, as_json: bool, **given: Any
) -> None:
    """Compare search methods over the table of a benchmark.

    Every method makes many searches of the same budget, which the table answers in place of
    trainings: how many architectures each needs to come near the best, and whether methods differ.
    """
    from rich.console import Console

    from nas_cli.stage_compare import compare as compare_stage

    def on_begun(folder: Path) -> None:
        remember(f"nas compare --resume --out {shlex.quote(str(folder))}")

    folder, found = compare_stage(
        out,
        given,
        resume=resume,
        workers=workers,
        console=Console(stderr=True),
        on_begun=on_begun,
    )
    from nas_cli.compare_text import show_comparison
    from nas_cli.report.comparison import write_comparison

    page = write_comparison(folder, found)
    if as_json:
        click.echo(json.dumps({"comparison": str(folder), "report": str(page), **found}))
        return
    console = Console()
    for part in show_comparison(found):
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    click.echo(f"report: {page}")


@main.command()
@click.argument("name", required=False)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    help="Show how many architectures are within it; may be given several times, all hold.",
)
@takes("json")
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
@takes("json")
def cost(space: str, arch: str | None, convention: str, as_json: bool) -> None:
    """Show what an architecture costs.

    SPACE ARCH, where SPACE is what --space takes and ARCH a row of option indices like 2,1,0,1 or
    the benchmark's own notation; or the name of a published architecture.
    """
    from nas_cli.show import describe_cost, show_cost

    record = describe_cost(space, arch, convention)
    click.echo(json.dumps(record) if as_json else show_cost(record))


@main.command()
@click.argument("name", required=False)
@takes("method", "data", "json")
def settings(name: str | None, as_json: bool, **options: Any) -> None:
    """List the settings, or some: what they mean, their defaults.

    NAME is one like train.lr, or a table like train, whose settings are then shown. Defaults are
    those of --method for images like --data.
    """
    from nas_cli.settings_text import describe_settings, show_settings

    record = describe_settings(name, **options)
    click.echo(json.dumps(record) if as_json else show_settings(record))


if __name__ == "__main__":
    sys.exit(main())
