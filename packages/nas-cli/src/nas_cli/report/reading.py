"""Reading a run's folder."""

import json
import math
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nas_cli.config import read_values
from nas_cli.events import read_events
from nas_cli.folder import (
    ALPHAS_FILE,
    BLOCKS,
    CONFIG,
    DISTRIBUTION_FILE,
    MAIN_SEARCH,
    RANKS,
    RESULT,
    SEARCH_SETTINGS,
    SEARCHES,
    check_run,
    cure,
    search_folder,
)
from nas_cli.report.files import optional, parse, required, structure, text_of
from nas_cli.report.reading_alphas import read_alphas
from nas_cli.report.reading_distribution import read_distribution
from nas_cli.report.records import ConfigRecord, RunData
from nas_cli.report.records_rank import Rank, RankResult, Similarity
from nas_cli.report.records_search import CriticRule, Retraining, Search, SearchResult
from nas_cli.report.records_training import Curve, Training
from nas_cli.run_spaces import blocks_of, live_space, stored_space
from nas_search import CandidateTable
from nas_spaces import History, InputError, SearchSpace

__all__ = ["load_run"]


def load_run(run: Path) -> RunData:
    """Read a run's folder.

    A stage that has not finished has no file yet and is left out; a torn last line of
    ``events.jsonl`` is left out too.

    Raises:
        InputError: no run there, or a file that is missing or malformed; the message names it.
    """
    run = Path(run)
    check_run(run)
    read_values(run / CONFIG)  # its errors
    config_text = text_of(run / CONFIG)
    config = parse(run / CONFIG, lambda: structure(tomllib.loads(config_text), ConfigRecord))
    if (run / BLOCKS).is_dir() and not (run / "space.json").exists():
        raise InputError(
            f"{run} is searching its blocks, or was stopped there: `nas report {run / BLOCKS}` "
            f"shows them, `nas pipeline --resume --out {run}` goes on"
        )
    space = parse(run / "space.json", lambda: stored_space(run, config.space))
    curves, seconds = _events(run / "events.jsonl")

    train = optional(run / "train" / "summary.json", Training)
    if train is not None and tuple(map(len, train.path_counts)) != space.num_options:
        raise InputError(
            f"{run / 'train' / 'summary.json'}: path_counts has rows of lengths "
            f"{[len(row) for row in train.path_counts]}; the choices of space {space.name!r} have "
            f"{list(space.num_options)} options"
        )

    names = _folders(run / SEARCHES)
    # The first search is the run's own; the others follow by name.
    names.sort(key=lambda name: (name != MAIN_SEARCH, name))
    done = [name for name in names if (search_folder(run, name) / RESULT).exists()]
    ranks = [_rank(run / RANKS / name, space) for name in _folders(run / RANKS)]
    shown = tuple(rank for rank in ranks if rank.result or rank.similarity)

    return RunData(
        name=run.resolve().name,
        config=config,
        config_text=config_text,
        space=space,
        blocks=blocks_of(run),
        curves=curves,
        seconds=seconds,
        train=train,
        alphas=read_alphas(run / "train" / ALPHAS_FILE, space),
        distribution=read_distribution(run / "train" / DISTRIBUTION_FILE, space),
        searches=tuple(_search(search_folder(run, name), space) for name in done),
        unfinished=tuple(name for name in names if name not in done),
        ranks=shown,
        unfinished_ranks=tuple(rank.folder for rank in ranks if rank not in shown),
    )


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _check(path: Path, space: SearchSpace, archs: ArrayLike) -> None:
    parse(path, lambda: space.check(archs))


def _history(path: Path, space: SearchSpace) -> History:
    history = _columns(path, space, ("generation", "error", "macs", "params"))
    if not np.isfinite(history.values).all():
        raise InputError(
            f"{path}: row {int(np.argwhere(~np.isfinite(history.values))[0, 0])} "
            "holds a value that is no finite number"
        )
    return history


def _columns(path: Path, space: SearchSpace, names: tuple[str, ...]) -> History:
    history = parse(path, lambda: History.from_csv(text_of(path)))
    for name in names:
        parse(path, partial(history.column, name))
    if len(history):
        _check(path, space, history.archs)
    return history


