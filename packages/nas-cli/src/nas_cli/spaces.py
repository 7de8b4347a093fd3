"""Search spaces as people name them: a published name, or a JSON file."""

from pathlib import Path

from nas_spaces import InputError, SearchSpace, from_json, published

__all__ = ["is_file", "load_space"]


def is_file(name: str) -> bool:
    """Return whether ``name`` is meant as a file."""
    return name.endswith(".json")


def load_space(name: str) -> SearchSpace:
    """Return a space at its own resolution and number of classes.

    Raises:
        InputError: an unknown name, or a file that is missing or holds no space.

    >>> load_space("digits-mobile").input_shape
    (1, 8, 8)
    """
    if not is_file(name):
        return published.load(name)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"space: there is no file {path}")
    try:
        return from_json(path.read_text())
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"space {path}: {error}") from error
