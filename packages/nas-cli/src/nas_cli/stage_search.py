"""The second stage: search, with random search beside it as the baseline."""

import itertools
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

import nas_search
from nas_cli.clock import Clock
from nas_cli.config import differences, override
from nas_cli.evaluation import (
    Evaluation,
    candidates_folder,
    check_cluster,
    check_evaluation,
    evaluated_by,
    supernet_error,
)
from nas_cli.folder import MAIN_SEARCH, RESULT, SEARCH_SETTINGS
from nas_cli.limits import METRICS, build_limits, cost_tables
from nas_cli.progress import stage
from nas_cli.reward import reward_note
from nas_cli.run import Run, read_json, write_json
from nas_cli.run_spaces import live_space
from nas_cli.searchers import ERROR, SearchPlan, can_plan, plan_search, random_search
from nas_cli.settings import OF_SEARCH, WHERE, Config
from nas_cli.stage_train import trained_supernet
from nas_cli.trained_paths import beyond_paths
from nas_cli.workshop import Workshop
from nas_spaces import (
    FeasibleSet,
    History,
    InputError,
    Metric,
    SearchSpace,
    Table,
    nearest,
    replace_file,
)
from nas_spaces.jsonable import from_jsonable, to_jsonable

__all__ = ["check_search", "judge_again", "search", "search_settings"]


def search_settings(
    run: Run, name: str, given: Iterable[Mapping[str, Any]], *, resume: bool
) -> Config:
    """Return the settings of ``run`` with the limits and search settings of one search.

    Where it is computed is not kept with a search: that is as ``run`` and ``given`` say now.

    Args:
        run: the run.
        name: of the search, one that is there or a new one.
        given: what was asked for, over the settings of the run or of the search that is there.
        resume: whether a search that is there is to be gone on with.

    Raises:
        InputError: a setting that is not of a search; a search that is there, without ``resume``
            or with other settings.
    """
    known = run.search(name) / SEARCH_SETTINGS
    if not known.exists():
        asked = override(run.config, given)
        changed = differences(run.config, asked)
        foreign = [
            key for key in changed if key != "limits" and key.partition(".")[0] not in OF_SEARCH
        ]
        if foreign:
            tables = ", ".join(f"{table}.*" for table in OF_SEARCH)
            raise InputError(
                f"a search can change limits and {tables} only, not {foreign[0]}; begin another "
                "run for that"
            )
        return asked
    if not resume:
        raise InputError(
            f"{run.path} holds a search {name!r} already; go on with it by --resume, or choose "
            "another --name"
        )
    stored = _stored_settings(run, name)
    asked = override(stored, given)
    _refuse_changes(run, name, stored, asked)
    return asked


def _stored_settings(run: Run, name: str) -> Config:
    """Return the settings of ``run`` with those that a search was begun with."""
    known = read_json(run.search(name) / SEARCH_SETTINGS, "limits", "search")
    return override(run.config, [_without_where(known)])


