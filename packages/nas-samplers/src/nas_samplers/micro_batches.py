"""Batches that pass in parts, where all at once do not fit the device."""

import itertools
import math

import numpy as np

__all__ = ["split_batch"]


def split_batch(images: int, micro_batch: int | None) -> list[slice]:
    """Return slices of a batch that pass at once, of nearly equal size and at least two images.

    Args:
        images: of the batch, at least 1.
        micro_batch: images that pass at once, at least 2; None passes the whole batch. A part has
            one image more where norms would see a single one otherwise.

    >>> split_batch(7, 3)
    [slice(0, 2, None), slice(2, 5, None), slice(5, 7, None)]
    >>> split_batch(3, 2)  # norms need two images, so that one part is of three
    [slice(0, 3, None)]
    """
    count = math.ceil(images / (micro_batch or images))
    count = max(min(count, images // 2), 1)
    edges = np.linspace(0, images, count + 1).round().astype(int).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
