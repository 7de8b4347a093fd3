"""Settings -> the phases of a supernet's training. A method is what its recipe says, no more."""

from collections.abc import Callable
from typing import Any

import attrs
from attrs import frozen
from torch import nn

from nas_cli.folder import ALPHAS_FILE, DISTRIBUTION_FILE
from nas_cli.limits import (
    METRICS,
    USUAL_COST,
    build_limits,
    check_cost,
    merge_limits,
    nothing_counted,
    target_of,
)
from nas_cli.settings import AlphasConfig, DistributionConfig
from nas_cli.workshop import ALPHAS, GATES, PATHS, Workshop, phase, steps_of
from nas_samplers import (
    AddedCost,
    Alphas,
    Balanced,
    BelowMean,
    BelowShare,
    BinaryGates,
    Constrained,
    Cooling,
    CostHinge,
    CostTerm,
    Distribution,
    DropRule,
    EntropyRows,
    EntropySampler,
    ExpectationFair,
    Fixed,
    Gumbel,
    Mixture,
    MultipliedCost,
    PathDropout,
    Phase,
    PosteriorLearner,
    RelaxedLearner,
    StrictFair,
    Uniform,
    Weighted,
    WithinLimits,
    mean_rows,
    posterior_rows,
    sum_rows,
)
from nas_samplers.phase import Join, Weigh
from nas_search import largest
from nas_spaces import FeasibleSet, InputError, Learner, Sampler, Table
from nas_spaces.torch import Inherited, Supernet, check_gates, inherit_candidates

__all__ = [
    "LEARNING",
    "META",
    "SAMPLERS",
    "SUPERNET",
    "Draws",
    "Plan",
    "plan_training",
]

META, SUPERNET = "largest network", "supernet"
"""Names of the phases, for events, checkpoints and a person."""


@frozen(eq=False, kw_only=True)
class Draws:
    """What ``supernet.sampler`` stands for.

    ``sampler``: draws the paths. ``join``: how those of a step are run as one, None for one by
    one. ``learner``: moves what is learned of the architectures, where anything is; from how many
    steps on, ``learn_from``, and at which, ``learn_every``. ``learned``: the file of what it came
    to, and a function that returns that. ``note``: what a person should know of the paths
    beforehand.
    """

    sampler: Sampler
    join: Join | None = None
    learner: Learner | None = None
    learn_from: int = 0
    learn_every: int = 1
    learned: tuple[str, Callable[[], dict[str, Any]]] | None = None
    note: str | None = None


@frozen(eq=False)
class Plan:
    """A supernet's training.

    ``phases``: what to do, in order. ``draws``: what its last one trains.
    """

    phases: tuple[Phase, ...]
    draws: Draws


def plan_training(shop: Workshop, inherited: Callable[[Inherited], None]) -> Plan:
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
        return Plan((main,), draws)
    row = largest(shop.space, METRICS["macs"](shop.space))

    def inherit(network: nn.Module) -> None:
        assert isinstance(network, Supernet)
        inherited(inherit_candidates(network, row))

    first = phase(META, config.meta, Fixed(row), images)
    return Plan((first, attrs.evolve(main, before=inherit)), draws)


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
        ramp=_steps(shop),
    )
    return Draws(sampler=sampler, join=sampler.join)


def _balanced(shop: Workshop) -> Draws:
    alphas = _alphas(shop)
    sampler = Balanced(alphas, rng=shop.rng(PATHS))
    return _by_alphas(shop, sampler, alphas, _binary_gates(shop, alphas))


def _weighted(shop: Workshop) -> Draws:
    alphas = _alphas(shop)
    sampler = Weighted(alphas, rng=shop.rng(PATHS))
    return _by_alphas(shop, sampler, alphas, _binary_gates(shop, alphas))


def _by_alphas(
    shop: Workshop,
    sampler: Sampler,
    alphas: Alphas,
    learner: Learner,
    join: Join | None = None,
) -> Draws:
    config = shop.run.config.alphas
    if _updates(shop) < 1:
        raise _no_update("alphas", config, _steps(shop))
    return Draws(
        sampler=sampler,
        join=join,
        learner=learner,
        learn_from=_before_learning(shop),
        learn_every=config.every,
        learned=(ALPHAS_FILE, alphas.to_record),
    )


def _no_update(table: str, config: AlphasConfig | DistributionConfig, steps: int) -> InputError:
    """Return what says that a training would learn nothing of architectures."""
    return InputError(
        f"{table}: none of the updates, every {config.every} steps, is between the warm-up's end "
        f"and the last of {steps} steps; shorten {table}.warmup={config.warmup} or {table}.every"
    )


def _mixture(shop: Workshop) -> Draws:
    sampler = Mixture(_alphas(shop))
    return _relaxed(shop, sampler)


