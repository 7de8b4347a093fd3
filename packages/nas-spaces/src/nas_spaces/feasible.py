"""Architectures within limits: attainable range, count, membership, uniform sampling.

Additive costs become windows of whole states (`nas_spaces.windows`): exact for integers, fine
bins for the rest. One window is met by construction; further limits, the edges of bins, and
metrics that are no tables are met by bounded rejection.
"""

import bisect
import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces.drawing import Drawer
from nas_spaces.elimination import eliminate, extremes, live_terms, rounding
from nas_spaces.errors import InputError
from nas_spaces.probable import best_completions, improve, most_probable
from nas_spaces.protocols import Metric
from nas_spaces.space import SearchSpace
from nas_spaces.table import Table, check_table
from nas_spaces.windows import Window

__all__ = ["FeasibleSet", "Limit"]

# Rows drawn for each row wanted before rejection gives up.
REJECTION_BUDGET = 2000
# Beginnings of rows, and rows, that the search for the most probable one looks at.
SEARCH_BUDGET = 100_000
# Where that search finds none: rows drawn to begin with, feasible ones of them that are improved,
# and rows that are looked at on the way.
STARTING_DRAWS, STARTS, IMPROVING_BUDGET = 50_000, 16, 2_000_000


@frozen(eq=False)
class Limit:
    """``lower <= metric <= upper``, both ends included; None leaves an end open.

    Raises:
        InputError: no end, an end that is not finite, or ends in the wrong order.
    """

    metric: Metric
    lower: float | None = field(default=None, kw_only=True)
    upper: float | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        ends = [end for end in (self.lower, self.upper) if end is not None]
        if not ends or not all(math.isfinite(end) for end in ends):
            raise InputError(
                f"limit on {self.metric.name}: lower={self.lower}, upper={self.upper}; "
                "give at least one finite end"
            )
        if len(ends) == 2 and ends[0] > ends[1]:
            raise InputError(
                f"limit on {self.metric.name}: lower={self.lower} exceeds upper={self.upper}"
            )

    def __str__(self) -> str:
        name, unit = self.metric.name, self.metric.unit
        if self.upper is None:
            assert self.lower is not None
            return f"{name} >= {_number(self.lower)} {unit}"
        lower = "" if self.lower is None else f"{_number(self.lower)} <= "
        return f"{lower}{name} <= {_number(self.upper)} {unit}"

    def holds(self, archs: ArrayLike) -> NDArray[np.bool_]:
        """Return bool ``[n]``: which architectures ``[n, d]`` are within the limit."""
        values = np.asarray(self.metric(archs))
        inside = np.ones(len(values), dtype=bool)
        # Python integers, since float64 would round integers beyond 2^53.
        whole = values.dtype.kind in "iu"
        if self.lower is not None:
            inside &= values >= (math.ceil(self.lower) if whole else self.lower)
        if self.upper is not None:
            inside &= values <= (math.floor(self.upper) if whole else self.upper)
        return inside


def _number(value: float) -> str:
    """Return a number with commas, also where ten digits are not enough for it.

    >>> _number(0.25), _number(14 * 2**30), _number(1e30)
    ('0.25', '15,032,385,536', '1e+30')
    """
    return f"{value:,.0f}" if 1e10 <= abs(value) < 1e18 else f"{value:,.10g}"


