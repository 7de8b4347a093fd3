"""What a layer is, and the pieces that many layers are made of."""

from typing import Protocol, runtime_checkable

from nas_spaces.primitives import Graph, GraphBuilder, Shape

__all__ = ["Layer", "conv_norm"]


@runtime_checkable
class Layer(Protocol):
    """A frozen, hashable record that can say which primitives it is made of."""

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``; InputError where it does not fit."""
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
) -> str:
    """Append a convolution, its norm and, where one is named, an activation.

    Returns:
        The name of the last value; the primitives are ``name``, ``name_norm`` and ``name_act``.
    """
    value = build.convolution(
        name, source, out, kernel=kernel, stride=stride, groups=groups, bias=bias
    )
    value = build.norm(f"{name}_norm", value)
    return build.activation(f"{name}_act", value, activation) if activation else value
