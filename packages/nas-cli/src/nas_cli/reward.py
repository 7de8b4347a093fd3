"""What searcher ``ppo`` is rewarded for."""

from nas_cli.limits import METRICS, merge_limits, parse_limit
from nas_cli.workshop import Workshop
from nas_search.rl import Accuracy, Reward, WeightedProduct
from nas_spaces import FeasibleSet, InputError, Table, nearest

__all__ = ["reward_of"]


def reward_of(shop: Workshop, feasible: FeasibleSet) -> Reward:
    """Return the reward that the run's settings describe.

    Raises:
        InputError: an unknown cost, or a target that cannot be read.
    """
    config = shop.run.config.reward
    if config.cost not in METRICS:
        raise InputError(f"reward.cost={config.cost!r} is unknown: {nearest(config.cost, METRICS)}")
    target = _target(shop, feasible)
    if target is None:
        return Accuracy()
    cost = METRICS[config.cost](shop.space)
    return WeightedProduct(cost, target, exponent=config.exponent, hard=config.hard)


def _target(shop: Workshop, feasible: FeasibleSet) -> float | None:
    config = shop.run.config.reward
    if config.target is None:
        for limit in feasible.limits:
            if limit.metric.name == config.cost and limit.upper is not None:
                assert isinstance(limit.metric, Table)
                # A limit may be larger than what anything costs.
                return min(limit.upper, feasible.attainable(limit.metric)[1])
        return None
    text = f"{config.cost}<={config.target}"
    try:
        parse_limit(text)
    except InputError as error:
        raise InputError(
            f"reward.target={config.target!r} cannot be read; write it like 300M or 60%"
        ) from error
    (limit,) = merge_limits(shop.space, [text])
    return limit.upper