def _limits(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    return tuple(limits)


@frozen(eq=False)
class FeasibleSet:
    """The architectures of a space that are within all limits.

    Args:
        space: the search space.
        limits: all of them hold; none means the whole space.

    One limit on a `Table` is met by construction: by exact dynamic programming for integers and
    maxima within a budget of states, by fine bins and exact rejection at their edges otherwise.
    Choices that several blocks read, and blocks that read their neighbours' choices, are part of
    it, as long as few of them are open at a time. Sampling is uniform in every case.

    Raises:
        InputError: limits that nothing satisfies, with the attainable range, and for a window of
            exact states the attained values on either side.

    >>> import numpy as np
    >>> from nas_spaces import Table, published
    >>> space = published.load("nas-bench-macro")
    >>> depth = Table.from_primitives(space, "depth", "blocks", lambda p: p.name == "depthwise")
    >>> shallow = FeasibleSet(space, [Limit(depth, upper=1)])
    >>> shallow.count()
    17
    >>> int(depth(shallow.sample(100, rng=np.random.default_rng(0))).max())
    1
    >>> logits = np.arange(24).reshape(8, 3) % 5
    >>> shallow.most_probable(logits)
    array([0, 0, 0, 0, 0, 0, 0, 2])
    """

    space: SearchSpace
    limits: tuple[Limit, ...] = field(default=(), converter=_limits)

    def __attrs_post_init__(self) -> None:
        for limit in self.limits:
            if isinstance(limit.metric, Table):
                check_table(self.space, limit.metric, "a limit's metric")
                low, high = self.attainable(limit.metric)
                slack = rounding(limit.metric)
                if (limit.upper is not None and limit.upper < low - slack) or (
                    limit.lower is not None and limit.lower > high + slack
                ):
                    raise InputError(self._nothing(limit))
        for limit, window in self._windows:
            if self._is_empty(window):
                raise InputError(self._nothing(limit, window))
        if self._binding and not self._is_exact:
            # Whether limits hold together, or between the edges of bins, is not counted: look
            # for one row, with a generator of its own, since nothing but a failure comes of it.
            self.sample(1, rng=np.random.default_rng(0))

    def _is_empty(self, window: Window) -> bool:
        if len(self._windows) == 1 and self._drawer is not None:
            # Its tables are needed for drawing anyway.
            return self._drawer.is_empty
        return window.log_count == -math.inf

    def _nothing(self, limit: Limit, window: Window | None = None) -> str:
        nearest = "" if window is None or not window.exact else self._nearest(limit)
        return (
            f"no architecture of space {self.space.name!r} satisfies {self._describe(limit)}"
            f"{nearest}"
        )

    def _describe(self, limit: Limit) -> str:
        if not isinstance(limit.metric, Table):
            return str(limit)
        low, high = self.attainable(limit.metric)
        return f"{limit}; attainable: {low:,} to {high:,} {limit.metric.unit}"

    def _nearest(self, limit: Limit) -> str:
        """Return the values around an empty window, or nothing where they are not known."""
        table = limit.metric
        if not isinstance(table, Table) or limit.lower is None or limit.upper is None:
            return ""
        if table.reduce == "max":
            below, above = _maxima_around(self.space, table, limit.lower, limit.upper)
        else:
            below = _extreme(self.space, table, None, math.ceil(limit.lower) - 1)
            above = _extreme(self.space, table, math.floor(limit.upper) + 1, None)
        if below is None or above is None:
            return ""
        return f"; nearest: {below:,} and {above:,}"

    def attainable(self, table: Table) -> tuple[float, float]:
        """Return the least and the largest value of ``table`` over live rows.

        Exact unless the table ties too many choices together; then a bound from its look-ups one
        by one, which no row can pass. The limits play no part.
        """
        combine = np.add if table.reduce == "sum" else np.maximum
        terms, constant = live_terms(self.space, table)
        steps = eliminate(self.space, terms, combine)
        if steps is not None:
            ends = extremes(steps, self.space.num_choices, combine)
            for column, live in enumerate(self.space.mask):
                # Columns that the table does not read stand at an option that may be dropped.
                ends[~live[ends[:, column]], column] = live.argmax()
            low, high = table(ends).tolist()
            return low, high
        lows = [constant, *(term.values.min().item() for term in terms)]
        highs = [constant, *(term.values.max().item() for term in terms)]
        return (sum(lows), sum(highs)) if table.reduce == "sum" else (max(lows), max(highs))

    @cached_property
    def _binding(self) -> tuple[Limit, ...]:
        """The limits that some row may miss."""
        return tuple(limit for limit in self.limits if not self._always_holds(limit))

    def _always_holds(self, limit: Limit) -> bool:
        if not isinstance(limit.metric, Table):
            return False
        low, high = self.attainable(limit.metric)
        slack = rounding(limit.metric)
        return (limit.lower is None or limit.lower <= low - slack) and (
            limit.upper is None or limit.upper >= high + slack
        )

    @cached_property
    def _windows(self) -> tuple[tuple[Limit, Window], ...]:
        """The limits that can be sampled without rejection, the tightest first."""
        windows = []
        for limit in self._binding:
            window = self._window(limit)
            if window is not None:
                windows.append((limit, window))
        if len(windows) > 1:
            windows.sort(key=lambda pair: pair[1].log_count)
        return tuple(windows)

    @cached_property
    def _drawer(self) -> Drawer | None:
        return Drawer(self._windows[0][1]) if self._windows else None

    def _window(self, limit: Limit, *, to_count: bool = False) -> Window | None:
        if not isinstance(limit.metric, Table):
            return None
        ends = (limit.lower, limit.upper)
        return Window.build(self.space, limit.metric, *ends, to_count=to_count)

    @property
    def _is_exact(self) -> bool:
        """Whether every row of the first window is feasible."""
        return len(self._binding) == 1 and bool(self._windows) and self._windows[0][1].exact

    def count(self) -> int:
        """Return the number of feasible rows, exact as a Python integer.

        Raises:
            InputError: it is not known: several limits, a continuous cost, more states than the
                budget, or a metric that is no table. `count_range` says what is known.
        """
        low, high = self.count_range()
        if low != high:
            raise InputError(
                f"the number of rows with {', '.join(str(limit) for limit in self.limits)} is not "
                "known exactly: there are several limits, costs that are no integers, or more "
                "sums than the budget; count_range() gives an interval"
            )
        return low

    def count_range(self) -> tuple[int, int]:
        """Return bounds on the number of feasible rows, both included.

        Equal where the count is exact. For bins, the rows that are inside for certain and those
        that may be; for several limits, what the bounds of each leave.
        """
        return self._count_range

    @cached_property
    def _count_range(self) -> tuple[int, int]:
        known = {id(limit): window for limit, window in self._windows}
        size = self.space.size
        ranges = []
        for limit in self._binding:
            window = known.get(id(limit))
            exact = window if window is None or window.exact else self._window(limit, to_count=True)
            if exact is not None:
                ranges.append((exact.count(exact.low, exact.high),) * 2)
            elif window is None:
                ranges.append((0, size))
            else:
                ranges.append((window.count(*window.inner), window.count(window.low, window.high)))
        # Each limit leaves out so many rows at most; and one row was found.
        low = size - sum(size - least for least, _ in ranges)
        high = min((most for _, most in ranges), default=size)
        return max(low, 1 if self._binding else 0), high

    def contains(self, archs: ArrayLike) -> NDArray[np.bool_]:
        """Return bool ``[n]``: which architectures ``[n, d]`` are live and within all limits."""
        rows = self.space.check(archs)
        live: NDArray[np.bool_] = self.space.mask[np.arange(self.space.num_choices), rows]
        inside = np.asarray(live.all(axis=1))
        for limit in self.limits:
            inside &= limit.holds(rows)
        return inside

    def sample(self, n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``n`` feasible architectures int64 ``[n, d]``, uniform and independent.

        One additive limit is met by construction, the tightest where there are several. What
        remains (further limits, bins of a continuous cost, metrics that are no tables) is
        rejected, at most 2,000 rows for each wanted; `acceptance` says how often.

        Raises:
            InputError: the bound was reached; the message says how many rows were accepted.
        """
        if not self._binding or n == 0 or self._is_exact:
            return self._propose(n, rng)
        accepted: list[NDArray[np.int64]] = []
        found = drawn = 0
        while found < n:
            if drawn >= REJECTION_BUDGET * max(n, 50):
                raise InputError(
                    f"{found} of {drawn:,} rows drawn satisfy all of: "
                    + "; ".join(self._describe(limit) for limit in self.limits)
                    + "; widen a limit"
                )
            # Draw as many as the acceptance so far asks for, in bounded portions.
            share = max(found, 1) / drawn if drawn else 1.0
            size = min(int((n - found) / share * 1.1) + 16, 1 << 18) if drawn else n
            rows = self._propose(size, rng)
            drawn += size
            rows = rows[self.contains(rows)]
            found += len(rows)
            accepted.append(rows)
        return np.concatenate(accepted)[:n]

    def _propose(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        if self._drawer is not None and n:
            return self._drawer.sample(n, rng=rng)
        return self.space.sample(n, rng=rng)

    def acceptance(self, n: int = 10_000, *, rng: np.random.Generator) -> float:
        """Return the share of ``n`` rows drawn by `sample` that need not be rejected.

        1.0, without a draw, where one limit is met by construction.
        """
        if not self._binding or self._is_exact:
            return 1.0
        if n < 1:
            raise InputError(f"acceptance of n={n} rows; draw at least 1")
        return float(self.contains(self._propose(n, rng)).mean())

    def most_probable(self, logits: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable feasible row int64 ``[d]`` of independent choices.

        The row with the largest sum of logits (in float64, column by column); of equals, the
        lexicographically first, unless several limits or bins make that take too long to settle.
        So tight can several limits be that the search comes to no feasible row within its bound;
        then it is a row of high probability instead, which `find_most_probable` tells apart.

        Args:
            logits: float ``[d, k]``, ``k`` as in ``space.mask``; -inf for never. Those of options
                that are not live are ignored.

        Raises:
            InputError: logits of another shape, NaN or +inf; every feasible row has an option
                that is never taken; or no feasible row was found in either way.
        """
        row, _ = self.find_most_probable(logits)
        return row

    def find_most_probable(self, logits: ArrayLike) -> tuple[NDArray[np.int64], bool]:
        """Return what `most_probable` does, and whether no feasible row is more probable.

        False where the search, which looks at rows in the order of their probability, was ended
        by its bound. The row is then the best of those that are reached from the 16 most probable
        of the feasible rows among 50,000 draws, with a generator of fixed seed, by exchanging one
        or two options at a time for as long as the row stays feasible and becomes more probable.
        The same logits give the same row.
        """
        values = self._check_logits(logits)
        if not len(values):
            return np.zeros(0, dtype=np.int64), True
        row = np.asarray(values.argmax(axis=1))
        if self.contains(row[None])[0] and (values.max(axis=1) > -math.inf).all():
            return row, True
        windows = [window for _, window in self._windows] or [Window.whole(self.space)]
        found = most_probable(
            windows, values, lambda row: bool(self.contains(row[None])[0]), SEARCH_BUDGET
        )
        if found.row is not None:
            return found.row, True
        if found.exhausted:
            raise InputError(
                "logits rule out every feasible row: each has an option of logit -inf; "
                "raise one, or widen a limit"
            )
        return self._probable(values, found.rows), False

    def _probable(self, values: NDArray[np.float64], looked_at: int) -> NDArray[np.int64]:
        """Return a feasible row of high probability, see `find_most_probable`.

        Args:
            values: checked logits.
            looked_at: rows that the exact search came to, for what is said where there is none.
        """
        allowed = values > -math.inf
        rng = np.random.default_rng(0)
        try:
            # Limits speak of the whole space; only what may be drawn is another.
            within = (
                self
                if (allowed == self.space.mask).all()
                else FeasibleSet(self.space.restrict(allowed), self.limits)
            )
            # With the generator that has found a row when the set was made.
            rows = within.sample(1, rng=np.random.default_rng(0))
        except InputError as error:
            raise InputError(
                f"none of the {looked_at:,} most probable rows that a search of "
                f"{SEARCH_BUDGET:,} steps came to is within all limits, and of the options whose "
                f"logit is not -inf: {error}"
            ) from error
        drawn = within._propose(STARTING_DRAWS, rng)
        rows = np.unique(np.concatenate([rows, drawn[within.contains(drawn)]]), axis=0)
        columns = np.arange(len(values))
        best = np.argsort(-values[columns, rows].sum(axis=1), kind="stable")[:STARTS]
        ends = []
        budget = IMPROVING_BUDGET
        for start in rows[best]:
            end, budget = improve(start, values, within.contains, budget)
            ends.append(end)
        # Equals: the lexicographically first of those that were reached.
        return min(ends, key=lambda end: (-values[columns, end].sum(), end.tolist()))

    def _check_logits(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return logits float64 ``[d, k]``, -inf for options that are not live."""
        values = np.asarray(logits, dtype=np.float64)
        mask = self.space.mask
        if values.shape != mask.shape:
            raise InputError(
                f"logits has shape {values.shape}; space {self.space.name!r} has {mask.shape[0]} "
                f"choices of at most {mask.shape[1]} options: {mask.shape}"
            )
        wrong = mask & (np.isnan(values) | (values == math.inf))
        if wrong.any():
            row, option = np.argwhere(wrong)[0]
            raise InputError(
                f"logits[{row}, {option}] is {values[row, option]}; give a finite number, or -inf "
                "for never"
            )
        return np.where(mask, values, -math.inf)


def _extreme(
    space: SearchSpace, table: Table, lower: int | None, upper: int | None
) -> float | None:
    """Return the attained value of a sum that is next to the one end given; None if not known."""
    window = Window.build(space, table, lower, upper)
    if window is None or not window.exact or window.is_vacant:
        return None
    sign = 1.0 if lower is None else -1.0
    best = best_completions(window, [np.float64(sign) * step.cost for step in window.moves])[0][
        0, 0
    ]
    return window.value(int(sign * best))


def _maxima_around(
    space: SearchSpace, table: Table, lower: float, upper: float
) -> tuple[float | None, float | None]:
    """Return the attained values of a maximum below and above a window without any."""
    terms, constant = live_terms(space, table)
    values = np.unique(np.concatenate([[constant], *(term.values.ravel() for term in terms)]))
    below, above = values[values < lower].tolist(), values[values > upper].tolist()

    def attained(least: float, most: float) -> bool:
        window = Window.build(space, table, least, most)
        return window is not None and window.log_count > -math.inf

    # Windows that reach further hold more rows: bisect for the first that holds one.
    falling = bisect.bisect_left(
        range(len(below)), True, key=lambda i: attained(below[-1 - i], below[-1])
    )
    rising = bisect.bisect_left(range(len(above)), True, key=lambda i: attained(above[0], above[i]))
    return (
        below[-1 - falling] if falling < len(below) else None,
        above[rising] if rising < len(above) else None,
    )
