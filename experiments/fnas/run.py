"""How many architectures have to be trained: FNAS and its parts, on the tables of two benchmarks.

    python experiments/fnas/run.py --truth nas-bench-201.csv --macro nas-bench-macro_cifar10.json

tunes plain PPO and FNAS over the same grid on CIFAR-10 of NAS-Bench-201, compares them and other
searches on CIFAR-100 and on NAS-Bench-Macro, and rewrites tables and plots of README.md. It can be
stopped at any time; the same command goes on. What results.json has is not made again, unless it is
named by --only.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

import common
from common import Record, pyplot

from nas_search import censored_median, evaluations_differ, holm, median_ratio
from nas_spaces import History, published

HERE = Path(__file__).parent

# One point each behind the rate and the entropy that were best.
GRID = [*itertools.product((1e-3, 3e-3, 1e-2), (0.01, 0.1, 0.3)), (3e-2, 0.1), (3e-3, 0.0)]
"""Learning rate and coefficient of the entropy."""
TUNED = ("ppo", "fnas")
TUNING_SEEDS, SEEDS = 16, 50
BUDGET, OF_OTHERS = 300, 1000
"""Distinct architectures of a search: of FNAS, and of what is slower."""
BEST = 100
"""Networks of each search whose operators are counted."""
TUNING_SEED = 1
"""Of the tuning, whose draws are not those of what is reported."""
OTHERS = ("random", "evolution", "regularized", "nsga2", "ppo")
CIFAR_10, CIFAR_100, MACRO = (
    "NAS-Bench-201, CIFAR-10",
    "NAS-Bench-201, CIFAR-100",
    "NAS-Bench-Macro",
)
OF_FNAS = f"{CIFAR_100}, fnas"
OF_ITS_OWN = "fnas, rate and entropy of its own"
# One network for V and one for U, in place of an ensemble.
ONE = {"fnas.critic.members": 1, "fnas.critic.steps": 50}
# Name -> method and settings.
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "fnas": ("fnas", {}),
    "fnas, critic alone": ("fnas", {"fnas.buffer": "none"}),
    "fnas, buffer alone": ("fnas", {"fnas.critic": "none"}),
    "fnas, one V and U": ("fnas", ONE),
    "fnas, one V and U of what V has learnt": (
        "fnas",
        {**ONE, "fnas.critic.residuals": "current"},
    ),
    "fnas, the paper's critic": ("fnas", {**ONE, "fnas.critic.threshold": "none"}),
    # What V + U is worth as a choice among many draws, apart from answers in place of trainings.
    "fnas, picks the least certain": ("fnas", {"fnas.policy.pick": "uncertain"}),
    "fnas, picks what is drawn first": (
        "fnas",
        {"fnas.policy.pick": "drawn", "fnas.policy.resampled": 1},
    ),
}
# What might limit FNAS, and whether plain PPO would gain from what was not in the grid.
MORE_PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "fnas, four networks and the paper's rule": ("fnas", {"fnas.critic.threshold": "none"}),
    "fnas, trusted after 10": ("fnas", {"fnas.critic.least": 10}),
    "fnas, the critic as baseline": ("fnas", {"fnas.policy.baseline": "critic"}),
    OF_ITS_OWN: ("fnas", {}),
    "fnas, buffer alone, temperature 0.05": (
        "fnas",
        {"fnas.critic": "none", "fnas.buffer.temperature": 0.05},
    ),
    "fnas, rewards as they are": ("fnas", {"fnas.policy.standardise": "false"}),
    "ppo, batches of 5": ("ppo", {"ppo.policy.batch": 5}),
    "ppo, 8 steps a batch": ("ppo", {"ppo.policy.epochs": 8}),
}


@frozen(kw_only=True)
class Comparison:
    """One ``nas compare``.

    ``tuned``: the method that the learning rate and the entropy were best for; None for those in
    ``settings``. FNAS needs about as many at any point of the grid; plain PPO does not, nor do
    parts of FNAS that leave more to the policy. All have what is best for plain PPO, so that a line
    differs from it, and from others, by nothing else.
    """

    table: str
    methods: tuple[str, ...]
    mark: float
    budget: int
    seeds: int = SEEDS
    settings: dict[str, Any]
    tuned: str | None = "ppo"


def grid_name(method: str, lr: float, entropy: float) -> str:
    """Return the name of the searches at a point of the grid."""
    return f"tuning of {method}, lr {lr:g}, entropy {entropy:g}"


def at(method: str, lr: float, entropy: float) -> dict[str, Any]:
    """Return the settings at a point of the grid."""
    return {f"{method}.policy.lr": lr, f"{method}.policy.entropy": entropy}


COMPARISONS = {
    grid_name(method, *point): Comparison(
        table=CIFAR_10,
        methods=(method,),
        mark=99.9,
        budget=budget,
        seeds=TUNING_SEEDS,
        settings=at(method, *point),
        tuned=None,
    )
    for method, budget in (("ppo", OF_OTHERS), ("fnas", BUDGET))
    for point in GRID
}
FINAL = Comparison(table=CIFAR_100, methods=OTHERS, mark=99.5, budget=OF_OTHERS, settings={})
ON_MACRO = evolve(FINAL, table=MACRO, mark=99.9)
for final, parts in ((FINAL, {**PARTS, **MORE_PARTS}), (ON_MACRO, PARTS)):
    COMPARISONS[final.table] = final
    for name, (method, settings) in parts.items():
        COMPARISONS[f"{final.table}, {name}"] = evolve(
            final,
            methods=(method,),
            budget=OF_OTHERS if method == "ppo" else BUDGET,
            settings=settings,
            tuned="fnas" if name == OF_ITS_OWN else "ppo",
        )


def run(given: argparse.Namespace, name: str) -> None:
    """Make one comparison, as far as that is not done, and record it."""
    comparison = COMPARISONS[name]
    settings = dict(comparison.settings)
    if comparison.tuned is not None:
        point = tuned(comparison.tuned)
        for method in set(TUNED) & set(comparison.methods):
            settings |= at(method, *point)
    out = given.work / common.plain(name)
    macro = comparison.table == MACRO
    of_table: list[str | Path] = ["--space", "nas-bench-macro", "--truth", given.macro]
    if not macro:
        column = comparison.table.rpartition(" ")[2].replace("-", "").lower()
        of_table = ["--space", "nas-bench-201", "--truth", given.truth]
        of_table += ["--column", f"{column}_test_accuracy_200_epochs"]
    common.nas(
        "compare",
        *of_table,
        *("--methods", ",".join(comparison.methods), "--mark", str(comparison.mark)),
        *("--budget", str(comparison.budget), "--seeds", str(comparison.seeds)),
        *("--seed", str(TUNING_SEED if comparison.tuned is None else 0)),
        *common.settings(settings),
        *("--workers", str(given.workers), "--out", out, "--resume"),
        log=common.log_of(out),
    )
    found = common.read(out / "comparison.json")
    record = {
        "comparison": name,
        "table": comparison.table,
        "settings": settings,
        "seed": found["seed"],
        "seeds": found["seeds"],
        "budget": found["budget"],
        "mark": found["mark"],
        "architectures": found["architectures"],
        "methods": {
            one["name"]: {
                "settings": one["settings"],
                "evaluations": one["evaluations"]["searches"],
                "regret": regrets(out, one["name"], found),
            }
            for one in found["methods"]
        },
    }
    if "fnas" in comparison.methods:
        record["operators"] = operators(out, macro=macro)
    common.keep(HERE, [record], ("comparison",))


def histories(out: Path, method: str, seeds: int) -> list[History]:
    """Return what the searches of a comparison measured, the first ``BUDGET`` of each."""
    found = []
    for index in range(seeds):
        text = (out / "searches" / method / f"{index}.csv").read_text()
        found.append(History.from_csv("".join(text.splitlines(keepends=True)[: BUDGET + 1])))
    return found


def regrets(out: Path, method: str, found: Record) -> list[float]:
    """Return what the best of each search's first architectures lacks of the best [points]."""
    errors = [one.column("error") for one in histories(out, method, found["seeds"])]
    return [round(max(found["best"] - 100 * (1 - float(own.min())), 0.0), 4) for own in errors]


