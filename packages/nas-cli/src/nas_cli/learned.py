"""What a training learned of the architectures, as a distribution over them."""

import json

import numpy as np

from nas_cli.alphas_file import read_last_alphas
from nas_cli.folder import ALPHAS_FILE, DISTRIBUTION_FILE
from nas_cli.run import Run
from nas_samplers import Distribution
from nas_spaces import InputError, SearchSpace

__all__ = ["has_learned", "learned_distribution"]


def has_learned(run: Run) -> bool:
    """Return whether a run's training has come to something of the kind."""
    return any((run.train / name).exists() for name in (ALPHAS_FILE, DISTRIBUTION_FILE))


def learned_distribution(run: Run, space: SearchSpace) -> Distribution:
    """Return what the training learned at last: its distribution, or that of its parameters.

    Args:
        run: the run.
        space: its space; options that are not live have the probability 0.

    Raises:
        InputError: a damaged file, or one of another space.
    """
    path = run.train / DISTRIBUTION_FILE
    if path.exists():
        try:
            return Distribution.from_record(space, json.loads(path.read_text()))
        except (ValueError, OSError) as error:
            raise InputError(f"{path} is damaged: {error}") from error
    alphas, _ = read_last_alphas(run.train / ALPHAS_FILE, space)
    learned = Distribution(space)
    learned.values = np.where(learned.alive, alphas, 0.0)
    return learned
