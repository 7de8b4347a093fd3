"""Networks that a winner is compared with, by the names that the setting ``references`` has."""

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces import InputError, SearchSpace
from nas_spaces.vary import uniform_bits, usual_channels

__all__ = ["Reference", "reference"]


@frozen(eq=False)
class Reference:
    """A network to train from scratch.

    ``name``: what it is called. ``network``: it, a space with no choice. ``arch``: its row int
    ``[d]`` in the run's space, None for one that is not in it.
    """

    name: str
    network: SearchSpace
    arch: NDArray[np.int64] | None = None


def reference(space: SearchSpace, arch: ArrayLike, name: str) -> Reference:
    """Return a network with the blocks of an architecture.

    Args:
        space: the run's.
        arch: a row int ``[d]``.
        name: ``widths``: with the channels that its blocks have unscaled; ``3w3a`` and such: with
            these and so many bits of weights and activations everywhere.

    Raises:
        InputError: a space whose layers cannot be changed so.
    """
    try:
        if name == "widths":
            usual = usual_channels(space, arch)
            return Reference(name, space.fix(usual), usual)
        return Reference(name, uniform_bits(space, arch, int(name.partition("w")[0])))
    except InputError as error:
        raise InputError(f"references={name}: {error}; leave it out of references") from error
