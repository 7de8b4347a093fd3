"""What architectures reach when each is trained alone: tables of benchmarks, and one's own.

A table is a CSV file with the column ``architecture`` (in the space's own notation, or option
indices such as ``"2,1,0"``) and columns of accuracy in percent; or a JSON object that maps an
architecture to an object of such values, as NAS-Bench-Macro comes. A list of values there is one
training each, and becomes the columns ``name[0]``, ``name[1]``, ...
"""

import csv
import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

import nas_hw
from nas_spaces import InputError, SearchSpace, nearest

__all__ = ["LEAST", "Costs", "Named", "Truth", "read_costs", "read_truth"]

LEAST = 10
"""Fewer architectures than this are not ranked: chance alone orders them well too often."""

ARCHITECTURE = "architecture"
# What NAS-Bench-Macro calls the mean of its trainings.
MEAN = "mean_acc"
# Of a table of another space a few texts can happen to be architectures of this one.
LEAST_SHARE = 0.01
EXAMPLES = 3


@frozen
class Named:
    """So many architectures, and the first few of them as a table writes them."""

    count: int
    examples: tuple[str, ...]


@frozen(eq=False)
class Truth:
    """Accuracies of architectures that were trained alone.

    ``file``: name of the table. ``digest``: sha256 of its bytes. ``column``: what was read.
    ``archs``: int64 ``[n, d]``, every architecture once. ``accuracy``: float64 ``[n]`` [%].
    ``repeats``: float64 ``[n, r]`` [%], single trainings where the table has them, NaN where one
    is missing. ``unknown``: what is no architecture of the space, or uses a dropped option.
    ``missing``: architectures of the space that have no value. ``repeated``: lines that named an
    architecture again; their values are averaged.
    """

    file: str
    digest: str
    column: str
    archs: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    repeats: NDArray[np.float64] | None
    unknown: Named
    missing: Named
    repeated: int


@frozen
class _Entry:
    """One architecture of a table: ``where`` it stands, its text, its values by column."""

    where: str
    text: str
    values: dict[str, Any]


@frozen
class _Sheet:
    """A table as it was read. ``units``: of the columns that name theirs."""

    columns: tuple[str, ...]
    units: dict[str, str]
    entries: list[_Entry]


def read_truth(path: Path, space: SearchSpace, column: str | None = None) -> Truth:
    """Read a table of accuracies.

    Every row of the space counts, also rows that build the same network as another: a benchmark
    lists them with values of their own, and the published correlations are over all of them.

    Args:
        path: the table, CSV or JSON.
        space: whose architectures it holds.
        column: which accuracy; None where there is one, and for ``mean_acc`` of a JSON table.

    Raises:
        InputError: a file that is missing, no table, or of another space; several columns of
            which none is named; a value that is no percentage; fewer than 10 architectures.
    """
    data, text = _read(path)
    try:
        sheet = _sheet(text)
        column = _choose(sheet, column)
        found, unknown, reason = _known(sheet, space)
        _refuse_other_space(sheet, space, len(found), reason)
        _refuse_other_params(space, found)
        accuracy, repeated = _accuracy(found, column)
        _refuse_shares(column, accuracy)
        if len(accuracy) < LEAST:
            raise InputError(
                f"it holds {len(accuracy)} architectures with a value in {column!r}; a rank "
                f"correlation needs at least {LEAST}"
            )
    except InputError as error:
        raise InputError(f"truth: {path}: {error}") from error
    archs = np.array(list(accuracy), dtype=np.int64).reshape(-1, space.num_choices)
    return Truth(
        path.name,
        hashlib.sha256(data).hexdigest(),
        column,
        archs,
        np.array(list(accuracy.values())),
        _repeats(sheet, column, found, list(accuracy)),
        unknown,
        _missing(space, set(accuracy)),
        repeated,
    )


@frozen(eq=False)
class Costs:
    """What the architectures of a table cost, by one of its columns.

    ``column``: what was read. ``unit``: as the table names it, ``""`` where it does not. ``archs``:
    int64 ``[n, d]``, every architecture once. ``values``: float64 ``[n]``, at least 0.
    """

    column: str
    unit: str
    archs: NDArray[np.int64]
    values: NDArray[np.float64]


