"""A comparison in words: its verdict, the tables on a terminal, and their numbers."""

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = [
    "between",
    "cost_text",
    "evaluations_text",
    "interval_text",
    "median_text",
    "p_text",
    "ratio_text",
    "show_comparison",
    "verdict_text",
]

SIGNIFICANT = 0.05


def between(record: Mapping[str, Any], a: str, b: str) -> dict[str, Any]:
    """Return how two methods differ, the ratio as how many times as many evaluations a takes."""
    for pair in record["pairs"]:
        if pair["methods"] == [a, b]:
            return dict(pair)
        if pair["methods"] == [b, a]:
            ratio = pair["ratio"]
            turned = {
                "at_least": _inverse(ratio["at_most"]),
                "at_most": _inverse(ratio["at_least"]),
                "low": _inverse(ratio["high"]),
                "high": _inverse(ratio["low"]),
                "confidence": ratio["confidence"],
            }
            return {**pair, "methods": [a, b], "ratio": turned}
    raise AssertionError(f"{a} and {b} are no pair")


def _inverse(value: float | None) -> float | None:
    """Return 1 / value, None standing for what is open upwards."""
    if value is None:
        return 0.0
    return 1 / value if value else None


def verdict_text(record: Mapping[str, Any]) -> str:
    """Return what the comparison says, in a sentence: the best method against the next."""
    budget, methods = record["budget"], record["methods"]
    mark = f"{record['mark']['accuracy']:.2f} %"
    best, *others = sorted(methods, key=_order)
    if not others:
        median = median_text(best, record)
        return (
            f"{best['name']} reaches {mark} in {best['reached']} of {record['seeds']} searches, "
            f"the median after {median} evaluations"
        )
    pair = between(record, others[0]["name"], best["name"])
    first, second = best["name"], others[0]["name"]
    if not any(one["reached"] for one in methods):
        p = p_text(pair["p_regret"])
        ends = f"no search reaches {mark} within {budget:,} evaluations; {first} ends closest"
        if pair["p_regret"] < SIGNIFICANT:
            return f"{ends}, measurably closer than {second} ({p})"
        return f"{ends}, not measurably closer than {second} ({p})"
    ratio, p = pair["ratio"], p_text(pair["p_evaluations"])
    within = f"95 % interval {interval_text(ratio)}"
    # Where curves cross, the test may speak for the other method than the medians do.
    if pair["p_evaluations"] >= SIGNIFICANT or (
        best["evaluations"]["median"] is not None and ratio["low"] is not None and ratio["low"] <= 1
    ):
        known = f"{ratio_text(ratio)} times as many for {second}, {within}"
        if best["evaluations"]["median"] is None:
            known = f"both medians are above {budget:,}"
        return (
            f"no measurable difference between {first} and {second} in evaluations to reach {mark} "
            f"({known}; {p})"
        )
    if best["evaluations"]["median"] is None:
        return (
            f"{first} reaches {mark} in {best['reached']} of {record['seeds']} searches, {second} "
            f"in {others[0]['reached']} ({p})"
        )
    return (
        f"{first} needs {ratio_text(ratio)} times fewer evaluations than {second} to reach {mark} "
        f"({within}; {p})"
    )


def _order(method: Mapping[str, Any]) -> tuple[float, int, float]:
    median = method["evaluations"]["median"]
    return (
        math.inf if median is None else median,
        -method["reached"],
        method["regret"]["median"],
    )


def evaluations_text(value: float | None, budget: int) -> str:
    """Return a number of evaluations for a person.

    >>> evaluations_text(12.5, 300), evaluations_text(None, 300)
    ('12.5', 'more than 300')
    """
    return f"more than {budget:,}" if value is None else f"{value:,g}"


