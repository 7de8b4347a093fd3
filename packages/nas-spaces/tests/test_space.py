import itertools

import numpy as np
import pytest
from attrs import evolve

from nas_spaces import (
    Block,
    Choice,
    InputError,
    SearchSpace,
    from_json,
    published,
    to_json,
)
from nas_spaces.layers import Classifier, Conv, Identity, MBConv


def rows_of(space):
    return np.array(list(itertools.product(*map(range, space.num_options))))


def test_counts_of_rows_choices_and_classes(plain, widths, cell):
    assert (plain.num_choices, plain.num_options, plain.size) == (4, (3, 4, 2, 5), 120)
    assert (widths.size, cell.size) == (18, 4)
    assert (plain.num_classes, cell.num_classes) == (10, 5)


def test_a_network_without_choices_has_one_row():
    space = SearchSpace("fixed", (3, 8, 8), (), [Block("head", [Classifier(10)])])
    assert space.size == 1
    assert space.sample(3, rng=np.random.default_rng(0)).shape == (3, 0)
    assert space.check(np.zeros((2, 0))).shape == (2, 0)
    assert space.mask.shape == (0, 0)


HEAD = Block("head", [Classifier(10)])


@pytest.mark.parametrize(
    ("choices", "blocks", "message"),
    [
        ([], [], "space 'x' has no blocks"),
        (
            [Choice("c", (1,)), Choice("c", (1,))],
            [HEAD],
            "space 'x' names a choice twice: c",
        ),
        ([], [HEAD, HEAD], "space 'x' names a block twice: head"),
        (
            [Choice("kernel", (1,))],
            [Block("b", [Conv(8)], reads=("kernal",))],
            "block 'b' reads an unknown choice 'kernal': did you mean 'kernel'? valid: kernel",
        ),
        (
            [Choice("k", (1, 2))],
            [Block("b", [Conv(8)], reads=("k",))],
            "block 'b' has 1 layers; the choices it reads have 2 combinations",
        ),
        (
            [],
            [Block("stem", [Conv(8)]), Block("b", [Conv(8)], inputs=("head",)), HEAD],
            "block 'b' has the input 'head', which is no block before it: valid: stem",
        ),
        (
            [],
            [
                Block("a", [Conv(8)]),
                Block("b", [Conv(16)]),
                Block("c", [Conv(8)], inputs=("a", "b")),
            ],
            "block 'c' sums inputs of different shapes [(8, 8, 8), (16, 8, 8)]",
        ),
        (
            [],
            [Block("b", [Conv(8, 2)])],
            "block 'b': convolution 'conv': kernel=2 must be odd",
        ),
    ],
)
def test_what_a_space_refuses(choices, blocks, message):
    with pytest.raises(InputError) as error:
        SearchSpace("x", (3, 8, 8), choices, blocks)
    assert str(error.value) == message


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 8, 1), (0, 8, 8)])
def test_an_image_has_three_sizes(shape):
    with pytest.raises(InputError) as error:
        SearchSpace("x", shape, (), [HEAD])
    assert str(error.value) == (
        f"input_shape is {shape}; give (channels, height, width), at least 1 each"
    )


def test_lists_and_numbers_of_numpy_are_taken():
    choices = [Choice("width", np.arange(8, 25, 8))]
    block = Block("b", [Conv(width) for width in (8, 16, 24)], reads=["width"])
    space = SearchSpace("own", [3, 8, 8], choices, [block])
    assert space == SearchSpace("own", (3, 8, 8), [Choice("width", (8, 16, 24))], [block])
    assert from_json(to_json(space)) == space


def test_what_choices_and_blocks_refuse():
    with pytest.raises(InputError, match="choice 'c' has no options; give at least one"):
        Choice("c", ())
    with pytest.raises(InputError, match=r"block name 'a\.b' must be non-empty and hold no dot"):
        Block("a.b", [Conv(8)])
    with pytest.raises(InputError, match="block 'b' reads a choice twice: c"):
        Block("b", [Conv(8)] * 4, reads=("c", "c"))


