"""What the paths cost that a constrained training draws, and whether a search goes beyond them."""

from collections.abc import Iterable

from nas_cli.config import read_config
from nas_cli.folder import CONFIG
from nas_cli.limits import merge_limits
from nas_cli.run import Run
from nas_samplers import cost_ranges
from nas_spaces import FeasibleSet, InputError, Limit, SearchSpace, Table

__all__ = ["beyond_paths", "path_ranges"]


def path_ranges(space: SearchSpace, limits: Iterable[str]) -> list[FeasibleSet]:
    """Return the ranges of cost that a constrained training draws its paths in.

    They are of the first limit on macs, or else of the first limit; further limits restrict
    the search only.

    Raises:
        InputError: no limit, or one that cannot be read or met.
    """
    return cost_ranges(space, _limit_of_paths(space, limits))


def beyond_paths(run: Run, feasible: FeasibleSet) -> str | None:
    """Return in words that limits lead beyond the paths of a run's supernet, None where not.

    The best architectures are near the upper end of the limits: that is what counts. Limits on
    other costs do not say where it is, and are let pass.

    Args:
        run: the run.
        feasible: the architectures within the limits of a search of it.
    """
    # Of the run: the settings in force may be those of one search.
    config = read_config(run.path / CONFIG)
    if config.supernet.sampler != "constrained" or config.search.evaluation == "standalone":
        return None
    limit = _limit_of_paths(feasible.space, config.limits)
    table = limit.metric
    own = next((one for one in feasible.limits if one.metric.name == table.name), None)
    if not isinstance(table, Table) or (own is None and feasible.limits):
        return None
    ranges = cost_ranges(feasible.space, limit)
    low, high = FeasibleSet(feasible.space).attainable(table)
    first, last = ranges[0].limits[0].lower, ranges[-1].limits[0].upper
    lower = low if first is None else first
    # A search under the run's own limit is never beyond them, whatever the last range has.
    upper = max(_end(limit, high), high if last is None else last)
    end = high if own is None else _end(own, high)
    if lower <= end <= upper:
        return None
    return (
        f"limits lead to {end:,.0f} {table.unit} ({table.name}), the supernet was trained on paths "
        f"of {lower:,.0f} to {upper:,.0f} (supernet.sampler=constrained): its errors say little "
        "there; train another with these limits, or with supernet.sampler=uniform"
    )


def _limit_of_paths(space: SearchSpace, texts: Iterable[str]) -> Limit:
    limits = merge_limits(space, texts)
    if not limits:
        raise InputError(
            "supernet.sampler=constrained needs a limit; give one, like --limit 'macs<=50%', "
            "or --set supernet.sampler=uniform"
        )
    return next((one for one in limits if one.metric.name == "macs"), limits[0])


def _end(limit: Limit, high: float) -> float:
    return high if limit.upper is None else min(limit.upper, high)
