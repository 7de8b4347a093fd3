"""Reading single files of a run; every error names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs import transform_error

from nas_cli.folder import cure
from nas_spaces import InputError

__all__ = ["optional", "parse", "required", "structure", "text_of"]

Record = TypeVar("Record")


def text_of(path: Path) -> str:
    """Return the text of a file."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {cure(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def parse(path: Path, read: Callable[[], Record]) -> Record:
    """Return what ``read`` returns, its errors with the file's name in front."""
    try:
        return read()
    except InputError as error:
        message = str(error)
        if str(path) in message:  # it says what to do
            raise
        raise InputError(f"{path}: {message}; {cure(path)}") from error
    except ValueError as error:
        raise InputError(f"{path} is malformed: {error}; {cure(path)}") from error


def structure(value: Any, kind: type[Record]) -> Record:
    """Return JSON or TOML values as a record; unknown fields are left out."""
    try:
        return cattrs.structure(value, kind)
    except cattrs.BaseValidationError as error:
        raise InputError("; ".join(transform_error(error))) from error
    except (TypeError, AttributeError) as error:
        raise InputError(f"expected the fields of {kind.__name__}: {error}") from error


def required(path: Path, kind: type[Record]) -> Record:
    """Return the record in a JSON file."""
    return parse(path, lambda: structure(json.loads(text_of(path)), kind))


def optional(path: Path, kind: type[Record]) -> Record | None:
    """Return the record in a JSON file, None where there is no such file."""
    return required(path, kind) if path.exists() else None
