"""The picture of an architecture: one box a block."""

import math

import attrs
from attrs import frozen
from numpy.typing import ArrayLike

from nas_cli.space_names import bits_text
from nas_hw.count import bitops_of, macs_of, params_of
from nas_spaces import SearchSpace
from nas_spaces.primitives import Convolution, Pool

__all__ = ["DrawnLayer", "draw"]


@frozen
class DrawnLayer:
    """One box of the picture.

    ``title``: layer and kernel. ``details``: what else its record says. ``shape``: (channels,
    height, width) that leaves it. ``macs``, ``bitops``, ``params``: of this layer. ``share``: of
    the network's BitOPs where it has any, of its MACs else, in [0, 1]. ``kernel``: the largest, 0
    where there is none. ``searched``: False for layers that no choice decides. ``sources``: blocks
    that it sums where these are not just the one before. ``side``, ``depth``: of the drawn box, in
    its own units (at most 34 and 18).
    """

    block: str
    title: str
    details: tuple[str, ...]
    shape: tuple[int, int, int]
    macs: int
    bitops: int
    params: int
    share: float
    kernel: int
    searched: bool
    sources: tuple[str, ...]
    side: float
    depth: float


# Fields of layer records that the box shows in another way, or that hardly tell candidates apart.
SHOWN_ELSEWHERE = {
    *("out", "classes", "kernel", "activation", "residual", "bias", "dropout"),
    *("weight_bits", "input_bits"),
}


def draw(space: SearchSpace, arch: ArrayLike) -> list[DrawnLayer]:
    """Return the boxes of one architecture ``[d]``, in order.

    >>> from nas_spaces import published
    >>> boxes = draw(published.load("nas-bench-macro"), [2, 0, 1, 1, 1, 1, 1, 1])
    >>> boxes[1].title, boxes[1].details, boxes[1].shape
    ('MBConv 5x5', ('stride 2', 'expand 6'), (64, 16, 16))
    """
    placed = space.layers(arch)
    macs = [sum(macs_of(primitive) for primitive in one.graph) for one in placed]
    bitops = [sum(bitops_of(primitive) for primitive in one.graph) for one in placed]
    shared = bitops if any(bitops) else macs
    largest = max(max(one.out_shape[1:]) for one in placed)
    largest = max(largest, *space.input_shape[1:])
    deepest = max(one.out_shape[0] for one in placed)
    boxes = []
    for number, (block, one) in enumerate(zip(space.blocks, placed, strict=True)):
        kernel = max(
            (
                primitive.kernel
                for primitive in one.graph
                if isinstance(primitive, Convolution | Pool)
            ),
            default=0,
        )
        name = type(one.layer).__name__
        boxes.append(
            DrawnLayer(
                block.name,
                f"{name} {kernel}x{kernel}" if kernel else name,
                _details(one.layer),
                one.out_shape,
                macs[number],
                bitops[number],
                sum(params_of(primitive) for primitive in one.graph),
                shared[number] / max(1, sum(shared)),
                kernel,
                bool(block.reads),
                block.inputs or (),
                # Square roots and logarithms: 224 and 1 pixels, 3 and 1280 channels fit one page.
                side=6 + 28 * math.sqrt(max(one.out_shape[1:]) / largest),
                depth=2 + 16 * math.log(one.out_shape[0] + 1) / math.log(deepest + 1),
            )
        )
    return boxes


def _details(layer: object) -> tuple[str, ...]:
    kind = type(layer)
    if not attrs.has(kind):
        return ()
    weights, inputs = getattr(layer, "weight_bits", None), getattr(layer, "input_bits", None)
    details = [] if weights is None or inputs is None else [bits_text(weights, inputs)]
    for field in attrs.fields(kind):
        value = getattr(layer, field.name)
        plain = field.name == "stride" and value == 1
        default = field.name != "expand" and value == field.default
        if field.name not in SHOWN_ELSEWHERE and not plain and not default:
            details.append(f"{field.name} {_value(value)}")
    return tuple(details)


def _value(value: object) -> str:
    """Return a field's value; of a record in it, such as squeeze and excite, its first field."""
    kind = type(value)
    if attrs.has(kind):
        first = attrs.fields(kind)[0]
        return f"{first.name} {_value(getattr(value, first.name))}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if number else str(value)
