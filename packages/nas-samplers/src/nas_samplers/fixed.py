"""Always the same path."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_samplers.settings import check_settings
from nas_spaces import InputError
from nas_spaces.protocols import State

__all__ = ["Fixed"]


class Fixed:
    """One architecture, the same in every step.

    PONAS's first phase trains the largest network inside the supernet, so that the candidates of
    every block can start from its weights.

    Args:
        row: the architecture, int ``[d]``.

    Raises:
        InputError: ``row`` is no row of integers.

    >>> Fixed([2, 0, 1]).ask().tolist()
    [[2, 0, 1]]
    """

    def __init__(self, row: ArrayLike) -> None:
        values = np.asarray(row)
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise InputError(
                f"row has shape {values.shape} and dtype {values.dtype}; give one architecture, "
                "integers [d]"
            )
        self.row = values.astype(np.int64)

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[1, d]``."""
        return self.row[None].copy()

    def state_dict(self) -> dict[str, Any]:
        """Return the row: there is no other state."""
        return {"row": self.row.tolist()}

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of another row.
        """
        check_settings(self.state_dict(), state, "sampler")
