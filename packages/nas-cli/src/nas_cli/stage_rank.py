"""How far the ranking by a supernet can be believed, held against what architectures are worth.

The same architectures are judged with the supernet's weights, once with their norms recalibrated
and once with the supernet's own statistics, and by something better: a benchmark's table, trainings
from scratch, or a second supernet.
"""

import hashlib
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

import nas_search
from nas_cli.clock import Clock
from nas_cli.config import read_config
from nas_cli.evaluation import supernet_error
from nas_cli.folder import CONFIG, RANK_SETTINGS, RESULT
from nas_cli.limits import cost_tables, merge_limits
from nas_cli.progress import stage
from nas_cli.rank_question import RankQuestion
from nas_cli.rank_result import Judged, compare_candidates, rank_record, write_values
from nas_cli.rank_trainings import train_from_scratch
from nas_cli.run import open_run, read_json, write_json
from nas_cli.run_spaces import live_space, stored_space
from nas_cli.stage_train import trained_supernet
from nas_cli.training import training_of
from nas_cli.truth import LEAST, Truth, read_truth
from nas_cli.workshop import RANK, Workshop
from nas_samplers import SupernetError
from nas_spaces import FeasibleSet, InputError, SearchSpace

__all__ = ["rank"]

# What is finished is kept after so many architectures.
CHUNK = 25
# Stream of randomness, behind RANK.
_DRAW = 0

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def rank(
    shop: Workshop, name: str, question: RankQuestion, *, workers: int | None = None
) -> dict[str, Any]:
    """Rank architectures by the supernet, unless that is done, and return the result.

    Args:
        shop: the run, with the settings of this ranking.
        name: of the ranking.
        question: what the supernet is held against.
        workers: processes that train from scratch; None for what suits the device.

    Raises:
        InputError: no trained supernet; a table that cannot be used, see `read_truth`; fewer than
            10 architectures; another run with another space.
    """
    run, folder = shop.run, shop.run.rank(name)
    result = folder / RESULT
    if result.exists():
        shop.say(f"rank {name}: finished already")
        return read_json(result)
    space, truth = live_space(run.path, stored_space(run.path, run.config.space)), None
    if question.kind == "table":
        # Said before images are read.
        assert question.source is not None
        truth = read_truth(Path(question.source), space, question.column)
    supernet = trained_supernet(shop)
    if not read_config(run.path / CONFIG).search.recalibration_images:
        images = run.config.search.recalibration_images
        shop.say(
            f"rank {name}: the run's searches recalibrate no norms; here they are also judged with "
            f"norms recalibrated on {images:,} training images"
        )
    if truth is not None:
        judged = _of_table(shop, folder, question, truth)
    elif question.kind == "standalone":
        judged = _of_trainings(shop, folder, question, space, workers)
    else:
        judged = _of_run(shop, folder, question, space)
    event = {"event": "stage", "stage": f"rank/{name}"}
    kept = _kept(folder / "recalibrated.json", judged.archs)
    clock = Clock(run, event["stage"], goes_on=bool(kept))
    run.event({**event, "status": "begun"})
    error = supernet_error(shop, supernet)
    own = attrs.evolve(error, recalibration=[])
    found = {
        "recalibrated": _errors(shop, folder, "recalibrated", error, judged.archs, clock),
        "own_norms": _errors(shop, folder, "own_norms", own, judged.archs, clock),
    }
    costs = {key: table(judged.archs) for key, table in cost_tables(shop.space).items()}
    record = rank_record(shop, name, judged, found, costs)
    write_values(folder / "values.csv", judged, found, costs)
    write_json(folder / "similarity.json", compare_candidates(shop, supernet, judged.archs, found))
    run.event({**event, "status": "finished", "seconds": clock.seconds()})
    write_json(result, record)
    return record


def _begin(shop: Workshop, folder: Path, question: RankQuestion, digest: str | None = None) -> None:
    """Write what the ranking is begun with; nothing is written before it can begin.

    ``digest``: of the table.

    Raises:
        InputError: it was begun with another table.
    """
    known = folder / RANK_SETTINGS
    if known.exists():
        if read_json(known, "digest")["digest"] != digest:
            raise InputError(
                f"{question.source} has changed since this ranking was begun; restore it, or "
                "choose another --name"
            )
    else:
        config = shop.run.config
        record = {
            "question": attrs.asdict(question),
            "digest": digest,
            "search": attrs.asdict(config.search),
            "retrain": attrs.asdict(config.retrain),
        }
        write_json(known, record)


