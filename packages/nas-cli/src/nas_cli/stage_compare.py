"""Many searches by several methods over the table of a benchmark, each with the same budget.

A search asks the table in place of trainings, so that it takes seconds; what it would have cost is
counted all the same.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import click
from attrs import frozen
from rich.console import Console

import nas_search
from nas_cli.compare_bench import Bench, open_bench
from nas_cli.compare_methods import OBJECTIVES, TORCH, build_searcher, rng_of
from nas_cli.compare_question import (
    SETTINGS,
    CompareQuestion,
    ask_compare,
    question_from,
    stored_question,
)
from nas_cli.compare_result import Setting, describe, write_curves
from nas_cli.config import cores
from nas_cli.progress import stage
from nas_cli.run import lock_folder, new_folder, read_json, write_json
from nas_cli.space_names import short_name, shown_name
from nas_spaces import History, InputError, Metric, replace_file

__all__ = ["RESULT", "Bench", "compare", "open_bench", "run_search"]

RESULT = "comparison.json"
"""File in a comparison's folder: what it came to."""


@frozen
class _Job:
    """One search. ``asked``: the question as JSON. ``digest``: of the table."""

    folder: Path
    asked: str
    digest: str
    method: str
    index: int

    @property
    def result(self) -> Path:
        return _history(self.folder, self.method, self.index)


def _history(folder: Path, method: str, index: int) -> Path:
    return folder / "searches" / method / f"{index}.csv"


