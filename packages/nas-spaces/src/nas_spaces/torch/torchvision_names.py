"""Weights of other libraries by the names that they have here."""

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["from_torchvision"]

# Of torchvision's ResNets of basic blocks, in the order in which they are tried.
RESNET = (
    (r"conv1\.(.+)", r"blocks.stem.conv.\1"),
    (r"bn1\.(.+)", r"blocks.stem.conv_norm.\1"),
    (r"layer(\d)\.(\d+)\.bn([12])\.(.+)", r"blocks.stage\1_\2.conv\3_norm.\4"),
    (r"layer(\d)\.(\d+)\.downsample\.0\.(.+)", r"blocks.stage\1_\2.downsample.\3"),
    (r"layer(\d)\.(\d+)\.downsample\.1\.(.+)", r"blocks.stage\1_\2.downsample_norm.\3"),
    (r"layer(\d)\.(\d+)\.(conv[12]\..+)", r"blocks.stage\1_\2.\3"),
    (r"fc\.(.+)", r"blocks.head.linear.\1"),
)


def from_torchvision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return torchvision's weights of ResNet-18 or ResNet-34 by their names in `Network`.

    Args:
        tensors: what ``torchvision.models.resnet18(...).state_dict()`` holds.

    Returns:
        The same tensors; None where a name is none of a ResNet of basic blocks.

    >>> import torch
    >>> list(from_torchvision({"layer1.0.bn2.weight": torch.ones(64)}))
    ['blocks.stage1_0.conv2_norm.weight']
    """
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RESNET:
            match = re.fullmatch(pattern, name)
            if match:
                renamed[match.expand(replacement)] = tensor
                break
        else:
            return None
    return renamed
