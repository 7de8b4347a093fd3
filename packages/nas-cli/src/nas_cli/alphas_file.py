"""The architecture parameters that a training left, as the stages behind it need them."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_spaces import InputError, SearchSpace

__all__ = ["read_last_alphas"]


def read_last_alphas(
    path: Path, space: SearchSpace
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the parameters at the end of a training, and which candidates were left.

    Args:
        path: of ``train/alphas.json``.
        space: the run's.

    Returns:
        Float64 and bool, both ``[d, k]`` as ``space.mask``; a parameter is nan where a choice has
        no such option.

    Raises:
        InputError: a file that is missing or damaged, or one of another space.
    """
    try:
        record = json.loads(path.read_text())
        alphas = np.array(record["alphas"][-1], dtype=np.float64)  # null becomes nan
        alive = np.array(record["alive"][-1], dtype=np.float64) == 1
    except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}); restore it, or train again") from error
    if not alphas.shape == alive.shape == space.mask.shape or np.isnan(alphas[alive]).any():
        raise InputError(
            f"{path} is damaged, or of another space than {space.name!r} with its "
            f"{space.mask.shape} choices and options; restore it, or train again"
        )
    return alphas, alive
