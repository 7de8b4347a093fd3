"""The numbers that layers are varied by: which are valid, and one error for those that are not."""

from numbers import Integral, Real

import numpy as np

from nas_spaces.errors import InputError

__all__ = ["MOST_BITS", "MOST_SCALE", "check_bits", "check_scale"]

# Levels are worked out in float32, and a product of two values of 16 bits is already 32.
MOST_BITS = 16

# More is a slip, which would ask for more memory than there is.
MOST_SCALE = 100


def check_bits(name: str, bits: object) -> int:
    """Return a number of bits to quantise to; NumPy's whole numbers are taken too.

    Args:
        name: what the error calls it.
        bits: the number.

    Raises:
        InputError: no whole number, or none from 1 to `MOST_BITS`.

    >>> check_bits("bits", 4)
    4
    """
    # True is a whole number to Python.
    if isinstance(bits, bool) or not isinstance(bits, Integral) or not 1 <= int(bits) <= MOST_BITS:
        raise InputError(
            f"{name}={bits!r} must be a whole number from 1 to {MOST_BITS}; full precision has no "
            "quantiser"
        )
    return int(bits)


def check_scale(name: str, scale: object) -> float:
    """Return a factor on a number of channels; NumPy's numbers are taken too.

    Args:
        name: what the error calls it.
        scale: the factor.

    Raises:
        InputError: no number, or one that is not above 0 and at most `MOST_SCALE`.

    >>> check_scale("scale", 1)
    1.0
    """
    if isinstance(scale, bool) or not isinstance(scale, Real) or not 0 < float(scale) <= MOST_SCALE:
        raise InputError(
            f"{name}={scale!r} must be a finite number above 0 and at most {MOST_SCALE}, such "
            "as 0.5"
        )
    # As it is written: 1.4 in single precision is a little less in double, and a channel fewer.
    return float(str(scale)) if isinstance(scale, np.floating) else float(scale)
