"""What searcher ``ppo`` is rewarded for."""

from nas_cli.limits import METRICS, merge_limits, parse_limit
from nas_cli.workshop import Workshop
from nas_search.rl import Accuracy, Reward, WeightedProduct
from nas_spaces import FeasibleSet, InputError, nearest

__all__ = ["reward_of"]


def reward_of(shop: Workshop, feasible: FeasibleSet) -> Reward:
    """Return the reward that the run's settings describe.

    Raises:
        InputError: an unknown cost, or a target that cannot be read or is not attainable.
    """
    config = shop.run.config.reward
    if config.cost not in METRICS:
        raise InputError(f"reward.cost={config.cost!r} is unknown: {nearest(config.cost, METRICS)}")
    target = _target(shop, feasible)
    if target is None:
        return Accuracy()
    try:
        reward = WeightedProduct(
            METRICS[config.cost](shop.space), target, exponent=config.exponent, hard=config.hard
        )
        reward.check_target(feasible)
    except InputError as error:
        raise InputError(f"reward: {error}") from error
    return reward


def _target(shop: Workshop, feasible: FeasibleSet) -> float | None:
    config = shop.run.config.reward
    if config.target is None:
        own = [limit.upper for limit in feasible.limits if limit.metric.name == config.cost]
        return own[0] if own else None
    text = f"{config.cost}<={config.target}"
    try:
        parse_limit(text)
    except InputError as error:
        raise InputError(
            f"reward.target={config.target!r} cannot be read; write it like 300M or 60%"
        ) from error
    (limit,) = merge_limits(shop.space, [text])
    return limit.upper
