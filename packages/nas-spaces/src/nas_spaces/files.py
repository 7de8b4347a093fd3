"""Files that are whole or absent, also when the process is killed while writing."""

import os
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(path: Path, content: str | bytes) -> None:
    """Replace the file at ``path`` by ``content`` in one step; a reader sees the old or the new.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; the old file
            is left as it was and nothing else is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
