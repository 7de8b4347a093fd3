"""Rows within a window of an additive cost, or of a maximum, and how many they are.

Costs become whole states: the costs themselves in units of their greatest common divisor, or
fine bins where that would be too many. One table a step holds, for each state of the frontier
and each cost so far, how many completions end inside the window.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from nas_spaces.elimination import Numbers, Step, eliminate, live_terms, rounding
from nas_spaces.space import SearchSpace
from nas_spaces.states import Moves, Scale, reaches, reaches_back
from nas_spaces.table import Table, Term

__all__ = ["Window"]

# Entries of the tables that drawing keeps in memory (8 bytes each).
STATE_BUDGET = 2**23
# Additions to fill them (about 0.2 s), and those of an exact count, which keeps no tables (about
# 2 s). Starting a vector of them counts as OVERHEAD additions.
WORK_BUDGET, COUNT_BUDGET = 2**29, 2**32
OVERHEAD = 2048
# Bins of a continuous cost; more of them sharpen nothing, fewer are not worth their set-up.
MOST_BINS, LEAST_BINS = 2**18, 2**5
# Counts up to here are exact in int64, with room for a sum of two.
LARGEST_COUNT = 2**62
# Float counts are scaled down from here on, lest they overflow.
SCALE_FROM = 2.0**500


@frozen(eq=False)
class Window:
    """Rows whose cost in states lies in ``low..high``.

    ``moves``: the steps. ``free``: columns that the cost does not read, with their live options.
    ``inner``: the states that lie within the limits for certain; ``low..high`` are those that
    may. ``cuts``: whether the lower and the upper end leave out any state. ``spans[i]``: the
    states before step ``i`` from which the window can be reached. ``ahead[i]``: the least and
    the largest sum of states from step ``i`` on.
    """

    num_choices: int
    moves: tuple[Moves, ...]
    free: tuple[tuple[int, NDArray[np.int64]], ...]
    low: int
    high: int
    inner: tuple[int, int]
    cuts: tuple[bool, bool]
    scale: Scale
    spans: tuple[tuple[int, int], ...]
    ahead: tuple[tuple[int, int], ...]

    @classmethod
    def build(
        cls,
        space: SearchSpace,
        table: Table,
        lower: float | None,
        upper: float | None,
        *,
        to_count: bool = False,
    ) -> "Window | None":
        """Return the window of ``lower <= table <= upper``, in as fine states as the budgets allow.

        None where the cost ties too many choices together, or is not finite. ``to_count`` asks
        for a window that is exact and counted within the budget of counts, or none.
        """
        terms, constant = live_terms(space, table)
        if table.is_integer:
            # Integer ends, since a float would round values beyond 2^53 that it is compared with.
            lower = None if lower is None else math.ceil(lower)
            upper = None if upper is None else math.floor(upper)
        if table.reduce == "max":
            terms, constant, lower, upper = _violations(terms, constant, lower, upper)
        steps = eliminate(space, terms)
        if steps is None or not all(np.isfinite(step.costs).all() for step in steps):
            return None
        integer = table.is_integer or table.reduce == "max"
        floors = [step.costs.min() for step in steps]
        offset = constant + sum(floor.item() for floor in floors)
        rises = [step.costs - floor for step, floor in zip(steps, floors, strict=True)]
        reach = sum(rise.max().item() for rise in rises)
        slack: int | float = 0
        unit: int | float = 1
        if integer:
            unit = math.gcd(*(int(np.gcd.reduce(rise, axis=None)) for rise in rises)) or 1
        else:
            slack = rounding(table)
            unit = max(reach / MOST_BINS, slack) or 1.0
        ends = (
            None if lower is None else lower - offset,
            None if upper is None else upper - offset,
        )
        finest = unit
        while True:
            window = cls._of(space, steps, rises, (unit, offset, *ends), slack)
            if to_count:
                return window if window.exact and window._count_load() <= 1 else None
            load = window._load()
            if load <= 1:
                return window
            unit = _coarser(unit, max(load, 1.1))
            if reach / unit < LEAST_BINS and unit > finest:
                return None

    @classmethod
    def whole(cls, space: SearchSpace) -> "Window":
        """Return the window that every row of ``space`` is in."""
        window = cls.build(space, Table(space, "rows", "1", ()), None, None)
        assert window is not None, "no cost ties nothing together"
        return window

    @classmethod
    def _of(
        cls,
        space: SearchSpace,
        steps: Sequence[Step],
        rises: Sequence[Numbers],
        measure: tuple[int | float, int | float, int | float | None, int | float | None],
        slack: int | float,
    ) -> "Window":
        """Return the window for ``measure``: unit, offset, and the ends of the rise."""
        states = [np.floor_divide(rise, measure[0]).astype(np.int64) for rise in rises]
        rests = [rise - state * measure[0] for rise, state in zip(rises, states, strict=True)]
        least = _sums_from([rest.min().item() for rest in rests], -slack)
        most = _sums_from([rest.max().item() for rest in rests], slack)
        scale = Scale(*measure, least, most)
        moves = tuple(map(Moves.of, steps, rises, states))
        behind, ahead = reaches(moves), reaches_back(moves)
        reach = behind[-1][1]
        lowest, highest = scale.lowest(0), scale.highest(0)
        low = 0 if lowest is None else max(int(lowest), 0)
        high = reach if highest is None else min(int(highest), reach)
        # Inside for certain: whatever flooring took, the row is neither below nor above.
        sure = evolve(scale, least=most, most=least)
        inner = (
            low if lowest is None else max(int(sure.lowest(0)), low),
            high if highest is None else min(int(sure.highest(0)), high),
        )
        spans = tuple(
            (max(first, low - far), min(last, high - near))
            for (first, last), (near, far) in zip(behind, ahead, strict=True)
        )
        read = {column for step in steps for column in step.columns}
        free = tuple(
            (column, np.flatnonzero(live))
            for column, live in enumerate(space.mask)
            if column not in read
        )
        cuts = (low > 0, high < reach)
        return cls(space.num_choices, moves, free, low, high, inner, cuts, scale, spans, ahead)

    @property
    def exact(self) -> bool:
        """Whether states are the costs themselves, so that every row inside meets the limits."""
        return self.scale.exact

    @cached_property
    def layout(self) -> tuple[tuple[int, int], ...]:
        """For each level, the cost of the first column of its table and the number of columns.

        A table is as wide as the step before it can reach, so that no look-up is out of range.
        """
        return (
            (0, 1),
            *(
                (low, high + step.largest - low + 1)
                for step, (low, high) in zip(self.moves, self.spans, strict=False)
            ),
        )

    @property
    def states(self) -> tuple[int, ...]:
        """States of the frontier at each level."""
        return (1, *(step.after for step in self.moves))

    @property
    def _entries(self) -> list[int]:
        """Entries of the table at each level."""
        layout = zip(self.states, self.layout, strict=True)
        return [states * max(width, 0) for states, (_, width) in layout]

    @property
    def _work(self) -> int:
        """Additions to fill the tables."""
        return sum(
            len(step.cost) * (max(high - low, 0) + OVERHEAD)
            for step, (low, high) in zip(self.moves, self.spans, strict=False)
        )

    def _load(self) -> float:
        """Return how much of the budgets drawing takes; at most 1 fits."""
        return max(sum(self._entries) / STATE_BUDGET, self._work / WORK_BUDGET)

    def _count_load(self) -> float:
        """Return how much of the budgets counting takes; at most 1 fits."""
        rounds = max(len(self._moduli), 1)
        return max(max(self._entries) / STATE_BUDGET, rounds * self._work / COUNT_BUDGET)

    @cached_property
    def read_rows(self) -> int:
        """Combinations of the columns that the cost reads."""
        return math.prod(len(step.options) for step in self.moves)

    @cached_property
    def free_rows(self) -> int:
        """Combinations of the columns that it does not read."""
        return math.prod(len(options) for _, options in self.free)

    def completions(
        self, ends: tuple[int, int], modulus: int | None = None
    ) -> Iterator[tuple[Numbers, int]]:
        """Yield the tables of the levels from last to first, and the power of 2 they are short of.

        ``table[f, c - start]``: completions from state ``f`` of the frontier and cost ``c`` that
        end within ``ends``. Int64, modulo ``modulus`` where given; without it, float64 where the
        counts may pass 2^62.
        """
        counted = modulus is not None or self.read_rows < LARGEST_COUNT
        dtype: Any = np.int64 if counted else np.float64
        short = 0
        start, width = self.layout[-1]
        low, high = max(ends[0], self.spans[-1][0]), min(ends[1], self.spans[-1][1])
        ahead: Numbers = np.zeros((1, width), dtype=dtype)
        ahead[0, low - start : max(high + 1, low) - start] = 1
        yield ahead, short
        for level in reversed(range(len(self.moves))):
            step = self.moves[level]
            here: Numbers = np.zeros((step.before, self.layout[level][1]), dtype=dtype)
            room = np.empty(here.shape[1], dtype=dtype)
            times = step.times.tolist()
            for number, state, onward, target, source in self.shifts(level):
                counts = ahead[onward, source]
                if times[number] != 1:
                    counts = np.multiply(counts, times[number], out=room[: len(counts)])
                here[state, target] += counts
            if modulus is not None:
                here %= modulus
            elif not counted and here.max() > SCALE_FROM:
                power = math.frexp(here.max())[1]
                here, short = np.ldexp(here, -power), short + power
            yield here, short
            ahead = here

    def shifts(self, level: int) -> Iterator[tuple[int, int, int, slice, slice]]:
        """Yield (class, state, onward state, target, source) of each class of a step.

        ``target`` and ``source`` are the columns of the tables at ``level`` and at the next that
        the class ties together.
        """
        step, (low, high), (first, last) = self.moves[level], *self.spans[level : level + 2]
        start, behind = self.layout[level][0], self.layout[level + 1][0]
        classes = zip(step.state.tolist(), step.onward.tolist(), step.cost.tolist(), strict=True)
        for number, (state, onward, cost) in enumerate(classes):
            near, far = max(low, first - cost), min(high, last - cost) + 1
            if near < far:
                yield (
                    number,
                    state,
                    onward,
                    slice(near - start, far - start),
                    slice(near + cost - behind, far + cost - behind),
                )

    @property
    def is_vacant(self) -> bool:
        """Whether the ends alone say that no row is inside."""
        return any(low > high for low, high in self.spans)

    def value(self, state: int) -> int | float:
        """Return the cost that a state stands for."""
        return self.scale.offset + state * self.scale.unit

    @cached_property
    def log_count(self) -> float:
        """The binary logarithm of about how many rows are inside; no tables are kept."""
        if self.is_vacant:
            return -math.inf
        for table, short in self.completions((self.low, self.high)):
            count, power = float(table[0, 0]), short
        return math.log2(count) + power + math.log2(self.free_rows) if count else -math.inf

    def count(self, low: int, high: int) -> int:
        """Return how many rows have a cost in states of ``low..high``, which is in the window.

        Beyond 2^62, modulo numbers without a common divisor, combined by the Chinese remainder
        theorem.
        """
        if self.is_vacant or low > high:
            return 0
        if not self._moduli:
            return self._residue(low, high, None) * self.free_rows
        count, product = 0, 1
        for modulus in self._moduli:
            wanted = self._residue(low, high, modulus)
            count += product * ((wanted - count) * pow(product, -1, modulus) % modulus)
            product *= modulus
        return count * self.free_rows

    @cached_property
    def _moduli(self) -> tuple[int, ...]:
        """Numbers without a common divisor whose product exceeds the rows; none if int64 does.

        A step adds at most as many counts as it has options: their sum stays below 2^62.
        """
        moduli: list[int] = []
        if self.read_rows >= LARGEST_COUNT:
            candidates = _coprimes(LARGEST_COUNT // max(len(step.options) for step in self.moves))
            while math.prod(moduli) <= self.read_rows:
                moduli.append(next(candidates))
        return tuple(moduli)

    def _residue(self, low: int, high: int, modulus: int | None) -> int:
        for table, _ in self.completions((low, high), modulus):
            last = table
        return int(last[0, 0])


def _violations(
    terms: Sequence[Term], constant: float, lower: float | None, upper: float | None
) -> tuple[list[Term], int, int | None, int]:
    """Return a sum, and its ends, that is inside exactly where the maximum is.

    A look-up above ``upper`` costs more than all others together can; one of at least ``lower``
    costs 1.
    """
    values = [constant, *(term.values for term in terms)]
    reached = [
        np.zeros(np.shape(v), dtype=np.int64) if lower is None else v >= lower for v in values
    ]
    costs = [
        (reach if upper is None else np.where(np.greater(value, upper), len(values) + 1, reach))
        for value, reach in zip(values, reached, strict=True)
    ]
    sums = [Term(term.columns, cost) for term, cost in zip(terms, costs[1:], strict=True)]
    return sums, int(costs[0]), None if lower is None else 1, len(values)


def _coprimes(room: int) -> Iterator[int]:
    """Yield numbers up to ``room``, descending, without a divisor common to any two."""
    product = 1
    for number in range(room, 1, -1):
        if math.gcd(number, product) == 1:
            yield number
            product *= number


def _sums_from(values: Sequence[float], more: float) -> tuple[float, ...]:
    """Return the sum of the values from each on, and of none, plus ``more``."""
    sums: list[float] = [more]
    for value in reversed(values):
        sums.insert(0, sums[0] + value)
    return tuple(sums)


def _coarser(unit: int | float, factor: float) -> int | float:
    return math.ceil(unit * factor) if isinstance(unit, int) else unit * factor
