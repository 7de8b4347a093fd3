"""Inverted residual blocks, and the head of MobileNetV3."""

from typing import Literal

from attrs import evolve, frozen

from nas_spaces.checks import check_scale
from nas_spaces.errors import InputError
from nas_spaces.layers.layer import conv_norm, round_channels, scale_channels, squeeze_excite
from nas_spaces.primitives import ACTIVATIONS, INPUT, Graph, GraphBuilder, Shape

__all__ = ["HiddenClassifier", "MBConv", "SqueezeExcite"]


@frozen
class SqueezeExcite:
    """Squeeze-and-excitation of an inverted residual block, after its depthwise convolution.

    Two biased 1x1 convolutions (Hu et al., 2018). Between them are ``ratio`` times the channels
    that ``of`` names, ``"hidden"`` (those that the depthwise convolution has) or ``"input"``
    (those that enter the block), rounded to ``divisor`` and at least ``minimum`` (default:
    ``divisor``), see `round_channels`.
    """

    ratio: float = 0.25
    of: Literal["hidden", "input"] = "hidden"
    divisor: int = 1
    minimum: int | None = None
    activation: str = "relu"
    gate: str = "sigmoid"

    def __attrs_post_init__(self) -> None:
        if self.of not in ("hidden", "input"):
            raise InputError(f"SqueezeExcite of={self.of!r} is unknown; valid: hidden, input")
        if not self.ratio > 0:
            raise InputError(
                f"SqueezeExcite ratio={self.ratio} must be positive; for none leave it out"
            )
        least = self.divisor if self.minimum is None else self.minimum
        _at_least_one("SqueezeExcite", divisor=self.divisor, minimum=least)
        _known("SqueezeExcite activation", self.activation)
        _known("SqueezeExcite gate", self.gate)

    def middle(self, entering: int, hidden: int) -> int:
        """Return the channels between the two convolutions.

        >>> SqueezeExcite(0.25, minimum=8).middle(16, 48)
        12
        >>> SqueezeExcite(0.25, of="input").middle(16, 48)
        4
        """
        width = hidden if self.of == "hidden" else entering
        return round_channels(self.ratio * width, self.divisor, minimum=self.minimum)


@frozen
class MBConv:
    """Inverted residual block (Sandler et al., MobileNetV2, 2018).

    1x1 expansion to ``round(in * expand)`` channels, times ``scale`` and rounded down (none where
    ``expand`` is 1: then there are no channels of its own, and ``scale`` must be 1), depthwise
    ``kernel``, squeeze-and-excitation where ``se`` describes one, linear 1x1 projection to
    ``out``; the input is added where the shape is kept, unless ``residual`` is False.

    Raises:
        InputError: a size below 1, an even kernel, or an unknown activation.
    """

    out: int
    kernel: int
    stride: int = 1
    expand: float = 6
    activation: str = "relu6"
    residual: bool = True
    se: SqueezeExcite | None = None
    scale: float = 1.0

    def __attrs_post_init__(self) -> None:
        # Checked here, as `output` answers without the graph that would find them.
        _at_least_one("MBConv", out=self.out, kernel=self.kernel, stride=self.stride)
        if self.kernel % 2 == 0:
            raise InputError(f"MBConv kernel={self.kernel} must be odd")
        if not self.expand > 0:
            raise InputError(f"MBConv expand={self.expand} must be positive")
        check_scale("MBConv scale", self.scale)
        if self.expand == 1 and self.scale != 1:
            raise InputError(f"MBConv scale={self.scale}: without expansion it must be 1")
        _known("MBConv activation", self.activation)

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        hidden = scale_channels(round(shape[0] * self.expand), self.scale)
        value = INPUT
        if self.expand != 1:
            value = conv_norm(build, "expand", value, hidden, activation=self.activation)
        value = conv_norm(
            build,
            "depthwise",
            value,
            hidden,
            kernel=self.kernel,
            stride=self.stride,
            groups=hidden,
            activation=self.activation,
        )
        if self.se is not None:
            value = squeeze_excite(
                build,
                value,
                self.se.middle(shape[0], hidden),
                activation=self.se.activation,
                gate=self.se.gate,
            )
        value = conv_norm(build, "project", value, self.out)
        if self.residual and self.stride == 1 and shape[0] == self.out:
            build.add("residual", INPUT, value)
        return build.graph

    def output(self, shape: Shape) -> Shape:
        """Return what leaves the layer for an input of ``shape``."""
        return (self.out, -(-shape[1] // self.stride), -(-shape[2] // self.stride))

    def scaled(self, scale: float) -> "MBConv":
        """Return the layer with ``scale`` times the channels between its 1x1 convolutions."""
        return self if self.expand == 1 else evolve(self, scale=self.scale * scale)


@frozen
class HiddenClassifier:
    """Mean over all positions, linear map to ``hidden``, activation, dropout, linear map to logits.

    The head of MobileNetV3 (Howard et al., 2019), without a norm; both maps have a bias.
    """

    classes: int
    hidden: int
    activation: str = "hswish"
    dropout: float = 0.0

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        value = build.pool("pool", INPUT, "global")
        value = build.linear("hidden", value, self.hidden)
        value = build.activation("hidden_act", value, self.activation)
        if self.dropout:
            value = build.dropout("dropout", value, self.dropout)
        build.linear("linear", value, self.classes)
        return build.graph


def _at_least_one(what: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{what} {name}={size} must be at least 1")


def _known(what: str, activation: str) -> None:
    if activation not in ACTIVATIONS:
        raise InputError(f"{what}={activation!r} is unknown; valid: {', '.join(ACTIVATIONS)}")
