"""Settings of a run: typed, merged from recipe, file and options, written out in full."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import cattrs
import tomli_w
from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, lt, optional
from cattrs import transform_error

from nas_cli.recipes import DEFAULT_SPACES, RECIPES, SCALES, scale_of
from nas_spaces import InputError, nearest, published

__all__ = [
    "Config",
    "ImagesConfig",
    "SearchConfig",
    "SupernetConfig",
    "TrainConfig",
    "differences",
    "from_toml",
    "parse_setting",
    "read_config",
    "resolve",
    "to_toml",
    "with_search_settings",
]


@frozen(kw_only=True)
class ImagesConfig:
    """Where images come from and how they are split.

    ``root``: folder of the data sets that torchvision downloads. ``subset``: use so many
    training images only, drawn by class. ``held_out``: share of the training images that the
    search is judged on. ``upscale``: allow images smaller than the space's resolution.
    ``workers``: processes that decode large images.
    """

    root: str | None = None
    subset: int | None = field(default=None, validator=optional(gt(0)))
    held_out: float = field(default=0.2, validator=and_(gt(0), lt(1)))
    upscale: bool = False
    workers: int = field(default=2, validator=ge(0))


@frozen(kw_only=True)
class SupernetConfig:
    """The supernet.

    ``sampler``: what draws the paths. ``affine``: whether norms have a scale and a shift.
    ``scheme``: of the initial weights, of stand-alone networks too, see
    `nas_spaces.torch.initialise`.
    """

    sampler: Literal["uniform"] = "uniform"
    affine: bool = True
    scheme: Literal["kaiming", "zero-residual", "spos"] = "zero-residual"


@frozen(kw_only=True)
class TrainConfig:
    """How the supernet is trained, or a stand-alone network.

    ``epochs``: passes over the training images. ``batch_size``: images of an optimiser step.
    ``micro_batch``: images that pass at once, where a batch does not fit. ``warmup``: share of
    the steps. ``clip``: largest gradient norm. ``precision``: ``auto`` is bfloat16 on a GPU.
    ``checkpoint_every``: optimiser steps. The others as in `nas_samplers.Optimiser`.
    """

    epochs: float = field(validator=gt(0))
    batch_size: int = field(validator=ge(2))
    micro_batch: int | None = field(default=None, validator=optional(ge(2)))
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = field(validator=gt(0))
    momentum: float = field(default=0.9, validator=and_(ge(0), lt(1)))
    weight_decay: float = field(default=4e-5, validator=ge(0))
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    clip: float | None = field(default=None, validator=optional(gt(0)))
    label_smoothing: float = field(default=0.1, validator=and_(ge(0), lt(1)))
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True
    checkpoint_every: int = field(default=500, validator=ge(1))


@frozen(kw_only=True)
class SearchConfig:
    """How the supernet is searched.

    ``population``, ``parents``, ``crossover``, ``mutation``, ``mutation_probability``,
    ``generations``: of evolution; the budget of distinct architectures is population x
    generations, and random search gets the same. ``recalibration_images``: training images for
    the norm statistics of each architecture. ``evaluation_images``: held-out images, 0 for all.
    ``fold``: merge norms into convolutions for the evaluation (faster, rounds differently).
    """

    searcher: Literal["evolution"] = "evolution"
    population: int = field(default=50, validator=ge(2))
    parents: int = field(default=10, validator=ge(1))
    crossover: int = field(default=25, validator=ge(0))
    mutation: int = field(default=25, validator=ge(0))
    mutation_probability: float = field(default=0.1, validator=and_(gt(0), lt(1)))
    generations: int = field(default=20, validator=ge(1))
    recalibration_images: int = field(default=20_000, validator=ge(0))
    recalibration_batch: int = field(default=200, validator=ge(2))
    evaluation_images: int = field(default=0, validator=ge(0))
    evaluation_batch: int = field(default=200, validator=ge(1))
    fold: bool = False


@frozen(kw_only=True)
class Config:
    """All settings of a run.

    ``space``: a published name or a JSON file. ``data``: ``digits``, ``cifar10``, ``cifar100``,
    ``imagefolder:PATH`` or ``synthetic``. ``resolution``: None takes the space's own.
    ``baselines``: random architectures within the limits that are trained from scratch as the
    winner is, so that the worth of the search can be seen. ``threads``: of torch on a CPU, None
    for all cores; results there repeat to the bit only with the same number. ``weights``: a
    file that the supernet starts from.
    """

    method: str = field(default="spos", validator=in_(tuple(RECIPES)))
    space: str
    data: str = "digits"
    resolution: int | None = field(default=None, validator=optional(gt(0)))
    limits: tuple[str, ...] = ()
    baselines: int = field(default=5, validator=ge(0))
    seed: int = field(default=0, validator=ge(0))
    device: str = "auto"
    threads: int | None = field(default=None, validator=optional(gt(0)))
    weights: str | None = None
    images: ImagesConfig
    supernet: SupernetConfig
    train: TrainConfig
    search: SearchConfig
    retrain: TrainConfig


# Where a run is computed does not decide what it computes.
WHERE = ("device", "images.root", "images.workers")


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def resolve(overrides: Iterable[Mapping[str, Any]]) -> Config:
    """Return the full settings: recipe, then data scale, then ``overrides`` in order.

    Raises:
        InputError: an unknown key (with the nearest valid one) or a value out of range.
    """
    given: dict[str, Any] = {}
    for over in overrides:
        _check_keys(over, Config, "")
        given = _merge(given, over)
    method = given.get("method", "spos")
    if method not in RECIPES:
        raise InputError(f"method {method!r} is unknown: {nearest(str(method), RECIPES)}")
    data = str(given.get("data", "digits"))
    resolution = given.get("resolution")
    space = given.get("space") or DEFAULT_SPACES[scale_of(data, resolution)]
    if resolution is None and space in published.SPACES:
        resolution = published.load(space).input_shape[1]
    scale = SCALES[scale_of(data, resolution)]
    cores = len(os.sched_getaffinity(0))
    empty: dict[str, Any] = {"threads": cores, "images": {}, "supernet": {}, "space": space}
    return _structure(_merge(_merge(_merge(empty, RECIPES[method]), scale), given))


def _structure(values: Mapping[str, Any]) -> Config:
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        return converter.structure(dict(values), Config)
    except cattrs.BaseValidationError as error:
        reasons = [reason.replace(" @ $.", ": ") for reason in transform_error(error)]
        raise InputError("settings: " + "; ".join(reasons)) from error


def _check_keys(values: Mapping[str, Any], cls: type, prefix: str) -> None:
    """Raise InputError for a key that ``cls`` does not have, with the nearest valid one."""
    hints = get_type_hints(cls)
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            raise InputError(f"setting {name!r} is unknown: {nearest(name, _all_keys(Config, ''))}")
        table = attrs.has(hints[key])
        if table != isinstance(value, Mapping):
            rule = "is a table" if table else "is no table"
            raise InputError(f"setting {name!r} {rule}; received {value!r}")
        if table:
            _check_keys(value, hints[key], f"{name}.")
        else:
            _check_type(name, value, hints[key])


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Raise InputError where a value has the wrong type; nothing is converted silently."""
    options = get_args(hint) if get_origin(hint) not in (Literal, tuple) else (hint,)
    for option in options or (hint,):
        if get_origin(option) is Literal:
            if value in get_args(option):
                return
            valid = [str(valid) for valid in get_args(option)]
            raise InputError(f"setting {name} = {value!r}: {nearest(str(value), valid)}")
        if get_origin(option) is tuple:
            if isinstance(value, list | tuple) and all(isinstance(x, str) for x in value):
                return
        elif option is float:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return
        elif option is type(None):
            if value is None:
                return
        elif type(value) is option:
            return
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    wanted = " or ".join(words[o] for o in options or (hint,) if o in words) or "a list of texts"
    raise InputError(f"setting {name} = {value!r} must be {wanted}")


