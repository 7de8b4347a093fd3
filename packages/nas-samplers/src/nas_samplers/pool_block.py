"""Blocks of trained networks: what they are looked up by, and what they give to others.

Liu et al., "FNAS: Uncertainty-Aware Fast Neural Architecture Search" (2021), architecture
knowledge pool: a block's key is the one-hot code of its tokens.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from attrs import frozen
from torch import Tensor, nn

from nas_spaces import InputError, PlacedLayer, SearchSpace
from nas_spaces.primitives import INPUT, Convolution, Graph, Linear, Pool, Shape, Zeros
from nas_spaces.spelled import Spelled, read_variant
from nas_spaces.torch import LayerModule, Network
from nas_spaces.torch.inherit import corresponding_part

__all__ = ["BlockKey", "PoolBlock", "block_keys", "block_shapes", "block_tensors", "values_for"]

# Token that no layer record can have as a field: no identifier of Python holds a space.
PLACE = "place in network"


def _sorted(tokens: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _canonical(tokens[name])) for name in sorted(tokens))


@frozen
class BlockKey:
    """What a block is looked up by.

    ``shape``: input channels, output channels, stride. Only blocks of one shape are compared. The
    stride is 0 where the block averages all positions away or flattens them, so that a head is the
    same at every resolution.

    ``tokens``: pairs of a name and a value as JSON text, sorted by name. They are the layer record:
    its class as ``"layer"``, and each of its fields (a nested record, such as
    squeeze-and-excitation, is one token, as in the papers' spaces). One more is the place: how many
    blocks of the same shape the network has before. Without it the equal layers of a stage would
    have one key, and all of them would get the weights of the last.

    >>> import torch
    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile")
    >>> one, other = (block_keys(space.fix([option] * 8))["stage1_1"] for option in (0, 2))
    >>> one.shape  # kernel 3 and 5
    (12, 12, 1)
    >>> round(one.similarity(other), 3)  # 9 of 10 tokens agree
    0.9
    """

    shape: tuple[int, int, int]
    tokens: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, placed: PlacedLayer, place: int) -> "BlockKey":
        """Return the key of a layer at its ``place``.

        Raises:
            InputError: a layer that is no attrs record, so that it has no fields.
        """
        tokens = {**_fields(placed), PLACE: place}
        return cls(_shape(placed.graph, placed.in_shape, placed.out_shape), _sorted(tokens))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "BlockKey":
        """Return the key that `to_json` was called on."""
        entering, leaving, stride = (int(size) for size in value["shape"])
        return cls((entering, leaving, stride), _sorted(value["tokens"]))

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        tokens = {name: json.loads(value) for name, value in self.tokens}
        return {"shape": list(self.shape), "tokens": tokens}

    def similarity(self, other: "BlockKey") -> float:
        """Return the cosine of the keys' one-hot codes, in [0, 1].

        Of keys with F tokens, j of which agree, it is j / F (specification of FNAS's pool); of
        layers of different classes, which have different fields, j / sqrt(F1 * F2).
        """
        agreeing = len(set(self.tokens) & set(other.tokens))
        return agreeing / math.sqrt(len(self.tokens) * len(other.tokens))

    def __str__(self) -> str:
        """Return the key on one line, such as ``12 -> 12, stride 1: expand=3, kernel=5, ...``."""
        entering, leaving, stride = self.shape
        tokens = ", ".join(f"{name}={value}" for name, value in self.tokens)
        return f"{entering} -> {leaving}, stride {stride}: {tokens}"


def block_keys(space: SearchSpace) -> dict[str, BlockKey]:
    """Return the keys of the blocks of a network by their names, those without weights left out.

    Args:
        space: a space with no choice, see `SearchSpace.fix`.

    Raises:
        InputError: a layer that is no attrs record.
    """
    places: Counter[tuple[int, int, int]] = Counter()
    keys = {}
    for placed in space.layers(()):
        shape = _shape(placed.graph, placed.in_shape, placed.out_shape)
        # Blocks without weights count: what is behind an identity stays at its place.
        if any(node.weighted for node in placed.graph):
            keys[placed.block] = BlockKey.of(placed, places[shape])
        places[shape] += 1
    return keys


def block_shapes(space: SearchSpace) -> frozenset[tuple[int, int, int]]:
    """Return the shapes (see `BlockKey`) of all blocks with weights that networks can have."""
    shapes = set()
    for index, plan in enumerate(space.plan):
        for combination, ends in enumerate(zip(plan.in_shapes, plan.out_shapes, strict=True)):
            graph = space.graph(index, combination)
            if any(node.weighted for node in graph):
                shapes.add(_shape(graph, *ends))
    return frozenset(shapes)


@frozen(eq=False)
class PoolBlock:
    """A block of a trained network, on the CPU.

    ``key``: what it is looked up by. ``task``, ``space``, ``name``: where it comes from: what it
    was trained on, its space, and its name there. ``spelled``: its primitives as JSON values, as
    ``docs/json-format.md`` of nas-spaces describes a variant. ``tensors``: weights and statistics
    of norms by ``"PRIMITIVE.KEY"``. ``graph``, ``sizes``: the primitives, and the block's module
    without memory.
    """

    key: BlockKey
    task: str
    space: str
    name: str
    spelled: dict[str, Any]
    tensors: dict[str, Tensor]
    graph: Graph
    sizes: LayerModule

    @classmethod
    def of(
        cls,
        key: BlockKey,
        spelled: dict[str, Any],
        tensors: dict[str, Tensor],
        *,
        task: str,
        space: str,
        name: str,
    ) -> "PoolBlock":
        """Return a block whose parts belong together.

        Names of tensors in ``spelled``, which are those of one file, are left out.

        Raises:
            InputError: tensors of other names or shapes than the primitives have, or that are not
                finite; or a key of another shape.
        """
        spelled = _without_names(spelled)
        shape, graph = read_variant(spelled)
        with torch.device("meta"):
            sizes = LayerModule([graph])
        wrong = _wrong_tensor(sizes, tensors)
        if wrong:
            raise InputError(f"block {name!r}: {wrong}")
        found = _shape(graph, shape, graph[-1].shape)
        if found != key.shape:
            raise InputError(
                f"block {name!r}: its key says the shape {key.shape}, its primitives have {found}"
            )
        # In one order, so that the same block always gives the same file.
        ordered = {tensor: tensors[tensor] for tensor in sorted(tensors)}
        return cls(key, task, space, name, spelled, ordered, graph, sizes)


def _without_names(variant: Mapping[str, Any]) -> dict[str, Any]:
    nodes = [{k: v for k, v in node.items() if k != "tensors"} for node in variant["primitives"]]
    return {"in_shape": variant["in_shape"], "primitives": nodes}


def block_tensors(network: Network, name: str) -> dict[str, Tensor]:
    """Return a copy of the tensors of a network's block, on the CPU."""
    return {
        key: x.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, x in network.blocks[name].state_dict().items()
    }


def _wrong_tensor(sizes: LayerModule, tensors: Mapping[str, Tensor]) -> str | None:
    """Return in words what does not fit of a block's ``tensors``; None where all do."""
    expected: dict[str, Tensor] = sizes.state_dict()
    for name in dict.fromkeys([*expected, *tensors]):
        if name not in tensors:
            return f"there is no tensor {name}"
        if name not in expected:
            return f"a tensor {name} that the block does not have"
        x, wanted = tensors[name], expected[name]
        if x.shape != wanted.shape:
            return f"{name} has the shape {tuple(x.shape)}; its key says {tuple(wanted.shape)}"
        if x.is_floating_point() != wanted.is_floating_point():
            return f"{name} has the dtype {x.dtype}; its key says {wanted.dtype}"
        if not torch.isfinite(x).all():
            return f"{name} holds numbers that are not finite"
    return None


def values_for(
    stored: PoolBlock, module: LayerModule, graph: Graph
) -> tuple[dict[str, Tensor], str | None]:
    """Return values for all tensors of a block, or why there are none; never for some of them.

    Both blocks need the same convolutions, linear maps, norms and quantisers; their kernels and
    hidden channels may differ: kernels are cropped to their centre or get a border of zeros, and
    of channels the first are taken, where there are enough.

    Args:
        stored: the trained block.
        module: the block that starts; not changed.
        graph: its primitives.
    """
    # Of blocks of one shape only: as many channels enter both.
    entering = stored.key.shape[0]
    ours, theirs = _structure(graph, entering), _structure(stored.graph, entering)
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            return {}, (
                f"as {name} the nearest has {theirs.get(name, 'nothing')}, this block "
                f"{ours.get(name, 'nothing')}"
            )
    values: dict[str, Tensor] = {}
    for name, part in module.named_children():
        sizes = stored.sizes.weighted(name)
        tensors = {key: stored.tensors[f"{name}.{key}"] for key in sizes.state_dict()}
        for key, x in part.state_dict().items():
            value = corresponding_part(tensors, sizes, part, key, pad_kernels=True)
            if value is None:
                given = f"shape {tuple(tensors[key].shape)}" if key in tensors else "no such tensor"
                return {}, (
                    f"{name}.{key} of shape {tuple(x.shape)} cannot be filled: the nearest has "
                    f"{given}{_groups(sizes)}"
                )
            values[f"{name}.{key}"] = value
    return values, None


def _groups(sizes: nn.Module) -> str:
    grouped = isinstance(sizes, nn.Conv2d) and sizes.groups > 1
    return f" in {sizes.groups} groups" if grouped else ""


def _structure(graph: Graph, entering: int) -> dict[str, str]:
    """Return what has weights, in words: what must be the same for channels to correspond."""
    channels = {INPUT: entering} | {node.name: node.shape[0] for node in graph}
    structure = {}
    for node in graph:
        if not node.weighted:
            continue
        words = f"a {type(node).__name__}"
        if isinstance(node, Convolution | Linear) and node.bias:
            words += " with bias"
        # Flattened positions lie side by side, so that features are no channels.
        if isinstance(node, Linear) and node.in_features != channels[node.inputs[0]]:
            words += f" of {node.in_features} positions and channels"
        structure[node.name] = words
    return structure


def _fields(placed: PlacedLayer) -> dict[str, Any]:
    """Return the class and the fields of a layer as JSON values."""
    layer = placed.layer
    if isinstance(layer, Spelled):
        # What is known by its primitives only still has the text of its record.
        tokens: dict[str, Any] = json.loads(layer.record)
        return tokens
    if not attrs.has(type(layer)):
        raise InputError(
            f"block {placed.block!r}: {type(layer).__name__} is no attrs record, so that its "
            "fields cannot be a key; decorate it with attrs.frozen"
        )
    return {"layer": type(layer).__name__, **_whole(layer)}


def _canonical(value: Any) -> str:
    """Return JSON text that is the same for what is equal: 6 and 6.0 expand alike."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if attrs.has(type(value)):
        return {one.name: _whole(getattr(value, one.name)) for one in attrs.fields(type(value))}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    return value


def _shape(graph: Graph, in_shape: Shape, out_shape: Shape) -> tuple[int, int, int]:
    """Return input channels, output channels and stride of a block."""
    strides = {INPUT: 1}
    last = INPUT
    for node in graph:
        # A product has the positions of its first factor, and all that is summed has the same.
        before = strides[node.inputs[0]]
        match node:
            case Linear() | Pool(kind="global"):
                strides[node.name] = 0
            case Convolution() | Pool():
                strides[node.name] = before * node.stride
            case Zeros():
                strides[node.name] = round(in_shape[1] / node.shape[1])
            case _:
                strides[node.name] = before
        last = node.name
    return in_shape[0], out_shape[0], strides[last]
