"""What searchers and the driver share: which rows stand for a network, and rows not seen yet."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_spaces import FeasibleSet, InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = [
    "all_rows",
    "at_least",
    "check_feasible",
    "check_part",
    "check_told",
    "first_told",
    "fresh",
    "keys",
    "pack_keys",
    "representatives",
    "require",
    "restore_rng",
    "stand_ins",
    "take_new",
    "unpack_keys",
]

# Spaces of at most this many rows are listed once sampling finds nothing new (8 MB at d = 16).
LISTED_ROWS = 2**16
# A feasible set known to be this small is sampled until a row that is left would have been met.
SMALL_SET = 2**14
# Draws for each row of a small set: one that is left is missed with probability e^-30.
DRAWS_PER_SMALL_ROW = 30
# Draws for each row wanted, and at least, where nothing better is known.
DRAWS_PER_ROW = 100
LEAST_DRAWS = 5000


def at_least(least: int, /, **numbers: int) -> None:
    """Refuse arguments that are no integers of at least ``least``.

    Raises:
        InputError: one of ``numbers`` is not.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise InputError(f"{name}={value!r} must be an integer at least {least}")


def check_feasible(space: SearchSpace, feasible: FeasibleSet | None) -> FeasibleSet:
    """Return ``feasible``, or the whole space for None.

    Raises:
        InputError: a feasible set of another space, or of other live options.
    """
    if feasible is None:
        return FeasibleSet(space)
    if feasible.space.num_options != space.num_options or (feasible.space.mask != space.mask).any():
        raise InputError(
            f"feasible is a set of space {feasible.space.name!r}; the search is of space "
            f"{space.name!r} (same choices and live options); build it from the same space"
        )
    return feasible


def check_part(name: str, part: SearchSpace, space: SearchSpace, *, live: bool = True) -> None:
    """Refuse a part of a search, of space ``part``, that was made for another one.

    Args:
        name: the argument that it was given as.
        part: its space.
        space: the space that is searched.
        live: its live options have to be the same, too.

    Raises:
        InputError: it was made for another one.
    """
    if part.choices != space.choices:
        raise InputError(
            f"{name} is of space {part.name!r}, the search of {space.name!r}; make it from the "
            "same space"
        )
    if live and (part.mask != space.mask).any():
        raise InputError(
            f"{name} is of space {part.name!r} with other live options; make it from the space "
            "that is searched"
        )


