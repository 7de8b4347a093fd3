"""Weights in a file as the start of a network or of a supernet."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from nas_samplers.checkpoint import OPTIMISER
from nas_spaces import InputError
from nas_spaces.torch import Inherited, Supernet, inherit_network
from nas_spaces.torch.finite import not_finite
from nas_spaces.torch.quantise import is_level
from nas_spaces.torch.torchvision_names import from_torchvision

__all__ = ["load_weights", "read_weights"]


def load_weights(network: nn.Module, path: Path) -> Inherited:
    """Start ``network`` from weights in a file: safetensors, or a torch file without code.

    Tensors of the same name and shape are copied. A classifier of another number of classes
    keeps its own weights, and so do clipping levels of quantisers where the file has none; levels
    of bits that the network does not have are left. A supernet also starts from the weights of one
    network of its blocks, by the rules of `nas_spaces.torch.inherit_network`. Names of
    torchvision's ResNet-18 and -34 are understood.

    Args:
        network: the module to load into.
        path: ``*.safetensors``, or what ``torch.save(module.state_dict(), path)`` wrote.

    Returns:
        What became of the network's tensors, and the clipping levels of the file that were left.

    Raises:
        InputError: what `read_weights` refuses, or tensors that do not fit: every tensor of the
            file must have its counterpart, other than the classifier's, clipping levels and an
            optimiser's; and every one of the network, but for those named above, or unless it is
            a supernet that starts from one network. Nothing is loaded then.
        OSError: the file may not be read.
    """
    tensors = read_weights(path)
    tensors = from_torchvision(tensors) or tensors
    if isinstance(network, Supernet) and _of_one_network(tensors):
        weights = {name: x for name, x in tensors.items() if not name.startswith(OPTIMISER)}
        try:
            return inherit_network(network, weights)
        except InputError as error:
            raise InputError(f"weights: {path}: {error}") from error
    own = network.state_dict()
    last_block = _last_block(own)
    fitting = {name: x for name, x in tensors.items() if name in own and own[name].shape == x.shape}
    kept = sorted(name for name in own if name not in fitting)
    wrong = [
        name
        for name in kept
        if not (
            name.startswith(last_block)
            or (is_level(name) and name not in tensors)
            or name.endswith("batches_tracked")
        )
    ]
    if wrong:
        name = wrong[0]
        received = f"shape {tuple(tensors[name].shape)}" if name in tensors else "no such tensor"
        cure = ""
        if isinstance(network, Supernet):
            cure = (
                "; a supernet starts from one of the same space, or from one network of its "
                "blocks, such as best/model.safetensors of a run"
            )
        raise InputError(
            f"weights: {path} does not fit the network in {len(wrong)} tensors; the first is "
            f"{name} of shape {tuple(own[name].shape)}, the file has {received}{cure}"
        )
    # A checkpoint of a training holds its optimiser's tensors as well.
    exempt = (OPTIMISER, last_block)
    unknown = sorted(n for n in tensors if n not in own and not n.startswith(exempt))
    foreign = [name for name in unknown if not is_level(name)]
    if foreign:
        name = foreign[0]
        raise InputError(
            f"weights: {path} holds {len(foreign)} tensors that the network does not have; the "
            f"first is {name} of shape {tuple(tensors[name].shape)}: build the network as the "
            "file's was, with the same space and norms, or leave these tensors out"
        )
    network.load_state_dict(fitting, strict=False)
    return Inherited(len(fitting), tuple(kept), tuple(name for name in unknown if is_level(name)))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors that `load_weights` would take, without the prefix of a checkpoint.

    Args:
        path: as of `load_weights`.

    Raises:
        InputError: no such file, one that is damaged, tensors that are not finite, or clipping
            levels that are not above 0.
        OSError: the file may not be read.
    """
    tensors = {name.removeprefix("network."): x for name, x in _read_tensors(path).items()}
    bad = not_finite(tensors)
    if bad:
        raise InputError(
            f"weights: {path}: {len(bad)} tensors ({bad[0]} first) are not finite; give those of a "
            "training that did not diverge"
        )
    fallen = [name for name, x in tensors.items() if is_level(name) and (x <= 0).any()]
    if fallen:
        raise InputError(
            f"weights: {path}: {len(fallen)} clipping levels ({fallen[0]} first) are not above 0; "
            "leave them out to start new ones"
        )
    return tensors


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file by their names in it."""
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
        isinstance(name, str) and _is_plain(x) for name, x in tensors.items()
    ):
        raise InputError(
            f"weights: {path} holds something else than tensors by name, dense and of real "
            "numbers; write it with torch.save(module.state_dict(), path)"
        )
    return tensors


def _is_plain(x: object) -> bool:
    if not isinstance(x, Tensor) or x.layout != torch.strided:
        return False
    return not (x.is_complex() or x.is_quantized)


def _of_one_network(names: Iterable[str]) -> bool:
    """Whether tensors are a network's: a supernet's have the number of a candidate in their names.

    They are ``blocks.BLOCK.PRIMITIVE.KEY`` and ``blocks.BLOCK.NUMBER.PRIMITIVE.KEY``.
    """
    parts = [name.split(".") for name in names if name.startswith("blocks.")]
    return bool(parts) and not any(len(part) > 3 and part[2].isdigit() for part in parts)


def _last_block(names: Mapping[str, Tensor]) -> str:
    """Return the prefix of the last block's tensors, such as ``"blocks.head."``."""
    return ".".join([*list(names)[-1].split(".")[:2], ""])
