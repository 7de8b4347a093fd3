"""Whether a candidate table's sums predict the supernet's error, which PONAS takes for granted."""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nas_cli.report.words import points, tau
from nas_search import CandidateTable, Kendall, kendall, tau_difference
from nas_spaces import History

__all__ = ["FEWEST", "HOLDS_ABOVE", "Predictive", "judge"]

# Fewer architectures say nothing of a rank correlation.
FEWEST = 10
# All of tau's interval above this: three pairs of four are in the right order.
HOLDS_ABOVE = 0.5
RESAMPLES = 400


@frozen(eq=False)
class Predictive:
    """A table's sums against measured errors of architectures that the sweep did not choose.

    ``sums``: float64 ``[n]`` in [0, 1]. ``tau``: of the sums with the measured errors.
    ``verdict``: whether the assumption holds. ``compared``: with counting MACs, None where a tau
    is undefined. ``accuracy``: how far off the sums are as numbers. All three are sentences.
    """

    sums: NDArray[np.float64]
    tau: Kendall
    verdict: str
    compared: str | None
    accuracy: str


def judge(table: CandidateTable, rows: History, *, rng: np.random.Generator) -> Predictive | None:
    """Hold a table against the measured errors of ``rows``; None where there are none.

    Args:
        table: what the sweep measured.
        rows: other architectures; columns error and macs.
        rng: draws the bootstrap.

    Raises:
        InputError: rows that the table does not know.
    """
    if not len(rows):
        return None
    sums, measured, macs = table.predict(rows.archs), rows.column("error"), rows.column("macs")
    order = kendall(sums, measured, rng=rng, resamples=RESAMPLES)
    # Its interval is not told: that of the difference says more.
    by_macs = kendall(-macs, measured, rng=rng, resamples=1)
    error = 100 * float(np.abs(sums - measured).mean())
    excess = 100 * float((sums - measured).mean())
    guess = 100 * float(np.abs(measured - measured.mean()).mean())

    side = "high" if excess > 0 else "low"
    off = (
        f"Its predictions are {points(error)} percentage points off on average "
        f"({points(abs(excess))} too {side} in the mean)"
    )
    if error < guess:
        off += f"; one guess for all, the mean error, would be {points(guess)} off."
    else:
        off += (
            f", which is no better than one guess for all: the mean error would be {points(guess)} "
            "off. Do not read them as errors."
        )
    against = None
    if order.tau is not None and by_macs.tau is not None:
        compared = tau_difference(sums, -macs, measured, rng=rng, resamples=RESAMPLES).verdict
        than = {"better": "better than", "worse": "worse than"}.get(compared, "no better than")
        against = (
            f"The table orders these architectures {than} counting their MACs "
            f"(Kendall tau {tau(by_macs.tau)})."
        )
    return Predictive(sums, order, _verdict(order, len(rows)), against, off)


def _verdict(order: Kendall, n: int) -> str:
    if n < FEWEST:
        return (
            f"Whether the table's assumption holds cannot be said: {n} random architectures are "
            "too few."
        )
    if order.low is None or order.high is None:
        which = "the table's sums" if order.undefined == "a is constant" else "the measured errors"
        return (
            f"Whether the table's assumption holds cannot be said: {which} are the same for all "
            "random architectures."
        )
    if order.low > HOLDS_ABOVE:
        return (
            "The table's assumption holds here for the order: its sums order random architectures "
            "much as the supernet does."
        )
    if order.low > 0:
        return (
            "The table's assumption holds only in part: its sums order random architectures "
            "better than chance, but not reliably."
        )
    return (
        "The table's assumption does not hold here: no order of random architectures by its sums "
        "shows in the supernet's errors."
    )