def _gumbel(shop: Workshop) -> Draws:
    config, train = shop.run.config.alphas, shop.run.config.train
    cooling = Cooling(
        max(round(len(shop.data.train) / train.batch_size), 1),
        start=config.temperature,
        rate=config.temperature_decay,
    )
    return _relaxed(shop, Gumbel(_alphas(shop), rng=shop.rng(PATHS), temperature=cooling))


def _distribution(shop: Workshop) -> Draws:
    config, steps = shop.run.config.distribution, _steps(shop)
    warmup, switch = _part(config.warmup, steps), None
    last = steps - steps % config.every
    if last <= warmup:
        raise _no_update("distribution", config, steps)
    if config.join_after is not None:
        switch = _part(config.join_after, steps)
        if switch > last:
            raise InputError(
                f"distribution.join_after={config.join_after} is behind the last update, at step "
                f"{last} of {steps}; switch earlier, or --set distribution.join_after=none"
            )
    least = config.least or (1 if config.paper_exact else 2)
    if config.rows is None and config.most is not None and config.most < least:
        raise InputError(
            f"distribution.most={config.most} is below distribution.least={least}; set one of them"
        )
    fewest = least if config.rows is None else config.rows
    if fewest < 2 and not config.paper_exact:
        which = "least" if config.rows is None else "rows"
        raise InputError(
            f"distribution.{which}=1: centred weights compare at least 2 rows of a step; raise it, "
            "or --set distribution.paper_exact=true"
        )
    if config.joint and config.join_after is not None:
        raise InputError(
            f"distribution.join_after={config.join_after}, but by distribution.joint=true groups "
            "are joint from the beginning; leave one of them out"
        )
    first = warmup - warmup % config.every + config.every
    # What has begun goes on, whatever it is worth.
    if switch is not None and switch <= first and not shop.run.checkpoint.exists():
        raise InputError(
            f"distribution.join_after={config.join_after} switches at step {switch} of {steps}, "
            f"and the first update behind distribution.warmup={config.warmup} is at step {first}: "
            "nothing would be learned of single choices; switch later, train for more steps, or "
            "begin joint by --set distribution.joint=true --set distribution.join_after=none"
        )
    distribution = Distribution(shop.space, joint=config.joint)
    by_entropy = EntropyRows(config.rows_per_nat, least=least, most=config.most)
    entropy = distribution.entropy()
    if config.rows is None and by_entropy.asks_for_too_many(entropy):
        raise InputError(
            f"distribution.rows_per_nat={config.rows_per_nat:g} of {entropy:.1f} nats asks for "
            f"more than {by_entropy.bound:,} rows in a step; lower it, or bound them by "
            "distribution.most"
        )
    sampler = EntropySampler(
        distribution,
        rng=shop.rng(PATHS),
        rows=config.rows or by_entropy,
        warmup=warmup,
        warmup_rows=config.warmup_rows,
    )
    learner = PosteriorLearner(
        sampler,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        temperature=config.temperature,
        cost=_hinge(shop),
        paper_exact=config.paper_exact,
        joint_from=switch,
        steps=steps,
    )
    return Draws(
        sampler=sampler,
        learner=learner,
        learn_from=warmup,
        learn_every=config.every,
        learned=(DISTRIBUTION_FILE, lambda: _distribution_record(learner)),
        note=_rows_note(sampler),
    )


def _rows_note(sampler: EntropySampler) -> str:
    """Return how many paths a step has, at first where that changes."""
    entropy, note, where = sampler.distribution.entropy(), "", ""
    if sampler.warmup and sampler.warmup_rows is not None:
        note, where = f"{sampler.warmup_rows} a step of the warm-up, then ", " behind it"
    if not isinstance(sampler.rows, EntropyRows):
        return f"{note}{sampler.rows} a step"
    first = sampler.rows(entropy)
    return f"{note}{first} in the first step{where} ({sampler.rows.share:g} a nat of {entropy:.1f})"


def _part(share: float, steps: int) -> int:
    """Return a share below 1 of the steps, rounded down but for what floats lose."""
    return int(share * steps + 1e-9)


def _hinge(shop: Workshop) -> CostHinge | None:
    config = shop.run.config.distribution
    check_cost("distribution", config.cost)
    if not config.cost_weight:
        return None
    feasible = build_limits(shop.space, shop.run.config.limits)
    cost, begun = METRICS[config.cost](shop.space), shop.run.checkpoint.exists()
    target = target_of("distribution", cost, config.target, feasible)
    if target is None:
        if config.cost != USUAL_COST and not begun:
            raise InputError(
                f"distribution.cost={config.cost} is without effect: distribution.target is none, "
                f"and no limit on {config.cost} allows a largest value; give one, like --set "
                f"distribution.target=60%, or --set distribution.cost={USUAL_COST}"
            )
        return None
    if config.target is not None and not begun:
        low, high = FeasibleSet(shop.space).attainable(cost)
        if target <= 0 or not low <= target < high:
            raise InputError(
                f"distribution.target={config.target} is {target:,.0f} {cost.unit}; architectures "
                f"of space {shop.space.name!r} have {low:,.0f} to {high:,.0f}: none keeps to less, "
                "and all do to as much as the largest; aim between the two"
            )
    return CostHinge(cost, target, weight=config.cost_weight, kind=config.cost_term)


