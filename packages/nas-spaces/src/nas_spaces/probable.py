"""The most probable row within windows: best first, by exact bounds on what can still follow.

For each window and level, the largest sum of logits of the completions that end inside the window
bounds every row with that beginning; beginnings are extended in the order of their bounds
(A*: Hart, Nilsson and Raphael, 1968), so that complete rows appear in the order of their
probability. With one exact window the first complete row is the answer.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_spaces.elimination import Numbers
from nas_spaces.windows import Window

__all__ = ["Found", "best_completions", "improve", "most_probable"]

# Rows that are looked at together while one is improved.
PORTION = 4096
# Options that it may be changed to, the most probable ones: pairs of more would fill the memory.
CHANGES = 3000
# Above every sum of ranks below it.
LAST = 2**62


@frozen(eq=False)
class Found:
    """What a search ends with.

    ``row``: int64 ``[d]``, None where there is none or the budget was spent. ``rows``: complete
    rows looked at. ``exhausted``: whether nothing is left to look at.
    """

    row: NDArray[np.int64] | None
    rows: int
    exhausted: bool


def best_completions(
    window: Window, gains: Sequence[NDArray[np.float64]], end: float = 0.0
) -> list[Numbers]:
    """Return, for each level, the largest gain of the completions that end in the window.

    Args:
        window: with tables laid out as its own.
        gains: for each step, what each of its classes adds; -inf for never.
        end: what a row inside the window gains at its end.

    Returns:
        Float64 ``[f, width]`` a level, -inf where the window is out of reach.
    """
    start, width = window.layout[-1]
    ahead = np.full((1, width), -math.inf)
    low, high = window.spans[-1]
    ahead[0, low - start : high + 1 - start] = end
    levels = [ahead]
    for level in reversed(range(len(window.moves))):
        here = np.full((window.moves[level].before, window.layout[level][1]), -math.inf)
        room = np.empty(here.shape[1])
        gain = gains[level].tolist()
        for number, state, onward, target, source in window.shifts(level):
            if gain[number] == -math.inf:
                continue
            ahead = levels[0][onward, source]
            sums = np.add(ahead, gain[number], out=room[: len(ahead)])
            np.maximum(here[state, target], sums, out=here[state, target])
        levels.insert(0, here)
    return levels


def _first_completions(
    window: Window,
    gains: Sequence[NDArray[np.float64]],
    ranks: Sequence[NDArray[np.int64]],
    best: Sequence[Numbers],
    end: int,
) -> list[Numbers]:
    """Return, for each level, the least rank of the completions with the largest gain.

    `LAST` stands where there is none. ``ranks``: for each step, what each of its classes adds.
    """
    levels: list[Numbers] = [np.where(best[-1] > -math.inf, end, LAST)]
    for level in reversed(range(len(window.moves))):
        here = np.full(best[level].shape, LAST)
        for number, state, onward, target, source in window.shifts(level):
            gain = gains[level][number]
            if gain == -math.inf:
                continue
            tight = best[level + 1][onward, source] + gain == best[level][state, target]
            reached = np.where(tight, levels[0][onward, source] + ranks[level][number], LAST)
            np.minimum(here[state, target], reached, out=here[state, target])
        levels.insert(0, here)
    return levels


@frozen(eq=False)
class _Guide:
    """Bounds of one window: the largest gain that can still follow, and the least rank of it.

    ``places[level]``: int64 ``[f, b]``, the class of each option.
    """

    window: Window
    places: Sequence[NDArray[np.int64]]
    best: Sequence[Numbers]
    first: Sequence[Numbers] | None

    @classmethod
    def of(
        cls,
        window: Window,
        gains: Sequence[NDArray[np.float64]],
        ranks: Sequence[NDArray[np.int64]] | None,
        end: tuple[float, int],
    ) -> "_Guide":
        """Build from what each option of each step, and the end, add to the gain and the rank."""
        places, of_classes, rank_of_classes = [], [], []
        for level, (step, gain) in enumerate(zip(window.moves, gains, strict=False)):
            number = np.repeat(np.arange(len(step.times)), step.times)
            place = np.empty((step.before, len(step.options)), dtype=np.int64)
            place[step.state[number], step.members] = number
            places.append(place)
            by_member = gain[step.members]
            of_classes.append(np.maximum.reduceat(by_member, step.first))
            if ranks is not None:
                best = by_member == of_classes[-1][number]
                rank = np.where(best, ranks[level][step.members], LAST)
                rank_of_classes.append(np.minimum.reduceat(rank, step.first))
        best_levels = best_completions(window, of_classes, end[0])
        first = None
        if ranks is not None:
            first = _first_completions(window, of_classes, rank_of_classes, best_levels, end[1])
        return cls(window, places, best_levels, first)

    def follow(self, level: int, at: "_Place") -> "_Follow":
        """Return what can follow each option of the step at ``level``."""
        step, place = self.window.moves[level], self.places[level][at.state]
        onward, spent = step.onward[place], step.cost[place] + at.spent
        rise = step.rise[at.state] + at.rise
        start, width = self.window.layout[level + 1]
        gains, ranks = [], []
        for cost, possible in self._costs(level + 1, spent, rise):
            index = onward * width + cost - start
            gains.append(np.where(possible, self.best[level + 1].take(index), -math.inf))
            ranks.append(index * 0 if self.first is None else self.first[level + 1].take(index))
        return _Follow(gains, ranks, onward, spent, rise)

    def _costs(
        self, level: int, spent: NDArray[np.int64], rise: Numbers
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_] | bool]]:
        """Yield costs in states whose bounds hold at ``level``, and whether any row is possible.

        The cost that the steps add up to; and, since what a row costs so far is known and only
        what follows is binned, the costs from which the window begins, or ends, where it does for
        ``rise``. None of these windows is narrower than that of ``rise``.
        """
        window = self.window
        yield spent, True
        if window.exact:
            return
        (first, last), (near, far) = window.spans[level], window.ahead[level]
        if window.cuts[0]:
            cost = (window.low - window.scale.lowest(level, rise)).astype(np.int64)
            yield np.clip(cost, first, None), cost + far >= window.low
        if window.cuts[1]:
            cost = (window.high - window.scale.highest(level, rise)).astype(np.int64)
            yield np.clip(cost, None, last), cost + near <= window.high


@frozen(eq=False)
class _Place:
    """Where a beginning leads: the frontier's state, its cost in states, and its cost itself."""

    state: int
    spent: int
    rise: float


