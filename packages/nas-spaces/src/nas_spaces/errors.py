"""The error that every package raises for input that a person can mend."""

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "nearest"]


class InputError(ValueError):
    """Input that cannot be used; the message names the argument, the value and the cure."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint that names the valid spelling nearest to ``name``, and all of them.

    >>> nearest("digit", ["digits", "cifar10"])
    "did you mean 'digits'? valid: cifar10, digits"
    """
    known = sorted(valid)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listing = "valid: " + ", ".join(known)
    return f"did you mean {close[0]!r}? {listing}" if close else listing
