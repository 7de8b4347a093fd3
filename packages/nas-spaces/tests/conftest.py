"""Small spaces and tables that several test files look at."""

import os
from pathlib import Path

import numpy as np
import pytest

from nas_spaces import Block, Choice, SearchSpace, Table, Term
from nas_spaces.layers import Classifier, Conv, Identity, MBConv


@pytest.fixture(scope="session")
def plain() -> SearchSpace:
    """Four choices of 3, 4, 2 and 5 options: 120 rows, all networks distinct."""
    sizes = (3, 4, 2, 5)
    return SearchSpace(
        "plain",
        (3, 8, 8),
        [Choice(f"c{i}", range(size)) for i, size in enumerate(sizes)],
        [
            *(
                Block(f"b{i}", [Conv(8, 1 + 2 * k) for k in range(size)], reads=(f"c{i}",))
                for i, size in enumerate(sizes)
            ),
            Block("head", [Classifier(10)]),
        ],
    )


@pytest.fixture(scope="session")
def widths() -> SearchSpace:
    """Two convolutions whose widths are chosen; the second block and the head read them."""
    wide = (8, 16, 24)
    return SearchSpace(
        "widths",
        (3, 8, 8),
        [Choice("w0", wide), Choice("w1", wide), Choice("k1", (3, 5))],
        [
            Block("first", [Conv(w) for w in wide], reads=("w0",)),
            Block(
                "second",
                [Conv(w1, k) for _ in wide for w1 in wide for k in (3, 5)],
                reads=("w0", "w1", "k1"),
            ),
            Block("head", [Classifier(10) for _ in wide], reads=("w1",)),
        ],
    )


@pytest.fixture(scope="session")
def cell() -> SearchSpace:
    """Two branches from one stem, summed: what a cell needs."""
    return SearchSpace(
        "cell",
        (3, 8, 8),
        [Choice("left", ("k3", "skip")), Choice("right", ("k3", "k5"))],
        [
            Block("stem", [Conv(8)]),
            Block("left", [Conv(8, 3), Identity()], reads=("left",)),
            Block("right", [Conv(8, 3), Conv(8, 5)], reads=("right",), inputs=("stem",)),
            Block("sum", [MBConv(16, 3, 2)], inputs=("left", "right")),
            Block("head", [Classifier(5)]),
        ],
    )


@pytest.fixture
def cost(plain) -> Table:
    """Integers with ties, one look-up over two choices: groups {0}, {1, 2}, {3}."""
    rng = np.random.default_rng(1)
    return Table(
        plain,
        "cost",
        "1",
        [
            Term(read, rng.integers(0, 12, [plain.num_options[c] for c in read]))
            for read in [(0,), (1, 2), (3,)]
        ],
        100,
    )


def _reads_of(structure, sizes, rng):
    """Columns read together: choices of their own, a chain, one shared by all, any."""
    columns = range(len(sizes))
    if structure == "independent":
        return [(column,) for column in columns if column != 2]
    if structure == "chain":
        return [(0,), *((column - 1, column) for column in columns[1:])]
    if structure == "shared":
        return [tuple(sorted({column, 3})) for column in columns]
    return [tuple(rng.permutation(len(sizes))[: rng.integers(1, 4)].tolist()) for _ in range(4)]


def random_table(space, structure, kind, reduce, rng):
    """A table of random look-ups, of one structure and of one kind of number."""
    draw = {
        "integer": lambda shape: rng.integers(-6, 12, shape),
        "coarse": lambda shape: 70 * rng.integers(-3, 5, shape),
        "float": lambda shape: 3 * rng.normal(size=shape),
    }[kind]
    terms = [
        Term(read, draw([space.num_options[column] for column in read]))
        for read in _reads_of(structure, space.num_options, rng)
    ]
    constant = 0.25 if kind == "float" else -3
    return Table(space, "cost", "1", terms, constant, reduce=reduce)


@pytest.fixture(scope="session", name="random_table")
def _random_table():
    return random_table


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with data of other projects; tests that need it are skipped without it."""
    beside = Path(__file__).parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("NAS_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set NAS_TEST_DATA to the folder that has it")
    return folder
