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
from nas_spaces import History

__all__ = ["choose_finalist"]


def choose_finalist(
    shop: Workshop,
    folder: Path,
    history: History,
    best: NDArray[np.int64],
    rewards: NDArray[np.float64],
    evaluation: Standalone,
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Train architectures as long as a winner is, and choose the one of the least error.

    Args:
        shop: the run, with the settings of this search.
        folder: of the search; what is finished is kept in it.
        history: what the search measured.
        best: rows of it ``[k]``, the best first, which wins where errors are equal.
        rewards: of all rows of it ``[n]``.
        evaluation: what trained them for the search.

    Returns:
        The row ``[d]`` that wins, and what is known of each.
    """
    known = folder / "finalists.json"
    archs = history.archs[best]
    if not known.exists():
        done = 0.0
        title = f"search {folder.name}, finalists"
        with stage(shop.console, title, len(archs), "architectures") as update:

            def on_progress(more: float) -> None:
                nonlocal done
                done += more
                update(int(done), "")

            errors = evaluation.train_longer(archs, folder / "finalists", on_progress)
        record = [
            {
                "architecture": arch,
                "error_in_search": before,
                "reward": reward,
                "error": error,
            }
            for arch, before, reward, error in zip(
                archs.tolist(),
                history.column("error")[best].tolist(),
                rewards[best].tolist(),
                errors.tolist(),
                strict=True,
            )
        ]
        write_json(known, {"finalists": record})
    shutil.rmtree(folder / "finalists", ignore_errors=True)
    finalists: list[dict[str, Any]] = read_json(known, "finalists")["finalists"]
    return archs[int(np.argmin([one["error"] for one in finalists]))], finalists
