"""One row for all rows that build the same network."""

import math
from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces.layers import Layer
from nas_spaces.primitives import Shape

__all__ = ["Canonical"]

Rows = NDArray[np.int64]

# Combinations of columns that are compared with each other; larger ones are left as they are.
COMBINATIONS = 2**20


class Plan(Protocol):
    """What is asked of a `nas_spaces.space.BlockPlan`."""

    @property
    def columns(self) -> tuple[int, ...]: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def reads(self) -> int: ...
    @property
    def extra(self) -> int: ...
    @property
    def sources(self) -> tuple[int, ...]: ...
    @property
    def in_shapes(self) -> tuple[Shape, ...]: ...
    @property
    def out_shapes(self) -> tuple[Shape, ...]: ...


class Block(Protocol):
    """What is asked of a `nas_spaces.space.Block`."""

    @property
    def layers(self) -> Sequence[Layer]: ...


@frozen(eq=False)
class _Bundle:
    """Columns that the same blocks read, and which of their options make no difference.

    ``columns``: the bundle's, in ``sizes``. ``given``: the other columns that those blocks read,
    in ``given_sizes``. ``first``: ``[given, bundle]``, the first combination of the bundle that
    builds the same.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    given: tuple[int, ...]
    given_sizes: tuple[int, ...]
    first: NDArray[np.int64]

    def apply(self, rows: Rows) -> None:
        """Replace the bundle's options by the first that build the same, in place."""
        here = _index(rows, self.columns, self.sizes)
        there = self.first[_index(rows, self.given, self.given_sizes), here]
        _write(rows, self.columns, self.sizes, there)


@frozen(eq=False)
class _Position:
    """A block of a run. ``empty``: ``[own, extra]``, whether it builds nothing.

    ``first_empty``: ``[extra]``, the first own combination that builds nothing; -1 for none.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    around: tuple[int, ...]
    around_sizes: tuple[int, ...]
    empty: NDArray[np.bool_]
    first_empty: NDArray[np.int64]


@frozen(eq=False)
class _Run:
    """Neighbouring blocks with equal candidates: what builds nothing may stand anywhere."""

    positions: tuple[_Position, ...]

    def apply(self, rows: Rows) -> None:
        """Move what builds nothing behind the other layers, in place."""
        own = np.stack([_index(rows, p.columns, p.sizes) for p in self.positions], axis=1)
        empty = np.stack(
            [
                p.empty[own[:, i], _index(rows, p.around, p.around_sizes)]
                for i, p in enumerate(self.positions)
            ],
            axis=1,
        )
        order = np.argsort(empty, axis=1, kind="stable")
        own = np.take_along_axis(own, order, axis=1)
        empty = np.take_along_axis(empty, order, axis=1)
        moved = rows.copy()
        possible = np.ones(len(rows), dtype=bool)
        for i, position in enumerate(self.positions):
            # The shape that an identity keeps is the one before it, which may have moved there.
            around = _index(moved, position.around, position.around_sizes)
            chosen = np.where(empty[:, i], position.first_empty[around], own[:, i])
            possible &= chosen >= 0
            _write(moved, position.columns, position.sizes, np.maximum(chosen, 0))
        rows[possible] = moved[possible]


@frozen(eq=False)
class Canonical:
    """The map from rows to canonical rows, worked out once for a space."""

    bundles: tuple[_Bundle, ...]
    runs: tuple[_Run, ...]

    @classmethod
    def of(cls, blocks: Sequence[Block], plans: Sequence[Plan]) -> "Canonical":
        """Work out the map for the blocks of a space."""
        return cls(_bundles(blocks, plans), _runs(blocks, plans))

    def __call__(self, archs: Rows) -> Rows:
        """Return canonical rows int64 ``[n, d]``; ``archs`` is left as it is."""
        rows = archs.copy()
        while True:
            before = rows.copy()
            for bundle in self.bundles:
                bundle.apply(rows)
            for run in self.runs:
                run.apply(rows)
            # What one rule changes can make way for another; each makes rows no longer.
            if (rows == before).all():
                return rows


def _index(rows: Rows, columns: Sequence[int], sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return the combination of ``columns`` in each row, in C-order."""
    index = np.zeros(len(rows), dtype=np.int64)
    for column, size in zip(columns, sizes, strict=True):
        index = index * size + rows[:, column]
    return index


def _write(
    rows: Rows, columns: Sequence[int], sizes: Sequence[int], index: NDArray[np.int64]
) -> None:
    """Set ``columns`` of ``rows`` to combinations, in place."""
    for column, size in zip(reversed(columns), reversed(sizes), strict=True):
        rows[:, column] = index % size
        index = index // size


