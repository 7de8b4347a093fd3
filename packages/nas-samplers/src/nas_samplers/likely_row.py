"""What a distribution ends with: its most probable row within limits."""

import heapq
import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nas_samplers.distribution import Distribution
from nas_spaces import FeasibleSet, InputError

__all__ = ["likely_row"]

# Rows that are looked at in the order of their probability, and how many of them at a time.
BUDGET, PORTION = 20_000, 256


def likely_row(distribution: Distribution, feasible: FeasibleSet) -> tuple[NDArray[np.int64], bool]:
    """Return the most probable feasible row int64 ``[d]``, and whether none is more probable.

    Factorised, it is what `FeasibleSet.find_most_probable` finds. Joint, rows are looked at in the
    order of their probability, 20,000 at most; a distribution that a cost has shaped has feasible
    ones among the first. Where none of them is, the row is the best that is reached from the
    most probable feasible row of the marginals by exchanging one group at a time for as long as
    it stays feasible and becomes more probable, and the second value is False.

    Args:
        distribution: what to end.
        feasible: the limits, on the same space.

    Raises:
        InputError: a set of another space, or no feasible row of a probability above 0.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> likely_row(Distribution(space), FeasibleSet(space))[0].tolist()
    [0, 0, 0, 0, 0, 0, 0, 0]
    """
    space = distribution.space
    if [c.name for c in feasible.space.choices] != [c.name for c in space.choices] or (
        feasible.space.num_options != space.num_options
    ):
        raise InputError(
            f"feasible is of space {feasible.space.name!r}, the distribution of {space.name!r}; "
            "build it from the same space"
        )
    if not distribution.joint:
        return feasible.find_most_probable(distribution.log_marginals())
    rows = _in_order(distribution)
    while portion := list(itertools.islice(rows, PORTION)):
        inside = feasible.contains(np.stack(portion))
        if inside.any():
            return portion[int(inside.argmax())], True
    # Options of a probability too small for a number are unlikely, not impossible.
    marginals = np.log(np.maximum(distribution.marginals(), np.finfo(float).tiny))
    start = feasible.most_probable(np.where(space.mask, marginals, -np.inf))
    return _climb(distribution, feasible, start), False


def _in_order(distribution: Distribution) -> Iterator[NDArray[np.int64]]:
    """Yield rows int64 ``[d]``, the most probable first, `BUDGET` at most."""
    logs = distribution.log_probabilities()
    order = np.argsort(-logs, axis=1, kind="stable")
    best = np.take_along_axis(logs, order, axis=1)
    # What a combination loses against the best one of its factor.
    lost = best[:, :1] - best
    sizes = np.isfinite(best).sum(axis=1).tolist()
    numbers = np.arange(len(sizes))
    # Ranks of the combinations; raised at the place raised last or behind it, none comes twice.
    heap: list[tuple[float, tuple[int, ...], int]] = [(0.0, (0,) * len(sizes), 0)]
    for _ in range(BUDGET):
        if not heap:
            return
        loss, ranks, last = heapq.heappop(heap)
        yield distribution.rows_of(order[numbers, ranks][None])[0]
        for place in range(last, len(ranks)):
            rank = ranks[place] + 1
            if rank < sizes[place]:
                more = float(lost[place, rank] - lost[place, rank - 1])
                raised = (*ranks[:place], rank, *ranks[place + 1 :])
                heapq.heappush(heap, (loss + more, raised, place))


def _climb(
    distribution: Distribution, feasible: FeasibleSet, row: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return a feasible row that no exchange within one group makes more probable."""
    logs = distribution.log_probabilities()
    numbers = np.arange(len(logs))
    places = distribution.places(row[None])[0]
    while True:
        gains = logs - logs[numbers, places][:, None]
        factors, options = np.nonzero(gains > 0)
        changed = np.tile(places, (len(factors), 1))
        changed[np.arange(len(factors)), factors] = options
        order = np.argsort(-gains[factors, options], kind="stable")
        inside = feasible.contains(distribution.rows_of(changed[order]))
        if not inside.any():
            return np.asarray(distribution.rows_of(places[None])[0])
        places = changed[order][int(inside.argmax())]
