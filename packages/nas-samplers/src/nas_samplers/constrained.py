"""Single path, sampling under a uniform constraint on cost."""

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_spaces import FeasibleSet, InputError, Limit, SearchSpace, Table
from nas_spaces.protocols import State

__all__ = ["Constrained", "cost_ranges"]

# Rows drawn ahead in a set: the tables behind a draw are walked once for all of them.
PORTION = 64

# The paper's limit and the edges of its ranges, in millions of multiply-adds.
PAPER_LIMIT = 330
PAPER_EDGES = (290, 300, 310, 320, 330, 340, 350, 360)


class Constrained:
    """One architecture a step: a set drawn uniformly, then a row drawn uniformly in it.

    Source: SPOS (Guo et al., 2020), section 3.3, which picks a range of cost at random and draws
    rows until one lies in it. The official code gives up after 500 tries and takes a row from
    anywhere; here a row is drawn in the set itself, so that none lies outside.

    Args:
        sets: feasible sets of one space, such as `cost_ranges` makes; they may overlap.
        rng: source of randomness; its state is part of the sampler's.

    Raises:
        InputError: no set, or sets of different spaces.

    >>> import numpy as np
    >>> from nas_spaces import Limit, Table, published
    >>> space = published.load("nas-bench-macro")
    >>> depth = Table.from_primitives(space, "depth", "blocks", lambda p: p.name == "depthwise")
    >>> sets = [FeasibleSet(space, [Limit(depth, upper=n)]) for n in (1, 3)]
    >>> sampler = Constrained(sets, rng=np.random.default_rng(0))
    >>> rows = np.concatenate([sampler.ask() for _ in range(100)])
    >>> rows.shape, int(depth(rows).max())
    ((100, 8), 3)
    """

    def __init__(self, sets: Sequence[FeasibleSet], *, rng: np.random.Generator) -> None:
        if not sets:
            raise InputError("sets is empty; give at least one feasible set to draw in")
        for number, one in enumerate(sets):
            if one.space is not sets[0].space and one.space != sets[0].space:
                raise InputError(
                    f"sets[{number}] is of space {one.space.name!r} and sets[0] of "
                    f"{sets[0].space.name!r}, or their live options differ; make them of one space"
                )
        self.space = sets[0].space
        self.sets = tuple(sets)
        self.rng = rng
        self.ahead: list[list[list[int]]] = [[] for _ in sets]

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[1, d]``."""
        index = int(self.rng.integers(len(self.sets)))
        ahead = self.ahead[index]
        if not ahead:
            # Rows are independent, so that handing them out later changes no distribution.
            ahead.extend(self.sets[index].sample(PORTION, rng=self.rng).tolist())
        return np.array(ahead.pop(), dtype=np.int64)[None]

    def state_dict(self) -> dict[str, Any]:
        """Return the state: that of the generator, and the rows drawn ahead of each set."""
        return {
            "rng": self.rng.bit_generator.state,
            "ahead": [[list(row) for row in rows] for rows in self.ahead],
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of another number of sets.
        """
        ahead = state["ahead"]
        if len(ahead) != len(self.sets):
            raise InputError(
                f"state has rows of {len(ahead)} sets; this sampler has {len(self.sets)}"
            )
        self.rng.bit_generator.state = state["rng"]
        self.ahead = [[list(row) for row in rows] for rows in ahead]


def cost_ranges(space: SearchSpace, limit: Limit) -> list[FeasibleSet]:
    """Return the ranges of a cost to train in, for networks that are searched under ``limit``.

    SPOS trains for its limit of 330M multiply-adds in seven ranges, [290M, 300M] to [350M, 360M],
    both ends included: from 88 % to 109 % of the limit, each 3 % of it wide. For another upper
    limit these are scaled by limit / 330M; that is our reading, since the paper has one limit.
    Between two ends, and from a lower end to the largest attainable cost, they are seven equal
    parts. Parts beyond what is attainable and parts that hold no architecture, which a space with
    few costs has, are left out; where none is left that reaches within the limit, the limit itself
    is the only range.

    Args:
        space: the search space.
        limit: on a sum of look-ups; for any other metric the limit itself is the only range.

    Returns:
        One to seven sets of ``space``, in order of cost.

    Raises:
        InputError: a limit that nothing satisfies, or a table of another space.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> depth = Table.from_primitives(space, "depth", "blocks", lambda p: p.name == "depthwise")
    >>> [str(one.limits[0]) for one in cost_ranges(space, Limit(depth, lower=1, upper=8))][:2]
    ['1 <= depth <= 2 blocks', '2 <= depth <= 3 blocks']
    """
    table = limit.metric
    whole = FeasibleSet(space, [limit])
    if not isinstance(table, Table):
        return [whole]
    low, high = whole.attainable(table)
    if limit.lower is None:
        assert limit.upper is not None
        edges = [limit.upper * edge / PAPER_LIMIT for edge in PAPER_EDGES]
    else:
        begin = max(limit.lower, low)
        end = high if limit.upper is None else min(limit.upper, high)
        edges = np.linspace(begin, end, len(PAPER_EDGES)).tolist()
    sets, within = [], False
    for lower, upper in itertools.pairwise(edges):
        if lower > high or upper < low or lower == upper:
            continue
        part = Limit(table, lower=max(lower, low), upper=min(upper, high))
        # That nothing costs so much is all that it can raise: space and table fit, see above.
        with contextlib.suppress(InputError):
            sets.append(FeasibleSet(space, [part]))
            within = within or limit.upper is None or lower < limit.upper * (1 - 1e-9)
    # Ranges above the limit are of use beside some within it; alone they train no candidate.
    return sets if within else [whole]
