"""Numbers, limits and settings as a person reads them."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_cli.architecture_text import option_name
from nas_spaces import Choice, History

__all__ = [
    "JOINT",
    "LIMITED",
    "SAMPLING",
    "amount",
    "axis_of",
    "bounds",
    "capital",
    "cost_word",
    "duration",
    "holds",
    "main_cost",
    "points",
    "sentence",
    "shared_options",
    "si",
    "signed",
    "tau",
    "top1",
    "within",
]

MINUS = "\N{MINUS SIGN}"

SAMPLING = {
    "uniform": "on paths from the whole space",
    "constrained": "on paths around the limit",
    "strict-fair": "each on as many paths as a choice has options, every candidate once",
    "expectation-fair": "each on several paths drawn uniformly",
    "path-dropout": "each on all candidates but those that path dropout left out",
    "balanced": "on paths drawn uniformly from the candidates still live",
    "weighted": "on paths drawn by the candidates' probabilities",
    "gumbel": "each on all candidates at once, mixed by Gumbel-softmax gates",
    "mixture": "each on all candidates at once, mixed by their probabilities",
    "distribution": "each on several paths drawn from the distribution over architectures",
}
"""Setting ``supernet.sampler`` -> what its training steps were on."""

JOINT = ("path-dropout", "gumbel", "mixture")
"""Samplers whose steps train many candidates of a block in one pass."""


def si(value: float) -> str:
    """Return a count for a person: 1042368 -> '1.04 M', with a space that does not break."""
    rounded = float(f"{value:.3g}")
    for factor, prefix in zip((1e18, 1e15, 1e12, 1e9, 1e6, 1e3), "EPTGMk", strict=True):
        if abs(rounded) >= factor:
            return f"{rounded / factor:g}\N{NO-BREAK SPACE}{prefix}"
    return f"{rounded:g}"


def amount(value: float, cost: str) -> str:
    """Return how much there is of a metric, for a person.

    BitOPs are counted in G of 2^30, as SPOS's tables have them.

    >>> print(amount(1042368, "macs"), amount(6.32 * 2**30, "bitops"), amount(900, "bitops"))
    1.04\N{NO-BREAK SPACE}M 6.32\N{NO-BREAK SPACE}Gi 900
    """
    if cost != "bitops":
        return si(value)
    for power, prefix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        rounded = float(f"{value / 1024**power:.3g}")
        if rounded >= 1:
            return f"{rounded:g}\N{NO-BREAK SPACE}{prefix}"
    return f"{value:g}"


def top1(percent: float, images: int = 1000) -> str:
    """Return top-1 [%] with as many decimals as the number of images supports."""
    return f"{percent:.{1 if images <= 1000 else 2}f}"


def signed(value: float) -> str:
    """Return a difference with its sign; the minus is the typographic one."""
    return f"{value:+.1f}".replace("-", MINUS)


def points(value: float) -> str:
    """Return percentage points, with two decimals."""
    # No minus in front of what is zero as printed.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)


def tau(value: float) -> str:
    """Return a rank correlation.

    >>> tau(0.5634), tau(-0.0001)
    ('0.56', '0.00')
    """
    return points(value)


def sentence(text: str) -> str:
    """Return a remark as a sentence.

    >>> sentence("no better than counting MACs")
    'No better than counting MACs.'
    """
    return capital(text) + ("" if text.endswith(".") else ".")


def duration(seconds: float) -> str:
    """Return seconds for a person: 75 -> '1 min 15 s'."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


NUMBER = r"[\d.,]+(?:e\+?\d+)?"
LIMITED = re.compile(
    rf"(?:(?P<low>{NUMBER}) <= )?(?P<name>[A-Za-z_]+)"
    rf"(?: <= (?P<high>{NUMBER})| >= (?P<least>{NUMBER}))?"
)
"""A limit as `nas_spaces.Limit` prints it; before 0.4.7, one from below began with its number."""


