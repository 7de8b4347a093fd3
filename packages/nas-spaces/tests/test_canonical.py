"""Rows that build the same network have one canonical row, which builds it too."""

import itertools

import numpy as np
import pytest

from nas_spaces import Block, Choice, InputError, SearchSpace, Table, published
from nas_spaces.layers import Classifier, Conv, Identity, Pool, ReluConvNorm, Skip, Zero
from nas_spaces.primitives import Convolution, Zeros

HEAD = Block("head", [Classifier(10)])


def rows_of(space):
    return np.array(list(itertools.product(*map(range, space.num_options))))


def built(space, arch):
    """What a chain of blocks builds: its layers with their shapes, identities left out."""
    return [(placed.layer, placed.in_shape) for placed in space.layers(arch) if placed.graph]


def number_of_networks(space, rows):
    return len({str(built(space, row)) for row in rows})


def number_of_rows(rows):
    return len(np.unique(rows, axis=0))


# Options without effect, identities in runs.


def test_nas_bench_macro_has_3969_networks():
    space = published.load("nas-bench-macro")
    rows = rows_of(space)
    canonical = space.canonical(rows)
    assert len(rows) == 6561
    assert number_of_rows(canonical) == 3969
    assert (space.canonical(canonical) == canonical).all()
    for row, other in zip(rows[::7], canonical[::7], strict=True):
        assert built(space, row) == built(space, other)
    # Identities go to the end of their stage, past all but its first layer, which is no identity.
    assert space.notate(space.canonical([space.parse("21002102")])[0]) == "21020120"


# Of spaces that differ in options alone the smallest one; the others take seconds.
ALIKE = ("fbnetv2-f++", "fp-nas-l1", "fp-nas-l2")
CHAINS = [
    name
    for name in published.SPACES
    if name not in ALIKE
    and all(plan.sources == (i - 1,) for i, plan in enumerate(published.load(name).plan))
]


@pytest.mark.parametrize("name", CHAINS)
def test_canonical_rows_agree_where_the_networks_do(name):
    space = published.load(name)
    rng = np.random.default_rng(0)
    rows = space.sample(25, rng=rng)
    # Neighbours of each row: one option changed, and what two columns say exchanged.
    changed = np.repeat(rows, 2, axis=0)
    for row in changed[::2]:
        column = rng.integers(space.num_choices)
        row[column] = rng.integers(space.num_options[column])
    for row in changed[1::2]:
        column = rng.integers(space.num_choices - 1)
        if space.num_options[column] == space.num_options[column + 1]:
            row[column : column + 2] = row[column + 1 : column - 1 if column else None : -1]
    canonical, others = np.repeat(space.canonical(rows), 2, axis=0), space.canonical(changed)
    for row, one, other in zip(np.repeat(rows, 2, axis=0), canonical, others, strict=True):
        assert built(space, row) == built(space, one)
        assert (built(space, one) == built(space, other)) == (one == other).all()


def test_equal_layers_become_the_first():
    space = SearchSpace(
        "twins",
        (3, 8, 8),
        [Choice("c", ("a", "b", "a again"))],
        [Block("b", [Conv(8, 3), Conv(8, 5), Conv(8, 3)], reads=("c",)), HEAD],
    )
    assert space.canonical([[0], [1], [2]]).tolist() == [[0], [1], [0]]


def test_options_of_a_block_that_is_skipped_have_no_effect():
    skip = Skip(8)
    space = SearchSpace(
        "skipped",
        (8, 8, 8),
        [Choice("kind", ("skip", "conv")), Choice("kernel", (3, 5)), Choice("group", (1, 2))],
        [
            Block(
                "b",
                [skip] * 4 + [Conv(8, k, groups=g) for k in (3, 5) for g in (1, 2)],
                reads=("kind", "kernel", "group"),
            ),
            HEAD,
        ],
    )
    canonical = space.canonical(rows_of(space)).tolist()
    assert canonical == [[0, 0, 0]] * 4 + rows_of(space)[4:].tolist()


