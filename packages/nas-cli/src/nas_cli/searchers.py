"""What ``search.searcher`` stands for: what proposes architectures, and which one wins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

import nas_search
from nas_cli.evaluation import Evaluation, Standalone
from nas_cli.finalists import choose_finalist
from nas_cli.learned import has_learned, learned_distribution
from nas_cli.phases import LEARNING, largest_network
from nas_cli.ppo_settings import build_policy, build_ppo
from nas_cli.reward import reward_of
from nas_cli.run import Run
from nas_cli.specialize import TABLE, answer_limits, describe_answer
from nas_cli.warm_start import warm_critic
from nas_cli.workshop import RANDOM, SEARCH, Workshop
from nas_samplers import Distribution, likely_row, zero_options
from nas_search import CandidateTable
from nas_spaces import FeasibleSet, History, InputError, Searcher, SearchSpace, Table, replace_file

__all__ = ["ERROR", "SearchPlan", "Winner", "can_plan", "plan_search", "random_search"]

# Times the number of samples that is drawn at most, to find so many within the limits.
DRAWS_PER_SAMPLE = 100
# Rows between two times that a search of given rows is saved.
LISTED = 5

ERROR = "error"
"""The column of the supernet's error; the other objectives are costs."""

MOST_PROBABLE = "most-probable"


@frozen(eq=False)
class Winner:
    """What a search came to.

    ``row``: int64 ``[d]``, within the limits; its network is in the history. ``record``: what the
    result says of it besides.
    """

    row: NDArray[np.int64]
    record: dict[str, Any]


@frozen(eq=False)
class SearchPlan:
    """One search.

    ``searcher``: proposes. ``budget``: distinct architectures. ``feasible``: what the proposals
    stay within, None for the whole space. ``told``: the objectives that it is told, in order.
    ``conclude``: of the search's folder, its history and what it was judged by, who wins.
    ``baseline``: architectures of the random search beside it; None for as many as it evaluated, 0
    for no random search.
    """

    searcher: Searcher
    budget: int
    feasible: FeasibleSet | None
    told: tuple[str, ...]
    conclude: Callable[[Path, History, Evaluation], Winner]
    baseline: int | None


Costs = dict[str, Table]


def random_search(shop: Workshop, feasible: FeasibleSet, budget: int | None = None) -> SearchPlan:
    """Return random search, with the same draws whatever it stands beside.

    Args:
        shop: the run, with the settings of this search.
        feasible: the limits, of the candidates that are still trained.
        budget: distinct architectures; None for population x generations.
    """
    searcher = nas_search.Random(
        feasible.space,
        rng=shop.rng(RANDOM),
        feasible=feasible,
        batch=shop.run.config.search.population,
    )
    return _ordered(shop, searcher, feasible, budget or _whole_budget(shop), 0)


def _ordered(
    shop: Workshop, searcher: Searcher, feasible: FeasibleSet, budget: int, baseline: int
) -> SearchPlan:
    """Return a search whose best row wins, by error and then by multiply-adds."""

    def conclude(_: Path, history: History, __: Evaluation) -> Winner:
        return Winner(history.archs[nas_search.best(history, [ERROR, "macs"])], {})

    objectives = shop.run.config.search.objectives
    return SearchPlan(searcher, budget, feasible, objectives, conclude, baseline)


def _whole_budget(shop: Workshop) -> int:
    return shop.run.config.search.population * shop.run.config.search.generations


Build = Callable[[Workshop, FeasibleSet, Costs], SearchPlan]


def _evolution(shop: Workshop, feasible: FeasibleSet, _: Costs) -> SearchPlan:
    config, budget = shop.run.config.search, _whole_budget(shop)
    searcher = nas_search.Evolution(
        feasible.space,
        rng=shop.rng(SEARCH),
        feasible=feasible,
        population=config.population,
        parents=config.parents,
        crossover=config.crossover,
        mutation=config.mutation,
        mutation_probability=config.mutation_probability,
    )
    return _ordered(shop, searcher, feasible, budget, budget)


