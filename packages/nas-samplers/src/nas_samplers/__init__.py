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

from nas_samplers.alphas import Alphas, zero_options
from nas_samplers.balanced import Balanced
from nas_samplers.binary_gates import BinaryGates
from nas_samplers.candidate import Candidate
from nas_samplers.constrained import Constrained, cost_ranges
from nas_samplers.cost_hinge import CostHinge
from nas_samplers.cost_terms import AddedCost, CostTerm, MultipliedCost
from nas_samplers.data import ImageData, load_data
from nas_samplers.distribution import Distribution, Factor, Moment
from nas_samplers.drop_rules import BelowMean, BelowShare, DropRule
from nas_samplers.entropy_sampler import EntropyRows, EntropySampler
from nas_samplers.evaluate import SupernetError, evaluate
from nas_samplers.fair import ExpectationFair, StrictFair
from nas_samplers.fixed import Fixed
from nas_samplers.likely_row import likely_row
from nas_samplers.optimiser import Optimiser
from nas_samplers.path_dropout import PathDropout
from nas_samplers.phase import Phase, mean_rows, sum_rows
from nas_samplers.pool import Inheritance, InheritedBlock, KnowledgePool
from nas_samplers.pool_file import HitCount
from nas_samplers.pool_guard import PoolGuard, PoolVerdict
from nas_samplers.posterior_learner import PosteriorLearner, posterior_weights
from nas_samplers.ray_workers import RayWorkers
from nas_samplers.relaxed import Cooling, Gumbel, Mixture
from nas_samplers.relaxed_learner import RelaxedLearner
from nas_samplers.row_weights import RowWeights, Weigh, posterior_rows
from nas_samplers.similarity import Similarity, candidate_similarity
from nas_samplers.standalone import (
    Training,
    run_network,
    top1_error,
    train_network,
    wrong_answers,
)
from nas_samplers.standalone_error import StandaloneError
from nas_samplers.train import DivergedError, train
from nas_samplers.training_state import Summary
from nas_samplers.uniform import Uniform
from nas_samplers.weighted import Weighted
from nas_samplers.weights import load_weights, read_weights
from nas_samplers.within_limits import WithinLimits
from nas_samplers.workers import WorkerProcesses, run_here

__all__ = [
    "AddedCost",
    "Alphas",
    "Balanced",
    "BelowMean",
    "BelowShare",
    "BinaryGates",
    "Candidate",
    "Constrained",
    "Cooling",
    "CostHinge",
    "CostTerm",
    "Distribution",
    "DivergedError",
    "DropRule",
    "EntropyRows",
    "EntropySampler",
    "ExpectationFair",
    "Factor",
    "Fixed",
    "Gumbel",
    "HitCount",
    "ImageData",
    "Inheritance",
    "InheritedBlock",
    "KnowledgePool",
    "Mixture",
    "Moment",
    "MultipliedCost",
    "Optimiser",
    "PathDropout",
    "Phase",
    "PoolGuard",
    "PoolVerdict",
    "PosteriorLearner",
    "RayWorkers",
    "RelaxedLearner",
    "RowWeights",
    "Similarity",
    "StandaloneError",
    "StrictFair",
    "Summary",
    "SupernetError",
    "Training",
    "Uniform",
    "Weigh",
    "Weighted",
    "WithinLimits",
    "WorkerProcesses",
    "candidate_similarity",
    "cost_ranges",
    "evaluate",
    "likely_row",
    "load_data",
    "load_weights",
    "mean_rows",
    "posterior_rows",
    "posterior_weights",
    "read_weights",
    "run_here",
    "run_network",
    "sum_rows",
    "top1_error",
    "train",
    "train_network",
    "wrong_answers",
    "zero_options",
]