def test_an_option_counts_where_any_of_its_blocks_has_another_layer():
    space = SearchSpace(
        "shared",
        (8, 8, 8),
        [Choice("c", (0, 1, 2))],
        [
            Block("a", [Conv(8, 3), Conv(8, 3), Conv(8, 5)], reads=("c",)),
            Block("b", [Conv(8, 3), Conv(8, 5), Conv(8, 5)], reads=("c",)),
            HEAD,
        ],
    )
    assert space.canonical([[0], [1], [2]]).tolist() == [[0], [1], [2]]


def test_nothing_built_is_equal_whatever_builds_it():
    space = SearchSpace(
        "nothing",
        (8, 8, 8),
        [Choice("c", (0, 1, 2))],
        [Block("b", [Conv(8), Skip(8), Identity()], reads=("c",)), HEAD],
    )
    assert space.canonical([[0], [1], [2]]).tolist() == [[0], [1], [1]]


def tapped(taps):
    candidates = [Conv(8), Identity()]
    return SearchSpace(
        "tapped",
        (3, 8, 8),
        [Choice("a", (0, 1)), Choice("b", (0, 1))],
        [
            Block("stem", [Conv(8)]),
            Block("a", candidates, reads=("a",)),
            Block("b", candidates, reads=("b",)),
            Block("head", [Classifier(10)], inputs=taps),
        ],
    )


def test_identities_move_behind_the_other_layers_of_a_run():
    assert tapped(("b",)).canonical([[1, 0]]).tolist() == [[0, 1]]
    # Here the head also sees what leaves the first of the two.
    assert tapped(("a", "b")).canonical([[1, 0]]).tolist() == [[1, 0]]


def test_identities_do_not_move_past_a_change_of_shape():
    space = SearchSpace(
        "pooled",
        (8, 8, 8),
        [Choice("a", (0, 1)), Choice("b", (0, 1))],
        [
            Block("a", [Conv(8), Identity()], reads=("a",)),
            Block("between", [Pool("max", 3, 2)]),
            Block("b", [Conv(8), Identity()], reads=("b",)),
            HEAD,
        ],
    )
    assert space.canonical([[1, 0]]).tolist() == [[1, 0]]


@pytest.mark.parametrize("reads", [("kind{}", "width{}"), ("width{}", "kind{}")])
def test_a_moved_identity_keeps_the_width_before_it(reads):
    # Kind and width of each block are chosen, in either order of reading; a skip to the width
    # that comes in builds nothing.
    kinds, widths = (Skip, Conv), (8, 16)
    if reads[0] == "kind{}":
        candidates = [kind(width) for kind in kinds for width in widths]
    else:
        candidates = [kind(width) for width in widths for kind in kinds]
    space = SearchSpace(
        "wide",
        (8, 8, 8),
        [Choice(f"{what}{i}", (0, 1)) for i in range(3) for what in ("kind", "width")],
        [
            *(
                Block(f"b{i}", candidates, reads=[name.format(i) for name in reads])
                for i in range(3)
            ),
            HEAD,
        ],
    )
    rows = rows_of(space)
    canonical = space.canonical(rows)
    # Kind 0 at width 0 passes the 8 channels of the image on, and follows the 16 later on.
    assert space.canonical([[0, 0, 1, 1, 1, 0]]).tolist() == [[1, 1, 1, 0, 0, 0]]
    assert space.canonical([[1, 1, 0, 1, 1, 1]]).tolist() == [[1, 1, 1, 1, 0, 1]]
    assert (space.canonical(canonical) == canonical).all()
    assert number_of_rows(canonical) == number_of_networks(space, rows)
    for row, other in zip(rows, canonical, strict=True):
        assert built(space, row) == built(space, other)


