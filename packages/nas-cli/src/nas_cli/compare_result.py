"""What a comparison comes to: medians, regrets, tests between methods, curves."""

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

from nas_cli.compare_methods import COMPARE
from nas_cli.compare_question import CompareQuestion
from nas_cli.compare_text import verdict_text
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

__all__ = ["Setting", "describe", "write_curves"]

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

    question: CompareQuestion
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
    return {**record, "verdict": verdict_text(record)}


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


def _pairs(question: CompareQuestion, methods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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
