"""Bytes moved, and bytes alive at once, when a network answers for one image.

A layer's graph is rewritten as the operations that an inference engine carries out (`operations`);
`traffic` adds up what they read and write, `peak_memory` finds the most that is alive at one of
them. Definitions are theirs.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from nas_hw.conventions import weights_of
from nas_spaces import InputError, SearchSpace, Table, Term
from nas_spaces.primitives import (
    INPUT,
    Activation,
    Add,
    Convolution,
    Dropout,
    Graph,
    Linear,
    Norm,
    Primitive,
    Quantise,
    Select,
    Shape,
    Zeros,
)
from nas_spaces.table import each_layer

__all__ = ["LayerMemory", "Operation", "layer_memory", "operations", "peak_memory", "traffic"]

FLOAT_BITS = 32
# Where a value lies that entered the layer; the others lie where an operation has written them.
ENTERED = -1
# Entries of one look-up (8 bytes each); more would be a table that nobody wants to wait for.
TERM_ENTRIES = 2**22


def size_of(shape: Shape, bits: int = FLOAT_BITS) -> int:
    """Return the bytes of one image's activations, rounded up."""
    channels, height, width = shape
    return (channels * height * width * bits + 7) // 8


@define
class Operation:
    """What an engine does in one go.

    ``reads``: for each value that is read, which operation wrote it (`ENTERED`: none of the
    layer's) and how many bytes of it. ``weights``: bytes of weights. ``shape``, ``written``: of
    what it writes, and its bytes. ``linear``: whether it has been a convolution or linear map and
    its norm so far, so that a norm after it leaves nothing but a bias. ``biased``: whether it has
    that bias.
    """

    reads: tuple[tuple[int, int], ...]
    weights: int
    shape: Shape
    written: int
    linear: bool = False
    biased: bool = False

    def merge(self, node: Primitive) -> None:
        """Let a norm, activation or quantiser be applied to what is written."""
        if isinstance(node, Norm):
            added = node.channels * FLOAT_BITS // 8
            if not self.linear:
                self.weights += 2 * added
            elif not self.biased:
                self.weights += added
                self.biased = True
            return
        self.linear = False
        if isinstance(node, Quantise):
            self.written = size_of(self.shape, node.bits)


@define
class _Value:
    """Which operation wrote a value, its bytes, and whether that operation may still change it.

    ``bits``: of its elements.
    """

    place: int
    bytes: int
    open: bool
    bits: int = FLOAT_BITS


def operations(graph: Graph, shape: Shape) -> tuple[list[Operation], int]:
    """Return a layer's operations in order, and which of them wrote what leaves the layer.

    The latter is `ENTERED` where the layer's input leaves it. Rules: see `traffic`.
    """
    readers = Counter([source for node in graph for source in node.inputs])
    values = {INPUT: _Value(ENTERED, size_of(shape), open=False)}
    done: list[Operation] = []
    for node in graph:
        kind = type(node)
        name = node.inputs[0]
        first = values[name]
        mergeable = first.open and readers[name] == 1
        if kind in _APPLIED and mergeable:
            operation = done[first.place]
            operation.merge(node)
            bits = node.bits if isinstance(node, Quantise) else first.bits
            values[node.name] = _Value(first.place, operation.written, open=True, bits=bits)
        elif kind is Dropout:
            values[node.name] = _Value(first.place, first.bytes, mergeable, first.bits)
        elif kind is Select:
            size = size_of(node.shape, first.bits)
            values[node.name] = _Value(first.place, size, open=False, bits=first.bits)
        elif kind is Add:
            for source in node.inputs[1:]:
                second = values[source]
                reads = ((first.place, first.bytes), (second.place, second.bytes))
                done.append(Operation(reads, 0, node.shape, size_of(node.shape)))
                first = _Value(len(done) - 1, done[-1].written, open=True)
            values[node.name] = first
        else:
            done.append(_operation(node, [values[source] for source in node.inputs]))
            bits = node.bits if isinstance(node, Quantise) else FLOAT_BITS
            values[node.name] = _Value(len(done) - 1, done[-1].written, open=True, bits=bits)
    if not graph:
        return done, ENTERED
    leaving = values[graph[-1].name]
    if isinstance(graph[-1], Select):
        read = (leaving.place, leaving.bytes)
        done.append(Operation((read,), 0, graph[-1].shape, leaving.bytes))
        return done, len(done) - 1
    return done, leaving.place