@pytest.mark.parametrize(
    ("archs", "message"),
    [
        ([0, 0, 0, 0], "archs has 1 dimensions; expected [n, 4], one row an architecture"),
        ([[0, 0, 0]], "archs has 3 columns; space 'plain' has 4 choices"),
        ([[0.0, 0, 0, 0]], "archs has dtype float64; architectures are integers"),
        (
            [[0, 0, 0, 0], [0, 0, 2, 0]],
            "archs[1, 2] is 2; choice 'c2' of space 'plain' has options 0..1",
        ),
        ([[0, -1, 0, 0]], "archs[0, 1] is -1; choice 'c1' of space 'plain' has options 0..3"),
    ],
)
def test_what_check_refuses(plain, archs, message):
    with pytest.raises(InputError) as error:
        plain.check(archs)
    assert str(error.value) == message


def test_check_takes_any_integers(plain):
    rows = plain.check(np.array([[2, 3, 1, 4]], dtype=np.uint8))
    assert rows.dtype == np.int64
    assert rows.tolist() == [[2, 3, 1, 4]]


@pytest.mark.parametrize("text", ["2,3,1,4", "2 3 1 4", "2, 3, 1, 4", "2314"])
def test_parse(plain, text):
    assert plain.parse(text).tolist() == [2, 3, 1, 4]
    assert plain.format(plain.parse(text)) == "2,3,1,4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2,3,1", "architecture '2,3,1' has 3 columns; space 'plain' has 4 choices"),
        ("2,3,x,0", "architecture '2,3,x,0' is no row of integers; write it as 2,1,0,..."),
        ("", "architecture '' has 0 columns; space 'plain' has 4 choices"),
        ("2,3,2,0", "archs[0, 2] is 2; choice 'c2' of space 'plain' has options 0..1"),
    ],
)
def test_what_parse_refuses(plain, text, message):
    with pytest.raises(InputError) as error:
        plain.parse(text)
    assert str(error.value) == message


def test_samples_are_uniform_over_live_options(plain):
    alive = plain.mask.copy()
    alive[3, [0, 2]] = False
    rows = plain.restrict(alive).sample(6000, rng=np.random.default_rng(0))
    counts = np.bincount(rows[:, 3], minlength=5)
    assert counts[[0, 2]].tolist() == [0, 0]
    assert np.abs(counts[[1, 3, 4]] - 2000).max() < 5 * np.sqrt(2000 * 2 / 3)
    again = plain.restrict(alive).sample(6000, rng=np.random.default_rng(0))
    assert (again == rows).all()


def test_combinations_are_in_c_order(widths):
    # The block "second" reads w0, w1 and k1; k1 varies fastest.
    combinations = widths.combinations([[2, 1, 1], [0, 0, 1]])
    assert combinations.tolist() == [[2, 2 * 6 + 1 * 2 + 1, 1], [0, 1, 0]]


def test_plan_holds_shapes_that_vary_with_a_choice(widths):
    first, second, head = widths.plan
    assert (first.varying, second.varying, head.varying) == ((0,), (1,), ())
    assert (second.columns, second.sizes, second.combinations) == ((0, 1, 2), (3, 3, 2), 18)
    assert [shape[0] for shape in second.in_shapes] == [8] * 6 + [16] * 6 + [24] * 6
    assert [shape[0] for shape in head.in_shapes] == [8, 16, 24]


def test_a_block_need_not_read_what_its_input_depends_on():
    space = SearchSpace(
        "widths",
        (3, 8, 8),
        [Choice("w", (8, 16, 24)), Choice("k", (3, 5))],
        [
            Block("first", [Conv(width) for width in (8, 16, 24)], reads=("w",)),
            Block("second", [Conv(4, 3), Conv(4, 5)], reads=("k",)),
            HEAD,
        ],
    )
    plan = space.plan[1]
    assert (plan.columns, plan.sizes, plan.reads, plan.extra) == ((1, 0), (2, 3), 1, 3)
    assert space.combinations([[2, 1]])[0].tolist() == [2, 1 * 3 + 2, 0]
    for row in rows_of(space):
        second = space.layers(row)[1]
        assert second.layer == Conv(4, (3, 5)[row[1]])
        assert second.in_shape == (8 * (row[0] + 1), 8, 8)


