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

from nas_search.compare import Difference, difference
from nas_search.evolution import Evolution
from nas_search.pareto import non_dominated
from nas_search.random import Random
from nas_search.rank import Kendall, kendall
from nas_search.repair import repair
from nas_search.search import SearchResult, best, search

__all__ = [
    "Difference",
    "Evolution",
    "Kendall",
    "Random",
    "SearchResult",
    "best",
    "difference",
    "kendall",
    "non_dominated",
    "repair",
    "search",
]
