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

__all__ = ["from_json", "to_json"]

FORMAT = 1


def _tuples(value: Any) -> Any:
    """Turn the lists of JSON back into the tuples of frozen records."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _explain(error: BaseException, expected: type | None) -> str:
    # cattrs would replace our messages by "invalid value for type".
    return str(error) if isinstance(error, InputError) else format_exception(error, expected)


def _converter(layers: Mapping[str, type]) -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    plain = cattrs.Converter(forbid_extra_keys=True)

    def unstructure_layer(layer: Any) -> dict[str, Any]:
        return {"layer": type(layer).__name__, **plain.unstructure(layer)}

    def structure_layer(value: Any, _: Any) -> Layer:
        fields = dict(value)
        name = fields.pop("layer", None)
        if name not in layers:
            raise InputError(f"layer {name!r} is unknown: {nearest(str(name), layers)}")
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
        built = [structure_layer(layer, None) for layer in fields.pop("layers")]
        return Block(layers=built, **{key: _tuples(item) for key, item in fields.items()})

    converter.register_unstructure_hook(Block, unstructure_block)
    converter.register_structure_hook(Block, structure_block)
    converter.register_structure_hook(
        Choice,
        lambda value, _: Choice(**{key: _tuples(item) for key, item in dict(value).items()}),
    )
    return converter


def to_json(space: SearchSpace) -> str:
    """Return the space as JSON text; `from_json` reads it back to an equal space."""
    record = {"format": FORMAT, **_converter(LAYERS).unstructure(space)}
    return json.dumps(record, indent=1) + "\n"


def from_json(text: str, *, layers: Mapping[str, type] = LAYERS) -> SearchSpace:
    """Read a space from JSON text.

    Args:
        text: what `to_json` wrote.
        layers: records that the text may name, for spaces with layers of one's own.

    Raises:
        InputError: text that is no space, or names an unknown layer or field.

    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile")
    >>> from_json(to_json(space)) == space
    True
    """
    try:
        record = json.loads(text)
        if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
            raise InputError(f"this JSON is no search space of format {FORMAT}")
        return _converter(layers).structure(record, SearchSpace)
    except json.JSONDecodeError as error:
        raise InputError(f"this text is no JSON: {error}") from error
    except cattrs.BaseValidationError as error:
        raise InputError(
            "this JSON is no search space: "
            + "; ".join(transform_error(error, format_exception=_explain))
        ) from error
    except (TypeError, KeyError) as error:
        raise InputError(f"this JSON is no search space: {error}") from error
