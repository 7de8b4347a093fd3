"""Settings of a run: typed, merged from recipe, file and options, written out in full."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import tomli_w
from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, le, lt, optional

from nas_cli.limits import USUAL_COST
from nas_cli.ppo_settings import BufferConfig, CriticConfig, PolicyConfig
from nas_cli.recipes import RECIPES
from nas_cli.scales import OF_SPACE, default_space, defaults, scale_of
from nas_cli.spaces import load_space
from nas_cli.typed import Overrides, Quantity, check_keys, flatten, merge, structure
from nas_spaces import InputError, nearest

__all__ = [
    "OF_SEARCH",
    "WHERE",
    "AlphasConfig",
    "CandidatesConfig",
    "Config",
    "DistributionConfig",
    "ImagesConfig",
    "RewardConfig",
    "SearchConfig",
    "SupernetConfig",
    "TrainConfig",
    "cores",
    "differences",
    "from_toml",
    "key_of",
    "override",
    "parse_setting",
    "read_config",
    "resolve",
    "to_toml",
]


@frozen(kw_only=True)
class ImagesConfig:
    """Where images come from and how they are split.

    ``root``: folder of the data sets that torchvision downloads. ``classes``: use so many of the
    classes only, drawn by the seed, in the whole run. ``subset``: use so many training images only,
    drawn by class. ``held_out``: share of the training images that the search is judged on; without
    effect where a folder has its own held-out images, in ``val/`` beside ``test/``. ``upscale``:
    allow images smaller than the space's resolution. ``workers``: processes that decode large
    images.
    """

    root: str | None = None
    classes: int | None = field(default=None, validator=optional(ge(2)))
    subset: int | None = field(default=None, validator=optional(gt(0)))
    held_out: float = field(default=0.2, validator=and_(gt(0), lt(1)))
    upscale: bool = False
    workers: int = field(default=2, validator=ge(0))


@frozen(kw_only=True)
class SupernetConfig:
    """The supernet.

    ``sampler``: what draws the paths. Of single paths: ``uniform``; ``constrained`` to ranges of
    cost around the limit (the first on macs, otherwise the first); ``auto`` is constrained where
    there is a limit, else uniform, and stands in no run's settings. Of several paths a step:
    ``strict-fair``, every candidate once; ``expectation-fair``, ``paths`` uniform ones (None: as
    many as the largest choice has options). Of all candidates at once: ``path-dropout``, of which
    ``path_dropout`` is the rate r: a candidate of k is dropped with probability r^(1/k), and r
    rises to its value over the whole training. By architecture parameters, see `AlphasConfig`:
    ``balanced``, single paths of live candidates, equally likely; ``weighted``, single paths as
    likely as the parameters say; ``mixture`` and ``gumbel``, all live candidates at once, weighed
    by the parameters or by a sample. ``distribution``: several paths a step, drawn from a
    distribution over architectures, see `DistributionConfig`.

    ``reduction``: what the gradients of several paths make of a step: their ``sum``; their
    ``mean``; their mean weighed by the ``posterior``, softmax(-loss / distribution.temperature) of
    the paths of the step. ``affine``: whether norms have a scale and a shift. ``scheme``: of the
    initial weights, of stand-alone networks too, see `nas_spaces.torch.initialise`.
    """

    sampler: Literal[
        "auto",
        "uniform",
        "constrained",
        "strict-fair",
        "expectation-fair",
        "path-dropout",
        "balanced",
        "weighted",
        "mixture",
        "gumbel",
        "distribution",
    ] = "auto"
    paths: int | None = field(default=None, validator=optional(ge(1)))
    path_dropout: float = field(default=0.05, validator=and_(ge(0), le(1)))
    reduction: Literal["sum", "mean", "posterior"] = "sum"
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
    level_decay: float = field(default=0.0, validator=ge(0))
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    clip: float | None = field(default=None, validator=optional(gt(0)))
    label_smoothing: float = field(default=0.1, validator=and_(ge(0), lt(1)))
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True
    checkpoint_every: int = field(default=500, validator=ge(1))


def _known_references(_: Any, attribute: Any, values: tuple[str, ...]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"'{attribute.name}' must name each once: {value!r}")
        match = re.fullmatch(r"([0-9]+)w\1a", value)
        if value != "channels" and (match is None or not 1 <= int(match[1]) <= 16):
            raise ValueError(
                f"'{attribute.name}' must be 'channels' or like '3w3a', of 1 to 16 bits: {value!r}"
            )


def _not_one(_: Any, attribute: Any, value: int) -> None:
    # Norms, and what is compared, need several.
    if value == 1 or value < 0:
        raise ValueError(f"'{attribute.name}' must be 0 or >= 2: {value}")


@frozen(kw_only=True)
class SearchConfig:
    """How architectures are searched for.

    ``evaluation``: what an architecture is judged by: the ``supernet``, which is trained before, or
    itself trained ``standalone``, by the settings of ``train`` and `CandidatesConfig`; there is no
    supernet then.
    ``searcher``: ``evolution``, or ``nsga2`` for several objectives. ``random`` is random search
    itself. ``progressive`` sweeps the choices, every option of each, into a table that answers any
    limit (PONAS). ``most-probable`` takes what the architecture parameters of the training say
    (BetaNAS, ProxylessNAS, FBNet, DARTS, FP-NAS). ``ppo`` learns a policy, by `RewardConfig`,
    `PolicyConfig`, `CriticConfig` and `BufferConfig` (FNAS).
    ``objectives`` (of evolution and nsga2): what is minimised, ``error`` and costs; evolution
    orders by the first and breaks ties by the next.
    ``population``, ``parents`` (of evolution), ``crossover`` and ``mutation`` (children of a
    generation; their shares, for nsga2), ``mutation_probability``. ``mutator`` (of nsga2): what
    makes mutants, ``random`` draws, or four fifths of them a policy that learns from what is told
    (MoreMNAS), by `PolicyConfig` but for what is of searcher ``ppo`` there. ``generations``: the
    budget of distinct architectures is population x generations, and random search beside it gets
    the same. The budget of ``progressive`` is its sweep, about as many architectures as the space
    has options, which random search gets too; ``most-probable`` evaluates one, and random search
    beside it population x generations, to tell where that one stands. Beside searches of
    stand-alone architectures, which cost as much as what they find, there is none.
    ``suffixes`` (of progressive): random architectures behind the swept choice, over which errors
    are averaged; 0 for the largest architecture, which it inherits its weights from. ``score``,
    ``exact`` (of progressive): how a limit is answered from the table, see
    `nas_search.specialise`; limits with a lower end are always answered exactly.
    ``exclude_zero`` (of most-probable): leave out options that only cut a connection, as DARTS
    does. ``samples`` (of most-probable): so many architectures within the limits, drawn from what
    the training learned, are evaluated as well, to tell where the most probable one stands among
    them; it wins whatever they are.
    ``recalibration_images``: training images for
    the norm statistics of each architecture. ``evaluation_images``: held-out images, 0 for all.
    ``fold``: merge norms into convolutions for the evaluation (faster, rounds differently).
    """

    evaluation: Literal["supernet", "standalone"] = "supernet"
    searcher: Literal["evolution", "nsga2", "random", "progressive", "most-probable", "ppo"] = (
        "evolution"
    )
    objectives: tuple[str, ...] = ("error",)
    population: int = field(default=50, validator=ge(2))
    parents: int = field(default=10, validator=ge(1))
    crossover: int = field(default=25, validator=ge(0))
    mutation: int = field(default=25, validator=ge(0))
    mutation_probability: float = field(default=0.1, validator=and_(gt(0), le(1)))
    mutator: Literal["random", "learned"] = "random"
    generations: int = field(default=20, validator=ge(1))
    suffixes: int = field(default=0, validator=ge(0))
    score: Literal["loss", "loss/saving"] = "loss/saving"
    exact: bool = False
    exclude_zero: bool = False
    samples: int = field(default=0, validator=ge(0))
    recalibration_images: int = field(default=20_000, validator=_not_one)
    recalibration_batch: int = field(default=200, validator=ge(2))
    evaluation_images: int = field(default=0, validator=ge(0))
    evaluation_batch: int = field(default=200, validator=ge(1))
    fold: bool = False


@frozen(kw_only=True)
class AlphasConfig:
    """Architecture parameters; nothing is read of it where ``supernet.sampler`` has none.

    They are updated on the held-out images, by Adam. A search that orders architectures by their
    error afterwards judges on images that the parameters have seen; the searches that the recipes
    name do not, they take the most probable architecture.

    ``std``: standard deviation of the first values. ``variant``: of binary gates (``balanced``,
    ``weighted``): an update looks at ``all`` candidates of a block, or at ``two-path``, two drawn
    ones. ``warmup``: share of the steps before the first update. ``every``: steps from one update
    to the next. ``lr``, ``beta1``, ``beta2``, ``weight_decay``: of Adam.

    ``cost``: the metric whose expected value E enters the loss, a sum over choices (not
    peak_memory). It counts in units of a reference R: the largest value that a limit on it allows,
    without such a limit the middle between the smallest and the largest architecture.
    ``cost_term``: ``sum`` adds cost_weight * (E - R) / R to the loss, ``product`` multiplies the
    loss by cost_weight * (ln E / ln R)^cost_power. ``cost_weight``: 0 leaves the cost out.

    ``drop``: what ends a candidate, for good, in a run of ``balanced`` or ``weighted`` paths:
    ``margin``, a parameter more than ``drop_below`` lower than the mean of its choice; ``share``,
    a probability below ``drop_below`` of an equal share; None drops nothing. At least one
    architecture within the limits of the run is left. ``drop_warmup``:
    share of the updates before the first drop. ``temperature``, ``temperature_decay``: of
    ``gumbel``; the temperature falls by the factor exp(-temperature_decay) an epoch.
    """

    std: float = field(default=0.0, validator=ge(0))
    variant: Literal["all", "two-path"] = "all"
    warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    every: int = field(default=1, validator=ge(1))
    lr: float = field(default=1e-3, validator=gt(0))
    beta1: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    beta2: float = field(default=0.999, validator=and_(ge(0), lt(1)))
    weight_decay: float = field(default=0.0, validator=ge(0))
    cost: str = USUAL_COST
    cost_term: Literal["sum", "product"] = "sum"
    cost_weight: float = field(default=0.0, validator=ge(0))
    cost_power: float = field(default=0.6, validator=gt(0))
    drop: Literal["margin", "share"] | None = None
    drop_below: float = field(default=0.5, validator=gt(0))
    drop_warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    temperature: float = field(default=5.0, validator=gt(0))
    temperature_decay: float = field(default=0.045, validator=ge(0))


@frozen(kw_only=True)
class DistributionConfig:
    """The distribution over architectures of ``supernet.sampler=distribution`` (PARSEC, FP-NAS).

    It is moved by Adam on the held-out images, see `nas_samplers.PosteriorLearner`, with the rows
    that each step of training drew. Shares are of the steps of the training. ``rows_per_nat``,
    ``lr`` and ``cost_weight`` are FP-NAS's (sections 3.3 and 4.1); ``least``, the temperature of
    the mean loss and weights that are centred are ours, since the paper's text leaves them open or
    reinforces itself.

    ``joint``: whether choices of a group have one categorical together from the beginning; if not,
    each has its own, until after the share ``join_after``, where it is set, those of a group are
    joined. ``warmup``: share in which paths are uniform and the distribution stays as it is, with
    ``warmup_rows`` a step; none for as many as later on. ``rows``: paths of a step; none for
    ``rows_per_nat`` (the paper's lambda) times the entropy in nats, between ``least`` and ``most``;
    ``least`` is 2 where it is none, since centred weights compare rows, and by ``paper_exact`` 1.
    ``every``: steps from one update to the next. ``lr``, ``beta1``, ``beta2``: of Adam.
    ``temperature``: of the posterior weights, of the rows and of ``supernet.reduction=posterior``:
    softmax(-mean loss / temperature).

    ``cost``: a metric that can be limited. ``target``: a value as in a limit, such as ``300M`` or
    ``60%`` of the largest architecture; none takes the largest value that a limit on the cost
    allows; without such a limit macs do not count, and another cost is refused. ``cost_term``: what
    an excess over the target counts, the ``log`` of its mean over the rows as the paper prints it,
    or the mean itself (``linear``), see `nas_samplers.CostHinge`. ``cost_weight``: the paper's
    beta, 0 leaves the cost out. ``paper_exact``: weights of rows as printed, not centred, and their
    number as printed, from 1 on: whatever is drawn is reinforced.
    """

    joint: bool = False
    join_after: float | None = field(default=None, validator=optional(and_(ge(0), lt(1))))
    warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    warmup_rows: int | None = field(default=None, validator=optional(ge(1)))
    rows: int | None = field(default=None, validator=optional(ge(1)))
    rows_per_nat: float = field(default=0.25, validator=gt(0))
    least: int | None = field(default=None, validator=optional(ge(1)))
    most: int | None = field(default=None, validator=optional(ge(1)))
    every: int = field(default=1, validator=ge(1))
    lr: float = field(default=0.016, validator=gt(0))
    beta1: float = field(default=0.9, validator=and_(ge(0), lt(1)))
    beta2: float = field(default=0.999, validator=and_(ge(0), lt(1)))
    temperature: float = field(default=1.0, validator=gt(0))
    cost: str = USUAL_COST
    target: Quantity | None = None
    cost_term: Literal["log", "linear"] = "log"
    cost_weight: float = field(default=0.3, validator=ge(0))
    paper_exact: bool = False


@frozen(kw_only=True)
class RewardConfig:
    """What searcher ``ppo`` is rewarded for: accuracy x (cost / target)^exponent.

    ``cost``: a metric that can be limited. ``target``: a value as in a limit, such as ``300M`` or
    ``60%`` of the largest architecture; none takes the largest value that a limit on the cost
    allows, and rewards the accuracy alone where there is no such limit. ``exponent``: at most 0.
    ``hard``: what is below the target is worth no more than the target.
    """

    cost: str = USUAL_COST
    target: Quantity | None = None
    exponent: float = field(default=-0.07, validator=le(0))
    hard: bool = False


@frozen(kw_only=True)
class CandidatesConfig:
    """Architectures that are trained alone in a search, where ``search.evaluation`` says so.

    Each is trained on the training images by the settings of ``train``, and judged on the held-out
    ones. ``pool``: whether it begins with blocks of those trained before it. ``least_similarity``:
    of a block to one in the pool. ``pairs``: so many candidates are trained both from the pool and
    from scratch, the first of each batch until there are as many, to find out whether the pool
    helps; 0 asks nothing and uses it. ``finalists``: so many of the best by the reward, of those
    near ``reward.target`` where it is set, are trained by the settings of ``retrain``, on the
    training images alone; the best of them on the held-out ones wins. 1 takes the best by the
    reward.
    ``executor``: ``processes`` of this machine, or a ``ray`` cluster. ``workers``: how many at a
    time, 1 without a process of its own; none for the cores, on a GPU at most 4, on a cluster as
    many as it has room for.
    ``address``: of the cluster, none for one of this machine.
    """

    pool: bool = True
    least_similarity: float = field(default=0.75, validator=and_(gt(0), le(1)))
    pairs: int = field(default=5, validator=_not_one)
    finalists: int = field(default=10, validator=ge(1))
    executor: Literal["processes", "ray"] = "processes"
    workers: int | None = field(default=None, validator=optional(ge(1)))
    address: str | None = None


@frozen(kw_only=True)
class Config:
    """All settings of a run.

    ``space``: a published name, a JSON file, or ``module:attribute``, and behind it what is done to
    it, see `nas_cli.space_names`. ``data``: ``digits``,
    ``cifar10``, ``cifar100``, ``imagefolder:PATH`` or ``synthetic``. ``resolution``: None takes
    the space's own. ``baselines``: random architectures within the limits that are trained from
    scratch as the winner is, so that the worth of the search can be seen. ``threads``: of torch on
    a CPU, None for all cores; results there repeat to the bit only with the same number.
    ``blocks``: where there is one, what the space has before ``+channels`` and ``+bits`` add to it,
    such as its blocks, is searched first, in the run's folder ``blocks``, and then fixed as its
    winner has it: ``method`` and any other settings of that search; images, seed and device are the
    run's. None searches all of it at once. ``references``: networks that are trained from scratch
    beside the winner, whatever the limits: its blocks with the usual ``channels``, or with these
    and the same bits everywhere, like ``3w3a``.
    ``weights``: a file that the supernet starts from. ``meta``: where there is one, the largest
    network is trained first, as it says; all candidates then inherit from it, and ``train``
    follows (precision, channels_last and checkpoint_every are those of ``train`` for both).
    ``warm_start``: an earlier run by ``ppo``, whose critic and pool this one begins with.
    """

    method: str = field(default="spos", validator=in_(tuple(RECIPES)))
    space: str
    data: str = "digits"
    resolution: int | None = field(default=None, validator=optional(gt(0)))
    blocks: Overrides = None
    limits: tuple[str, ...] = ()
    references: tuple[str, ...] = field(default=(), validator=_known_references)
    baselines: int = field(default=5, validator=ge(0))
    seed: int = field(default=0, validator=ge(0))
    device: str = "auto"
    threads: int | None = field(default=None, validator=optional(and_(gt(0), le(1024))))
    weights: str | None = None
    warm_start: str | None = None
    images: ImagesConfig
    supernet: SupernetConfig
    meta: TrainConfig | None = None
    train: TrainConfig
    alphas: AlphasConfig = AlphasConfig()
    distribution: DistributionConfig = DistributionConfig()
    search: SearchConfig
    reward: RewardConfig = RewardConfig()
    policy: PolicyConfig = field(factory=PolicyConfig)
    critic: CriticConfig | None = field(factory=CriticConfig)
    buffer: BufferConfig | None = field(factory=BufferConfig)
    candidates: CandidatesConfig = CandidatesConfig()
    retrain: TrainConfig


# Where a run is computed does not decide what it computes.
WHERE = (
    "device",
    "images.root",
    "images.workers",
    "candidates.executor",
    "candidates.workers",
    "candidates.address",
)
"""Settings that say only where a run is computed; a search that is begun keeps none of them."""
OF_SEARCH = ("search", "reward", "policy", "critic", "buffer", "candidates")
"""The tables that one search of a run may set otherwise."""

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
    whole = merge(merge(recipe, adapted), {**given, "space": space})
    return _decide(structure(whole, Config))


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


def read_config(path: Path) -> Config:
    """Return the settings that `to_toml` wrote.

    Raises:
        InputError: a file that is missing or damaged.
    """
    values = from_toml(path)
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