def test_what_builds_nothing_in_several_ways_comes_to_rest():
    # Read against the order of the columns: what is first in one order is not in the other.
    passing = {(0, 1), (1, 0)}
    candidates = [
        Identity() if (a, b) in passing else Conv(8, 3 + 2 * a) for b in range(2) for a in range(2)
    ]
    space = SearchSpace(
        "rest",
        (8, 8, 8),
        [Choice(name, (0, 1)) for name in ("a0", "b0", "a1", "b1")],
        [
            Block("first", candidates, reads=("b0", "a0")),
            Block("second", candidates, reads=("b1", "a1")),
            HEAD,
        ],
    )
    assert space.canonical([[1, 0, 1, 1]]).tolist() == [[1, 1, 0, 1]]
    rows = rows_of(space)
    assert number_of_rows(space.canonical(rows)) == number_of_networks(space, rows)


# Cells.

OPERATIONS = ("zero", "skip", "conv")


def cell(*edges, operations=OPERATIONS, twice=False):
    """A cell of edges (to, from), node 0 the stem; the node that is last sums into the head."""
    layers = {
        "zero": Zero(),
        "skip": Identity(),
        "conv": ReluConvNorm(4, 1),
        "conv3": ReluConvNorm(4, 3),
        "pool": Pool("average", 3),
    }
    blocks = [Block("stem", [Conv(4)])]
    for copy in range(1 + twice):
        names = {0: (blocks[-1].name,)}
        for node, source in edges:
            name = f"e{node}{source}"
            candidates = [layers[operation] for operation in operations]
            blocks.append(Block(f"{name}_{copy}", candidates, reads=(name,), inputs=names[source]))
            names[node] = (*names.get(node, ()), blocks[-1].name)
        blocks.append(Block(f"sum{copy}", [Identity()], inputs=names[max(names)]))
    choices = [Choice(f"e{node}{source}", operations) for node, source in edges]
    return SearchSpace("cell", (3, 8, 8), choices, (*blocks, HEAD))


def test_branches_that_are_exchanged_are_one():
    space = cell((1, 0), (2, 0), (3, 1), (3, 2))
    one, other = ["conv", "skip", "zero", "conv"], ["skip", "conv", "conv", "zero"]
    rows = [[OPERATIONS.index(name) for name in names] for names in (one, other)]
    first, second = space.canonical(rows)
    assert (first == second).all()


@pytest.mark.parametrize("twice", [False, True])
def test_what_is_not_used_is_left_out(twice):
    # Node 1 leads to the output by the last edge alone.
    space = cell((1, 0), (2, 0), (2, 1), twice=twice)
    unused = [[edge, 2, 0] for edge in range(3)]
    # An operation on zero is zero, of which a skip is the cheapest.
    on_zero = [[0, 2, edge] for edge in range(3)]
    assert space.canonical(unused + on_zero).tolist() == [[0, 2, 1]] * 6


def test_the_cheapest_row_stands_for_a_cell():
    space = cell((1, 0), (2, 0), (2, 1), operations=("conv3", "conv", "skip", "zero"))
    macs = Table.from_primitives(
        space,
        "macs",
        "multiply-adds",
        lambda p: p.out_channels * p.kernel**2 if isinstance(p, Convolution) else 0,
    )
    rows = rows_of(space)
    canonical = space.canonical(rows)
    classes = {}
    for row, key in zip(rows.tolist(), canonical.tolist(), strict=True):
        classes.setdefault(tuple(key), []).append(row)
    for key, members in classes.items():
        assert macs([key])[0] == macs(members).min()
    # One of two convolutions is not used; of the rows that do without it this is the first.
    assert space.canonical([[1, 0, 3]]).tolist() == [[0, 3, 2]]


def test_an_operation_used_twice_is_one_with_two_equal_ones():
    space = cell((1, 0), (2, 0), (2, 1), (3, 1), (3, 2), operations=OPERATIONS)
    shared, apart = [2, 0, 1, 1, 1], [2, 2, 0, 1, 1]
    assert (space.canonical([apart]) == space.canonical([shared])).all()
    assert (space.canonical([shared])[0] == 2).sum() == 1


