"""Mutation that is learned: MoreMNAS, Chu et al., ECCV workshops 2020, as FairNAS searches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_search.pareto import fronts
from nas_search.rl.checks import rewards_of
from nas_search.rl.policy import Experience, Policy
from nas_search.rl.rewards import Reward
from nas_spaces import InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["Dominance", "LearnedMutation"]


class Dominance:
    """How near rows are to the Pareto front of those told together: 1 on it, 0 on the last front.

    >>> Dominance()(np.zeros((3, 2)), np.array([[0.1, 5.0], [0.2, 4.0], [0.3, 6.0]])).tolist()
    [1.0, 1.0, 0.0]
    """

    def __call__(
        self, archs: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return rewards ``[n]`` of values ``[n, m]``, lower is better in every column."""
        ranks = fronts(values)
        rewards: NDArray[np.float64] = 1 - ranks / max(1, int(ranks.max(initial=0)))
        return rewards


class LearnedMutation:
    """Mutates by a policy that learns which options were rewarded: a `nas_search.Mutator`.

    Each gene of a parent is drawn again with ``probability``, at least one a row: from the
    policy's distribution, given the genes before it. The policy learns from all rows that the
    searcher is told, by PPO; their log-probabilities are those of the policy at that moment.

    MoreMNAS leaves open which genes are drawn again and prints a reward of two objectives with
    weights of their own; here `Dominance` needs none, and any `Reward` will do.

    Args:
        policy: of the same space as the search, live options included; `NSGA2` checks it.
        reward: of the values that the searcher is told, and of the rows that stand for their
            networks.
        probability: of a gene to be drawn again, above 0 and at most 1; None for 1/d.

    Raises:
        InputError: a probability out of range.

    >>> from nas_search import NSGA2
    >>> from nas_spaces import published
    >>> space, rng = published.load("nas-bench-macro"), np.random.default_rng(0)
    >>> searcher = NSGA2(space, rng=rng, mutator=LearnedMutation(Policy(space, rng=rng)))
    >>> archs = searcher.ask()
    >>> searcher.tell(archs, np.stack([archs.mean(axis=1), -archs[:, 0]], axis=1))
    >>> searcher.ask().shape
    (64, 8)
    """

    def __init__(
        self, policy: Policy, *, reward: Reward | None = None, probability: float | None = None
    ) -> None:
        if probability is not None and not 0 < probability <= 1:
            raise InputError(
                f"probability={probability} must be above 0 and at most 1, or None for 1/d"
            )
        self.policy = policy
        self.reward = Dominance() if reward is None else reward
        self.probability = probability

    @property
    def space(self) -> SearchSpace:
        """The space of the policy."""
        return self.policy.controller.space

    def __call__(
        self, parents: NDArray[np.int64], *, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return a mutant int64 ``[n, d]`` of each parent ``[n, d]``."""
        n, d = parents.shape
        again = rng.random((n, d)) < (self.probability or 1 / d)
        again[np.arange(n), rng.integers(d, size=n)] |= ~again.any(axis=1)
        mutants, _ = self.policy.controller.sample(n, rng=rng, given=parents, free=again)
        return mutants

    def tell(self, archs: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Learn from values ``[n, m]`` of rows ``[n, d]``.

        Raises:
            InputError: the reward is other than one finite number for each; nothing is learned.
        """
        if len(archs):
            log_p = self.policy.controller.log_probability(archs)
            known = np.isfinite(log_p)  # others use options that are dropped
            rewards = rewards_of(self.reward, archs, values)
            if known.any():
                self.policy.update(
                    Experience(archs[known], log_p[known], rewards[known], np.ones(known.sum()))
                )

    def state_dict(self) -> dict[str, Any]:
        """Return the policy's state."""
        return self.policy.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        self.policy.load_state_dict(state)
