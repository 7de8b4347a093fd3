"""What the samplers of a supernet's training have in common: what they are to the plan of it."""

from collections.abc import Callable
from typing import Any

from attrs import frozen

from nas_cli.settings import AlphasConfig, DistributionConfig
from nas_cli.training import steps_of
from nas_cli.workshop import Workshop
from nas_samplers.phase import Join
from nas_spaces import InputError, Learner, Sampler

__all__ = ["Draws", "no_update", "training_steps"]


@frozen(eq=False, kw_only=True)
class Draws:
    """What ``supernet.sampler`` stands for.

    ``sampler``: draws the paths. ``join``: how those of a step are run as one, None for one by
    one. ``learner``: moves what is learned of the architectures, where anything is; from how many
    steps on, ``learn_from``, and at which, ``learn_every``. ``learned``: the file of what it came
    to, and a function that returns that. ``note``: what a person should know of the paths
    beforehand.
    """

    sampler: Sampler
    join: Join | None = None
    learner: Learner | None = None
    learn_from: int = 0
    learn_every: int = 1
    learned: tuple[str, Callable[[], dict[str, Any]]] | None = None
    note: str | None = None


def training_steps(shop: Workshop) -> int:
    """Return the optimiser steps of the supernet's training."""
    return steps_of(shop.run.config.train, shop.data.train)


def no_update(table: str, config: AlphasConfig | DistributionConfig, steps: int) -> InputError:
    """Return what says that a training would learn nothing of architectures."""
    return InputError(
        f"{table}: none of the updates, every {config.every} steps, is between the warm-up's end "
        f"and the last of {steps} steps; shorten {table}.warmup={config.warmup} or {table}.every"
    )
