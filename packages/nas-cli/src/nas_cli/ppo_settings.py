"""Settings of searcher ``ppo``, its critic and its buffer, and the searcher made of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from attrs import asdict, field, frozen
from attrs.validators import and_, ge, gt, lt, optional

from nas_spaces import FeasibleSet, SearchSpace

if TYPE_CHECKING:
    from nas_search.rl import PPO, Policy, Reward

__all__ = ["BufferConfig", "CriticConfig", "PolicyConfig", "build_policy", "build_ppo"]


# A threshold that U is never above, for rewards that are accuracies in [0, 1]. It departs from the
# paper, which measures what U is above the threshold of: here U is a bonus in V + U and no more.
ALWAYS: float | None = 1.0


@frozen(kw_only=True)
class PolicyConfig:
    """The policy of searcher ``ppo``, see `nas_search.rl.Policy` and `nas_search.rl.PPO`.

    ``batch``: rows of an update. ``hidden``: units of the LSTM. ``lr``: of Adam. ``entropy``: its
    coefficient. ``clip``: of the ratio. ``decay``: of the moving baseline. ``epochs``: Adam steps
    of an update. ``standardise``: divide advantages by the rewards' standard deviation.
    ``baseline``: ``moving``, or the ``critic``'s. ``pick``: which rows are measured that the
    critic is certain of. ``resampled``: rows drawn for each that is missing in a batch.
    """

    batch: int = field(default=10, validator=ge(1))
    hidden: int = field(default=100, validator=ge(1))
    lr: float = field(default=1e-3, validator=gt(0))
    entropy: float = field(default=0.1, validator=ge(0))
    clip: float = field(default=0.2, validator=gt(0))
    decay: float = field(default=0.95, validator=and_(ge(0), lt(1)))
    epochs: int = field(default=4, validator=ge(1))
    standardise: bool = True
    baseline: Literal["moving", "critic"] = "moving"
    pick: Literal["promising", "uncertain", "drawn"] = "promising"
    resampled: int = field(default=100, validator=ge(1))


@frozen(kw_only=True)
class CriticConfig:
    """FNAS's critic, see `nas_search.rl.Critic`.

    ``threshold``: largest uncertainty U, in units of the reward, at which a value V is trusted;
    none for the running median of the last ``window`` proposals. By the default of 1 every V is
    trusted, once ``least`` rewards were measured: U decides no more what is measured, and acts as
    a bonus only, where the rows of the largest V + U are picked. Half of a batch's new rows are
    measured all the same. That departs from the paper, whose rule is that what U is too large of
    is measured; ``threshold`` none keeps it. ``members``: networks V, whose standard deviation is
    U; 1 is the paper's critic, with a network for U.
    """

    hidden: int = field(default=200, validator=ge(1))
    lr: float = field(default=1e-3, validator=gt(0))
    steps: int = field(default=25, validator=ge(1))
    batch: int = field(default=32, validator=ge(1))
    members: int = field(default=4, validator=ge(1))
    residuals: Literal["first", "current"] = "first"
    threshold: float | None = field(default=ALWAYS, validator=optional(ge(0)))
    window: int = field(default=100, validator=ge(1))
    least: int = field(default=20, validator=ge(1))


@frozen(kw_only=True)
class BufferConfig:
    """FNAS's experience buffer, see `nas_search.rl.ExperienceBuffer`."""

    capacity: int = field(default=10, validator=ge(1))
    share: float = field(default=0.5, validator=and_(ge(0), lt(1)))
    temperature: float = field(default=1.0, validator=gt(0))


OF_SEARCH = ("batch", "baseline", "pick", "resampled")
"""Settings of `PolicyConfig` that are of the search around the policy."""


def build_policy(space: SearchSpace, config: PolicyConfig, *, rng: np.random.Generator) -> "Policy":
    """Return the policy that settings describe, its weights drawn from ``rng``.

    Raises:
        InputError: settings that do not fit together.
    """
    from nas_search.rl import Policy

    own = {key: value for key, value in asdict(config).items() if key not in OF_SEARCH}
    return Policy(space, rng=rng, **own)


def build_ppo(
    feasible: FeasibleSet,
    policy: PolicyConfig,
    critic: CriticConfig | None,
    buffer: BufferConfig | None,
    *,
    rng: np.random.Generator,
    budget: int,
    reward: "Reward | None" = None,
) -> "PPO":
    """Return the searcher that settings describe.

    Args:
        feasible: the limits, with the space.
        policy: settings.
        critic: None measures every new row.
        buffer: None replays nothing.
        rng: the generator that everything is drawn from.
        budget: distinct architectures that the search will measure.
        reward: None for the accuracy.

    Raises:
        InputError: settings that do not fit together.
    """
    from nas_search.rl import PPO, Accuracy, Critic, ExperienceBuffer

    space = feasible.space
    of_search: Mapping[str, Any] = {key: getattr(policy, key) for key in OF_SEARCH}
    return PPO(
        space,
        rng=rng,
        feasible=feasible,
        reward=Accuracy() if reward is None else reward,
        policy=build_policy(space, policy, rng=rng),
        critic=None if critic is None else Critic(space, rng=rng, **asdict(critic)),
        buffer=None if buffer is None else ExperienceBuffer(space, **asdict(buffer)),
        budget=budget,
        **of_search,
    )
