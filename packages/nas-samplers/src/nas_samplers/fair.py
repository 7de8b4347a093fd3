"""Several paths a step: strictly fair sampling, and the baseline that is fair in expectation.

Source: FairNAS (Chu et al., ICCV 2021): every candidate is trained the same number of times.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_spaces import InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["ExpectationFair", "StrictFair"]


class StrictFair:
    """As many architectures a step as a choice has options: each option exactly once a step.

    Every column is a permutation of its choice's live options, uniform and independent of the
    other columns (FairNAS, strict fairness). After n steps each option was trained n times; drawn
    uniformly instead, after n paths of m options, the counts of a choice have the variance
    n(m - 1) / m^2, and they are equal with probability n! / ((n / m)!^m m^n).

    The rows share one batch and one optimiser step: m forward and backward passes. With
    ``weigh=sum_rows``, the paper's, a candidate that owns its weights gets the gradient of its
    one path, and the layers that all paths share get the sum of m gradients; with
    ``weigh=mean_rows`` shared layers get one of ordinary size and candidates 1/m of theirs. Norms
    of shared layers see m batches a step, those of candidates one.

    Where choices differ in their numbers of live options, m is the largest of them. A choice of
    k < m options goes through whole permutations, and a prefix of a fresh one fills the rows that
    are left (the paper has no such case; our reading). Strict fairness then holds within choices
    of m options, and with m / k times a step within those whose k divides m: a choice of one
    option is on all m paths, like a shared layer. Within the others, `uneven`, counts differ by
    at most one after a step; these differences add up at random, to the variance n r(k - r) / k^2
    after n steps with r = m mod k, and vanish in expectation only. Candidates of small choices
    are trained m / k times as often as those of large ones. A block that reads several choices is
    fair in each of them, not in their combinations.

    Args:
        space: the search space; options that were dropped are not drawn and do not count.
        rng: source of randomness; its state is part of the sampler's.

    >>> import numpy as np
    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> sampler = StrictFair(space, rng=np.random.default_rng(0))
    >>> rows = sampler.ask()
    >>> rows.shape, np.sort(rows, axis=0)[:, 0].tolist()
    ((3, 8), [0, 1, 2])
    """

    def __init__(self, space: SearchSpace, *, rng: np.random.Generator) -> None:
        self.space = space
        self.rng = rng
        self.live = [np.flatnonzero(row) for row in space.mask]
        self.rows = max((live.size for live in self.live), default=1)

    @property
    def uneven(self) -> tuple[str, ...]:
        """Names of the choices whose options are not trained equally often in every step."""
        return tuple(
            choice.name
            for choice, live in zip(self.space.choices, self.live, strict=True)
            if self.rows % live.size
        )

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[m, d]``."""
        rows = np.empty((self.rows, len(self.live)), dtype=np.int64)
        for column, live in enumerate(self.live):
            laps = -(-self.rows // live.size)
            drawn = [self.rng.permutation(live) for _ in range(laps)]
            rows[:, column] = np.concatenate(drawn)[: self.rows]
        return rows

    def state_dict(self) -> dict[str, Any]:
        """Return the state: that of the generator."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        self.rng.bit_generator.state = state["rng"]


class ExpectationFair:
    """k architectures a step, every live option equally likely: fair in expectation only.

    The rows are uniform, independent and drawn with replacement, so that with k = m it costs what
    a step of `StrictFair` costs. "Sampling one path and k times" in the paper could also mean one
    path k times over; this is our reading. The paper's baselines are k = 1, which is `Uniform`,
    k = m, and k = m with a learning rate of 1/m (``Optimiser(lr=lr / m)``).

    Args:
        space: the search space.
        k: rows of a step, at least 1.
        rng: source of randomness; its state is part of the sampler's.

    Raises:
        InputError: ``k`` is below 1.

    >>> import numpy as np
    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> ExpectationFair(space, k=3, rng=np.random.default_rng(0)).ask().shape
    (3, 8)
    """

    def __init__(self, space: SearchSpace, *, k: int, rng: np.random.Generator) -> None:
        if k < 1:
            raise InputError(f"k={k} must be at least 1; a step trains at least one path")
        self.space = space
        self.k = k
        self.rng = rng

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[k, d]``."""
        return self.space.sample(self.k, rng=self.rng)

    def state_dict(self) -> dict[str, Any]:
        """Return the state: that of the generator, and the number of rows it belongs to."""
        return {"k": self.k, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a sampler of another number of rows.
        """
        if state["k"] != self.k:
            raise InputError(
                f"state is of k={state['k']} rows a step; this sampler has k={self.k}; resume "
                f"with k={state['k']}, or begin anew"
            )
        self.rng.bit_generator.state = state["rng"]
