"""Which images a batch holds, and how each is augmented, as functions of (seed, epoch, sample).

Nothing here keeps state, so a stream of batches can be begun at any step, in any process.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nas_samplers.validators import check_number
from nas_spaces import InputError

__all__ = ["check_batches", "fixed_order", "sample_bits", "split_by_class", "training_order"]

_WORD = (1 << 64) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Generators of different purposes never share a stream, though they share a seed.
_EPOCH_STREAM, _FIXED_STREAM = 1, 2


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words: the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def sample_bits(
    seed: int, epochs: NDArray[np.int64], samples: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return uint64 ``[b]``: random bits that depend only on the seed, each epoch and sample.

    Args:
        seed: any integer.
        epochs: int64 ``[b]``.
        samples: int64 ``[b]``, positions in the split.
    """
    state = _mix(np.array([seed & _WORD], dtype=np.uint64))
    state = _mix(state + _GOLDEN * (epochs.astype(np.uint64) + np.uint64(1)))
    return _mix(state + _GOLDEN * (samples.astype(np.uint64) + np.uint64(1)))


def check_batches(batch_size: int, seed: int | None, first_step: int = 0) -> None:
    """Refuse numbers that no stream of batches can have.

    Raises:
        InputError: a batch size below one, a negative seed or a negative step.
    """
    check_number("batch_size", batch_size, least=1, whole=True)
    if seed is not None:
        check_number("seed", seed, least=0, whole=True)
    check_number("first_step", first_step, least=0, whole=True)


def training_order(
    size: int, *, batch_size: int, seed: int, first_step: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield for ever (epochs ``[b]``, samples ``[b]``) of the batches from ``first_step`` on.

    The stream is one permutation of ``size`` samples after the other; step ``s`` is its
    positions ``[s * b, (s + 1) * b)``, which may reach over the end of an epoch.
    """
    epoch, place = divmod(first_step * batch_size, size)
    order = _permutation(size, seed, epoch)
    while True:
        epochs = np.empty(batch_size, dtype=np.int64)
        samples = np.empty(batch_size, dtype=np.int64)
        filled = 0
        while filled < batch_size:
            if place == size:
                epoch, place = epoch + 1, 0
                order = _permutation(size, seed, epoch)
            taken = min(batch_size - filled, size - place)
            epochs[filled : filled + taken] = epoch
            samples[filled : filled + taken] = order[place : place + taken]
            filled, place = filled + taken, place + taken
        yield epochs, samples


def _permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    rng = np.random.default_rng((_EPOCH_STREAM, seed, epoch))
    return rng.permutation(size).astype(np.int64, copy=False)


def fixed_order(
    size: int, batch_size: int, *, count: int | None, seed: int | None
) -> list[NDArray[np.int64]]:
    """Return the samples of each fixed batch: in order, or of a seeded subset in full batches.

    Raises:
        InputError: ``count`` batches hold more samples than there are.
    """
    check_batches(batch_size, seed)
    if count is not None:
        check_number("count", count, least=1, whole=True)
    if count is not None and count * batch_size > size:
        raise InputError(
            f"count={count} batches of batch_size={batch_size} need {count * batch_size} images; "
            f"the split has {size}: lower one of them"
        )
    if seed is None:
        order = np.arange(size, dtype=np.int64)
        batches = -(-size // batch_size) if count is None else count
    else:
        rng = np.random.default_rng((_FIXED_STREAM, seed))
        order = rng.permutation(size).astype(np.int64, copy=False)
        batches = size // batch_size if count is None else count
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(batches)]


def split_by_class(
    labels: NDArray[np.int64],
    count: int,
    *,
    rng: np.random.Generator,
    least: int = 1,
    keep: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (taken, left): ``count`` positions drawn in proportion to the classes, and the rest.

    Args:
        labels: int64 ``[n]``.
        count: how many to take; classes at their bounds may make it a few more or fewer.
        rng: where the draws come from.
        least: at least so many of each class are taken (or all, where a class has fewer).
        keep: so many of each class are left.

    Both results are int64 and ascending. Whoever calls has made sure that each class has more
    than ``keep`` images.

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> taken, left = split_by_class(labels, 3, rng=np.random.default_rng(0))
    >>> np.bincount(labels[taken]), np.bincount(labels[left])
    (array([2, 1]), array([2, 1]))
    """
    present, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes / len(labels)
    most = sizes - keep
    low = np.minimum(least, most)
    quota = np.clip(np.floor(exact).astype(np.int64), low, most)
    while quota.sum() < count and (quota < most).any():
        quota[np.argmax(np.where(quota < most, exact - quota, -np.inf))] += 1
    while quota.sum() > count and (quota > low).any():
        quota[np.argmin(np.where(quota > low, exact - quota, np.inf))] -= 1
    mask = np.zeros(len(labels), dtype=bool)
    for value, number in zip(present, quota, strict=True):
        mask[rng.permutation(np.flatnonzero(labels == value))[:number]] = True
    return np.flatnonzero(mask), np.flatnonzero(~mask)