_APPLIED = (Norm, Activation, Quantise)


def _operation(node: Primitive, inputs: list[_Value]) -> Operation:
    """Return the operation of one primitive by itself."""
    written = size_of(node.shape)
    if isinstance(node, Zeros):
        return Operation((), 0, node.shape, written)
    reads = tuple([(value.place, value.bytes) for value in inputs])
    if isinstance(node, Convolution | Linear):
        weights = weights_of(node) * FLOAT_BITS // 8
        if isinstance(node, Convolution) and node.weight_bits is not None:
            weights = (weights_of(node) * node.weight_bits + 7) // 8
        if node.bias:
            weights += node.shape[0] * FLOAT_BITS // 8
        return Operation(reads, weights, node.shape, written, linear=True, biased=node.bias)
    operation = Operation(reads, 0, node.shape, written)
    if isinstance(node, Norm | Quantise):
        operation.merge(node)
    return operation


@frozen
class LayerMemory:
    """What one layer says about memory, in bytes.

    ``traffic``: read and written. ``peak``: the most alive at one of its operations, its input
    included up to the last of them that reads it; ``peak_kept``: the same where the input is
    needed behind the layer as well. ``reads``: whether anything reads the input. ``passes``:
    whether what leaves the layer lies where its input does.
    """

    traffic: int
    peak: int
    peak_kept: int
    reads: bool
    passes: bool


def layer_memory(graph: Graph, shape: Shape) -> LayerMemory:
    """Return what a layer of ``graph`` says about memory when ``shape`` enters it."""
    done, leaving = operations(graph, shape)
    # A value dies as soon as it is written, unless something reads it.
    last = list(range(len(done)))
    last_entered = ENTERED
    traffic = 0
    for number, operation in enumerate(done):
        traffic += operation.written + operation.weights
        for place, size in operation.reads:
            traffic += size
            if place == ENTERED:
                last_entered = number
            else:
                last[place] = number
    reads = last_entered != ENTERED
    if leaving == ENTERED:
        last_entered = len(done) - 1
    else:
        last[leaving] = len(done) - 1
    freed = [0] * len(done)
    for operation, end in zip(done, last, strict=True):
        freed[end] += operation.written
    entered = size_of(shape)
    alive = peak = peak_kept = 0
    for number, operation in enumerate(done):
        alive += operation.written
        peak_kept = max(peak_kept, alive + entered)
        peak = max(peak, alive + entered if number <= last_entered else alive)
        alive -= freed[number]
    return LayerMemory(traffic, peak, peak_kept, reads, leaving == ENTERED)


def traffic(space: SearchSpace) -> Table:
    """Return the bytes that memory moves for one image as a table of ``space``.

    The sum, over the operations of a forward pass in inference, of the bytes that each reads
    (inputs and weights, once) and writes (its output, once). What is an operation:

    - A norm, activation or quantiser belongs to the operation that makes its input where nothing
      else reads that value: it is applied before the value is written, and moves nothing by
      itself. A norm right behind a convolution or linear map is folded into it: of both there are
      left the weights and one bias a channel. Elsewhere a norm reads a scale and a shift a channel.
      What enters a block was written by another one, and nothing is merged across that border.
    - A sum of n values is n - 1 sums of two; so is the sum of the blocks that feed a block.
    - Selecting channels copies nothing (who reads them reads those channels), unless a layer ends
      with it. Dropout and identities are nothing. Zeros are written, and their input is not read.
    - Everything else (pooling, products, concatenation, shuffling, sums and softmax over splits)
      reads all its inputs and writes its output.
    - Activations and weights have 4 bytes an element. What a quantiser writes has its bits, and so
      have the weights of a quantised convolution, rounded up to bytes a tensor; biases have 4
      bytes, and so has what travels between blocks.

    >>> from nas_spaces import published
    >>> space, arch = published.architecture("nas-bench-macro-best")
    >>> traffic(space)([arch])
    array([15898960])
    """
    return traffic_table(space, list(each_layer(space, layer_memory)))


