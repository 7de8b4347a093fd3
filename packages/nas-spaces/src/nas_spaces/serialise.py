"""Search spaces as JSON text, for files and for programs in other languages."""

import json
from collections.abc import Mapping
from typing import Any

import cattrs
from cattrs import transform_error
from cattrs.v import format_exception

from nas_spaces.errors import InputError, nearest
from nas_spaces.layers import LAYERS, Layer
from nas_spaces.space import Block, Choice, SearchSpace
from nas_spaces.spelled import Spelled, difference, read_variant, spell

__all__ = ["from_json", "to_json"]

# 1: layer records only (version 0.1). 2: also the layers spelled out.
FORMAT = 2
READABLE = (1, 2)

# Of a line of JSON text: what fits stands in one.
WIDTH = 120


def _tuples(value: Any) -> Any:
    """Turn the lists of JSON back into the tuples of frozen records."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _explain(error: BaseException, expected: type | None) -> str:
    # cattrs would replace our messages by "invalid value for type".
    return str(error) if isinstance(error, InputError) else format_exception(error, expected)


def _number(value: Any, _: Any) -> float:
    # What was written as 6 stays 6, so that reading and writing again gives the same text.
    return value if type(value) is int else float(value)


def _converter(layers: Mapping[str, type], spelled: Any = None) -> cattrs.Converter:
    """Return what turns spaces into JSON values and back.

    Args:
        layers: layer records by name.
        spelled: the blocks spelled out, for layers of another name; None where there is none.
    """
    converter = cattrs.Converter(forbid_extra_keys=True)
    plain = cattrs.Converter(forbid_extra_keys=True)
    plain.register_structure_hook(float, _number)

    def unstructure_layer(layer: Any) -> Any:
        if isinstance(layer, Spelled):
            return json.loads(layer.record)
        return {"layer": type(layer).__name__, **plain.unstructure(layer)}

    def structure_layer(value: Any, block: str) -> Layer:
        fields = dict(value)
        name = fields.pop("layer", None)
        if name not in layers:
            if spelled is None or not isinstance(name, str):
                raise InputError(
                    f"layer {name!r} is unknown: {nearest(str(name), layers)}; the class of a "
                    "layer of one's own is given by layers="
                )
            variants = [one["variants"] for one in spelled if one["name"] == block]
            if [len(one) for one in variants] != [1]:
                raise InputError(f"layer {name!r} is unknown, and block {block!r} not spelled out")
            return Spelled(json.dumps(value), *read_variant(variants[0][0]))
        layer: Layer = plain.structure(fields, layers[name])
        return layer

    def unstructure_block(block: Block) -> dict[str, Any]:
        return {
            "name": block.name,
            "reads": list(block.reads),
            "inputs": None if block.inputs is None else list(block.inputs),
            "shares": list(block.shares),
            "layers": [unstructure_layer(layer) for layer in block.layers],
        }

    def structure_block(value: Any, _: Any) -> Block:
        fields = dict(value)
        built = [structure_layer(layer, fields["name"]) for layer in fields.pop("layers")]
        return Block(layers=built, **{key: _tuples(item) for key, item in fields.items()})

    converter.register_unstructure_hook(Block, unstructure_block)
    converter.register_structure_hook(Block, structure_block)
    converter.register_structure_hook(
        Choice,
        lambda value, _: Choice(**{key: _tuples(item) for key, item in dict(value).items()}),
    )
    return converter


def to_json(space: SearchSpace, *, spell_out: bool | None = None) -> str:
    """Return the space as JSON text; `from_json` reads it back to an equal space.

    ``docs/json-format.md`` of this package describes the text for readers in other languages.

    Args:
        space: the space.
        spell_out: whether to add all layers as primitives with concrete sizes, from which a
            program that does not know the layer records can build them. None does so for a
            network (a space with no choice), and not for a space, which may have very many.
    """
    wanted = not space.choices if spell_out is None else spell_out
    record = {
        "format": FORMAT,
        **_converter(LAYERS).unstructure(space),
        "spelled": spell(space) if wanted else None,
    }
    return _text(record) + "\n"


def from_json(text: str, *, layers: Mapping[str, type] = LAYERS) -> SearchSpace:
    """Read a space from JSON text.

    Layers that are spelled out must agree with their records. In a network a layer that
    ``layers`` does not name is taken as it is spelled out, see `nas_spaces.spelled.Spelled`: it
    builds the same, and is not equal to the record that was written.

    Args:
        text: what `to_json` wrote, this version's or an earlier one's.
        layers: records that the text may name, for spaces with layers of one's own.

    Raises:
        InputError: text that is no space, names an unknown layer or field, or contradicts itself.

    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile")
    >>> from_json(to_json(space)) == space
    True
    """
    try:
        record = json.loads(text)
        number = record.pop("format", None) if isinstance(record, dict) else None
        if number not in READABLE:
            known = " or ".join(map(str, READABLE))
            newer = isinstance(number, int) and number > FORMAT
            cure = f"; format {number} needs a newer version of nas-spaces" if newer else ""
            raise InputError(f"this JSON is no search space of format {known}{cure}")
        spelled = record.pop("spelled", None) if number > 1 else None
        instead = None if record.get("choices") else spelled
        space = _converter(layers, instead).structure(record, SearchSpace)
        if spelled is not None:
            wrong = difference(spelled, spell(space), "spelled")
            if wrong:
                raise InputError(
                    f"this JSON contradicts itself: {wrong}, which the layer records give; write "
                    "it again by to_json"
                )
        return space
    except json.JSONDecodeError as error:
        raise InputError(f"this text is no JSON: {error}") from error
    except cattrs.BaseValidationError as error:
        raise InputError(
            "this JSON is no search space: "
            + "; ".join(transform_error(error, format_exception=_explain))
        ) from error


def _text(value: Any, indent: int = 0) -> str:
    """Return JSON text in which whatever is short enough stands in one line."""
    line = json.dumps(value)
    if not isinstance(value, dict | list) or not value or len(line) <= WIDTH - indent:
        return line
    inner = "\n" + " " * (indent + 1)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_text(item, indent + 1)}" for key, item in value.items()]
        left, right = "{}"
    else:
        parts = [_text(item, indent + 1) for item in value]
        left, right = "[]"
    return left + inner + f",{inner}".join(parts) + "\n" + " " * indent + right
