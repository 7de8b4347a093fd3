"""Isomorphic cells: the third rule of `nas_spaces.canonical`."""

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from attrs import frozen

from nas_spaces.blocks import Block, BlockPlan
from nas_spaces.grids import combination_index
from nas_spaces.isomorphism import Node, expressions
from nas_spaces.primitives import Convolution, Graph, Linear, Zeros
from nas_spaces.replacements import Bools, Built, Ints, Replacement

__all__ = ["cells_of"]

# Combinations of the columns of a cell, which are written out for every block of it.
JOINT_ROWS = 2**16


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


def cells_of(
    blocks: Sequence[Block], plans: Sequence[BlockPlan], built: Sequence[Built]
) -> Iterator[Replacement]:
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
                yield Replacement(tuple(sorted(columns)), sizes, (), (), by[None])


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
    built: Sequence[Built],
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
        here = [
            combination_index(rows, own, plans[i].sizes)
            for i, own in zip(indices, axes, strict=True)
        ]
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
