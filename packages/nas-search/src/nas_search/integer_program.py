"""The row of the least sum of losses within several limits, as an integer linear program.

Dynamic programming is exact for one limit; several that pull against each other it can only bound
one by one. Where every cost is a sum over the choices, the whole question is a multiple-choice
knapsack (Sinha and Zoltners, Operations Research 27(3), 1979) with a constraint for each limit,
which HiGHS solves by branch and cut.
"""

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nas_spaces import InputError, Limit, SearchSpace, Table

__all__ = ["least_sum"]

SECONDS = 10.0
# The solver's limits hold to a tolerance: rows that miss one by less are ruled out one by one.
TRIES = 50
# Its absolute gap is 1e-6, in units of a loss that is scaled to this span.
SPAN = 1e3
ROUNDING = 1e-9
# Above such costs, in units of what divides them all, its tolerance is no small part of one, and
# that nothing is feasible is not to be taken from it.
LARGE = 1e10
INFEASIBLE = 2


def least_sum(
    space: SearchSpace, losses: NDArray[np.float64], limits: Sequence[Limit]
) -> tuple[NDArray[np.int64], bool] | None:
    """Return the live row of the least sum of losses within all limits, and whether that is proven.

    Of equal rows it is whichever the solver meets first: the same one for the same question.

    Args:
        space: the search space, with at least one choice.
        losses: float64 ``[d, k]``, of each option.
        limits: all of them hold; on `Table`s.

    Returns:
        None where a cost is no sum over the choices, or where the solver has no answer: after 10
        seconds, for costs of more digits than it can tell apart, or where it met only rows that
        miss a limit by less than its tolerance.

    Raises:
        InputError: no row is within all limits.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # noqa: PLC0415  (slow to import)

    tables = [limit.metric for limit in limits if isinstance(limit.metric, Table)]
    try:
        costs = [table.additive() for table in tables]
    except InputError:
        return None
    choices, options = np.nonzero(space.mask)
    objective = losses[choices, options]
    objective = objective * (SPAN / (float(np.ptp(objective)) or 1.0))
    one_each = (choices == np.arange(space.num_choices)[:, None]).astype(float)  # [d, variables]
    constraints, largest = [LinearConstraint(one_each, 1, 1)], 0.0
    for limit, table, (constant, entries) in zip(limits, tables, costs, strict=True):
        lower = -np.inf if limit.lower is None else limit.lower - constant
        upper = np.inf if limit.upper is None else limit.upper - constant
        own = entries[choices, options]
        unit = _unit(own, whole=table.is_integer)
        # Half a unit wider, so that no row on an end is lost to rounding; in parts of the largest.
        span = float(np.abs(own).max()) or 1.0
        ends = np.ceil(lower / unit) - 0.5, np.floor(upper / unit) + 0.5
        low, high = (end * unit / span for end in ends)
        constraints.append(LinearConstraint(own / span, low, high))
        largest = max(largest, span / unit)
    until = time.monotonic() + SECONDS
    for _ in range(TRIES):
        left = until - time.monotonic()
        if left <= 0:
            return None
        with _aside():
            found = milp(
                objective,
                integrality=np.ones(len(objective)),
                bounds=Bounds(0, 1),
                constraints=constraints,
                options={"mip_rel_gap": 0.0, "time_limit": left},
            )
        if found.status == INFEASIBLE and largest <= LARGE:
            raise InputError(
                f"no architecture of space {space.name!r} satisfies all of "
                f"{' and '.join(map(str, limits))}, though each alone can be met; widen one"
            )
        if found.x is None:
            return None
        row = np.zeros(space.num_choices, dtype=np.int64)
        taken = found.x > 0.5
        row[choices[taken]] = options[taken]
        if all(limit.holds(row[None])[0] for limit in limits):
            return row, found.status == 0
        constraints.append(LinearConstraint(taken.astype(float), -np.inf, space.num_choices - 1))
    return None


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Send what is written to standard output to standard error, past Python too.

    HiGHS tells of some rare events there (seen with scipy 1.17), whatever its options; standard
    output is a program's result.
    """
    try:
        kept = os.dup(1)
    except OSError:  # closed
        yield
        return
    sys.stdout.flush()
    try:
        os.dup2(2, 1)
        yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _unit(cost: NDArray[np.float64], *, whole: bool) -> float:
    """Return what divides all values ``[variables]`` of a cost, or a small part of the largest."""
    if whole:
        return float(np.gcd.reduce(np.abs(cost).astype(np.int64))) or 1.0
    return (float(np.abs(cost).max()) or 1.0) * ROUNDING