def test_a_block_reads_the_width_of_its_neighbour(widths):
    for row in rows_of(widths):
        first, second, head = widths.layers(row)
        assert first.out_shape == second.in_shape == (8 * (row[0] + 1), 8, 8)
        assert second.out_shape == head.in_shape == (8 * (row[1] + 1), 8, 8)
        assert second.graph[0].kernel == (3, 5)[row[2]]
        assert second.graph[0].in_channels == 8 * (row[0] + 1)


def test_inputs_are_sums_of_named_blocks(cell):
    assert [plan.sources for plan in cell.plan] == [(-1,), (0,), (0,), (1, 2), (3,)]
    placed = {layer.block: layer for layer in cell.layers([1, 1])}
    assert isinstance(placed["left"].layer, Identity)
    assert placed["left"].graph == ()
    assert placed["sum"].in_shape == placed["right"].out_shape == (8, 8, 8)
    assert placed["head"].in_shape == (16, 4, 4)


def test_fix_builds_the_same_layers_and_keeps_inputs(cell):
    fixed = cell.fix([0, 1])
    assert fixed.num_choices == 0
    assert fixed.layers([]) == cell.layers([0, 1])
    assert [plan.sources for plan in fixed.plan] == [plan.sources for plan in cell.plan]


def test_layers_may_be_computed_on_demand():
    class Kernels:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            if not 0 <= index < 3:
                raise IndexError(index)
            return Conv(8, 1 + 2 * index)

    space = SearchSpace(
        "lazy", (3, 8, 8), [Choice("k", (1, 3, 5))], [Block("b", Kernels(), reads=("k",)), HEAD]
    )
    assert [space.layers([k])[0].layer.kernel for k in range(3)] == [1, 3, 5]


def test_restrict_keeps_the_numbering(plain):
    alive = plain.mask.copy()
    alive[1] = [False, False, True, True, False]
    smaller = plain.restrict(alive)
    assert smaller.size == 60
    assert smaller.num_options == plain.num_options
    assert smaller.choices == plain.choices
    rows = smaller.sample(200, rng=np.random.default_rng(0))
    assert set(rows[:, 1]) == {2, 3}
    assert smaller.layers(rows[0]) == plain.layers(rows[0])
    # What was dropped before stays dropped.
    assert smaller.restrict(np.ones_like(alive)).size == 60


def test_a_mask_of_another_space_is_refused(plain):
    with pytest.raises(InputError) as error:
        evolve(plain, alive=((True, True),))
    assert str(error.value) == (
        "space 'plain': alive has (2,) options; its choices have (3, 4, 2, 5)"
    )


def test_what_restrict_refuses(plain):
    with pytest.raises(InputError) as error:
        plain.restrict(np.ones((4, 4)))
    assert str(error.value) == "alive has shape (4, 4); expected (4, 5)"
    alive = plain.mask.copy()
    alive[2] = False
    with pytest.raises(InputError) as error:
        plain.restrict(alive)
    assert str(error.value) == "alive leaves choice 'c2' no option"
    # No other way leads to a space without rows.
    text = to_json(plain.restrict(plain.mask)).replace("[true, true]", "[false, false]")
    with pytest.raises(InputError, match="alive leaves choice 'c2' no option"):
        from_json(text)


SIZES = {"kind": ("none", "conv_3", "conv_5"), "kernel": (3, 5)}


def notated(notation, sizes=SIZES):
    """A space of one fixed block, with choices that are only written and read."""
    choices = [Choice(name, options) for name, options in sizes.items()]
    return SearchSpace("notated", (3, 8, 8), choices, [HEAD], notation=notation)


@pytest.mark.parametrize(
    ("notation", "text"),
    [
        ("|{option}~0|+{option}", "|conv_5~0|+5"),
        ("{index}{index}", "21"),
        ("{index}, {index}", "2, 1"),
        ("<{index}{option}>", "<25>"),
        ("{{{option}}} {option}", "{conv_5} 5"),
        (None, "2,1"),
    ],
)
def test_notations_are_written_and_read(notation, text):
    space = notated(notation)
    assert space.notate([2, 1]) == text
    for row in rows_of(space):
        assert space.parse(space.notate(row)).tolist() == row.tolist()
        assert space.parse(space.notate(row) + "\n").dtype == np.int64
    # Rows of integers are read besides.
    assert space.parse("2,1").tolist() == space.parse("2 1").tolist() == [2, 1]
    assert from_json(to_json(space)) == space
    assert space.restrict(space.mask).notation == notation


