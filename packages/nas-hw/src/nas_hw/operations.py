"""A layer as the operations that an inference engine carries out, and the memory that they take.

What is an operation is said in `nas_hw.memory.traffic`.
"""

from collections import Counter

from attrs import define, frozen

from nas_hw.conventions import weights_of
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

__all__ = ["LayerMemory", "Operation", "layer_memory", "operations", "size_of"]

FLOAT_BITS = 32
# Where a value lies that entered the layer; the others lie where an operation has written them.
ENTERED = -1


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
        self.written = size_of(self.shape, _bits_of(node))
        if isinstance(node, Norm):
            added = node.channels * FLOAT_BITS // 8
            if not self.linear:
                self.weights += 2 * added
            elif not self.biased:
                self.weights += added
                self.biased = True
            return
        self.linear = False


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

    The latter is `ENTERED` where the layer's input leaves it. Rules: `nas_hw.memory.traffic`.
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
            written = operation.written
            values[node.name] = _Value(first.place, written, open=True, bits=_bits_of(node))
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
            written = done[-1].written
            values[node.name] = _Value(len(done) - 1, written, open=True, bits=_bits_of(node))
    if not graph:
        return done, ENTERED
    leaving = values[graph[-1].name]
    if isinstance(graph[-1], Select):
        read = (leaving.place, leaving.bytes)
        done.append(Operation((read,), 0, graph[-1].shape, leaving.bytes))
        return done, len(done) - 1
    return done, leaving.place


_APPLIED = (Norm, Activation, Quantise)


def _bits_of(node: Primitive) -> int:
    """Return the bits of what a primitive writes: full precision behind all but a quantiser."""
    return node.bits if isinstance(node, Quantise) else FLOAT_BITS


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