def _distribution_record(learner: PosteriorLearner) -> dict[str, Any]:
    """Return what the training learned, with the cost that it was to keep to."""
    record = learner.distribution.to_record(learner.summable)
    if learner.cost is not None:
        record |= {
            "cost": learner.cost.name,
            "target": learner.cost.target,
            "mode_cost": float(learner.cost.costs([record["mode"]])[0]),
        }
    return record


LEARNING: dict[str, Callable[[Workshop], Draws]] = {
    "balanced": _balanced,
    "weighted": _weighted,
    "mixture": _mixture,
    "gumbel": _gumbel,
    "distribution": _distribution,
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


def _reduction(shop: Workshop) -> Weigh:
    """Return what the gradient of each of a step's paths counts."""
    reductions: dict[str, Weigh] = {
        "sum": sum_rows,
        "mean": mean_rows,
        "posterior": posterior_rows(shop.run.config.distribution.temperature),
    }
    return reductions[shop.run.config.supernet.reduction]


def _alphas(shop: Workshop) -> Alphas:
    """Return the architecture parameters, with the cost that counts.

    Raises:
        InputError: a space whose candidates cannot be gated, or a cost that is no sum.
    """
    config = shop.run.config.alphas
    check_gates(shop.space)
    check_cost("alphas", config.cost)
    cost = METRICS[config.cost](shop.space) if config.cost_weight else None
    if cost is not None and not FeasibleSet(shop.space).attainable(cost)[1]:
        raise InputError(
            f"alphas.cost={config.cost}: {nothing_counted(shop.space, cost)}; take macs, or leave "
            "the cost out by --set alphas.cost_weight=0"
        )
    try:
        return Alphas(shop.space, std=config.std, rng=shop.rng(ALPHAS), cost=cost)
    except InputError as error:
        raise InputError(
            f"{error}; change alphas.cost={config.cost}, or leave the cost out by --set "
            "alphas.cost_weight=0"
        ) from error


def _binary_gates(shop: Workshop, alphas: Alphas) -> Learner:
    config = shop.run.config.alphas
    return BinaryGates(
        alphas,
        rng=shop.rng(GATES),
        variant=config.variant,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        cost=_cost_term(shop, alphas),
        drop=_drop_rule(shop),
        warmup=round(config.drop_warmup * _updates(shop)),
    )


def _relaxed(shop: Workshop, sampler: Mixture | Gumbel) -> Draws:
    config = shop.run.config.alphas
    if config.drop is not None:
        raise InputError(
            f"alphas.drop={config.drop} is for supernet.sampler=balanced or weighted, it is "
            f"{shop.run.config.supernet.sampler}; take one of those, or --set alphas.drop=none"
        )
    learner = RelaxedLearner(
        sampler,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        cost=_cost_term(shop, sampler.alphas),
    )
    return _by_alphas(shop, sampler, sampler.alphas, learner, join=sampler.join)


def _cost_term(shop: Workshop, alphas: Alphas) -> CostTerm | None:
    config = shop.run.config.alphas
    if alphas.cost is None:
        return None
    reference = _reference(shop, alphas.cost)
    if config.cost_term == "sum":
        return AddedCost(reference=reference, weight=config.cost_weight)
    return MultipliedCost(alpha=config.cost_weight, beta=config.cost_power, reference=reference)


def _reference(shop: Workshop, cost: Table) -> float:
    """Return the cost that is aimed at: the limit's upper end, or the middle of the space."""
    for limit in merge_limits(shop.space, shop.run.config.limits):
        if limit.metric.name == cost.name and limit.upper is not None:
            return float(limit.upper)
    return sum(FeasibleSet(shop.space).attainable(cost)) / 2


def _drop_rule(shop: Workshop) -> DropRule | None:
    config = shop.run.config.alphas
    if config.drop is None:
        return None
    feasible = build_limits(shop.space, shop.run.config.limits)
    if config.drop == "margin":
        return WithinLimits(BelowMean(config.drop_below), feasible)
    if config.drop_below >= 1:
        raise InputError(
            f"alphas.drop_below={config.drop_below} with alphas.drop=share must be below 1: the "
            "share of an even probability below which a candidate is dropped"
        )
    return WithinLimits(BelowShare(config.drop_below), feasible)


def _steps(shop: Workshop) -> int:
    return steps_of(shop.run.config.train, shop.data.train)


def _before_learning(shop: Workshop) -> int:
    """Return how many steps pass before the first update of the architecture parameters."""
    return round(shop.run.config.alphas.warmup * _steps(shop))


def _updates(shop: Workshop) -> int:
    every = shop.run.config.alphas.every
    return _steps(shop) // every - _before_learning(shop) // every
