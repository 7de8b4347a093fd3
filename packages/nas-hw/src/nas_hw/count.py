"""What an architecture costs, counted from its primitives."""

from nas_spaces import SearchSpace, Table
from nas_spaces.primitives import Convolution, Linear, Norm, Primitive

__all__ = ["macs", "macs_of", "params", "params_of"]


def macs_of(primitive: Primitive) -> int:
    """Return the multiply-adds of one primitive for one image.

    Convolutions and linear maps count weight elements times output positions; biases, norms,
    activations, pooling and additions count nothing. Papers that say "FLOPs" mean this number.
    """
    if isinstance(primitive, Convolution):
        _, height, width = primitive.shape
        return _weights(primitive) * height * width
    if isinstance(primitive, Linear):
        return primitive.in_features * primitive.out_features
    return 0


def params_of(primitive: Primitive) -> int:
    """Return the trainable elements of one primitive, norms and biases included."""
    if isinstance(primitive, Convolution):
        return _weights(primitive) + primitive.bias * primitive.out_channels
    if isinstance(primitive, Linear):
        return (primitive.in_features + primitive.bias) * primitive.out_features
    if isinstance(primitive, Norm):
        return 2 * primitive.channels
    return 0


def _weights(convolution: Convolution) -> int:
    per_output = convolution.in_channels // convolution.groups * convolution.kernel**2
    return convolution.out_channels * per_output


def macs(space: SearchSpace) -> Table:
    """Return multiply-adds for one image as a table of ``space``.

    >>> from nas_spaces import published
    >>> space, arch = published.architecture("spos-readme")
    >>> macs(space)([arch])
    array([322918720])
    """
    return Table.from_primitives(space, "macs", "multiply-adds", macs_of)


def params(space: SearchSpace) -> Table:
    """Return trainable parameters of the stand-alone network as a table of ``space``.

    >>> from nas_spaces import published
    >>> space, arch = published.architecture("spos-readme")
    >>> params(space)([arch])
    array([3558464])
    """
    return Table.from_primitives(space, "params", "parameters", params_of)
