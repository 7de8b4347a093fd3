"""States of samplers, learners and searchers as JSON values, numpy arrays included."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["from_jsonable", "to_jsonable"]


# Larger arrays are written as bytes: weights as numbers take seconds to write.
LISTED = 64


def to_jsonable(value: Any, place: str) -> Any:
    """Return a state in JSON values only: arrays become their dtype, shape and elements.

    Elements are a list; of more than 64 the little-endian bytes, in base64.

    Args:
        value: JSON values, numpy arrays and scalars, and tuples.
        place: what error messages call the value.

    Raises:
        TypeError: anything else, with its place.

    >>> to_jsonable({"alpha": np.zeros((1, 2))}, "state")
    {'alpha': {'dtype': 'float64', 'shape': [1, 2], 'array': [0.0, 0.0]}}
    """
    if isinstance(value, np.ndarray):
        kind: dict[str, Any] = {"dtype": str(value.dtype), "shape": list(value.shape)}
        if value.size <= LISTED or value.dtype.kind not in "biuf":
            return {**kind, "array": value.ravel().tolist()}
        ordered = value.astype(value.dtype.newbyteorder("<"))
        return {**kind, "base64": base64.b64encode(ordered.tobytes()).decode("ascii")}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_jsonable(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{place} is a {type(value).__name__}; a state is made of JSON values and numpy arrays"
    )


def from_jsonable(value: Any) -> Any:
    """Return what `to_jsonable` was given (tuples as lists, numpy scalars as Python numbers)."""
    if isinstance(value, Mapping):
        if value.keys() == {"dtype", "shape", "array"}:
            return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
        if value.keys() == {"dtype", "shape", "base64"}:
            kind = np.dtype(value["dtype"])
            elements = np.frombuffer(base64.b64decode(value["base64"]), kind.newbyteorder("<"))
            return elements.astype(kind).reshape(value["shape"])
        return {key: from_jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_jsonable(item) for item in value]
    return value
