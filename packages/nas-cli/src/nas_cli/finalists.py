"""The last choice of a search of stand-alone architectures: its best ones, trained for longer.

After so few epochs as a search can pay for, errors say little of networks that are nearly equal.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_cli.evaluation import Standalone
from nas_cli.progress import stage
from nas_cli.run import read_json, write_json
from nas_cli.workshop import Workshop
from nas_search.rl import Reward, WeightedProduct
from nas_spaces import History

__all__ = ["choose_finalist"]

# What counts as near to a target, as a share of it.
NEAR = 0.1


def choose_finalist(
    shop: Workshop, folder: Path, history: History, reward: Reward, evaluation: Standalone
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Train the best of a search as long as a winner is, and choose the one of the best reward.

    Args:
        shop: the run, with the settings of this search.
        folder: of the search; what is finished is kept in it.
        history: what the search measured.
        reward: of the search.
        evaluation: what trained them for the search.

    Returns:
        The row ``[d]`` that wins, and what is known of each, the best of the search first.
    """
    known = folder / "finalists.json"
    if not known.exists():
        best = _best(shop, history, reward)
        archs, before = history.archs[best], history.column("error")[best]
        done = 0.0
        title = f"search {folder.name}, finalists"
        with stage(shop.console, title, len(archs), "architectures") as update:

            def on_progress(more: float) -> None:
                nonlocal done
                done += more
                update(int(done), "")

            errors = evaluation.train_longer(archs, folder / "finalists", on_progress)
        columns = zip(
            archs.tolist(),
            before.tolist(),
            reward(archs, before[:, None]).tolist(),
            errors.tolist(),
            reward(archs, errors[:, None]).tolist(),
            strict=True,
        )
        names = ("architecture", "error_in_search", "reward_in_search", "error", "reward")
        record = [dict(zip(names, values, strict=True)) for values in columns]
        write_json(known, {"finalists": record})
    shutil.rmtree(folder / "finalists", ignore_errors=True)
    finalists: list[dict[str, Any]] = read_json(known, "finalists")["finalists"]
    # Where none could be trained so, all have a reward of 0 and the best of the search wins.
    winner = max(finalists, key=lambda one: one["reward"])
    return np.array(winner["architecture"], dtype=np.int64), finalists


def _best(shop: Workshop, history: History, reward: Reward) -> NDArray[np.int64]:
    """Return the rows of the best ``[k]`` by reward, those near a target that was set first.

    What could not be trained is left out, unless nothing could.
    """
    config, errors = shop.run.config, history.column("error")
    rewards = reward(history.archs, errors[:, None])
    far = np.zeros(len(history), dtype=np.bool_)
    if isinstance(reward, WeightedProduct) and config.reward.target is not None:
        far = np.abs(reward.cost(history.archs) / reward.target - 1) > NEAR
    order = np.lexsort([-rewards, far])
    trained = order[errors[order] < 1]
    return (trained if len(trained) else order)[: config.candidates.finalists]
