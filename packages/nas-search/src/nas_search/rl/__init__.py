"""Search by reinforcement learning; needs torch (``pip install 'nas-search[rl]'``)."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":  # one that is installed, and broken
        raise
    raise ModuleNotFoundError(
        "nas_search.rl needs the package torch, which is not installed; run "
        "`pip install 'nas-search[rl]'`",
        name="torch",
    ) from error

from nas_search.rl.controller import Controller
from nas_search.rl.critic import Critic
from nas_search.rl.mutation import Dominance, LearnedMutation
from nas_search.rl.policy import Experience, Policy
from nas_search.rl.ppo import PPO, Counts
from nas_search.rl.replay import ExperienceBuffer
from nas_search.rl.rewards import Accuracy, Reward, WeightedProduct

__all__ = [
    "PPO",
    "Accuracy",
    "Controller",
    "Counts",
    "Critic",
    "Dominance",
    "Experience",
    "ExperienceBuffer",
    "LearnedMutation",
    "Policy",
    "Reward",
    "WeightedProduct",
]
