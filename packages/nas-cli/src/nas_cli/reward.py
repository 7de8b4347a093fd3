"""What searcher ``ppo`` is rewarded for."""

from nas_cli.limits import METRICS, USUAL_COST, check_cost, target_of
from nas_cli.workshop import Workshop
from nas_search.rl import Accuracy, Reward, WeightedProduct
from nas_spaces import FeasibleSet

__all__ = ["reward_note", "reward_of"]


def reward_of(shop: Workshop, feasible: FeasibleSet) -> Reward:
    """Return the reward that the run's settings describe.

    Raises:
        InputError: an unknown cost, or a target that cannot be read.
    """
    config = shop.run.config.reward
    check_cost("reward", config.cost)
    cost = METRICS[config.cost](shop.space)
    target = target_of("reward", cost, config.target, feasible)
    if target is None:
        return Accuracy()
    return WeightedProduct(cost, target, exponent=config.exponent, hard=config.hard)


def reward_note(shop: Workshop, feasible: FeasibleSet) -> str | None:
    """Return what a person should know of the reward: that a cost is named and does not count."""
    config = shop.run.config
    usual = config.search.searcher != "ppo" or config.reward.cost == USUAL_COST
    if usual or not isinstance(reward_of(shop, feasible), Accuracy):
        return None
    cost = config.reward.cost
    return (
        f"accuracy alone is rewarded: reward.target is none, and no limit on {cost} allows a "
        "largest value"
    )
