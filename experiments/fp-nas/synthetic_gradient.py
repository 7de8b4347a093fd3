"""The learner's gradient against the exact one, by the number of rows, for synthetic.py."""

import itertools
from collections.abc import Sequence

import common
import numpy as np
from common import Record
from synthetic_problem import MEAN, SHARES, likelihood

import nas_hw
from nas_samplers import CostHinge, Distribution, EntropySampler, PosteriorLearner
from nas_spaces.published.fbnetv2 import Group, grouped_space

COUNTS, DRAWS = (14, 100, 1000, 10_000, 100_000, 1_000_000), 5
"""Rows of a gradient, and gradients of each."""


def gradients() -> list[Record]:
    """Return cosines of the learner's gradient with the exact one, by the number of rows.

    The space has 1,728 rows in two groups of FBNetV2-F's kind; all of them give the exact one.
    """
    space = grouped_space(
        "two groups",
        (Group((1,), (12, 16), 1, 1), Group((0.75, 1.5, 2.25), (16, 20), 1, 2)),
        attention=(0, 1),
        classes=10,
        resolution=32,
        in_channels=3,
    )
    archs = np.array([*np.ndindex(*space.num_options)])
    rng = np.random.default_rng(0)
    loss = likelihood(space, SHARES, rng=rng)
    macs = nas_hw.macs(space)
    cost = CostHinge(macs, target=float(np.median(macs(archs))))
    records = []
    for joint in (False, True):
        distribution = Distribution(space, joint=joint)
        alive = distribution.alive
        distribution.values[alive] = rng.normal(0, 0.5, size=int(alive.sum()))
        sampler = EntropySampler(distribution, rng=rng)
        chances = np.exp(distribution.log_probability(archs))
        # All rows with their probabilities; as a mean of draws there is nothing to centre.
        likelihoods = chances * np.exp(MEAN - loss(archs))
        costs = chances * cost.excess(archs)
        weights = likelihoods / likelihoods.sum() - cost.weight * costs / costs.sum()
        exact = distribution.score(archs, weights).ravel()
        for paper_exact in (False, True):
            learner = PosteriorLearner(sampler, cost=cost, paper_exact=paper_exact)
            for count in COUNTS:
                cosines = []
                for _ in range(DRAWS):
                    drawn = distribution.sample(count, rng=rng)
                    found = learner.gradient(drawn, loss(drawn)).ravel()
                    norms = np.linalg.norm(found) * np.linalg.norm(exact)
                    cosines.append(round(float(found @ exact / norms), 6))
                records.append(
                    {"joint": joint, "printed": paper_exact, "rows": count, "cosines": cosines}
                )
    return records


def gradient_table(records: Sequence[Record]) -> str:
    """Return cosines with the exact gradient, as Markdown."""
    kinds = list(itertools.product((False, True), (False, True)))
    found = {(one["joint"], one["printed"], one["rows"]): one["cosines"] for one in records}
    counts = sorted({one["rows"] for one in records})
    lines = [
        [
            f"{count:,}",
            *(common.spread(found[joint, printed, count], ".5f") for joint, printed in kinds),
        ]
        for count in counts
    ]
    head = ["rows K"]
    for joint, printed in kinds:
        distribution = "joint" if joint else "factorised"
        head.append(f"{distribution}, {'as printed' if printed else 'centred'}")
    return common.table(head, lines)
