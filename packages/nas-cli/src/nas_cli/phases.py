"""Settings -> the phases of a supernet's training. A method is what its recipe says, no more."""

from collections.abc import Callable

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from torch import nn

from nas_cli.draws import Draws, training_steps
from nas_cli.limits import METRICS
from nas_cli.phases_alphas import balanced, gumbel, mixture, weighted
from nas_cli.phases_distribution import by_distribution
from nas_cli.training import phase
from nas_cli.workshop import PATHS, Workshop
from nas_samplers import (
    Constrained,
    ExpectationFair,
    Fixed,
    PathDropout,
    Phase,
    StrictFair,
    Uniform,
    mean_rows,
    posterior_rows,
    sum_rows,
)
from nas_samplers.phase import Weigh
from nas_search import largest
from nas_spaces import InputError, SearchSpace, Table
from nas_spaces.torch import Inherited, Supernet, inherit_candidates

__all__ = [
    "LEARNING",
    "META",
    "SAMPLERS",
    "SUPERNET",
    "TrainingPlan",
    "largest_network",
    "plan_training",
]

META, SUPERNET = "largest network", "supernet"
"""Names of the phases, for events, checkpoints and a person."""


@frozen(eq=False)
class TrainingPlan:
    """A supernet's training.

    ``phases``: what to do, in order. ``draws``: what its last one trains.
    """

    phases: tuple[Phase, ...]
    draws: Draws


def plan_training(shop: Workshop, inherited: Callable[[Inherited], None]) -> TrainingPlan:
    """Return the training that the run's settings describe.

    Args:
        shop: the run.
        inherited: told what the candidates took from the largest network, when they do.

    Raises:
        InputError: settings that do not fit together, or not the space.
    """
    config = shop.run.config
    supernet, images = config.supernet, shop.data.train
    if supernet.paths is not None and supernet.sampler != "expectation-fair":
        raise InputError(
            f"supernet.paths={supernet.paths} is for supernet.sampler=expectation-fair, it is "
            f"{supernet.sampler}; take that sampler, or --set supernet.paths=none"
        )
    draws = SAMPLERS[supernet.sampler](shop)
    main = attrs.evolve(
        phase(SUPERNET, config.train, draws.sampler, images),
        weigh=_reduction(shop),
        join=draws.join,
        learner=draws.learner,
        learn_from=draws.learn_from,
        learn_every=draws.learn_every,
    )
    if config.meta is None:
        return TrainingPlan((main,), draws)
    row = largest_network(shop.space, METRICS["macs"](shop.space))

    def inherit(network: nn.Module) -> None:
        assert isinstance(network, Supernet)
        inherited(inherit_candidates(network, row))

    first = phase(META, config.meta, Fixed(row), images)
    return TrainingPlan((first, attrs.evolve(main, before=inherit)), draws)


def largest_network(space: SearchSpace, macs: Table) -> NDArray[np.int64]:
    """Return the architecture int64 ``[d]`` of most multiply-adds, of equals that of most bits."""
    return largest(space, macs, METRICS["bitops"](space))


def _uniform(shop: Workshop) -> Draws:
    return Draws(sampler=Uniform(shop.space, rng=shop.rng(PATHS)))


def _constrained(shop: Workshop) -> Draws:
    return Draws(sampler=Constrained(shop.ranges, rng=shop.rng(PATHS)))


def _strict_fair(shop: Workshop) -> Draws:
    return Draws(sampler=StrictFair(shop.space, rng=shop.rng(PATHS)))


def _expectation_fair(shop: Workshop) -> Draws:
    # As many as a strictly fair step has: options that were dropped do not count.
    most = int(shop.space.mask.sum(axis=1).max(initial=1))
    k = shop.run.config.supernet.paths or most
    return Draws(sampler=ExpectationFair(shop.space, k=k, rng=shop.rng(PATHS)))


def _path_dropout(shop: Workshop) -> Draws:
    sampler = PathDropout(
        shop.space,
        rng=shop.rng(PATHS),
        rate=shop.run.config.supernet.path_dropout,
        ramp=training_steps(shop),
    )
    return Draws(sampler=sampler, join=sampler.join)


def _reduction(shop: Workshop) -> Weigh:
    """Return what the gradient of each of a step's paths counts."""
    reductions: dict[str, Weigh] = {
        "sum": sum_rows,
        "mean": mean_rows,
        "posterior": posterior_rows(shop.run.config.distribution.temperature),
    }
    return reductions[shop.run.config.supernet.reduction]


LEARNING: dict[str, Callable[[Workshop], Draws]] = {
    "balanced": balanced,
    "weighted": weighted,
    "mixture": mixture,
    "gumbel": gumbel,
    "distribution": by_distribution,
}
"""Those of `SAMPLERS` that learn which architectures are good."""

SAMPLERS: dict[str, Callable[[Workshop], Draws]] = {
    "uniform": _uniform,
    "constrained": _constrained,
    "strict-fair": _strict_fair,
    "expectation-fair": _expectation_fair,
    "path-dropout": _path_dropout,
    **LEARNING,
}
"""Setting ``supernet.sampler`` -> what draws the paths."""
