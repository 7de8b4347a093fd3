"""The operations that layers are made of, with concrete sizes.

A layer describes itself once, as a small graph of primitives. Everything else follows from
that graph: its output shape, each of its costs, its torch module, its weights in a supernet
and its JSON. A primitive reads the values named in ``inputs`` (``"input"`` is what enters the
layer) and writes one value under its own ``name``.
"""

from typing import ClassVar

from attrs import field, frozen

from nas_spaces.checks import check_bits
from nas_spaces.errors import InputError

__all__ = [
    "ACTIVATIONS",
    "INPUT",
    "Activation",
    "Add",
    "Concatenate",
    "Convolution",
    "Dropout",
    "Graph",
    "GraphBuilder",
    "Linear",
    "Multiply",
    "Norm",
    "Pool",
    "Primitive",
    "Quantise",
    "Select",
    "Shape",
    "Shuffle",
    "SplitSoftmax",
    "SplitSum",
    "Zeros",
    "output_shape",
]

Shape = tuple[int, int, int]
"""Channels, height and width of one image's activations; a vector has height and width 1."""

INPUT = "input"


@frozen
class Convolution:
    """Two-dimensional convolution with a square kernel, padded by ``kernel // 2``.

    ``weight``: ``[out_channels, in_channels // groups, kernel, kernel]``. ``weight_bits``: how many
    bits its weights are quantised to (see `nas_spaces.torch.quantise.dorefa`). ``input_bits``:
    those of its input, where that is the value of a `Quantise`. None: full precision.
    """

    name: str
    inputs: tuple[str, ...]
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    bias: bool
    shape: Shape
    weight_bits: int | None = None
    input_bits: int | None = None

    weighted: ClassVar[bool] = True


@frozen
class Linear:
    """Matrix product of the flattened input; ``weight``: ``[out_features, in_features]``."""

    name: str
    inputs: tuple[str, ...]
    in_features: int
    out_features: int
    bias: bool
    shape: Shape

    weighted: ClassVar[bool] = True


@frozen
class Norm:
    """Batch normalisation with one scale and one shift a channel."""

    name: str
    inputs: tuple[str, ...]
    channels: int
    shape: Shape

    weighted: ClassVar[bool] = True


@frozen
class Activation:
    """Element-wise non-linearity ``kind``, one of `ACTIVATIONS`."""

    name: str
    inputs: tuple[str, ...]
    kind: str
    shape: Shape

    weighted: ClassVar[bool] = False


ACTIVATIONS = ("relu", "relu6", "hswish", "swish", "sigmoid", "hsigmoid")


@frozen
class Quantise:
    """Quantiser of non-negative activations, in place of a ReLU (Choi et al., PACT, 2018).

    Clips to ``[0, alpha]`` and rounds to ``2^bits`` levels. ``alpha`` is one trainable number,
    another one for each number of bits.
    """

    name: str
    inputs: tuple[str, ...]
    bits: int
    shape: Shape

    weighted: ClassVar[bool] = True


@frozen
class Pool:
    """Pooling: ``kind`` is ``"max"``, ``"average"`` or ``"global"`` (mean of all positions).

    Padded by ``(kernel - 1) // 2``; an average counts what is inside the image only.
    """

    name: str
    inputs: tuple[str, ...]
    kind: str
    kernel: int
    stride: int
    in_shape: Shape
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class Add:
    """Sum of equally shaped inputs."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class Multiply:
    """Product of the first input with a second one that holds one factor a channel."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class Concatenate:
    """Inputs side by side along the channels."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class Select:
    """Channels ``start, start + step, ...`` of the input."""

    name: str
    inputs: tuple[str, ...]
    start: int
    step: int
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class Shuffle:
    """Channels in another order: ``groups`` of neighbours become every ``groups``-th channel.

    Channel ``g * n + i`` moves to ``i * groups + g``, ``n`` channels a group (Zhang et al.,
    ShuffleNet, 2018).
    """

    name: str
    inputs: tuple[str, ...]
    groups: int
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class SplitSum:
    """Sum of every ``splits`` neighbouring channels, of which one remains."""

    name: str
    inputs: tuple[str, ...]
    splits: int
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class SplitSoftmax:
    """Softmax over every ``splits`` neighbouring channels, at each position."""

    name: str
    inputs: tuple[str, ...]
    splits: int
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class Dropout:
    """Random zeroing of elements in training; nothing in evaluation."""

    name: str
    inputs: tuple[str, ...]
    rate: float
    shape: Shape

    weighted: ClassVar[bool] = False


@frozen
class Zeros:
    """Zeros in place of the input."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape

    weighted: ClassVar[bool] = False


