"""Layers spelled out: every primitive with all its numbers, for programs without this package.

`docs/json-format.md` of this package says what a reader has to know.
"""

from functools import cache
from typing import Any, get_args

import cattrs
from attrs import asdict, frozen

from nas_spaces.errors import InputError, nearest
from nas_spaces.primitives import (
    INPUT,
    Activation,
    Add,
    Concatenate,
    Convolution,
    Dropout,
    Graph,
    GraphBuilder,
    Linear,
    Multiply,
    Norm,
    Pool,
    Primitive,
    Quantise,
    Select,
    Shape,
    Shuffle,
    SplitSoftmax,
    SplitSum,
    Zeros,
)
from nas_spaces.space import SearchSpace

__all__ = ["NORM_EPS", "Spelled", "difference", "read_variant", "spell"]

NORM_EPS = 1e-5
"""What a batch normalisation adds to the variance; torch's default, which `Network` uses."""

OPS: dict[str, type] = {cls.__name__: cls for cls in get_args(Primitive)}


@frozen
class Spelled:
    """A layer that is known by its primitives only: what a file says of a record of others.

    ``record``: the JSON text of the record that it stands for. ``in_shape``: the only input that
    it takes. ``primitives``: its graph.
    """

    record: str
    in_shape: Shape
    primitives: Graph

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives; InputError for an input of another shape than ``in_shape``."""
        if shape != self.in_shape:
            raise InputError(
                f"the layer {self.record} is spelled out for an input {self.in_shape} only, "
                f"received {shape}; give from_json its class by layers="
            )
        return self.primitives


def spell(space: SearchSpace) -> list[dict[str, Any]]:
    """Return every layer of every block as JSON values.

    A block is its name, the blocks that are summed to make its input (``"input"`` is the image),
    and its variants: one for each of its layers and each shape of its input. In a network, which
    has no choices, every block has one.

    Raises:
        InputError: a block that is called ``"input"``.
    """
    blocks = []
    for index, (block, plan) in enumerate(zip(space.blocks, space.plan, strict=True)):
        if block.name == INPUT:
            raise InputError(f"block {INPUT!r} has the name of the image; give it another name")
        combinations: dict[tuple[int, Shape], int] = {}
        for combination, shape in enumerate(plan.in_shapes):
            combinations.setdefault((combination // plan.extra, shape), combination)
        blocks.append(
            {
                "name": block.name,
                "inputs": [INPUT if s < 0 else space.blocks[s].name for s in plan.sources],
                "variants": [
                    {
                        "layer": layer,
                        "in_shape": list(shape),
                        "out_shape": list(plan.out_shapes[combination]),
                        "primitives": [
                            _primitive(node, block.name) for node in space.graph(index, combination)
                        ],
                    }
                    for (layer, shape), combination in combinations.items()
                ],
            }
        )
    return blocks


def _primitive(node: Primitive, block: str) -> dict[str, Any]:
    """Return a primitive as JSON values: its fields, and what they leave to a rule."""
    values = {"op": type(node).__name__, **asdict(node, recurse=False)}
    shape = values.pop("shape")
    match node:
        case Convolution():
            values["padding"] = node.kernel // 2
        case Norm():
            values["eps"] = NORM_EPS
        case Pool(kind="global"):
            del values["kernel"], values["stride"]
        case Pool():
            values["padding"] = (node.kernel - 1) // 2
            if node.kind == "average":
                values["count_include_pad"] = False
    values["shape"] = shape
    if node.weighted:
        values["tensors"] = {
            f"blocks.{block}.{node.name}.{key}": size for key, size in _tensors(node).items()
        }
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def _tensors(node: Primitive) -> dict[str, list[int]]:
    """Return the shapes of a primitive's weights."""
    match node:
        case Convolution():
            weight = [node.out_channels, node.in_channels // node.groups, node.kernel, node.kernel]
        case Linear():
            weight = [node.out_features, node.in_features]
        case Quantise():
            return {f"alpha_{node.bits}": [1]}
        case _:
            assert isinstance(node, Norm)
            channels = [node.channels]
            return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), channels)
    return {"weight": weight, "bias": weight[:1]} if node.bias else {"weight": weight}


