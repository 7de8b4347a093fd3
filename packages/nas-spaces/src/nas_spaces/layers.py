"""Layer records: what a block can be, as frozen data.

A layer says what it does to a shape by :meth:`Layer.graph`, once; shapes, costs, torch modules,
weight sharing and JSON follow from that. To add a layer, write a frozen class with a ``graph``
method here and name it in `LAYERS`.
"""

from typing import Protocol, runtime_checkable

from attrs import frozen

from nas_spaces.errors import InputError
from nas_spaces.primitives import INPUT, Graph, GraphBuilder, Shape

__all__ = [
    "LAYERS",
    "Classifier",
    "Conv",
    "Identity",
    "Layer",
    "MBConv",
    "Pool",
    "ShuffleUnit",
    "Zero",
]


@runtime_checkable
class Layer(Protocol):
    """A frozen, hashable record that can say which primitives it is made of."""

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``; InputError where it does not fit."""
        ...


def _conv_norm(
    build: GraphBuilder,
    name: str,
    source: str,
    out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: str | None = None,
) -> str:
    value = build.convolution(name, source, out, kernel=kernel, stride=stride, groups=groups)
    value = build.norm(f"{name}_norm", value)
    return build.activation(f"{name}_act", value, activation) if activation else value


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

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        build = GraphBuilder(shape)
        _conv_norm(
            build,
            "conv",
            INPUT,
            self.out,
            kernel=self.kernel,
            stride=self.stride,
            groups=shape[0] if self.groups is None else self.groups,
            activation=self.activation,
        )
        return build.graph


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
            value = _conv_norm(build, "expand", value, hidden, activation=self.activation)
        value = _conv_norm(
            build,
            "depthwise",
            value,
            hidden,
            kernel=self.kernel,
            stride=self.stride,
            groups=hidden,
            activation=self.activation,
        )
        value = _conv_norm(build, "project", value, self.out)
        if self.residual and self.stride == 1 and shape[0] == self.out:
            build.add("residual", INPUT, value)
        return build.graph


@frozen
class ShuffleUnit:
    """ShuffleNetV2 unit of SPOS's block search space (Guo et al., 2020, appendix and code).

    ``kind="k"``: 1x1, depthwise ``kernel``, 1x1. ``kind="x"`` (Xception-like): three depthwise
    3x3 convolutions, each followed by a 1x1; ``kernel`` must be 3. At stride 1 the channels are
    shuffled first: the even ones pass, the odd ones enter the main branch. At stride 2 all
    channels enter both the main branch and a projection branch. The middle of the main branch
    has ``int(out // 2 * scale)`` channels.
    """

    out: int
    kernel: int
    stride: int = 1
    kind: str = "k"
    scale: float = 1.0

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        channels = shape[0]
        if self.kind not in ("k", "x"):
            raise InputError(f"ShuffleUnit kind={self.kind!r} is unknown; valid: k, x")
        if self.kind == "x" and self.kernel != 3:
            raise InputError(f"ShuffleUnit kind='x' has kernel 3; received kernel={self.kernel}")
        if self.stride == 1 and (channels % 4 or channels != self.out):
            raise InputError(
                f"ShuffleUnit at stride 1 keeps a number of channels divisible by 4; "
                f"received {channels} -> {self.out}"
            )
        if self.stride not in (1, 2):
            raise InputError(f"ShuffleUnit stride={self.stride}; valid: 1, 2")
        build = GraphBuilder(shape)
        if self.stride == 1:
            passed = build.select("pass", INPUT, 0, 2)
            main = build.select("enter", INPUT, 1, 2)
        else:
            passed = _conv_norm(
                build,
                "proj_dw",
                INPUT,
                channels,
                kernel=self.kernel,
                stride=2,
                groups=channels,
            )
            passed = _conv_norm(build, "proj_pw", passed, channels, activation="relu")
            main = INPUT
        entering = channels // 2 if self.stride == 1 else channels
        leaving = self.out - entering
        middle = int((self.out // 2) * self.scale)
        if self.kind == "k":
            main = _conv_norm(build, "pw1", main, middle, activation="relu")
            main = _conv_norm(
                build, "dw", main, middle, kernel=self.kernel, stride=self.stride, groups=middle
            )
            main = _conv_norm(build, "pw2", main, leaving, activation="relu")
        else:
            main = _conv_norm(
                build, "dw1", main, entering, kernel=3, stride=self.stride, groups=entering
            )
            main = _conv_norm(build, "pw1", main, middle, activation="relu")
            main = _conv_norm(build, "dw2", main, middle, kernel=3, groups=middle)
            main = _conv_norm(build, "pw2", main, middle, activation="relu")
            main = _conv_norm(build, "dw3", main, middle, kernel=3, groups=middle)
            main = _conv_norm(build, "pw3", main, leaving, activation="relu")
        build.concatenate("join", passed, main)
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
class Zero:
    """Zeros in place of the input, at ``stride``."""

    stride: int = 1

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        channels, height, width = shape
        build = GraphBuilder(shape)
        build.zeros("zeros", INPUT, (channels, -(-height // self.stride), -(-width // self.stride)))
        return build.graph


LAYERS: dict[str, type] = {
    cls.__name__: cls for cls in (Classifier, Conv, Identity, MBConv, Pool, ShuffleUnit, Zero)
}
"""The layer records that JSON can name."""
