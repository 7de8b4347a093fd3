"""Search spaces as people name them: a published name, a JSON file, or code of one's own."""

import contextlib
import functools
import importlib
import inspect
import json
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nas_cli.folder import ALPHAS_FILE, BLOCKS, CONFIG, MAIN_SEARCH, RESULT, search_folder
from nas_cli.space_names import apply_changes, fix_first, split_changes
from nas_spaces import InputError, SearchSpace, from_json, nearest, published
from nas_spaces.layers import LAYERS

__all__ = [
    "blocks_of",
    "describe",
    "is_file",
    "is_module",
    "live_space",
    "load_space",
    "settled_name",
    "stored_space",
]


def is_file(name: str) -> bool:
    """Return whether ``name`` is meant as a file."""
    return name.endswith(".json")


def is_module(name: str) -> bool:
    """Return whether ``name`` is meant as ``module:attribute``."""
    return ":" in name and not is_file(name)


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
        return _of_module(name, options)
    if not is_file(name):
        return published.load(name, **options)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"space: there is no file {path}")
    try:
        return from_json(path.read_text())
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"space {path}: {error}") from error


def blocks_of(run: Path) -> tuple[int, ...] | None:
    """Return the blocks that a run has searched first, a row; None where it has not.

    Raises:
        InputError: a damaged result.
    """
    path = search_folder(run / BLOCKS, MAIN_SEARCH) / RESULT
    if not path.exists() or not _blocks_come_first(run / CONFIG):
        return None
    try:
        return tuple(int(option) for option in json.loads(path.read_text())["winner"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it and resume the run") from error


def _blocks_come_first(path: Path) -> bool:
    """Whether the settings of a run say that blocks are searched first."""
    try:
        return bool(tomllib.loads(path.read_text()).get("blocks", "none") != "none")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: {error}") from error


def settled_name(run: Path, name: str) -> str:
    """Return a run's setting ``space`` with the blocks that the run has searched first.

    Raises:
        InputError: see `blocks_of`.
    """
    blocks = blocks_of(run)
    return name if blocks is None else fix_first(name, blocks)


def live_space(run: Path, space: SearchSpace) -> SearchSpace:
    """Return ``space`` without the candidates that a run's training dropped, with its numbering.

    They were no longer trained, so that with the supernet's weights nothing can be said of them.

    Raises:
        InputError: a damaged file of architecture parameters.
    """
    path = run / "train" / ALPHAS_FILE
    if not path.exists():
        return space
    try:
        # Null stands where a choice has no such option.
        alive = np.array(json.loads(path.read_text())["alive"][-1], dtype=np.float64) == 1
        return space if (alive == space.mask).all() else space.restrict(alive)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}); restore it, or train again") from error


def stored_space(run: Path, name: str) -> SearchSpace:
    """Return the space that a run was begun with, whatever has become of where it came from.

    Args:
        run: the run's folder, with ``space.json`` and ``data.json``.
        name: the run's setting ``space``. Layers of one's own have no name that JSON could say:
            then the module is needed, and must still hold the same space.

    Raises:
        InputError: a damaged file, or a module that is gone or holds another space.
    """
    path = run / "space.json"
    try:
        text = path.read_text()
        return from_json(text)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing; a run's folder has it from its first stage"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    except InputError as error:
        if not is_module(split_changes(name)[0]):
            raise InputError(f"{path}: {error}") from error
    try:
        channels, resolution, _ = json.loads(text)["input_shape"]
        classes = len(json.loads((run / "data.json").read_text())["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} or {run / 'data.json'} is damaged: {error}") from error
    name = settled_name(run, name)
    space = load_space(name, classes=classes, resolution=resolution, in_channels=channels)
    own = {type(layer).__name__: type(layer) for block in space.blocks for layer in block.layers}
    try:
        same = from_json(text, layers={**LAYERS, **own}) == space
    except InputError:
        same = False
    if not same:
        raise InputError(
            f"space {name} is not the one that {run} was begun with, which {path} holds; restore "
            "the module, or begin another run"
        )
    return space


def describe(name: str) -> str:
    """Return what a published space is, in the first sentence of its function's docstring.

    >>> describe("nas-bench-macro")
    "the benchmark's space: 8 choice blocks of 3 candidates, 3^8 rows"
    """
    builder: Callable[..., SearchSpace] = published.SPACES[name]
    while isinstance(builder, functools.partial):
        builder = builder.func
    paragraph = (inspect.getdoc(builder) or "").split("\n\n")[0].replace("\n", " ")
    sentence = paragraph.split(". ")[0].removesuffix(".").removeprefix("Return ")
    # Other spaces are mentioned there as functions of Python.
    for other in published.SPACES:
        sentence = sentence.replace(f"`{other.replace('-', '_')}`", other)
    return sentence.replace("`", "")


def _of_module(name: str, options: dict[str, int]) -> SearchSpace:
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
