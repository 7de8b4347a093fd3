import csv
import itertools

import numpy as np
import pytest

from nas_spaces import InputError, published

FULL = "nas-bench-201"
# What a row of the benchmark looks like, in the order of the columns.
TEXT = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SIZES = {
    FULL: (5, 15_625),
    "nas-bench-201-reduce-1": (4, 4096),
    "nas-bench-201-reduce-2": (4, 4096),
    "nas-bench-201-reduce-3": (3, 729),
}


def rows_of(space):
    return np.array(list(itertools.product(*map(range, space.num_options))))


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_sizes_and_operations(name, size):
    space = published.load(name)
    assert (space.num_options, space.size) == ((size[0],) * 6, size[1])
    (operations,) = {choice.options for choice in space.choices}
    left_out = {
        "1": {"nor_conv_1x1"},
        "2": {"avg_pool_3x3"},
        "3": {"nor_conv_1x1", "avg_pool_3x3"},
    }.get(name[-1] if "reduce" in name else "", set())
    assert operations == tuple(one for one in OPERATIONS if one not in left_out)


def test_every_row_is_written_as_in_the_benchmark():
    space = published.load(FULL)
    for row in rows_of(space):
        text = TEXT.format(*(OPERATIONS[option] for option in row))
        assert space.notate(row) == text
        assert (space.parse(text) == row).all()


def test_the_benchmark_holds_the_texts_of_all_rows(data):
    with (data / "nas-bench-201.csv").open(encoding="utf-8") as file:
        texts = [record["architecture"] for record in csv.DictReader(file)]
    space = published.load(FULL)
    rows = np.array([space.parse(text) for text in texts])
    assert len(np.unique(rows, axis=0)) == len(texts) == space.size
    assert [space.notate(row) for row in rows] == texts


def test_an_unknown_operation_names_the_nearest():
    text = TEXT.format(*["nor_conv_1x1"] * 4, "nor_conv_3x2", "none")
    with pytest.raises(InputError) as error:
        published.load(FULL).parse(text)
    assert str(error.value) == (
        f"architecture '{text}' is not written as '{TEXT.replace('{}', '{option}')}': choice "
        "'node3_from1' has no option 'nor_conv_3x2'; did you mean 'nor_conv_3x3'? valid: "
        "avg_pool_3x3, none, nor_conv_1x1, nor_conv_3x3, skip_connect"
    )


def test_the_skeleton_of_the_benchmark():
    space = published.load(FULL, classes=120, resolution=16)
    placed = space.layers([3] * 6)
    shapes = [layer.out_shape for layer in placed]
    # 5 cells of 6 edges and a sum in each of three stages, and what is around them.
    expected = [(16, 16, 16)] * (1 + 35) + [(32, 8, 8)] * (1 + 35) + [(64, 4, 4)] * (1 + 36)
    assert shapes == [*expected, (120, 1, 1)]
    cell = {layer.block.removeprefix("stage1_cell0_"): i for i, layer in enumerate(placed[:8])}
    sources = {
        name: [placed[i].block.removeprefix("stage1_cell0_") for i in space.plan[at].sources]
        for name, at in cell.items()
        if at
    }
    assert sources == {
        "node1_from0": ["stem"],
        "node2_from0": ["stem"],
        "node2_from1": ["node1_from0"],
        "node3_from0": ["stem"],
        "node3_from1": ["node1_from0"],
        "node3_from2": ["node2_from0", "node2_from1"],
        "node3": ["node3_from0", "node3_from1", "node3_from2"],
    }


def test_resolutions_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(InputError) as error:
        published.load("nas-bench-201-reduce-3", resolution=30)
    assert str(error.value) == (
        "space 'nas-bench-201-reduce-3': resolution=30 must be a multiple of 4"
    )


def isomorphism(row, names):
    """The benchmark's text for a cell up to isomorphism, with other names of its operations."""
    nodes = {0: "0"}
    edges = iter(row)
    for node in range(1, 4):
        terms = []
        for source in range(node):
            name = names[next(edges)]
            if name == "none" or nodes[source] == "#":
                terms.append("#")
            elif name == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{name}")
        nodes[node] = "+".join(sorted(terms))
    return nodes[3]


# Which sums of sums it finds equal depends on the order of the operations, their number does not:
# texts are sorted by name, rows by what comes first among the options.
NAMES = {
    "none": "none",
    "skip_connect": "skip_connect",
    "nor_conv_1x1": "c",
    "nor_conv_3x3": "b",
    "avg_pool_3x3": "a",
}


@pytest.mark.parametrize(
    ("name", "unique"),
    [
        (FULL, 6466),
        ("nas-bench-201-reduce-1", 1236),
        ("nas-bench-201-reduce-2", 1236),
        ("nas-bench-201-reduce-3", 127),
    ],
)
def test_canonical_rows_are_the_unique_cells_of_the_benchmark(name, unique):
    space = published.load(name)
    operations = space.choices[0].options
    rows = rows_of(space)
    canonical = space.canonical(rows)
    assert len(np.unique(canonical, axis=0)) == unique
    assert (space.canonical(canonical) == canonical).all()
    keys = [tuple(row) for row in canonical.tolist()]
    for names in (operations, [NAMES[operation] for operation in operations]):
        texts = [isomorphism(row, names) for row in rows.tolist()]
        assert len(set(texts)) == unique
    assert len(set(zip(texts, keys, strict=True))) == unique


def test_a_canonical_row_has_the_fewest_convolutions_of_its_cells():
    space = published.load(FULL)
    rows = rows_of(space)
    canonical = space.canonical(rows)
    # A kernel of 3 has nine times the multiply-adds of a kernel of 1, more than six edges of it.
    weight = (rows == 2).sum(axis=1) + 9 * (rows == 3).sum(axis=1)
    least = (canonical == 2).sum(axis=1) + 9 * (canonical == 3).sum(axis=1)
    assert (least <= weight).all()
    assert (least < weight).sum() == 5138
    # An edge into a node that nothing reads, a convolution of zeros, and one of two equal ones.
    for text, other in (
        ((3, 1, 0, 2, 0, 0), (0, 0, 0, 2, 0, 0)),
        ((0, 1, 3, 2, 3, 1), (0, 1, 1, 2, 1, 1)),
    ):
        assert (space.canonical([text]) == space.canonical([other])).all()
