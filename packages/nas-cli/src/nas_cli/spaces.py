"""Search spaces as people name them: a published name, a JSON file, or code of one's own."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path

from nas_cli.module_spaces import is_file, is_module, space_of_module
from nas_cli.space_names import apply_changes, split_changes
from nas_spaces import InputError, SearchSpace, from_json, published

__all__ = ["describe", "load_space"]


def load_space(name: str, **options: int) -> SearchSpace:
    """Return a space.

    Args:
        name: a published name, a JSON file, or ``module:attribute`` where the attribute is a
            space or a function that returns one; what `nas_cli.space_names` understands may follow.
        options: ``classes``, ``resolution``, ``in_channels``; the space's own where left out. A
            file, and a space that is no function, are what they are; a function gets those
            options that it names.

    Raises:
        InputError: an unknown name, a file that is missing or holds no space, or a module or
            function that fails; the message says how.

    >>> load_space("digits-mobile").input_shape
    (1, 8, 8)
    >>> load_space("digits-mobile@0,1,2,3,4,0,1,2+channels=0.5,1").size == 2**7
    True
    """
    base, changes = split_changes(name)
    if not base:
        raise InputError(
            f"space {name!r} says what is added, and to nothing: put a space's name before it, or "
            "give the blocks of an earlier run by --blocks RUN"
        )
    return apply_changes(_load_base(base, options), changes)


def _load_base(name: str, options: dict[str, int]) -> SearchSpace:
    if is_module(name):
        return space_of_module(name, options)
    if not is_file(name):
        return published.load(name, **options)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"space: there is no file {path}")
    try:
        return from_json(path.read_text())
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"space {path}: {error}") from error


def describe(name: str) -> str:
    """Return what a published space or network is: the first sentence of its function's docstring.

    >>> describe("nas-bench-macro")
    "the benchmark's space: 8 choice blocks of 3 candidates, 3^8 rows"
    """
    known = {**published.SPACES, **published.NETWORKS}
    builder: Callable[..., SearchSpace] = known[name]
    while isinstance(builder, functools.partial):
        builder = builder.func
    paragraph = (inspect.getdoc(builder) or "").split("\n\n")[0].replace("\n", " ")
    sentence = paragraph.split(". ")[0].removesuffix(".").removeprefix("Return ")
    # Other spaces are mentioned there as functions of Python.
    for other in published.SPACES:
        sentence = sentence.replace(f"`{other.replace('-', '_')}`", other)
    return sentence.replace("`", "")
