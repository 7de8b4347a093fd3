"""Costs that are sums or maxima of look-ups."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces.errors import InputError
from nas_spaces.primitives import Primitive
from nas_spaces.space import SearchSpace

__all__ = ["Table", "Term"]

# Look-ups of at most this many entries (8 bytes each) stay in a core's first cache together.
PACKED_ENTRIES = 1024
# Rows looked up at a time, so that what is worked out about them stays in a core's second cache.
PORTION = 2048


def _columns(columns: Iterable[int]) -> tuple[int, ...]:
    return tuple(columns)


def _values(values: ArrayLike) -> NDArray[np.int64] | NDArray[np.float64]:
    array = np.asarray(values)
    # Narrow integers would overflow in sums.
    if array.dtype.kind in "biu":
        return array.astype(np.int64, copy=False)
    return array.astype(np.float64, copy=False)


@frozen(eq=False)
class Term:
    """One look-up: ``values[arch[columns]]``.

    ``columns``: the columns that it reads. ``values``: one axis a column, int64 or float64.
    """

    columns: tuple[int, ...] = field(converter=_columns)
    values: NDArray[np.int64] | NDArray[np.float64] = field(converter=_values)


def _terms(terms: Iterable[Term]) -> tuple[Term, ...]:
    return tuple(terms)


@frozen(eq=False)
class Table:
    """A metric of a space that is a sum, or a maximum, of look-ups.

    Calling it with architectures int ``[n, d]`` returns values ``[n]``: int64 where all entries
    are integers, float64 otherwise.

    Args:
        space: the space that the rows belong to.
        name: for example ``"macs"``.
        unit: for example ``"multiply-adds"``.
        terms: the look-ups.
        constant: what every architecture costs besides.
        reduce: ``"sum"`` or ``"max"``.

    >>> import numpy as np
    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> ones = Table.from_primitives(space, "primitives", "1", lambda primitive: 1)
    >>> ones(np.zeros((2, 8), dtype=int))
    array([14, 14])
    """

    space: SearchSpace
    name: str
    unit: str
    terms: tuple[Term, ...] = field(converter=_terms)
    constant: int | float = 0
    reduce: Literal["sum", "max"] = "sum"

    def __attrs_post_init__(self) -> None:
        for term in self.terms:
            expected = tuple(self.space.num_options[column] for column in term.columns)
            if term.values.shape != expected:
                raise InputError(
                    f"table {self.name!r}: the term of columns {term.columns} has shape "
                    f"{term.values.shape}; space {self.space.name!r} needs {expected}"
                )

    @classmethod
    def from_primitives(
        cls,
        space: SearchSpace,
        name: str,
        unit: str,
        cost: Callable[[Primitive], int | float],
        *,
        reduce: Literal["sum", "max"] = "sum",
    ) -> "Table":
        """Build a table from the cost of one primitive.

        Args:
            space: the space to tabulate.
            name: the metric's name.
            unit: its unit.
            cost: cost of a primitive, computed once for each layer of each block.
            reduce: how the primitives of a network combine.
        """
        combine: Callable[[Sequence[int | float]], int | float] = (
            sum if reduce == "sum" else lambda values: max(values, default=0)
        )
        terms: list[Term] = []
        fixed: list[int | float] = []
        for index, plan in enumerate(space.plan):
            costs = [
                combine([cost(primitive) for primitive in space.graph(index, combination)])
                for combination in range(plan.combinations)
            ]
            if plan.columns:
                terms.append(Term(plan.columns, np.asarray(costs).reshape(plan.sizes)))
            else:
                fixed.append(costs[0])
        return cls(space, name, unit, terms, combine(fixed), reduce)

    @cached_property
    def is_integer(self) -> bool:
        """Whether every value is an integer."""
        return isinstance(self.constant, (int, np.integer)) and all(
            term.values.dtype.kind in "iu" for term in self.terms
        )

    @cached_property
    def _packed(self) -> tuple[NDArray[np.float64], tuple[NDArray[np.generic], ...]]:
        """Terms merged into fewer, larger look-ups.

        Strides float64 ``[d, look-ups]``, such that ``archs @ strides`` are positions, and the
        flat values of each look-up.
        """
        combine = np.add if self.reduce == "sum" else np.maximum
        merged: list[Term] = []
        for term in self.terms:
            if merged:
                last = merged[-1]
                columns = tuple(dict.fromkeys((*last.columns, *term.columns)))
                sizes = [self.space.num_options[column] for column in columns]
                if math.prod(sizes) <= PACKED_ENTRIES:
                    grids = (_spread(last, columns), _spread(term, columns))
                    merged[-1] = Term(columns, combine(*grids))
                    continue
            merged.append(term)
        strides = np.zeros((self.space.num_choices, len(merged)))
        for number, term in enumerate(merged):
            for axis, column in enumerate(term.columns):
                strides[column, number] += math.prod(term.values.shape[axis + 1 :])
        return strides, tuple(np.ascontiguousarray(term.values).ravel() for term in merged)

    def __call__(self, archs: ArrayLike) -> NDArray[np.int64] | NDArray[np.float64]:
        """Return values ``[n]`` of architectures int ``[n, d]``.

        Raises:
            InputError: rows that do not belong to the space.
        """
        return self._lookup(self.space.check(archs))

    def _lookup(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | NDArray[np.float64]:
        combine = np.add if self.reduce == "sum" else np.maximum
        strides, look_ups = self._packed
        dtype = np.int64 if self.is_integer else np.float64
        total: NDArray[Any] = np.full(len(rows), self.constant, dtype=dtype)
        for start in range(0, len(rows), PORTION):
            portion = slice(start, start + PORTION)
            # A product of float64 is by far the fastest way to the positions, and exact: they are
            # integers far below 2^53.
            positions = (rows[portion].astype(np.float64) @ strides).T.astype(np.intp, order="C")
            for position, values in zip(positions, look_ups, strict=True):
                combine(total[portion], values.take(position), out=total[portion])
        return total


def _spread(term: Term, columns: tuple[int, ...]) -> NDArray[np.generic]:
    """Return a term's values with one axis for each of ``columns``, to be broadcast."""
    order = [term.columns.index(column) for column in columns if column in term.columns]
    values = term.values.transpose(order)
    shape = [1] * len(columns)
    for axis, column in enumerate(c for c in columns if c in term.columns):
        shape[columns.index(column)] = values.shape[axis]
    return values.reshape(shape)