def operators(out: Path, *, macro: bool) -> dict[str, list[float]]:
    """Return how often the best networks of a search have each option of each choice.

    Shares of the ``BEST`` best of what each of as many searches as the tuning has measured: mean
    and standard deviation over the searches, by option.
    """
    space = published.load("nas-bench-macro" if macro else "nas-bench-201")
    best = []
    for one in histories(out, "fnas", TUNING_SEEDS):
        order = np.argsort(one.column("error"), kind="stable")[:BEST]
        best.append(space.canonical(one.archs[order]))
    shares: dict[str, list[float]] = {}
    for place, choice in enumerate(space.choices):
        for number, option in enumerate(choice.options):
            own = [float(np.mean(rows[:, place] == number)) for rows in best]
            shares[f"{choice.name}: {option}"] = [
                round(float(f(own)), 4) for f in (np.mean, np.std)
            ]
    return shares


def tuned(method: str) -> tuple[float, float]:
    """Return learning rate and entropy by which a method needs the fewest evaluations.

    Searches that did not reach the mark count with the whole budget.

    Raises:
        SystemExit: the tuning is not complete.
    """
    runs = recorded()
    names = [grid_name(method, *point) for point in GRID]
    missing = [name for name in names if name not in runs]
    if missing:
        raise SystemExit(f"the settings have to be tuned first: --only {missing[0]!r} is missing")
    return min(GRID, key=lambda point: spent(runs[grid_name(method, *point)], method))


