"""Training state in one file: tensors as safetensors, everything else as JSON in its header."""

import io
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
    "Checkpoint",
    "load_optimiser",
    "load_weights",
    "optimiser_tensors",
    "read_checkpoint",
    "take_prefixed",
    "write_checkpoint",
]

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


def load_weights(network: nn.Module, path: Path) -> list[str]:
    """Start ``network`` from weights in a file: safetensors, or a torch file without code.

    Tensors of the same name and shape are copied. A classifier of another number of classes
    keeps its own weights.

    Args:
        network: the module to load into.
        path: ``*.safetensors``, or what ``torch.save(module.state_dict(), path)`` wrote.

    Returns:
        Names of tensors that kept their own values.

    Raises:
        InputError: no such file, a file that is damaged, or one whose tensors do not fit: every
            tensor of the network, and every one of the file, must have its counterpart, other
            than those of the classifier and of an optimiser.
        OSError: the file may not be read.
    """
    if not path.is_file():
        raise InputError(f"weights: there is no file {path}")
    content = path.read_bytes()
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load(content)
        else:
            tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # Damage surfaces as any exception: torch takes the bytes of a text for instructions, and
        # ends in a KeyError or IndexError. What it says itself is long, and ends in advice to let
        # files run code.
        kind = "safetensors" if path.suffix == ".safetensors" else "torch"
        raise InputError(
            f"weights: {path} cannot be read as tensors: it is truncated, or no {kind} file; give "
            "safetensors, or what torch.save(module.state_dict(), path) wrote"
        ) from error
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(x, Tensor) for name, x in tensors.items()
    ):
        raise InputError(
            f"weights: {path} holds something else than tensors by name; write it with "
            "torch.save(module.state_dict(), path)"
        )
    tensors = {name.removeprefix("network."): x for name, x in tensors.items()}
    own = network.state_dict()
    last_block = _last_block(own)
    head = {name for name in own if name.startswith(last_block)}
    fitting = {name: x for name, x in tensors.items() if name in own and own[name].shape == x.shape}
    kept = sorted(name for name in own if name not in fitting)
    wrong = [name for name in kept if name not in head and not name.endswith("batches_tracked")]
    if wrong:
        name = wrong[0]
        received = f"shape {tuple(tensors[name].shape)}" if name in tensors else "no such tensor"
        raise InputError(
            f"weights: {path} does not fit the network in {len(wrong)} tensors; the first is "
            f"{name} of shape {tuple(own[name].shape)}, the file has {received}"
        )
    # A checkpoint of a training holds its optimiser's tensors as well.
    exempt = ("optimiser.", last_block)
    foreign = sorted(n for n in tensors if n not in own and not n.startswith(exempt))
    if foreign:
        name = foreign[0]
        raise InputError(
            f"weights: {path} holds {len(foreign)} tensors that the network does not have; the "
            f"first is {name} of shape {tuple(tensors[name].shape)}: build the network as the "
            "file's was, with the same space and norms, or leave these tensors out"
        )
    network.load_state_dict(fitting, strict=False)
    return kept


def _last_block(names: Mapping[str, Tensor]) -> str:
    """Return the prefix of the last block's tensors, such as ``"blocks.head."``."""
    return ".".join([*list(names)[-1].split(".")[:2], ""])


def take_prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