def compare(
    out: Path | None,
    given: Mapping[str, Any],
    *,
    resume: bool = False,
    workers: int | None = None,
    console: Console,
    on_begun: Callable[[Path], None] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Compare methods, unless that is done, and return the folder and the result.

    Every finished search is kept, so that a comparison that was killed goes on where it was, with
    the same result. Each process computes with one thread; the number of processes decides
    nothing.

    Args:
        out: folder of the comparison; None for the first free ``runs/compare-SPACE-N``.
        given: options, see `question_of`.
        resume: go on with the comparison in ``out``; where there is none, begin it.
        workers: processes at a time, None for the cores. With 1, this process does it all.
        console: where progress is shown.
        on_begun: receives the folder, once there is something to go on with.

    Raises:
        InputError: what is asked cannot be answered; see `ask_compare`, `open_bench` and
            `build_searcher`.
    """
    question = ask_compare(out, given, resume=resume)
    if out is not None and (out / RESULT).exists():
        _say(console, f"compare: {out} is finished already")
        return out, read_json(out / RESULT)
    bench = open_bench(question)
    _introduce(console, question, bench)
    _try_out(question, bench)
    with _opened(out, question, bench) as folder:
        _say(console, f"folder:   {folder}")
        if on_begun is not None:
            on_begun(folder)
        _search_all(folder, question, bench, workers, console)
        histories = _read_histories(folder, question, bench)
        setting = Setting(
            question=question,
            truth=bench.truth,
            architectures=bench.networks,
            by=bench.error.by,
            best=float(bench.error(bench.rows).min()),
            mark=bench.mark,
            at_mark=int((bench.error(bench.rows) <= bench.mark).sum()),
            limits=tuple(map(str, bench.feasible.limits)),
            cost=bench.cost.name,
            cost_unit=bench.cost.unit,
        )
        write_curves(folder / "curves.csv", setting, histories)
        record = describe(setting, histories)
        write_json(folder / RESULT, record)
    return folder, record


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _as_json(question: CompareQuestion) -> str:
    return json.dumps(attrs.asdict(question))


def _introduce(console: Console, question: CompareQuestion, bench: Bench) -> None:
    truth, best = bench.truth, float(bench.error(bench.rows).min())
    _say(console, f"table:    {truth.file}, {truth.column}, sha256 {truth.digest[:12]}")
    if truth.unknown.count:
        examples = ", ".join(truth.unknown.examples)
        _say(console, f"          {truth.unknown.count:,} entries are no architectures: {examples}")
    space = shown_name(bench.space.name, question.space)
    _say(console, f"space:    {space}: {bench.networks:,} different networks")
    for limit in bench.feasible.limits:
        _say(console, f"limit:    {limit}")
    if bench.error.by == "network":
        _say(
            console,
            "          rows that the table lacks: the mean of equal ones stands for them all",
        )
    _say(
        console,
        f"mark:     {100 * (1 - bench.mark):.2f} %, {question.mark:g} % of the best, "
        f"{100 * (1 - best):.2f} %",
    )
    _say(console, f"methods:  {', '.join(question.methods)}; {question.seeds} searches of each")


def _try_out(question: CompareQuestion, bench: Bench) -> None:
    """Refuse settings that no search could begin with; those that need no torch first."""
    for name in sorted(question.methods, key=TORCH.__contains__):
        if name in TORCH:
            _load_torch()
        build_searcher(
            name,
            question.settings,
            bench.feasible,
            rng=rng_of(question.seed, name, 0),
            budget=question.budget,
        )


@lru_cache(maxsize=1)
def _load_torch() -> None:
    click.echo("loading torch", err=True)
    import torch  # noqa: F401


@contextlib.contextmanager
def _opened(out: Path | None, question: CompareQuestion, bench: Bench) -> Iterator[Path]:
    """Make or open the folder and keep other processes from writing to it."""
    folder = out or new_folder(f"compare-{Path(short_name(question.space)).stem.replace(':', '-')}")
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        known = folder / SETTINGS
        if not known.exists():
            record = {
                "question": attrs.asdict(question),
                "digest": bench.truth.digest,
                "versions": _versions(),
            }
            write_json(known, record)
        elif stored_question(folder) != question:
            raise InputError(
                f"{folder} was begun with another question by another process; choose another --out"
            )
        elif (before := read_json(known).get("versions", {})) != _versions():
            made = ", ".join(f"{name} {one}" for name, one in before.items())
            raise InputError(
                f"{folder} was begun with {made or 'nas-cli before 0.6.2'}, whose searches may go "
                "other ways than those of this version; install that one to go on, or begin "
                "another comparison with another --out"
            )
        elif read_json(known, "digest")["digest"] != bench.truth.digest:
            raise InputError(
                f"{question.truth} has changed since {folder} was begun; restore it, or begin "
                "another comparison with another --out"
            )
        yield folder


def _versions() -> dict[str, str]:
    """Return the versions of what a search depends on."""
    return {name: metadata.version(name) for name in ("nas-search", "nas-cli")}


def _search_all(
    folder: Path, question: CompareQuestion, bench: Bench, workers: int | None, console: Console
) -> None:
    """Make all searches that are not there yet."""
    asked = _as_json(question)
    jobs = [
        _Job(folder, asked, bench.truth.digest, method, index)
        for index in range(question.seeds)
        for method in question.methods
    ]
    left = [job for job in jobs if not job.result.exists()]
    workers = min(workers or cores(), max(len(left), 1))
    if not left:
        return
    _load_torch()
    from nas_samplers.workers import Outcome, run_here, run_tasks

    failed: list[str] = []
    finished = len(jobs) - len(left)
    with stage(console, "compare", len(jobs), "searches") as update:

        def on_outcome(place: int, outcome: Outcome) -> None:
            nonlocal finished
            job = left[place]
            if outcome.failed is not None:
                failed.append(f"{job.method}, search {job.index}: {outcome.failed}")
            else:
                finished += 1
            update(finished, f"{job.method} {job.index + 1} of {question.seeds}")

        update(finished, "")
        if workers == 1:
            run_here(_search_one, left, on_outcome=on_outcome)
        else:
            run_tasks(_search_one, left, workers=workers, on_outcome=on_outcome)
    if failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise InputError(
            f"compare: {failed[0]}{more}; the searches that are finished are kept in {folder}"
        )


def _search_one(job: _Job, _: Any) -> None:
    """Make one search, in whatever process this is, and keep what it measured."""
    question, bench = _kept_bench(job.asked, job.digest)
    with _one_thread():
        history = run_search(bench, question, job.method, job.index)
    job.result.parent.mkdir(parents=True, exist_ok=True)
    replace_file(job.result, history.to_csv())


@lru_cache(maxsize=1)
def _kept_bench(asked: str, digest: str) -> tuple[CompareQuestion, Bench]:
    """Return what a process needs that makes several searches of one comparison."""
    question = question_from(json.loads(asked))
    bench = open_bench(question)
    if bench.truth.digest != digest:
        raise InputError(f"{question.truth} has changed while it was searched; restore it")
    return question, bench


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch compute with one thread: more slow small networks down, and round otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_search(bench: Bench, question: CompareQuestion, method: str, index: int) -> History:
    """Return what one search measured: columns error, macs and training, among others.

    Args:
        bench: the table.
        question: what is asked, with the settings of all methods.
        method: one of them.
        index: of the search, from 0.
    """
    searcher = build_searcher(
        method,
        question.settings,
        bench.feasible,
        rng=rng_of(question.seed, method, index),
        budget=question.budget,
    )
    metrics: dict[str, Metric] = {"error": bench.error, "macs": bench.macs}
    told = OBJECTIVES.get(method, ("error",))
    return nas_search.search(
        searcher,
        [metrics[name] for name in told],
        space=bench.space,
        budget=question.budget,
        feasible=bench.feasible,
        record=[*(one for name, one in metrics.items() if name not in told), bench.cost],
    ).history


def _read_histories(
    folder: Path, question: CompareQuestion, bench: Bench
) -> dict[str, list[History]]:
    """Return the searches of each method."""
    found: dict[str, list[History]] = {}
    for method in question.methods:
        own = found.setdefault(method, [])
        for index in range(question.seeds):
            path = _history(folder, method, index)
            try:
                history = History.from_csv(path.read_text())
                for name in ("error", bench.cost.name):
                    history.column(name)
            except InputError as error:
                raise InputError(
                    f"{path} is damaged ({error}); remove it and go on by --resume"
                ) from error
            own.append(history)
    return found
