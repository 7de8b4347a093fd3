"""How a command ends: what it found, and the command that comes next."""

import itertools
import json
import math
import shlex
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from nas_cli.architecture_text import option_lines, options_of
from nas_cli.folder import BLOCKS, CONFIG, MAIN_SEARCH, RESULT, SEARCH_SETTINGS
from nas_cli.group import command_of
from nas_cli.limits import METRICS, RECORDED, build_limits, parse_limit
from nas_cli.run import Run, read_json
from nas_cli.run_spaces import blocks_of, stored_space
from nas_cli.trained_paths import beyond_paths
from nas_spaces import FeasibleSet

__all__ = ["finish", "show_search"]


def show_search(run: Run, name: str, found: dict[str, Any]) -> None:
    """Show what a search found."""
    values = found["values"]
    click.echo(f"limits: {' and '.join(found['limits']) or 'none'}")
    click.echo(f"winner: {','.join(map(str, found['winner']))}")
    _show_options(run, found)
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
        by = "with the supernet's weights"
        if found.get("evaluation") == "standalone":
            by = f"trained alone for {found['epochs']:g} epochs"
        click.echo(
            f"top-1:  {100 * (1 - values['error']):.2f} % of {found['evaluation_images']:,} "
            f"held-out images {by}, {how}{beside}"
        )
    if "counts" in found:
        many = found["counts"]
        click.echo(
            f"policy: learned from {many['measured']:,} measured rows, {many['trusted']:,} "
            f"answered by the critic, {many['known']:,} known before, {many['replayed']:,} replayed"
        )
    if "pool" in found:
        pool = found["pool"]
        verdict = f"; {pool['verdict']}" if pool["verdict"] else ""
        click.echo(
            f"pool:   {pool['hits']:,} of {pool['looked_up']:,} blocks began from it{verdict}"
        )
    if found.get("finalists"):
        best = min(one["error"] for one in found["finalists"])
        click.echo(
            f"best:   of {len(found['finalists'])} trained as long as a winner the best has "
            f"{100 * (1 - best):.2f} %"
        )
    if found.get("near_target") is False:
        click.echo("        none of the search's architectures is near reward.target")
    for one in found.get("failed", ()):
        click.echo(f"failed: {','.join(map(str, one['architecture']))}: {one['why']}")
    again = _specialize(run, name, found)
    if again is not None:
        click.echo(f"other:  {again} --limit '{_smaller(run, name, found)}'")
    click.echo(f"next:   {command_of('retrain', run.path, name)}")


def finish(run: Run, name: str, as_json: bool) -> None:
    """Write the report and show the result."""
    # With all of plotly.
    from nas_cli.report import write_report
    from nas_cli.report.words import holds

    page = write_report(run.path)
    found = read_json(run.search(name) / RESULT, "winner", "values", "limits")
    done = read_json(run.retrain(name) / RESULT)
    if as_json:
        value = {"run": str(run.path), "report": str(page), "search": found, **done}
        click.echo(json.dumps(value))
        return
    images = done["candidates"][0]["test_images"]
    title = f"trained from scratch, {images:,} test images"
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE, show_edge=False, pad_edge=False
    )
    more = done["candidates"][0].get("costs", {})
    errors = [one.get("supernet_error") for one in done["candidates"]]
    asked = any(error is not None for error in errors)
    for heading in ("network", "top-1 %", *(["supernet %"] if asked else []), *RECORDED, *more):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    marked = False
    for one, error in zip(done["candidates"], errors, strict=True):
        judged = ["-" if error is None else f"{100 * (1 - error):.2f}"] if asked else []
        values = {key: one[key] for key in RECORDED} | {key: one["costs"][key] for key in more}
        outside = not holds(values, found["limits"])
        marked |= outside
        label = f"{one['name']} *" if outside else one["name"]
        costs = (f"{cost:,}" for cost in values.values())
        table.add_row(label, f"{one['top1']:.2f}", *judged, *costs)
    Console(width=1000).print(table)  # numbers stay whole where the terminal is narrower
    bounds = " and ".join(found["limits"]) or "none"
    click.echo(f"limits: {bounds}{' (* is outside)' if marked else ''}")
    comparison = done["comparison"]
    if comparison is not None:
        size = f"{comparison['difference']:+.2f} points"
        if comparison["low"] is not None:
            size += (
                f", {comparison['confidence']:.0%} interval {comparison['low']:+.2f} to "
                f"{comparison['high']:+.2f}"
            )
        Console().print(f"{comparison['verdict']} ({size})", highlight=False, markup=False)
    elif any(one["name"] == "random-1" for one in done["candidates"]):
        click.echo(
            "only 1 random architecture was trained, too few to say what the search was worth"
        )
    else:
        click.echo(
            "no random architectures were trained, so nothing says what the search was worth"
        )
    click.echo(f"winner: {','.join(map(str, found['winner']))}, weights in {run.best(name)}")
    _show_options(run, found)
    click.echo(f"report: {page}")
    click.echo(f"run:    {run.path}")
    click.echo(f"export: {command_of('export', run.path, name)}")
    limit = _smaller(run, name, found)
    again = _specialize(run, name, found)
    if again is None and not _is_trained(run, limit):
        click.echo(f"next:   {_another_run(run)} --limit '{limit}'")
        return
    names = itertools.chain(["smaller"], (f"smaller-{n}" for n in itertools.count(2)))
    free = next(name for name in names if not run.search(name).exists())
    again = again or command_of("search", run.path)
    click.echo(f"next:   {again} --name {free} --limit '{limit}'")


def _show_options(run: Run, found: dict[str, Any]) -> None:
    """Show what the row of a search's winner stands for."""
    space = stored_space(run.path, run.config.space)
    for line in option_lines(options_of(space, found["winner"])):
        click.echo(f"        {line}")


def _specialize(run: Run, name: str, found: dict[str, Any]) -> str | None:
    """Return the command that answers another limit from a search's table; None without one."""
    source = name if (run.search(name) / "table.json").exists() else found.get("table")
    if source is None:
        return None
    option = "" if source == MAIN_SEARCH else f" --search {source}"
    return command_of("specialize", run.path) + option


def _smaller(run: Run, name: str, found: dict[str, Any]) -> str:
    """Return a limit halfway from the cost of a search's winner to that of the smallest network."""
    asked = read_json(run.search(name) / SEARCH_SETTINGS, "limits")["limits"]
    limited = [parse_limit(text).metric for text in asked]
    metric = limited[0] if limited and "macs" not in limited else "macs"
    space = stored_space(run.path, run.config.space)
    low, high = FeasibleSet(space).attainable(METRICS[metric](space))
    return f"{metric}<={math.ceil(50 * (low + found['values'][metric]) / high)}%"


def _is_trained(run: Run, limit: str) -> bool:
    """Whether a supernet, where there is one, was trained on what a search within a limit finds."""
    space = stored_space(run.path, run.config.space)
    return beyond_paths(run, build_limits(space, [limit])) is None


def _another_run(run: Run) -> str:
    """Return the command that begins a run of the same settings, on the same blocks."""
    blocks = ""
    if blocks_of(run.path) is not None:
        blocks = f" --blocks {shlex.quote(str(run.path / BLOCKS))}"
    return f"nas pipeline --config {shlex.quote(str(run.path / CONFIG))}{blocks}"
