"""Bytes moved, and bytes alive at once, when a network answers for one image.

A layer's graph is rewritten as operations (`nas_hw.operations`); `traffic` adds up what they read
and write, `peak_memory` finds the most that is alive at one of them. Definitions are theirs.
"""

from collections.abc import Sequence

from nas_hw.liveness import Liveness
from nas_hw.operations import LayerMemory, layer_memory, size_of
from nas_spaces import SearchSpace, Table
from nas_spaces.table import each_layer

__all__ = ["peak_memory", "peak_memory_table", "traffic", "traffic_table"]


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
    terms = Liveness(space, layers).terms()
    # Whatever is chosen, it is at least this much; terms that are never more say nothing.
    least = max((int(term.values.min()) for term in terms), default=0)
    terms = [term for term in terms if term.values.max() > least]
    return Table(space, "peak_memory", "bytes", terms, least, "max")
