"""States of torch modules and optimisers as arrays, bit for bit; loaded whole or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from nas_spaces import InputError
from nas_spaces.protocols import State

__all__ = ["load_adam", "load_module", "pack_adam", "pack_module", "restored_on_failure"]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Stateful(Protocol):
    """What can save all of its state and take it back."""

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""

    def load_state_dict(self, state: State) -> None:
        """Take a state back."""


@contextmanager
def restored_on_failure(part: Stateful) -> Iterator[None]:
    """Give ``part`` back the state it has now if what is done in this context fails.

    A state is loaded piece by piece, and the last one may be refused.
    """
    former = part.state_dict()
    try:
        yield
    except Exception:
        part.load_state_dict(former)
        raise


def pack_module(module: nn.Module) -> dict[str, Any]:
    """Return the parameters and buffers of a module as arrays by name."""
    return {
        name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()
    }


def load_module(module: nn.Module, state: Mapping[str, Any], owner: str) -> None:
    """Take back what `pack_module` returned.

    Raises:
        InputError: arrays of another network.
    """
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: np.shape(value) for name, value in state.items()}
    if own != given:
        wrong = sorted(set(own.items()) ^ set(given.items()))
        raise InputError(
            f"this is no state of {owner} with the same settings: {wrong[0][0]!r} has shape "
            f"{given.get(wrong[0][0])}, here {own.get(wrong[0][0])}"
        )
    module.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})


def pack_adam(optimiser: torch.optim.Adam) -> list[dict[str, Any]]:
    """Return the moments of each parameter, in the order of the parameters."""
    moments = optimiser.state_dict()["state"]
    return [
        {name: moments[index][name].cpu().numpy().copy() for name in MOMENTS}
        for index in sorted(moments)
    ]


def load_adam(optimiser: torch.optim.Adam, state: list[Mapping[str, Any]], owner: str) -> None:
    """Take back what `pack_adam` returned.

    Raises:
        InputError: moments of other parameters.
    """
    whole = optimiser.state_dict()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    fits = len(state) in (0, len(parameters)) and all(
        np.shape(one["exp_avg"]) == tuple(parameter.shape)
        for one, parameter in zip(state, parameters, strict=False)
    )
    if not fits:
        raise InputError(f"this is no optimiser state of {owner} with the same settings")
    whole["state"] = {
        index: {name: torch.as_tensor(one[name]).clone() for name in MOMENTS}
        for index, one in enumerate(state)
    }
    optimiser.load_state_dict(whole)
