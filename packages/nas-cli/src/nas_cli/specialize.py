"""Answers from a candidate table: an architecture for any limit, without torch or an evaluation."""

import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from nas_cli.architecture_text import option_lines, option_name, options_of
from nas_cli.folder import CONFIG, RESULT, SEARCH_SETTINGS, check_name, check_run, search_folder
from nas_cli.limits import cost_tables, merge_limits, parse_limit
from nas_cli.run_spaces import live_space, stored_space
from nas_search import CandidateTable, Specialised, specialise
from nas_spaces import InputError, Limit, SearchSpace

__all__ = ["TABLE", "answer_limits", "describe_answer", "show_answer", "specialize"]

Score = Literal["loss", "loss/saving"]

TABLE = "table.json"
# Steps of a path that a person is shown at its beginning and at its end.
SHOWN_STEPS = 8


def answer_limits(
    table: CandidateTable, limits: Sequence[Limit], *, score: Score, exact: bool
) -> Specialised:
    """Return the table's row within the limits; exactly the best one for limits from below.

    Args:
        table: what a sweep measured.
        limits: all of them hold.
        score: of a replacement, as in `nas_search.specialise`.
        exact: the table's optimum in place of the greedy path.
    """
    exact = exact or any(limit.lower is not None for limit in limits)
    return specialise(table, limits, score=score, method="exact" if exact else "greedy")


def describe_answer(
    table: CandidateTable, limits: Sequence[Limit], found: Specialised
) -> dict[str, Any]:
    """Return what ``result.json`` says of a row that comes from a table."""
    names = [limit.metric.name for limit in limits]
    path = [
        {
            "choice": step.choice,
            "before": step.before,
            "after": step.after,
            "loss": step.loss,
            "costs": dict(zip(names, step.costs, strict=True)),
        }
        for step in found.path
    ]
    return {
        "method": found.method,
        "proven": found.method == "exact" and found.proven,
        "start_error": table.base_error,
        "predicted_error": table.base_error + found.loss,
        "path": path,
    }


def specialize(
    path: Path, limits: Iterable[str], *, name: str | None, source: str, score: Score, exact: bool
) -> dict[str, Any]:
    """Return the row within limits by the table of a run's search; keep it under a name.

    Args:
        path: the run.
        limits: as written.
        name: of the search that is made of the answer, to be retrained; None for none.
        source: the search that has the table.
        score: as in `answer_limits`.
        exact: as in `answer_limits`.

    Raises:
        InputError: no run or table there, limits that nothing satisfies, or a search of that name.
    """
    begun = time.monotonic()
    texts = list(limits)
    if name is not None:
        check_name(name)
    for text in texts:
        parse_limit(text)  # before what the run may lack
    space = _space(path)
    table = _table(path, space, source)
    wanted = merge_limits(space, texts)
    found = answer_limits(table, wanted, score=score, exact=exact)
    costs = cost_tables(space, texts)
    record = {
        "name": name,
        "limits": [str(limit) for limit in wanted],
        "winner": found.row.tolist(),
        "values": {key: float(cost([found.row])[0]) for key, cost in costs.items()},
        "evaluated": 0,
        "stopped": "complete",
        "space_size": space.size,
        "table": source,
        **describe_answer(table, wanted, found),
    }
    if name is not None:
        _keep(path, name, source, texts, record)
    return {**record, "seconds": round(time.monotonic() - begun, 3)}


def _space(path: Path) -> SearchSpace:
    """Return the space of a run, which may be in use by another process."""
    check_run(path)
    config = path / CONFIG
    try:
        name = tomllib.loads(config.read_text())["space"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise InputError(f"{config} is damaged: {error!r}") from error
    return stored_space(path, str(name))


def _table(path: Path, space: SearchSpace, source: str) -> CandidateTable:
    file = search_folder(path, source) / TABLE
    if not file.is_file():
        others = sorted(one.parent.name for one in path.glob(f"searches/*/{TABLE}"))
        cure = (
            f"give --search {' or --search '.join(others)}"
            if others
            else f"`nas search {path} --name table --set search.searcher=progressive` measures "
            f"one on the trained supernet, then give --search table"
        )
        raise InputError(f"search {source!r} of {path} has no candidate table; {cure}")
    try:
        return CandidateTable.from_json(file.read_text(), space=live_space(path, space))
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}") from error


def _keep(path: Path, name: str, source: str, limits: list[str], record: dict[str, Any]) -> None:
    """Write an answer as a search, which can be retrained and reported like any other."""
    from nas_cli.run import open_run, read_json, write_json  # with all settings

    run = open_run(path)
    try:
        folder = run.search(name)
        if (folder / SEARCH_SETTINGS).exists():
            raise InputError(f"{path} holds a search {name!r} already; choose another --name")
        settings = read_json(run.search(source) / SEARCH_SETTINGS, "search")["search"]
        # The result first: a search with settings and no result would be gone on with.
        write_json(folder / RESULT, record)
        write_json(folder / SEARCH_SETTINGS, {"limits": limits, "search": settings})
    finally:
        run.close()


def show_answer(path: Path, record: dict[str, Any]) -> str:
    """Return an answer for a person."""
    space = _space(path)
    steps = record["path"]
    costs = ", ".join(f"{value:,.0f} {key}" for key, value in record["values"].items())
    way = "greedy"
    if record["method"] == "exact":
        way = "the best by the table" if record["proven"] else "the best that was found"
    lines = [
        f"limits: {' and '.join(record['limits']) or 'none'}",
        f"row:    {','.join(map(str, record['winner']))}",
        *(f"        {line}" for line in option_lines(options_of(space, record["winner"]))),
        f"cost:   {costs}",
        f"top-1:  {_top1(record['predicted_error'])} predicted from the table, nothing was "
        f"evaluated; {_top1(record['start_error'])} measured where the table starts",
        f"path:   {len(steps)} replacement{'' if len(steps) == 1 else 's'}, {way}",
    ]
    table = [("choice", "before", "after", "points", *(steps[0]["costs"] if steps else ()))]
    for step in steps:
        choice = space.choices[step["choice"]]
        table.append(
            (
                choice.name,
                option_name(choice, step["before"]),
                option_name(choice, step["after"]),
                f"{0.0 - 100 * step['loss']:+.2f}",  # not -0.00
                *(f"{value:,.0f}" for value in step["costs"].values()),
            )
        )
    if steps:
        left = len(steps) - 2 * SHOWN_STEPS
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        rows = [
            "  ".join(
                text.ljust(width) if column < 3 else text.rjust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        if left > 1:
            rows[1 + SHOWN_STEPS : -SHOWN_STEPS] = [f"... {left} more, see --json"]
        lines += [f"        {row}".rstrip() for row in rows]
    lines.append(f"time:   {record['seconds']:.2f} s")
    return "\n".join(lines)


def _top1(error: float) -> str:
    return f"{100 * (1 - error):.2f} %"
