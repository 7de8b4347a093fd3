"""Spaces whose candidates share weights, and one thread: more only slow such small networks."""

import numpy as np
import pytest
import torch

from nas_spaces import Block, Choice, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, Identity, MBConv, Pool, Zero


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shared_expansions() -> SearchSpace:
    """Blocks whose expansions 3 and 6 share weights; kernels 3 and 5 have their own."""
    options = [(k, e) for k in (3, 5) for e in (3, 6)]
    return SearchSpace(
        "shared-expansions",
        (3, 8, 8),
        [Choice("a", options), Choice("b", options)],
        [
            Block("stem", [Conv(8)]),
            Block("a", [MBConv(8, k, expand=e) for k, e in options], ("a",), shares=("expand",)),
            Block("b", [MBConv(12, k, 2, expand=e) for k, e in options], ("b",), None, ("expand",)),
            Block("head", [Classifier(5)]),
        ],
    )


def shared_widths() -> SearchSpace:
    """Widths that share weights; a block reads the width of the block before it."""
    wide = (8, 16, 24)
    return SearchSpace(
        "shared-widths",
        (3, 8, 8),
        [Choice("w0", wide), Choice("w1", wide), Choice("k1", (3, 5))],
        [
            Block("first", [Conv(w) for w in wide], ("w0",), shares=("out",)),
            Block(
                "second",
                [MBConv(w1, k, expand=2) for _ in wide for w1 in wide for k in (3, 5)],
                ("w0", "w1", "k1"),
                shares=("out",),
            ),
            # As "linear" flattens what enters it, its first features are the first channels.
            Block("head", [Classifier(5) for _ in wide], ("w1",), shares=("classes",)),
        ],
    )


def branches() -> SearchSpace:
    """Three branches of one stem with a sum; identities and zeros among the candidates."""
    options = [Conv(8, 3), Identity(), Zero(), Pool("average"), Pool("max")]
    names = ("conv", "identity", "zero", "average", "max")
    return SearchSpace(
        "branches",
        (3, 8, 8),
        [Choice("left", names), Choice("right", names)],
        [
            Block("stem", [Conv(8)]),
            Block("left", list(options), ("left",)),
            Block("right", list(options), ("right",), inputs=("stem",)),
            Block("sum", [MBConv(16, 3, 2, expand=2)], inputs=("left", "right", "stem")),
            Block("head", [Classifier(5)]),
        ],
    )


@pytest.fixture(scope="session", name="shared_widths")
def _shared_widths() -> SearchSpace:
    return shared_widths()


SPACES = {
    "digits-mobile": lambda: published.load("digits-mobile"),
    "nas-bench-macro": lambda: published.load("nas-bench-macro", resolution=16),
    "spos-shufflenet": lambda: published.load("spos-shufflenet", resolution=64, classes=10),
    "shared-expansions": shared_expansions,
    "shared-widths": shared_widths,
    "branches": branches,
}


@pytest.fixture(scope="session", params=list(SPACES))
def space(request) -> SearchSpace:
    return SPACES[request.param]()


@pytest.fixture
def archs(space):
    """Four architectures: the first and last options, and two at random."""
    last = np.array(space.num_options) - 1
    rows = space.sample(2, rng=np.random.default_rng(3))
    return np.concatenate([np.stack([last * 0, last]), rows])


@pytest.fixture
def images(space):
    """Six images, not on a scale that hides what a norm does."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn((6, *space.input_shape), generator=generator) * 2 + 0.5