def check_told(
    space: SearchSpace, archs: ArrayLike, values: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return told architectures int64 ``[n, d]`` and values float64 ``[n, m]``.

    Raises:
        InputError: rows that do not belong to the space, values of another shape or not finite.
    """
    rows = space.check(archs)
    told = np.asarray(values, dtype=np.float64)
    if told.ndim != 2 or len(told) != len(rows) or told.shape[1] == 0:
        raise InputError(
            f"values has shape {told.shape}; expected [{len(rows)}, m]: a row for each "
            "architecture, a column for each objective"
        )
    wrong = np.flatnonzero(~np.isfinite(told).all(axis=1))
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"values[{row}] is {told[row].tolist()} for architecture {space.format(rows[row])}; "
            "values are finite numbers"
        )
    return rows, told


def keys(space: SearchSpace, archs: NDArray[np.int64]) -> list[bytes]:
    """Return a key for each row ``[n, d]``; rows that build the same network have the same."""
    return [row.tobytes() for row in space.canonical(archs)]


def first_told(
    feasible: FeasibleSet, rows: NDArray[np.int64], told: set[bytes]
) -> NDArray[np.int64]:
    """Return which feasible rows build networks that are not in ``told``, and add all to it."""
    new: list[int] = []
    for index, key in enumerate(keys(feasible.space, rows)):
        if key not in told:
            told.add(key)
            new.append(index)
    return np.array(new, dtype=np.int64)[feasible.contains(rows[new])]


def pack_keys(seen: set[bytes], num_choices: int) -> NDArray[np.int64]:
    """Return keys as canonical rows int64 ``[n, d]``, in an order that the set decides alone."""
    packed = np.frombuffer(b"".join(sorted(seen)), dtype=np.int64)
    return packed.reshape(len(seen), num_choices).copy()


def unpack_keys(archs: ArrayLike, space: SearchSpace) -> set[bytes]:
    """Return the keys that `pack_keys` packed."""
    return {row.tobytes() for row in space.check(archs)}


def stand_ins(
    feasible: FeasibleSet, archs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return what is measured in the place of each of rows ``[n, d]``.

    Rows that build the same network have the same accuracy, but not always the same cost: an
    operation that leads nowhere counts in one and not in the other.

    Returns:
        ``[n, d]`` the canonical rows where they are within the limits, the rows themselves where
        they are not; ``[n, d]`` the canonical rows, whose bytes are the keys; ``[n]`` whether the
        first are within the limits.
    """
    canonical = feasible.space.canonical(archs)
    inside = feasible.contains(canonical)
    rows = np.where(inside[:, None], canonical, archs)
    doubtful = np.flatnonzero(~inside & (canonical != archs).any(axis=1))
    if len(doubtful):
        inside[doubtful] = feasible.contains(archs[doubtful])
    return rows, canonical, inside


def representatives(
    feasible: FeasibleSet, archs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the `stand_ins` ``[k, d]`` within the limits for rows ``[n, d]``, in their order.

    Returns:
        them, and ``[k, d]`` their canonical rows, whose bytes are the keys.
    """
    rows, canonical, inside = stand_ins(feasible, archs)
    return rows[inside], canonical[inside]


def take_new(
    feasible: FeasibleSet, archs: NDArray[np.int64], n: int, visited: set[bytes]
) -> NDArray[np.int64]:
    """Return the first ``n`` feasible rows whose networks are not in ``visited``, and add them."""
    rows, canonical = representatives(feasible, archs)
    chosen: list[int] = []
    for index, row in enumerate(canonical):
        if len(chosen) == n:
            break
        key = row.tobytes()
        if key not in visited:
            visited.add(key)
            chosen.append(index)
    return rows[chosen]


def fresh(
    feasible: FeasibleSet, n: int, visited: set[bytes], *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return up to ``n`` random feasible rows whose networks are not in ``visited``, and add them.

    Rows are drawn uniformly and those seen before left out, with a bound on the draws. When the
    bound is reached in a small space its rows are listed, so that fewer than ``n`` rows mean that
    nothing is left. In larger ones, a feasible set known to hold at most 16,384 rows is drawn
    from until a row that is left would have been met but for a chance of e^-30; otherwise 5,000
    draws without a new row are taken for exhaustion.

    Raises:
        InputError: nothing was visited so far, and no feasible row is found.
    """
    space = feasible.space
    listed = space.size <= LISTED_ROWS
    bound = 10 * n if listed else _draws(feasible, n)
    found: list[NDArray[np.int64]] = [np.zeros((0, space.num_choices), dtype=np.int64)]
    missing, drawn = n, 0
    failure: InputError | None = None
    while missing and drawn < bound:
        # Twice as many each time: few calls, and little drawn in vain.
        size = min(max(missing, drawn), bound - drawn)
        try:
            archs = feasible.sample(size, rng=rng)
        except InputError as error:
            # Rejection hardly meets the limits; the rows may still be listed below.
            failure = error
            break
        drawn += size
        found.append(take_new(feasible, archs, missing, visited))
        missing -= len(found[-1])
    if missing and listed:
        found.append(take_new(feasible, rng.permutation(all_rows(space)), missing, visited))
    if failure is not None and not visited:
        raise failure
    return np.concatenate(found)


def _draws(feasible: FeasibleSet, n: int) -> int:
    """Return how many draws may go into ``n`` new rows of a space too large to be listed."""
    _, count = feasible.count_range()
    if count <= SMALL_SET:
        return DRAWS_PER_SMALL_ROW * count
    return max(DRAWS_PER_ROW * n, LEAST_DRAWS)


def all_rows(space: SearchSpace) -> NDArray[np.int64]:
    """Return every row over live options, int64 ``[size, d]``."""
    rows = np.zeros((1, 0), dtype=np.int64)
    for live in space.mask:
        options = np.flatnonzero(live)
        rows = np.column_stack([np.repeat(rows, len(options), 0), np.tile(options, len(rows))])
    return rows


def require(state: State, fields: tuple[str, ...], owner: str) -> None:
    """Refuse a state of something else.

    Raises:
        InputError: no mapping, or one without all of ``fields``.
    """
    missing = [name for name in fields if not isinstance(state, Mapping) or name not in state]
    if missing:
        raise InputError(f"this is no state of {owner}: it has no {', '.join(missing)}")


def restore_rng(rng: np.random.Generator, state: Any) -> None:
    """Set the state of ``rng``.

    Raises:
        InputError: the state of another kind of generator.
    """
    try:
        rng.bit_generator.state = state
    except (ValueError, TypeError, KeyError) as error:
        kind = type(rng.bit_generator).__name__
        raise InputError(f"the saved state of rng does not fit rng, a {kind}: {error}") from error
