"""Architectures within limits: attainable range, count, membership, uniform sampling.

Uniform sampling within a window of an additive cost walks the choices once and draws each
option with the exact number of completions that stay inside the window; those numbers come from
dynamic programming over the cost table. No row is drawn and thrown away.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces.errors import InputError
from nas_spaces.protocols import Metric
from nas_spaces.space import SearchSpace
from nas_spaces.table import Table

__all__ = ["FeasibleSet", "Limit"]

Numbers = NDArray[Any]
"""int64 where the costs are integers, float64 otherwise."""

# Entries of the completion counts kept in memory (8 bytes each).
STATE_BUDGET = 2**24
# Options of a group of choices that a cost ties together.
GROUP_BUDGET = 2**16
# Rows drawn for each row wanted before rejection gives up.
REJECTION_BUDGET = 2000


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
        lower = "" if self.lower is None else f"{self.lower:,.10g} <= "
        upper = "" if self.upper is None else f" <= {self.upper:,.10g}"
        return f"{lower}{self.metric.name}{upper} {self.metric.unit}"

    def holds(self, archs: ArrayLike) -> NDArray[np.bool_]:
        """Return bool ``[n]``: which architectures ``[n, d]`` are within the limit."""
        values = self.metric(archs)
        inside = np.ones(len(values), dtype=bool)
        if self.lower is not None:
            inside &= values >= self.lower
        if self.upper is not None:
            inside &= values <= self.upper
        return inside


@frozen(eq=False)
class _Group:
    """Choices that share look-ups. ``options``: [j, columns]; ``costs``: [j]."""

    columns: tuple[int, ...]
    options: NDArray[np.int64]
    costs: Numbers


def _groups(space: SearchSpace, table: Table) -> list[_Group] | None:
    """Return the table's independent groups of choices, live options only.

    None where a group has too many options to be listed.
    """
    owner = list(range(space.num_choices))
    for term in table.terms:
        linked = {owner[column] for column in term.columns}
        owner = [min(linked) if group in linked else group for group in owner]
    groups = []
    for group in sorted(set(owner)):
        columns = tuple(c for c in range(space.num_choices) if owner[c] == group)
        live = [np.flatnonzero(space.mask[column]) for column in columns]
        if math.prod(len(options) for options in live) > GROUP_BUDGET:
            return None
        grid = np.stack(np.meshgrid(*live, indexing="ij"), axis=-1).reshape(-1, len(columns))
        place = {column: i for i, column in enumerate(columns)}
        costs: Numbers = np.zeros(len(grid), dtype=np.int64 if table.is_integer else np.float64)
        for term in table.terms:
            if term.columns and term.columns[0] in place:
                costs = costs + term.values[tuple(grid[:, place[c]] for c in term.columns)]
        groups.append(_Group(columns, grid, costs))
    return groups


@frozen(eq=False)
class _Window:
    """Exact counts of the completions of a partial row, for one additive limit.

    ``steps[i]``: int64 cost of each option of group ``i`` in units of one state.
    ``below[i][t + 1]``: completions of the groups from ``i`` on that cost at most ``t``.
    ``lower``, ``upper``: the window in states. ``exact``: whether states are the costs
    themselves; otherwise they are bins, the window is wider and rows are to be rejected.
    """

    groups: list[_Group]
    steps: list[NDArray[np.int64]]
    below: list[Numbers]
    lower: int
    upper: int
    exact: bool

    @classmethod
    def build(cls, space: SearchSpace, limit: Limit, table: Table) -> "_Window | None":
        """Return None where the table is no sum over small groups of choices."""
        groups = _groups(space, table) if table.reduce == "sum" else None
        if groups is None:
            return None
        floors = [group.costs.min() for group in groups]
        offset = table.constant + sum(floor.item() for floor in floors)
        rises = [group.costs - floor for group, floor in zip(groups, floors, strict=True)]
        reach = sum(rise.max().item() for rise in rises)
        lower = 0 if limit.lower is None else limit.lower - offset
        upper = reach if limit.upper is None else limit.upper - offset
        budget = STATE_BUDGET // (len(groups) + 1)
        unit: int | float = 1
        if table.is_integer:
            unit = math.gcd(*(int(x) for rise in rises for x in rise)) or 1
        exact = table.is_integer and reach // unit < budget
        if not exact:
            unit = reach / (budget // 2) or 1.0
        steps = [np.floor_divide(rise, unit).astype(np.int64) for rise in rises]
        # Flooring loses less than one bin a group; the ends themselves are rounded too.
        low = math.ceil(lower / unit) - (0 if exact else len(groups) + 1)
        high = math.floor(upper / unit) + (0 if exact else 1)
        top = sum(int(step.max()) for step in steps)
        low, high = max(low, 0), min(high, top)
        if low + high > top:
            # Counted from the end that is nearer: sums of float64 lose what is small beside them.
            steps = [step.max() - step for step in steps]
            low, high = top - high, top - low
        dtype = np.int64 if space.size < 2**62 else np.float64
        below = [_cumulate(counts) for counts in _completion_counts(steps, dtype)]
        return cls(groups, steps, below, low, high, exact)

    def _completions(
        self, index: int, lower: NDArray[np.int64], upper: NDArray[np.int64]
    ) -> Numbers:
        """Return how many completions from group ``index`` on cost ``lower..upper``."""
        below = self.below[index]
        last = len(below) - 1
        counts: Numbers = below[np.clip(upper + 1, 0, last)] - below[np.clip(lower, 0, last)]
        return np.maximum(counts, 0, out=counts)

    def count(self) -> int:
        """Return the number of rows in the window, in states; exact as a Python integer."""
        if self.below[0].dtype == np.int64:
            return int(self._completions(0, np.array([self.lower]), np.array([self.upper]))[0])
        return int(sum(_completion_counts(self.steps, object)[0][self.lower : self.upper + 1]))

    @property
    def is_empty(self) -> bool:
        """Whether no row lies in the window, in states."""
        return not self._completions(0, np.array([self.lower]), np.array([self.upper]))[0]

    def sample(self, n: int, num_choices: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``n`` rows int64 ``[n, d]``, uniform over the window."""
        archs = np.empty((n, num_choices), dtype=np.int64)
        lower = np.full(n, self.lower)
        upper = np.full(n, self.upper)
        for index, (group, step) in enumerate(zip(self.groups, self.steps, strict=True)):
            weights = self._completions(
                index + 1, lower[:, None] - step[None, :], upper[:, None] - step[None, :]
            )
            edges = np.cumsum(weights, axis=1)
            if edges.dtype == np.int64:
                draw = rng.integers(edges[:, -1])
            else:
                draw = rng.random(n) * edges[:, -1]
            option = (draw[:, None] >= edges).sum(axis=1)
            # A float draw can round up to the last edge.
            option = np.minimum(option, len(step) - 1)
            archs[:, group.columns] = group.options[option]
            lower -= step[option]
            upper -= step[option]
        return archs


