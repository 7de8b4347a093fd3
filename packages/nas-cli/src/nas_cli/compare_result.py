"""What a comparison comes to: medians, regrets, tests between methods, a verdict."""

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from rich.table import Table

from nas_cli.compare_methods import COMPARE
from nas_cli.compare_question import Question
from nas_cli.truth import Truth
from nas_search import (
    best_so_far,
    censored_median,
    evaluations_differ,
    evaluations_to,
    holm,
    median_ratio,
    regrets_differ,
)
from nas_spaces import History, derive_seed, replace_file

__all__ = [
    "Setting",
    "between",
    "cost_text",
    "describe",
    "evaluations_text",
    "interval_text",
    "p_text",
    "ratio_text",
    "show_comparison",
    "write_curves",
]

SIGNIFICANT = 0.05
QUARTILES = (0.25, 0.5, 0.75)
# Stream of randomness, behind COMPARE and beside those of methods.
_BOOTSTRAP = 1000

Floats = NDArray[np.float64]
Histories = Mapping[str, Sequence[History]]


@frozen(kw_only=True)
class Setting:
    """What was compared over which table.

    ``architectures``: different networks within the limits. ``by``: what the table lists, every
    row or one of equal ones. ``best``: the least error that is reachable; ``mark``: the error to
    be reached, as ``at_mark`` of the rows are. ``limits``: as they were understood. ``cost``:
    column of the histories with what a training costs, in ``cost_unit``.
    """

    question: Question
    truth: Truth
    architectures: int
    by: Literal["row", "network"]
    best: float
    mark: float
    at_mark: int
    limits: tuple[str, ...]
    cost: str
    cost_unit: str


def describe(setting: Setting, histories: Histories) -> dict[str, Any]:
    """Return the record of a comparison, made of JSON values.

    Numbers of evaluations are null where they are above the budget, and bounds of ratios where
    they are open.
    """
    question, truth = setting.question, setting.truth
    methods = [_method(setting, name, found) for name, found in histories.items()]
    pairs = _pairs(question, methods)
    record: dict[str, Any] = {
        "space": question.space,
        "truth": truth.file,
        "digest": truth.digest,
        "column": truth.column,
        "by": setting.by,
        "architectures": setting.architectures,
        "limits": list(setting.limits),
        "budget": question.budget,
        "seeds": question.seeds,
        "seed": question.seed,
        "best": _percent(setting.best),
        "mark": {
            "percent": question.mark,
            "accuracy": _percent(setting.mark),
            "architectures": setting.at_mark,
        },
        "cost": {
            "unit": setting.cost_unit,
            "column": question.cost_column,
            "images": question.images,
            "epochs": question.epochs,
        },
        "methods": methods,
        "pairs": pairs,
    }
    return {**record, "verdict": _verdict(record)}


def _percent(error: float) -> float:
    """Return accuracy [%], without what arithmetic adds."""
    return round(100 * (1 - error), 9)


def _method(setting: Setting, name: str, found: Sequence[History]) -> dict[str, Any]:
    question = setting.question
    errors = [history.column("error") for history in found]
    taken = [evaluations_to(own, setting.mark) for own in errors]
    median = censored_median(taken)
    regrets = [max(100 * float(own.min() - setting.best), 0.0) for own in errors]
    low, middle, high = np.quantile(regrets, QUARTILES).tolist()
    return {
        "name": name,
        "settings": attrs.asdict(getattr(question.settings, name)),
        "reached": median.reached,
        "evaluations": {
            "median": _finite(median.median),
            "low": _finite(median.low),
            "high": _finite(median.high),
            "confidence": median.confidence,
            "searches": [_finite(one) for one in taken],
        },
        "regret": {"median": middle, "low": low, "high": high, "searches": regrets},
        "cost": _cost(setting, found, taken),
    }


def _cost(setting: Setting, found: Sequence[History], taken: Sequence[float]) -> dict[str, Any]:
    """Return what trainings until the mark would have cost, the median over searches.

    Where it is ``beyond`` the budgets of half of the searches or more, the value is a lower bound:
    the median with what those searches cost that did not reach the mark.
    """
    spent = []
    for history, evaluations in zip(found, taken, strict=True):
        costs = np.cumsum(history.column(setting.cost))
        spent.append(float(costs[int(min(evaluations, len(costs))) - 1]))
    known = np.where(np.isfinite(taken), spent, math.inf)
    median = float(np.median(known))
    beyond = math.isinf(median)
    return {"median": float(np.median(spent)) if beyond else median, "beyond": beyond}


def _pairs(question: Question, methods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how each two methods differ; p values are corrected for the number of pairs."""
    pairs: list[dict[str, Any]] = []
    for number, (a, b) in enumerate(itertools.combinations(methods, 2)):
        first, second = (_evaluations(one) for one in (a, b))
        rng = np.random.default_rng(derive_seed(question.seed, COMPARE, _BOOTSTRAP, number))
        ratio = median_ratio(first, second, budget=question.budget, rng=rng)
        pairs.append(
            {
                "methods": [a["name"], b["name"]],
                "ratio": {key: _finite(value) for key, value in attrs.asdict(ratio).items()},
                "p_evaluations": evaluations_differ(first, second, budget=question.budget),
                "p_regret": regrets_differ(a["regret"]["searches"], b["regret"]["searches"]),
            }
        )
    for key in ("p_evaluations", "p_regret"):
        for pair, corrected in zip(pairs, holm([one[key] for one in pairs]), strict=True):
            pair[f"{key}_uncorrected"] = pair[key]
            pair[key] = corrected
    return pairs


def _evaluations(method: Mapping[str, Any]) -> list[float]:
    taken = method["evaluations"]["searches"]
    return [math.inf if one is None else one for one in taken]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


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


def _verdict(record: Mapping[str, Any]) -> str:
    """Return what the comparison says, in a sentence: the best method against the next."""
    budget, methods = record["budget"], record["methods"]
    mark = f"{record['mark']['accuracy']:.2f} %"
    best, *others = sorted(methods, key=_order)
    if not others:
        median = evaluations_text(best["evaluations"]["median"], budget)
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


def write_curves(path: Path, setting: Setting, histories: Histories) -> None:
    """Write the best accuracy so far [%] after each evaluation: quartiles over the searches."""
    budget = setting.question.budget
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "evaluations", "low [%]", "median [%]", "high [%]"])
    for name, found in histories.items():
        best = [best_so_far(history.column("error"), length=budget) for history in found]
        bands: Floats = 100 - 100 * np.quantile(best, QUARTILES[::-1], axis=0)  # [3, budget]
        for index, band in enumerate(np.round(bands.T, 6).tolist()):
            writer.writerow([name, index + 1, *band])
    replace_file(path, out.getvalue())


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
            _short(taken["median"], budget),
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
