"""What a layer is, and the pieces that many layers are made of."""

import math
from typing import Protocol, runtime_checkable

from nas_spaces.checks import check_scale
from nas_spaces.errors import InputError
from nas_spaces.primitives import Graph, GraphBuilder, Shape

__all__ = [
    "Layer",
    "Quantisable",
    "Scalable",
    "conv_norm",
    "round_channels",
    "scale_channels",
    "squeeze_excite",
]


@runtime_checkable
class Layer(Protocol):
    """A frozen, hashable record that can say which primitives it is made of.

    A record that stands in spaces with very many combinations may also have a method
    ``output(shape)`` that returns the output shape without building the graph. Others that a
    record may have are those of `Scalable` and `Quantisable`.
    """

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``; InputError where it does not fit."""
        ...


@runtime_checkable
class Scalable(Layer, Protocol):
    """A layer whose inner channels can be more or fewer, with the same outside.

    What `scaled` changes of the record are fields in which layers can share weights.
    """

    def scaled(self, scale: float) -> Layer:
        """Return it with ``scale`` times the channels inside; itself where it has none."""
        ...


@runtime_checkable
class Quantisable(Layer, Protocol):
    """A layer whose convolutions can be quantised.

    What `quantised` changes of the record are fields in which layers can share weights.
    """

    def quantised(self, weight_bits: int, input_bits: int) -> Layer:
        """Return it with so many bits of weights and of what they are multiplied with."""
        ...


def conv_norm(
    build: GraphBuilder,
    name: str,
    source: str,
    out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: str | None = None,
    weight_bits: int | None = None,
) -> str:
    """Append a convolution, its norm and, where one is named, an activation.

    Returns:
        The name of the last value; the primitives are ``name``, ``name_norm`` and ``name_act``.
    """
    value = build.convolution(
        name,
        source,
        out,
        kernel=kernel,
        stride=stride,
        groups=groups,
        bias=bias,
        weight_bits=weight_bits,
    )
    value = build.norm(f"{name}_norm", value)
    return build.activation(f"{name}_act", value, activation) if activation else value


def squeeze_excite(
    build: GraphBuilder,
    source: str,
    middle: int,
    *,
    activation: str = "relu",
    gate: str = "sigmoid",
) -> str:
    """Append squeeze-and-excitation (Hu et al., 2018): one factor a channel from their means.

    Two biased 1x1 convolutions with ``middle`` channels between them; the primitives' names begin
    with ``se_``.
    """
    channels = build.shape_of(source)[0]
    value = build.pool("se_pool", source, "global")
    value = build.convolution("se_reduce", value, middle, kernel=1, bias=True)
    value = build.activation("se_act", value, activation)
    value = build.convolution("se_expand", value, channels, kernel=1, bias=True)
    value = build.activation("se_gate", value, gate)
    return build.multiply("se_scale", source, value)


def scale_channels(channels: int, scale: float) -> int:
    """Return ``channels`` times ``scale``, rounded down.

    Raises:
        InputError: a scale that is no finite number above 0, or that leaves no channel.

    >>> scale_channels(32, 0.8), scale_channels(10, 0.1 * 3)
    (25, 3)
    """
    scale = check_scale("scale", scale)
    # What is an integer may lie just below one in floating point.
    scaled = int(round(channels * scale, 9))
    if scaled < 1:
        raise InputError(
            f"scale={scale} of {channels} channels leaves {scaled}; at least 1 is needed"
        )
    return scaled


def round_channels(
    value: float, divisor: int = 8, *, keep: float = 0.9, minimum: int | None = None
) -> int:
    """Return the multiple of ``divisor`` that is nearest to ``value``, halves up.

    One more where the result would be below ``keep`` times the value, and at least ``minimum``
    (default: ``divisor``); the rule of the MobileNet family.

    >>> round_channels(24 * 1.4), round_channels(11), round_channels(3)
    (32, 16, 8)
    """
    least = divisor if minimum is None else minimum
    rounded = max(least, math.floor(value / divisor + 0.5) * divisor)
    return rounded + divisor if rounded < keep * value else rounded
