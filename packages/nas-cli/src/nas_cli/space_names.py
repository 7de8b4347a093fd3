"""Spaces as people vary them: ``digits-mobile@0,1,2,3,4,0,1,2+channels``.

What stands behind a space's name is done to it from left to right: ``@ROW`` fixes all its choices
at an architecture, ``+channels`` and ``+bits`` add a choice of the channels inside each block, and
of its bit widths (`nas_spaces.vary`).
"""

import itertools
import re
from collections.abc import Callable, Iterable

from nas_spaces import InputError, SearchSpace, nearest
from nas_spaces.vary import with_bits, with_scales

__all__ = [
    "VARIATIONS",
    "additions",
    "apply_changes",
    "before_additions",
    "bits_text",
    "fix_first",
    "parse_bits",
    "short_name",
    "shown_name",
    "split_changes",
]

# A space's own name may hold a plus, as fbnetv2-f++ does.
BEGINNING = re.compile(r"(?=@|\+[a-z])")


def split_changes(name: str) -> tuple[str, tuple[str, ...]]:
    """Return a space's name and what is done to it.

    >>> split_changes("digits-mobile@0,1+channels=0.5,1")
    ('digits-mobile', ('@0,1', '+channels=0.5,1'))
    >>> split_changes("some+where/my.json+bits")
    ('some+where/my.json', ('+bits',))
    """
    # A path may hold the signs.
    end = name.rfind(".json")
    start = 0 if end < 0 else end + len(".json")
    base, *changes = BEGINNING.split(name[start:])
    return name[:start] + base, tuple(changes)


def additions(name: str) -> tuple[str, ...]:
    """Return what kinds of choices a space's name adds.

    >>> additions("digits-mobile@0,1+channels=0.5,1@0,1+bits")
    ('channels', 'bits')
    """
    changes = split_changes(name)[1]
    return tuple(one[1:].partition("=")[0] for one in changes if one.startswith("+"))


def before_additions(name: str) -> str:
    """Return what a space's name says before anything is added to it.

    >>> before_additions("digits-mobile+channels"), before_additions("digits-mobile@0,1+channels")
    ('digits-mobile', 'digits-mobile@0,1')
    """
    base, changes = split_changes(name)
    return base + "".join(itertools.takewhile(lambda change: change.startswith("@"), changes))


def fix_first(name: str, row: Iterable[int]) -> str:
    """Return a space's name with the choices that are there before anything is added fixed.

    >>> fix_first("digits-mobile+channels", [0, 1])
    'digits-mobile@0,1+channels'
    """
    first = before_additions(name)
    return f"{first}@{','.join(map(str, row))}{name.removeprefix(first)}"


def short_name(name: str) -> str:
    """Return a space's name for a folder: without rows and values.

    >>> short_name("digits-mobile@0,1+channels=0.5,1")
    'digits-mobile+channels'
    """
    return split_changes(name)[0] + "".join(f"+{kind}" for kind in additions(name))


def shown_name(own: str, name: str) -> str:
    """Return a space's own name with what is done to it: values in full, rows as ``@...``.

    Args:
        own: the name that the space has, without values.
        name: what it was made of, as `split_changes` reads it.

    >>> shown_name("digits-mobile+channels", "digits-mobile@0,1+channels=0.5,1")
    'digits-mobile@...+channels=0.5,1'
    >>> shown_name("of-the-file+bits", "file.json+bits"), shown_name("other", "a+bits")
    ('of-the-file+bits', 'other')
    """
    added = "".join(f"+{kind}" for kind in additions(name))
    if not own.endswith(added):
        return own
    changes = ("@..." if one.startswith("@") else one for one in split_changes(name)[1])
    return own.removesuffix(added) + "".join(changes)


def parse_bits(text: str) -> tuple[int, int] | None:
    """Return bits of weights and of activations, None of a text of another form.

    >>> parse_bits("3w4a"), parse_bits("3w")
    ((3, 4), None)
    """
    match = re.fullmatch(r"([0-9]{1,3})w([0-9]{1,3})a", text)
    return None if match is None else (int(match[1]), int(match[2]))


def bits_text(weights: int, activations: int) -> str:
    """Return bits of weights and of activations as text, like ``3w4a``."""
    return f"{weights}w{activations}a"


def apply_changes(space: SearchSpace, changes: tuple[str, ...]) -> SearchSpace:
    """Return ``space`` with what `split_changes` found done to it.

    Raises:
        InputError: an unknown variation, values that cannot be read, or a space that cannot be
            varied so.
    """
    for change in changes:
        try:
            space = _once(space, change)
        except InputError as error:
            raise InputError(f"space {space.name}{change}: {error}") from error
    return space


def _once(space: SearchSpace, change: str) -> SearchSpace:
    if change.startswith("@"):
        return space.fix(space.parse(change[1:]))
    kind, sign, values = change[1:].partition("=")
    if kind not in VARIATIONS:
        raise InputError(f"{kind!r} is unknown: {nearest(kind, VARIATIONS)}")
    if sign and not values:
        raise InputError(f"nothing stands behind the =; leave it out for the usual {kind}")
    return VARIATIONS[kind](space, values, f"{space.name}+{kind}")


def _channels(space: SearchSpace, values: str, name: str) -> SearchSpace:
    if not values:
        return with_scales(space, name=name)
    try:
        scales = [float(value) for value in values.split(",")]
    except ValueError as error:
        raise InputError(
            f"scales {values!r} cannot be read; write them like +channels=0.5,1,1.5"
        ) from error
    return with_scales(space, scales, name=name)


def _bits(space: SearchSpace, values: str, name: str) -> SearchSpace:
    if not values:
        return with_bits(space, name=name)
    pairs = []
    for value in values.split(","):
        pair = parse_bits(value.strip())
        if pair is None:
            raise InputError(
                f"bits {value!r} cannot be read; write bits of weights and of activations like "
                "+bits=2w2a,4w4a"
            )
        pairs.append(pair)
    return with_bits(space, pairs, name=name)


VARIATIONS: dict[str, Callable[[SearchSpace, str, str], SearchSpace]] = {
    "channels": _channels,
    "bits": _bits,
}
"""What can stand behind a ``+``: a function of the space, the values as text and the new name."""
