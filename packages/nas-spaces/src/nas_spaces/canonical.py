"""One row for all rows that build the same network.

Three rules, each worked out once from the blocks of a space and applied to all rows at a time:

- **Options without effect.** Columns that the same blocks read are looked at together: their
  combinations that give all those blocks equal layers become the first such combination. So go a
  kernel size where the kernel's block is skipped, and a candidate that is there twice.
- **Identities in a run.** Where blocks with equal candidates follow one another, and nothing else
  reads what is between them, those that build nothing move behind the others. In an identity's
  new place stands the first option that builds nothing there.
- **Isomorphic cells.** Blocks between two places that a single value passes, such as the edges
  of a cell, are looked at together with all blocks that read their columns: rows that give
  isomorphic cells by the rule of `nas_spaces.isomorphism` become the cheapest of them. It takes
  the place of the other two for those columns, and is left out where the columns have more than
  `nas_spaces.cells.JOINT_ROWS` combinations.

The first two keep every layer with the shape that enters it, so that every cost and, given the
same weights, every output stays what it is. The third one does not: see `Canonical`.

Layers are compared as records: two that differ and yet build the same primitives are two layers,
unless they build none.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from attrs import frozen

from nas_spaces.blocks import Block, BlockPlan
from nas_spaces.cells import cells_of
from nas_spaces.grids import combination_index, spread, write_combinations
from nas_spaces.replacements import Bools, Built, Ints, Replacement, Rows, built_of

__all__ = ["Canonical"]

# Combinations of columns that are compared with each other; larger ones are left as they are.
COMBINATIONS = 2**20


@frozen(eq=False)
class _Position:
    """A block of a run.

    ``columns``: those that it alone reads, in ``sizes``; a combination of them stands for an equal
    layer at every position of the run. ``around``: the columns that the shape of its input
    depends on besides, in ``around_sizes``. ``empty``: bool ``[own, around]``, whether nothing is
    built. ``first_empty``: int64 ``[around]``, the combination that builds nothing and makes the
    lowest row, -1 for none.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    around: tuple[int, ...]
    around_sizes: tuple[int, ...]
    empty: Bools
    first_empty: Ints


