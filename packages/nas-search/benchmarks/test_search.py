"""How much time the search itself takes, evaluation apart: at most 0.1 ms a candidate.

Run with ``pytest benchmarks``; the figure a candidate stands in the column ``ms_per_candidate``
of the saved results (``--benchmark-json``) and is checked.
"""

from statistics import median
from time import perf_counter

import numpy as np
import pytest

from nas_search import NSGA2, Evolution, Random, crowding, fronts, non_dominated, search
from nas_spaces import FeasibleSet, Limit, Table, Term, published
from nas_spaces.primitives import Convolution, Linear

BUDGET = 1000
ALLOWED_MS = 0.1
# Non-dominated sort of 1,000 x 2 against pymoo's, which is compiled.
ALLOWED_TIMES_PYMOO = 2.0


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


@pytest.mark.parametrize(("objectives", "upper"), [(2, 330e6), (2, 275e6), (3, 330e6)])
def test_nsga2_without_evaluation(benchmark, objectives, upper):
    space = published.load("spos-shufflenet")
    macs = Table.from_primitives(space, "macs", "multiply-adds", macs_of)
    rng = np.random.default_rng(0)
    terms = [[Term((column,), rng.random(4)) for column in range(20)] for _ in range(2)]
    metrics = [Table(space, f"error {i}", "1", term) for i, term in enumerate(terms)]
    metrics = [macs, *metrics][:objectives]
    feasible = FeasibleSet(space, [Limit(macs, upper=upper)])

    def run():
        searcher = NSGA2(space, rng=np.random.default_rng(0), feasible=feasible)
        return search(searcher, metrics, space=space, feasible=feasible, budget=BUDGET)

    result = benchmark(run)
    assert len(result.history) == BUDGET
    if benchmark.stats is not None:
        each = benchmark.stats.stats.median / BUDGET * 1000
        benchmark.extra_info["ms_per_candidate"] = each
        assert each <= ALLOWED_MS


@pytest.mark.parametrize("columns", [2, 3])
def test_non_dominated_sort_of_1000_rows(benchmark, columns):
    values = np.random.default_rng(0).random((1000, columns))
    assert benchmark(fronts, values).max() > 5


@pytest.mark.parametrize("columns", [2, 3])
def test_crowding_of_1000_rows(benchmark, columns):
    values = np.random.default_rng(0).random((1000, columns))
    assert len(benchmark(crowding, values, fronts(values))) == 1000


@pytest.mark.parametrize("levels", [None, 30])
def test_non_dominated_sort_against_pymoo(benchmark, levels):
    sorting = pytest.importorskip("pymoo.util.nds.non_dominated_sorting")
    rng = np.random.default_rng(0)
    values = rng.random((1000, 2)) if levels is None else 1.0 * rng.integers(levels, size=(1000, 2))
    theirs = sorting.NonDominatedSorting()
    np.testing.assert_array_equal(fronts(values), theirs.do(values, return_rank=True)[1])
    seconds = {"ours": [], "theirs": []}

    def alternately():
        # In turn, so that a busy machine slows down both.
        for name, sort in (("ours", fronts), ("theirs", theirs.do)):
            start = perf_counter()
            sort(values)
            seconds[name].append(perf_counter() - start)

    benchmark.pedantic(alternately, rounds=300, warmup_rounds=10)
    ratio = median(seconds["ours"]) / median(seconds["theirs"])
    benchmark.extra_info["times_pymoo"] = ratio
    print(f" ours {1e3 * median(seconds['ours']):.2f} ms, {ratio:.2f} times pymoo")
    assert ratio <= ALLOWED_TIMES_PYMOO