def test_a_notation_of_a_network_is_left_behind():
    assert notated("{index}{index}").fix([0, 0]).notation is None
    with pytest.raises(InputError, match=r"archs\[0, 0\] is 3"):
        notated("{index}{index}").notate([3, 0])


NOTATION = "|{option}~0|{option}|"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "|conv_4~0|5|",
            "architecture '|conv_4~0|5|' is not written as '|{option}~0|{option}|': choice 'kind' "
            "has no option 'conv_4'; did you mean 'conv_5'? valid: conv_3, conv_5, none",
        ),
        (
            "|conv_3~0|",
            "architecture '|conv_3~0|' is not written as '|{option}~0|{option}|': choice 'kernel' "
            "has no option ''; valid: 3, 5",
        ),
        (
            "|conv_3~0|5|7|",
            "architecture '|conv_3~0|5|7|' is not written as '|{option}~0|{option}|': choice "
            "'kernel' has no option '5|7'; did you mean '5'? valid: 3, 5",
        ),
        (
            "conv_3",
            "architecture 'conv_3' is neither a row of integers, such as 2,1,0,..., nor written "
            "as '|{option}~0|{option}|': it does not begin with '|'",
        ),
        ("2,1,0", "architecture '2,1,0' has 3 columns; space 'notated' has 2 choices"),
        ("2,2", "archs[0, 1] is 2; choice 'kernel' of space 'notated' has options 0..1"),
    ],
)
def test_what_a_notation_does_not_read(text, message):
    with pytest.raises(InputError) as error:
        notated(NOTATION).parse(text)
    assert str(error.value) == message


TEN = {"kind": range(11), "kernel": (3, 5)}


@pytest.mark.parametrize(
    ("notation", "sizes", "message"),
    [
        (
            "{option}",
            SIZES,
            "notation '{option}' has 1 placeholders; the space has 2 choices, each of which needs "
            "one",
        ),
        ("{option", SIZES, "notation '{option' is no template: expected '}' before end of string"),
        (
            "{which}{option}",
            SIZES,
            "notation '{which}{option}' has an unknown placeholder 'which': valid: index, option",
        ),
        (
            "{index:2}{index}",
            SIZES,
            "notation '{index:2}{index}' has a format in the placeholder 'index'; write {index}",
        ),
        (
            "{index}{index}",
            TEN,
            "notation '{index}{index}' cannot be read back: for choice 'kind' it can go on with "
            "'1' and with '10'; put a separator behind it",
        ),
        (
            "{option} {option}",
            {"kind": (3, 5), "kernel": (3, 5)},
            "notation '{option} {option}' writes texts that look like rows of integers, such as "
            "2,1,0, and mean others; put a letter or a sign into it",
        ),
        (
            "{index}0{index}",
            SIZES,
            "notation '{index}0{index}' writes texts that look like rows of integers, such as "
            "2,1,0, and mean others; put a letter or a sign into it",
        ),
    ],
)
def test_notations_that_are_refused(notation, sizes, message):
    with pytest.raises(InputError) as error:
        notated(notation, sizes)
    assert str(error.value) == message


def test_a_notation_in_json_is_checked():
    text = to_json(notated(NOTATION)).replace("|{option}|", "|")
    with pytest.raises(InputError, match="has 1 placeholders; the space has 2 choices"):
        from_json(text)


def test_equal_spaces_are_equal():
    assert published.load("digits-mobile") == published.load("digits-mobile")
    assert published.load("digits-mobile") != published.load("digits-mobile", classes=5)


def test_shares_and_inputs_name_something():
    with pytest.raises(InputError, match="shares 'expnd', which none of its layers has: did you"):
        Block("b", [MBConv(8, 3), MBConv(8, 5)], reads=("k",), shares=("expnd",))
    with pytest.raises(InputError, match="block 'b' has no inputs"):
        Block("b", [MBConv(8, 3)], inputs=())


def test_rows_of_unequal_length_are_refused(plain):
    with pytest.raises(InputError, match="archs is no array"):
        plain.check([[0, 1], [0]])
