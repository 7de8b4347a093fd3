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
  `JOINT_ROWS` combinations.

The first two keep every layer with the shape that enters it, so that every cost and, given the
same weights, every output stays what it is. The third one does not: see `Canonical`.

Layers are compared as records: two that differ and yet build the same primitives are two layers,
unless they build none.
"""

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces.blocks import Block, BlockPlan
from nas_spaces.isomorphism import Node, expressions
from nas_spaces.layers import Layer
from nas_spaces.primitives import Convolution, Graph, Linear, Shape, Zeros

__all__ = ["Canonical"]

Rows = NDArray[np.int64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Combinations of columns that are compared with each other; larger ones are left as they are.
COMBINATIONS = 2**20
# Combinations of the columns of a cell, which are written out for every block of it.
JOINT_ROWS = 2**16


@frozen(eq=False)
class _Replacement:
    """Options that are replaced by others which build the same.

    ``columns``: what is replaced, in ``sizes``. ``given``: columns that say how, in
    ``given_sizes``. ``by``: int64 ``[given, columns]``, for each combination of the columns the
    one that takes its place.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    given: tuple[int, ...]
    given_sizes: tuple[int, ...]
    by: Ints

    def apply(self, rows: Rows) -> None:
        """Replace options in place."""
        here = _index(rows, self.columns, self.sizes)
        there = self.by[_index(rows, self.given, self.given_sizes), here]
        _write(rows, self.columns, self.sizes, there)


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

    replacements: tuple[_Replacement, ...]
    runs: tuple[_Run, ...]

    @classmethod
    def of(cls, blocks: Sequence[Block], plans: Sequence[BlockPlan]) -> "Canonical":
        """Work out the map for the blocks of a space."""
        built = _built(blocks, plans)
        cells = tuple(_cells(blocks, plans, built))
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


def _index(rows: Rows, columns: Sequence[int], sizes: Sequence[int]) -> Ints:
    """Return the combination of ``columns`` in each row, in C-order."""
    index = np.zeros(len(rows), dtype=np.int64)
    for column, size in zip(columns, sizes, strict=True):
        index = index * size + rows[:, column]
    return index


def _write(rows: Rows, columns: Sequence[int], sizes: Sequence[int], index: Ints) -> None:
    """Set ``columns`` of ``rows`` to combinations, in place."""
    for column, size in zip(reversed(columns), reversed(sizes), strict=True):
        rows[:, column] = index % size
        index = index // size


@frozen(eq=False)
class _Built:
    """What a block builds for each combination of its columns, in C-order.

    ``number``: int64, in all blocks equal where equal layers get inputs of one shape. ``empty``:
    bool, where the layer has no primitives: its input leaves as it is.
    """

    number: Ints
    empty: Bools


def _built(blocks: Sequence[Block], plans: Sequence[BlockPlan]) -> list[_Built]:
    numbers: dict[Hashable, int] = {}
    known: dict[tuple[Layer, Shape], bool] = {}
    result = []
    for block, plan in zip(blocks, plans, strict=True):
        number = np.empty(len(plan.in_shapes), dtype=np.int64)
        empty = np.zeros(len(plan.in_shapes), dtype=bool)
        layer: Layer | None = None
        for i, (shape, out_shape) in enumerate(zip(plan.in_shapes, plan.out_shapes, strict=True)):
            if i % plan.extra == 0:
                layer = block.layers[i // plan.extra]
            assert layer is not None
            key = (layer, shape)
            if shape == out_shape:
                # Graphs are looked at only where the shape allows nothing to be built.
                if key not in known:
                    known[key] = not layer.graph(shape)
                empty[i] = known[key]
            number[i] = numbers.setdefault((None, shape) if empty[i] else key, len(numbers))
        result.append(_Built(number, empty))
    return result


def _options(
    plans: Sequence[BlockPlan], built: Sequence[_Built], taken: frozenset[int]
) -> Iterator[_Replacement]:
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
            spread = _spread(numbers, plans[index].columns, axes)
            combined = combined * (int(numbers.max()) + 1) + spread
            # Kept small, so that the next product cannot overflow.
            combined = np.unique(combined, return_inverse=True)[1].reshape(sizes)
        first = _first_equal(combined.reshape(math.prod(sizes[: len(given)]), -1))
        if (first != np.arange(first.shape[1])).any():
            yield _Replacement(
                tuple(columns),
                tuple(size_of[c] for c in columns),
                tuple(given),
                tuple(size_of[c] for c in given),
                first,
            )


def _spread(numbers: Ints, columns: tuple[int, ...], axes: Sequence[int]) -> Ints:
    """Return ``numbers`` over ``columns`` with one axis for each of ``axes``, to be broadcast."""
    order = [columns.index(axis) for axis in axes if axis in columns]
    moved = numbers.transpose(order)
    shape = iter(moved.shape)
    return moved.reshape([next(shape) if axis in columns else 1 for axis in axes])


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
    built: Sequence[_Built],
    taken: frozenset[int],
) -> Iterator[_Run]:
    """Yield the runs of two blocks and more."""
    reads = [plan.columns[: plan.num_reads] for plan in plans]
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


