"""Spaces, a cost and a synthetic error for all tests."""

from collections.abc import Callable

import numpy as np
import pytest

from nas_spaces import SearchSpace, Table, Term, published
from nas_spaces.primitives import Convolution, Linear


def _macs_of(primitive):
    if isinstance(primitive, Convolution):
        per_output = primitive.in_channels // primitive.groups * primitive.kernel**2
        return primitive.out_channels * per_output * primitive.shape[1] * primitive.shape[2]
    if isinstance(primitive, Linear):
        return primitive.in_features * primitive.out_features
    return 0


@pytest.fixture(scope="session")
def macro() -> SearchSpace:
    return published.load("nas-bench-macro")


@pytest.fixture(scope="session")
def spos() -> SearchSpace:
    return published.load("spos-shufflenet")


@pytest.fixture(scope="session")
def macs() -> Callable[[SearchSpace], Table]:
    return lambda space: Table.from_primitives(space, "macs", "multiply-adds", _macs_of)


@pytest.fixture(scope="session")
def additive_error() -> Callable[[SearchSpace, int], Table]:
    """A synthetic error: a random term for each option, the sum within [0, 1]."""

    def build(space: SearchSpace, seed: int) -> Table:
        rng = np.random.default_rng(seed)
        terms = [
            Term((column,), rng.random(options) / space.num_choices)
            for column, options in enumerate(space.num_options)
        ]
        return Table(space, "error", "1", terms)

    return build
