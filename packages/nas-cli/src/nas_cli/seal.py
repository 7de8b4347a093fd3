"""A digest in the first line of a run's ``config.toml``, which tells when somebody edits it.

What a run has done was done by the settings that it was begun with; a file that says something else
would be believed by all that comes after.
"""

import hashlib
import json
import tomllib
from pathlib import Path

from nas_cli.settings import WHERE
from nas_cli.typed import flatten
from nas_spaces import InputError

__all__ = ["check_seal", "sealed"]

# What may be edited: where a run is computed, and where its images lie; these have a digest of
# their own, in ``data.json``.
FREE = (*WHERE, "data")

MARK = "# sha256 of the settings that the run was begun with: "


def sealed(text: str) -> str:
    """Return settings as TOML with their digest in front."""
    return f"{MARK}{_digest(text)}\n{text}"


def check_seal(path: Path, text: str) -> None:
    """Refuse settings of a run that have been changed; earlier versions wrote no digest.

    Args:
        path: of the file, for the message.
        text: the file, valid TOML.

    Raises:
        InputError: other settings than the run was begun with.
    """
    first = text.partition("\n")[0]
    if first.startswith(MARK) and first.removeprefix(MARK).strip() != _digest(text):
        raise InputError(
            f"{path} was changed since the run was begun with it; undo that, or begin another run "
            f"by --config {path} with another --out"
        )


def _digest(text: str) -> str:
    """Return the digest of the values, apart from what is free; so are comments."""
    values = flatten(tomllib.loads(text))
    fixed = {key: value for key, value in values.items() if key not in FREE}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True, default=str).encode()).hexdigest()
