"""Plain layers: convolution, pooling, classifier, and what changes nothing."""

from attrs import frozen

from nas_spaces.layers.layer import conv_norm
from nas_spaces.primitives import INPUT, Graph, GraphBuilder, Shape

__all__ = ["Classifier", "Conv", "Identity", "Pool", "Skip", "Zero"]


@frozen
class Conv:
    """Convolution, norm, activation.

    ``groups=None`` means one group a channel (depthwise). ``activation=None`` leaves it linear.
    """

    out: int
    kernel: int = 3
    stride: int = 1
    groups: int | None = 1
    activation: str | None = "relu"
    bias: bool = False

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        conv_norm(
            build,
            "conv",
            INPUT,
            self.out,
            kernel=self.kernel,
            stride=self.stride,
            groups=shape[0] if self.groups is None else self.groups,
            bias=self.bias,
            activation=self.activation,
        )
        return build.graph


@frozen
class Pool:
    """Pooling alone: ``kind`` is ``"max"``, ``"average"`` or ``"global"``."""

    kind: str = "global"
    kernel: int = 3
    stride: int = 1

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        build.pool("pool", INPUT, self.kind, kernel=self.kernel, stride=self.stride)
        return build.graph


@frozen
class Classifier:
    """Mean over all positions, dropout, linear map to ``classes`` logits."""

    classes: int
    bias: bool = True
    dropout: float = 0.0

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        value = build.pool("pool", INPUT, "global")
        if self.dropout:
            value = build.dropout("dropout", value, self.dropout)
        build.linear("linear", value, self.classes, bias=self.bias)
        return build.graph


@frozen
class Identity:
    """The input unchanged: no primitives, no cost."""

    def graph(self, shape: Shape) -> Graph:
        """Return no primitives."""
        return ()


@frozen
class Skip:
    """The input unchanged where it has ``out`` channels and stays as large; else a 1x1 convolution.

    The convolution has a norm and, where one is named, an activation: none in NAS-Bench-Macro, a
    ReLU in the released FBNetV2.
    """

    out: int
    stride: int = 1
    activation: str | None = None

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        if self.stride == 1 and shape[0] == self.out:
            return ()
        build = GraphBuilder(shape)
        conv_norm(build, "conv", INPUT, self.out, stride=self.stride, activation=self.activation)
        return build.graph

    def output(self, shape: Shape) -> Shape:
        """Return what leaves the layer for an input of ``shape``."""
        return (self.out, -(-shape[1] // self.stride), -(-shape[2] // self.stride))


@frozen
class Zero:
    """Zeros in place of the input, at ``stride``."""

    stride: int = 1

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        channels, height, width = shape
        build = GraphBuilder(shape)
        build.zeros("zeros", INPUT, (channels, -(-height // self.stride), -(-width // self.stride)))
        return build.graph