def _of_table(shop: Workshop, folder: Path, question: RankQuestion, truth: Truth) -> Judged:
    n = min(len(truth.archs), question.count or len(truth.archs))
    _begin(shop, folder, question, truth.digest)
    chosen = np.sort(shop.rng(RANK, _DRAW).choice(len(truth.archs), size=n, replace=False))
    return Judged(
        truth.file,
        truth.archs[chosen],
        1 - truth.accuracy[chosen] / 100,
        column=truth.column,
        repeats=None if truth.repeats is None else 1 - truth.repeats[chosen] / 100,
        unknown=truth.unknown,
        missing=truth.missing,
        repeated=truth.repeated,
    )


def _of_trainings(
    shop: Workshop,
    folder: Path,
    question: RankQuestion,
    space: SearchSpace,
    workers: int | None,
) -> Judged:
    archs = _draw(shop, space, question.count)
    training_of(shop.run.config.retrain, shop.device)  # refuses what none could begin with
    _begin(shop, folder, question)
    trained = train_from_scratch(
        shop, archs, folder / "standalone", workers=workers, title=f"train {len(archs)} alone"
    )
    if len(trained.archs) < LEAST:
        raise InputError(
            f"{len(trained.archs)} of {len(archs)} networks could be trained, a ranking needs at "
            f"least {LEAST}; the first failed because: {trained.reason}"
        )
    return Judged("standalone", trained.archs, 1 - trained.top1 / 100, failed=trained.failed)


def _of_run(shop: Workshop, folder: Path, question: RankQuestion, space: SearchSpace) -> Judged:
    """Judge random architectures by the supernet of another run, on that run's images."""
    assert question.source is not None
    path = Path(question.source)
    if path.resolve() == shop.run.path.resolve():
        raise InputError("--against names the run itself; name a run with another supernet")
    other = open_run(path)
    try:
        # Judged as this run's is; which images are held out is for its own training to say.
        other.config = attrs.evolve(
            other.config,
            device=shop.run.config.device,
            threads=shop.run.config.threads,
            search=shop.run.config.search,
        )
        second = Workshop(other, shop.console)
        if second.space != shop.space:
            raise InputError(
                f"--against {path}: its space {second.space.name!r} is not the space "
                f"{shop.space.name!r} of {shop.run.path}, with the same sizes and classes; the "
                "architectures of one mean nothing to the other"
            )
        both = space.restrict(live_space(other.path, shop.space).mask)
        archs = _draw(shop, both, question.count)
        error = supernet_error(second, trained_supernet(second))
        own = attrs.evolve(error, recalibration=[])
        _begin(shop, folder, question)
        return Judged(
            "run",
            archs,
            _errors(shop, folder, "against_recalibrated", error, archs),
            _errors(shop, folder, "against_own_norms", own, archs),
            column=str(path),
        )
    finally:
        other.close()


def _draw(shop: Workshop, space: SearchSpace, wanted: int) -> Rows:
    """Return random networks within the run's limits, each once."""
    # Shares are of the whole space, whatever was dropped.
    feasible = FeasibleSet(space, merge_limits(shop.space, shop.run.config.limits))
    searcher = nas_search.Random(space, rng=shop.rng(RANK, _DRAW), feasible=feasible, batch=wanted)
    archs = searcher.ask()
    if len(archs) < LEAST:
        raise InputError(
            f"only {len(archs)} networks are within the limits of {shop.run.path}; a ranking needs "
            f"at least {LEAST}"
        )
    if len(archs) < wanted:
        shop.say(f"only {len(archs)} networks are within the limits")
    return archs


def _digest(archs: Rows) -> str:
    return hashlib.sha256(archs.tobytes()).hexdigest()


def _kept(saved: Path, archs: Rows) -> list[float]:
    """Return the errors that a process before this one has kept, none where of other rows."""
    if not saved.exists():
        return []
    record = read_json(saved, "architectures", "errors")
    values: list[float] = record["errors"]
    return values if record["architectures"] == _digest(archs) else []


def _errors(
    shop: Workshop,
    folder: Path,
    label: str,
    error: SupernetError,
    archs: Rows,
    clock: Clock | None = None,
) -> Floats:
    """Return the supernet errors ``[n]``; what a process before this one has done is kept."""
    # In this order neighbours share the most blocks.
    order = np.lexsort(archs.T[::-1])
    title = f"rank {folder.name}, {label.replace('_', ' ')}"
    saved = folder / f"{label}.json"
    values = _kept(saved, archs)
    with stage(shop.console, title, len(archs), "architectures") as update:
        done = len(values)
        update(done, "")

        def on_progress(finished: int) -> None:
            nonlocal done
            done += finished
            update(done, "")

        error = attrs.evolve(error, on_progress=on_progress)
        while len(values) < len(archs):
            rows = order[len(values) : len(values) + CHUNK]
            values = [*values, *error(archs[rows]).tolist()]
            write_json(saved, {"architectures": _digest(archs), "errors": values})
            if clock is not None:
                clock.save()
    errors = np.empty(len(archs))
    errors[order] = values
    return errors
