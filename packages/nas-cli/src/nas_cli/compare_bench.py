"""The table of a benchmark that methods search in a comparison, and what a training costs there."""

from pathlib import Path

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

import nas_search
from nas_cli.compare_question import CompareQuestion
from nas_cli.limits import METRICS, build_limits
from nas_cli.spaces import load_space
from nas_cli.truth import Truth, read_costs, read_truth
from nas_search import Tabular, TrainingCost
from nas_spaces import FeasibleSet, InputError, Metric, SearchSpace, Table

__all__ = ["Bench", "open_bench"]

# Where the mark is the best itself, arithmetic must not put it out of reach.
ROUNDING = 1e-12


@frozen(eq=False)
class Bench:
    """A table that is searched.

    ``error``: in [0, 1], of what a search can measure: ``rows`` int64 ``[k, d]``. ``macs`` and
    ``cost``, of a training, are recorded beside it. ``networks``: how many different ones there
    are within the limits. ``mark``: the error to be reached.
    """

    feasible: FeasibleSet
    truth: Truth
    rows: NDArray[np.int64]
    networks: int
    error: Tabular
    macs: Table
    cost: Metric
    mark: float

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.feasible.space


def open_bench(question: CompareQuestion) -> Bench:
    """Return the table that a question is about.

    Raises:
        InputError: a space, limits or a table that cannot be used, or a table that lacks
            architectures.
    """
    space = load_space(question.space)
    feasible = build_limits(space, question.limits)
    rows = nas_search.measured_rows(feasible)
    truth = read_truth(Path(question.truth), space, question.column)
    error = _table(question, rows, space, truth.archs, 1 - truth.accuracy / 100, truth.column)
    macs = METRICS["macs"](space)
    errors = error(rows)
    return Bench(
        feasible=feasible,
        truth=truth,
        rows=rows,
        networks=len(np.unique(space.canonical(rows), axis=0)),
        error=error,
        macs=macs,
        cost=_cost(question, rows, space, macs),
        mark=float(1 - question.mark / 100 * (1 - errors.min())) + ROUNDING,
    )


def _table(
    question: CompareQuestion,
    rows: NDArray[np.int64],
    space: SearchSpace,
    archs: NDArray[np.int64],
    values: NDArray[np.float64],
    column: str,
    *,
    name: str = "error",
    unit: str = "1",
) -> Tabular:
    """Return values as a metric that answers for all ``rows [k, d]`` that a search can measure."""
    if len(archs):
        table = Tabular(space, archs, values, name=name, unit=unit)
        if not table.knows(rows).all():
            # A benchmark may list only one of the rows that build the same network.
            table = attrs.evolve(table, by="network")
        missing = rows[~table.knows(rows)]
    else:
        missing = rows
    if not len(missing):
        return table
    examples = ", ".join(space.notate(row) for row in missing[:3])
    within = " within the limits" if question.limits else ""
    raise InputError(
        f"truth: {question.truth}: column {column!r} lacks {len(missing):,} of the {len(rows):,} "
        f"architectures{within} of space {space.name!r}, like {examples}; a search may ask for any "
        "of them: give a table of the whole space"
    )


def _cost(
    question: CompareQuestion, rows: NDArray[np.int64], space: SearchSpace, macs: Table
) -> Metric:
    """Return what training an architecture costs."""
    if question.cost_column is None:
        assert question.images is not None and question.epochs is not None
        return TrainingCost(macs, images=question.images, epochs=question.epochs)
    costs = read_costs(Path(question.truth), space, question.cost_column)
    return _table(
        question,
        rows,
        space,
        costs.archs,
        costs.values,
        costs.column,
        name="training",
        unit=costs.unit or costs.column,
    )
