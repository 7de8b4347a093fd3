"""The settings of a run from recipe, file and options, and written out in full."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import tomli_w

from nas_cli.folder import cure
from nas_cli.recipes import RECIPES
from nas_cli.scales import (
    OF_SPACE,
    default_recalibration,
    default_space,
    defaults,
    scale_of,
)
from nas_cli.seal import check_seal
from nas_cli.settings import WHERE, Config
from nas_cli.spaces import load_space
from nas_cli.typed import check_keys, flatten, merge, structure
from nas_spaces import InputError, nearest

__all__ = [
    "cores",
    "differences",
    "from_toml",
    "key_of",
    "override",
    "parse_setting",
    "read_config",
    "read_values",
    "resolve",
    "to_toml",
]


# How a setting that has no value is written: TOML has no null, and leaving the setting out would
# bring the recipe's value back.
NONE = "none"


def resolve(overrides: Iterable[Mapping[str, Any]]) -> Config:
    """Return the full settings: recipe, then data scale, then ``overrides`` in order.

    Raises:
        InputError: an unknown key (with the nearest valid one) or a value of the wrong type or
            out of range.
    """
    given: dict[str, Any] = {}
    for over in overrides:
        check_keys(over, Config)
        given = merge(given, over)
    method = given.get("method", "spos")
    if str(method) not in RECIPES:
        raise InputError(f"method {method!r} is unknown: {nearest(str(method), RECIPES)}")
    recipe = merge({"threads": cores(), "images": {}, "space": ""}, RECIPES[method])
    # Types are checked before values decide which scale the settings are for.
    asked = structure(merge(recipe, given), Config)
    space = asked.space or default_space(method, scale_of(asked.data, asked.resolution))
    resolution = asked.resolution or load_space(space).input_shape[1]
    scale = scale_of(asked.data, resolution)
    own = OF_SPACE.get((method, scale), {}) if space == default_space(method, scale) else {}
    adapted = merge(defaults(method, scale), own)
    usual = merge(recipe, adapted)
    if not usual["search"]["recalibration_images"] and _shares(space):
        # What norms have seen is then of all candidates at once, and fits none.
        images = default_recalibration(scale)
        usual = merge(usual, {"search": {"recalibration_images": images}})
    return _decide(structure(merge(usual, {**given, "space": space}), Config))


def override(config: Config, overrides: Iterable[Mapping[str, Any]]) -> Config:
    """Return ``config`` with other settings.

    Raises:
        InputError: see `resolve`.
    """
    values = attrs.asdict(config)
    for over in overrides:
        check_keys(over, Config)
        values = merge(values, over)
    return _decide(structure(values, Config))


def differences(before: Config, after: Config) -> dict[str, str]:
    """Return which settings differ and how, apart from where a run is computed."""
    old, new = (flatten(attrs.asdict(config)) for config in (before, after))
    # A table that one of them lacks has no value there.
    return {
        key: f"{key} is {_text(old.get(key))}, received {_text(new.get(key))}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key) and key not in WHERE
    }


def key_of(text: str) -> str:
    """Return the setting that ``"train.epochs=3"`` is of."""
    return text.partition("=")[0].strip()


def parse_setting(text: str) -> dict[str, Any]:
    """Return the nested form of ``"train.epochs=3"``; values are TOML, or texts.

    Raises:
        InputError: no ``=``, or no key.

    >>> parse_setting("train.epochs=3")
    {'train': {'epochs': 3}}
    >>> parse_setting("train.clip=none")
    {'train': {'clip': None}}
    """
    key, (_, sign, value) = key_of(text), text.partition("=")
    if not sign or not key:
        raise InputError(f"--set {text!r} cannot be read; write it like train.epochs=3")
    try:
        parsed = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(key.split(".")):
        parsed = {part: parsed}
    return dict(_with_none(parsed))


def from_toml(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file.

    Raises:
        InputError: a file that is missing or no TOML.
    """
    if not path.is_file():
        raise InputError(f"config: there is no file {path}")
    try:
        return dict(_with_none(tomllib.loads(path.read_text())))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from error


def to_toml(config: Config) -> str:
    """Return all settings as TOML; `resolve` makes the same settings of it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return list(value)
        return NONE if value is None else value

    return tomli_w.dumps(plain(attrs.asdict(config)))


def read_values(path: Path) -> dict[str, Any]:
    """Return the settings of a run as its file has them.

    Raises:
        InputError: a file that is missing, damaged or edited.
    """
    try:
        values = from_toml(path)
    except InputError as error:
        raise InputError(f"{error}; {cure(path)}") from error
    check_seal(path, path.read_text())
    return values


def read_config(path: Path) -> Config:
    """Return the settings of a run, which `to_toml` wrote.

    Raises:
        InputError: a file that is missing, damaged or edited.
    """
    values = read_values(path)
    try:
        check_keys(values, Config)
        return structure(values, Config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shares(space: str) -> bool:
    """Whether candidates of a space share norms, as all channels or bits of a block do."""
    return any(block.shares for block in load_space(space).blocks)


def _decide(config: Config) -> Config:
    """Return ``config`` with what depends on other settings worked out."""
    if config.supernet.sampler != "auto":
        return config
    sampler: Literal["constrained", "uniform"] = "constrained" if config.limits else "uniform"
    return attrs.evolve(config, supernet=attrs.evolve(config.supernet, sampler=sampler))


def _with_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_none(item) for key, item in value.items()}
    return None if value == NONE else value


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or NONE
    return NONE if value is None else str(value)