@frozen(eq=False)
class _Follow:
    """Bounds on what follows each option, ``[b]`` each, and the place after it.

    ``gains``: all hold. ``ranks``: the least that has the gain beside it, 0 where ranks play no
    part.
    """

    gains: Sequence[NDArray[np.float64]]
    ranks: Sequence[NDArray[np.int64]]
    state: NDArray[np.int64]
    spent: NDArray[np.int64]
    rise: Numbers

    def after(self, option: int) -> _Place:
        """Return the place after an option."""
        rise = self.rise[option].item()
        return _Place(int(self.state[option]), int(self.spent[option]), rise)


@frozen(eq=False)
class _Family:
    """The options after one beginning, the best first.

    ``options``, ``gains``: of the steps so far. ``rank``: of them. ``order``: options of the next
    step; ``bounds``, ``ranks``: of the rows through each. ``follows``: one a guide.
    """

    options: tuple[int, ...]
    gains: tuple[float, ...]
    rank: int
    order: NDArray[np.intp]
    bounds: NDArray[np.float64]
    ranks: NDArray[np.int64]
    follows: Sequence[_Follow]


@frozen(eq=False)
class _Search:
    """Rows in the order of their bound, then of their rank.

    ``steps``: (columns, options ``[b, columns]``) of each; those after the guides' steps are of
    one column that no guide reads. ``gains``, ``ranks``: for each step, what each option adds.
    ``ends[i]``: the largest gain from step ``i`` on and the least rank of it, for those steps.
    """

    guides: Sequence[_Guide]
    steps: Sequence[tuple[tuple[int, ...], NDArray[np.int64]]]
    gains: Sequence[NDArray[np.float64]]
    ranks: Sequence[NDArray[np.int64]]
    ends: Sequence[tuple[float, int]]

    @classmethod
    def of(
        cls,
        windows: Sequence[Window],
        logits: NDArray[np.float64],
        ranked: Mapping[int, NDArray[np.int64]],
    ) -> "_Search":
        """Build for windows of the same steps; ``ranked``: what each option adds to the rank."""
        steps = [
            *((step.columns, step.options) for step in windows[0].moves),
            *(((column,), options[:, None]) for column, options in windows[0].free),
        ]
        gains, ranks = [], []
        for columns, options in steps:
            gain = np.zeros(len(options))
            rank = np.zeros(len(options), dtype=np.int64)
            for axis, column in reversed(list(enumerate(columns))):
                gain = logits[column, options[:, axis]] + gain
                if column in ranked:
                    rank += ranked[column][options[:, axis]]
            gains.append(gain)
            ranks.append(rank)
        ends = [(0.0, 0)]
        for gain, rank in zip(reversed(gains), reversed(ranks), strict=True):
            best = gain.max()
            ends.insert(0, (best + ends[0][0], int(rank[gain == best].min()) + ends[0][1]))
        end = ends[len(windows[0].moves)]
        guides = [_Guide.of(window, gains, ranks if ranked else None, end) for window in windows]
        return cls(guides, steps, gains, ranks, ends)

    def family(
        self,
        options: tuple[int, ...],
        gains: tuple[float, ...],
        rank: int,
        places: Sequence[_Place],
    ) -> _Family:
        """Return what can follow ``options``; ``places``: where they lead, one a guide."""
        level = len(options)
        follows: list[_Follow] = []
        if level < len(self.guides[0].places):
            follows = [
                guide.follow(level, place) for guide, place in zip(self.guides, places, strict=True)
            ]
            gain = np.min([one for follow in follows for one in follow.gains], axis=0)
            # A row of this bound is no earlier than whatever sets the bound allows.
            behind = np.max(
                [
                    np.where(one == gain, first, 0)
                    for follow in follows
                    for one, first in zip(follow.gains, follow.ranks, strict=True)
                ],
                axis=0,
            )
        else:
            gain, behind = self.ends[level + 1]
        # Added from the last step on, as the tables are, so that equal rows have equal sums.
        bounds = self.gains[level] + gain
        for before in reversed(gains):
            bounds = before + bounds
        ranks = rank + self.ranks[level] + behind
        order = np.lexsort((ranks, -bounds))
        order = order[: np.count_nonzero(bounds > -math.inf)]
        return _Family(options, gains, rank, order, bounds[order], ranks[order], follows)

    def run(self, accept: Callable[[NDArray[np.int64]], bool], budget: int) -> tuple[Found, bool]:
        """Return the first row that is accepted, and whether others may be its equals."""
        heap: list[tuple[float, int, int, _Family, int]] = []
        tick = rows = 0

        def push(family: _Family, index: int) -> None:
            nonlocal tick
            if index < len(family.order):
                # Of equals the newest, so that the search goes down rather than wide.
                tick -= 1
                bound, rank = -float(family.bounds[index]), int(family.ranks[index])
                heapq.heappush(heap, (bound, rank, tick, family, index))

        push(self.family((), (), 0, [_Place(0, 0, 0)] * len(self.guides)), 0)
        for _ in range(budget):
            if not heap:
                return Found(None, rows, True), False
            bound, before, _, family, index = heapq.heappop(heap)
            push(family, index + 1)
            level, option = len(family.options), int(family.order[index])
            options = (*family.options, option)
            if len(options) < len(self.steps):
                gains = (*family.gains, float(self.gains[level][option]))
                rank = family.rank + int(self.ranks[level][option])
                places = [follow.after(option) for follow in family.follows]
                push(self.family(options, gains, rank, places), 0)
                continue
            row = np.zeros(self.guides[0].window.num_choices, dtype=np.int64)
            for (columns, choices), chosen in zip(self.steps, options, strict=True):
                row[list(columns)] = choices[chosen]
            rows += 1
            if accept(row):
                equals = bool(heap) and heap[0][:2] == (bound, before)
                return Found(row, rows, False), equals
        return Found(None, rows, False), False


