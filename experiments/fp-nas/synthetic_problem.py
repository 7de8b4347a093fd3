"""The problem of synthetic.py: likelihoods from a function of the row, and their best rows."""

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

import nas_hw
from nas_samplers import Distribution
from nas_spaces import SearchSpace, Table, published
from nas_spaces.elimination import eliminate, extremes, live_terms
from nas_spaces.table import Term

MEAN, SPREAD = 3.0, 0.25
"""Mean negative log-likelihood of uniform rows, and its standard deviation [nats]."""
SHARES = (0.6, 0.3, 0.1)
"""Of the variance: single choices, pairs within a group, pairs across neighbouring groups."""
LINKS = (("channels", "channels"), ("channels", "expansion"), ("kernel", "kernel"))
"""Choices of a group and of the next one that act together."""

F = "fbnetv2-f"
TARGET = 35e6
"""Multiply-adds of the hinge."""
BISECTIONS = 20


def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values whose means along each axis are 0: effects that no smaller term explains."""
    for axis in range(values.ndim):
        values = values - values.mean(axis=axis, keepdims=True)
    return values


def single(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the effects of a choice: half that more is better, ever less so, half chance."""
    more = centred(-(1 - (1 - np.arange(size) / (size - 1)) ** 2))
    chance = centred(rng.normal(size=size))
    both: NDArray[np.float64] = more / more.std() + chance / chance.std()
    return both * rng.lognormal(sigma=0.5)


def pair(sizes: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return what two choices do together."""
    return centred(rng.normal(size=sizes)) * rng.lognormal(sigma=0.5)


def likelihood(space: SearchSpace, shares: Sequence[float], *, rng: np.random.Generator) -> Table:
    """Return the mean negative log-likelihood [nats] of rows: a sum over choices and pairs.

    All terms are centred, so that uniform rows have exactly the mean `MEAN`, the standard
    deviation `SPREAD` and the ``shares`` of its square.
    """
    sizes = space.num_options
    groups = list(Distribution(space).groups.values())
    kinds = {
        number: {space.choices[c].name.rpartition("_")[2]: c for c in columns}
        for number, columns in enumerate(groups)
    }
    inside = [two for columns in groups for two in itertools.combinations(columns, 2)]
    across = [
        (kinds[number][one], kinds[number + 1][other])
        for number in range(len(groups) - 1)
        for one, other in LINKS
    ]
    parts = (
        [Term((c,), single(size, rng)) for c, size in enumerate(sizes) if size > 1],
        *(
            [
                Term((a, b), pair((sizes[a], sizes[b]), rng))
                for a, b in two
                if min(sizes[a], sizes[b]) > 1
            ]
            for two in (inside, across)
        ),
    )
    terms: list[Term] = []
    for part, share in zip(parts, shares, strict=True):
        variance = sum(float((term.values**2).mean()) for term in part)
        scale = SPREAD * math.sqrt(share / variance)
        terms += [Term(term.columns, term.values * scale) for term in part]
    return Table(space, "loss", "nats", terms, constant=MEAN)


def best_row(space: SearchSpace, terms: Iterable[Term]) -> NDArray[np.int64]:
    """Return the row int64 ``[d]`` of the least sum of terms, exactly.

    Only neighbouring groups share terms, so that choices can be eliminated one after the other
    (dynamic programming along the chain of groups).
    """
    steps = eliminate(space, live_terms(space, Table(space, "sum", "nats", list(terms)))[0])
    assert steps is not None, "few choices are open at a time"
    return np.asarray(extremes(steps, space.num_choices)[0])


@cache
def problem(space: str, shares: tuple[float, float, float], seed: int) -> tuple[Table, float]:
    """Return a likelihood and its optimum [nats]."""
    loss = likelihood(load(space), shares, rng=np.random.default_rng([seed, 0]))
    return loss, float(loss([best_row(loss.space, loss.terms)])[0])


@cache
def load(space: str) -> SearchSpace:
    """Return a published space."""
    return published.load(space)


@cache
def macs_of(space: str) -> Table:
    """Return its multiply-adds."""
    return nas_hw.macs(load(space))


@cache
def within_target(seed: int) -> tuple[float, float, float]:
    """Return what a row of at most `TARGET` multiply-adds can have, for a seed's likelihood.

    Returns:
        A bound below the loss of all such rows [nats], from the Lagrangian; the loss of one of
        them, which is as far from the optimum as from the bound at most; and the multiply-adds of
        the best row of all.
    """
    space, macs = load(F), macs_of(F)
    loss, _ = problem(F, SHARES, seed)
    bound, found = -math.inf, math.inf
    low, high = 0.0, 1e-6  # Nats for a multiply-add.
    for price in (low, high, *[None] * BISECTIONS):
        now = (low + high) / 2 if price is None else price
        priced = [Term(term.columns, term.values * now) for term in macs.terms]
        row = best_row(space, [*loss.terms, *priced])
        value, cost = float(loss([row])[0]), float(macs([row])[0])
        if price == 0:
            free = cost
        bound = max(bound, value + now * (cost - TARGET))
        if cost <= TARGET:
            found, high = min(found, value), now
        else:
            low = now
    return bound, found, free