def recorded() -> dict[str, Record]:
    """Return the comparisons in results.json by name."""
    path = HERE / "results.json"
    runs = common.read(path)["runs"] if path.exists() else []
    return {one["comparison"]: one for one in runs}


def taken(record: Record, method: str) -> list[float]:
    """Return the evaluations that each search needed, inf for more than the budget."""
    return common.uncensored(record["methods"][method]["evaluations"])


def spent(record: Record, method: str) -> float:
    """Return the mean evaluations to the mark, those that did not reach it with their budget."""
    return float(capped(record, method).mean())


def capped(record: Record, method: str) -> NDArray[np.float64]:
    """Return the evaluations ``[n]`` of each search, the budget where it did not reach the mark."""
    return np.minimum(taken(record, method), record["budget"])


def collect() -> None:
    """Rewrite tables and plots from results.json."""
    runs = recorded()
    if not runs:
        raise SystemExit(f"{HERE / 'results.json'} is missing: no run is recorded yet")
    parts = []
    for table in (CIFAR_100, MACRO):
        if table in runs:
            parts.append(final_table(runs, table))
    tuning = tuning_table(runs)
    if tuning:
        parts.append(tuning)
    if CIFAR_100 in runs or MACRO in runs:
        draw_searches(runs)
        parts.append("![searches](searches.svg)")
    if OF_FNAS in runs and tuning:
        draw_operators(runs)
        parts.append("![operators](operators.svg)")
    common.publish(HERE, "\n\n".join(parts))


Line = tuple[str, Record, str]
"""Name, comparison and method of a line of a table."""


def lines_of(runs: dict[str, Record], table: str) -> list[Line]:
    """Return the lines of one table, as far as they are recorded: first what is compared."""
    lines = [(method, runs[table], method) for method in runs[table]["methods"]]
    for part, (method, _) in {**PARTS, **MORE_PARTS}.items():
        if f"{table}, {part}" in runs:
            lines.append((part, runs[f"{table}, {part}"], method))
    return lines


def final_table(runs: dict[str, Record], table: str) -> str:
    """Return who needs how many on one table, as Markdown."""
    final = runs[table]
    plain = ("ppo", final, "ppo")
    lines = lines_of(runs, table)
    others = [line for line in lines if line != plain]
    p_values = holm([differ(plain, line) for line in others])
    rows = []
    for line in lines:
        name, record, method = line
        budget = record["budget"]
        median = censored_median(taken(record, method))
        row = [
            name,
            common.within(median.median, budget),
            f"{common.within(median.low, budget)} to {common.within(median.high, budget)}",
            f"{median.reached} of {median.searches}",
            f"{np.median(record['methods'][method]['regret']):.2f}",
        ]
        if line == plain:
            rows.append([*row, "1", "-"])
            continue
        ratio = median_ratio(
            taken(final, "ppo"),
            taken(record, method),
            budget=(final["budget"], budget),
            rng=np.random.default_rng(0),
        )
        rows.append([*row, common.times(ratio), f"{p_values[others.index(line)]:.2g}"])
    head = (
        "search",
        "median evaluations",
        "95 % interval",
        "reached",
        f"regret after {BUDGET} [points]",
        "times fewer than plain PPO (95 %)",
        "p",
    )
    mark = final["mark"]
    note = (
        f"**{table}**: distinct architectures measured until one has {mark['accuracy']:.2f} % "
        f"({mark['percent']:g} % of the best; {mark['architectures']} of "
        f"{final['architectures']:,} networks have), {final['seeds']} searches of each, at most "
        f"{BUDGET} architectures each, {OF_OTHERS:,} where it is not FNAS."
    )
    return f"{note}\n\n{common.table(head, rows)}"


