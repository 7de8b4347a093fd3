"""What a ranking comes to: correlations, regrets, a verdict, and how alike candidates are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

import nas_search
from nas_cli.config import read_config
from nas_cli.folder import CONFIG
from nas_cli.run import Run
from nas_cli.truth import LEAST, Named
from nas_cli.workshop import RANK, Workshop
from nas_samplers import candidate_similarity
from nas_search import Kendall
from nas_spaces import History, replace_file
from nas_spaces.torch import Supernet

__all__ = ["TOPS", "Judged", "compare_candidates", "rank_record", "write_values"]

TOPS = (1, 5, 10)
"""Of how many of the best by a score the best counts, for the regret."""
SIMILARITY_IMAGES = 64
# Beyond it images are large [pixels a side].
LARGE = 64
NOBODY = Named(0, ())
# Streams of randomness, behind RANK; `stage_rank` has stream 0.
_BOOTSTRAP, _IMAGES = 1, 2

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@frozen(eq=False)
class Judged:
    """Architectures with what they are worth.

    ``name``: of what says so. ``truth``: errors ``[n]`` in [0, 1]; ``truth_own_norms``: of a
    second supernet with its own norm statistics. ``repeats``: errors ``[n, r]`` of single
    trainings.
    """

    name: str
    archs: Rows
    truth: Floats
    truth_own_norms: Floats | None = None
    column: str | None = None
    repeats: Floats | None = None
    unknown: Named = NOBODY
    missing: Named = NOBODY
    repeated: int = 0
    failed: int = 0


def write_values(
    path: Path, judged: Judged, found: Mapping[str, Floats], costs: Mapping[str, NDArray[Any]]
) -> None:
    """Write every architecture with what is known of it, as a `History` in CSV."""
    columns = {"truth": judged.truth, **{f"error_{key}": one for key, one in found.items()}}
    if judged.truth_own_norms is not None:
        columns["truth_own_norms"] = judged.truth_own_norms
    names = (*columns, *costs)
    units = ("1",) * len(columns) + ("multiply-adds", "1")
    values = np.stack([*columns.values(), *costs.values()], axis=1).astype(np.float64)
    replace_file(path, History(names, units, judged.archs, values).to_csv())


def _used(run: Run) -> str:
    """Return which norms the searches of a run use, and so whose ranking matters there."""
    # The settings in force are those of the ranking, which wants both.
    config = read_config(run.path / CONFIG)
    return "recalibrated" if config.search.recalibration_images else "own_norms"


def rank_record(
    shop: Workshop,
    name: str,
    judged: Judged,
    found: Mapping[str, Floats],
    costs: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """Return the record of a ranking."""
    truths = dict.fromkeys(found, judged.truth)
    if judged.truth_own_norms is not None:
        truths["own_norms"] = judged.truth_own_norms
    # A larger network is expected to be better.
    larger = {key: -values.astype(np.float64) for key, values in costs.items()}
    taus = {key: _kendall(shop, "its errors are", found[key], truths[key]) for key in found}
    used = _used(shop.run)
    # A second supernet has a truth for each kind of norms.
    macs, params = (
        _kendall(shop, f"{key} are", larger[key], truths[used]) for key in ("macs", "params")
    )
    ceiling = _ceiling(shop, judged)
    scores = {**found, "macs": larger["macs"]}
    gain = nas_search.tau_difference(
        found[used], larger["macs"], truths[used], rng=shop.rng(RANK, _BOOTSTRAP)
    )
    return {
        "name": name,
        "truth": judged.name,
        "column": judged.column,
        "architectures": len(judged.archs),
        "unknown": attrs.asdict(judged.unknown),
        "missing": attrs.asdict(judged.missing),
        "repeated": judged.repeated,
        "failed": judged.failed,
        "tau": {key: _record(one) for key, one in taus.items()},
        "macs": _record(macs),
        "params": _record(params),
        "ceiling": None if ceiling is None else _record(ceiling),
        "regret": {
            key: _regret(score, truths.get(key, truths[used])) for key, score in scores.items()
        },
        "gap": {key: 100 * float((truths[key] - found[key]).mean()) for key in found},
        "judged": used,
        "gain": {key: getattr(gain, key) for key in ("difference", "low", "high")},
        "confidence": gain.confidence,
        "verdict": _verdict(judged, used, taus[used], macs, gain, ceiling),
    }


def _regret(score: Floats, truth: Floats) -> dict[str, float] | None:
    """Return the regret [points] of each of `TOPS`; None where no choice could be a worse one."""
    if truth.min() == truth.max():
        return None
    return {str(k): 100 * nas_search.top_k_regret(score, truth, k) for k in TOPS}


def _kendall(shop: Workshop, what: str, score: Floats, truth: Floats) -> Kendall:
    """Return tau of a score; every one with the same draws of architectures."""
    tau = nas_search.kendall(score, truth, rng=shop.rng(RANK, _BOOTSTRAP))
    if tau.undefined is None:
        return tau
    constant = what if tau.undefined.startswith("a ") else "the truth is"
    return attrs.evolve(tau, undefined=f"{constant} the same for all architectures")


def _ceiling(shop: Workshop, judged: Judged) -> Kendall | None:
    """Return how well single trainings agree, where enough architectures have several."""
    if judged.repeats is None:
        return None
    whole = judged.repeats[np.isfinite(judged.repeats).all(axis=1)]
    if len(whole) < LEAST:
        return None
    ceiling = nas_search.repeatability(whole, rng=shop.rng(RANK, _BOOTSTRAP))
    if ceiling.undefined is None:
        return ceiling
    return attrs.evolve(ceiling, undefined="a training is the same for all architectures")


def _record(tau: Kendall) -> dict[str, Any]:
    return {key: getattr(tau, key) for key in ("tau", "low", "high", "undefined")}


def _verdict(
    judged: Judged,
    used: str,
    tau: Kendall,
    macs: Kendall,
    gain: nas_search.TauDifference,
    ceiling: Kendall | None,
) -> str:
    """Return in a sentence how far the ranking can be believed."""
    if tau.tau is None:
        return f"nothing can be said: tau is undefined, {tau.undefined}"
    norms = {"recalibrated": "recalibrated norms", "own_norms": "the supernet's own norms"}[used]
    if gain.difference is None or gain.low is None or gain.high is None:
        text = f"tau is {_interval(tau)} with {norms}; {macs.undefined}, and rank nothing"
    else:
        size = (
            f"tau {tau.tau:.2f} with {norms} against {macs.tau:.2f}, a difference of "
            f"{gain.difference:+.2f} ({gain.confidence:.0%} interval {gain.low:+.2f} to "
            f"{gain.high:+.2f})"
        )
        if judged.name == "run":
            text = (
                f"the two supernets agree to tau {_interval(tau)} with {norms}; counting MACs "
                f"agrees with the second to {_interval(macs)}"
            )
        else:
            text = f"{gain.verdict} than counting MACs: {size}"
    if ceiling is not None and ceiling.tau is not None:
        text += (
            f"; two trainings of the same architectures agree to {ceiling.tau:.2f}, which is about "
            "the most that a ranking can reach"
        )
    return text


def _interval(tau: Kendall) -> str:
    return f"{tau.tau:.2f} ({tau.low:.2f} to {tau.high:.2f})"


def compare_candidates(
    shop: Workshop, supernet: Supernet, archs: Rows, found: Mapping[str, Floats]
) -> dict[str, Any]:
    """Return how alike the candidates are on the path of the best architecture, in JSON's form."""
    space, held_out = shop.space, shop.data.held_out
    path = archs[int(found[_used(shop.run)].argmin())]
    # All candidates of a block are in memory at once.
    wanted = SIMILARITY_IMAGES if max(space.input_shape) <= LARGE else SIMILARITY_IMAGES // 4
    count = min(wanted, len(held_out))
    images, _ = next(held_out.fixed_batches(count, count=1, seed=shop.seed(RANK, _IMAGES)))
    alike = candidate_similarity(supernet, images, path)
    choices = {choice.name: choice for choice in space.choices}
    own = {one.block: choices[one.choice] for one in alike.blocks}

    def names(block: str, options: Sequence[int]) -> list[str]:
        return [str(own[block].options[option]) for option in options]

    maps = alike.maps
    return {
        "path": path.tolist(),
        "images": count,
        "blocks": [
            {
                "choice": one.choice,
                "block": one.block,
                "options": names(one.block, one.options),
                "cosine": [
                    [None if np.isnan(x) else x for x in row] for row in one.cosine.tolist()
                ],
            }
            for one in alike.blocks
        ],
        "left_out": list(alike.left_out),
        "channel": None
        if maps is None
        else {
            "block": maps.block,
            "options": names(maps.block, maps.options),
            "channel": maps.channel,
            "maps": [one.tolist() for one in maps.maps],
        },
    }
