"""Residual blocks of two plain convolutions."""

from attrs import evolve, frozen

from nas_spaces.errors import InputError
from nas_spaces.layers.layer import conv_norm, scale_channels
from nas_spaces.primitives import INPUT, Graph, GraphBuilder, Shape

__all__ = ["BasicBlock"]


@frozen
class BasicBlock:
    """Basic block of ResNet (He et al., 2016), in full precision or quantised.

    Two convolutions of size ``kernel``, ``out * scale`` channels (rounded down) between them; the
    shortcut is the input, or its 1x1 convolution where the shape changes; a ReLU behind the sum.

    With ``weight_bits`` and ``input_bits`` (both or neither) all its convolutions are quantised
    (Guo et al., SPOS, 2020, section 4.3). Each reads a quantiser that stands where a ReLU does:
    the quantiser of the block's input, which is what the ReLU of the block before has left, serves
    the first and the 1x1 convolution; the other one replaces the ReLU between the two of size
    ``kernel``. A shortcut without convolution carries the input in full precision.
    """

    out: int
    stride: int = 1
    scale: float = 1.0
    weight_bits: int | None = None
    input_bits: int | None = None
    kernel: int = 3

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        if (self.weight_bits is None) != (self.input_bits is None):
            raise InputError(
                f"BasicBlock weight_bits={self.weight_bits}, input_bits={self.input_bits}; "
                "give both, or neither for full precision"
            )
        build = GraphBuilder(shape)
        middle = scale_channels(self.out, self.scale)
        entering = INPUT
        if self.input_bits is not None:
            entering = build.quantise("quantise1", INPUT, self.input_bits)
        main = conv_norm(
            build,
            "conv1",
            entering,
            middle,
            kernel=self.kernel,
            stride=self.stride,
            activation="relu" if self.input_bits is None else None,
            weight_bits=self.weight_bits,
        )
        if self.input_bits is not None:
            main = build.quantise("quantise2", main, self.input_bits)
        main = conv_norm(
            build, "conv2", main, self.out, kernel=self.kernel, weight_bits=self.weight_bits
        )
        shortcut = INPUT
        if self.stride != 1 or shape[0] != self.out:
            shortcut = conv_norm(
                build,
                "downsample",
                entering,
                self.out,
                stride=self.stride,
                weight_bits=self.weight_bits,
            )
        build.activation("act", build.add("residual", main, shortcut), "relu")
        return build.graph

    def scaled(self, scale: float) -> "BasicBlock":
        """Return the block with ``scale`` times the channels between its two convolutions."""
        return evolve(self, scale=self.scale * scale)

    def quantised(self, weight_bits: int, input_bits: int) -> "BasicBlock":
        """Return the block with so many bits in all its convolutions."""
        return evolve(self, weight_bits=weight_bits, input_bits=input_bits)
