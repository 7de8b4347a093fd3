"""Weight initialisation from a passed generator."""

import math
from typing import Literal, get_args

import torch
from torch import nn

from nas_spaces.errors import InputError, nearest
from nas_spaces.torch.modules import LayerModule
from nas_spaces.torch.quantise import Pact

__all__ = ["Scheme", "initialise"]

Scheme = Literal["kaiming", "zero-residual", "spos"]


@torch.no_grad()
def initialise(network: nn.Module, scheme: Scheme, *, generator: torch.Generator) -> None:
    """Set every weight of ``network`` in the order of its modules.

    Args:
        network: module whose convolutions, linear maps and norms are set.
        scheme: ``"kaiming"``: convolutions N(0, 2 / fan_out) (He et al., 2015), linear maps
            N(0, 0.01), as MobileNets do. ``"zero-residual"``: the same, but norms that end a
            residual branch start with scale 0, so that the branch starts as nothing (Goyal et
            al., 2017): candidates then agree from the first step on what reaches the blocks
            behind them, and single-path supernets of residual blocks learn much faster. A norm that
            layers with a shortcut share with layers without one stays the identity: the latter
            would let nothing through.
            ``"spos"``: the first convolution N(0, 0.01), others with standard deviation
            1 / (input channels a group), linear maps N(0, 0.01), as the official SPOS code does.
            In all three biases are 0, all other norms the identity, and the clipping levels of
            quantisers at their start.
        generator: source of randomness, on the CPU.

    Raises:
        InputError: an unknown scheme, or ``"zero-residual"`` where those norms have no scale.
    """
    if scheme not in get_args(Scheme):
        raise InputError(f"scheme={scheme!r} is unknown: {nearest(scheme, get_args(Scheme))}")
    first = True
    residual_norms: list[nn.BatchNorm2d] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if scheme != "spos":
                fan_out = module.out_channels * module.kernel_size[0] ** 2 / module.groups
                std = math.sqrt(2.0 / fan_out)
            else:
                std = 0.01 if first else 1.0 / module.weight.shape[1]
            first = False
            _normal(module.weight, std, generator)
        elif isinstance(module, nn.Linear):
            _normal(module.weight, 0.01, generator)
        elif isinstance(module, nn.BatchNorm2d | Pact):
            module.reset_parameters()
            continue
        elif isinstance(module, LayerModule) and scheme == "zero-residual":
            residual_norms.extend(module.residual_norms())
            continue
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()
    for norm in residual_norms:
        if not norm.affine:
            raise InputError(
                "scheme='zero-residual' sets the scales of norms, and these norms have none; give "
                "affine=True, or scheme='kaiming' or 'spos'"
            )
        norm.weight.zero_()


def _normal(weight: torch.Tensor, std: float, generator: torch.Generator) -> None:
    # Drawn on the CPU, so that every device starts from the same weights.
    weight.copy_(torch.empty(weight.shape).normal_(0.0, std, generator=generator))
