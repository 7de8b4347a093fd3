"""The methods that `nas compare` compares: their settings, and the searchers made of them.

Without torch, which only the learning ones need once they are made.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, optional

import nas_search
from nas_cli.ppo_settings import BufferConfig, CriticConfig, PolicyConfig, build_ppo
from nas_cli.typed import check_keys, flatten, merge, structure
from nas_spaces import FeasibleSet, InputError, Searcher, derive_seed, nearest

__all__ = [
    "COMPARE",
    "METHODS",
    "OBJECTIVES",
    "TORCH",
    "EvolutionConfig",
    "FNASConfig",
    "Methods",
    "NSGA2Config",
    "PPOConfig",
    "RandomConfig",
    "RegularizedConfig",
    "build_searcher",
    "check_methods",
    "override_methods",
    "rng_of",
]


@frozen(kw_only=True)
class RandomConfig:
    """Random search, see `nas_search.Random`."""

    batch: int = field(default=10, validator=ge(1))


@frozen(kw_only=True)
class EvolutionConfig:
    """Evolution, see `nas_search.Evolution`.

    Of the paper but for the population, which would be a sixth of 300 evaluations.
    """

    population: int = field(default=20, validator=ge(1))
    parents: int = field(default=10, validator=ge(1))
    crossover: int = field(default=10, validator=ge(0))
    mutation: int = field(default=10, validator=ge(0))
    mutation_probability: float = field(default=0.1, validator=and_(gt(0), le(1)))


@frozen(kw_only=True)
class RegularizedConfig:
    """Regularised evolution, see `nas_search.RegularizedEvolution`.

    Of Dong and Yang, ICLR 2020, on NAS-Bench-201.
    """

    population: int = field(default=10, validator=ge(1))
    sample: int = field(default=3, validator=ge(1))
    batch: int = field(default=1, validator=ge(1))


@frozen(kw_only=True)
class NSGA2Config:
    """NSGA-II, see `nas_search.NSGA2`.

    ``mutation``: share of the children that are mutated. ``mutation_probability``: of a choice,
    none for 1/d.
    """

    population: int = field(default=20, validator=ge(1))
    mutation: float = field(default=0.8, validator=and_(ge(0), le(1)))
    mutation_probability: float | None = field(default=None, validator=optional(and_(gt(0), le(1))))


@frozen(kw_only=True)
class PPOConfig:
    """Reinforcement learning without the parts that make FNAS of it."""

    policy: PolicyConfig = field(factory=PolicyConfig)


@frozen(kw_only=True)
class FNASConfig:
    """FNAS. ``critic``, ``buffer``: none leaves the part out."""

    policy: PolicyConfig = field(factory=PolicyConfig)
    critic: CriticConfig | None = field(factory=CriticConfig)
    buffer: BufferConfig | None = field(factory=BufferConfig)


@frozen(kw_only=True)
class Methods:
    """The settings of every method, under its name."""

    random: RandomConfig = RandomConfig()
    evolution: EvolutionConfig = EvolutionConfig()
    regularized: RegularizedConfig = RegularizedConfig()
    nsga2: NSGA2Config = NSGA2Config()
    ppo: PPOConfig = PPOConfig()
    fnas: FNASConfig = FNASConfig()


METHODS = tuple(attrs.fields_dict(Methods))

OBJECTIVES: dict[str, tuple[str, ...]] = {"nsga2": ("error", "macs")}
"""What a method is told; the error alone where it does not stand here."""

SEARCHERS: dict[str, Callable[..., Searcher]] = {
    "random": nas_search.Random,
    "evolution": nas_search.Evolution,
    "regularized": nas_search.RegularizedEvolution,
    "nsga2": nas_search.NSGA2,
}

TORCH = ("ppo", "fnas")
"""Methods that need torch."""

COMPARE = 17
"""Stream of randomness of a comparison, behind those of a run."""

# A number never changes its meaning: what is compared beside a method does not change its draws.
STREAMS = {"random": 0, "evolution": 1, "regularized": 2, "nsga2": 3, "ppo": 4, "fnas": 5}


def rng_of(seed: int, method: str, index: int) -> np.random.Generator:
    """Return the generator of one search."""
    return np.random.default_rng(derive_seed(seed, COMPARE, STREAMS[method], index))


def check_methods(names: Sequence[str]) -> None:
    """Refuse names of methods that cannot be compared.

    Raises:
        InputError: an unknown method, one named twice, or none.
    """
    if not names:
        raise InputError(f"--methods names none: {nearest('', METHODS)}")
    for name in names:
        if name not in METHODS:
            raise InputError(f"--methods: {name!r} is unknown: {nearest(name, METHODS)}")
        if names.count(name) > 1:
            raise InputError(f"--methods names {name!r} twice; name it once")


def override_methods(
    settings: Methods, names: Sequence[str], given: Iterable[Mapping[str, Any]]
) -> Methods:
    """Return ``settings`` with others.

    Args:
        settings: to begin with.
        names: of the methods that are compared.
        given: nested settings, like ``{"ppo": {"policy": {"lr": 0.01}}}``; the later ones count.

    Raises:
        InputError: an unknown setting, a setting of a method that is not compared, or a value of
            the wrong type or out of range.

    >>> override_methods(Methods(), ["random"], [{"random": {"batch": 5}}]).random
    RandomConfig(batch=5)
    """
    values = attrs.asdict(settings)
    for one in given:
        check_keys(one, Methods, stand="a comparison's settings.json")
        for name in one:
            if name not in names:
                setting = next(iter(flatten({name: one[name]})), name)
                raise InputError(
                    f"--set {setting}: {name} is not among --methods {','.join(names)}"
                )
        values = merge(values, one)
    return structure(values, Methods)


def build_searcher(
    method: str,
    settings: Methods,
    feasible: FeasibleSet,
    *,
    rng: np.random.Generator,
    budget: int,
) -> Searcher:
    """Return a searcher.

    Args:
        method: one of `METHODS`.
        settings: of all methods.
        feasible: the limits, with the space.
        rng: the generator that everything is drawn from.
        budget: distinct architectures that the search will measure.

    Raises:
        InputError: settings that do not fit together.
    """
    try:
        if method == "ppo":
            return build_ppo(feasible, settings.ppo.policy, None, None, rng=rng, budget=budget)
        if method == "fnas":
            own = settings.fnas
            return build_ppo(feasible, own.policy, own.critic, own.buffer, rng=rng, budget=budget)
        values = attrs.asdict(getattr(settings, method))
        return SEARCHERS[method](feasible.space, rng=rng, feasible=feasible, **values)
    except InputError as error:
        raise InputError(f"{method}: {error}; change it by --set {method}.KEY=VALUE") from error
