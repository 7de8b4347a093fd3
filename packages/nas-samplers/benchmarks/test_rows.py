"""A step of K rows weighed by their posterior against a step of one: memory by count, and time.

Memory: what graphs keep for their backward pass at once (activations), and the bytes of all
tensors alive at once, counted as operations make and free them (weights and images left out;
gradients, which any number of rows has to keep, are in it). K rows are the largest path K times,
against that path once; and K random rows, against the largest of them alone.
Time: the median of paired ratios to a step of the same rows that count 1 / K each.
"""

import time
import weakref

import numpy as np
import pytest
import torch

from nas_samplers import Optimiser, Phase, load_data, mean_rows, posterior_rows, train
from nas_spaces import published
from nas_spaces.torch import Supernet

ROWS, ROUNDS, WARM_UP = 14, 5, 1
CASES = {"mobilenet-21": (32, 16), "fbnetv2-f": (64, 16)}  # pixels, images a step
CPU = torch.device("cpu")
PLAIN = Optimiser(lr=0.01, momentum=0.0)


pytestmark = pytest.mark.usefixtures("one_thread")


class Graphs:
    """Counts the bytes that graphs keep for their backward pass, weights left out."""

    def __init__(self):
        self.now = self.peak = 0
        self.holders = {}

    def pack(self, x):
        if isinstance(x, torch.nn.Parameter):
            return x
        storage = x.untyped_storage()
        place = storage.data_ptr()
        # Several operations keep the same activation.
        size = 0 if self.holders.get(place) else storage.nbytes()
        self.holders[place] = self.holders.get(place, 0) + 1
        self.now += size
        self.peak = max(self.peak, self.now)
        kept = x.detach()
        weakref.finalize(kept, self.free, place, storage.nbytes())
        return kept

    def free(self, place, size):
        self.holders[place] -= 1
        if not self.holders[place]:
            self.now -= size


class Given:
    """A sampler of the same rows again and again."""

    def __init__(self, rows):
        self.rows = np.asarray(rows)

    def ask(self):
        return self.rows

    def state_dict(self):
        return {}


class Setting:
    """A supernet, images, and steps on given rows."""

    def __init__(self, name, peak):
        self.peak = peak
        resolution, self.batch = CASES[name]
        self.space = published.load(name, resolution=resolution, classes=10)
        self.images = load_data("synthetic", resolution=resolution, device="cpu", seed=0).train
        self.network = Supernet(self.space, generator=torch.Generator().manual_seed(0))
        self.largest = np.array(self.space.num_options) - 1

    def train(self, rows, weigh, steps=1):
        phase = Phase("step", Given(rows), steps, PLAIN, self.batch, weigh=weigh)
        train(self.network, [phase], self.images, seed=0, device=CPU, log_every=1000)

    def tensors(self, rows, weigh):
        return self.peak(lambda: self.train(rows, weigh))

    def activations(self, rows, weigh):
        graphs = Graphs()
        hooks = torch.autograd.graph.saved_tensors_hooks(graphs.pack, lambda x: x)
        with hooks:
            self.train(rows, weigh)
        return graphs.peak


@pytest.mark.parametrize("name", list(CASES))
def test_memory_is_that_of_one_row(name, peak):
    setting = Setting(name, peak)
    many = setting.space.sample(ROWS, rng=np.random.default_rng(0))
    pairs = {
        f"the largest path {ROWS} times": ([setting.largest], [setting.largest] * ROWS),
        f"{ROWS} random rows": (many, many),
    }
    print(f"\n{name}: MiB of one row, of {ROWS} rows, ratio")
    for what, (alone, rows) in pairs.items():
        for kind, count in (("activations", setting.activations), ("tensors", setting.tensors)):
            one = max(count([row], posterior_rows()) for row in alone)
            ours, mean = (count(rows, weigh) for weigh in (posterior_rows(), mean_rows))
            print(
                f"  {what:26s} {kind:12s} {one / 2**20:8.2f} {ours / 2**20:8.2f} {ours / one:.3f}"
                f"  (mean_rows {mean / one:.3f})"
            )
            if kind == "activations":
                assert ours <= 1.1 * one


@pytest.mark.parametrize("name", list(CASES))
def test_time_against_rows_that_count_alike(name, peak):
    setting = Setting(name, peak)
    rows = setting.space.sample(ROWS, rng=np.random.default_rng(0))

    def timed(weigh):
        begun = time.perf_counter()
        setting.train(rows, weigh)
        return time.perf_counter() - begun

    ratios = [timed(posterior_rows()) / timed(mean_rows) for _ in range(ROUNDS + WARM_UP)]
    low, middle, high = np.percentile(ratios[WARM_UP:], [25, 50, 75])
    print(
        f"\n{name}: step of {ROWS} rows, posterior / mean: {middle:.3f} ({low:.3f} to {high:.3f})"
    )
