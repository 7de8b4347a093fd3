"""Search by reinforcement learning; needs torch (``pip install nas-search[rl]``)."""

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
