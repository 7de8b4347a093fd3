"""Small spaces and images, and one thread: more only slow such small networks."""

import numpy as np
import pytest
import torch

from nas_samplers import load_data
from nas_spaces import Block, Choice, SearchSpace
from nas_spaces.layers import Classifier, Conv, Identity, MBConv
from nas_spaces.torch import Supernet

CPU = torch.device("cpu")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data():
    """Images of 3 x 8 x 8 in 10 classes: 410 to train on, 102 held out, 128 to test on."""
    return load_data("synthetic", resolution=8, device=CPU, seed=0)


@pytest.fixture(scope="session")
def space():
    """Three choices in two groups, 18 rows, with dropout: it shows what a training does wrong."""
    candidates = [MBConv(8, 3, expand=2), MBConv(8, 5, expand=1), Identity()]
    names = ("k3", "k5", "skip")
    return SearchSpace(
        "tiny",
        (3, 8, 8),
        [
            Choice("a", names, group="ab"),
            Choice("b", names, group="ab"),
            Choice("c", ("k1", "k3")),
        ],
        [
            Block("stem", [Conv(8)]),
            Block("a", list(candidates), ("a",)),
            Block("b", list(candidates), ("b",)),
            Block("c", [Conv(16, 1, 2), Conv(16, 3, 2)], ("c",)),
            Block("head", [Classifier(10, dropout=0.2)]),
        ],
    )


@pytest.fixture(scope="session")
def supernet():
    """A function that builds a supernet in training mode."""

    def build(space, seed=0):
        return Supernet(space, generator=torch.Generator().manual_seed(seed)).train()

    return build


@pytest.fixture(scope="session")
def batch():
    """A function that draws images and labels for a space."""

    def draw(space, n=8, seed=0):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn((n, *space.input_shape), generator=generator)
        return images, torch.randint(0, space.num_classes, (n,), generator=generator)

    return draw


class Rows:
    """A sampler that goes round given lists of rows; its place is its state."""

    def __init__(self, *steps):
        self.steps = [np.array(rows, dtype=np.int64) for rows in steps]
        self.place = 0

    def ask(self):
        rows = self.steps[self.place % len(self.steps)]
        self.place += 1
        return rows

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


@pytest.fixture(scope="session")
def rows_sampler():
    return Rows


@pytest.fixture(scope="session")
def grouped():
    """A function that builds a space of given groups of sizes, for arithmetic with rows."""

    def build(*groups):
        choices = [
            Choice(f"g{number}_{place}", range(size), group=f"g{number}")
            for number, sizes in enumerate(groups)
            for place, size in enumerate(sizes)
        ]
        blocks = [Block(one.name, [Identity()] * len(one.options), (one.name,)) for one in choices]
        return SearchSpace("grouped", (3, 8, 8), choices, [*blocks, Block("head", [Classifier(2)])])

    return build