def _search(folder: Path, space: SearchSpace) -> Search:
    path = folder / RESULT
    result = required(path, SearchResult)
    _check(path, space, [result.winner])
    # What was only predicted has no measured error.
    needed = (
        {"macs", "params"} if result.predicted_error is not None else {"error", "macs", "params"}
    )
    missing = needed - set(result.values)
    if missing:
        raise InputError(f"{path}: values lacks {', '.join(sorted(missing))}")
    for number, step in enumerate(result.path):
        sizes = space.num_options
        if not 0 <= step.choice < len(sizes) or not all(
            0 <= option < sizes[step.choice] for option in (step.before, step.after)
        ):
            raise InputError(
                f"{path}: path[{number}] replaces option {step.before} of choice {step.choice} by "
                f"{step.after}; space {space.name!r} has no such option"
            )
    rows, random, saved = (folder / name for name in ("history.csv", "random.csv", "table.json"))
    table = None
    if saved.exists():
        live = live_space(folder.parents[1], space)
        table = parse(saved, lambda: CandidateTable.from_json(text_of(saved), space=live))
    return Search(
        folder.name,
        result,
        *_settings(folder / SEARCH_SETTINGS),
        _history(rows, space) if result.evaluated or rows.exists() else None,
        _history(random, space) if random.exists() else None,
        table,
        _retrain(folder / "retrain" / RESULT, space),
    )


def _settings(path: Path) -> tuple[str | None, CriticRule | None]:
    """Return what proposed the architectures of a search, and its critic."""
    if not path.exists():
        return None, None
    settings = parse(path, lambda: structure(json.loads(text_of(path)), dict[str, Any]))
    search, critic, policy = (settings.get(key) for key in ("search", "critic", "policy"))
    searcher = search.get("searcher") if isinstance(search, dict) else None
    rule = None
    if searcher == "ppo" and isinstance(critic, dict) and "members" in critic:
        asked = {**(policy or {}), **critic}
        rule = parse(path, lambda: structure(asked, CriticRule))
    return None if searcher is None else str(searcher), rule


def _retrain(path: Path, space: SearchSpace) -> Retraining | None:
    retrain = optional(path, Retraining)
    if retrain is not None:
        if [one.name for one in retrain.candidates].count("winner") != 1:
            raise InputError(f"{path}: candidates must name exactly one 'winner'")
        for one in retrain.candidates:
            if one.architecture is not None:
                _check(path, space, [one.architecture])
    return retrain


def _rank(folder: Path, space: SearchSpace) -> Rank:
    values, path = folder / "values.csv", folder / "similarity.json"
    similarity = optional(path, Similarity)
    if similarity is not None:
        _check_similarity(path, similarity)
    result = optional(folder / RESULT, RankResult)
    rows = _columns(values, space, ("truth",)) if values.exists() else None
    if result is not None and rows is not None and len(rows) != result.architectures:
        raise InputError(
            f"{values} has {len(rows)} rows of {result.architectures} architectures; {cure(values)}"
        )
    return Rank(folder.name, result, rows, similarity)


def _check_similarity(path: Path, similarity: Similarity) -> None:
    for block in similarity.blocks:
        k = len(block.options)
        if [len(row) for row in block.cosine] != [k] * k:
            raise InputError(
                f"{path}: block {block.block!r} has {k} options and a cosine of rows of lengths "
                f"{[len(row) for row in block.cosine]}; expected {k} rows of {k}"
            )
    maps = similarity.channel
    if maps is not None:
        widths = {len(row) for one in maps.maps for row in one}
        heights = {len(one) for one in maps.maps}
        if len(maps.maps) != len(maps.options) or len(widths) != 1 or len(heights) != 1:
            raise InputError(
                f"{path}: channel has {len(maps.options)} options and {len(maps.maps)} maps of "
                f"heights {sorted(heights)} and widths {sorted(widths)}; expected one map an "
                "option, all of one size"
            )


def _events(path: Path) -> tuple[dict[str, Curve], dict[str, float]]:
    """Return the curve of each stage, and the seconds of each finished stage."""
    logged: dict[str, dict[int, tuple[float, float, float, int, str]]] = {}
    seconds: dict[str, float] = {}
    for number, event in read_events(path, strict=True):
        try:
            if event["event"] == "step":
                # A resumed run repeats steps: the last line counts.
                logged.setdefault(event["stage"], {})[int(event["step"])] = (
                    float(event["epoch"]),
                    float(event["loss"]),
                    float(event["lr"]),
                    int(event["steps"]),
                    str(event.get("phase") or ""),
                )
            elif event["event"] == "stage" and event["status"] == "finished":
                seconds[str(event["stage"])] = float(event["seconds"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}, line {number} is malformed: {error!r}") from error
    curves = {}
    for stage, steps in logged.items():
        order = sorted(step for step, values in steps.items() if math.isfinite(values[1]))
        if order:
            epoch, loss, lr, total, phase = zip(*(steps[step] for step in order), strict=True)
            curves[stage] = Curve(
                np.array(order, dtype=np.float64),
                np.array(epoch),
                np.array(loss),
                np.array(lr),
                total[-1],
                phase,
            )
    return curves, seconds
