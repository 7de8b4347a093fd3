"""What a state belongs to: settings that are saved beside it and compared when it comes back."""

from collections.abc import Mapping
from typing import Any

import attrs

from nas_spaces import InputError

__all__ = ["check_settings", "named"]


def named(part: object) -> str | None:
    """Return what stands for a function or a record in a saved state; None for None.

    >>> named(len), named(None)
    ('len', None)
    """
    if part is None:
        return None
    if attrs.has(type(part)):
        return repr(part)
    # The plain repr of a function or an object holds its address, which a resumed run has not.
    return str(getattr(part, "__qualname__", type(part).__qualname__))


def check_settings(ours: Mapping[str, Any], theirs: Mapping[str, Any], owner: str) -> None:
    """Refuse a state of other settings.

    Args:
        ours: settings of the object that is to take the state.
        theirs: those saved with it.
        owner: what error messages call the object.

    Raises:
        InputError: a setting differs.
    """
    for key in dict.fromkeys([*ours, *theirs]):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"state is of another {owner}: its {key} is {theirs.get(key)!r}, this one's is "
                f"{ours.get(key)!r}; resume with the same settings, or begin anew"
            )
