"""What searcher ``ppo`` is rewarded for."""

from nas_cli.limits import METRICS, target_of
from nas_cli.workshop import Workshop
from nas_search.rl import Accuracy, Reward, WeightedProduct
from nas_spaces import FeasibleSet

__all__ = ["reward_of"]


def reward_of(shop: Workshop, feasible: FeasibleSet) -> Reward:
    """Return the reward that the run's settings describe.

    Raises:
        InputError: an unknown cost, or a target that cannot be read.
    """
    config = shop.run.config.reward
    target = target_of("reward", config.cost, config.target, feasible)
    if target is None:
        return Accuracy()
    cost = METRICS[config.cost](shop.space)
    return WeightedProduct(cost, target, exponent=config.exponent, hard=config.hard)
