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

import numpy as np
from numpy.typing import NDArray

from nas_spaces.errors import InputError, nearest
from nas_spaces.published import digits_mobile, nas_bench_macro, spos
from nas_spaces.space import SearchSpace

__all__ = ["ARCHITECTURES", "SPACES", "architecture", "load"]

SPACES: dict[str, Callable[..., SearchSpace]] = {
    "digits-mobile": digits_mobile.digits_mobile,
    "nas-bench-macro": nas_bench_macro.nas_bench_macro,
    "spos-shufflenet": spos.spos_shufflenet,
}

ARCHITECTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    **{name: ("spos-shufflenet", arch) for name, arch in spos.ARCHITECTURES.items()},
    **{name: ("nas-bench-macro", arch) for name, arch in nas_bench_macro.ARCHITECTURES.items()},
}
"""Name -> (space, row)."""


def load(name: str, **options: int) -> SearchSpace:
    """Return a published space.

    Args:
        name: one of `SPACES`.
        options: ``classes``, ``resolution``, ``in_channels``; the paper's where left out.

    Raises:
        InputError: an unknown name or option, or a value that the space cannot have.
    """
    if name not in SPACES:
        raise InputError(f"space {name!r} is unknown: {nearest(name, SPACES)}")
    known = inspect.signature(SPACES[name]).parameters
    for option, value in options.items():
        if option not in known:
            raise InputError(f"space {name!r} has no option {option!r}: {nearest(option, known)}")
        if value < 1:
            raise InputError(f"space {name!r}: {option}={value} must be at least 1")
    return SPACES[name](**options)


def architecture(name: str, **options: int) -> tuple[SearchSpace, NDArray[np.int64]]:
    """Return a published architecture: its space and its row int64 ``[d]``.

    Raises:
        InputError: an unknown name.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"architecture {name!r} is unknown: {nearest(name, ARCHITECTURES)}")
    space_name, arch = ARCHITECTURES[name]
    return load(space_name, **options), np.array(arch, dtype=np.int64)
