"""Search for architectures under limits that are never missed.

A searcher proposes rows and is told their values; `search` is the loop around it.

>>> import numpy as np
>>> from nas_search import Evolution, search
>>> from nas_spaces import FeasibleSet, Limit, Table, published
>>> space = published.load("nas-bench-macro")
>>> depth = Table.from_primitives(space, "depth", "layers", lambda p: p.name == "depthwise")
>>> feasible = FeasibleSet(space, [Limit(depth, upper=4)])
>>> class Error:
...     name, unit = "error", "1"
...     def __call__(self, archs):
...         return (np.asarray(archs) != 2).mean(axis=1)
>>> searcher = Evolution(space, rng=np.random.default_rng(0), feasible=feasible)
>>> result = search(searcher, [Error()], space=space, feasible=feasible, budget=300, record=[depth])
>>> float(result.history.column("error").min()), float(result.history.column("depth").max())
(0.5, 4.0)
"""

from nas_search.candidate_table import CandidateTable
from nas_search.compare import Difference, difference
from nas_search.efficiency import (
    Median,
    Ratio,
    best_so_far,
    censored_median,
    evaluations_differ,
    evaluations_to,
    holm,
    median_ratio,
    regrets_differ,
)
from nas_search.evolution import Evolution
from nas_search.listed import Listed
from nas_search.most_probable import MostProbable
from nas_search.nsga2 import NSGA2, Mutator
from nas_search.pareto import crowding, fronts, hypervolume, non_dominated
from nas_search.progressive import Progressive, largest
from nas_search.random import Random
from nas_search.rank import (
    Kendall,
    TauDifference,
    kendall,
    repeatability,
    tau_difference,
    top_k_regret,
)
from nas_search.regularized import RegularizedEvolution
from nas_search.repair import Repair
from nas_search.search import SearchResult, best, search
from nas_search.specialise import Replacement, Specialised, specialise
from nas_search.tabular import Tabular, TrainingCost, measured_rows

__all__ = [
    "NSGA2",
    "CandidateTable",
    "Difference",
    "Evolution",
    "Kendall",
    "Listed",
    "Median",
    "MostProbable",
    "Mutator",
    "Progressive",
    "Random",
    "Ratio",
    "RegularizedEvolution",
    "Repair",
    "Replacement",
    "SearchResult",
    "Specialised",
    "Tabular",
    "TauDifference",
    "TrainingCost",
    "best",
    "best_so_far",
    "censored_median",
    "crowding",
    "difference",
    "evaluations_differ",
    "evaluations_to",
    "fronts",
    "holm",
    "hypervolume",
    "kendall",
    "largest",
    "measured_rows",
    "median_ratio",
    "non_dominated",
    "regrets_differ",
    "repeatability",
    "search",
    "specialise",
    "tau_difference",
    "top_k_regret",
]