Primitive = (
    Convolution
    | Linear
    | Norm
    | Activation
    | Quantise
    | Pool
    | Add
    | Multiply
    | Concatenate
    | Select
    | Shuffle
    | SplitSoftmax
    | SplitSum
    | Dropout
    | Zeros
)

Graph = tuple[Primitive, ...]
"""Primitives in order of execution; the last one's value leaves the layer (the input, if none)."""


def output_shape(graph: Graph, shape: Shape) -> Shape:
    """Return what leaves a layer of this ``graph`` when ``shape`` enters it."""
    return graph[-1].shape if graph else shape


@frozen
class GraphBuilder:
    """Collects primitives, working out sizes; every method returns the new value's name.

    >>> build = GraphBuilder((3, 8, 8))
    >>> build.convolution("conv", "input", 16, kernel=3, stride=2)
    'conv'
    >>> build.graph[0].shape
    (16, 4, 4)
    """

    shape: Shape
    nodes: list[Primitive] = field(factory=list, init=False)
    _named: dict[str, Primitive] = field(factory=dict, init=False, repr=False, eq=False)

    @property
    def graph(self) -> Graph:
        """The primitives so far."""
        return tuple(self.nodes)

    def shape_of(self, name: str) -> Shape:
        """Return the shape of the value ``name``."""
        if name == INPUT:
            return self.shape
        node = self._named.get(name)
        if node is None:
            raise InputError(f"no value {name!r} in this layer; it has {list(self._named)}")
        return node.shape

    def _append(self, node: Primitive) -> str:
        if node.name == INPUT or node.name in self._named:
            raise InputError(f"the layer has two values named {node.name!r}; names are unique")
        self.nodes.append(node)
        self._named[node.name] = node
        return node.name

    def convolution(
        self,
        name: str,
        source: str,
        out: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        weight_bits: int | None = None,
    ) -> str:
        """Append a convolution; ``groups`` must divide both numbers of channels."""
        if weight_bits is not None:
            weight_bits = check_bits(f"{name!r}: weight_bits", weight_bits)
        channels, height, width = self.shape_of(source)
        _positive(name, out=out, kernel=kernel, stride=stride, groups=groups)
        if channels % groups or out % groups:
            raise InputError(
                f"convolution {name!r}: groups={groups} must divide {channels} and {out} channels"
            )
        if kernel % 2 == 0:
            raise InputError(f"convolution {name!r}: kernel={kernel} must be odd")
        # With padding kernel // 2 an odd kernel gives ceil(size / stride) positions.
        shape = (out, -(-height // stride), -(-width // stride))
        made = self._named.get(source)
        return self._append(
            Convolution(
                name,
                (source,),
                channels,
                out,
                kernel,
                stride,
                groups,
                bias,
                shape,
                weight_bits,
                input_bits=made.bits if isinstance(made, Quantise) else None,
            )
        )

    def linear(self, name: str, source: str, out: int, *, bias: bool = True) -> str:
        """Append a linear map of the flattened value."""
        _positive(name, out=out)
        channels, height, width = self.shape_of(source)
        return self._append(
            Linear(name, (source,), channels * height * width, out, bias, (out, 1, 1))
        )

    def norm(self, name: str, source: str) -> str:
        """Append a batch normalisation."""
        shape = self.shape_of(source)
        return self._append(Norm(name, (source,), shape[0], shape))

    def activation(self, name: str, source: str, kind: str) -> str:
        """Append a non-linearity."""
        if kind not in ACTIVATIONS:
            raise InputError(f"activation {kind!r} is unknown; valid: {', '.join(ACTIVATIONS)}")
        return self._append(Activation(name, (source,), kind, self.shape_of(source)))

    def quantise(self, name: str, source: str, bits: int) -> str:
        """Append a quantiser of activations; convolutions that read it know its ``bits``."""
        bits = check_bits(f"{name!r}: bits", bits)
        return self._append(Quantise(name, (source,), bits, self.shape_of(source)))

    def pool(self, name: str, source: str, kind: str, *, kernel: int = 0, stride: int = 1) -> str:
        """Append a pooling; ``kernel`` is not used by ``kind="global"``."""
        channels, height, width = self.shape_of(source)
        if kind == "global":
            shape = (channels, 1, 1)
        elif kind in ("max", "average"):
            _positive(name, kernel=kernel, stride=stride)
            rest = kernel - 1 - 2 * ((kernel - 1) // 2)
            shape = (channels, (height - rest - 1) // stride + 1, (width - rest - 1) // stride + 1)
            if min(shape) < 1:
                raise InputError(
                    f"pool {name!r}: kernel={kernel} is larger than {height} x {width} positions"
                )
        else:
            raise InputError(f"pool kind {kind!r} is unknown; valid: max, average, global")
        return self._append(
            Pool(name, (source,), kind, kernel, stride, (channels, height, width), shape)
        )

    def add(self, name: str, *sources: str) -> str:
        """Append a sum of equally shaped values."""
        shapes = {self.shape_of(source) for source in sources}
        if len(shapes) != 1:
            raise InputError(f"add {name!r}: the inputs have different shapes {sorted(shapes)}")
        return self._append(Add(name, sources, shapes.pop()))

    def multiply(self, name: str, source: str, factor: str) -> str:
        """Append a product of ``source`` with one ``factor`` a channel."""
        shape = self.shape_of(source)
        if self.shape_of(factor) != (shape[0], 1, 1):
            raise InputError(
                f"multiply {name!r}: the factor has shape {self.shape_of(factor)}, "
                f"expected {(shape[0], 1, 1)}"
            )
        return self._append(Multiply(name, (source, factor), shape))

    def concatenate(self, name: str, *sources: str) -> str:
        """Append a concatenation along the channels."""
        shapes = [self.shape_of(source) for source in sources]
        if len({shape[1:] for shape in shapes}) != 1:
            raise InputError(f"concatenate {name!r}: the inputs have different sizes {shapes}")
        shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        return self._append(Concatenate(name, sources, shape))

    def select(self, name: str, source: str, start: int, step: int) -> str:
        """Append a selection of every ``step``-th channel from ``start`` on."""
        channels, height, width = self.shape_of(source)
        shape = (len(range(start, channels, step)), height, width)
        return self._append(Select(name, (source,), start, step, shape))

    def shuffle(self, name: str, source: str, groups: int) -> str:
        """Append a channel shuffle; ``groups`` must divide the number of channels."""
        shape = self._divided(name, source, groups=groups)
        return self._append(Shuffle(name, (source,), groups, shape))

    def split_sum(self, name: str, source: str, splits: int) -> str:
        """Append the sum over every ``splits`` neighbouring channels."""
        channels, height, width = self._divided(name, source, splits=splits)
        return self._append(SplitSum(name, (source,), splits, (channels // splits, height, width)))

    def split_softmax(self, name: str, source: str, splits: int) -> str:
        """Append a softmax over every ``splits`` neighbouring channels."""
        shape = self._divided(name, source, splits=splits)
        return self._append(SplitSoftmax(name, (source,), splits, shape))

    def _divided(self, name: str, source: str, **by: int) -> Shape:
        shape = self.shape_of(source)
        _positive(name, **by)
        for what, number in by.items():
            if shape[0] % number:
                raise InputError(f"{name!r}: {what}={number} must divide {shape[0]} channels")
        return shape

    def dropout(self, name: str, source: str, rate: float) -> str:
        """Append a dropout."""
        return self._append(Dropout(name, (source,), rate, self.shape_of(source)))

    def zeros(self, name: str, source: str, shape: Shape) -> str:
        """Append zeros of ``shape``."""
        return self._append(Zeros(name, (source,), shape))


def _positive(name: str, **sizes: int) -> None:
    for what, size in sizes.items():
        if size < 1:
            raise InputError(f"{name!r}: {what}={size} must be at least 1")
