"""Whether starting from a knowledge pool helps, measured on the first candidates of a search."""

import math
from typing import Any, Literal

import numpy as np
from attrs import frozen

from nas_samplers.settings import check_settings
from nas_samplers.validators import check_number
from nas_spaces import InputError
from nas_spaces.protocols import State

__all__ = ["PoolGuard", "PoolVerdict"]

# Differences of errors that are equal are so up to this; one image of a million is more.
ROUNDING = 1e-9

Conclusion = Literal["helps", "harms", "no measurable difference", "not known yet"]


@frozen
class PoolVerdict:
    """What pairs of trainings say about starting from a pool.

    ``conclusion``: in words. ``difference``: mean of the error from the pool minus that from
    scratch, in [-1, 1] (negative: the pool is better); None before the first pair. ``interval``:
    its 95 % interval by Student's t distribution; None before the second, and where all differ by
    the same, which says nothing of how far the next would be off. ``pairs``: how many.
    """

    conclusion: Conclusion
    difference: float | None
    interval: tuple[float, float] | None
    pairs: int

    def __str__(self) -> str:
        """Return a sentence for a person, with errors in percentage points."""
        count = f"{self.pairs} pair{'' if self.pairs == 1 else 's'}"
        if self.difference is None:
            return "Whether the pool helps is not known yet: no pair was trained."
        found = f"it changes the error by {100 * self.difference:+.2f} points"
        if self.interval is not None:
            low, high = (f"{100 * end:+.2f}" for end in self.interval)
            found += f" (95 % interval {low} to {high})"
        elif self.pairs > 1:
            found += " each time, so that how far this varies is not known"
        begin = {
            "helps": "Starting from the pool helps",
            "harms": "Starting from the pool harms",
            "no measurable difference": "Starting from the pool makes no measurable difference",
            "not known yet": "Whether the pool helps is not known yet",
        }[self.conclusion]
        return f"{begin}: {found}, in {count}."


class PoolGuard:
    """Compares the errors of the first candidates, each trained from the pool and from scratch.

    It trains nothing: while pairs are `missing`, train each candidate both ways, with the same
    iterations and images, and `tell` both errors. After ``pairs`` of them the mean difference and
    its interval decide: the pool helps or harms where the interval excludes 0. There is no verdict
    before, for looking at every pair would find a difference by chance more often than the 5 % that
    the interval promises. Differences that are all equal are nothing measurable, as in
    `nas_search.difference`: errors of few images are coarser than what they vary by, so that two
    or three agree by chance, and an interval without width would take that for certainty.

    Until then, and where nothing was measurable, the pool is used (`uses_pool`): it is what the
    search was told to do. Which error counts of a candidate that was trained both ways is for
    whoever trains it to say (`StandaloneError`: the one from scratch); `errors` keeps them all.

    Source: our own; FNAS (Liu et al., 2021) takes it for granted that the pool helps.

    Args:
        pairs: how many pairs decide, at least 2. At 5 a difference is noticed from 1.24 of its
            standard deviations on.

    Raises:
        InputError: a number below 2.

    >>> guard = PoolGuard(pairs=3)
    >>> for scratch_error, pool_error in [(0.30, 0.24), (0.28, 0.23), (0.35, 0.28)]:
    ...     assert guard.missing
    ...     guard.tell(scratch_error, pool_error)
    >>> guard.missing, guard.uses_pool, guard.verdict.conclusion
    (0, True, 'helps')
    >>> print(guard.verdict)
    Starting from the pool helps: it changes the error by -6.00 points (95 % interval -8.48 to \
-3.52), in 3 pairs.
    """

    def __init__(self, pairs: int = 5) -> None:
        check_number("pairs", pairs, least=2, whole=True)
        self.pairs = int(pairs)
        self._errors: list[tuple[float, float]] = []

    @property
    def errors(self) -> tuple[tuple[float, float], ...]:
        """Errors from scratch and from the pool, one pair a candidate in the order told."""
        return tuple(self._errors)

    @property
    def missing(self) -> int:
        """How many more candidates with hits should be trained both ways."""
        return max(self.pairs - len(self._errors), 0)

    @property
    def wants_pair(self) -> bool:
        """Whether the next candidate with hits should be trained both ways."""
        return self.missing > 0

    @property
    def uses_pool(self) -> bool:
        """Whether candidates should start from the pool: unless it was found to harm."""
        return self.verdict.conclusion != "harms"

    @property
    def verdict(self) -> PoolVerdict:
        """What the pairs say so far; it does not change once they are complete."""
        differences = [pool - scratch for scratch, pool in self._errors[: self.pairs]]
        n = len(differences)
        if n == 0:
            return PoolVerdict("not known yet", None, None, 0)
        mean = math.fsum(differences) / n
        if n == 1:
            return PoolVerdict("not known yet", mean, None, 1)
        from scipy import stats  # noqa: PLC0415  (slow to import)

        interval = None
        if max(differences) - min(differences) > ROUNDING:
            spread = float(np.std(differences, ddof=1)) / math.sqrt(n)
            margin = float(stats.t.ppf(0.975, n - 1)) * spread
            interval = (mean - margin, mean + margin)
        conclusion: Conclusion = "no measurable difference"
        if n < self.pairs:
            conclusion = "not known yet"
        elif interval is not None and interval[1] < 0:
            conclusion = "helps"
        elif interval is not None and interval[0] > 0:
            conclusion = "harms"
        return PoolVerdict(conclusion, mean, interval, n)

    def tell(self, scratch_error: float, pool_error: float) -> None:
        """Take the errors of one candidate, trained both ways.

        More pairs than decide may come, from candidates that were trained at the same time; they
        are kept and change nothing.

        Args:
            scratch_error: from its random initialisation, in [0, 1].
            pool_error: from the pool, in [0, 1].

        Raises:
            InputError: a number that is no error: leave out candidates that failed.
        """
        self._errors.append(_pair(scratch_error, pool_error))

    def state_dict(self) -> dict[str, Any]:
        """Return the number of pairs wanted, and the errors told."""
        return {"pairs": self.pairs, "errors": [list(pair) for pair in self._errors]}

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a guard for another number of pairs, or one with numbers that
                are no errors; nothing is then taken.
        """
        check_settings({"pairs": self.pairs}, {"pairs": state["pairs"]}, "guard")
        self._errors = [_pair(scratch, pool) for scratch, pool in state["errors"]]


def _pair(scratch_error: float, pool_error: float) -> tuple[float, float]:
    for name, error in (("scratch_error", scratch_error), ("pool_error", pool_error)):
        # What is not a number is not between two either.
        if not 0 <= error <= 1:
            raise InputError(f"{name}={error!r} must be in [0, 1]; leave out what failed")
    return float(scratch_error), float(pool_error)