def _limits(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    return tuple(limits)


def _completion_counts(steps: Sequence[NDArray[np.int64]], dtype: Any) -> list[Numbers]:
    """Return, for each group, how many completions from it on cost exactly ``t`` states."""
    counts: list[Numbers] = [np.array([1], dtype=dtype)]
    for step in reversed(steps):
        behind = counts[0]
        here = np.zeros(len(behind) + int(step.max()), dtype=dtype)
        for cost, times in zip(*np.unique(step, return_counts=True), strict=True):
            here[cost : cost + len(behind)] += behind * int(times)
        counts.insert(0, here)
    return counts


def _cumulate(counts: Numbers) -> Numbers:
    return np.concatenate([np.zeros(1, dtype=counts.dtype), np.cumsum(counts)])


@frozen(eq=False)
class FeasibleSet:
    """The architectures of a space that are within all limits.

    Args:
        space: the search space.
        limits: all of them hold; none means the whole space.

    Raises:
        InputError: a limit that nothing satisfies, with the attainable range.

    >>> import numpy as np
    >>> from nas_spaces import Table, published
    >>> space = published.load("nas-bench-macro")
    >>> depth = Table.from_primitives(space, "depth", "blocks", lambda p: p.name == "depthwise")
    >>> shallow = FeasibleSet(space, [Limit(depth, upper=1)])
    >>> shallow.count()
    17
    >>> int(depth(shallow.sample(100, rng=np.random.default_rng(0))).max())
    1
    """

    space: SearchSpace
    limits: tuple[Limit, ...] = field(default=(), converter=_limits)

    def __attrs_post_init__(self) -> None:
        for limit in self.limits:
            if isinstance(limit.metric, Table):
                if evolve(limit.metric.space, alive=None) != evolve(self.space, alive=None):
                    raise InputError(
                        f"limit on {limit.metric.name}: its table is of another space: "
                        f"{limit.metric.space.name!r} for images {limit.metric.space.input_shape}, "
                        f"not {self.space.name!r} for images {self.space.input_shape}"
                    )
                low, high = self.attainable(limit.metric)
                if (limit.upper is not None and limit.upper < low) or (
                    limit.lower is not None and limit.lower > high
                ):
                    raise InputError(self._nothing(limit))
        for limit, window in self._windows:
            if window.is_empty:
                raise InputError(self._nothing(limit))
        if len(self.limits) > len(self._windows[:1]):
            # Whether several limits hold together is not counted: look for one row, with a
            # generator of its own, since nothing but a failure comes of it.
            self.sample(1, rng=np.random.default_rng(0))

    def _nothing(self, limit: Limit) -> str:
        return f"no architecture of space {self.space.name!r} satisfies {self._describe(limit)}"

    def _describe(self, limit: Limit) -> str:
        if not isinstance(limit.metric, Table):
            return str(limit)
        low, high = self.attainable(limit.metric)
        return f"{limit}; attainable: {low:,} to {high:,} {limit.metric.unit}"

    def attainable(self, table: Table) -> tuple[float, float]:
        """Return the least and the largest value of ``table`` over live rows.

        Exact for tables whose choices fall into small independent groups; otherwise a bound
        from the terms one by one, which no row can pass.
        """
        groups = _groups(self.space, table)
        if groups is not None and table.reduce == "sum":
            ends = np.zeros((2, self.space.num_choices), dtype=np.int64)
            for group in groups:
                ends[0, group.columns] = group.options[group.costs.argmin()]
                ends[1, group.columns] = group.options[group.costs.argmax()]
            low, high = table(ends).tolist()
            return low, high
        spans = []
        for term in table.terms:
            values: Numbers = term.values
            for axis, column in enumerate(term.columns):
                live = np.flatnonzero(self.space.mask[column, : values.shape[axis]])
                values = np.take(values, live, axis=axis)
            spans.append((values.min().item(), values.max().item()))
        lows = [table.constant, *(low for low, _ in spans)]
        highs = [table.constant, *(high for _, high in spans)]
        return (sum(lows), sum(highs)) if table.reduce == "sum" else (max(lows), max(highs))

    @cached_property
    def _windows(self) -> tuple[tuple[Limit, _Window], ...]:
        """The limits that can be sampled without rejection, the tightest first."""
        windows = []
        for limit in self.limits:
            if isinstance(limit.metric, Table):
                window = _Window.build(self.space, limit, limit.metric)
                if window is not None:
                    windows.append((limit, window))
        return tuple(sorted(windows, key=lambda pair: pair[1].count()))

    def count(self) -> int:
        """Return the number of feasible rows.

        Raises:
            InputError: more than one limit, or one that is no sum of integers within the state
                budget.
        """
        if not self.limits:
            return self.space.size
        if len(self.limits) > 1 or not self._windows or not self._windows[0][1].exact:
            raise InputError(
                "the exact count is known for one limit on a sum of integers; received "
                + ", ".join(str(limit) for limit in self.limits)
            )
        return self._windows[0][1].count()

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

        One additive limit is met by construction. What remains (further limits, bins of a
        continuous cost, metrics that are no sum) is rejected, at most 2,000 rows for each wanted.

        Raises:
            InputError: the bound was reached; the message says how many rows were accepted.
        """
        if not self.limits or n == 0:
            return self.space.sample(n, rng=rng)
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
            if self._windows:
                rows = self._windows[0][1].sample(size, self.space.num_choices, rng)
            else:
                rows = self.space.sample(size, rng=rng)
            drawn += size
            rows = rows[self.contains(rows)]
            found += len(rows)
            accepted.append(rows)
        return np.concatenate(accepted)[:n]
