"""How much time the search itself takes, evaluation apart: at most 0.1 ms a candidate.

Run with ``pytest benchmarks``; the figure a candidate stands in the column ``ms_per_candidate``
of the saved results (``--benchmark-json``) and is checked.
"""

import numpy as np
import pytest

from nas_search import Evolution, Random, non_dominated, search
from nas_spaces import FeasibleSet, Limit, Table, Term, published
from nas_spaces.primitives import Convolution, Linear

BUDGET = 1000
ALLOWED_MS = 0.1


def macs_of(primitive):
    if isinstance(primitive, Convolution):
        per_output = primitive.in_channels // primitive.groups * primitive.kernel**2
        return primitive.out_channels * per_output * primitive.shape[1] * primitive.shape[2]
    if isinstance(primitive, Linear):
        return primitive.in_features * primitive.out_features
    return 0


@pytest.mark.parametrize("upper", [330e6, 290e6, 275e6])
@pytest.mark.parametrize("kind", [Evolution, Random])
def test_search_loop_without_evaluation(benchmark, kind, upper):
    space = published.load("spos-shufflenet")
    macs = Table.from_primitives(space, "macs", "multiply-adds", macs_of)
    rng = np.random.default_rng(0)
    error = Table(space, "error", "1", [Term((column,), rng.random(4)) for column in range(20)])
    feasible = FeasibleSet(space, [Limit(macs, upper=upper)])

    def run():
        searcher = kind(space, rng=np.random.default_rng(0), feasible=feasible)
        return search(searcher, [error], space=space, feasible=feasible, budget=BUDGET)

    result = benchmark(run)
    assert len(result.history) == BUDGET
    if benchmark.stats is not None:  # None under --benchmark-disable
        each = benchmark.stats.stats.median / BUDGET * 1000
        benchmark.extra_info["ms_per_candidate"] = each
        assert each <= ALLOWED_MS


@pytest.mark.parametrize("columns", [2, 3])
def test_non_dominated_of_1000_rows(benchmark, columns):
    values = np.random.default_rng(0).random((1000, columns))
    assert benchmark(non_dominated, values).any()