def _nsga2(shop: Workshop, feasible: FeasibleSet, _: Costs) -> SearchPlan:
    config, budget, rng = shop.run.config.search, _whole_budget(shop), shop.rng(SEARCH)
    mutator = None
    if config.mutator == "learned":
        from nas_search.rl import LearnedMutation

        policy = build_policy(feasible.space, shop.run.config.policy, rng=rng)
        mutator = LearnedMutation(policy, probability=config.mutation_probability)
    searcher = nas_search.NSGA2(
        feasible.space,
        rng=rng,
        feasible=feasible,
        mutator=mutator,
        population=config.population,
        mutation=config.mutation / max(config.crossover + config.mutation, 1),
        mutation_probability=config.mutation_probability,
    )
    return _ordered(shop, searcher, feasible, budget, budget)


def _random(shop: Workshop, feasible: FeasibleSet, _: Costs) -> SearchPlan:
    return random_search(shop, feasible)


def _progressive(shop: Workshop, feasible: FeasibleSet, costs: Costs) -> SearchPlan:
    config = shop.run.config.search

    def answer(table: CandidateTable) -> nas_search.Specialised:
        return answer_limits(table, feasible.limits, score=config.score, exact=config.exact)

    if config.suffixes:
        suffix = feasible.space.sample(config.suffixes, rng=shop.rng(SEARCH))
    else:
        suffix = largest_network(feasible.space, costs["macs"])
    searcher = nas_search.Progressive(
        feasible.space, cost=costs["macs"], suffix=suffix, then=lambda table: answer(table).row
    )

    def conclude(folder: Path, _: History, __: Evaluation) -> Winner:
        table = searcher.table()
        replace_file(folder / TABLE, table.to_json())
        found = answer(table)
        return Winner(
            found.row, {"stopped": "complete", **describe_answer(table, feasible.limits, found)}
        )

    # The sweep looks at every option, whatever the limits; one more for the row within them.
    return SearchPlan(searcher, searcher.budget + 1, None, (ERROR,), conclude, None)


def _most_probable(shop: Workshop, feasible: FeasibleSet, costs: Costs) -> SearchPlan:
    run, config = shop.run, shop.run.config.search
    learned = learned_distribution(run, feasible.space)
    try:
        left, searcher = feasible, None
        if config.exclude_zero:
            space = feasible.space
            left = FeasibleSet(space.restrict(space.mask & ~zero_options(space)), feasible.limits)
            learned = learned_distribution(run, left.space)
        if learned.joint:
            row, proven = likely_row(learned, left)
        else:
            # Of equally probable rows the cheapest.
            searcher = nas_search.MostProbable(
                left.space, learned.log_marginals(), cost=costs["macs"], feasible=left
            )
            row, proven = searcher.row, searcher.proven
    except InputError as error:
        raise InputError(
            f"what the training of {run.path} learned names no architecture within the limits: "
            f"{error}; widen the limits, or search by --set search.searcher=evolution"
        ) from error
    samples = _samples(learned, left, config.samples, shop.rng(SEARCH))
    rows = np.concatenate([row[None], samples])

    def conclude(_: Path, history: History, __: Evaluation) -> Winner:
        record: dict[str, Any] = {"stopped": "complete", "proven": proven}
        if config.samples:
            record["samples"] = _standing(feasible.space, history, row, samples)
        return Winner(row, record)

    return SearchPlan(
        searcher
        if searcher is not None and not config.samples
        else nas_search.Listed(feasible.space, rows, feasible=feasible, batch=LISTED),
        len(np.unique(feasible.space.canonical(rows), axis=0)),
        feasible,
        (ERROR,),
        conclude,
        _whole_budget(shop),
    )


