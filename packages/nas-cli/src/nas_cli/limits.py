"""Limits as people write them: ``macs<=300M``, ``traffic<=8Mi``, ``macs<=50%``."""

import re
from collections.abc import Callable, Iterable

from attrs import frozen

import nas_hw
from nas_spaces import FeasibleSet, InputError, Limit, SearchSpace, Table, nearest

__all__ = [
    "METRICS",
    "RECORDED",
    "USUAL_COST",
    "LimitError",
    "LimitText",
    "build_limits",
    "check_cost",
    "cost_tables",
    "merge_limits",
    "nothing_counted",
    "parse_limit",
    "target_of",
]

METRICS: dict[str, Callable[[SearchSpace], Table]] = {
    "macs": nas_hw.macs,
    "params": nas_hw.params,
    "bitops": nas_hw.bitops,
    "peak_memory": nas_hw.peak_memory,
    "traffic": nas_hw.traffic,
}
"""What can be limited, by name."""

RECORDED = ("macs", "params")
"""What is known of every architecture that a search evaluates, limited or not."""

USUAL_COST = "macs"
"""What settings name as a cost where nobody names another."""

UNITS = {
    "": 1.0,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
}

PATTERN = re.compile(
    r"\s*(?P<metric>[A-Za-z_]+)\s*(?P<sign><=|>=|<|>|==|=)\s*"
    r"(?P<value>[0-9][0-9_,]*\.?[0-9]*(?:e[0-9]+)?)\s*(?P<unit>[A-Za-z%]*)\s*"
)
NO_NUMBER = re.compile(r"\s*[A-Za-z_]+\s*(?:[<>]=?|==?)\s*(?P<value>-.*|[A-Za-z]*)")
"""A limit in whose number's place stands a negative one, a word or nothing."""


class LimitError(InputError):
    """Limits that cannot be read, or that nothing in a space satisfies."""


@frozen
class LimitText:
    """One limit as written: ``share`` means that ``value`` is a percentage of the largest cost."""

    metric: str
    sign: str
    value: float
    share: bool


def parse_limit(text: str) -> LimitText:
    """Read a limit.

    Raises:
        InputError: another form, an unknown metric, sign or unit.

    >>> parse_limit("macs<=1.5M")
    LimitText(metric='macs', sign='<=', value=1500000.0, share=False)
    """
    match = PATTERN.fullmatch(text)
    if match is None:
        no_number = NO_NUMBER.fullmatch(text)
        if no_number is not None:
            raise InputError(
                f"limit {text!r}: must be a number above 0, like 300M, 6.3Gi or 50%; received "
                f"{no_number['value']!r}"
            )
        raise InputError(f"limit {text!r} cannot be read; write it like 'macs<=300M'")
    metric, sign, unit = match["metric"], match["sign"], match["unit"]
    if metric == "flops":
        raise InputError(
            f"limit {text!r}: a limit is on macs (multiply-adds); what papers call FLOPs of a "
            "network are its macs, and flops = 2 x macs"
        )
    if metric not in METRICS:
        raise InputError(
            f"limit {text!r}: metric {metric!r} is unknown: {nearest(metric, METRICS)}"
        )
    if sign not in ("<=", ">="):
        raise InputError(f"limit {text!r}: sign {sign!r} is unknown; use <= or >=")
    if unit != "%" and unit not in UNITS:
        raise InputError(
            f"limit {text!r}: unit {unit!r} is unknown; use K, M, G, Ki, Mi, Gi (2^30), % (of the "
            "largest architecture) or none"
        )
    value = float(match["value"].replace(",", "").replace("_", ""))
    return LimitText(metric, sign, value * UNITS.get(unit, 1.0), unit == "%")


def cost_tables(
    space: SearchSpace, limits: Iterable[str] = (), more: Iterable[str] = ()
) -> dict[str, Table]:
    """Return the costs that a search records, by name: macs, params, what is limited, and more."""
    names = dict.fromkeys((*RECORDED, *(parse_limit(text).metric for text in limits), *more))
    return {name: METRICS[name](space) for name in names}