def differ(plain: Line, line: Line) -> float:
    """Return the p value of a logrank test, each censored at its own budget."""
    (_, first, ppo), (_, second, method) = plain, line
    return evaluations_differ(
        taken(first, ppo), taken(second, method), budget=(first["budget"], second["budget"])
    )


def tuning_table(runs: dict[str, Record]) -> str:
    """Return what both methods need at each point of the grid, as Markdown; nothing if unknown."""
    rows = []
    for point in GRID:
        row = [f"{value:g}" for value in point]
        for method in TUNED:
            record = runs.get(grid_name(method, *point))
            row.append("-" if record is None else tuning_cell(record, method))
        rows.append(row)
    if all(row[2:] == ["-", "-"] for row in rows):
        return ""
    note = (
        "**Tuning** on NAS-Bench-201, CIFAR-10: mean evaluations to 99.9 % of the best and the "
        "error of the mean. Those that did not reach it are counted with their budget: "
        f"{OF_OTHERS:,} for plain PPO, {BUDGET} for FNAS."
    )
    return f"{note}\n\n{common.table(('lr', 'entropy', 'plain PPO', 'FNAS'), rows)}"


def tuning_cell(record: Record, method: str) -> str:
    """Return what a method needs at one point of the grid."""
    reached = sum(map(math.isfinite, taken(record, method)))
    error = capped(record, method).std(ddof=1) / math.sqrt(record["seeds"])
    return f"{spent(record, method):.0f} ± {error:.0f} ({reached} of {record['seeds']})"


def draw_searches(runs: dict[str, Record]) -> None:
    """Draw how many searches have reached the mark after how many evaluations."""
    tables = [table for table in (CIFAR_100, MACRO) if table in runs]
    figure, all_axes = pyplot.subplots(
        1, len(tables), figsize=(5.5 * len(tables), 4), layout="constrained", squeeze=False
    )
    for table, axes in zip(tables, all_axes[0], strict=True):
        mark = runs[table]["mark"]
        for name, record, method in lines_of(runs, table):
            if name not in (*OTHERS, "fnas"):
                continue
            x = np.arange(1, record["budget"] + 1)
            reached = (np.array(taken(record, method))[:, None] <= x).mean(axis=0)
            axes.step(x, 100 * reached, where="post", label=name)
        axes.set_xscale("log")
        axes.set_title(f"{table}: {mark['accuracy']:.2f} %")
        axes.set_xlabel("distinct architectures measured")
        axes.set_ylabel("searches that reached it [%]")
        axes.legend(fontsize="small")
    common.save(figure, HERE / "searches.svg")


def draw_operators(runs: dict[str, Record]) -> None:
    """Draw in which options the best networks of two tasks differ."""
    # The point of the grid that was chosen is the same search on the other task.
    settings = runs[OF_FNAS]["settings"]
    chosen = grid_name("fnas", settings["fnas.policy.lr"], settings["fnas.policy.entropy"])
    first, second = runs[chosen]["operators"], runs[OF_FNAS]["operators"]
    ordered = sorted(first, key=lambda key: second[key][0] - first[key][0])
    figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    x = np.arange(len(ordered))
    for shift, label, shares in ((-0.2, "CIFAR-10", first), (0.2, "CIFAR-100", second)):
        means, deviations = 100 * np.array([shares[key] for key in ordered]).T
        axes.bar(x + shift, means, 0.4, yerr=deviations, error_kw={"lw": 0.7}, label=label)
    axes.set_xticks(x, ordered, rotation=90, fontsize=6)
    axes.set_ylabel(f"of the {BEST} best of a search [%]")
    axes.legend()
    common.save(figure, HERE / "operators.svg")


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--truth", type=Path, required=True, help="NAS-Bench-201's CSV file")
    parser.add_argument("--macro", type=Path, required=True, help="NAS-Bench-Macro's JSON file")
    parser.add_argument("--workers", type=int, default=2, help="processes that search [2]")
    given = parser.parse_args()
    if not given.collect:
        for name in given.only or [name for name in COMPARISONS if name not in recorded()]:
            run(given, name)
    collect()