@frozen(eq=False)
class _Run:
    """Neighbouring blocks with equal candidates: what builds nothing may stand anywhere."""

    positions: tuple[_Position, ...]

    def apply(self, rows: Rows) -> None:
        """Move what builds nothing behind the other layers, in place."""
        own = np.stack(
            [combination_index(rows, p.columns, p.sizes) for p in self.positions], axis=1
        )
        empty = np.stack(
            [
                p.empty[own[:, i], combination_index(rows, p.around, p.around_sizes)]
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
            around = combination_index(moved, position.around, position.around_sizes)
            chosen = np.where(empty[:, i], position.first_empty[around], own[:, i])
            possible &= chosen >= 0
            write_combinations(moved, position.columns, position.sizes, np.maximum(chosen, 0))
        rows[possible] = moved[possible]


@frozen(eq=False)
class Canonical:
    """The map from rows to canonical rows, worked out once for a space.

    A canonical row builds what its rows build, and is its own canonical row. Where only options
    without effect and identities differ, it costs the same. Among isomorphic cells it is the one
    with the fewest multiply-adds, of those the one with the fewest weights, then with the fewest
    primitives besides zeros, then with the fewest zeros, and of those the first. So it never has
    more multiply-adds than its rows. It has fewer where one of them

    - computes what is not used: an edge into a node that nothing reads, or only zeros do;
    - applies an operation to zero. That is taken for zero, as NAS-Bench-201 does, although a
      norm makes a constant of it, its shift;
    - applies equal operations, each with its own weights, to equal values, where another row
      passes the result of one on twice.

    Such rows differ in their costs and, by the latter two, a little in what they can learn: a
    table of single rows, as a benchmark has it, is looked up by the rows themselves.
    """

    replacements: tuple[Replacement, ...]
    runs: tuple[_Run, ...]

    @classmethod
    def of(cls, blocks: Sequence[Block], plans: Sequence[BlockPlan]) -> "Canonical":
        """Work out the map for the blocks of a space."""
        built = built_of(blocks, plans)
        cells = tuple(cells_of(blocks, plans, built))
        taken = frozenset(column for cell in cells for column in cell.columns)
        return cls(
            (*cells, *_options(plans, built, taken)), tuple(_runs(blocks, plans, built, taken))
        )

    def __call__(self, archs: Rows) -> Rows:
        """Return canonical rows int64 ``[n, d]``; ``archs`` is left as it is."""
        rows = archs.copy()
        while True:
            before = rows.copy()
            for replacement in self.replacements:
                replacement.apply(rows)
            for run in self.runs:
                run.apply(rows)
            # Moving layers can make way for other replacements. It comes to an end: cells and the
            # order of layers are settled the first time, and what else changes makes a row lower.
            if (rows == before).all():
                return rows


def _options(
    plans: Sequence[BlockPlan], built: Sequence[Built], taken: frozenset[int]
) -> Iterator[Replacement]:
    """Yield, for columns that the same blocks read, what takes the place of what."""
    readers: dict[int, list[int]] = {}
    size_of: dict[int, int] = {}
    for index, plan in enumerate(plans):
        for column, size in zip(plan.columns, plan.sizes, strict=True):
            readers.setdefault(column, []).append(index)
            size_of[column] = size
    together: dict[tuple[int, ...], list[int]] = {}
    for column in sorted(set(readers) - taken):
        together.setdefault(tuple(readers[column]), []).append(column)
    for reading, columns in together.items():
        given = sorted({c for i in reading for c in plans[i].columns} - set(columns))
        axes = (*given, *columns)
        sizes = [size_of[column] for column in axes]
        if math.prod(sizes) > COMBINATIONS:
            continue
        combined = np.zeros(sizes, dtype=np.int64)
        for index in reading:
            numbers = built[index].number.reshape(plans[index].sizes)
            here = spread(numbers, plans[index].columns, axes)
            combined = combined * (int(numbers.max()) + 1) + here
            # Kept small, so that the next product cannot overflow.
            combined = np.unique(combined, return_inverse=True)[1].reshape(sizes)
        first = _first_equal(combined.reshape(math.prod(sizes[: len(given)]), -1))
        if (first != np.arange(first.shape[1])).any():
            yield Replacement(
                tuple(columns),
                tuple(size_of[c] for c in columns),
                tuple(given),
                tuple(size_of[c] for c in given),
                first,
            )


def _first_equal(numbers: Ints) -> Ints:
    """Return, for each entry of each row, the first position in the row with an equal entry."""
    # A stable sort puts equal entries side by side, the first position in front.
    order = np.argsort(numbers, axis=1, kind="stable")
    lines = np.take_along_axis(numbers, order, axis=1)
    starts = np.zeros_like(order)
    starts[:, 1:] = np.where(lines[:, 1:] != lines[:, :-1], np.arange(1, numbers.shape[1]), 0)
    starts = np.maximum.accumulate(starts, axis=1)
    result = np.empty_like(order)
    np.put_along_axis(result, order, np.take_along_axis(order, starts, axis=1), axis=1)
    return result


def _runs(
    blocks: Sequence[Block],
    plans: Sequence[BlockPlan],
    built: Sequence[Built],
    taken: frozenset[int],
) -> Iterator[_Run]:
    """Yield the runs of two blocks and more."""
    reads = [plan.columns[: plan.reads] for plan in plans]
    times: dict[int, int] = {}
    fed: dict[int, int] = {}
    for own, plan in zip(reads, plans, strict=True):
        for column in own:
            times[column] = times.get(column, 0) + 1
        for source in plan.sources:
            fed[source] = fed.get(source, 0) + 1
    run: list[_Position] = []
    for index, plan in enumerate(plans):
        position = None
        if plan.sources == (index - 1,) and all(
            times[column] == 1 and column not in taken for column in reads[index]
        ):
            position = _position(plan, built[index])
        goes_on = (
            len(run) > 0
            and position is not None
            # A third block that taps the one before would see what moves.
            and fed[index - 1] == 1
            and blocks[index - 1].layers == blocks[index].layers
            and run[-1].sizes == position.sizes
            # The shape that enters is then the one that leaves the block before, whatever it is.
            and set(position.around) <= set(reads[index - 1])
        )
        if not goes_on:
            if len(run) > 1:
                yield _Run(tuple(run))
            run = []
        if position is not None:
            run.append(position)
    if len(run) > 1:
        yield _Run(tuple(run))


def _position(plan: BlockPlan, built: Built) -> _Position | None:
    """Return a block as part of a run; None where it cannot build nothing."""
    if not built.empty.any() or not plan.reads:
        return None
    columns, sizes = plan.columns[: plan.reads], plan.sizes[: plan.reads]
    empty = built.empty.reshape(-1, plan.extra)
    # By the order of columns in a row, which need not be the one in which the block reads them.
    lowest = np.arange(len(empty)).reshape(sizes).transpose(np.argsort(columns)).ravel()
    first = np.where(empty.any(axis=0), lowest[empty[lowest].argmax(axis=0)], -1)
    return _Position(
        columns, sizes, plan.columns[plan.reads :], plan.sizes[plan.reads :], empty, first
    )
