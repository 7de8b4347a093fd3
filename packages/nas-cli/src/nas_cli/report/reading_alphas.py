"""Reading the architecture parameters that a learner logged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_cli.report.files import parse, structure, text_of
from nas_cli.report.records_training import AlphasRecord, Drop
from nas_spaces import InputError, SearchSpace

__all__ = ["read_alphas"]


@frozen
class Stored:
    """The file as it is; its three tables are checked by `_table`."""

    steps: tuple[int, ...]
    alphas: Any
    alive: Any
    counts: Any
    dropped: tuple[Drop, ...] = ()


def read_alphas(path: Path, space: SearchSpace) -> AlphasRecord | None:
    """Return ``train/alphas.json``, None where there is none or nothing was logged yet."""
    if not path.exists():
        return None
    stored = parse(path, lambda: structure(json.loads(text_of(path)), Stored))
    if not stored.steps:
        return None
    exists = np.zeros((space.num_choices, max(space.num_options, default=0)), dtype=bool)
    for choice, size in enumerate(space.num_options):
        exists[choice, :size] = True
    shape = (len(stored.steps), *exists.shape)
    values = parse(path, lambda: _table("alphas", stored.alphas, shape, space))
    alive = parse(path, lambda: _table("alive", stored.alive, shape, space)) == 1
    counts = parse(path, lambda: _table("counts", stored.counts, shape, space))
    for drop in stored.dropped:
        inside = 0 <= drop.choice < shape[1] and 0 <= drop.option < shape[2]
        if not inside or not exists[drop.choice, drop.option]:
            raise InputError(
                f"{path}: dropped names option {drop.option} of choice {drop.choice}; space "
                f"{space.name!r} has no such option"
            )
    alive &= exists
    wrong = alive & ~np.isfinite(values)
    if wrong.any() or not alive.any(axis=2).all():
        raise InputError(
            f"{path} is malformed: every choice needs a live option at each step, and every live "
            "option a finite number in alphas"
        )
    return AlphasRecord(
        np.array(stored.steps, dtype=np.int64),
        np.where(exists, _softmax(values, alive), np.nan),
        alive,
        np.nan_to_num(counts).astype(np.int64),
        stored.dropped,
    )


def _table(
    name: str, values: Any, shape: tuple[int, ...], space: SearchSpace
) -> NDArray[np.float64]:
    """Return nested lists ``[t][d][k]`` as float64, null as nan."""
    try:
        table = np.array(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} is no table of numbers: {error}") from error
    if table.shape != shape:
        raise InputError(
            f"{name} has shape {table.shape}; {shape[0]} steps of space {space.name!r} give {shape}"
        )
    return table


def _softmax(values: NDArray[np.float64], alive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the softmax over the live options of each choice, 0 elsewhere."""
    live = np.where(alive, values, -np.inf)
    weights = np.exp(live - live.max(axis=2, keepdims=True))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True), dtype=np.float64)
