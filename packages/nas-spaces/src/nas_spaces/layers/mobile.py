"""Inverted residual blocks."""

from attrs import frozen

from nas_spaces.layers.layer import conv_norm
from nas_spaces.primitives import INPUT, Graph, GraphBuilder, Shape

__all__ = ["MBConv"]


@frozen
class MBConv:
    """Inverted residual block (Sandler et al., MobileNetV2, 2018).

    1x1 expansion to ``round(in * expand)`` channels (none where ``expand`` is 1), depthwise
    ``kernel``, linear 1x1 projection to ``out``; the input is added where the shape is kept.
    """

    out: int
    kernel: int
    stride: int = 1
    expand: float = 6
    activation: str = "relu6"
    residual: bool = True

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        hidden = round(shape[0] * self.expand)
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
        value = conv_norm(build, "project", value, self.out)
        if self.residual and self.stride == 1 and shape[0] == self.out:
            build.add("residual", INPUT, value)
        return build.graph
