"""Networks that are trained from scratch, and those that the setting ``references`` names."""

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray

from nas_cli.space_names import bits_text, parse_bits
from nas_spaces import InputError, SearchSpace
from nas_spaces.checks import MOST_BITS
from nas_spaces.vary import uniform_bits, usual_channels

__all__ = ["REFERENCES", "NetworkAlone", "check_reference", "reference"]


CHANNELS = "channels"

_BITS = range(1, MOST_BITS + 1)
REFERENCES = {CHANNELS, *(bits_text(weights, inputs) for weights in _BITS for inputs in _BITS)}
"""What a reference can be, whatever the space."""


@frozen(eq=False)
class NetworkAlone:
    """A network to train from scratch.

    ``name``: what it is called. ``network``: it, a space with no choice. ``arch``: its row int
    ``[d]`` in the run's space, None for one that is not in it. ``supernet_error``: the share of
    wrong answers with the supernet's weights, None where it was not asked.
    """

    name: str
    network: SearchSpace
    arch: NDArray[np.int64] | None = None
    supernet_error: float | None = None


def reference(space: SearchSpace, arch: ArrayLike, name: str) -> NetworkAlone:
    """Return a network with the blocks of an architecture.

    Args:
        space: the run's.
        arch: a row int ``[d]``.
        name: ``channels``: with the channels that its blocks have unscaled; ``3w3a``, ``2w4a``
            and such: with these and so many bits of weights and of activations in every block.

    Raises:
        InputError: a space whose layers cannot be changed so.
    """
    try:
        if name == CHANNELS:
            usual = usual_channels(space, arch)
            return NetworkAlone(name, space.fix(usual), usual)
        bits = parse_bits(name)
        assert bits is not None  # the setting is checked
        return NetworkAlone(name, uniform_bits(space, arch, bits))
    except InputError as error:
        raise InputError(f"references={name}: {error}; leave it out of references") from error


def check_reference(space: SearchSpace, name: str) -> None:
    """Refuse a reference that no architecture of ``space`` has.

    Raises:
        InputError: why it has none.
    """
    reasons = []
    # Some option may be one that cannot be changed, such as an identity.
    for option in range(max(space.num_options, default=1)):
        try:
            reference(space, [min(option, size - 1) for size in space.num_options], name)
        except InputError as error:
            reasons.append(error)
        else:
            return
    raise reasons[0]
