"""Which tensors hold what is no finite number."""

from collections.abc import Mapping

from torch import Tensor

__all__ = ["not_finite"]


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity, in their order.

    >>> import torch
    >>> not_finite({"a": torch.ones(2), "b": torch.tensor([0.0, float("nan")])})
    ['b']
    """
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
