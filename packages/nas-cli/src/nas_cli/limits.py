"""Limits as people write them: ``macs<=300M``, ``params>=1.5M``, ``macs<=50%``."""

import re

from attrs import frozen

from nas_hw import macs, params
from nas_spaces import FeasibleSet, InputError, Limit, SearchSpace, Table, nearest

__all__ = ["LimitText", "build_limits", "cost_tables", "parse_limit"]

METRICS = {"macs": macs, "params": params}
UNITS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}

PATTERN = re.compile(
    r"\s*(?P<metric>[A-Za-z_]+)\s*(?P<sign><=|>=|<|>|==|=)\s*"
    r"(?P<value>[0-9][0-9_,]*\.?[0-9]*(?:e[0-9]+)?)\s*(?P<unit>[A-Za-z%]*)\s*"
)


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
            f"limit {text!r}: unit {unit!r} is unknown; use K, M, G, % (of the largest "
            "architecture) or none"
        )
    value = float(match["value"].replace(",", "").replace("_", ""))
    return LimitText(metric, sign, value * UNITS.get(unit, 1.0), unit == "%")


def cost_tables(space: SearchSpace) -> dict[str, Table]:
    """Return every cost that can be limited, by name."""
    return {name: make(space) for name, make in METRICS.items()}


def build_limits(space: SearchSpace, texts: tuple[str, ...]) -> FeasibleSet:
    """Return the architectures of ``space`` within all limits.

    Raises:
        InputError: a limit that cannot be read, or that nothing satisfies.
    """
    tables = cost_tables(space)
    everything = FeasibleSet(space)
    ends: dict[str, dict[str, float]] = {}
    for text in texts:
        limit = parse_limit(text)
        table = tables[limit.metric]
        value = limit.value
        if limit.share:
            value = float(int(everything.attainable(table)[1] * value / 100))
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
    return FeasibleSet(space, [Limit(tables[name], **own) for name, own in ends.items()])