def most_probable(
    windows: Sequence[Window],
    logits: NDArray[np.float64],
    accept: Callable[[NDArray[np.int64]], bool],
    budget: int,
) -> Found:
    """Return the accepted row with the largest sum of logits, the first one of equals.

    Where it takes more than the budget to settle which one is first, any of them.

    Args:
        windows: every accepted row lies in all of them; at least one.
        logits: float ``[d, k]``, ``d`` at least 1, -inf for never.
        accept: of a row int64 ``[d]``, whether it is wanted.
        budget: beginnings and rows that are looked at.
    """
    # Beginnings are common to the windows that assign the columns in the same order.
    orders = [[step.columns for step in window.moves] for window in windows]
    alike = [window for window, order in zip(windows, orders, strict=True) if order == orders[0]]
    found, tied = _Search.of(alike, logits, {}).run(accept, budget)
    columns = list(range(len(logits)))
    # Ranks of all columns may not fit an integer: settle the first ones, then those after them.
    while tied and columns:
        ranked = _ranks(columns, logits)
        del columns[: len(ranked)]
        first, tied = _Search.of(alike, logits, ranked).run(accept, budget)
        if first.row is None:
            # The budget is spent: the row that was found is as probable as the first one.
            break
        found = first
        logits = logits.copy()
        for column in ranked:
            kept = logits[column, first.row[column]]
            logits[column] = -math.inf
            logits[column, first.row[column]] = kept
    return found