def traffic_table(space: SearchSpace, layers: Sequence[Sequence[LayerMemory]]) -> Table:
    """Return the table of `traffic` from what `each_layer` yields of `layer_memory`."""
    costs = []
    for plan, looked in zip(space.plan, layers, strict=True):
        sums = 3 * (len(plan.sources) - 1)
        costs.append(
            [
                one.traffic + (sums and sums * size_of(shape))
                for one, shape in zip(looked, plan.in_shapes, strict=True)
            ]
        )
    return Table.from_layers(space, "traffic", "bytes", costs)


def peak_memory(space: SearchSpace) -> Table:
    """Return the peak of live activation memory for one image, in bytes, as a table of ``space``.

    The largest total, over the operations of a forward pass in inference, of what is alive at
    that operation: its inputs, its output, and everything written before that is still to be read
    (the image too, up to its last reader). Operations are those of `traffic`, in the order of the
    layers' primitives and of the blocks; sizes too. Every operation writes to memory of its own,
    which is free again after its last reader; a channel selection keeps the whole value that it is
    taken from. Weights are not included, and neither are the engine's own buffers.

    Values that the wiring of the blocks keeps for later blocks count while they are kept. Look-ups
    then also read the choices that shape these values, and those that decide whether a value is
    read later at all (zeros read nothing) or is the same as another (identities).

    Raises:
        InputError: wiring that makes one look-up read too many choices at once.

    >>> from nas_spaces import published
    >>> space, arch = published.architecture("nas-bench-macro-best")
    >>> peak_memory(space)([arch])
    array([983040])
    """
    return peak_memory_table(space, list(each_layer(space, layer_memory)))


def peak_memory_table(space: SearchSpace, layers: Sequence[Sequence[LayerMemory]]) -> Table:
    """Return the table of `peak_memory` from what `each_layer` yields of `layer_memory`."""
    terms = _Liveness(space, layers).terms()
    # Whatever is chosen, it is at least this much; terms that are never more say nothing.
    least = max((int(term.values.min()) for term in terms), default=0)
    terms = [term for term in terms if term.values.max() > least]
    return Table(space, "peak_memory", "bytes", terms, least, "max")


NEVER = Term((), np.int64(0))
ALWAYS = Term((), np.int64(1))

# A block's output, or the sum that enters a block; -1 is the image.
Place = tuple[str, int]


