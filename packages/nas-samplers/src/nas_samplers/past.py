"""The past of what is learnt: few of its moments, at equal distances, however many there were."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from attrs import AttrsInstance, fields

from nas_spaces.protocols import State

__all__ = ["Past"]

# Moments that are kept at most; beyond them every second one goes.
MOST = 200

M = TypeVar("M", bound=AttrsInstance)


class Past(Generic[M]):
    """Keeps at most 200 moments at equal distances, of which the first one is kept for good.

    ``moments``: the earliest first.

    Args:
        first: an attrs object of numbers and arrays: how things were before the first update.

    >>> from attrs import frozen
    >>> @frozen
    ... class Loss:
    ...     value: float
    >>> past = Past(Loss(0.0))
    >>> for step in range(1, 1001):
    ...     past.update(lambda: Loss(float(step)))
    >>> len(past.moments), [one.value for one in past.moments[:3]]
    (126, [0.0, 8.0, 16.0])
    """

    def __init__(self, first: M) -> None:
        self.moments = [first]
        self._updates, self._every = 0, 1

    def update(self, now: Callable[[], M]) -> None:
        """Count an update; remember ``now()``, unless moments are already too close together."""
        self._updates += 1
        if self._updates % self._every:
            return
        self.moments.append(now())
        if len(self.moments) > MOST:
            self.moments = self.moments[::2]
            self._every *= 2

    def state_dict(self, name: str) -> dict[str, Any]:
        """Return the whole state: ``name``: of each field its values, one a moment; and counts."""
        first, *_ = self.moments
        past: dict[str, Any] = {}
        for field in fields(type(first)):
            values = [getattr(one, field.name) for one in self.moments]
            array = isinstance(values[0], np.ndarray)
            past[field.name] = np.array(values) if array else values
        return {"updates": self._updates, "every": self._every, name: past}

    def load_state_dict(self, state: State, name: str) -> None:
        """Take back a state, of which fields that have a default may be absent."""
        first, *_ = self.moments
        past = {
            key: [np.array(one) for one in values]
            if isinstance(getattr(first, key), np.ndarray)
            else values
            for key, values in state[name].items()
        }
        self._updates, self._every = int(state["updates"]), int(state["every"])
        self.moments = [
            type(first)(**dict(zip(past, values, strict=True)))
            for values in zip(*past.values(), strict=True)
        ]
