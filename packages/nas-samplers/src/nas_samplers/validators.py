"""Validators of attrs fields whose errors are for people: the argument, its rule, its value."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from attrs import Attribute

from nas_spaces import InputError, nearest

__all__ = ["check_number", "number", "one_of"]

Validator = Callable[[object, "Attribute[Any]", Any], None]


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Refuse an argument that is no finite number within bounds; they are those of `number`.

    Raises:
        InputError: the argument's name, its rule and its value.

    >>> check_number("lr", "fast", above=0)
    Traceback (most recent call last):
    nas_spaces.errors.InputError: lr='fast' must be a finite number above 0
    """
    kind = Integral if whole else Real
    known = isinstance(value, kind) and not isinstance(value, bool)
    if not (
        known
        and (whole or _is_finite(value))
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    ):
        bounds = {"at least": least, "above": above, "at most": most, "below": below}
        words = " and ".join(f"{word} {end}" for word, end in bounds.items() if end is not None)
        rule = f"{'an integer' if whole else 'a finite number'} {words}".rstrip()
        raise InputError(f"{name}={value!r} must be {rule}")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def number(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> Validator:
    """Return a validator of finite numbers within bounds.

    Args:
        least: smallest number that is allowed.
        above: what the number exceeds.
        most: largest number that is allowed.
        below: what exceeds the number.
        whole: integers only.

    >>> from attrs import field, frozen
    >>> @frozen
    ... class Rule:
    ...     share: float = field(validator=number(above=0, most=1))
    >>> Rule(1.5)
    Traceback (most recent call last):
    nas_spaces.errors.InputError: share=1.5 must be a finite number above 0 and at most 1
    """

    def check(_: object, attribute: "Attribute[Any]", value: Any) -> None:
        check_number(
            attribute.name,
            value,
            least=least,
            above=above,
            most=most,
            below=below,
            whole=whole,
        )

    return check


def one_of(*valid: str) -> Validator:
    """Return a validator of names, whose error says which is meant.

    >>> from attrs import field, frozen
    >>> @frozen
    ... class Rule:
    ...     kind: str = field(validator=one_of("sgd", "adamw"))
    >>> Rule("adam")
    Traceback (most recent call last):
    nas_spaces.errors.InputError: kind='adam' is unknown: did you mean 'adamw'? valid: adamw, sgd
    """

    def check(_: object, attribute: "Attribute[Any]", value: Any) -> None:
        if value not in valid:
            hint = nearest(str(value), valid)
            raise InputError(f"{attribute.name}={value!r} is unknown: {hint}")

    return check
