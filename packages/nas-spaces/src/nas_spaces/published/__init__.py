"""Search spaces from papers, and the architectures that the papers published, by name.

>>> space = load("spos-shufflenet")
>>> space.num_choices, f"{space.size:.3g}"
(20, '1.1e+12')
>>> space, arch = architecture("spos-readme")
>>> space.format(arch)
'2,1,0,1,2,0,2,0,2,0,2,3,0,0,0,0,3,2,3,3'
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_spaces.errors import InputError, nearest
from nas_spaces.published import (
    betanas,
    digits_mobile,
    fairnas,
    fbnet,
    fbnetv2,
    fp_nas,
    mnasnet,
    mobilenet,
    nas_bench_201,
    nas_bench_macro,
    ponas,
    resnet,
    shufflenet_v2,
    spos,
)
from nas_spaces.space import SearchSpace

__all__ = ["ARCHITECTURES", "NETWORKS", "SPACES", "architecture", "load"]

SPACES: dict[str, Callable[..., SearchSpace]] = {
    **betanas.SPACES,
    **digits_mobile.SPACES,
    **fairnas.SPACES,
    **fbnetv2.SPACES,
    **fp_nas.SPACES,
    **mnasnet.SPACES,
    **mobilenet.SPACES,
    **nas_bench_201.SPACES,
    **nas_bench_macro.SPACES,
    **ponas.SPACES,
    **resnet.SPACES,
    **spos.SPACES,
}
"""Name -> function that builds the search space."""

NETWORKS: dict[str, Callable[..., SearchSpace]] = {
    **fbnet.NETWORKS,
    **fbnetv2.NETWORKS,
    **mnasnet.NETWORKS,
    **mobilenet.NETWORKS,
    **resnet.NETWORKS,
    **shufflenet_v2.NETWORKS,
}
"""Name -> function that builds a network that is in none of the spaces: a space with no choice."""

ARCHITECTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    **fairnas.ARCHITECTURES,
    **mobilenet.ARCHITECTURES,
    **nas_bench_macro.ARCHITECTURES,
    **ponas.ARCHITECTURES,
    **spos.ARCHITECTURES,
    **{name: (name, ()) for name in NETWORKS},
}
"""Name -> (space, row)."""


def load(name: str, **options: Any) -> SearchSpace:
    """Return a published space, or a published network as a space with no choice.

    Args:
        name: one of `SPACES` or `NETWORKS`.
        options: ``classes``, ``resolution``, ``in_channels``, and what else the function of that
            name takes; the paper's where left out.

    Raises:
        InputError: an unknown name or option, or a value that the space cannot have.
    """
    builders = {**SPACES, **NETWORKS}
    if name not in builders:
        raise InputError(f"space {name!r} is unknown: {nearest(name, builders)}")
    known = inspect.signature(builders[name]).parameters
    for option, value in options.items():
        if option not in known:
            raise InputError(f"space {name!r} has no option {option!r}: {nearest(option, known)}")
        if option in ("classes", "resolution", "in_channels") and value < 1:
            raise InputError(f"space {name!r}: {option}={value} must be at least 1")
    return builders[name](**options)


def architecture(name: str, **options: Any) -> tuple[SearchSpace, NDArray[np.int64]]:
    """Return a published architecture: its space and its row int64 ``[d]``.

    Raises:
        InputError: an unknown name.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"architecture {name!r} is unknown: {nearest(name, ARCHITECTURES)}")
    space_name, arch = ARCHITECTURES[name]
    return load(space_name, **options), np.array(arch, dtype=np.int64)
