"""Look-up costs worked out along an order of choices, so that few of them are open at a time.

A step assigns some columns, adds the look-ups that this completes, and keeps of the assigned
columns only those that later look-ups read: the frontier. What holds over all rows (extremes,
counts, most probable rows) then follows from one table a step, over the frontier alone (variable
elimination: Dechter, "Bucket elimination", Artificial Intelligence 113, 1999).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces.space import SearchSpace
from nas_spaces.table import Table, Term, absorb

__all__ = ["Numbers", "Step", "eliminate", "extremes", "live_terms", "rounding"]

Numbers = NDArray[Any]
"""int64 where the costs are integers, float64 otherwise."""

# Pairs of a frontier's state and a step's option that are listed.
PAIR_BUDGET = 2**21
# The order of the columns is kept unless another one has fewer pairs by this factor.
NATURAL_ORDER = 2

Scope = frozenset[int]


def live_terms(space: SearchSpace, table: Table) -> tuple[list[Term], int | float]:
    """Return the table's terms over live options, and its constant.

    Axes along which a term does not change are dropped, and terms whose columns another one
    reads too are combined with it. Columns ascend; terms with the most columns come first.
    """
    combine = np.add if table.reduce == "sum" else np.maximum
    live = [np.flatnonzero(row) for row in space.mask]
    constant = table.constant
    terms: list[Term] = []
    for term in table.terms:
        columns = sorted(term.columns)
        grids = dict(zip(columns, np.ix_(*(live[c] for c in columns)), strict=True))
        values = term.values[tuple(grids[c] for c in term.columns)]
        left = Term(columns, values).simplified()
        if left.columns:
            terms.append(left)
        else:
            constant = combine(constant, left.values).item()
    return sorted(absorb(terms, combine), key=lambda term: -len(term.columns)), constant


def rounding(table: Table) -> float:
    """Return more than two orders of adding up the same look-ups can differ by."""
    if table.is_integer or table.reduce == "max":
        return 0  # An integer: a float would round bounds beyond 2^53.
    finite = [np.abs(term.values[np.isfinite(term.values)]) for term in table.terms]
    scale = abs(table.constant) + sum(float(values.max(initial=0)) for values in finite)
    return 8 * (len(table.terms) + 4) * float(np.finfo(np.float64).eps) * scale


@frozen(eq=False)
class Step:
    """Columns that are assigned together.

    ``columns``: which. ``options``: int64 ``[b, columns]``, their live combinations in
    lexicographic order. ``costs``: ``[f, b]``, the look-ups that the step completes, for each
    state of the frontier before it. ``onward``: int64 ``[f, b]``, the state of the frontier
    after it, one of ``after``.
    """

    columns: tuple[int, ...]
    options: NDArray[np.int64]
    costs: Numbers
    onward: NDArray[np.int64]
    after: int


def eliminate(
    space: SearchSpace, terms: Sequence[Term], combine: np.ufunc = np.add
) -> tuple[Step, ...] | None:
    """Return the steps that assign all columns of ``terms`` (from `live_terms`).

    None where too many choices are open at a time. Columns that no term reads are in no step.
    """
    live = [np.flatnonzero(row) for row in space.mask]
    sizes = [len(options) for options in live]
    scopes = [frozenset(term.columns) for term in terms]
    steps = []
    done: set[int] = set()
    for before, new, after in _frontiers(_order(scopes, sizes)):
        shape = [sizes[c] for c in (*before, *new)]
        if math.prod(shape) > PAIR_BUDGET:
            return None
        known = {*before, *new}
        pairs = (math.prod(sizes[c] for c in before), -1)
        complete = [i for i, scope in enumerate(scopes) if scope <= known and i not in done]
        done.update(complete)
        costs: Numbers = combine.reduce(
            [np.broadcast_to(terms[i].spread((*before, *new)), shape) for i in complete]
        )
        onward = np.zeros(shape, dtype=np.int64)
        for column in after:
            axis = (*before, *new).index(column)
            place = np.arange(sizes[column]).reshape(
                [-1 if i == axis else 1 for i in range(len(shape))]
            )
            onward = onward * sizes[column] + place
        options = np.stack(np.meshgrid(*(live[c] for c in new), indexing="ij"), axis=-1)
        steps.append(
            Step(
                new,
                options.reshape(-1, len(new)),
                costs.reshape(pairs),
                onward.reshape(pairs),
                math.prod(sizes[c] for c in after),
            )
        )
    return tuple(steps)


def _frontiers(
    order: Sequence[Scope],
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Yield (frontier before, columns assigned, frontier after) of each step of an order."""
    assigned: set[int] = set()
    remaining = list(order)
    before: tuple[int, ...] = ()
    for scope in order:
        new = scope - assigned
        if new:
            assigned |= new
            remaining = [scope for scope in remaining if not scope <= assigned]
            after = tuple(sorted(assigned & _union(remaining)))
            yield before, tuple(sorted(new)), after
            before = after