@define
class _Liveness:
    """Works out what is alive beside each block; quantities are terms over the choices.

    ``lies[v][p]``: 1 where the output of block ``v`` lies at the place ``p``. ``sizes[p]``: the
    bytes of what lies there.
    """

    space: SearchSpace
    layers: Sequence[Sequence[LayerMemory]]

    def terms(self) -> list[Term]:
        """Return, for each operation between blocks and each block, what is alive at its peak."""
        plans = self.space.plan
        lies: dict[int, dict[Place, Term]] = {}
        sizes: dict[Place, Term] = {}
        terms = []
        lies[-1] = {("block", -1): ALWAYS}
        sizes["block", -1] = Term((), np.int64(size_of(self.space.input_shape)))
        for index, plan in enumerate(plans):
            present = [v for v in lies if any(v in p.sources for p in plans[index:])]
            if len(present) == 1:
                # Nothing else is alive, so it does not matter where it came to lie.
                lies = {present[0]: {("block", present[0]): ALWAYS}}
                sizes = {("block", present[0]): self._entering(index)}
            lies = {v: lies[v] for v in present}
            places = {place for v in present for place in lies[v]}
            sizes = {place: sizes[place] for place in places}
            used = {v: self._used(v, index) for v in present}
            kept = {
                place: _any(_both(lies[v][place], used[v]) for v in present if place in lies[v])
                for place in places
            }
            held = _sum(_both(sizes[place], kept[place]) for place in places)
            own = self._of(index, lambda one: one.peak)
            if len(plan.sources) > 1:
                terms += self._sums(index, lies, sizes, kept)
                entering = {("sum", index): ALWAYS}
                sizes["sum", index] = self._entering(index)
            else:
                entering = lies[plan.sources[0]]
                needed = _any(_both(entering[p], kept[p]) for p in entering)
                if not _is_zero(needed):
                    more = self._of(index, lambda one: one.peak_kept - one.peak)
                    own = _sum([own, _both(needed, more)])
                    # The layer counts its input itself.
                    counted = _both(self._entering(index), needed)
                    held = _combine(np.subtract, held, counted)
            terms.append(_sum([own, held]))
            passes = self._of(index, lambda one: one.passes)
            lies[index] = {p: _both(passes, flag) for p, flag in entering.items()}
            lies[index]["block", index] = _combine(np.subtract, ALWAYS, passes)
            lies[index] = {p: flag for p, flag in lies[index].items() if not _is_zero(flag)}
            sizes["block", index] = self._leaving(index)
        return terms

    def _sums(
        self,
        index: int,
        lies: dict[int, dict[Place, Term]],
        sizes: dict[Place, Term],
        kept: dict[Place, Term],
    ) -> list[Term]:
        """Return what is alive at each of the sums of two that make a block's input."""
        sources = self.space.plan[index].sources
        size = self._entering(index)
        terms = []
        for step in range(1, len(sources)):
            # The first sum reads two blocks; the others read the sum before, and one block.
            needed = sources[0 if step == 1 else step :]
            alive = [size] if step == 1 else [size, size]
            for place, flag in kept.items():
                here = _any([flag, *(lies[v][place] for v in needed if place in lies[v])])
                alive.append(_both(sizes[place], here))
            terms.append(_sum(alive))
        return terms

    def _used(self, value: int, index: int) -> Term:
        """Return 1 where the memory of a block's output is read behind block ``index``."""
        plans = self.space.plan
        if value == len(plans) - 1:
            return ALWAYS
        flags = []
        for reader in range(max(index, value) + 1, len(plans)):
            if value in plans[reader].sources:
                if len(plans[reader].sources) > 1:
                    return ALWAYS
                flags.append(self._of(reader, lambda one: one.reads))
                passes = self._of(reader, lambda one: one.passes)
                if not _is_zero(passes):
                    flags.append(_both(passes, self._used(reader, reader)))
        return _any(flags)

    def _of(self, index: int, pick: Callable[[LayerMemory], int]) -> Term:
        """Return a quantity of a block's layers."""
        plan = self.space.plan[index]
        values = np.array([pick(one) for one in self.layers[index]], dtype=np.int64)
        return _simplify(Term(plan.columns, values.reshape(plan.sizes)))

    def _entering(self, index: int) -> Term:
        plan = self.space.plan[index]
        sizes = np.array([size_of(shape) for shape in plan.in_shapes])
        return _simplify(Term(plan.columns, sizes.reshape(plan.sizes)))

    def _leaving(self, index: int) -> Term:
        plan = self.space.plan[index]
        sizes = np.array([size_of(shape) for shape in plan.out_shapes])
        return _simplify(Term(plan.columns, sizes.reshape(plan.sizes)))


def _is_zero(term: Term) -> bool:
    return not term.values.any()


def _combine(operation: np.ufunc, first: Term, second: Term) -> Term:
    """Return ``operation`` of two terms, as a term over the columns of both that it depends on."""
    columns = sorted({*first.columns, *second.columns})
    left, right = first.spread(columns), second.spread(columns)
    entries = math.prod(np.broadcast_shapes(left.shape, right.shape))
    if entries > TERM_ENTRIES:
        raise InputError(
            f"peak memory: what is alive at one operation depends on {len(columns)} choices "
            f"together, {entries:,} combinations; at most {TERM_ENTRIES:,} are tabulated. Let "
            "fewer blocks with identities lie between a block and a later one that reads it"
        )
    return _simplify(Term(columns, operation(left, right)))


def _both(first: Term, second: Term) -> Term:
    """Return the product: of flags, whether both are 1; of a size and a flag, the size or 0."""
    for one, other in ((first, second), (second, first)):
        if one is NEVER:
            return NEVER
        if one is ALWAYS:
            return other
    return _combine(np.multiply, first, second)


def _any(flags: Iterable[Term]) -> Term:
    """Return 1 where one of ``flags`` is."""
    return reduce(partial(_combine, np.maximum), flags, NEVER)


def _sum(terms: Iterable[Term]) -> Term:
    return reduce(partial(_combine, np.add), terms, NEVER)


def _simplify(term: Term) -> Term:
    """Return the term without the columns that it does not depend on."""
    values: NDArray[Any] = term.values
    columns = list(term.columns)
    for axis in reversed(range(values.ndim)):
        first = values.take(0, axis)
        if (values == np.expand_dims(first, axis)).all():
            values = np.asarray(first)
            del columns[axis]
    return Term(columns, values)