def bounds(limits: Sequence[str]) -> dict[str, tuple[float | None, float | None]]:
    """Return the lower and upper end that limits, as `nas_spaces.Limit` prints them, state by cost.

    >>> bounds(["macs <= 1,042,368 multiply-adds", "10 <= params <= 20 parameters"])
    {'macs': (None, 1042368.0), 'params': (10.0, 20.0)}
    >>> bounds(["macs >= 15,032,385,536 multiply-adds", "10 <= params parameters"])
    {'macs': (15032385536.0, None), 'params': (10.0, None)}
    """
    ends: dict[str, tuple[list[float], list[float]]] = {}
    for limit in limits:
        match = LIMITED.match(limit)
        if match is not None:
            own = ends.setdefault(match["name"], ([], []))
            low, high = own
            for side, group in ((low, "low"), (low, "least"), (high, "high")):
                if match[group]:
                    side.append(float(match[group].replace(",", "")))
    return {
        name: (max(low, default=None), min(high, default=None))
        for name, (low, high) in ends.items()
    }


COSTS = {"macs": "MACs", "params": "parameters", "bitops": "BitOPs", "peak_memory": "peak memory"}


def cost_word(name: str) -> str:
    """Return a metric's name for a person.

    >>> cost_word("bitops"), cost_word("traffic")
    ('BitOPs', 'traffic')
    """
    return COSTS.get(name, name)


def axis_of(name: str, unit: str) -> str:
    """Return a metric with its unit, as an axis is called.

    >>> axis_of("macs", "multiply-adds"), axis_of("params", "parameters")
    ('MACs (multiply-adds)', 'parameters')
    """
    word = cost_word(name)
    return word if word == unit else f"{word} ({unit})"


def capital(text: str) -> str:
    """Return a text with a capital at its beginning; the others stay.

    >>> capital("peak memory"), capital("BitOPs")
    ('Peak memory', 'BitOPs')
    """
    return text[:1].upper() + text[1:]


def main_cost(limits: Sequence[str]) -> str:
    """Return the metric that a search's errors are drawn against: macs, unless others are limited.

    >>> main_cost(["params <= 20 parameters", "macs <= 9 multiply-adds"]), main_cost([])
    ('macs', 'macs')
    >>> main_cost(["bitops <= 1,000 bit operations"])
    'bitops'
    """
    limited = bounds(limits)
    return "macs" if "macs" in limited else next(iter(limited), "macs")


def within(history: History, limits: Sequence[str]) -> NDArray[np.bool_]:
    """Return bool ``[n]``: which rows are within the limits on costs that the history records."""
    return holds({name: history.column(name) for name in history.names}, limits)


def holds(costs: Mapping[str, ArrayLike], limits: Sequence[str]) -> NDArray[np.bool_]:
    """Return bool, of the shape of the costs: whether they are within limits, where they are known.

    >>> holds({"macs": [10, 20], "params": [1, 1]}, ["macs <= 15 multiply-adds", "bitops <= 3"])
    array([ True, False])
    >>> holds({"macs": [10, 20]}, [])
    array([ True,  True])
    """
    inside = np.ones(np.broadcast_shapes(*map(np.shape, costs.values())), dtype=bool)
    for name, (low, high) in bounds(limits).items():
        if name in costs:
            values = np.asarray(costs[name])
            # As printed, an end has ten digits.
            if low is not None:
                inside &= values >= low * (1 - 1e-9)
            if high is not None:
                inside &= values <= high * (1 + 1e-9)
    return inside


def shared_options(choices: Sequence[Choice]) -> tuple[str, ...] | None:
    """Return the names that all choices' options have by their number; None where they differ.

    Choices with fewer options share the names where they only lack some at the end.
    """
    longest = max(choices, key=lambda choice: len(choice.options))
    if any(one.options != longest.options[: len(one.options)] for one in choices):
        return None
    return tuple(option_name(longest, number) for number in range(len(longest.options)))
