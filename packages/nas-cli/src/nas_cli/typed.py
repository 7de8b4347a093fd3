"""Plain values -> frozen attrs records of settings, with errors that name the setting.

Nothing here knows which settings there are: a record's annotations say that. A list of texts is
``Annotated[tuple[str, ...], "macs<=50%"]``, with the texts of an example.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
import cattrs
from cattrs import transform_error
from cattrs.v import format_exception

from nas_spaces import InputError, nearest

__all__ = ["Overrides", "Quantity", "check_keys", "flatten", "merge", "structure"]

Record = TypeVar("Record")

Overrides = dict[str, Any] | None
"""The annotation of a setting that holds other settings of the whole record, over theirs."""

Quantity = NewType("Quantity", str)
"""The annotation of a setting that is a number or a text such as ``300M`` or ``60%``."""


def check_keys(
    values: Mapping[str, Any],
    cls: type,
    *,
    stand: str = "a run's config.toml; `nas settings` says what each means",
) -> None:
    """Refuse keys, at any depth, that a record does not have.

    Args:
        values: nested settings.
        cls: of the record.
        stand: where a person can read which settings there are.

    Raises:
        InputError: an unknown key, with the nearest valid one; a table where a value belongs, or
            a value where a table does.
    """
    _check_keys(values, cls, cls, "", stand)


def structure(values: Mapping[str, Any], cls: type[Record]) -> Record:
    """Return ``values`` as a record; nothing is turned silently into another type.

    Raises:
        InputError: values that are missing, of the wrong type or out of range.
    """
    try:
        return CONVERTER.structure(values, cls)
    except cattrs.BaseValidationError as error:
        reasons = transform_error(error, format_exception=_why)
        raise InputError("setting " + "; ".join(map(_place_first, reasons))) from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted names.

    >>> flatten({"seed": 0, "train": {"epochs": 3}})
    {'seed': 0, 'train.epochs': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with others over them; only tables are merged, key by key.

    >>> merge({"seed": 0, "train": {"epochs": 3, "lr": 0.1}}, {"train": {"epochs": 4}})
    {'seed': 0, 'train': {'epochs': 4, 'lr': 0.1}}
    """
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _check_keys(values: Mapping[str, Any], cls: type, root: type, prefix: str, stand: str) -> None:
    hints = get_type_hints(cls)
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            if isinstance(value, Mapping) and value:
                name = next(iter(flatten(value, f"{name}.")))
            keys = (*_all_keys(cls, prefix), *_all_keys(root, ""))
            close = difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(f"setting {name!r} is unknown: {hint}every setting stands in {stand}")
        if hints[key] == Overrides and isinstance(value, Mapping):
            _check_keys(value, root, root, f"{name}.", stand)
            continue
        table = _table(hints[key])
        if table is not None and value is None and hints[key] != table:
            continue
        if table is not None and not isinstance(value, Mapping):
            example = _all_keys(table, f"{name}.")[0]
            raise InputError(
                f"setting {name!r} is a table, received {value!r}; set one of its keys, like "
                f"{example}"
            )
        if isinstance(value, Mapping):
            if table is None:
                raise InputError(f"setting {name!r} is no table; received {value!r}")
            _check_keys(value, table, root, f"{name}.", stand)


def _table(hint: Any) -> type | None:
    """Return the settings class that ``hint`` is, with or without None beside it."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return next((kind for kind in kinds if attrs.has(kind)), None)


def _all_keys(cls: type, prefix: str) -> list[str]:
    """Return the names of all settings, apart from those of tables that default to none."""
    keys: list[str] = []
    for key, hint in get_type_hints(cls).items():
        table, default = _table(hint), attrs.fields_dict(cls)[key].default
        if table is not None and default is not None:
            keys += _all_keys(table, f"{prefix}{key}.")
        else:
            keys.append(f"{prefix}{key}")
    return keys


def _why(error: BaseException, kind: type | None) -> str:
    # Only what the checks below and the validators of attrs say is written for people.
    return str(error.args[0]) if type(error) is ValueError else format_exception(error, kind)


def _place_first(reason: str) -> str:
    """Return a reason with the setting's name in front.

    >>> _place_first("must be a number @ $.train.epochs")
    'train.epochs must be a number'
    >>> _place_first("'epochs' must be > 0: -1 @ $.train")
    'train.epochs must be > 0; received -1'
    >>> _place_first("'references' must name each once: '2w2a' @ $")
    "references must name each once; received '2w2a'"
    """
    text, _, place = reason.rpartition(" @ $")
    of_validator = re.fullmatch(r"'(\w+)' (must .*): (.*)", text)
    if of_validator is not None:
        key, rule, value = of_validator.groups()
        place, text = f"{place}.{key}", f"{rule}; received {value}"
    return f"{place.removeprefix('.')} {text}"


def _converter() -> cattrs.Converter:
    """Return a converter that turns nothing silently into another type."""

    def only(words: str, *types: type) -> Callable[[Any, Any], Any]:
        def check(value: Any, kind: Any) -> Any:
            # A bool is an int to isinstance; no setting can be infinite.
            if type(value) not in types or (type(value) is float and not math.isfinite(value)):
                raise ValueError(f"must be {words}; received {value!r}")
            return kind(value)

        return check

    def quantity(value: Any, _: Any) -> str:
        if type(value) not in (int, float, str):
            raise ValueError(f"must be a number, or a text like 300M or 60%; received {value!r}")
        return str(value)

    def texts(value: Any, kind: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            like = json.dumps(list(get_args(kind)[1:]))
            raise ValueError(f"must be a list of texts like {like}; received {value!r}")
        return tuple(value)

    def is_texts(kind: Any) -> bool:
        return get_origin(kind) is Annotated and get_args(kind)[0] == tuple[str, ...]

    def literal(value: Any, kind: Any) -> Any:
        valid = get_args(kind)
        if value not in valid:
            raise ValueError(f"cannot be {value!r}: {nearest(str(value), map(str, valid))}")
        return value

    def is_literal(kind: Any) -> bool:
        return get_origin(kind) is Literal

    converter = cattrs.Converter()
    converter.register_structure_hook(int, only("a whole number", int))
    converter.register_structure_hook(float, only("a number", int, float))
    converter.register_structure_hook(bool, only("true or false", bool))
    converter.register_structure_hook(str, only("a text", str))
    converter.register_structure_hook_func(lambda kind: kind is Quantity, quantity)
    converter.register_structure_hook_func(is_texts, texts)
    converter.register_structure_hook_func(is_literal, literal)
    return converter


CONVERTER = _converter()