def _numbers(blocks: Sequence[Block], plans: Sequence[Plan], index: int) -> NDArray[np.int64]:
    """Return an array over a block's columns that is equal where the same is built."""
    plan, layers = plans[index], blocks[index].layers
    seen: dict[Hashable, int] = {}
    numbers = [
        seen.setdefault((layers[i // plan.extra], shape), len(seen))
        for i, shape in enumerate(plan.in_shapes)
    ]
    return np.array(numbers, dtype=np.int64).reshape(plan.sizes)


def _bundles(blocks: Sequence[Block], plans: Sequence[Plan]) -> tuple[_Bundle, ...]:
    readers: dict[int, list[int]] = {}
    for index, plan in enumerate(plans):
        for column in plan.columns:
            readers.setdefault(column, []).append(index)
    together: dict[tuple[int, ...], list[int]] = {}
    for column in sorted(readers):
        together.setdefault(tuple(readers[column]), []).append(column)
    size_of = {
        column: size
        for plan in plans
        for column, size in zip(plan.columns, plan.sizes, strict=True)
    }
    bundles = []
    for reading, columns in together.items():
        given = sorted({c for i in reading for c in plans[i].columns} - set(columns))
        axes = (*given, *columns)
        sizes = [size_of[column] for column in axes]
        if math.prod(sizes) > COMBINATIONS:
            continue
        combined = np.zeros(sizes, dtype=np.int64)
        for index in reading:
            numbers = _numbers(blocks, plans, index)
            if not set(columns) & set(plans[index].columns):
                continue
            spread = _spread(numbers, plans[index].columns, axes)
            combined = combined * (int(numbers.max()) + 1) + spread
            # Kept small, so that the next product cannot overflow.
            combined = np.unique(combined, return_inverse=True)[1].reshape(sizes)
        flat = combined.reshape(math.prod(sizes[: len(given)]), -1)
        first = _first_equal(flat)
        if (first != np.arange(flat.shape[1])).any():
            bundles.append(
                _Bundle(
                    tuple(columns),
                    tuple(size_of[c] for c in columns),
                    tuple(given),
                    tuple(size_of[c] for c in given),
                    first,
                )
            )
    return tuple(bundles)


def _spread(
    numbers: NDArray[np.int64], columns: tuple[int, ...], axes: Sequence[int]
) -> NDArray[np.int64]:
    """Return ``numbers`` over ``columns`` with one axis for each of ``axes``, to be broadcast."""
    order = [columns.index(axis) for axis in axes if axis in columns]
    moved = numbers.transpose(order)
    shape = iter(moved.shape)
    return moved.reshape([next(shape) if axis in columns else 1 for axis in axes])


def _first_equal(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each entry of each row, the first position in the row with an equal entry."""
    result = np.empty_like(numbers)
    for row, line in enumerate(numbers):
        _, first, inverse = np.unique(line, return_index=True, return_inverse=True)
        result[row] = first[inverse]
    return result


def _runs(blocks: Sequence[Block], plans: Sequence[Plan]) -> tuple[_Run, ...]:
    reads = [plan.columns[: plan.reads] for plan in plans]
    times: dict[int, int] = {}
    for own in reads:
        for column in own:
            times[column] = times.get(column, 0) + 1
    fed: dict[int, int] = {}
    for plan in plans:
        for source in plan.sources:
            fed[source] = fed.get(source, 0) + 1
    runs: list[list[int]] = []
    positions = {}
    for index, plan in enumerate(plans):
        if plan.sources != (index - 1,) or any(times[column] > 1 for column in reads[index]):
            continue
        position = _position(blocks[index], plan, reads[index])
        if position is None:
            continue
        positions[index] = position
        previous = runs[-1][-1] if runs else -2
        if (
            previous == index - 1
            # A third block that taps the one before would see what moves.
            and fed[index - 1] == 1
            and blocks[index - 1].layers == blocks[index].layers
            and plans[index - 1].sizes[: len(reads[index])] == position.sizes
            and set(position.around) <= set(reads[index - 1])
        ):
            runs[-1].append(index)
        else:
            runs.append([index])
    return tuple(_Run(tuple(positions[i] for i in run)) for run in runs if len(run) > 1)


def _position(block: Block, plan: Plan, own: tuple[int, ...]) -> _Position | None:
    """Return a block as part of a run; None where it cannot build nothing."""
    kept = np.array(
        [into == out for into, out in zip(plan.in_shapes, plan.out_shapes, strict=True)]
    ).reshape(-1, plan.extra)
    empty = np.zeros(kept.shape, dtype=bool)
    for combination, extra in np.argwhere(kept).tolist():
        shape = plan.in_shapes[combination * plan.extra + extra]
        empty[combination, extra] = not block.layers[combination].graph(shape)
    if not own or not empty.any():
        return None
    first = np.where(empty.any(axis=0), empty.argmax(axis=0), -1)
    return _Position(
        own,
        plan.sizes[: len(own)],
        plan.columns[len(own) :],
        plan.sizes[len(own) :],
        empty,
        first.astype(np.int64),
    )
