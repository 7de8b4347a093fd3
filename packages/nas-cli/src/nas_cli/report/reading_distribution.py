"""Reading the distribution over architectures that a training logged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from nas_cli.report.files import parse, structure, text_of
from nas_cli.report.records_training import LearnedDistribution
from nas_spaces import InputError, SearchSpace

__all__ = ["read_distribution"]


@frozen
class Stored:
    """The file as it is, but for what the report does not show."""

    steps: tuple[int, ...]
    rows: tuple[int, ...]
    sampled: tuple[int, ...]
    entropy: tuple[float, ...]
    joint: tuple[bool, ...]
    costs: tuple[float | None, ...]
    marginals: Any
    parameters: dict[str, int]
    mode: tuple[int, ...]
    joined: int | None
    cost: str | None = None
    target: float | None = None
    mode_cost: float | None = None


def read_distribution(path: Path, space: SearchSpace) -> LearnedDistribution | None:
    """Return ``train/distribution.json``, None where there is none."""
    if not path.exists():
        return None
    stored = parse(path, lambda: structure(json.loads(text_of(path)), Stored))
    lengths = {
        len(column)
        for column in (
            stored.steps,
            stored.rows,
            stored.sampled,
            stored.entropy,
            stored.joint,
            stored.costs,
            stored.marginals,
        )
    }
    if len(lengths) != 1 or not stored.steps:
        raise InputError(f"{path} is malformed: its columns have {sorted(lengths)} moments")
    parse(path, lambda: space.check([stored.mode]))
    last = parse(path, lambda: structure(stored.marginals[-1], tuple[tuple[float, ...], ...]))
    if tuple(map(len, last)) != space.num_options:
        raise InputError(
            f"{path}: marginals has rows of lengths {[len(row) for row in last]}; the choices of "
            f"space {space.name!r} have {list(space.num_options)} options"
        )
    return LearnedDistribution(
        steps=np.array(stored.steps, dtype=np.int64),
        rows=np.array(stored.rows, dtype=np.int64),
        entropy=np.array(stored.entropy),
        costs=np.array([np.nan if one is None else one for one in stored.costs]),
        cost=stored.cost,
        target=stored.target,
        joined=stored.joined,
        sampled=stored.sampled[-1],
        marginals=last,
        parameters=sum(stored.parameters.values()),
        mode=stored.mode,
        mode_cost=stored.mode_cost,
    )
