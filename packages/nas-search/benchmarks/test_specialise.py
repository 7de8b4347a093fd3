"""An answer from a candidate table takes at most a second, whatever the limit.

Run with ``pytest benchmarks``.
"""

import numpy as np
import pytest

from nas_search import CandidateTable, Progressive, specialise
from nas_spaces import FeasibleSet, Limit, Table, published
from nas_spaces.primitives import Convolution

ALLOWED_SECONDS = 1.0


def macs_of(primitive):
    if not isinstance(primitive, Convolution):
        return 0
    per_output = primitive.in_channels // primitive.groups * primitive.kernel**2
    return primitive.out_channels * per_output * primitive.shape[1] * primitive.shape[2]


@pytest.fixture(scope="module")
def space():
    return published.load("ponas-19")


@pytest.fixture(scope="module")
def macs(space):
    return Table.from_primitives(space, "macs", "multiply-adds", macs_of)


@pytest.fixture(scope="module")
def params(space):
    return Table.from_primitives(space, "params", "parameters", weights_of)


def weights_of(primitive):
    if not isinstance(primitive, Convolution):
        return 0
    return primitive.out_channels * primitive.in_channels // primitive.groups * primitive.kernel**2


@pytest.mark.parametrize(
    ("method", "score"), [("greedy", "loss"), ("greedy", "loss/saving"), ("exact", "loss")]
)
def test_ten_limits_on_19_choices_of_12(benchmark, space, macs, method, score):
    losses = np.random.default_rng(0).random((19, 12))
    losses -= losses.min(axis=1, keepdims=True)
    table = CandidateTable(space, losses, losses.argmin(axis=1), 0.2)
    low, high = FeasibleSet(space).attainable(macs)
    limits = [Limit(macs, upper=upper) for upper in np.linspace(low, high, 10)]

    def run():
        return [specialise(table, limit, score=score, method=method) for limit in limits]

    answers = benchmark.pedantic(run, rounds=3)
    steps = [len(answer.path) for answer in answers]
    benchmark.extra_info["steps"] = steps
    assert max(steps) <= 19 * 11
    if benchmark.stats is not None:  # None under --benchmark-disable
        each = benchmark.stats.stats.median / len(limits)
        benchmark.extra_info["seconds_per_limit"] = each
        print(f" {1e3 * each:.0f} ms a limit, at most {max(steps)} replacements")
        assert each <= ALLOWED_SECONDS


def test_limits_that_pull_against_each_other(benchmark, space, macs, params):
    """Few multiply-adds and many parameters: a corner that hardly any row is in."""
    losses = np.random.default_rng(0).random((19, 12))
    losses -= losses.min(axis=1, keepdims=True)
    table = CandidateTable(space, losses, losses.argmin(axis=1), 0.2)
    half = Limit(macs, upper=FeasibleSet(space).attainable(macs)[1] / 2)
    most = FeasibleSet(space, [half]).most_probable(params.additive()[1])
    largest = params(most[None])[0]
    asked = [[half, Limit(params, lower=share * largest)] for share in (0.8, 0.9, 0.95, 0.99)]

    def run():
        return [specialise(table, limits, method="exact") for limits in asked]

    answers = benchmark.pedantic(run, rounds=3)
    assert all(answer.proven for answer in answers)
    if benchmark.stats is not None:  # None under --benchmark-disable
        each = benchmark.stats.stats.median / len(asked)
        print(f" {1e3 * each:.0f} ms for two limits")
        assert each <= ALLOWED_SECONDS


def test_a_sweep_of_19_choices_of_12_without_evaluation(benchmark, space, macs):
    errors = np.random.default_rng(0).random((19, 12)) / 19

    def run():
        searcher = Progressive(space, cost=macs)
        while len(rows := searcher.ask()):
            searcher.tell(rows, errors[np.arange(19), rows].sum(axis=1)[:, None])
        return searcher.table()

    assert benchmark(run).losses.shape == (19, 12)
