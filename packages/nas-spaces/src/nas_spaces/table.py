"""Costs that are sums or maxima of look-ups."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces.errors import InputError
from nas_spaces.grids import spread
from nas_spaces.layers import Layer
from nas_spaces.primitives import Graph, Primitive, Shape
from nas_spaces.space import SearchSpace

__all__ = ["Cost", "Table", "Term", "absorb", "check_table", "each_layer"]

T = TypeVar("T")

# Look-ups of at most this many entries (8 bytes each) stay in a core's first cache together.
PACKED_ENTRIES = 1024
# Rows looked up at a time, so that what is worked out about them stays in a core's second cache.
LARGEST_PORTION, SMALLEST_PORTION = 2048, 256
# Multiply-adds from which BLAS libraries call up other threads, which costs more than it gives.
THREADING = 2**18


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

    def spread(self, columns: Sequence[int]) -> NDArray[np.int64] | NDArray[np.float64]:
        """Return the values with one axis for each of ``columns``, to be broadcast.

        ``columns`` hold the term's own, in any order; the axes of the others have length 1.
        """
        return spread(self.values, self.columns, columns)

    def simplified(self) -> "Term":
        """Return the term without the columns that it does not depend on.

        >>> Term((4, 2), [[1, 5], [1, 5]]).simplified().columns
        (2,)
        """
        values: NDArray[Any] = self.values
        columns = list(self.columns)
        for axis in reversed(range(values.ndim)):
            first = values.take(0, axis)
            if (values == np.expand_dims(first, axis)).all():
                values = np.asarray(first)
                del columns[axis]
        return Term(columns, values)


@frozen
class Cost:
    """A cost of one layer, to be tabulated over a space.

    ``name``, ``unit``, ``reduce``: as in `Table`. ``of``: given a layer's graph and the shape
    that enters it, returns the layer's cost.
    """

    name: str
    unit: str
    of: Callable[[Graph, Shape], int | float]
    reduce: Literal["sum", "max"] = "sum"

    @classmethod
    def of_primitives(
        cls,
        name: str,
        unit: str,
        cost: Callable[[Primitive], int | float],
        reduce: Literal["sum", "max"] = "sum",
    ) -> "Cost":
        """Return the cost of a layer whose primitives cost what ``cost`` says."""
        if reduce == "sum":
            return cls(name, unit, lambda graph, _: sum(map(cost, graph)))
        return cls(name, unit, lambda graph, _: max(map(cost, graph), default=0), reduce)


def each_layer(space: SearchSpace, look: Callable[[Graph, Shape], T]) -> Iterator[list[T]]:
    """Yield, block by block, what ``look`` returns for each combination's layer, in C-order.

    The one pass over a space's graphs: ``look`` gets a layer's graph and the shape that enters
    it, and is called once for equal layers that equal shapes enter.
    """
    seen: dict[Layer, dict[Shape, T]] = {}
    for block, plan in zip(space.blocks, space.plan, strict=True):
        results: list[T] = []
        for index in range(len(block.layers)):
            layer = block.layers[index]
            known = seen.setdefault(layer, {})
            for shape in plan.in_shapes[index * plan.extra : (index + 1) * plan.extra]:
                if shape not in known:
                    known[shape] = look(layer.graph(shape), shape)
                results.append(known[shape])
        yield results


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

    Raises:
        InputError: a term of columns that the space does not have, of a column twice, or of
            another shape than its choices give.

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
        known = set(range(self.space.num_choices))
        for term in self.terms:
            # A column counted from the end would be taken for another one than itself.
            if len(known.intersection(term.columns)) != len(term.columns):
                raise InputError(
                    f"table {self.name!r}: a term has columns {term.columns}; space "
                    f"{self.space.name!r} has 0..{len(known) - 1}, each at most once in a term"
                )
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
        (table,) = cls.many(space, [Cost.of_primitives(name, unit, cost, reduce)])
        return table

    @classmethod
    def from_graphs(
        cls,
        space: SearchSpace,
        name: str,
        unit: str,
        cost: Callable[[Graph, Shape], int | float],
        *,
        reduce: Literal["sum", "max"] = "sum",
    ) -> "Table":
        """Build a table from the cost of one layer.

        Args:
            space: the space to tabulate.
            name: the metric's name.
            unit: its unit.
            cost: cost of a layer, given its graph and the shape that enters it.
            reduce: how the layers of a network combine.

        >>> from nas_spaces import published
        >>> space = published.load("nas-bench-macro")
        >>> entering = Table.from_graphs(
        ...     space, "largest input", "elements", lambda graph, shape: math.prod(shape),
        ...     reduce="max",
        ... )
        >>> entering([[0] * 8])
        array([32768])
        """
        (table,) = cls.many(space, [Cost(name, unit, cost, reduce)])
        return table

    @classmethod
    def many(cls, space: SearchSpace, costs: Iterable[Cost]) -> tuple["Table", ...]:
        """Build one table for each of ``costs`` in one pass over the graphs.

        Building the graphs takes most of the time, so in large spaces several tables cost little
        more than one.
        """
        costs = tuple(costs)
        of = [cost.of for cost in costs]
        layers = list(each_layer(space, lambda graph, shape: [one(graph, shape) for one in of]))
        return tuple(
            cls.from_layers(
                space,
                cost.name,
                cost.unit,
                [[values[number] for values in results] for results in layers],
                reduce=cost.reduce,
            )
            for number, cost in enumerate(costs)
        )

    @classmethod
    def from_layers(
        cls,
        space: SearchSpace,
        name: str,
        unit: str,
        costs: Iterable[Sequence[int | float]],
        *,
        reduce: Literal["sum", "max"] = "sum",
    ) -> "Table":
        """Build a table from what every layer costs: one sequence a block, as `each_layer` yields.

        Args:
            space: the space to tabulate.
            name: the metric's name.
            unit: its unit.
            costs: for each block the costs of its combinations (`SearchSpace.plan`), in C-order.
            reduce: how the layers of a network combine.
        """
        terms: list[Term] = []
        fixed: list[int | float] = []
        for plan, values in zip(space.plan, costs, strict=True):
            if plan.columns:
                terms.append(Term(plan.columns, np.reshape(values, plan.sizes)))
            else:
                fixed.append(values[0])
        constant = sum(fixed) if reduce == "sum" else max(fixed, default=0)
        return cls(space, name, unit, terms, constant, reduce)

    def additive(self) -> tuple[float, NDArray[np.float64]]:
        """Return the constant, and float64 ``[d, k]``: what each option of each choice adds.

        ``k`` is that of ``space.mask``; 0 stands beyond a choice's options. The cost of a row is
        then the constant plus one entry a choice, and the expected cost under independent
        probabilities ``[d, k]`` the constant plus the sum of their products.

        Raises:
            InputError: a maximum, or a table in which choices depend on each other.

        >>> from nas_spaces import published
        >>> space = published.load("nas-bench-macro")
        >>> ones = Table.from_primitives(space, "primitives", "1", lambda primitive: 1)
        >>> constant, entries = ones.additive()
        >>> constant, entries[0].tolist(), entries[1].tolist()
        (8.0, [2.0, 8.0, 8.0], [0.0, 9.0, 9.0])
        """
        cure = (
            "architecture parameters (binary gates, mixtures) and candidate tables need a cost "
            "that is a sum over the choices, such as macs or params of a space whose blocks read "
            "one choice each"
        )
        if self.reduce != "sum":
            raise InputError(f"table {self.name!r} is a maximum over the blocks; {cure}")
        constant = float(self.constant)
        entries = np.zeros(self.space.mask.shape)
        for term in self.terms:
            if len(term.columns) > 1:
                names = ", ".join(repr(self.space.choices[column].name) for column in term.columns)
                raise InputError(
                    f"table {self.name!r} has a term of {len(term.columns)} choices, {names}; "
                    f"{cure}"
                )
            if term.columns:
                (column,) = term.columns
                entries[column, : len(term.values)] += term.values
            else:
                constant += float(term.values)
        return constant, entries

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
        for term in absorb(self.terms, combine):
            if merged:
                columns = tuple(dict.fromkeys((*merged[-1].columns, *term.columns)))
                sizes = [self.space.num_options[column] for column in columns]
                if math.prod(sizes) <= PACKED_ENTRIES:
                    grids = (merged[-1].spread(columns), term.spread(columns))
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
        size = min(LARGEST_PORTION, max(SMALLEST_PORTION, THREADING // max(strides.size, 1)))
        for start in range(0, len(rows), size):
            portion = slice(start, start + size)
            # A product of float64 is by far the fastest way to the positions, and exact: they are
            # integers far below 2^53.
            positions = (rows[portion].astype(np.float64) @ strides).T.astype(np.intp, order="C")
            for position, values in zip(positions, look_ups, strict=True):
                combine(total[portion], values.take(position), out=total[portion])
        return total


def absorb(terms: Sequence[Term], combine: np.ufunc) -> list[Term]:
    """Return the terms in order, without those whose columns another reads too: it takes them."""
    hosts: dict[int, Term] = {}
    for number in sorted(range(len(terms)), key=lambda n: -len(terms[n].columns)):
        term = terms[number]
        for place, host in hosts.items():
            if set(term.columns) <= set(host.columns):
                hosts[place] = Term(host.columns, combine(host.values, term.spread(host.columns)))
                break
        else:
            hosts[number] = term
    return [hosts[number] for number in sorted(hosts)]


def check_table(space: SearchSpace, table: object, argument: str) -> None:
    """Refuse what is no table of this space, whichever options of the two spaces are live.

    Args:
        space: the space that the table is to be of.
        table: what was given.
        argument: as what, for the message.

    Raises:
        InputError: no table, or one of another space.
    """
    if not isinstance(table, Table):
        raise InputError(
            f"{argument} is a {type(table).__name__}; give a nas_spaces.Table of the space"
        )
    own = table.space
    if (own.name, own.input_shape, own.choices, own.blocks) != (
        space.name,
        space.input_shape,
        space.choices,
        space.blocks,
    ):
        raise InputError(
            f"{argument} {table.name!r} is a table of space {own.name!r} for images "
            f"{own.input_shape}, not of {space.name!r} for images {space.input_shape}; build it "
            "from the same space"
        )