def test_zeros_at_another_stride_are_another_network():
    # The same zero, of which the next block sees the shape.
    space = SearchSpace(
        "strides",
        (4, 8, 8),
        [Choice("a", (1, 2))],
        [
            Block("stem", [Conv(4)]),
            Block("a", [Zero(1), Zero(2)], reads=("a",)),
            Block("b", [Conv(4, 3), Conv(4, 3, 2)], reads=("a",), inputs=("stem",)),
            Block("sum", [Conv(4, 3)], inputs=("a", "b")),
            HEAD,
        ],
    )
    assert space.canonical([[0], [1]]).tolist() == [[0], [1]]


def test_a_column_that_is_read_outside_of_the_cell_counts_there_too():
    blocks = cell((1, 0), (2, 0), (2, 1)).blocks
    outside = Block("outside", [Conv(4, 1), Conv(4, 3), Conv(4, 5)], reads=("e10",))
    space = SearchSpace(
        "outside", (3, 8, 8), cell((1, 0), (2, 0), (2, 1)).choices, (*blocks[:-1], outside, HEAD)
    )
    # Not used in the cell, and yet three networks.
    assert number_of_rows(space.canonical([[edge, 2, 0] for edge in range(3)])) == 3


def test_a_block_that_nothing_reads_has_no_effect():
    space = SearchSpace(
        "dead",
        (4, 8, 8),
        [Choice("a", (1, 3)), Choice("b", (1, 3))],
        [
            Block("a", [Conv(4, 1), Conv(4, 3)], reads=("a",)),
            Block("b", [Conv(4, 1), Conv(4, 3)], reads=("b",)),
            Block("head", [Classifier(10)], inputs=("a",)),
        ],
    )
    assert space.canonical(rows_of(space)).tolist() == [[0, 0], [0, 0], [1, 0], [1, 0]]


def test_sums_too_long_to_be_written_out():
    # Each block sums the two before it, so that the last ones have more terms than are kept.
    choices = [Choice("a", (0, 1, 2)), Choice("b", (0, 1))]
    blocks = [
        Block("stem", [Conv(4)]),
        Block("a", [Conv(4, 1), Conv(4, 3), Identity()], reads=("a",)),
        Block("b", [Conv(4, 1), Identity()], reads=("b",), inputs=("stem",)),
    ]
    for i in range(8):
        inputs = (blocks[-2].name, blocks[-1].name)
        blocks.append(Block(f"sum{i}", [Identity()], inputs=inputs))
    space = SearchSpace("long", (3, 8, 8), choices, (*blocks, HEAD))
    # What enters the sums once and twice differs, but for two equal values.
    assert space.canonical(rows_of(space)).tolist() == rows_of(space).tolist()
    alike = [*blocks[:2], Block("b", [Conv(4, 1), Conv(4, 1)], ("b",), ("stem",)), *blocks[3:]]
    space = SearchSpace("long", (3, 8, 8), choices, (*alike, HEAD))
    expected = [[a, 0] for a in range(3) for _ in range(2)]
    assert space.canonical(rows_of(space)).tolist() == expected


def test_cells_of_too_many_rows_are_left_as_they_are():
    edges = [(node, source) for node in range(1, 6) for source in range(node)]
    space = cell(*edges)  # 3^15 rows
    rows = space.sample(50, rng=np.random.default_rng(0))
    assert (space.canonical(rows) == rows).all()


# Random spaces.

PRIME = 2**61 - 1


def output(space, arch, numbers):
    """One integer run through the network; a layer is a polynomial without a constant."""
    values = {-1: 3}
    for index, (plan, placed) in enumerate(zip(space.plan, space.layers(arch), strict=True)):
        value = sum(values[source] for source in plan.sources) % PRIME
        if placed.graph and isinstance(placed.graph[-1], Zeros):
            value = 0
        elif placed.graph:
            key = (placed.graph, placed.in_shape)
            value *= pow(value + 7 ** numbers.setdefault(key, len(numbers) + 1), 2, PRIME)
        values[index] = value % PRIME
    return values[len(space.blocks) - 1]


