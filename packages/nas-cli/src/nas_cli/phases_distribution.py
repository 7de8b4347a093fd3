"""Settings -> the distribution that paths are drawn from, and what moves it: ``distribution.*``."""

from typing import Any

from nas_cli.draws import Draws, no_update, training_steps
from nas_cli.folder import DISTRIBUTION_FILE
from nas_cli.limits import METRICS, USUAL_COST, build_limits, check_cost, target_of
from nas_cli.workshop import PATHS, Workshop
from nas_samplers import (
    CostHinge,
    Distribution,
    EntropyRows,
    EntropySampler,
    PosteriorLearner,
)
from nas_spaces import FeasibleSet, InputError

__all__ = ["by_distribution"]


def by_distribution(shop: Workshop) -> Draws:
    config, steps = shop.run.config.distribution, training_steps(shop)
    warmup, switch = _part(config.warmup, steps), None
    last = steps - steps % config.every
    if last <= warmup:
        raise no_update("distribution", config, steps)
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
