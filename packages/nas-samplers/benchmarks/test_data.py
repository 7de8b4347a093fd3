"""Batches of augmented 32x32 images: one tensor with windows, against DataLoader and transforms.

Both give crops after padding by 4, mirrored half of the time and normalised. They take turns, so
that whatever else the machine does meets both; the figure is the median of the paired ratios.
Ours has one thread: with more, on a machine with other work, the scheduler is what is measured.
"""

import itertools
import statistics
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from nas_samplers.data import load_data

BATCH, ROUNDS = 128, 9
OURS, THEIRS = 200, 30  # batches a turn
AHEAD = 4  # batches: what two workers read ahead
IMAGES = 50_000


class _Images(Dataset):
    def __init__(self, images, labels, mean, std):
        self.images, self.labels = images, labels
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(mean, std),
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.labels[index]


def _images_a_second(stream, batches):
    begun = time.perf_counter()
    for images, _ in itertools.islice(stream, batches):
        assert images.shape == (BATCH, 3, 32, 32)
    return BATCH * batches / (time.perf_counter() - begun)


@pytest.fixture
def source(monkeypatch):
    """As many images as CIFAR-10 has, of noise: the pixels do not matter to the clock."""
    from nas_samplers import data_sources

    rng = np.random.default_rng(0)
    rows = np.arange(IMAGES, dtype=np.int64)
    made = data_sources.Source(
        "noise",
        tuple("abcdefghij"),
        rng.integers(0, 256, (IMAGES + 100, 3, 32, 32), dtype=np.uint8),
        np.arange(IMAGES + 100, dtype=np.int64) % 10,
        rows,
        None,
        np.arange(IMAGES, IMAGES + 100, dtype=np.int64),
        flip=True,
    )
    monkeypatch.setattr("nas_samplers.data.read_source", lambda *_, **__: made)
    return made


def test_augmented_batches_against_transforms(source, one_thread, benchmark):
    data = load_data("noise", resolution=32, device="cpu", seed=0)
    ours = data.train_and_held_out.training_batches(batch_size=BATCH, seed=0)
    reference = _Images(
        torch.from_numpy(source.images[:IMAGES]), source.labels.tolist(), data.mean, data.std
    )
    loader = iter(DataLoader(reference, batch_size=BATCH, shuffle=True, num_workers=2))
    pairs = []
    for _ in range(ROUNDS + 1):
        mine = _images_a_second(ours, OURS)
        # What was read ahead before its turn does not count for the loader, and reading ahead
        # after it does not slow ours down.
        _images_a_second(loader, AHEAD)
        theirs = _images_a_second(loader, THEIRS)
        time.sleep(0.3)
        pairs.append((mine, theirs))
    pairs = pairs[1:]  # the first turn warms up
    benchmark.pedantic(lambda: next(ours), rounds=50)
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    benchmark.extra_info.update(
        ratio=ratio, images_a_second=mine, images_a_second_by_transforms=theirs
    )
    print(f"\n{mine:,.0f} images/s, transforms v2 with 2 workers {theirs:,.0f}; ratio {ratio:.1f}")
    assert ratio >= 10
