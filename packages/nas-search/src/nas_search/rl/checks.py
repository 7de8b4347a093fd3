"""What learners refuse: numbers that would make all their weights NaN, without an error."""

import numpy as np
from numpy.typing import NDArray

from nas_search.rl.rewards import Reward
from nas_spaces import InputError, SearchSpace

__all__ = ["check_finite", "needs_choices", "rewards_of"]


def rewards_of(
    reward: Reward, archs: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the rewards ``[n]`` of rows ``[n, d]`` whose values ``[n, m]`` were told.

    Raises:
        InputError: the reward gave another shape, or a number that is not finite.
    """
    rewards = np.asarray(reward(archs, values), dtype=np.float64)
    name = getattr(reward, "__name__", type(reward).__name__)
    if rewards.shape != (len(archs),):
        raise InputError(
            f"reward {name} returned shape {rewards.shape} for {len(archs)} architectures; "
            f"expected {(len(archs),)}, one number for each"
        )
    wrong = np.flatnonzero(~np.isfinite(rewards))
    if len(wrong):
        raise InputError(
            f"reward {name} returned {rewards[wrong[0]]} for architecture "
            f"{archs[wrong[0]].tolist()}; expected a finite number"
        )
    return rewards


def check_finite(n: int, /, **numbers: NDArray[np.float64]) -> None:
    """Refuse arguments that are not ``n`` finite numbers.

    Raises:
        InputError: one of ``numbers`` is not.
    """
    for name, given in numbers.items():
        if given.shape != (n,):
            raise InputError(
                f"{name} has shape {given.shape}; expected {(n,)}, one number for each row"
            )
        wrong = np.flatnonzero(~np.isfinite(given))
        if len(wrong):
            raise InputError(f"{name}[{wrong[0]}] is {given[wrong[0]]}; give finite numbers")


def needs_choices(space: SearchSpace) -> None:
    """Refuse a space in which there is nothing to learn.

    Raises:
        InputError: a space without choices.
    """
    if not space.num_choices:
        raise InputError(f"space {space.name!r} has no choices; there is nothing to decide")
