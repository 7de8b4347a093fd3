"""Blocks of FBNet, FBNetV2 and FP-NAS."""

from attrs import frozen

from nas_spaces.errors import InputError
from nas_spaces.layers.layer import conv_norm, round_channels, squeeze_excite
from nas_spaces.primitives import INPUT, Graph, GraphBuilder, Shape

__all__ = ["FBNetBlock", "PooledConv", "SplitMBConv"]

# FBNetV2's widths: multiples of 8, the next one where the nearest would lose more than 5 %.
KEEP = 0.95


@frozen
class FBNetBlock:
    """Inverted residual block of FBNet (Wu et al., 2019), as released.

    1x1 expansion to ``in * expand`` channels (none where that changes nothing), depthwise
    ``kernel``, linear 1x1 projection to ``out``; the input is added where the shape is kept. Every
    convolution has a bias and a norm. With ``groups`` above 1 the 1x1 convolutions are grouped,
    and the channels are shuffled before the depthwise convolution.
    """

    out: int
    kernel: int
    stride: int = 1
    expand: int = 6
    groups: int = 1
    activation: str = "relu"

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        hidden = shape[0] * self.expand
        value = INPUT
        if hidden != shape[0]:
            value = conv_norm(
                build,
                "expand",
                value,
                hidden,
                groups=self.groups,
                bias=True,
                activation=self.activation,
            )
        if self.groups > 1:
            value = build.shuffle("shuffle", value, self.groups)
        value = conv_norm(
            build,
            "depthwise",
            value,
            hidden,
            kernel=self.kernel,
            stride=self.stride,
            groups=hidden,
            bias=True,
            activation=self.activation,
        )
        value = conv_norm(build, "project", value, self.out, groups=self.groups, bias=True)
        if self.stride == 1 and shape[0] == self.out:
            build.add("residual", INPUT, value)
        return build.graph


@frozen
class SplitMBConv:
    """Inverted residual block of FBNetV2 (Wan et al., 2020), with FP-NAS's split attention.

    1x1 expansion to ``in * expand`` channels rounded to a multiple of 8 (none where that changes
    nothing), depthwise ``kernel``, attention, linear 1x1 projection to ``out``; the input is added
    where the shape is kept. ``splits`` says which attention:

    - 0: none.
    - 1: squeeze-and-excitation with a quarter of the channels and the non-linearity ``gate``; its
      inner activation is the block's.
    - R > 1: split attention (Zhang et al., ResNeSt, 2020; Yan et al., FP-NAS, 2021). The depthwise
      convolution gives R maps a channel, of which the block passes on a weighted sum: the
      weights are a softmax over the R, worked out from the means of their sums by two 1x1
      convolutions with ``max(hidden * R // 4, 32)`` channels between them. The maps of a channel
      are neighbours, so that the first channels of a wide block are those of a narrow one.
    """

    out: int
    kernel: int
    stride: int = 1
    expand: float = 6
    activation: str = "hswish"
    splits: int = 0
    gate: str = "sigmoid"

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        if self.splits < 0:
            raise InputError(f"SplitMBConv splits={self.splits}; valid: 0 (none), 1, 2, ...")
        build = GraphBuilder(shape)
        hidden = round_channels(shape[0] * self.expand, keep=KEEP)
        value = INPUT
        if hidden != shape[0]:
            value = conv_norm(build, "expand", value, hidden, activation=self.activation)
        value = conv_norm(
            build,
            "depthwise",
            value,
            hidden * max(self.splits, 1),
            kernel=self.kernel,
            stride=self.stride,
            groups=hidden,
            activation=self.activation,
        )
        if self.splits == 1:
            middle = round_channels(hidden / 4, keep=KEEP)
            value = squeeze_excite(build, value, middle, activation=self.activation, gate=self.gate)
        elif self.splits > 1:
            value = _split_attention(build, value, self.splits)
        value = conv_norm(build, "project", value, self.out)
        if self.stride == 1 and shape[0] == self.out:
            build.add("residual", INPUT, value)
        return build.graph

    def output(self, shape: Shape) -> Shape:
        """Return what leaves the layer for an input of ``shape``."""
        return (self.out, -(-shape[1] // self.stride), -(-shape[2] // self.stride))


def _split_attention(build: GraphBuilder, source: str, splits: int) -> str:
    """Append split attention over every ``splits`` neighbouring channels; one of them remains."""
    channels = build.shape_of(source)[0]
    middle = max(channels // 4, 32)
    value = build.split_sum("split_sum", source, splits)
    value = build.pool("split_pool", value, "global")
    value = conv_norm(build, "split_reduce", value, middle, bias=True, activation="relu")
    value = build.convolution("split_expand", value, channels, kernel=1, bias=True)
    value = build.split_softmax("split_softmax", value, splits)
    value = build.multiply("split_scale", source, value)
    return build.split_sum("split_merge", value, splits)


@frozen
class PooledConv:
    """FBNetV2's last layer: 1x1 to ``in * expand``, mean over all positions, 1x1 to ``out``.

    The second convolution has neither a norm nor a bias; both are followed by ``activation``.
    """

    out: int
    expand: int = 6
    activation: str = "hswish"

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        hidden = round_channels(shape[0] * self.expand, keep=KEEP)
        value = conv_norm(build, "expand", INPUT, hidden, activation=self.activation)
        value = build.pool("pool", value, "global")
        value = build.convolution("conv", value, self.out, kernel=1)
        build.activation("act", value, self.activation)
        return build.graph
