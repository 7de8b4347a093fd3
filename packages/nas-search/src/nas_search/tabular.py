"""Benchmarks as metrics: what every architecture of a space was measured to be worth, in a table.

Searches over a table take seconds, so that methods can be compared with many seeds.
"""

from typing import Any, Literal

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import FeasibleSet, InputError, Metric, SearchSpace

__all__ = ["MOST_ROWS", "Tabular", "TrainingCost", "measured_rows"]

MOST_ROWS = 2**22
"""Spaces with more rows than this are not listed; no benchmark has trained so many."""

EXAMPLES = 3


@frozen(eq=False)
class Tabular:
    """A metric that answers from a table, row by row.

    A benchmark such as NAS-Bench-201 lists all rows of a space, also those that build the same
    network, each with a value of its own; ``by="row"`` takes them as they are. Where it lists only
    one of several equal rows, ``by="network"`` gives all of them the value of that one, and the
    mean where several are listed.

    Args:
        space: the search space.
        archs: int64 ``[n, d]``, what is listed.
        values: float64 ``[n]``, finite; lower is better: accuracy as error in [0, 1].
        name: of the metric.
        unit: of the values.
        by: see above.

    Raises:
        InputError: rows that do not belong to the space, values of another shape or not finite,
            no rows, or, by row, a row that is listed twice.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> table = Tabular(space, [[0] * 8, [1] * 8], [0.25, 0.125])
    >>> table([[1] * 8]).tolist()
    [0.125]
    >>> table.knows([[1] * 8, [2] * 8]).tolist()
    [True, False]
    """

    space: SearchSpace
    archs: ArrayLike = field(repr=False)
    values: ArrayLike = field(repr=False)
    name: str = field(default="error", kw_only=True)
    unit: str = field(default="1", kw_only=True)
    by: Literal["row", "network"] = field(default="row", kw_only=True)
    _known: dict[bytes, float] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        rows = self.space.check(self.archs)
        values = np.asarray(self.values, dtype=np.float64)
        if values.shape != (len(rows),):
            raise InputError(
                f"values has shape {values.shape}; expected ({len(rows)},): one for each "
                "architecture"
            )
        if not len(rows):
            raise InputError("archs is empty; a table holds at least one architecture")
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise InputError(
                f"values[{wrong[0]}] is {values[wrong[0]]} for architecture "
                f"{self.space.format(rows[wrong[0]])}; a table holds finite numbers"
            )
        if self.by not in ("row", "network"):
            raise InputError(f"by={self.by!r} is unknown; valid: network, row")
        listed: dict[bytes, list[float]] = {}
        for key, row, value in zip(self._keys(rows), rows, values.tolist(), strict=True):
            own = listed.setdefault(key, [])
            own.append(value)
            if self.by == "row" and len(own) > 1:
                raise InputError(
                    f"archs lists {self.space.format(row)} twice; list it once, with the mean of "
                    "its values for example"
                )
        object.__setattr__(
            self, "_known", {key: sum(own) / len(own) for key, own in listed.items()}
        )

    def _keys(self, rows: NDArray[np.int64]) -> list[bytes]:
        known = self.space.canonical(rows) if self.by == "network" else rows
        return [row.tobytes() for row in np.ascontiguousarray(known)]

    def knows(self, archs: ArrayLike) -> NDArray[np.bool_]:
        """Return bool ``[n]``: which of ``archs [n, d]`` have a value.

        Raises:
            InputError: rows that do not belong to the space.
        """
        keys = self._keys(self.space.check(archs))
        return np.array([key in self._known for key in keys], dtype=np.bool_)

    def __call__(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return the values ``[n]`` of ``archs [n, d]``.

        Raises:
            InputError: rows that do not belong to the space, or that the table lacks.
        """
        rows = self.space.check(archs)
        found = [self._known.get(key) for key in self._keys(rows)]
        missing = [
            self.space.format(row) for row, value in zip(rows, found, strict=True) if value is None
        ]
        if missing:
            raise InputError(
                f"{self.name}: the table lacks {len(missing)} of {len(rows)} architectures, like "
                f"{'; '.join(missing[:EXAMPLES])}; give a table of the whole space"
                + (
                    ", or by='network' if it lists one of several equal rows"
                    if self.by == "row"
                    else ""
                )
            )
        return np.array(found, dtype=np.float64)


@frozen
class TrainingCost:
    """What training an architecture alone costs, in multiply-adds.

    A step forward takes the multiply-adds of the network for each image, a step backward twice as
    many (the gradients of weights and of inputs): 3 x macs x images x epochs. A search over a
    table is charged with it for each architecture, as if it had trained that one.

    Args:
        macs: multiply-adds of one image.
        images: of an epoch.
        epochs: of a training.

    Raises:
        InputError: images or epochs below 1.

    >>> from nas_spaces import Table, Term, published
    >>> space = published.load("nas-bench-macro")
    >>> macs = Table(space, "macs", "multiply-adds", [Term((0,), [10, 20, 30])])
    >>> TrainingCost(macs, images=100, epochs=2)([[1] * 8]).tolist()
    [12000.0]
    """

    macs: Metric
    images: int = field(kw_only=True)
    epochs: int = field(kw_only=True)
    name: str = field(default="training", init=False)
    unit: str = field(default="multiply-adds", init=False)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, images=self.images, epochs=self.epochs)

    def __call__(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return multiply-adds ``[n]`` of ``archs [n, d]``."""
        macs: NDArray[Any] = np.asarray(self.macs(archs), dtype=np.float64)
        return 3.0 * macs * self.images * self.epochs


def measured_rows(feasible: FeasibleSet) -> NDArray[np.int64]:
    """Return every row that `search` can measure within limits, int64 ``[k, d]``, each once.

    That is the canonical row of each network, or, where that one is outside, the rows that are
    inside. The best that a search can reach is the least value among them.

    Raises:
        InputError: a space of more than 4,194,304 rows, or limits that nothing satisfies.

    >>> from nas_spaces import published
    >>> rows = measured_rows(FeasibleSet(published.load("nas-bench-201")))
    >>> rows.shape
    (6466, 6)
    """
    space = feasible.space
    if space.size > MOST_ROWS:
        raise InputError(
            f"space {space.name!r} has {space.size:,} architectures; at most {MOST_ROWS:,} can be "
            "listed"
        )
    rows, _ = candidates.representatives(feasible, candidates.all_rows(space))
    if not len(rows):
        limits = " and ".join(map(str, feasible.limits))
        raise InputError(f"no architecture of space {space.name!r} is within {limits}")
    return np.unique(rows, axis=0)
