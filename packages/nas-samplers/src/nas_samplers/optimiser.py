"""Optimisers and learning-rate schedules as data."""

import math
from typing import Literal

import torch
from attrs import field, frozen
from attrs.validators import optional
from torch import nn

from nas_samplers.validators import number, one_of
from nas_spaces.torch.quantise import Pact, restart_levels

__all__ = ["Optimiser"]

# The group of parameters that clipping levels are in, behind weights and what is not decayed.
LEVELS = 2


@frozen
class Optimiser:
    """How weights are updated.

    Args:
        kind: ``"sgd"`` with momentum, or ``"adamw"``.
        lr: peak learning rate.
        momentum: of SGD.
        weight_decay: on weights with more than one dimension only (norms and biases have none).
        level_decay: on the clipping levels of quantisers, which Choi et al. (PACT, 2018) pull down
            by an L2 term; without one they mostly grow.
        schedule: ``"linear"`` or ``"cosine"`` from ``lr`` to 0, or ``"constant"``.
        warmup: share of the steps over which the rate first rises linearly from 0.
        clip: largest norm of the gradient; None clips nothing.

    Raises:
        InputError: a number out of range, an unknown kind or schedule.
    """

    kind: Literal["sgd", "adamw"] = field(default="sgd", validator=one_of("sgd", "adamw"))
    lr: float = field(default=0.5, validator=number(above=0))
    momentum: float = field(default=0.9, validator=number(least=0))
    weight_decay: float = field(default=4e-5, validator=number(least=0))
    schedule: Literal["linear", "cosine", "constant"] = field(
        default="linear", validator=one_of("linear", "cosine", "constant")
    )
    warmup: float = field(default=0.0, validator=number(least=0, most=1))
    level_decay: float = field(default=0.0, validator=number(least=0))
    clip: float | None = field(default=None, validator=optional(number(above=0)))

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of ``step`` in ``0..steps - 1``.

        >>> [round(Optimiser(lr=1.0).rate(step, 4), 2) for step in range(4)]
        [1.0, 0.75, 0.5, 0.25]
        """
        rising = self.warmup * steps
        if step < rising:
            return self.lr * (step + 1) / (rising + 1)
        progress = (step - rising) / max(steps - rising, 1)
        if self.schedule == "linear":
            return self.lr * (1 - progress)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * progress))
        return self.lr

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return a torch optimiser over all parameters of ``network``.

        Parameters without a gradient are left alone by a step, their momentum included. Clipping
        levels of quantisers that are not above the smallest, now or after a step, start again, and
        their momentum with them, see `nas_spaces.torch.quantise.restart_levels`.
        """
        quantisers = [module for module in network.modules() if isinstance(module, Pact)]
        levels = [p for module in quantisers for p in module.parameters()]
        known = {id(p) for p in levels}
        others = [p for p in network.parameters() if id(p) not in known]
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if levels:
            groups.append({"params": levels, "weight_decay": self.level_decay})
        optimiser: torch.optim.Optimizer
        if self.kind == "adamw":
            optimiser = torch.optim.AdamW(groups, lr=self.lr, foreach=True)
        else:
            # Not fused: fused SGD fails once some momentum buffers exist and others do not.
            optimiser = torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, foreach=True)
        if levels:
            restart_levels(levels)
            optimiser.register_step_post_hook(_restart_moved)
        return optimiser


def _restart_moved(optimiser: torch.optim.Optimizer, *_: object) -> None:
    """Start clipping levels again that a step has taken too far down, with no momentum."""
    moved = [p for p in optimiser.param_groups[LEVELS]["params"] if p.grad is not None]
    for level, fallen in zip(moved, restart_levels(moved), strict=True):
        for kept in optimiser.state.get(level, {}).values():
            # Others count steps.
            if isinstance(kept, torch.Tensor) and kept.shape == level.shape:
                kept.masked_fill_(fallen, 0.0)