def _samples(
    learned: Distribution, feasible: FeasibleSet, n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return ``n`` rows within the limits, drawn from the distribution; fewer where few are."""
    found: list[NDArray[np.int64]] = []
    for _ in range(DRAWS_PER_SAMPLE if n else 0):
        rows = learned.sample(n, rng=rng)
        found.append(rows[feasible.contains(rows)])
        if sum(map(len, found)) >= n:
            break
    return np.concatenate([np.zeros((0, learned.space.num_choices), np.int64), *found])[:n]


def _standing(
    space: SearchSpace, history: History, row: NDArray[np.int64], samples: NDArray[np.int64]
) -> dict[str, Any]:
    """Return where the winner stands among samples ``[n, d]``.

    ``drawn``: how many there are. ``winner``: how many of them are the winner again. ``evaluated``:
    distinct ones of the others. ``better``: how many of those are better. ``errors``: of those, the
    smallest and the largest.
    """
    errors, winner = history.column(ERROR), space.canonical(row[None])
    own = (space.canonical(history.archs) == winner).all(axis=1)
    others = errors[~own]
    return {
        "drawn": len(samples),
        "winner": int((space.canonical(samples) == winner).all(axis=1).sum()),
        "evaluated": len(others),
        "better": int((others < errors[own][0]).sum()),
        "errors": [float(others.min()), float(others.max())] if len(others) else [],
    }


def _ppo(shop: Workshop, feasible: FeasibleSet, costs: Costs) -> SearchPlan:
    config, budget = shop.run.config, _whole_budget(shop)
    reward = reward_of(shop, feasible)
    searcher = build_ppo(
        feasible,
        config.policy,
        config.critic,
        config.buffer,
        rng=shop.rng(SEARCH),
        budget=budget,
        reward=reward,
    )
    earlier = warm_critic(shop)
    if earlier is not None and searcher.critic is not None:
        searcher.critic.inherit(earlier)

    def conclude(folder: Path, history: History, evaluation: Evaluation) -> Winner:
        rewards = reward(history.archs, history.column(ERROR)[:, None])
        counts = {"counts": attrs.asdict(searcher.counts)}
        if not isinstance(evaluation, Standalone) or config.candidates.finalists == 1:
            return Winner(history.archs[int(rewards.argmax())], counts)
        row, record = choose_finalist(shop, folder, history, reward, evaluation)
        return Winner(row, {**record, **counts})

    return SearchPlan(searcher, budget, feasible, (ERROR,), conclude, budget)


SEARCHERS: dict[str, Build] = {
    "evolution": _evolution,
    "nsga2": _nsga2,
    "random": _random,
    "progressive": _progressive,
    MOST_PROBABLE: _most_probable,
    "ppo": _ppo,
}
"""Setting ``search.searcher`` -> the search."""

# Where the settings of a searcher stand that are not in table ``search``.
TABLES = {"ppo": ("policy", "critic", "buffer", "reward")}


def plan_search(shop: Workshop, feasible: FeasibleSet, costs: Costs) -> SearchPlan:
    """Return the search that the run's settings describe.

    Args:
        shop: the run, with the settings of this search.
        feasible: the limits, of the candidates that are still trained.
        costs: what is recorded, by name.

    Raises:
        InputError: settings that do not fit together, or not the architecture parameters.
    """
    name = shop.run.config.search.searcher
    try:
        return SEARCHERS[name](shop, feasible, costs)
    except InputError as error:
        if name == MOST_PROBABLE:
            raise  # it names the cause itself: what the training learned, or the limits
        keys = " or ".join(f"{table}.KEY" for table in TABLES.get(name, ("search",)))
        raise InputError(f"search: {error}; change it by --set {keys}=VALUE") from error


def can_plan(run: Run) -> bool:
    """Return whether the run's search can be planned before its supernet is trained.

    Raises:
        InputError: it is of what the training learns, which learns nothing of architectures.
    """
    asked = run.config.search
    if asked.searcher == MOST_PROBABLE and asked.evaluation == "standalone":
        raise InputError(
            "search.searcher=most-probable is for supernets with architecture parameters, and by "
            "search.evaluation=standalone there is none; take another searcher"
        )
    if run.config.search.searcher != MOST_PROBABLE or has_learned(run):
        return True
    sampler = run.config.supernet.sampler
    if sampler in LEARNING:
        return False
    raise InputError(
        "search.searcher=most-probable is for supernets with architecture parameters: "
        f"supernet.sampler {', '.join(LEARNING)}; of {run.path} it is {sampler}: take another, "
        "like --set search.searcher=evolution"
    )