def _all_keys(cls: type, prefix: str) -> list[str]:
    keys = []
    for key, hint in get_type_hints(cls).items():
        keys += _all_keys(hint, f"{prefix}{key}.") if attrs.has(hint) else [f"{prefix}{key}"]
    return keys


def parse_setting(text: str) -> dict[str, Any]:
    """Return the nested form of ``"train.epochs=3"``; values are TOML, or texts.

    Raises:
        InputError: no ``=``, or no key.

    >>> parse_setting("train.epochs=3")
    {'train': {'epochs': 3}}
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise InputError(f"--set {text!r} cannot be read; write it like train.epochs=3")
    try:
        parsed = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    if parsed == "none":
        parsed = None
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def from_toml(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file.

    Raises:
        InputError: a file that is missing or no TOML.
    """
    if not path.is_file():
        raise InputError(f"--config: there is no file {path}")
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from error


def to_toml(config: Config) -> str:
    """Return all settings as TOML; None is left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if item is not None}
        return list(value) if isinstance(value, tuple) else value

    return tomli_w.dumps(plain(attrs.asdict(config)))


def read_config(path: Path) -> Config:
    """Return the settings that `to_toml` wrote."""
    values = from_toml(path)
    _check_keys(values, Config, "")
    return _structure(values)


def with_search_settings(config: Config, settings: Iterable[str], device: str | None) -> Config:
    """Return ``config`` for a further search: other ``search.*`` settings, another device.

    Raises:
        InputError: a setting of another table, or one that is unknown or out of range.
    """
    values = attrs.asdict(config)
    for text in settings:
        over = parse_setting(text)
        _check_keys(over, Config, "")
        if set(over) != {"search"}:
            raise InputError(
                f"--set {text!r}: a search of a trained supernet can change search.* only"
            )
        values = _merge(values, over)
    if device is not None:
        values["device"] = device
    return _structure(values)


def differences(stored: Config, overrides: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what ``overrides`` would change in ``stored``, apart from where it runs."""
    flat = _flatten(attrs.asdict(stored), "")
    changed: dict[str, Any] = {}
    for over in overrides:
        _check_keys(over, Config, "")
        changed.update(_flatten(over, ""))
    return [
        f"{key}: the run has {flat[key]!r}, received {value!r}"
        for key, value in changed.items()
        if key not in WHERE and _plain(flat[key]) != _plain(value)
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _flatten(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
