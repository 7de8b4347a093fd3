import itertools

import numpy as np
import pytest
from attrs import evolve

from nas_spaces import (
    Block,
    Choice,
    FeasibleSet,
    InputError,
    Limit,
    SearchSpace,
    Table,
    Term,
    published,
)
from nas_spaces.layers import Classifier, Conv
from nas_spaces.table import Cost, absorb, check_table, each_layer


def brute(table, archs):
    """Return the table's values from its definition, one term after the other."""
    combine = sum if table.reduce == "sum" else max
    return [
        combine(
            [
                table.constant,
                *(term.values[tuple(arch[c] for c in term.columns)] for term in table.terms),
            ]
        )
        for arch in np.asarray(archs)
    ]


def terms(space, columns, rng, *, dtype=np.int64):
    sizes = space.num_options
    return [
        Term(read, rng.integers(-1000, 1000, [sizes[c] for c in read]).astype(dtype))
        for read in columns
    ]


# Single columns, neighbours that share a column, a pair in reversed order, columns that a term
# far away reads as well, and no column at all.
LAYOUTS = [
    [(1,), (0, 2), (3,), (2, 1, 0), (2,), (1, 3), (3, 1)],
    [(0,), (1,), (2,), (3,)],
    [(0, 1), (1, 2), (2, 3)],
    [(3, 0), (1,), (0, 3)],
    [(0, 1, 2, 3)],
    [(2,), (2,), ()],
    [],
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reduce", ["sum", "max"])
def test_packed_look_ups_equal_the_terms_one_by_one(plain, layout, reduce):
    rng = np.random.default_rng(0)
    table = Table(plain, "cost", "1", terms(plain, layout, rng), 17, reduce)
    archs = plain.sample(500, rng=rng)
    values = table(archs)
    assert values.dtype == np.int64
    assert values.tolist() == brute(table, archs)


def test_float_tables(plain):
    rng = np.random.default_rng(0)
    layout = [(0,), (1, 2), (3,)]
    table = Table(plain, "latency", "ms", terms(plain, layout, rng, dtype=np.float64), 0.25)
    archs = plain.sample(500, rng=rng)
    assert not table.is_integer
    assert table(archs).dtype == np.float64
    np.testing.assert_allclose(table(archs), brute(table, archs), rtol=1e-12)


def test_a_float_constant_makes_float_values(plain):
    table = Table(plain, "cost", "1", [Term((0,), np.arange(3))], 0.5)
    assert table([[2, 0, 0, 0]]).tolist() == [2.5]


def test_large_values_are_exact(plain):
    huge = np.array([2**60, 2**60 + 1, 2**60 + 2])
    table = Table(plain, "cost", "1", [Term((0,), huge)], 1)
    assert table([[k, 0, 0, 0] for k in range(3)]).tolist() == (huge + 1).tolist()


def test_more_rows_than_are_looked_up_at_a_time():
    space = published.load("spos-shufflenet")
    rng = np.random.default_rng(0)
    table = Table(space, "cost", "1", terms(space, [(c,) for c in range(20)], rng))
    archs = space.sample(5001, rng=rng)
    expected = np.array(brute(table, archs))
    assert (table(archs) == expected).all()
    assert (table(np.asfortranarray(archs)) == expected).all()
    assert (table(archs[::-2]) == expected[::-2]).all()
    assert (table(archs.astype(np.int8)) == expected).all()


def test_no_rows(plain):
    table = Table(plain, "cost", "1", [Term((0,), np.arange(3))])
    assert table(np.zeros((0, 4), dtype=np.int64)).shape == (0,)


def test_a_table_refuses_rows_of_another_space(plain):
    table = Table(plain, "cost", "1", [Term((0,), np.arange(3))])
    with pytest.raises(InputError, match="archs has 2 columns; space 'plain' has 4 choices"):
        table([[0, 0]])
    with pytest.raises(InputError, match=r"archs\[0, 0\] is 3"):
        table([[3, 0, 0, 0]])


def test_terms_have_the_sizes_of_their_columns(plain):
    with pytest.raises(InputError) as error:
        Table(plain, "cost", "1", [Term((0, 1), np.zeros((4, 3)))])
    assert str(error.value) == (
        "table 'cost': the term of columns (0, 1) has shape (4, 3); space 'plain' needs (3, 4)"
    )


@pytest.mark.parametrize("columns", [(-1,), (4,), (0, 0)])
def test_terms_have_columns_of_the_space_once(plain, columns):
    with pytest.raises(InputError) as error:
        Table(plain, "cost", "1", [Term(columns, np.zeros([5, 3][: len(columns)]))])
    assert str(error.value) == (
        f"table 'cost': a term has columns {columns}; space 'plain' has 0..3, each at most once "
        "in a term"
    )


def test_values_are_widened(plain):
    narrow = [Term((c,), np.full(plain.num_options[c], 200, dtype=np.uint8)) for c in (0, 1)]
    assert Table(plain, "cost", "1", narrow)([[0, 0, 0, 0]]).tolist() == [400]
    listed = Table(plain, "cost", "1", [Term((2,), [True, False])], np.int64(3))
    assert listed.is_integer
    assert listed([[0, 0, 0, 0], [0, 0, 1, 0]]).tolist() == [4, 3]


def test_a_cost_may_return_numpy_integers(plain):
    table = Table.from_primitives(plain, "size", "elements", lambda p: np.prod(p.shape))
    assert table.is_integer
    assert FeasibleSet(plain, [Limit(table, upper=1e9)]).count() == plain.size


def kernel_area(primitive):
    return getattr(primitive, "kernel", 0) ** 2


@pytest.mark.parametrize("name", ["plain", "widths", "cell"])
@pytest.mark.parametrize(("reduce", "combine"), [("sum", sum), ("max", max)])
def test_from_primitives_is_the_cost_of_the_layers(request, name, reduce, combine):
    space = request.getfixturevalue(name)

    def cost(primitive):
        return kernel_area(primitive) * primitive.shape[0]

    table = Table.from_primitives(space, "cost", "1", cost, reduce=reduce)
    rows = list(itertools.product(*map(range, space.num_options)))
    expected = [
        combine([cost(node) for placed in space.layers(row) for node in placed.graph])
        for row in rows
    ]
    assert table(rows).tolist() == expected


def test_from_primitives_of_a_network_without_choices():
    space = SearchSpace("fixed", (3, 8, 8), (), [Block("a", [Conv(8)]), Block("b", [Conv(8, 5)])])
    assert Table.from_primitives(space, "x", "1", kernel_area)(np.zeros((2, 0), int)).tolist() == [
        34,
        34,
    ]
    largest = Table.from_primitives(space, "x", "1", kernel_area, reduce="max")
    assert largest(np.zeros((1, 0), int)).tolist() == [25]


def test_a_block_that_reads_one_choice_of_many_options():
    # More entries than are packed together.
    space = SearchSpace(
        "wide",
        (3, 4, 4),
        [Choice("w", range(1, 2001)), Choice("k", (1, 3))],
        [
            Block("a", [Conv(1, 1) for _ in range(2000)], reads=("w",)),
            Block("b", [Conv(4, 1), Conv(4, 3)], reads=("k",)),
            Block("head", [Classifier(2)]),
        ],
    )
    rng = np.random.default_rng(0)
    table = Table(space, "cost", "1", terms(space, [(0,), (1,), (0, 1)], rng))
    archs = space.sample(500, rng=rng)
    assert table(archs).tolist() == brute(table, archs)


def test_terms_that_others_contain_are_looked_up_with_them(plain):
    rng = np.random.default_rng(0)
    layout = [(0,), (1, 0), (2,), (0, 1, 2, 3)]
    assert [term.columns for term in absorb(terms(plain, layout, rng), np.add)] == [layout[-1]]
    many = [Choice(f"c{i}", range(20)) for i in range(4)]
    space = SearchSpace("many", (3, 2, 2), many, [Block("head", [Classifier(2)])])
    # 8,000 entries are more than are packed together, so only what is contained is merged.
    layout = [(0, 1, 2), (2,), (0, 1), (1, 2, 3), (3, 2)]
    some = terms(space, layout, rng)
    assert [term.columns for term in absorb(some, np.add)] == [(0, 1, 2), (1, 2, 3)]
    table = Table(space, "cost", "1", some)
    archs = space.sample(500, rng=rng)
    assert table(archs).tolist() == brute(table, archs)


@pytest.mark.parametrize("columns", [(0, 2), (2, 0), (2, 1, 0), (3, 0, 1, 2)])
def test_spreading_a_term(plain, columns):
    values = np.arange(6).reshape(2, 3)
    spread = Term((2, 0), values).spread(columns)
    assert spread.shape == tuple({2: 2, 0: 3}.get(c, 1) for c in columns)
    moved = spread if columns.index(2) < columns.index(0) else spread.T
    assert moved.reshape(2, 3).tolist() == values.tolist()


def test_simplifying_a_term():
    values = np.arange(3)[:, None] + np.zeros((2, 3, 4))
    term = Term((2, 0, 1), values).simplified()
    assert (term.columns, term.values.tolist()) == ((0,), [0.0, 1.0, 2.0])
    assert term.simplified().values.tolist() == term.values.tolist()
    constant = Term((2, 0), np.full((2, 3), 7)).simplified()
    assert (constant.columns, constant.values.shape, constant.values.item()) == ((), (), 7)


@pytest.mark.parametrize("name", ["plain", "widths", "cell"])
@pytest.mark.parametrize(("reduce", "combine"), [("sum", sum), ("max", max)])
def test_from_graphs_is_the_cost_of_the_layers(request, name, reduce, combine):
    space = request.getfixturevalue(name)

    def cost(graph, shape):
        return len(graph) * shape[0] + sum(map(kernel_area, graph))

    table = Table.from_graphs(space, "cost", "1", cost, reduce=reduce)
    rows = list(itertools.product(*map(range, space.num_options)))
    expected = [
        combine([cost(placed.graph, placed.in_shape) for placed in space.layers(row)])
        for row in rows
    ]
    assert table(rows).tolist() == expected
    assert (table.name, table.unit, table.reduce) == ("cost", "1", reduce)


def test_many_tables_in_one_pass(widths):
    seen = []

    def first(graph, shape):
        seen.append((graph, shape))
        return len(graph)

    costs = [
        Cost("first", "1", first),
        Cost("second", "elements", lambda graph, shape: shape[0] / 2, "max"),
        Cost.of_primitives("third", "1", kernel_area),
    ]
    tables = Table.many(widths, costs)
    assert [(t.name, t.unit, t.reduce) for t in tables] == [
        ("first", "1", "sum"),
        ("second", "elements", "max"),
        ("third", "1", "sum"),
    ]
    # Three layers of the first block, six for three widths each of the second, three heads.
    assert len(seen) == len(set(seen)) == 3 + 18 + 3
    rows = widths.sample(20, rng=np.random.default_rng(0))
    for table, cost in zip(tables, costs, strict=True):
        alone = Table.from_graphs(widths, "x", "1", cost.of, reduce=cost.reduce)
        assert table(rows).tolist() == alone(rows).tolist()
    assert [table.is_integer for table in tables] == [True, False, True]
    assert Table.many(widths, []) == ()


def test_equal_layers_at_equal_shapes_are_looked_at_once():
    options = [Conv(8, 3), Conv(8, 5)]
    space = SearchSpace(
        "twice",
        (8, 4, 4),
        [Choice("a", range(2)), Choice("b", range(2))],
        [
            Block("a", options, ("a",)),
            Block("b", options, ("b",)),
            Block("wide", [Conv(16, 3)]),
            Block("last", [Conv(8, 3)]),
        ],
    )
    looked = []
    blocks = list(each_layer(space, lambda graph, shape: looked.append(shape) or graph[0].kernel))
    assert blocks == [[3, 5], [3, 5], [3], [3]]
    assert looked == [(8, 4, 4)] * 3 + [(16, 4, 4)]


def test_from_layers(widths):
    costs = [list(range(plan.combinations)) for plan in widths.plan]
    rows = list(itertools.product(*map(range, widths.num_options)))
    for reduce, combine in (("sum", np.sum), ("max", np.max)):
        table = Table.from_layers(widths, "x", "1", costs, reduce=reduce)
        # The cost of each layer is the number of its combination.
        assert table(rows).tolist() == combine(widths.combinations(rows), axis=1).tolist()
    fixed = widths.fix(rows[0])
    assert Table.from_layers(fixed, "x", "1", [[5], [2], [4]], reduce="max")([[]]).tolist() == [5]
    with pytest.raises(ValueError):
        Table.from_layers(widths, "x", "1", costs[:-1])


def test_additive_entries_add_up_to_the_table(plain):
    rng = np.random.default_rng(0)
    terms = [Term((c,), rng.normal(size=size)) for c, size in enumerate(plain.num_options)]
    # Two look-ups of one column, one of none, and none of the last column.
    terms = [*terms[:-1], Term((1,), [1, 2, 3, 4]), Term((), 0.5)]
    table = Table(plain, "cost", "1", terms, 7)
    constant, entries = table.additive()
    assert constant == 7.5
    assert isinstance(constant, float)
    assert entries.dtype == np.float64
    assert entries.shape == plain.mask.shape
    assert (entries[~plain.mask] == 0).all()
    assert (entries[3] == 0).all()
    archs = plain.sample(50, rng=rng)
    assert np.allclose(constant + entries[np.arange(4), archs].sum(axis=1), table(archs))


def test_additive_keeps_the_entries_of_options_that_were_dropped(plain):
    terms = [Term((3,), [1, 2, 3, 4, 5])]
    alive = plain.mask.copy()
    alive[3, 1:4] = False
    _, entries = Table(plain.restrict(alive), "cost", "1", terms).additive()
    assert entries[3].tolist() == [1, 2, 3, 4, 5]
    # And whoever changes them does not change the table.
    table = Table(plain, "cost", "1", terms)
    table.additive()[1][3] = 0
    assert table([[0, 0, 0, 4]]).tolist() == [5]


def test_tables_that_are_no_sum_over_choices_are_not_additive(plain):
    peak = Table(plain, "peak", "1", [Term((0,), [1, 2, 3])], reduce="max")
    with pytest.raises(InputError, match=r"table 'peak' is a maximum .* need a cost that is a sum"):
        peak.additive()
    tied = Table(plain, "tied", "1", [Term((0, 2), np.zeros((3, 2)))])
    with pytest.raises(
        InputError,
        match=r"'tied' has a term of 2 choices, 'c0', 'c2'; .* need a cost that is a sum",
    ):
        tied.additive()


def test_a_table_is_of_its_space_whichever_options_are_live(plain, widths):
    alive = plain.mask.copy()
    alive[0, 0] = False
    for space in (plain, plain.restrict(alive), evolve(plain)):
        check_table(space, Table(plain, "cost", "1", []), "cost")
        check_table(plain, Table(space, "cost", "1", []), "cost")
    larger = evolve(plain, input_shape=(3, 16, 16))
    for other, images in ((widths, "(3, 8, 8)"), (larger, "(3, 16, 16)")):
        with pytest.raises(InputError) as error:
            check_table(plain, Table(other, "macs", "1", []), "cost")
        assert str(error.value) == (
            f"cost 'macs' is a table of space {other.name!r} for images {images}, not of 'plain' "
            "for images (3, 8, 8); build it from the same space"
        )
    with pytest.raises(InputError, match=r"cost is a function; give a nas_spaces\.Table"):
        check_table(plain, lambda archs: archs, "cost")
