"""Statistics of norms beside the modules that have them, and norms folded into convolutions."""

import itertools
from typing import TYPE_CHECKING

import torch
from attrs import field, frozen
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_spaces.primitives import Convolution, Norm
from nas_spaces.torch.program import Program
from nas_spaces.torch.quantise import dorefa

if TYPE_CHECKING:
    from nas_spaces.torch.modules import LayerModule

__all__ = ["Norms", "affine_of", "used_weights"]


@frozen(eq=False)
class Norms:
    """Statistics of a layer's norms that live beside the module instead of in it.

    `recalibrate` makes the next batch count towards cumulative means of the batch statistics,
    as ``BatchNorm2d(momentum=None)`` does; `settle` makes them be used. The module and its own
    running statistics are never written.
    """

    buffers: dict[str, tuple[Tensor, Tensor]] = field(factory=dict)
    folded: dict[str, tuple[Tensor, Tensor]] = field(factory=dict)
    _batches: list[int] = field(factory=lambda: [0])
    _settled: list[bool] = field(factory=lambda: [False])

    @classmethod
    def of_batch(cls) -> "Norms":
        """Return statistics of the one batch that passes next, as in training."""
        norms = cls()
        norms.recalibrate()
        return norms

    def recalibrate(self) -> None:
        """Count the next batch."""
        self._batches[0] += 1

    def settle(self) -> None:
        """Use the statistics from now on."""
        self._settled[0] = True

    def apply(self, node: Norm, module: nn.BatchNorm2d, x: Tensor) -> Tensor:
        """Return ``x`` normalised by the batch, or by the statistics once settled."""
        if node.name not in self.buffers:
            self.buffers[node.name] = (
                torch.zeros(node.channels, device=x.device),
                torch.ones(node.channels, device=x.device),
            )
        mean, variance = self.buffers[node.name]
        weight, bias = affine_of(node, module)
        return F.batch_norm(
            x,
            mean,
            variance,
            weight,
            bias,
            training=not self._settled[0],
            momentum=1.0 / max(self._batches[0], 1),
            eps=module.eps,
        )

    def fold(self, layer: "LayerModule", program: Program) -> None:
        """Merge settled norms into the convolutions before them; rounding differs a little.

        Quantised weights are quantised first: what is folded is what the convolution uses.
        """
        for step, after in itertools.pairwise(program):
            node, norm = step.primitive, after.primitive
            if not (step.foldable and isinstance(node, Convolution) and isinstance(norm, Norm)):
                continue
            if norm.inputs != (node.name,):
                continue
            convolution, module = layer.weighted(node.name), layer.weighted(norm.name)
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(module, nn.BatchNorm2d)
            mean, variance = self.buffers[norm.name]
            weight, bias = affine_of(norm, module)
            scale = torch.rsqrt(variance + module.eps)
            scale = scale if weight is None else scale * weight
            kernel, old = used_weights(node, convolution)
            shift = -mean if old is None else old - mean
            shift = shift * scale if bias is None else shift * scale + bias
            self.folded[node.name] = (kernel * scale[:, None, None, None], shift)


def affine_of(node: Norm, module: nn.BatchNorm2d) -> tuple[Tensor | None, Tensor | None]:
    """Return scale and shift that a norm uses of a module's: a slice, or None for both."""
    if not module.affine:
        return None, None
    return module.weight[: node.channels], module.bias[: node.channels]


def used_weights(node: Convolution, module: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias that a convolution uses of a module's: a slice, quantised."""
    weight = module.weight[: node.out_channels, : node.in_channels // node.groups]
    if node.weight_bits is not None:
        weight = dorefa(weight, node.weight_bits)
    return weight, None if module.bias is None else module.bias[: node.out_channels]
