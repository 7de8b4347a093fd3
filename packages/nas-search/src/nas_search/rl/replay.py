"""FNAS's architecture experience buffer: a few architectures that are learned from again.

Liu et al., "FNAS: Uncertainty-Aware Fast Neural Architecture Search", section 3.4; priorities and
importance weights are those of Schaul et al., "Prioritized Experience Replay", ICLR 2016.
"""

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from nas_search import candidates
from nas_spaces import InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["ExperienceBuffer"]


@define(eq=False)
class ExperienceBuffer:
    """Architectures with their rewards and the log-probabilities that they were drawn with.

    Row i of N is replayed with probability P_i = exp(r_i / T) / sum_j exp(r_j / T), and what is
    learned from it is weighed by (N P_i)^-beta, where beta rises from 0 to 1 in the course of the
    search. N is how many there are, not the capacity. At beta = 1 the weights cancel the priority
    in expectation.

    What the paper leaves open, and what is done here:

    - For accuracies between 0.6 and 0.75 the printed priorities (T = 1) are practically equal;
      ``temperature`` divides the rewards.
    - Where the buffer is full, a new row takes the place of the one with the nearest reward, so
      that rewards stay different; never of the best, unless it is better itself.
    - The same network again replaces the old entry.

    Args:
        space: the search space.
        capacity: rows kept, 10 in the paper.
        share: of a batch that is replayed at most, 1/2 in the paper; at least 0, below 1.
        temperature: T, above 0, in units of the reward.

    Raises:
        InputError: an argument out of range.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> buffer = ExperienceBuffer(space, capacity=2)
    >>> for option, reward in ((0, 0.5), (1, 0.9), (2, 0.6)):
    ...     buffer.add(np.full(8, option), -3.0, reward)
    >>> buffer.rewards.tolist()
    [0.6, 0.9]
    """

    space: SearchSpace
    capacity: int = field(default=10, kw_only=True)
    share: float = field(default=0.5, kw_only=True)
    temperature: float = field(default=1.0, kw_only=True)
    archs: NDArray[np.int64] = field(init=False)
    log_probabilities: NDArray[np.float64] = field(factory=lambda: np.zeros(0), init=False)
    rewards: NDArray[np.float64] = field(factory=lambda: np.zeros(0), init=False)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, capacity=self.capacity)
        if not 0 <= self.share < 1:
            raise InputError(f"share={self.share} must be at least 0 and below 1")
        if not self.temperature > 0:
            raise InputError(f"temperature={self.temperature} must be above 0")
        self.archs = np.zeros((0, self.space.num_choices), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rewards)

    def replayed(self, batch: int) -> int:
        """Return how many of ``batch`` rows are replayed now."""
        return min(_whole(batch * self.share), len(self))

    def beside(self, rows: int) -> int:
        """Return how many may be replayed beside ``rows`` others, the share being of all."""
        return _whole(rows * self.share / (1 - self.share))

    def probabilities(self) -> NDArray[np.float64]:
        """Return the priorities P ``[N]``."""
        scaled = (self.rewards - self.rewards.max(initial=-np.inf)) / self.temperature
        weights = np.exp(scaled)
        priorities: NDArray[np.float64] = weights / weights.sum()
        return priorities

    def draw(
        self, n: int, beta: float, *, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return indices ``[n]``, drawn with replacement, and their importance weights ``[n]``.

        Args:
            n: how many; 0 where the buffer is empty.
            beta: in [0, 1].
            rng: what they are drawn from.
        """
        if not n:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        priorities = self.probabilities()
        chosen = rng.choice(len(self), size=n, p=priorities)
        return chosen, (len(self) * priorities[chosen]) ** -beta

    def add(self, arch: NDArray[np.int64], log_probability: float, reward: float) -> None:
        """Take a measured row int64 ``[d]``.

        Raises:
            InputError: a log-probability or reward that is not finite; nothing is then taken.
        """
        for name, value in (("log_probability", log_probability), ("reward", reward)):
            if not np.isfinite(value):
                raise InputError(f"{name}={value} must be a finite number")
        networks = self.space.canonical(np.concatenate([self.archs, arch[None]]))
        same = np.flatnonzero((networks[:-1] == networks[-1]).all(axis=1))
        if len(same):
            self._put(int(same[0]), arch, log_probability, reward)
        elif len(self) < self.capacity:
            self.archs = np.concatenate([self.archs, arch[None]])
            self.log_probabilities = np.append(self.log_probabilities, log_probability)
            self.rewards = np.append(self.rewards, reward)
        else:
            distance = np.abs(self.rewards - reward)
            best = int(self.rewards.argmax())
            if reward <= self.rewards[best] and len(self) > 1:
                distance[best] = np.inf
            if reward > self.rewards[best] or len(self) > 1:
                self._put(int(distance.argmin()), arch, log_probability, reward)

    def _put(self, place: int, arch: NDArray[np.int64], log_p: float, reward: float) -> None:
        self.archs[place] = arch
        self.log_probabilities[place], self.rewards[place] = log_p, reward

    def state_dict(self) -> dict[str, Any]:
        """Return ``archs [N, d]``, ``log_probabilities [N]`` and ``rewards [N]``."""
        return {
            "archs": self.archs.copy(),
            "log_probabilities": self.log_probabilities.copy(),
            "rewards": self.rewards.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of something else, or of a larger buffer.
        """
        candidates.require(state, ("archs", "log_probabilities", "rewards"), "ExperienceBuffer")
        archs = self.space.check(state["archs"])
        log_p = np.array(state["log_probabilities"], dtype=np.float64)
        rewards = np.array(state["rewards"], dtype=np.float64)
        if log_p.shape != (len(archs),) or rewards.shape != (len(archs),):
            raise InputError(
                f"state has {len(archs)} rows, log_probabilities of shape {log_p.shape} and "
                f"rewards of shape {rewards.shape}; expected one of each for each row"
            )
        if len(archs) > self.capacity:
            raise InputError(f"state has {len(archs)} rows; capacity={self.capacity} holds fewer")
        self.archs, self.log_probabilities, self.rewards = archs.copy(), log_p, rewards


def _whole(share: float) -> int:
    """Return the whole rows of a share: 10 x 0.6 / 0.4 are 15, and 14.999... in binary."""
    return int(share + 1e-9)
