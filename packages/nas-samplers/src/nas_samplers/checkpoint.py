"""Training state in one file: tensors as safetensors, everything else as JSON in its header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from attrs import frozen
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nas_spaces import InputError, replace_file
from nas_spaces.jsonable import from_jsonable, to_jsonable

__all__ = [
    "OPTIMISER",
    "Checkpoint",
    "load_optimiser",
    "optimiser_tensors",
    "read_checkpoint",
    "take_prefixed",
    "write_checkpoint",
]

OPTIMISER = "optimiser."
"""What the names of an optimiser's tensors begin with."""

# One key only: several would be written in an order that changes from run to run.
HEADER = "state"


@frozen(eq=False)
class Checkpoint:
    """``tensors`` by name, and ``state``: JSON values and numpy arrays."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file at ``path`` in one step; the same state gives the same bytes.

    Raises:
        OSError: the folder cannot be written or the disk is full; the old file stays.
        TypeError: a state that is not made of JSON values and numpy arrays; the old file stays.
    """
    tensors = {name: x.detach().cpu().contiguous() for name, x in checkpoint.tensors.items()}
    header = {HEADER: json.dumps(to_jsonable(checkpoint.state, "state"))}
    replace_file(path, safetensors.torch.save(tensors, metadata=header))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote; nothing in the file is executed.

    Raises:
        InputError: a truncated file, or one that is no checkpoint of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = from_jsonable(json.loads(header.get(HEADER, "null")))
            if not isinstance(state, dict):
                raise InputError(f"{path} is no training checkpoint; remove it to begin anew")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Checkpoint(tensors, state)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} is truncated or no checkpoint ({error}); remove it to begin anew"
        ) from error


def optimiser_tensors(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's tensors by ``"parameter|key"``; untouched parameters have none."""
    return {
        f"{name}|{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimiser(
    network: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Take back what `optimiser_tensors` returned."""
    parameters = dict(network.named_parameters())
    for full_name, tensor in tensors.items():
        name, key = full_name.rsplit("|", 1)
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU.
        device = tensor.device if tensor.ndim == 0 else parameter.device
        value = torch.empty_like(parameter) if tensor.ndim else torch.empty_like(tensor)
        optimiser.state[parameter][key] = value.copy_(tensor).to(device)


def take_prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
