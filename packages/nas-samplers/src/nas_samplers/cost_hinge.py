"""How much the rows of a step cost beyond a target, and what that weighs."""

from typing import Literal

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_samplers.settings import named
from nas_samplers.validators import number, one_of
from nas_spaces import FeasibleSet, InputError, SearchSpace, Table
from nas_spaces.protocols import Metric
from nas_spaces.table import check_table

__all__ = ["CostHinge"]

# Relative excess, summed over the rows, below which there is none: rounding of a cost.
NOTHING = 1e-9


@frozen
class CostHinge:
    """A cost above a target: C_k = max(0, cost_k / target - 1) for each row of a step.

    FP-NAS, equations 4 to 8. ``kind="log"`` is what is printed: weight * log C with C the mean of
    C_k, whose derivative gives row k the weight ``weight * C_k / sum C``. It is free of scale: the
    push has the strength ``weight`` however small the excess is, and where no row exceeds the
    target, which makes the formula 0 / 0, it is left out. ``"linear"`` is weight * C, so that row k
    has ``weight * C_k / K``: the push fades as rows come near the target.

    Args:
        metric: a `Table` or any metric of the space.
        target: in the metric's unit, above 0 and, of a table, attainable in its space.
        weight: the paper's beta, at least 0 (0.3).
        kind: ``"log"`` or ``"linear"``.

    Raises:
        InputError: a number out of range, a metric that cannot be called, or a target below what a
            table's space attains.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> depth = Table.from_primitives(space, "depth", "blocks", lambda p: p.name == "depthwise")
    >>> hinge = CostHinge(depth, target=4)
    >>> excess = hinge.excess([[0] * 8, [1] * 5 + [0] * 3, [1] * 8])
    >>> excess.tolist(), hinge.weights(excess).tolist()
    ([0.0, 0.25, 1.0], [0.0, 0.06, 0.24])
    """

    metric: Metric
    target: float = field(validator=number(above=0))
    weight: float = field(default=0.3, validator=number(least=0))
    kind: Literal["log", "linear"] = field(default="log", validator=one_of("log", "linear"))

    def __attrs_post_init__(self) -> None:
        if not callable(self.metric):
            raise InputError(
                f"metric={self.metric!r} must be a Table, or a function from rows to costs"
            )
        if isinstance(self.metric, Table):
            self._check_target(self.metric.space, self.metric)

    def __str__(self) -> str:
        return f"{self.kind} of {self.name}, target {self.target}, weight {self.weight}"

    @property
    def name(self) -> str:
        """The metric's name; of a plain function what it is called."""
        return str(getattr(self.metric, "name", None) or named(self.metric))

    def check(self, space: SearchSpace) -> None:
        """Refuse a table of another space, and a target below what live options attain.

        Raises:
            InputError: as said.
        """
        if isinstance(self.metric, Table):
            check_table(space, self.metric, "cost")
            self._check_target(space, self.metric)

    def _check_target(self, space: SearchSpace, table: Table) -> None:
        low, high = FeasibleSet(space).attainable(table)
        # Rounding of sums may keep the cheapest row from its own bound.
        if self.target < low - 1e-9 * abs(low):
            raise InputError(
                f"target={self.target:,} {table.unit} is below every architecture of space "
                f"{space.name!r}: their {table.name} is {low:,} to {high:,}; aim at {low:,} or more"
            )

    def costs(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return the costs float64 ``[K]`` of rows int ``[K, d]``, in the metric's unit.

        Raises:
            InputError: the metric gives something else than a finite number a row.
        """
        costs = np.asarray(self.metric(archs), dtype=np.float64)
        if costs.shape != (len(np.asarray(archs)),) or not np.isfinite(costs).all():
            raise InputError(
                f"metric {self.name!r} gave {costs} for {len(np.asarray(archs))} rows; a "
                "cost is one finite number a row"
            )
        return costs

    def excess(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return C_k float64 ``[K]`` of rows int ``[K, d]``, in units of the target."""
        return self.excess_of(self.costs(archs))

    def excess_of(self, costs: ArrayLike) -> NDArray[np.float64]:
        """Return C_k float64 ``[K]`` of costs ``[K]``."""
        result: NDArray[np.float64] = np.maximum(0.0, np.asarray(costs) / self.target - 1)
        return result

    def weights(self, excess: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what C_k ``[K]`` take from the weights of their rows, float64 ``[K]``."""
        if self.kind == "linear":
            return self.weight * excess / len(excess)
        total = excess.sum()
        if total < NOTHING:
            return np.zeros(len(excess))
        result: NDArray[np.float64] = self.weight * (excess / total)
        return result
