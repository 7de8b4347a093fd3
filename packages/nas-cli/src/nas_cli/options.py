"""The options that several commands of `nas` have in the same words; others stand at theirs."""

from collections.abc import Callable
from pathlib import Path

import click

from nas_cli.folder import MAIN_SEARCH

__all__ = ["OPTIONS", "RUN_OPTIONS", "takes"]

OPTIONS: dict[str, Callable[[Callable[..., None]], Callable[..., None]]] = {
    "method": click.option("--method", help="Method, see the README.  [default: spos]"),
    "space": click.option(
        "--space",
        help="Search space: a name that `nas spaces` lists, a JSON file, or module:attribute for "
        "one of your own; +channels and +bits behind it add choices, @ROW fixes those before.  "
        "[default: what fits the data]",
    ),
    "blocks": click.option(
        "--blocks",
        type=click.Path(path_type=Path),
        help="An earlier run: its winner's blocks are fixed, and what --space adds to them is "
        "searched, by default what --method does.",
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
    "more_limits": click.option(
        "--limit",
        "limits",
        multiple=True,
        help="As of a search; may be given several times, all hold.  [default: none]",
    ),
    "column": click.option(
        "--column", help="Which accuracy of the table.  [default: the only one, or mean_acc]"
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
        help="One setting, for example train.epochs=5; `nas settings` lists them. May be given "
        "several times.",
    ),
    "weights": click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="Weights to start from: safetensors, or a torch file without code.",
    ),
    "warm_start": click.option(
        "--warm-start",
        type=click.Path(path_type=Path),
        help="An earlier run by --method fnas, whose critic and pool this one begins with.",
    ),
    "resume": click.option(
        "--resume",
        is_flag=True,
        help="Go on with the run in --out; where there is none, begin one with what is given.",
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    ),
    "name": click.option(
        "--name", default=MAIN_SEARCH, show_default=True, help="The search's name."
    ),
}

RUN_OPTIONS = (
    "method",
    "space",
    "blocks",
    "data",
    "limit",
    "out",
    "seed",
    "device",
    "config",
    "set",
)
"""Those of the commands that begin a run."""


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds options to a command, by their names in `OPTIONS`."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(names):
            function = OPTIONS[name](function)
        return function

    return add