def _ranks(columns: Sequence[int], logits: NDArray[np.float64]) -> dict[int, NDArray[np.int64]]:
    """Return what each option of the first of ``columns`` adds to a row's lexicographic rank.

    Of as many columns as an integer can rank, options of logit -inf left out.
    """
    taken = logits > -math.inf
    sizes: list[int] = []
    for column in columns:
        size = max(int(taken[column].sum()), 1)
        if math.prod(sizes) * size > LAST:
            break
        sizes.append(size)
    return {
        column: (np.cumsum(taken[column]) - 1) * math.prod(sizes[place + 1 :])
        for place, column in enumerate(columns[: len(sizes)])
    }


def improve(
    row: NDArray[np.int64],
    logits: NDArray[np.float64],
    accept: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    budget: int,
) -> tuple[NDArray[np.int64], int]:
    """Return a row that no exchange of one or two options makes more probable, and what is left.

    The exchange that gains most is made as long as there is one, which ends since no row comes
    back. Of more than 3,000 options that are left the most probable ones are tried.

    Args:
        row: int64 ``[d]``, accepted.
        logits: float ``[d, k]``, -inf for never.
        accept: of rows int64 ``[n, d]``, which are wanted.
        budget: rows that are looked at; where it is spent, the row so far is returned.
    """
    columns = np.arange(len(row))
    while budget > 0:
        gains = logits - logits[columns, row][:, None]
        gains[columns, row] = -math.inf
        changed, options = np.nonzero(gains > -math.inf)
        likely = np.argsort(-gains[changed, options], kind="stable")[:CHANGES]
        changed, options = changed[likely], options[likely]
        gain = gains[changed, options]
        # Pairs of changes of two columns, each once; a change with itself stands for it alone.
        first, second = np.triu_indices(len(gain))
        alone = first == second
        total = gain[first] + np.where(alone, 0.0, gain[second])
        better = (total > 0) & (alone | (changed[first] != changed[second]))
        order = np.flatnonzero(better)
        order = order[np.argsort(-total[order], kind="stable")][:budget]
        for start in range(0, len(order), PORTION):
            chosen = order[start : start + PORTION]
            one, other = first[chosen], second[chosen]
            rows = np.tile(row, (len(chosen), 1))
            places = np.arange(len(chosen))
            rows[places, changed[one]] = options[one]
            rows[places, changed[other]] = options[other]
            budget -= len(chosen)
            # Rounding could otherwise lead back to a row that was left.
            risen = logits[columns, rows].sum(axis=1) > logits[columns, row].sum()
            wanted = accept(rows) & risen
            if wanted.any():
                row = rows[wanted.argmax()]
                break
        else:
            break
    return row, budget
