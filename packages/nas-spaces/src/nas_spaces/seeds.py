"""Seeds derived from one seed, so that every use of randomness has a stream of its own."""

import numpy as np

__all__ = ["derive_seed"]


def derive_seed(seed: int, *path: int) -> int:
    """Return a seed in ``0..2**63 - 1`` for one use of ``seed``.

    >>> derive_seed(0, 1) != derive_seed(0, 2)
    True
    """
    sequence = np.random.SeedSequence(seed, spawn_key=path)
    return int(sequence.generate_state(1, np.uint64)[0]) >> 1
