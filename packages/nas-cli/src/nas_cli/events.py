"""Reading ``events.jsonl``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas_spaces import InputError

__all__ = ["read_events"]


def read_events(path: Path, *, strict: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return the whole lines of a file of events, numbered from 1; none where there is no file.

    Args:
        path: the file.
        strict: refuse a damaged line; if not, it is left out.

    Raises:
        InputError: a damaged line, or a file that cannot be read.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    # A killed process leaves half a line behind the last newline.
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            event = json.loads(line)
            if not isinstance(event, dict):
                raise ValueError("it holds no object")
        except ValueError as error:
            if strict:
                raise InputError(f"{path}, line {number} is malformed: {error!r}") from error
        else:
            yield number, event
