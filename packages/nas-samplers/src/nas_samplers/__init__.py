"""Training weight-sharing supernets and evaluating their architectures.

>>> import numpy as np, torch
>>> from nas_spaces import published
>>> from nas_spaces.torch import Supernet
>>> space = published.load("digits-mobile")
>>> supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
>>> sampler = Uniform(space, rng=np.random.default_rng(0))
>>> supernet(torch.zeros(2, 1, 8, 8), sampler.ask()[0]).shape
torch.Size([2, 10])
"""

from nas_samplers.checkpoint import load_weights
from nas_samplers.constrained import Constrained, cost_ranges
from nas_samplers.data import ImageData, load_data
from nas_samplers.evaluate import SupernetError, evaluate
from nas_samplers.fair import ExpectationFair, StrictFair
from nas_samplers.optimiser import Optimiser
from nas_samplers.standalone import run_network, top1_error, wrong_answers
from nas_samplers.train import DivergedError, Phase, Summary, mean_rows, sum_rows, train
from nas_samplers.uniform import Uniform

__all__ = [
    "Constrained",
    "DivergedError",
    "ExpectationFair",
    "ImageData",
    "Optimiser",
    "Phase",
    "StrictFair",
    "Summary",
    "SupernetError",
    "Uniform",
    "cost_ranges",
    "evaluate",
    "load_data",
    "load_weights",
    "mean_rows",
    "run_network",
    "sum_rows",
    "top1_error",
    "train",
    "wrong_answers",
]
