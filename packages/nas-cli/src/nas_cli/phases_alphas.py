"""Settings -> samplers by architecture parameters, and what learns these: ``alphas.*``."""

from nas_cli.draws import Draws, no_update, training_steps
from nas_cli.folder import ALPHAS_FILE
from nas_cli.limits import METRICS, build_limits, check_cost, merge_limits, nothing_counted
from nas_cli.workshop import ALPHAS, GATES, PATHS, Workshop
from nas_samplers import (
    AddedCost,
    Alphas,
    Balanced,
    BelowMean,
    BelowShare,
    BinaryGates,
    Cooling,
    CostTerm,
    DropRule,
    Gumbel,
    Mixture,
    MultipliedCost,
    RelaxedLearner,
    Weighted,
    WithinLimits,
)
from nas_samplers.phase import Join
from nas_spaces import FeasibleSet, InputError, Learner, Sampler, Table
from nas_spaces.torch import check_gates

__all__ = ["balanced", "gumbel", "mixture", "weighted"]


def balanced(shop: Workshop) -> Draws:
    alphas = _alphas(shop)
    sampler = Balanced(alphas, rng=shop.rng(PATHS))
    return _by_alphas(shop, sampler, alphas, _binary_gates(shop, alphas))


def weighted(shop: Workshop) -> Draws:
    alphas = _alphas(shop)
    sampler = Weighted(alphas, rng=shop.rng(PATHS))
    return _by_alphas(shop, sampler, alphas, _binary_gates(shop, alphas))


def mixture(shop: Workshop) -> Draws:
    sampler = Mixture(_alphas(shop))
    return _relaxed(shop, sampler)


def gumbel(shop: Workshop) -> Draws:
    config, train = shop.run.config.alphas, shop.run.config.train
    cooling = Cooling(
        max(round(len(shop.data.train) / train.batch_size), 1),
        start=config.temperature,
        rate=config.temperature_decay,
    )
    return _relaxed(shop, Gumbel(_alphas(shop), rng=shop.rng(PATHS), temperature=cooling))


def _by_alphas(
    shop: Workshop,
    sampler: Sampler,
    alphas: Alphas,
    learner: Learner,
    join: Join | None = None,
) -> Draws:
    config = shop.run.config.alphas
    if _updates(shop) < 1:
        raise no_update("alphas", config, training_steps(shop))
    return Draws(
        sampler=sampler,
        join=join,
        learner=learner,
        learn_from=_before_learning(shop),
        learn_every=config.every,
        learned=(ALPHAS_FILE, alphas.to_record),
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


def _before_learning(shop: Workshop) -> int:
    """Return how many steps pass before the first update of the architecture parameters."""
    return round(shop.run.config.alphas.warmup * training_steps(shop))


def _updates(shop: Workshop) -> int:
    every = shop.run.config.alphas.every
    return training_steps(shop) // every - _before_learning(shop) // every