def _position(plan: BlockPlan, built: _Built) -> _Position | None:
    """Return a block as part of a run; None where it cannot build nothing."""
    if not built.empty.any() or not plan.num_reads:
        return None
    columns, sizes = plan.columns[: plan.num_reads], plan.sizes[: plan.num_reads]
    empty = built.empty.reshape(-1, plan.extra)
    # By the order of columns in a row, which need not be the one in which the block reads them.
    lowest = np.arange(len(empty)).reshape(sizes).transpose(np.argsort(columns)).ravel()
    first = np.where(empty.any(axis=0), lowest[empty[lowest].argmax(axis=0)], -1)
    return _Position(
        columns, sizes, plan.columns[plan.num_reads :], plan.sizes[plan.num_reads :], empty, first
    )


@frozen
class _Segment:
    """Blocks ``start`` to ``stop - 1``: one value enters and one leaves.

    ``source``, ``output``: the blocks that these come from, -1 for the image.
    """

    start: int
    stop: int
    source: int
    output: int

    @property
    def is_chain(self) -> bool:
        """Whether it is a single block that the value passes."""
        return self.stop - self.start == 1 and self.output == self.start


def _segments(plans: Sequence[BlockPlan]) -> Iterator[_Segment]:
    """Yield the network cut wherever only one value is needed later on."""
    last_use = {source: index for index, plan in enumerate(plans) for source in plan.sources}
    last_use[len(plans) - 1] = len(plans)
    needed = {-1}
    start, source = 0, -1
    for index in range(len(plans)):
        needed = {value for value in (*needed, index) if last_use.get(value, -1) > index}
        if len(needed) == 1:
            (output,) = needed
            yield _Segment(start, index + 1, source, output)
            start, source = index + 1, output


def _cells(
    blocks: Sequence[Block], plans: Sequence[BlockPlan], built: Sequence[_Built]
) -> Iterator[_Replacement]:
    """Yield, for columns that decide what a cell is, which rows take the place of which."""
    segments = list(_segments(plans))
    columns_of = [
        frozenset(c for plan in plans[one.start : one.stop] for c in plan.columns)
        for one in segments
    ]
    done: frozenset[int] = frozenset()
    for segment, own in zip(segments, columns_of, strict=True):
        if segment.is_chain or own <= done:
            continue
        # All that reads one of the columns takes part, with the other columns that it reads.
        columns: frozenset[int] = frozenset()
        wider = own
        while columns != wider:
            columns = wider
            wider = columns.union(*(other for other in columns_of if other & columns))
        done |= columns
        members = [one for one, other in zip(segments, columns_of, strict=True) if other & columns]
        size_of = {c: s for plan in plans for c, s in zip(plan.columns, plan.sizes, strict=True)}
        sizes = tuple(size_of[column] for column in sorted(columns))
        if math.prod(sizes) <= JOINT_ROWS:
            by = _cheapest(_stretches(members), sorted(columns), sizes, blocks, plans, built)
            if (by != np.arange(len(by))).any():
                yield _Replacement(tuple(sorted(columns)), sizes, (), (), by[None])


def _stretches(segments: Sequence[_Segment]) -> list[_Segment]:
    """Return the segments with single blocks that follow one another taken together."""
    result: list[_Segment] = []
    chain = False
    for segment in segments:
        if chain and segment.is_chain and segment.start == result[-1].stop:
            before = result.pop()
            result.append(_Segment(before.start, segment.stop, before.source, segment.output))
        else:
            result.append(segment)
        chain = segment.is_chain
    return result


