"""Search spaces in code of one's own: ``module:attribute``."""

import contextlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from nas_spaces import InputError, SearchSpace, nearest
from nas_spaces.layers import LAYERS

__all__ = ["is_file", "is_module", "space_of_module"]


def is_file(name: str) -> bool:
    """Return whether the name of a space is meant as a file."""
    return name.endswith(".json")


def is_module(name: str) -> bool:
    """Return whether the name of a space is meant as ``module:attribute``."""
    return ":" in name and not is_file(name)


def space_of_module(name: str, options: dict[str, int]) -> SearchSpace:
    """Return the space that an attribute of a module is or returns.

    Args:
        name: ``module:attribute``; the module may lie in the current folder.
        options: of a function, those that it names are set.

    Raises:
        InputError: another form, a module or function that fails, or what is no space.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)) or (
        module_name.endswith(".py")
    ):
        raise InputError(
            f"space {name!r} cannot be read; write it as module:attribute, like mymodule:space for "
            "what mymodule.py calls space"
        )
    # What modules print is no result, and their functions may import from the folder too.
    with _current_folder(), contextlib.redirect_stdout(sys.stderr):
        module = _import(module_name, name)
        space = _attribute(module, attribute, name, options)
    for block in space.blocks:
        for kind in {type(layer) for layer in block.layers}:
            if LAYERS.get(kind.__name__, kind) is not kind:
                # In files a layer is known by this name.
                raise InputError(
                    f"space {name}: its layer {kind.__name__} has the name of a layer of "
                    "nas_spaces; give the class another name"
                )
    return space


def _attribute(
    module: ModuleType, attribute: str, name: str, options: dict[str, int]
) -> SearchSpace:
    if not hasattr(module, attribute):
        own = [
            key
            for key, value in vars(module).items()
            if isinstance(value, SearchSpace)
            or getattr(value, "__module__", None) == module.__name__
        ]
        hint = nearest(attribute, own) if own else "it defines nothing"
        # Where it lies, for a module that another one of its name hides.
        where = getattr(module, "__file__", None) or "built in"
        raise InputError(
            f"space {name}: module {module.__name__} ({where}) has no {attribute!r}: {hint}"
        )
    value = getattr(module, attribute)
    space = _call(value, name, options) if callable(value) else value
    if not isinstance(space, SearchSpace):
        what = "returns" if callable(value) else "is"
        raise InputError(
            f"space {name}: {attribute} {what} {_article(type(space).__name__)}; it must be a "
            "nas_spaces.SearchSpace, or a function that returns one"
        )
    return space


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules be imported from the current folder."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _import(module_name: str, name: str) -> ModuleType:
    try:
        importlib.invalidate_caches()
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name is not None:
            missing = error.name
            if module_name == missing or module_name.startswith(f"{missing}."):
                raise InputError(
                    f"space {name}: there is no module {missing!r} in {Path.cwd()} or among what "
                    "is installed"
                ) from error
        raise InputError(f"space {name}: importing {module_name} {_raised(error)}") from error


def _call(function: Callable[..., Any], name: str, options: dict[str, int]) -> Any:
    parameters: Mapping[str, inspect.Parameter] = {}
    with contextlib.suppress(ValueError):  # some written in C say nothing of their arguments
        parameters = inspect.signature(function).parameters
    needed = [
        key
        for key, one in parameters.items()
        if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    if needed:
        raise InputError(
            f"space {name}: argument {needed[0]!r} has no default; give it one. Of its arguments "
            "classes=, resolution= and in_channels= are set to what the images need"
        )
    named = {key: value for key, value in options.items() if key in parameters}
    try:
        return function(**named)
    except InputError as error:
        raise InputError(f"space {name}: {error}") from error
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{key}={value}" for key, value in named.items())
        raise InputError(f"space {name}: calling it with ({given}) {_raised(error)}") from error


def _raised(error: BaseException) -> str:
    """Return what was raised and where, for somebody who has to mend their own code."""
    if isinstance(error, SyntaxError):
        where, line, reason = error.filename, error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd())]
        last = (own or frames)[-1]
        where, line, reason = last.filename, last.lineno, str(error)
    return f"raised {type(error).__name__}: {reason} ({where}, line {line})"


def _article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
