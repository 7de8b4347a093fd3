"""Which rows of a cell give isomorphic cells: NAS-Bench-201's rule, for any graph of blocks.

Every value of a cell is written as a sum of terms. The cell's input is a term. A block that passes
its input on has its input's terms, one that gives zeros the term zero, and any other one a single
new term that says which operation is applied to which terms. A block's input is the sum of what
feeds it: their terms one after another, the smallest sequence first. Two rows are isomorphic where
the same is written for the cell's output; what does not reach it is not in there.

That is the rule by which the benchmark counts 6,466 unique cells (Dong & Yang, 2020, section 2.1
and the released code), with its peculiarities:

- An operation on exactly the term zero is zero. A convolution with a norm makes a constant of it
  in truth, the norm's shift.
- Zeros remain as terms, so that zero + zero is another value than zero, and an operation on it is
  no zero.
- Terms of different summands are not sorted together, so that (a + c) + b and (a + b) + c can
  remain two values. The cell's input comes before all operations, zero behind them.
- Operations are compared by what they are and what they are applied to, whether that is one
  operation that is used twice or two, each with weights of its own.

Dropping zeros and sorting all terms would leave 4,930 of NAS-Bench-201's cells, and telling two
operations from one that is used twice would leave more again; neither is what people count.
"""

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

__all__ = ["Node", "expressions"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Terms: the input, operations in the order in which they are met, sums too long to be written
# out, and zero, in this order. Sequences are filled up with NOTHING.
NOTHING = -1
INPUT = 0
ZERO = 2**31 - 1
# Passed for the operation where a sum becomes one term; other operations are below.
SUM = 2**31 - 1

# A sum of more terms becomes a term of its own: what is written would grow without bound.
MOST_TERMS = 16


@frozen(eq=False)
class Node:
    """A block of a cell in each of ``n`` rows.

    ``sources``: positions, before its own, of the nodes that it sums; -1 for the cell's input.
    ``operation``: int64 ``[n]``, equal where equal operations are applied. ``passes``: bool
    ``[n]``, where its input leaves as it is. ``zero``: bool ``[n]``, where zeros leave.
    """

    sources: tuple[int, ...]
    operation: Ints
    passes: Bools
    zero: Bools


def expressions(nodes: Sequence[Node], output: int) -> Ints:
    """Return int64 ``[n]``: equal numbers where equal values leave the node at ``output``.

    >>> import numpy as np
    >>> some = np.zeros(3, dtype=int)
    >>> no = np.zeros(3, dtype=bool)
    >>> first = Node((-1,), some, np.array([True, False, False]), no)
    >>> second = Node((0,), some, np.array([False, True, False]), no)
    >>> expressions([first, second], 1)  # an identity before an operation, behind it, none
    array([0, 0, 1])
    """
    n = len(nodes[0].operation)
    values: dict[int, Ints] = {-1: np.full((n, 1), INPUT, dtype=np.int64)}
    known: dict[bytes, int] = {}
    last_use = {source: i for i, node in enumerate(nodes) for source in node.sources}
    for index, node in enumerate(nodes):
        entering = _sum([values[source] for source in node.sources])
        if entering.shape[1] > MOST_TERMS:
            entering = _name(np.full(n, SUM, dtype=np.int64), entering, known)[:, None]
        zero = node.zero | ((entering[:, 0] == ZERO) & (entering[:, 1:] == NOTHING).all(axis=1))
        passes = node.passes & ~zero
        leaving = np.full((n, entering.shape[1] if passes.any() else 1), NOTHING, dtype=np.int64)
        leaving[passes] = entering[passes, : leaving.shape[1]]
        leaving[zero, 0] = ZERO
        applied = ~(zero | passes)
        leaving[applied, 0] = _name(node.operation[applied], entering[applied], known)
        values[index] = leaving
        for source in node.sources:
            if last_use[source] == index and source != output:
                values.pop(source, None)
    return _ranks(values[output])


def _sum(summands: Sequence[Ints]) -> Ints:
    """Return the terms of a sum ``[n, t]`` from those of its summands."""
    if len(summands) == 1:
        return summands[0]
    width = max(terms.shape[1] for terms in summands)
    side_by_side = np.stack(
        [
            np.pad(terms, ((0, 0), (0, width - terms.shape[1])), constant_values=NOTHING)
            for terms in summands
        ],
        axis=1,
    )
    n, count, _ = side_by_side.shape
    ranks = _ranks(side_by_side.reshape(n * count, width)).reshape(n, count)
    order = np.argsort(ranks, axis=1, kind="stable")
    terms = np.take_along_axis(side_by_side, order[:, :, None], axis=1).reshape(n, -1)
    nothing = terms == NOTHING
    terms = np.take_along_axis(terms, np.argsort(nothing, axis=1, kind="stable"), axis=1)
    most: int = (~nothing).sum(axis=1).max(initial=1)
    return terms[:, :most]


def _name(operation: Ints, terms: Ints, known: dict[bytes, int]) -> Ints:
    """Return the term ``[n]`` of an operation on terms ``[n, t]``; ``known`` are those so far."""
    keys = np.column_stack([operation, terms])
    _, first, inverse = np.unique(_ranks(keys), return_index=True, return_inverse=True)
    # Keys of one operation are of different lengths at different nodes; the filling is not kept.
    texts = [key[key != NOTHING].tobytes() for key in keys[first]]
    names = [known.setdefault(text, INPUT + 1 + len(known)) for text in texts]
    return np.array(names, dtype=np.int64)[inverse]


def _ranks(sequences: Ints) -> Ints:
    """Return int64 ``[n]``: the rank of each sequence ``[n, t]`` in lexicographic order."""
    ranks = np.zeros(len(sequences), dtype=np.int64)
    for column in sequences.T:
        # Ranks are below n and terms below 2^31, so that the product stays below 2^63.
        _, ranks = np.unique(ranks * 2**32 + (column - NOTHING), return_inverse=True)
    return ranks
