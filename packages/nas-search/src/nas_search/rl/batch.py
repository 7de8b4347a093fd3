"""Rows of a policy that wait for their rewards."""

from collections.abc import Iterable

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

__all__ = ["Batch", "first_rows"]


@frozen(eq=False)
class Batch:
    """Rows of the policy on their way to an update.

    ``archs``: ``[n, d]``. ``log_probabilities``: ``[n]``. ``rewards``: ``[n]``, NaN until told.
    ``keys``: of the networks. ``trusted``: ``[n]``, the reward is the critic's.
    """

    archs: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    rewards: NDArray[np.float64]
    keys: list[bytes]
    trusted: NDArray[np.bool_]

    @classmethod
    def empty(cls, num_choices: int) -> "Batch":
        """Return a batch without rows."""
        none = np.zeros(0)
        archs = np.zeros((0, num_choices), dtype=np.int64)
        return cls(archs, none, none, [], none.astype(np.bool_))

    def __len__(self) -> int:
        return len(self.archs)

    @property
    def open(self) -> NDArray[np.int64]:
        """Rows that have to be measured ``[k]``."""
        return np.flatnonzero(np.isnan(self.rewards))

    def keys_of(self, rows: NDArray[np.int64]) -> set[bytes]:
        """Return the networks of rows ``[k]``."""
        return {self.keys[row] for row in rows}

    def take(self, rows: NDArray[np.int64]) -> "Batch":
        """Return the batch of rows ``[k]``."""
        return Batch(
            self.archs[rows],
            self.log_probabilities[rows],
            self.rewards[rows],
            [self.keys[row] for row in rows],
            self.trusted[rows],
        )

    def join(self, other: "Batch") -> "Batch":
        """Return the batch of these rows and, behind them, those of another."""
        return Batch(
            np.concatenate([self.archs, other.archs]),
            np.concatenate([self.log_probabilities, other.log_probabilities]),
            np.concatenate([self.rewards, other.rewards]),
            self.keys + other.keys,
            np.concatenate([self.trusted, other.trusted]),
        )


def first_rows(keys: list[bytes], rows: Iterable[int]) -> list[int]:
    """Return those of ``rows``, in order, that are the first of their network."""
    seen: dict[bytes, int] = {}
    for row in rows:
        seen.setdefault(keys[row], row)
    return list(seen.values())