def _cheapest(
    segments: Sequence[_Segment],
    columns: Sequence[int],
    sizes: tuple[int, ...],
    blocks: Sequence[Block],
    plans: Sequence[BlockPlan],
    built: Sequence[_Built],
) -> Ints:
    """Return int64 ``[n]``: for each joint row of ``columns`` the cheapest isomorphic one."""
    n = math.prod(sizes)
    rows = np.indices(sizes).reshape(len(sizes), n).T
    axis_of = {column: axis for axis, column in enumerate(columns)}
    costs = np.zeros((4, n), dtype=np.int64)
    classes = np.zeros(n, dtype=np.int64)
    # A cell that is repeated, be it with other channels, says nothing new.
    known: set[Hashable] = set()
    for segment in segments:
        indices = range(segment.start, segment.stop)
        axes = [[axis_of[column] for column in plans[i].columns] for i in indices]
        here = [_index(rows, own, plans[i].sizes) for i, own in zip(indices, axes, strict=True)]
        graphs = [_Graphs.of(blocks[i], plans[i]) for i in indices]
        for facts, index in zip(graphs, here, strict=True):
            costs += facts.costs[:, index]
        position = {segment.source: -1, **{i: at for at, i in enumerate(indices)}}
        sources = [tuple(position[source] for source in plans[i].sources) for i in indices]
        numbers = _renumber([built[i].number for i in indices])
        leaving = _numbers_of(
            plans[segment.output].out_shapes if segment.output >= segment.start else ()
        )
        key = (
            position[segment.output],
            tuple(map(tuple, axes)),
            tuple(sources),
            *(part.tobytes() for part in numbers),
            *(built[i].empty.tobytes() for i in indices),
            *(facts.zero.tobytes() for facts in graphs),
            leaving.tobytes(),
        )
        if key in known:
            continue
        known.add(key)
        nodes = [
            Node(source, number[index], built[i].empty[index], facts.zero[index])
            for i, source, number, facts, index in zip(
                indices, sources, numbers, graphs, here, strict=True
            )
        ]
        written = expressions(nodes, position[segment.output])
        parts = [written]
        if len(leaving):
            # Zeros are written alike whatever their shape.
            parts.append(leaving[here[position[segment.output]]])
        for part in parts:
            classes = np.unique(classes * (int(part.max()) + 1) + part, return_inverse=True)[1]
    order = np.lexsort((*costs[::-1], classes))
    _, first = np.unique(classes[order], return_index=True)
    cheapest: Ints = order[first][classes]
    return cheapest


@frozen(eq=False)
class _Graphs:
    """What is read off the primitives of a block's layers, for each combination of its columns.

    ``zero``: bool ``[n]``, where zeros leave. ``costs``: int64 ``[4, n]``, what is to be small, the
    most important first: multiply-adds, elements of the weights that take part in them,
    primitives besides zeros, and zeros.
    """

    zero: Bools
    costs: Ints

    @classmethod
    def of(cls, block: Block, plan: BlockPlan) -> "_Graphs":
        """Build the graphs of a block and look at them."""
        graphs = [
            block.layers[i // plan.extra].graph(shape) for i, shape in enumerate(plan.in_shapes)
        ]
        zero = [len(graph) > 0 and isinstance(graph[-1], Zeros) for graph in graphs]
        return cls(np.array(zero), np.array([_costs(graph) for graph in graphs]).T)


def _costs(graph: Graph) -> tuple[int, int, int, int]:
    macs = weights = 0
    for primitive in graph:
        if isinstance(primitive, Convolution):
            inputs = primitive.in_channels // primitive.groups
            elements = primitive.out_channels * inputs * primitive.kernel**2
            weights += elements
            macs += elements * primitive.shape[1] * primitive.shape[2]
        elif isinstance(primitive, Linear):
            weights += primitive.in_features * primitive.out_features
            macs += primitive.in_features * primitive.out_features
    zeros = sum(isinstance(primitive, Zeros) for primitive in graph)
    return macs, weights, len(graph) - zeros, zeros


def _numbers_of(values: Sequence[Hashable]) -> Ints:
    """Return int64 ``[n]``: equal numbers for equal values, in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _renumber(parts: Sequence[Ints]) -> list[Ints]:
    """Return arrays with equal numbers where there were, from 0 in the order in which they come."""
    numbers = _numbers_of(np.concatenate(parts).tolist())
    return np.split(numbers, np.cumsum([len(part) for part in parts])[:-1])