def nested(space, arch):
    """The output as a nested expression: sums are sorted, and sums in sums stay apart."""
    values = {-1: "x"}
    for index, (plan, placed) in enumerate(zip(space.plan, space.layers(arch), strict=True)):
        terms = sorted(values[source] for source in plan.sources)
        value = terms[0] if len(terms) == 1 else f"({'+'.join(terms)})"
        if placed.graph:
            value = f"{placed.layer}{placed.in_shape}[{value}]"
        values[index] = value
    return values[len(space.blocks) - 1]


POOL = (Conv(4, 1), Conv(4, 3), Conv(6, 1), Identity(), Skip(4), Skip(6), Pool("max", 3), Zero())


def random_space(rng, *, chain):
    """A space of a few blocks; blocks share choices and candidates, and sum what was before."""
    for _ in range(1000):
        choices = [Choice(f"c{i}", range(rng.integers(1, 4))) for i in range(rng.integers(1, 6))]
        sizes = {choice.name: len(choice.options) for choice in choices}
        blocks = []
        for i in range(rng.integers(2, 7)):
            reads = rng.permutation(list(sizes))[: rng.integers(0, 3)].tolist()
            number = int(np.prod([sizes[name] for name in reads], dtype=int))
            layers = [POOL[rng.integers(len(POOL))] for _ in range(number)]
            if blocks and len(blocks[-1].layers) == number and rng.random() < 0.6:
                layers = blocks[-1].layers
            inputs = None
            if blocks and not chain:
                names = [block.name for block in blocks]
                inputs = rng.permutation(names)[: rng.integers(1, 4)].tolist()
            blocks.append(Block(f"b{i}", layers, reads=reads, inputs=inputs))
        try:
            return SearchSpace("random", (4, 6, 6), choices, (*blocks, HEAD))
        except InputError:
            continue  # a sum of different shapes
    raise AssertionError("no space in 1,000 tries")


@pytest.mark.parametrize("chain", [True, False])
def test_canonical_rows_of_random_spaces_build_the_same(chain):
    rng = np.random.default_rng(5)
    moved = 0
    for _ in range(300):
        space = random_space(rng, chain=chain)
        rows = rows_of(space)
        canonical = space.canonical(rows)
        numbers = {}
        assert [output(space, row, numbers) for row in rows] == [
            output(space, row, numbers) for row in canonical
        ]
        assert (space.canonical(canonical) == canonical).all()
        moved += (rows != canonical).any(axis=1).sum()
    assert moved > 500  # or little was tested


def test_random_cells_that_are_written_alike_are_one():
    rng = np.random.default_rng(6)
    merged = 0
    for _ in range(60):
        nodes = rng.integers(2, 4)
        edges = [(node, s) for node in range(1, nodes + 1) for s in range(node)]
        operations = rng.permutation(["zero", "skip", "conv", "pool"])[:3].tolist()
        space = cell(*edges, operations=operations, twice=bool(rng.integers(2)))
        rows = rows_of(space)[:: 1 if nodes < 3 else 5]
        alike = {}
        for row, key in zip(rows, space.canonical(rows).tolist(), strict=True):
            alike.setdefault(nested(space, row), set()).add(tuple(key))
        assert all(len(keys) == 1 for keys in alike.values())
        merged += len(rows) - len(alike)
    assert merged > 100


def test_random_runs_have_as_few_canonical_rows_as_networks():
    rng = np.random.default_rng(7)
    for _ in range(60):
        count = rng.integers(2, 5)
        layers = [POOL[i] for i in rng.integers(len(POOL) - 1, size=rng.integers(2, 5))]
        layers = [layer for layer in layers if layer not in (Conv(6, 1), Skip(6))] or [Conv(4, 3)]
        options = range(len(layers))
        space = SearchSpace(
            "run",
            (4, 6, 6),
            [Choice(f"c{i}", options) for i in range(count)],
            [*(Block(f"b{i}", layers, reads=(f"c{i}",)) for i in range(count)), HEAD],
        )
        rows = rows_of(space)
        assert number_of_rows(space.canonical(rows)) == number_of_networks(space, rows)
