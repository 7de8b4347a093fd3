"""What a progressive sweep measured: the error that each option of each choice adds."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_spaces import InputError, SearchSpace

__all__ = ["CandidateTable"]

JSON_FORMAT = 1


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _integers(values: ArrayLike) -> NDArray[Any]:
    given = np.array(values)
    # Others are refused by the space's check.
    return given.astype(np.int64) if given.dtype.kind in "iu" else given


@frozen(eq=False)
class CandidateTable:
    """What each option costs in error, as a progressive sweep measured it.

    The table takes for granted that errors add up. Each choice was measured with the choices
    before it at their best and those behind it at the suffix, so that its losses say what an
    option adds *there*; that they add the same in other networks, and that losses of different
    choices compare, is the method's assumption and not a measurement. Hold `predict` against
    measured errors before trusting it.

    Args:
        space: the search space; the table covers its live options.
        losses: float64 ``[d, k]``: an option's error minus the error of its choice's best option
            in the same sweep; nan for options that are not live.
        start: int64 ``[d]``: the best option of each choice, where the sweep ended.
        base_error: the measured error of ``start``.

    Raises:
        InputError: parts that do not fit together.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> losses = np.tile([0.03, 0.01, 0.0], (8, 1))
    >>> table = CandidateTable(space, losses, np.full(8, 2), 0.1)
    >>> table.predict([[2] * 8, [0, 0, 1, 2, 2, 2, 2, 2]]).round(2)
    array([0.1 , 0.17])
    """

    space: SearchSpace
    losses: NDArray[np.float64] = field(converter=_floats)
    start: NDArray[np.int64] = field(converter=_integers)
    base_error: float

    def __attrs_post_init__(self) -> None:
        mask = self.space.mask
        if self.losses.shape != mask.shape:
            raise InputError(
                f"losses has shape {self.losses.shape}; space {self.space.name!r} has "
                f"{mask.shape[0]} choices of at most {mask.shape[1]} options: {mask.shape}"
            )
        wrong = np.where(mask, ~np.isfinite(self.losses), ~np.isnan(self.losses))
        if wrong.any():
            choice, option = np.argwhere(wrong)[0]
            rule = "live, give a number" if mask[choice, option] else "not live, give nan"
            raise InputError(
                f"losses[{choice}, {option}] is {self.losses[choice, option]}; the option is {rule}"
            )
        (start,) = self.space.check(self.start[None])
        best = np.where(mask, self.losses, math.inf)
        for choice, option in enumerate(start.tolist()):
            if best[choice, option] != 0 or best[choice].min() < 0:
                raise InputError(
                    f"losses[{choice}] is {self.losses[choice].tolist()} with start[{choice}] = "
                    f"{option}; the best option has loss 0 and no option has less"
                )
        if not math.isfinite(self.base_error):
            raise InputError(f"base_error is {self.base_error}; it is the finite error of start")

    def predict(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return the table's errors float64 ``[n]`` of architectures ``[n, d]``.

        The base error and the losses of the row's options, added up (see the class for what that
        takes for granted).

        Raises:
            InputError: rows that do not belong to the space, or use an option that is not live.
        """
        rows = self.space.check(archs)
        losses = self.losses[np.arange(self.space.num_choices), rows]
        if np.isnan(losses).any():
            row, choice = np.argwhere(np.isnan(losses))[0]
            raise InputError(
                f"archs[{row}, {choice}] is {rows[row, choice]}, an option that was not live when "
                f"the table was measured; it knows the live options of space {self.space.name!r}"
            )
        return np.asarray(self.base_error + losses.sum(axis=1), dtype=np.float64)

    def to_json(self) -> str:
        """Return JSON text; `from_json` reads it. Options that are not live are null."""
        losses = [
            [None if math.isnan(loss) else loss for loss in row[:size]]
            for row, size in zip(self.losses.tolist(), self.space.num_options, strict=True)
        ]
        return json.dumps(
            {
                "format": JSON_FORMAT,
                "space": _signature(self.space),
                "start": self.start.tolist(),
                "base_error": self.base_error,
                "losses": losses,
            }
        )

    @classmethod
    def from_json(cls, text: str, *, space: SearchSpace) -> "CandidateTable":
        """Read what `to_json` wrote.

        Args:
            text: the JSON.
            space: the space that the table was measured on, with the same live options.

        Raises:
            InputError: text of another form, or a table of another space.
        """
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"this is no candidate table in JSON: {error}") from error
        fields = ("format", "space", "start", "base_error", "losses")
        candidates.require(record, fields, "a candidate table")
        if record["format"] != JSON_FORMAT:
            raise InputError(
                f"the candidate table has format {record['format']}; this version reads "
                f"{JSON_FORMAT}"
            )
        difference = _difference(record["space"], _signature(space))
        if difference is not None:
            raise InputError(
                f"the candidate table is of another space: {difference}; load it with the space "
                "that it was measured on"
            )
        losses = np.full(space.mask.shape, np.nan)
        try:
            for choice, row in enumerate(record["losses"]):
                losses[choice, : len(row)] = [math.nan if one is None else one for one in row]
            start = np.array(record["start"])
            base_error = float(record["base_error"])
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise InputError(f"this is no candidate table in JSON: {error}") from error
        return cls(space, losses, start, base_error)


def _signature(space: SearchSpace) -> dict[str, Any]:
    """Return what a file says about the space of its table, in JSON values."""
    return {
        "name": space.name,
        "input_shape": list(space.input_shape),
        "choices": [
            {"name": choice.name, "options": size, "live": np.flatnonzero(live).tolist()}
            for choice, size, live in zip(space.choices, space.num_options, space.mask, strict=True)
        ],
    }


def _difference(found: Any, expected: dict[str, Any]) -> str | None:
    """Return in words where two signatures differ first; None where they agree."""
    given = found if isinstance(found, Mapping) else {}
    for name in ("name", "input_shape"):
        if given.get(name) != expected[name]:
            return f"its {name} is {given.get(name)!r}, not {expected[name]!r}"
    choices = given.get("choices")
    theirs = choices if isinstance(choices, list) else []
    if len(theirs) != len(expected["choices"]):
        return f"it has {len(theirs)} choices, not {len(expected['choices'])}"
    for number, (one, other) in enumerate(zip(theirs, expected["choices"], strict=True)):
        if one != other:
            return f"its choice {number} is {one!r}, not {other!r}"
    return None