def _without_where(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables of settings without those that say only where a search is computed."""
    return {
        table: {key: value for key, value in values.items() if f"{table}.{key}" not in WHERE}
        if isinstance(values, Mapping)
        else values
        for table, values in settings.items()
    }


def _refuse_changes(run: Run, name: str, stored: Config, asked: Config) -> None:
    changed = differences(stored, asked)
    if changed:
        raise InputError(
            f"search {name!r} of {run.path} was begun with other settings: "
            f"{'; '.join(changed.values())}; leave them out, or choose another --name"
        )


def check_search(shop: Workshop, name: str = MAIN_SEARCH) -> FeasibleSet:
    """Return the architectures within the run's limits; refuse what search ``name`` could not do.

    Raises:
        InputError: settings that do not fit together, limits that nothing satisfies, or no cluster
            where one is still needed.
    """
    feasible = _feasible(shop)
    costs = _costs(shop)
    if can_plan(shop.run):
        # One proposal shows whether several limits can be met at once.
        plan_search(shop, feasible, costs).searcher.ask()
    check_evaluation(shop)
    if not (shop.run.search(name) / RESULT).exists():
        check_cluster(shop)
    return feasible


def _feasible(shop: Workshop) -> FeasibleSet:
    """Return the architectures within the run's limits, of candidates that are still trained.

    Raises:
        InputError: limits that nothing satisfies.
    """
    whole = build_limits(shop.space, shop.run.config.limits)
    live = live_space(shop.run.path, shop.space)
    if live is shop.space:
        return whole
    try:
        # Shares are of the whole space, whatever was dropped.
        return FeasibleSet(live, whole.limits)
    except InputError as error:
        raise InputError(
            f"of the candidates that the training of {shop.run.path} left {error}; widen the "
            "limits, or train another run with them"
        ) from error


def _costs(shop: Workshop) -> dict[str, Table]:
    """Return the costs that the search records, objectives and limits included."""
    config = shop.run.config
    objectives = config.search.objectives
    known = (ERROR, *METRICS)
    for name in objectives:
        if name not in known:
            raise InputError(f"search.objectives: {name!r} is unknown: {nearest(name, known)}")
    if ERROR not in objectives or len(set(objectives)) < len(objectives):
        raise InputError(
            f"search.objectives is {', '.join(objectives) or 'empty'}; it names {ERROR!r} and what "
            'else is to be small, each once, like \'["error", "macs"]\''
        )
    if config.search.searcher == "nsga2" and len(objectives) == 1:
        raise InputError(
            "search.searcher=nsga2 is for several objectives, search.objectives is error alone; "
            'add one by --set \'search.objectives=["error", "macs"]\', or leave it at evolution'
        )
    costs = [name for name in objectives if name != ERROR]
    return cost_tables(shop.space, config.limits, costs)


def search(shop: Workshop, name: str) -> None:
    """Search with the run's settings, unless that is done.

    Raises:
        InputError: no trained supernet, see also `check_search`; or a search of that name was
            begun with other settings.
    """
    run, folder, config = shop.run, shop.run.search(name), shop.run.config
    known, result = folder / SEARCH_SETTINGS, folder / RESULT
    if known.exists():
        _refuse_changes(run, name, override(config, [read_json(known, "limits", "search")]), config)
    if result.exists():
        shop.say(f"search {name}: finished already")
        shutil.rmtree(candidates_folder(folder), ignore_errors=True)
        return
    feasible = check_search(shop, name)
    beyond = beyond_paths(run, feasible)
    if beyond is not None and config.search.evaluation == "supernet":
        shop.say(f"search {name}: {beyond}")
    costs = _costs(shop)
    event = {"event": "stage", "stage": f"search/{name}"}
    # Candidates that are trained alone are kept before a batch of them is.
    kept = (folder / "history.json", candidates_folder(folder))
    clock = Clock(run, event["stage"], goes_on=any(path.exists() for path in kept))
    with evaluated_by(shop, folder, clock.save) as evaluation:
        if not known.exists():
            tables = {table: attrs.asdict(config)[table] for table in OF_SEARCH}
            write_json(known, {"limits": list(config.limits), **_without_where(tables)})
            note = reward_note(shop, feasible)
            if note is not None:
                shop.say(f"search {name}: {note}")
        run.event({**event, "status": "begun"})
        plan = plan_search(shop, feasible, costs)
        found = _run_search(shop, folder, "history", plan, feasible.space, evaluation, costs, clock)
        history = found.history
        judged_by = evaluation.conclude()
        winner = plan.conclude(folder, history, evaluation)
    baseline = len(history) if plan.baseline is None else plan.baseline
    random = None
    # Architectures that are trained alone cost as much beside the search as in it.
    if baseline and config.search.evaluation == "supernet":
        beside = attrs.evolve(random_search(shop, feasible, baseline), told=plan.told)
        with evaluated_by(shop, folder, clock.save) as evaluation:
            random = _run_search(
                shop, folder, "random", beside, feasible.space, evaluation, costs, clock
            ).history
    if name == MAIN_SEARCH:
        replace_file(run.path / "history.csv", history.to_csv())
    values = {key: float(cost(winner.row[None])[0]) for key, cost in costs.items()}
    record = {
        "name": name,
        "limits": [str(limit) for limit in feasible.limits],
        "winner": winner.row.tolist(),
        "values": {ERROR: _measured(shop, history, winner.row), **values},
        "evaluated": len(history),
        "evaluation": config.search.evaluation,
        "stopped": found.stopped,
        "random_best_error": None if random is None else float(random.column(ERROR).min()),
        "space_size": shop.space.size,
        "feasible": _count(feasible),
        **judged_by,
        **winner.record,
    }
    run.event({**event, "status": "finished", "seconds": clock.seconds()})
    write_json(result, record)
    shutil.rmtree(candidates_folder(folder), ignore_errors=True)


def judge_again(shop: Workshop, name: str, rows: Sequence[NDArray[np.int64]]) -> list[float | None]:
    """Return the supernet's errors of rows, judged as a search of it judged its own.

    Args:
        shop: the run.
        name: of the search.
        rows: int64, each ``[d]``.

    Returns:
        One a row; None for a row with candidates that the training dropped.

    Raises:
        InputError: no trained supernet.
    """
    run = shop.run
    live = live_space(run.path, shop.space).mask
    trained = [bool(live[range(len(row)), row].all()) for row in rows]
    if not any(trained):
        return [None] * len(rows)
    again = attrs.evolve(
        shop, run=attrs.evolve(run, config=_stored_settings(run, name)), images=shop.data
    )
    metric = supernet_error(again, trained_supernet(again))
    errors = iter(metric(list(itertools.compress(rows, trained))).tolist())
    return [next(errors) if one else None for one in trained]


def _measured(shop: Workshop, history: History, row: NDArray[np.int64]) -> float:
    """Return the error of the network that a row builds, measured as whichever row it was."""
    same = (shop.space.canonical(history.archs) == shop.space.canonical(row[None])).all(axis=1)
    return float(history.column(ERROR)[same.argmax()])


def _count(feasible: FeasibleSet) -> int | None:
    """Return the number of feasible architectures, None where only sampling would tell."""
    try:
        return feasible.count()
    except InputError:
        return None


def _run_search(
    shop: Workshop,
    folder: Path,
    label: str,
    plan: SearchPlan,
    space: SearchSpace,
    evaluation: Evaluation,
    costs: dict[str, Table],
    clock: Clock,
) -> nas_search.SearchResult:
    """Run one search of ``space``; its state is saved after every generation."""
    title = f"search {folder.name}" + (", random" if label == "random" else "")
    saved = folder / f"{label}.json"
    state = read_json(saved) if saved.exists() else None
    if state is not None:
        # Searches that were begun before evaluations had a state have none of it.
        evaluation.load_state_dict(from_jsonable(state.pop("evaluation", None)))
    done, note = 0.0, ""
    if state is not None:
        done, note = _so_far(state)
    unit = "architecture" if plan.budget == 1 else "architectures"
    with stage(shop.console, title, plan.budget, unit) as update:
        # The time that is left is told by what is done from here on.
        update(int(done), note)

        def on_progress(finished: float) -> None:
            nonlocal done
            done += finished
            update(int(done), note)

        metrics: dict[str, Metric] = {ERROR: evaluation.metric(on_progress)}
        metrics |= costs
        objectives = [metrics.pop(name) for name in plan.told]
        record = list(metrics.values())

        def keep(state: dict[str, Any]) -> None:
            nonlocal done, note
            judged = to_jsonable(evaluation.state_dict(), "the evaluation")
            write_json(saved, {**state, "evaluation": judged})
            clock.save()
            done, note = _so_far(state)
            update(int(done), note)

        result = nas_search.search(
            plan.searcher,
            objectives,
            space=space,
            budget=plan.budget,
            feasible=plan.feasible,
            record=record,
            resume=state,
            checkpoint=keep,
        )
    replace_file(folder / f"{label}.csv", result.history.to_csv())
    return result


def _so_far(state: Mapping[str, Any]) -> tuple[float, str]:
    """Return how many architectures a search has evaluated by its state, and the best in words."""
    rows = History.from_csv(state["history"])
    return len(rows), f"best top-1 {100 * (1 - rows.column(ERROR).min()):.1f} %"
