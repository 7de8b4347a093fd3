"""The four protocols that the packages meet through: only arrays cross their borders.

Implementations need not import this module; the conformance checks of `nas_spaces.testing` run
any of them. Each keeps its whole state, random generators included, in ``state_dict()`` and
takes it back with ``load_state_dict()``; the state is made of JSON values and numpy arrays.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Learner", "Metric", "Sampler", "Searcher", "State"]

State = Mapping[str, Any]


@runtime_checkable
class Sampler(Protocol):
    """Draws the architectures that a supernet is trained on."""

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``: rows that share one optimiser step; ``n`` may change."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        ...


@runtime_checkable
class Searcher(Protocol):
    """Proposes architectures and learns from their values."""

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[n, d]``: rows to measure, feasible and not measured before.

        No rows means that the searcher has nothing left to propose.
        """
        ...

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take values ``[n, m]`` of rows ``[n, d]``, lower is better, its own or foreign ones."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        ...


@runtime_checkable
class Metric(Protocol):
    """Something to minimise or to limit; accuracy travels as error in [0, 1]."""

    @property
    def name(self) -> str:
        """For example ``"error"``."""
        ...

    @property
    def unit(self) -> str:
        """For example ``"multiply-adds"``."""
        ...

    def __call__(self, archs: ArrayLike) -> NDArray[Any]:
        """Return values ``[n]`` of architectures ``[n, d]``."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Updates a distribution over architectures from held-out images."""

    def learn(
        self,
        network: Any,
        archs: NDArray[np.int64],
        images: Any,
        labels: Any,
        *,
        micro_batch: int | None = None,
    ) -> Mapping[str, float]:
        """Update the distribution; return what to record.

        ``micro_batch``: images that fit the device at once; only given where a batch has to pass
        in parts.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""
        ...
