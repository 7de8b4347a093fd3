"""What `nas spaces` and `nas cost` tell: records for programs, and the same as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import nas_hw
from nas_cli.architecture_text import option_lines, option_name, options_of
from nas_cli.limits import METRICS, build_limits
from nas_cli.module_spaces import is_file, is_module
from nas_cli.space_names import shown_name, split_changes
from nas_cli.spaces import describe, load_space
from nas_spaces import Choice, FeasibleSet, InputError, SearchSpace, Table, nearest, published

__all__ = [
    "count",
    "describe_cost",
    "describe_limits",
    "describe_space",
    "list_spaces",
    "noun",
    "show_cost",
    "show_limits",
    "show_list",
    "show_space",
]

# Rows drawn to estimate how many there are, where that is not counted.
ACCEPTANCE_ROWS = 10_000
STANDARD = "standard"
BEHIND = """
Behind a name: @ROW fixes its choices at the options of a row; +channels and +bits add choices to
the blocks that can have them, of your own values by +channels=0.5,1,1.5 and +bits=2w2a,4w4a."""
# SPOS's tables count bit operations in G of 2^30.
GIBI = 2**30


def list_spaces() -> dict[str, Any]:
    """Return the size of every published space and what it is, by name.

    Behind the spaces come networks without choices, whose size is 1.
    """
    return {
        name: {"size": load_space(name).size, "description": describe(name)}
        for name in (*sorted(published.SPACES), *sorted(published.NETWORKS))
    }


def show_list(record: dict[str, Any]) -> str:
    """Return the record of `list_spaces` as lines."""
    width = max(map(len, record))
    lines = []
    for name, one in record.items():
        size = "no choices" if one["size"] == 1 else count(one["size"])
        lines.append(f"{name:{width}}  {size:>10}  {one['description']}")
    return "\n".join([*lines, BEHIND])


def describe_space(name: str) -> dict[str, Any]:
    """Return a space's size, what its architectures cost, its choices, and what was published.

    ``not_tabulated`` says of a cost why its range is not known.

    Raises:
        InputError: see `nas_cli.spaces.load_space`.
    """
    space = load_space(name)
    everything = FeasibleSet(space)
    tables, not_tabulated = _tables(space)
    costs = {key: everything.attainable(table) for key, table in tables.items()}
    return {
        "name": shown_name(space.name, name),
        "size": space.size,
        "input_shape": space.input_shape,
        "classes": space.num_classes,
        "costs": {key: list(ends) for key, ends in costs.items()},
        "not_tabulated": not_tabulated,
        "units": {key: table.unit for key, table in tables.items()},
        "choices": [{"name": c.name, "options": c.options} for c in space.choices],
        **({} if space.notation is None else {"notation": space.notation}),
        "architectures": {
            known: list(row)
            for known, (of, row) in published.ARCHITECTURES.items()
            if of == name and known != name
        },
    }


def show_space(record: dict[str, Any]) -> str:
    """Return the record of `describe_space` as lines."""
    choices = record["choices"]
    lines = [
        _head(record["name"], record["size"], len(choices)),
        f"input: {' x '.join(map(str, record['input_shape']))}, {record['classes']} classes",
    ]
    for key, (low, high) in record["costs"].items():
        if not high:
            continue  # bits are counted of quantised layers, which most spaces have not
        reach = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        lines.append(f"{key}: {reach} {record['units'][key]}")
    for key, reason in record["not_tabulated"].items():
        lines.append(f"{key}: not tabulated: {reason}")
    if "notation" in record:
        lines.append(f"written: as a row of option numbers, or as {record['notation']}")
    for known, row in record["architectures"].items():
        lines.append(f"published: {known} {','.join(map(str, row))}")
    for index, choice in enumerate(choices):
        named = Choice(choice["name"], choice["options"])
        options = ", ".join(f"{i}: {option_name(named, i)}" for i in range(len(named.options)))
        lines.append(f"  {index:2} {choice['name']}: {options}")
    return "\n".join(lines)


def describe_limits(name: str, limits: Sequence[str]) -> dict[str, Any]:
    """Return how much of a space is within limits.

    ``count``: the least and the largest that the number of architectures can be, equal where it
    is known. ``share``: the same, of the space. Where they differ, ``acceptance`` is the share of
    rows drawn uniformly among the largest number that is within all limits, and ``estimate`` what
    number of architectures that makes.

    Raises:
        InputError: a limit that cannot be read, or that nothing satisfies.
    """
    space = load_space(name)
    feasible = build_limits(space, limits)
    low, high = feasible.count_range()
    record: dict[str, Any] = {
        "name": shown_name(space.name, name),
        "size": space.size,
        "choices": space.num_choices,
        "limits": [str(limit) for limit in feasible.limits],
        "count": [low, high],
        "share": [low / space.size, high / space.size],
    }
    if low != high:
        acceptance = feasible.acceptance(n=ACCEPTANCE_ROWS, rng=np.random.default_rng(0))
        record["acceptance"] = acceptance
        record["estimate"] = round(acceptance * ACCEPTANCE_ROWS) * high // ACCEPTANCE_ROWS
    return record


def show_limits(record: dict[str, Any]) -> str:
    """Return the record of `describe_limits` as lines."""
    low, high = record["count"]
    least, most = record["share"]
    lines = [_head(record["name"], record["size"], record["choices"])]
    lines += [f"limit: {limit}" for limit in record["limits"]]
    if low == high:
        lines.append(f"within: {low:,} {noun(low)}, {_percent(low, least)} of the space")
    else:
        shares = dict.fromkeys((_percent(low, least), _percent(high, most)))
        lines.append(
            f"within: between {count(low)} and {count(high)} architectures, {' to '.join(shares)} "
            "of the space"
        )
    if "acceptance" in record:
        accepted, about = record["acceptance"], record["estimate"]
        lines.append(
            f"drawn: {100 * accepted:.2f} % of {ACCEPTANCE_ROWS:,} rows among the {count(high)} "
            f"are within, about {count(about)} architectures or "
            f"{_percent(about, about / record['size'])}"
        )
    return "\n".join(lines)


def describe_cost(space: str, arch: str | None, convention: str = STANDARD) -> dict[str, Any]:
    """Return what an architecture costs.

    Args:
        space: a space, or the name of a published architecture.
        arch: a row of the space; None with the name of an architecture.
        convention: what counts as a multiply-add and as a parameter, see `nas_hw.CONVENTIONS`.

    Raises:
        InputError: an unknown name, or a row that is none of the space.
    """
    loaded, row = _architecture(space, arch)
    # Tables of the one network: those of a large space would take seconds.
    network = loaded.fix(row)
    tables = {
        **nas_hw.tables(network),
        "macs": nas_hw.macs(network, convention),
        "params": nas_hw.params(network, convention),
    }
    costs = {key: table([[]])[0].item() for key, table in tables.items()}
    return {
        "space": shown_name(loaded.name, space),
        "architecture": row.tolist(),
        "options": options_of(loaded, row),
        **({} if loaded.notation is None else {"notation": loaded.notate(row)}),
        "convention": convention,
        **costs,
        "units": {key: tables[key].unit for key in costs},
    }


def show_cost(record: dict[str, Any]) -> str:
    """Return the record of `describe_cost` as lines."""
    notation = f" = {record['notation']}" if "notation" in record else ""
    row = ",".join(map(str, record["architecture"]))
    lines = [f"{record['space']} {row}{notation}".rstrip()]
    lines += [f"  {line}" for line in option_lines(record["options"])]
    if record["convention"] != STANDARD:
        convention = nas_hw.CONVENTIONS[record["convention"]]
        lines.append(f"convention: {convention.name}, of {convention.used_by}")
        lines.append(f"  macs: {convention.macs_text}")
        lines.append(f"  params: {convention.params_text}")
    for key, unit in record["units"].items():
        value = record[key]
        if not value:
            continue  # bits are counted of quantised layers, which most networks have not
        line = f"{key}: {value:,} {unit}"
        if key == "bitops":
            line += f" ({value / GIBI:.4f} G of 2^30, as in SPOS's table)"
        lines.append(line)
    return "\n".join(lines)


def count(size: int) -> str:
    """Return a number of architectures for a person: exact below 10^9.

    >>> count(200_000), count(4**20)
    ('200,000', '1.1e+12')
    """
    return f"{size:,}" if size < 10**9 else f"{size:.3g}"


def noun(size: int) -> str:
    """Return what a number of architectures is of.

    >>> noun(1), noun(2)
    ('architecture', 'architectures')
    """
    return "architecture" if size == 1 else "architectures"


def _architecture(space: str, arch: str | None) -> tuple[SearchSpace, Any]:
    if arch is not None:
        loaded = load_space(space)
        return loaded, loaded.parse(arch)
    if space in published.ARCHITECTURES:
        return published.architecture(space)
    base, changes = split_changes(space)
    if base in published.SPACES or changes or is_file(base) or is_module(base):
        loaded = load_space(space)
        if loaded.size == 1:
            # Choices with a single option, as +bits=4w4a adds them, are none.
            return loaded, loaded.sample(1, rng=np.random.default_rng(0))[0]
        example = ",".join(["0"] * loaded.num_choices)
        raise InputError(
            f"cost {space}: the architecture is missing; give a row of options like {example}"
        )
    names = [*published.SPACES, *published.ARCHITECTURES]
    raise InputError(f"{space!r} is no space or architecture: {nearest(space, names)}")


def _tables(space: SearchSpace) -> tuple[dict[str, Table], dict[str, str]]:
    """Return the tables of a space, and why those that it lacks cannot be made."""
    try:
        return nas_hw.tables(space), {}
    except InputError:
        tables, reasons = {}, {}
        for key, make in METRICS.items():
            try:
                tables[key] = make(space)
            except InputError as error:
                reasons[key] = str(error)
        return tables, reasons


def _head(name: str, size: int, choices: int) -> str:
    if not choices:
        return f"{name}: 1 architecture, no choices"
    return f"{name}: {count(size)} {noun(size)} of {choices} choices"


def _percent(number: int, share: float) -> str:
    return f"{100 * share:.3g} %" if number else "0 %"
