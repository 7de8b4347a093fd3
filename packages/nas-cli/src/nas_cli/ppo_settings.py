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
    """The policy of searcher ``ppo``, and of ``search.mutator=learned``.

    See `nas_search.rl.Policy` and `nas_search.rl.PPO`.
    """

    batch: int = field(default=10, validator=ge(1))
    """Of ``ppo``: architectures of an update; FNAS gives no number."""
    hidden: int = field(default=100, validator=ge(1))
    """Units of the LSTM. FNAS's by default."""
    lr: float = field(default=1e-3, validator=gt(0))
    """Learning rate of Adam, constant."""
    entropy: float = field(default=0.1, validator=ge(0))
    """Weight of the entropy of what is drawn [nats], which keeps the policy from settling early;
    for advantages that are standardised."""
    clip: float = field(default=0.2, validator=gt(0))
    """PPO's: how far the ratio of a probability to that of when it was drawn counts, as 1 +- clip.
    Of Schulman et al., 2017, by default."""
    decay: float = field(default=0.95, validator=and_(ge(0), lt(1)))
    """Decay of the moving mean of rewards that they are compared with, a batch."""
    epochs: int = field(default=4, validator=ge(1))
    """Adam steps of an update, on all its rows."""
    standardise: bool = True
    """Divide advantages by the standard deviation of all rewards so far, so that
    ``policy.entropy`` means the same whatever their scale."""
    baseline: Literal["moving", "critic"] = "moving"
    """Of ``ppo``: what rewards are compared with: the policy's ``moving`` mean, or the mean value
    that the ``critic`` gives to what the policy draws now, once it is trusted."""
    pick: Literal["promising", "uncertain", "drawn"] = "promising"
    """Of ``ppo`` with a critic: which rows are measured where it is certain of more than half of a
    batch: those of the largest V + U (``promising``), of the largest U (``uncertain``), or the
    first that were ``drawn``. FNAS does not say."""
    resampled: int = field(default=100, validator=ge(1))
    """Of ``ppo`` with a critic: rows drawn for each that is missing in a batch, to find some that
    the critic is not certain of; FNAS draws without a bound."""


@frozen(kw_only=True)
class CriticConfig:
    """FNAS's critic, of searcher ``ppo``: the value V of an architecture, and how uncertain it is.

    See `nas_search.rl.Critic`. By the default threshold of 1 every V is trusted, once
    ``critic.least`` rewards were measured: U decides no more what is measured, and acts as a bonus
    only, where the rows of the largest V + U are picked. Half of a batch's new rows are measured
    all the same. That departs from the paper, whose rule is that what U is too large of is
    measured; ``critic.threshold=none`` keeps it.
    """

    hidden: int = field(default=200, validator=ge(1))
    """Units of a layer. FNAS's by default."""
    lr: float = field(default=1e-3, validator=gt(0))
    """Learning rate of Adam, constant."""
    steps: int = field(default=25, validator=ge(1))
    """Adam steps after each batch of measured rewards."""
    batch: int = field(default=32, validator=ge(1))
    """Measured architectures of an Adam step, drawn at random of all so far."""
    members: int = field(default=4, validator=ge(1))
    """Networks V: their mean is the value, their standard deviation U; 1 is the paper's critic,
    with a network for U."""
    residuals: Literal["first", "current"] = "first"
    """Of ``critic.members=1``: what the network for U learns: how far off V was when a row came in
    (``first``), or is now (``current``, the paper's formula as printed)."""
    threshold: float | None = field(default=ALWAYS, validator=optional(ge(0)))
    """Largest U, in units of the reward, at which V is trusted; none for the running median of the
    last ``critic.window`` proposals."""
    window: int = field(default=100, validator=ge(1))
    """Proposals that the running median is of, where ``critic.threshold`` is none."""
    least: int = field(default=20, validator=ge(1))
    """Measured rewards before any V is trusted."""


@frozen(kw_only=True)
class BufferConfig:
    """FNAS's experience buffer, of searcher ``ppo``, see `nas_search.rl.ExperienceBuffer`."""

    capacity: int = field(default=10, validator=ge(1))
    """Architectures that are kept. FNAS's by default."""
    share: float = field(default=0.5, validator=and_(ge(0), lt(1)))
    """Share of a batch that is taken from the buffer at most. FNAS's by default."""
    temperature: float = field(default=1.0, validator=gt(0))
    """Divides the rewards, in their unit, in the softmax by which a kept architecture is taken;
    the paper prints none, which is 1."""


OF_PPO = ("batch", "baseline", "pick", "resampled")
"""Settings of `PolicyConfig` that are of searcher ``ppo`` around the policy, not of the policy."""


def build_policy(space: SearchSpace, config: PolicyConfig, *, rng: np.random.Generator) -> "Policy":
    """Return the policy that settings describe, its weights drawn from ``rng``.

    Raises:
        InputError: settings that do not fit together.
    """
    from nas_search.rl import Policy

    own = {key: value for key, value in asdict(config).items() if key not in OF_PPO}
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
    of_search: Mapping[str, Any] = {key: getattr(policy, key) for key in OF_PPO}
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