def read_costs(path: Path, space: SearchSpace, column: str) -> Costs:
    """Read what training the architectures of a table took, in seconds say.

    Lines that name an architecture again are averaged; empty cells are no values.

    Args:
        path: the table, one that `read_truth` reads.
        space: whose architectures it holds.
        column: which numbers.

    Raises:
        InputError: a file that is missing or no table, an unknown column, or a value that is no
            number of at least 0.
    """
    _, text = _read(path)
    try:
        sheet = _sheet(text)
        if column not in sheet.columns:
            raise InputError(f"it has no column {column!r}: {nearest(column, sheet.columns)}")
        found, _, _ = _known(sheet, space)
        listed: dict[tuple[int, ...], list[float]] = {}
        for row, entry in found:
            value = entry.values.get(column)
            if value is None or value == "":
                continue
            number = math.nan if isinstance(value, bool) else _number(value)
            if not (math.isfinite(number) and number >= 0):
                raise InputError(
                    f"{entry.where}: {column} is {value!r}; what a training costs is a number of "
                    "at least 0, or empty where it is not known"
                )
            listed.setdefault(row, []).append(number)
    except InputError as error:
        raise InputError(f"truth: {path}: {error}") from error
    archs = np.array(list(listed), dtype=np.int64).reshape(-1, space.num_choices)
    values = np.array([sum(own) / len(own) for own in listed.values()])
    return Costs(column, sheet.units.get(column, ""), archs, values)


def _read(path: Path) -> tuple[bytes, str]:
    if not path.is_file():
        raise InputError(f"truth: there is no file {path}")
    data = path.read_bytes()
    try:
        return data, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"truth: {path} is no text: {error}") from error


def _sheet(text: str) -> _Sheet:
    return _of_json(text) if text.lstrip()[:1] in ("{", "[") else _of_csv(text)


def _of_csv(text: str) -> _Sheet:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(reader, [])
        cells = [cell.strip() for cell in header]
        if ARCHITECTURE not in cells:
            held = ", ".join(map(repr, cells)) or "nothing"
            raise InputError(
                f"its first line has no column {ARCHITECTURE!r}, it has {held}; a truth is a CSV "
                "table with that column and accuracies in percent, or a JSON object"
            )
        columns, units = [], {}
        for cell in cells:
            # A unit stands behind a blank: "top1 [%]".
            name, bracket, unit = cell.partition(" [")
            columns.append(name)
            if bracket:
                units[name] = unit.removesuffix("]")
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise InputError(f"its first line names {twice[0]!r} twice; give each column its name")
        entries = []
        for line in reader:
            if not any(cell.strip() for cell in line):
                continue
            where = f"line {reader.line_num}"
            if len(line) != len(columns):
                raise InputError(
                    f"{where} has {len(line)} cells, the first line has {len(columns)}; an "
                    'architecture with commas stands in quotes: "2,1,0"'
                )
            values = dict(zip(columns, (cell.strip() for cell in line), strict=True))
            entries.append(_Entry(where, values.pop(ARCHITECTURE), values))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} is no CSV: {error}") from error
    return _Sheet(tuple(name for name in columns if name != ARCHITECTURE), units, entries)


def _of_json(text: str) -> _Sheet:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"it is no JSON: {error}") from error
    if not isinstance(table, dict):
        raise InputError(
            "it holds a JSON list; a truth in JSON is an object of architectures, like "
            f'{{"2,1,0": {{"{MEAN}": 93.1}}}}'
        )
    columns: dict[str, None] = {}
    entries = []
    for key, record in table.items():
        if not isinstance(record, dict):
            raise InputError(
                f"architecture {key!r} has {record!r}; write an object of accuracies, like "
                f'{{"{MEAN}": 93.1}}'
            )
        values: dict[str, Any] = {}
        for name, value in record.items():
            if isinstance(value, list):
                values.update({f"{name}[{i}]": one for i, one in enumerate(value)})
            else:
                values[name] = value
        columns.update(dict.fromkeys(values))
        entries.append(_Entry(f"architecture {key!r}", key, values))
    return _Sheet(tuple(columns), {}, entries)


def _choose(sheet: _Sheet, column: str | None) -> str:
    """Return the column to read."""
    names = ", ".join(sheet.columns)
    if not sheet.columns:
        raise InputError("it has no column of accuracies")
    if column is None:
        if len(sheet.columns) > 1 and MEAN not in sheet.columns:
            raise InputError(f"it has several columns; choose one by --column: {names}")
        column = MEAN if MEAN in sheet.columns else sheet.columns[0]
    if column not in sheet.columns:
        raise InputError(f"it has no column {column!r}: {nearest(column, sheet.columns)}")
    unit = sheet.units.get(column, "%")
    if unit != "%":
        raise InputError(
            f"column {column!r} is in [{unit}]; a truth is an accuracy in percent: choose another "
            f"by --column: {names}"
        )
    return column