def median_text(method: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Return the median evaluations of a method, or what is known of it.

    Where exactly half of the searches reached the mark, the median lies between the last of these
    and the first of the others, which nobody waited for.

    >>> method = {"evaluations": {"median": 36.0}, "reached": 2}
    >>> [median_text(method, {"seeds": seeds, "budget": 50}) for seeds in (3, 4)]
    ['36', 'at least 36']
    """
    text = evaluations_text(method["evaluations"]["median"], record["budget"])
    return f"at least {text}" if 2 * method["reached"] == record["seeds"] else text


def ratio_text(ratio: Mapping[str, float | None]) -> str:
    """Return a ratio of medians, or what is known of it.

    >>> ratio_text({"at_least": 6.0, "at_most": None})
    'more than 6.0'
    """
    low, high = ratio["at_least"], ratio["at_most"]
    if low == high and low is not None:
        return _number(low)
    if high is None:
        return f"more than {_number(low)}" if low else "unknown"
    return f"less than {_number(high)}"


def interval_text(ratio: Mapping[str, float | None]) -> str:
    """Return the interval of a ratio.

    >>> interval_text({"low": 1.25, "high": None}), interval_text({"low": 0.0, "high": 0.5})
    ('above 1.2', 'below 0.50')
    """
    low, high = ratio["low"], ratio["high"]
    if high is None:
        return f"above {_number(low)}" if low else "open"
    return f"{_number(low)} to {_number(high)}" if low else f"below {_number(high)}"


def _number(value: float | None) -> str:
    assert value is not None
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def p_text(p: float) -> str:
    """Return a p value.

    >>> p_text(0.0001), p_text(0.034)
    ('p < 0.001', 'p = 0.034')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def cost_text(cost: Mapping[str, Any]) -> str:
    """Return what trainings until the mark cost."""
    from nas_cli.report.words import si  # with all of plotly, which searching does not need

    return f"{'more than ' if cost['beyond'] else ''}{si(cost['median'])}"


def show_comparison(record: Mapping[str, Any]) -> list[Any]:
    """Return what is to be printed of a comparison: tables, and sentences."""
    budget, mark = record["budget"], record["mark"]
    title = (
        f"{record['truth']}, {record['column']}: {record['seeds']} searches of each method, "
        f"at most {budget:,} architectures each"
    )
    table = Table(title=title)
    table.title_justify = "left"
    table.add_column("method", no_wrap=True)
    reached = f"of {record['seeds']}"
    # All that fits into 80 columns.
    for heading in ("median", "interval", reached, "regret", "quartiles", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in record["methods"]:
        taken, regret = one["evaluations"], one["regret"]
        table.add_row(
            one["name"],
            median_text(one, record).replace("more than ", ">").replace("at least ", "≥"),
            f"{_short(taken['low'], budget)} to {_short(taken['high'], budget)}",
            str(one["reached"]),
            f"{regret['median']:.2f}",
            f"{regret['low']:.2f} to {regret['high']:.2f}",
            cost_text(one["cost"]).replace("more than ", ">"),
        )
    lines: list[Any] = [
        table,
        f"median and 95 % interval: of the evaluations to reach {mark['accuracy']:.2f} % "
        f"({mark['percent']:g} % of the best, {record['best']:.2f} %), as "
        f"{mark['architectures']:,} of {record['architectures']:,} architectures do; "
        f"{reached}: how many searches did",
        "regret: what the best found lacks in the end, in points; cost: of training until the mark "
        f"[{record['cost']['unit']}]",
    ]
    if record["pairs"]:
        lines += [_against(record), _corrected(record)]
    return [*lines, record["verdict"]]


def _short(value: float | None, budget: int) -> str:
    return f">{budget:,}" if value is None else f"{value:,g}"


def _against(record: Mapping[str, Any]) -> Table:
    first, *others = (one["name"] for one in record["methods"])
    table = Table(title=f"times fewer evaluations than {first}")
    table.title_justify = "left"
    table.add_column("method", no_wrap=True)
    for heading in ("fewer", "95 % interval", "p", "p of regret"):
        table.add_column(heading, justify="right")
    for name in others:
        pair = between(record, first, name)
        table.add_row(
            name,
            ratio_text(pair["ratio"]),
            interval_text(pair["ratio"]),
            p_text(pair["p_evaluations"]).removeprefix("p ").removeprefix("= "),
            p_text(pair["p_regret"]).removeprefix("p ").removeprefix("= "),
        )
    return table


def _corrected(record: Mapping[str, Any]) -> str:
    count = len(record["pairs"])
    tests = "p: logrank test of evaluations, Mann-Whitney test of the regret at the end"
    return tests if count == 1 else f"{tests}, corrected for {count} pairs (Holm)"