def _order(scopes: Sequence[Scope], sizes: Sequence[int]) -> list[Scope]:
    """Return the scopes in an order of completion that keeps the frontier small."""
    order: list[Scope] = []
    for component in _components(scopes):
        natural = sorted(component, key=sorted)
        greedy = _greedy(component, sizes)
        best = (
            natural if _pairs(natural, sizes) <= NATURAL_ORDER * _pairs(greedy, sizes) else greedy
        )
        order.extend(best)
    return order


def _union(scopes: Iterable[Scope]) -> Scope:
    return Scope().union(*scopes)


def _pairs(order: Sequence[Scope], sizes: Sequence[int]) -> int:
    return sum(math.prod(sizes[c] for c in (*before, *new)) for before, new, _ in _frontiers(order))


def _components(scopes: Sequence[Scope]) -> list[list[Scope]]:
    """Return the scopes in groups that share no column, ordered by their first columns."""
    groups: list[tuple[set[int], list[Scope]]] = []
    for scope in scopes:
        linked = [group for group in groups if group[0] & scope]
        groups = [group for group in groups if not group[0] & scope]
        columns = set(scope).union(*(columns for columns, _ in linked))
        groups.append((columns, [*(one for _, ones in linked for one in ones), scope]))
    return [ones for columns, ones in sorted(groups, key=lambda group: min(group[0]))]


def _greedy(component: Sequence[Scope], sizes: Sequence[int]) -> list[Scope]:
    """Complete next what leaves the smallest frontier; first, what has the fewest pairs."""
    order: list[Scope] = []
    remaining = list(component)
    assigned: set[int] = set()
    while remaining:
        frontier = _union(remaining) & assigned
        near = [scope for scope in remaining if scope & frontier] or remaining

        def weight(
            scope: Scope, remaining: list[Scope] = remaining, frontier: Scope = frontier
        ) -> tuple[int, int, list[int]]:
            known = frontier | scope
            later = known & _union(one for one in remaining if not one <= known)
            return (
                math.prod(sizes[c] for c in later),
                math.prod(sizes[c] for c in known),
                sorted(scope),
            )

        chosen = min(near, key=weight)
        order.append(chosen)
        remaining.remove(chosen)
        assigned |= chosen
    return order


def extremes(
    steps: Sequence[Step], num_choices: int, combine: np.ufunc = np.add
) -> NDArray[np.int64]:
    """Return rows int64 ``[2, d]`` of the least and of the largest sum (or maximum).

    Columns that no step assigns are left at 0.
    """
    rows = np.zeros((2, num_choices), dtype=np.int64)
    for row, sign in zip(rows, (1, -1), strict=True):
        ahead: Numbers | None = None
        chosen: list[NDArray[np.intp]] = []
        for step in reversed(steps):
            total = step.costs if ahead is None else combine(step.costs, ahead[step.onward])
            best = (sign * total).argmin(axis=1)
            ahead = np.take_along_axis(total, best[:, None], axis=1)[:, 0]
            chosen.insert(0, best)
        state = 0
        for step, best in zip(steps, chosen, strict=True):
            option = best[state]
            row[list(step.columns)] = step.options[option]
            state = int(step.onward[state, option])
    return rows