def merge_limits(space: SearchSpace, texts: Iterable[str]) -> list[Limit]:
    """Return one limit for each metric that is limited, in the order of their first mention.

    Raises:
        InputError: a limit that cannot be read or that says nothing of this space, or two that
            contradict each other.
    """
    texts = list(texts)
    tables: dict[str, Table] = {}
    ends: dict[str, dict[str, float]] = {}
    for text in texts:
        limit = parse_limit(text)
        if limit.metric not in tables:
            tables[limit.metric] = METRICS[limit.metric](space)
        largest = FeasibleSet(space).attainable(tables[limit.metric])[1]
        if not largest:
            nothing = nothing_counted(space, tables[limit.metric])
            raise InputError(f"limit {text!r}: {nothing}; limit macs or traffic")
        value = _value(limit, largest)
        side, choose = ("upper", min) if limit.sign == "<=" else ("lower", max)
        own = ends.setdefault(limit.metric, {})
        own[side] = choose(value, own[side]) if side in own else value
    for name, own in ends.items():
        if own.get("lower", 0) > own.get("upper", float("inf")):
            own_texts = [repr(text) for text in texts if parse_limit(text).metric == name]
            raise InputError(
                f"limits {' and '.join(own_texts)} contradict each other: {name} cannot be "
                f"at least {own['lower']:,.0f} and at most {own['upper']:,.0f}; drop one of them"
            )
    return [Limit(tables[name], **own) for name, own in ends.items()]


def _value(limit: LimitText, largest: float) -> float:
    """Return the value of a limit, given the largest cost of all."""
    return float(int(largest * limit.value / 100)) if limit.share else limit.value


def nothing_counted(space: SearchSpace, table: Table) -> str:
    """Return why a cost that is 0 for every architecture says nothing of a space."""
    return (
        f"every architecture of space {space.name!r} has 0 {table.unit}, which are counted of "
        "quantised layers only"
    )


def check_cost(table: str, cost: str) -> None:
    """Refuse the name of a cost that there is none of; ``table`` is that of the setting.

    Raises:
        InputError: an unknown cost.
    """
    if cost not in METRICS:
        raise InputError(f"{table}.cost={cost!r} is unknown: {nearest(cost, METRICS)}")


def target_of(table: str, cost: Table, target: str | None, feasible: FeasibleSet) -> float | None:
    """Return the cost that a setting aims at, None where it names none and no limit does.

    Args:
        table: of the setting: ``"reward"`` or ``"distribution"``, whose ``cost`` and ``target``
            these are.
        cost: the metric.
        target: a value as in a limit; None for the largest value that a limit on it allows.
        feasible: the limits.

    Raises:
        InputError: a target that cannot be read, or of a cost that says nothing of this space.
    """
    if target is None:
        for limit in feasible.limits:
            if limit.metric.name == cost.name and limit.upper is not None:
                assert isinstance(limit.metric, Table)
                # A limit may be larger than what anything costs.
                return min(limit.upper, feasible.attainable(limit.metric)[1])
        return None
    largest = FeasibleSet(feasible.space).attainable(cost)[1]
    if not largest:
        nothing = nothing_counted(feasible.space, cost)
        raise InputError(f"{table}.cost={cost.name}: {nothing}; take macs")
    try:
        limit_text = parse_limit(f"{cost.name}<={target}")
    except InputError as error:
        raise InputError(
            f"{table}.target={target!r} cannot be read; write it like 300M or 60%"
        ) from error
    return _value(limit_text, largest)


def build_limits(space: SearchSpace, texts: Iterable[str]) -> FeasibleSet:
    """Return the architectures of ``space`` within all limits.

    Raises:
        LimitError: a limit that cannot be read, or that nothing satisfies.
    """
    try:
        return FeasibleSet(space, merge_limits(space, texts))
    except InputError as error:
        raise LimitError(str(error)) from error