def read_variant(record: Any) -> tuple[Shape, Graph]:
    """Return the input shape and the graph of a variant that `spell` wrote.

    Every primitive is built again, so that its sizes follow from its inputs.

    Raises:
        InputError: an unknown operation, or sizes that do not belong together.
        cattrs.BaseValidationError, TypeError, KeyError: what is no variant at all.
    """
    converter = _converter()
    shape = converter.structure(record["in_shape"], tuple[int, int, int])
    build = GraphBuilder(shape)
    for values in record["primitives"]:
        op = values["op"]
        if op not in OPS:
            raise InputError(f"primitive {values['name']!r} has the op {op!r}: {nearest(op, OPS)}")
        unused = {"kernel": 0, "stride": 1} if values.get("kind") == "global" else {}
        node: Primitive = converter.structure({**unused, **values}, OPS[op])
        _append(build, node)
        if build.nodes[-1] != node:
            raise InputError(
                f"primitive {node.name!r} does not fit its inputs: it says {node}, and they give "
                f"{build.nodes[-1]}"
            )
    return shape, build.graph


@cache
def _converter() -> cattrs.Converter:
    # It works out how to read a class when it first meets one, which takes milliseconds.
    return cattrs.Converter()


def _append(build: GraphBuilder, node: Primitive) -> None:
    """Build ``node`` as a layer would."""
    name, source = node.name, node.inputs[0]
    match node:
        case Convolution():
            build.convolution(
                name,
                source,
                node.out_channels,
                kernel=node.kernel,
                stride=node.stride,
                groups=node.groups,
                bias=node.bias,
                weight_bits=node.weight_bits,
            )
        case Linear():
            build.linear(name, source, node.out_features, bias=node.bias)
        case Norm():
            build.norm(name, source)
        case Activation():
            build.activation(name, source, node.kind)
        case Pool():
            build.pool(name, source, node.kind, kernel=node.kernel, stride=node.stride)
        case Quantise():
            build.quantise(name, source, node.bits)
        case Add():
            build.add(name, *node.inputs)
        case Multiply():
            build.multiply(name, *node.inputs)
        case Concatenate():
            build.concatenate(name, *node.inputs)
        case Select():
            build.select(name, source, node.start, node.step)
        case Shuffle():
            build.shuffle(name, source, node.groups)
        case SplitSum():
            build.split_sum(name, source, node.splits)
        case SplitSoftmax():
            build.split_softmax(name, source, node.splits)
        case Dropout():
            build.dropout(name, source, node.rate)
        case Zeros():
            build.zeros(name, source, node.shape)


def difference(given: Any, expected: Any, place: str) -> str | None:
    """Return where two JSON values differ first, in words; None where they are equal.

    >>> difference({"kernel": [3, 5]}, {"kernel": [3, 3]}, "spelled")
    'spelled.kernel[1] is 5; expected 3'
    """
    if isinstance(given, dict) and isinstance(expected, dict):
        for key in (*expected, *given):
            if key not in given or key not in expected:
                return f"{place} {'lacks' if key in expected else 'has an unknown'} {key!r}"
            found = difference(given[key], expected[key], f"{place}.{key}")
            if found:
                return found
        return None
    if isinstance(given, list) and isinstance(expected, list):
        if len(given) != len(expected):
            return f"{place} has {len(given)} entries; expected {len(expected)}"
        for index, pair in enumerate(zip(given, expected, strict=True)):
            found = difference(*pair, f"{place}[{index}]")
            if found:
                return found
        return None
    return None if given == expected else f"{place} is {given!r}; expected {expected!r}"