Found = list[tuple[tuple[int, ...], _Entry]]


def _known(sheet: _Sheet, space: SearchSpace) -> tuple[Found, Named, str]:
    """Return the entries with their rows, those that have none, and why the first of them."""
    found: Found = []
    unknown: list[str] = []
    reason = ""
    for entry in sheet.entries:
        try:
            row = space.parse(entry.text)
            dropped = np.flatnonzero(~space.mask[np.arange(space.num_choices), row])
            if len(dropped):
                choice = space.choices[int(dropped[0])]
                raise InputError(
                    f"architecture {entry.text!r} uses an option of {choice.name!r} that was "
                    "dropped"
                )
        except InputError as error:
            unknown.append(entry.text)
            reason = reason or f"{entry.where}: {error}"
            continue
        found.append((tuple(row.tolist()), entry))
    return found, Named(len(unknown), tuple(unknown[:EXAMPLES])), reason


def _refuse_other_space(sheet: _Sheet, space: SearchSpace, known: int, reason: str) -> None:
    total = len(sheet.entries)
    if not total:
        raise InputError("it holds no architectures")
    few = known < LEAST and known < total - known
    if few or known < LEAST_SHARE * total:
        raise InputError(
            f"it is of another space: {known:,} of its {total:,} architectures are of "
            f"{space.name!r}; {reason}"
        )


def _refuse_other_params(space: SearchSpace, found: Found) -> None:
    """Refuse a table like NAS-Bench-Macro's whose numbers of parameters are not this space's.

    Digits alone say little of where they come from. Numbers of classes make a constant difference.
    """
    rows, params = [], []
    for row, entry in found:
        value = entry.values.get("params")
        if type(value) is int and "flops" in entry.values:
            rows.append(row)
            params.append(value)
    if rows and len(set((nas_hw.params(space)(rows) - params).tolist())) > 1:
        raise InputError(
            "it is of another space: the params that it gives are not those of the architectures "
            f"of {space.name!r}, other numbers of classes allowed for"
        )


def _accuracy(found: Found, column: str) -> tuple[dict[tuple[int, ...], float], int]:
    """Return the accuracy [%] of each row that has one, and how many entries named one again."""
    listed: dict[tuple[int, ...], list[float]] = {}
    for row, entry in found:
        value = entry.values.get(column)
        if value is None or value == "":
            continue
        listed.setdefault(row, []).append(_percent(value, column, entry.where))
    repeated = sum(len(values) - 1 for values in listed.values())
    return {row: sum(values) / len(values) for row, values in listed.items()}, repeated


def _percent(value: Any, column: str, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 100:
        raise InputError(
            f"{where}: {column} is {value!r}; it must be an accuracy in percent, 0 to 100, or "
            "empty where there is none"
        )
    return number


def _refuse_shares(column: str, accuracy: dict[tuple[int, ...], float]) -> None:
    values = set(accuracy.values())
    if len(values) > 1 and max(values) <= 1:
        raise InputError(
            f"{column} goes from {min(values):g} to {max(values):g}, which looks like shares; "
            "give accuracies in percent"
        )


def _repeats(
    sheet: _Sheet, column: str, found: Found, rows: Sequence[tuple[int, ...]]
) -> NDArray[np.float64] | None:
    """Return the single trainings ``[n, r]`` [%] that belong to a column, if there are several."""
    stems: dict[str, list[str]] = {}
    for name in sheet.columns:
        match = re.fullmatch(r"(.+)\[\d+\]", name)
        if match is not None:
            stems.setdefault(match[1], []).append(name)
    own = [names for names in stems.values() if column in names]
    # A column such as mean_acc belongs to the only trainings that there are.
    names = own[0] if own else next(iter(stems.values())) if len(stems) == 1 else []
    if len(names) < 2:
        return None
    of_row = dict(reversed(found))  # the first entry of a row counts
    return np.array([[_number(of_row[row].values.get(name)) for name in names] for row in rows])


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _missing(space: SearchSpace, known: set[tuple[int, ...]]) -> Named:
    def rows() -> Iterator[tuple[int, ...]]:
        options = [np.flatnonzero(live).tolist() for live in space.mask]
        return (row for row in itertools.product(*options) if row not in known)

    count = space.size - len(known)
    examples = itertools.islice(rows(), min(EXAMPLES, count))
    return Named(count, tuple(space.notate(row) for row in examples))
