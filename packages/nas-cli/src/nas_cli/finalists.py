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
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Train the best of a search as long as a winner is, and choose the one of the best reward.

    Args:
        shop: the run, with the settings of this search.
        folder: of the search; what is finished is kept in it.
        history: what the search measured.
        reward: of the search.
        evaluation: what trained them for the search.

    Returns:
        The row ``[d]`` that wins, and what the result says of it: ``finalists``, what is known of
        each, the best of the search first; ``near_target``, whether they are near a target that
        was set, None where none was.
    """
    known = folder / "finalists.json"
    if not known.exists():
        best, near = _best(shop, history, reward)
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
        write_json(known, {"finalists": record, "near_target": near})
    shutil.rmtree(folder / "finalists", ignore_errors=True)
    found = read_json(known, "finalists")
    # Where none could be trained so, all have a reward of 0 and the best of the search wins.
    winner = max(found["finalists"], key=lambda one: one["reward"])
    return np.array(winner["architecture"], dtype=np.int64), found


def _best(
    shop: Workshop, history: History, reward: Reward
) -> tuple[NDArray[np.int64], bool | None]:
    """Return the rows of the best ``[k]`` by reward, and whether they are near the target.

    Where a target was set, only those near it are taken, unless none is; a limit, from which the
    reward may have its target, asks for no nearness. What could not be trained is left out, unless
    nothing could.
    """
    config, errors = shop.run.config, history.column("error")
    rewards = reward(history.archs, errors[:, None])
    order = np.argsort(-rewards, kind="stable")
    trained = order[errors[order] < 1]
    if len(trained):
        order = trained
    near = None
    if isinstance(reward, WeightedProduct) and config.reward.target is not None:
        close = order[_near(reward, history.archs[order])]
        near = bool(len(close))
        if near:
            order = close
        else:
            shop.say(
                f"none of {len(order):,} architectures is near the target of {reward.target:,.0f} "
                f"{reward.cost.name}: the best by reward are taken, whatever they cost"
            )
    return order[: config.candidates.finalists], near


def _near(reward: WeightedProduct, archs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for which rows ``[n]`` the cost is what was asked for.

    By a hard target that is anything below it: there a reward is the accuracy, whatever is saved.
    """
    off = np.asarray(reward.cost(archs), dtype=np.float64) / reward.target - 1
    near: NDArray[np.bool_] = off <= NEAR if reward.hard else np.abs(off) <= NEAR
    return near
