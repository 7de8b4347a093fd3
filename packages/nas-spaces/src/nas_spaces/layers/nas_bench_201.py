"""Layers of NAS-Bench-201 that norm before they activate: Dong & Yang, ICLR 2020."""

from attrs import frozen

from nas_spaces.primitives import INPUT, Graph, GraphBuilder, Shape

__all__ = ["NormRelu", "ReluConvNorm", "ResidualDown"]


@frozen
class ReluConvNorm:
    """ReLU, convolution without bias, norm: the convolutions of a cell."""

    out: int
    kernel: int = 3
    stride: int = 1

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        _relu_conv_norm(build, "conv", INPUT, self.out, self.kernel, self.stride)
        return build.graph


@frozen
class ResidualDown:
    """Residual block between two stages: half the positions, ``out`` channels.

    Two ReLU-convolution-norms with kernel 3, the first at stride 2; beside them an average over
    2x2 positions and a 1x1 convolution without norm. Height and width are even.
    """

    out: int

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        main = _relu_conv_norm(build, "conv_a", INPUT, self.out, 3, 2)
        main = _relu_conv_norm(build, "conv_b", main, self.out, 3, 1)
        shortcut = build.pool("shortcut_pool", INPUT, "average", kernel=2, stride=2)
        shortcut = build.convolution("shortcut", shortcut, self.out, kernel=1)
        build.add("residual", shortcut, main)
        return build.graph


@frozen
class NormRelu:
    """Norm and ReLU, which close a network of blocks that begin with a ReLU."""

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        build.activation("act", build.norm("norm", INPUT), "relu")
        return build.graph


def _relu_conv_norm(
    build: GraphBuilder, name: str, source: str, out: int, kernel: int, stride: int
) -> str:
    value = build.activation(f"{name}_act", source, "relu")
    value = build.convolution(name, value, out, kernel=kernel, stride=stride)
    return build.norm(f"{name}_norm", value)
