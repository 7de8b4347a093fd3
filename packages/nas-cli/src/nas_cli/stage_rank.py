"""How far the ranking by a supernet can be believed, held against what architectures are worth.

The same architectures are judged with the supernet's weights, once with their norms recalibrated
and once with the supernet's own statistics, and by something better: a benchmark's table, trainings
from scratch, or a second supernet.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

import nas_search
from nas_cli.alone import Alone, check_alone, train_alone
from nas_cli.config import Config, differences, override
from nas_cli.limits import cost_tables, merge_limits
from nas_cli.progress import stage
from nas_cli.rank_result import Judged, compare, compare_candidates, write_values
from nas_cli.recipes import defaults, scale_of
from nas_cli.run import Run, open_run, read_json, write_json
from nas_cli.spaces import live_space, stored_space
from nas_cli.stage_search import supernet_error
from nas_cli.stage_train import trained_supernet
from nas_cli.truth import LEAST, Truth, read_truth
from nas_cli.workshop import RANK, Workshop
from nas_samplers import SupernetError
from nas_spaces import FeasibleSet, InputError, SearchSpace

__all__ = ["Question", "ask_rank", "question_of", "rank"]

ARCHITECTURES = 200
"""How many are drawn where nothing is said: tau is then known to about 0.08 (95 %)."""

# What is finished is kept after so many architectures.
CHUNK = 25
# Stream of randomness, behind RANK.
_DRAW = 0

Kind = Literal["table", "standalone", "run"]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@frozen
class Question:
    """What a supernet is held against.

    ``kind``: a ``table`` of accuracies, trainings from scratch (``standalone``), or the supernet of
    another ``run``. ``source``: the table's file, or the other run's folder. ``column``: of the
    table, None for its only one. ``architectures``: at most so many of the table's, 0 for all; in
    the other cases exactly so many, drawn within the run's limits.
    """

    kind: Kind
    source: str | None = None
    column: str | None = None
    architectures: int = ARCHITECTURES


def question_of(
    *,
    truth: Path | None = None,
    column: str | None = None,
    standalone: int | None = None,
    against: Path | None = None,
    architectures: int | None = None,
) -> Question | None:
    """Return what options ask for; None where they ask for nothing.

    Raises:
        InputError: options that do not go together.
    """
    named = {"--truth": truth, "--standalone": standalone, "--against": against}
    chosen = [option for option, value in named.items() if value is not None]
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)}: a ranking is held against one of them")
    if column is not None and truth is None:
        raise InputError("--column is of a table; give it with --truth FILE")
    if architectures is not None and (standalone is not None or not chosen):
        raise InputError("--architectures goes with --truth FILE or --against RUN2")
    number = ARCHITECTURES if architectures is None else architectures
    if standalone is not None:
        return Question("standalone", architectures=standalone)
    if truth is not None:
        return Question("table", str(truth.resolve()), column, number)
    if against is not None:
        return Question("run", str(against.resolve()), architectures=number)
    return None


def ask_rank(
    run: Run,
    name: str,
    question: Question | None,
    given: Iterable[Mapping[str, Any]],
    *,
    resume: bool,
) -> tuple[Config, Question]:
    """Return the settings of one ranking and what it asks.

    Args:
        run: the run.
        name: of the ranking, one that is there or a new one.
        question: what was asked for; None for what the ranking was begun with.
        given: settings that were given, over those of the run or of the ranking that is there.
        resume: whether a ranking that is there is to be gone on with.

    Raises:
        InputError: nothing to hold the supernet against, a setting that is not of a ranking, or a
            ranking that is there, without ``resume`` or with other settings.
    """
    known = _folder(run, name) / "settings.json"
    if not known.exists():
        if question is None:
            raise InputError(
                "what is the ranking to be held against? give --truth FILE, --standalone N or "
                "--against RUN2"
            )
        asked = override(run.config, given)
        for key in differences(run.config, asked):
            if not key.startswith(_changeable(question)):
                raise InputError(
                    f"a ranking against {_what(question)} can change "
                    f"{' and '.join(f'{one}*' for one in _changeable(question))} only, not {key}"
                )
        # Both ways are wanted, whatever the run's searches do.
        if not asked.search.recalibration_images:
            scale = scale_of(asked.data, stored_space(run.path, asked.space).input_shape[1])
            images = defaults("spos", scale)["search"]["recalibration_images"]
            more = attrs.evolve(asked.search, recalibration_images=images)
            asked = attrs.evolve(asked, search=more)
        return asked, question
    if not resume:
        raise InputError(
            f"{run.path} holds a ranking {name!r} already; go on with it by --resume, or choose "
            "another --name"
        )
    record = read_json(known, "question", "search", "retrain")
    stored = override(run.config, [{key: record[key] for key in ("search", "retrain")}])
    before = Question(**record["question"])
    asked = override(stored, given)
    changed = list(differences(stored, asked).values())
    if question is not None:
        changed += [
            f"{key} is {value!r}, received {attrs.asdict(question)[key]!r}"
            for key, value in attrs.asdict(before).items()
            if value != attrs.asdict(question)[key]
        ]
    if changed:
        raise InputError(
            f"ranking {name!r} of {run.path} was begun with other settings: {'; '.join(changed)}; "
            "leave them out, or choose another --name"
        )
    return asked, before


def _changeable(question: Question) -> tuple[str, ...]:
    return ("search.", "retrain.") if question.kind == "standalone" else ("search.",)


def _what(question: Question) -> str:
    return {"table": "a table", "standalone": "trainings from scratch", "run": "another supernet"}[
        question.kind
    ]


def _folder(run: Run, name: str) -> Path:
    return run.path / "ranks" / name


def rank(
    shop: Workshop, name: str, question: Question, *, workers: int | None = None
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
    run, folder = shop.run, _folder(shop.run, name)
    result = folder / "result.json"
    if result.exists():
        shop.say(f"rank {name}: finished already")
        return read_json(result)
    space, truth = live_space(run.path, stored_space(run.path, run.config.space)), None
    if question.kind == "table":
        # Said before images are read.
        assert question.source is not None
        truth = read_truth(Path(question.source), space, question.column)
    supernet = trained_supernet(shop)
    if truth is not None:
        judged = _of_table(shop, folder, question, truth)
    elif question.kind == "standalone":
        judged = _of_trainings(shop, folder, question, space, workers)
    else:
        judged = _of_run(shop, folder, question, space)
    begun = time.monotonic()
    event = {"event": "stage", "stage": f"rank/{name}"}
    run.event({**event, "status": "begun"})
    error = supernet_error(shop, supernet)
    own = attrs.evolve(error, recalibration=[])
    found = {
        "recalibrated": _errors(shop, folder, "recalibrated", error, judged.archs),
        "own_norms": _errors(shop, folder, "own_norms", own, judged.archs),
    }
    costs = {key: table(judged.archs) for key, table in cost_tables(shop.space).items()}
    record = compare(shop, name, judged, found, costs)
    write_values(folder / "values.csv", judged, found, costs)
    write_json(folder / "similarity.json", compare_candidates(shop, supernet, judged.archs, found))
    seconds = round(time.monotonic() - begun, 3)
    run.event({**event, "status": "finished", "seconds": seconds})
    write_json(result, record)
    return record


def _begin(shop: Workshop, folder: Path, question: Question, digest: str | None = None) -> None:
    """Write what the ranking is begun with; nothing is written before it can begin.

    ``digest``: of the table.

    Raises:
        InputError: it was begun with another table.
    """
    known = folder / "settings.json"
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


def _of_table(shop: Workshop, folder: Path, question: Question, truth: Truth) -> Judged:
    n = len(truth.archs)
    if question.architectures:
        _refuse_few(question.architectures, "--architectures")
        n = min(n, question.architectures)
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
    question: Question,
    space: SearchSpace,
    workers: int | None,
) -> Judged:
    archs = _draw(shop, space, question.architectures, "--standalone")
    check_alone(shop)
    _begin(shop, folder, question)
    alone: Alone = train_alone(
        shop, archs, folder / "standalone", workers=workers, title=f"train {len(archs)} alone"
    )
    if len(alone.archs) < LEAST:
        raise InputError(
            f"{len(alone.archs)} of {len(archs)} networks could be trained, a ranking needs at "
            f"least {LEAST}; the first failed because: {alone.reason}"
        )
    return Judged("standalone", alone.archs, 1 - alone.top1 / 100, failed=alone.failed)


def _of_run(shop: Workshop, folder: Path, question: Question, space: SearchSpace) -> Judged:
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
        archs = _draw(shop, both, question.architectures, "--architectures")
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


def _draw(shop: Workshop, space: SearchSpace, wanted: int, option: str) -> Rows:
    """Return random networks within the run's limits, each once."""
    _refuse_few(wanted, option)
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


def _refuse_few(wanted: int, option: str) -> None:
    if wanted < LEAST:
        raise InputError(
            f"{option} {wanted}: a rank correlation of fewer than {LEAST} architectures says "
            "nothing; give more"
        )


def _errors(shop: Workshop, folder: Path, label: str, error: SupernetError, archs: Rows) -> Floats:
    """Return the supernet errors ``[n]``; what a process before this one has done is kept."""
    # In this order neighbours share the most blocks.
    order = np.lexsort(archs.T[::-1])
    title = f"rank {folder.name}, {label.replace('_', ' ')}"
    saved = folder / f"{label}.json"
    digest = hashlib.sha256(archs.tobytes()).hexdigest()
    values: list[float] = []
    if saved.exists():
        record = read_json(saved, "architectures", "errors")
        values = record["errors"] if record["architectures"] == digest else []
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
            write_json(saved, {"architectures": digest, "errors": values})
    errors = np.empty(len(archs))
    errors[order] = values
    return errors
