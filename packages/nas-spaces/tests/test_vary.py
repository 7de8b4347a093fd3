import numpy as np
import pytest

from nas_spaces import Block, Choice, InputError, SearchSpace, from_json, published, to_json
from nas_spaces.layers import BasicBlock, Classifier, Conv, Identity, MBConv
from nas_spaces.primitives import Convolution
from nas_spaces.testing import check_space
from nas_spaces.vary import BITS, SCALES, uniform_bits, with_bits, with_scales


def space(blocks, choices):
    head = Block("head", [Classifier(3)])
    return SearchSpace("own", (8, 8, 8), choices, [Block("stem", [Conv(8, 3)]), *blocks, head])


def widths(placed):
    return [node.out_channels for node in placed.graph if isinstance(node, Convolution)]


def test_scales_stand_behind_what_their_block_reads():
    both = with_scales(published.load("digits-mobile"))
    names = [choice.name for choice in both.choices]
    assert names[:4] == ["stage1_0", "stage1_0_scale", "stage1_1", "stage1_1_scale"]
    assert both.name == "digits-mobile-channels"
    assert both.size == 200_000 * 8**8
    assert {choice.options for choice in both.choices[1::2]} == {SCALES}
    assert [choice.group for choice in both.choices[:4]] == ["stage1_0"] * 2 + ["stage1_1"] * 2
    check_space(both)
    alone = with_scales(published.load("digits-mobile").fix([1] * 8))
    assert [choice.name for choice in alone.choices] == names[1::2]
    assert {choice.group for choice in alone.choices} == {None}


def test_what_is_inside_a_block_is_scaled_and_nothing_outside():
    plain = published.load("digits-mobile")
    row = [1, 4, 3, 4, 0, 2, 4, 1]  # 4 is an identity
    scaled = with_scales(plain.fix(row), (0.5, 1.0))
    assert [choice.name for choice in scaled.choices] == [
        f"stage{place}_scale" for place in ("1_0", "2_0", "2_2", "3_0", "3_2")
    ]
    for options, factor in (([0] * 5, 0.5), ([1] * 5, 1.0)):
        for new, old in zip(scaled.layers(options), plain.layers(row), strict=True):
            assert (new.in_shape, new.out_shape) == (old.in_shape, old.out_shape)
            if isinstance(old.layer, MBConv):
                hidden, depthwise, out = widths(old)
                assert widths(new) == [hidden * factor, depthwise * factor, out]
            else:
                assert new == old


def test_candidates_without_channels_of_their_own_are_one_whatever_the_scale():
    both = with_scales(published.load("digits-mobile"), (0.5, 1.0, 1.5))
    rows = np.zeros((3, 16), dtype=np.int64)
    rows[:, 2] = 4  # stage1_1 is an identity
    rows[:, 3] = range(3)
    assert len(np.unique(both.canonical(rows), axis=0)) == 1
    first = with_scales(published.load("mobilenet-21").fix([0] * 21), (0.5,))
    # The first block does not expand.
    assert first.choices[0].name == "stage1_0_scale"


def test_weights_are_shared_by_scales_and_bits_not_by_candidates():
    two = space(
        [Block("a", [BasicBlock(8), BasicBlock(8, kernel=5)], ("a",))], [Choice("a", ("k3", "k5"))]
    )
    varied = with_scales(with_bits(two, ((2, 2), (4, 4))), (0.5, 1.0))
    block = varied.blocks[1]
    assert block.reads == ("a", "a_bits", "a_scale")
    assert block.shares == ("weight_bits", "input_bits", "scale")
    assert [(b.kernel, b.weight_bits, b.scale) for b in block.layers] == [
        (kernel, bits, scale) for kernel in (3, 5) for bits in (2, 4) for scale in (0.5, 1.0)
    ]
    assert [choice.group for choice in varied.choices] == ["a"] * 3
    check_space(varied)
    assert from_json(to_json(varied)) == varied


def test_blocks_that_share_a_choice_have_scales_of_their_own():
    layers = [MBConv(8, 3), MBConv(8, 5)]
    shared = space([Block(name, layers, ("kernel",)) for name in "abc"], [Choice("kernel", (3, 5))])
    varied = with_scales(shared, (0.5, 1.0))
    names = [choice.name for choice in varied.choices]
    assert names == ["kernel", "a_scale", "b_scale", "c_scale"]
    # The kernel is not theirs alone.
    assert [choice.group for choice in varied.choices] == [None] * 4
    check_space(varied)


def test_groups_stay_and_dropped_options_stay_dropped():
    plain = space(
        [Block("a", [MBConv(8, 3), MBConv(8, 5), Identity()], ("a",))],
        [Choice("a", (3, 5, "identity"), group="first")],
    )
    varied = with_scales(plain.restrict([[True, False, True]]), (0.5, 1.0))
    assert [choice.group for choice in varied.choices] == ["first"] * 2
    assert varied.alive == ((True, False, True), (True, True))
    assert varied.size == 4
    assert with_scales(plain, (0.5, 1.0)).alive is None


def test_a_benchmarks_notation_does_not_say_scales():
    plain = published.load("nas-bench-macro")
    assert plain.notation is not None
    varied = with_scales(plain, (0.5, 1.0))
    assert varied.notation is None
    row = [2, 0] * 8
    assert varied.parse(varied.notate(row)).tolist() == row


def test_scales_of_scaled_layers_multiply():
    once = published.load("spos-shufflenet-channels").fix([0] * 20)
    twice = with_scales(once, (5.0,))
    plain = published.architecture("spos-paper")
    assert [p.graph for p in twice.layers([0] * 20)] == [p.graph for p in plain[0].layers(plain[1])]


def test_spaces_of_the_paper_are_made_of_these():
    row = [1, 0, 3, 2] * 5
    plain = published.load("spos-shufflenet")
    assert with_scales(plain.fix(row), name="spos-shufflenet-channels") == published.load(
        "spos-shufflenet-channels", blocks=row
    )
    quantised = with_scales(with_bits(published.load("resnet18")), (0.5, 1.0, 1.5))
    assert quantised.choices == published.load("resnet18-quant").choices
    assert quantised.choices[0].options == BITS


@pytest.mark.parametrize(("bits", "pair"), [(3, (3, 3)), ((2, 4), (2, 4))])
def test_the_same_bits_everywhere(bits, pair):
    joint = with_scales(with_bits(published.load("digits-resnet")), (0.5, 1.0, 1.5))
    row = np.zeros(18, dtype=np.int64)
    row[::3] = [1, 2, 0, 1, 1, 0]
    network = uniform_bits(joint, row, bits)
    name = f"digits-resnet-bits-channels-{pair[0]}w{pair[1]}a"
    assert (network.name, network.num_choices) == (name, 0)
    plain = published.load("digits-resnet").layers(row[::3])
    for new, old in zip(network.layers(()), plain, strict=True):
        if isinstance(old.layer, BasicBlock):
            assert new.layer == old.layer.quantised(*pair)
        else:
            assert new.layer == old.layer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: with_scales(s, ()), "scale: () must be at least one, and each once"),
        (lambda s: with_scales(s, (0.5, 0)), "scale=0 must be a finite number above 0"),
        (lambda s: with_scales(s, (float("nan"),)), "scale=nan must be a finite number above 0"),
        (lambda s: with_scales(s, (float("inf"),)), "scale=inf must be a finite number above 0"),
        (
            lambda s: with_scales(s, (0.01,)),
            "block 'stage1_0': scale=0.01 of 24 channels leaves 0; at least 1 is needed",
        ),
        (
            lambda s: with_scales(published.load("nas-bench-201")),
            "space 'nas-bench-201' has no layer inside which scales (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, "
            "1.4, 1.6) change channels; that takes a layer with a method scaled(scale), as MBConv, "
            "ShuffleUnit and BasicBlock have",
        ),
        (lambda s: with_scales(s, (0.5, 0.5)), "scale: (0.5, 0.5) must be at least one, and each"),
        (lambda s: with_scales(s, (1, 1e9)), "scale=1000000000.0 must be a finite number above 0"),
        (lambda s: with_scales(s, (1,)), "scales: 1 alone changes nothing; give others too"),
        (
            lambda s: with_scales(s, (0.5, 1.001, 1)),
            "scales: 1 and 1.001 are the same channels in every block; leave one out",
        ),
        # Of blocks whose shapes depend on choices before them, too.
        (
            lambda s: with_scales(published.load("mnasnet", resolution=32), (1, 1.0001)),
            "scales: 1 and 1.0001 are the same channels in every block; leave one out",
        ),
        (lambda s: with_scales(s, "a"), "scale='a' must be a finite number above 0"),
        (
            lambda s: with_bits(s, [2]),
            "bits: 2 must be a pair of whole numbers",
        ),
        (lambda s: with_bits(s, [(2, 2, 2)]), "bits: (2, 2, 2) must be a pair of whole numbers"),
        (lambda s: with_bits(s, [(2.7, 2)]), "bits: weights=2.7 must be a whole number from"),
        (lambda s: with_bits(s, 2), "bits=2 must be pairs, such as ((2, 2), (4, 4))"),
        (lambda s: with_scales(s, 0.5), "scales=0.5 must be several, such as (0.5, 1.0)"),
        (
            with_bits,
            "space 'digits-mobile' has no layer that can be quantised; that takes a layer with a "
            "method quantised(weight_bits, input_bits), as BasicBlock has",
        ),
        (
            lambda s: with_bits(published.load("digits-resnet"), ((2, 2), (0, 2))),
            "bits: weights=0 must be a whole number from 1 to 16",
        ),
        (
            lambda s: with_bits(published.load("digits-resnet"), ((4, 17),)),
            "bits: inputs=17 must be a whole number from 1 to 16",
        ),
        (
            lambda s: uniform_bits(s, [0] * 8, 2),
            "space 'digits-mobile' has no layer that can be quantised",
        ),
        (
            lambda s: uniform_bits(published.load("digits-resnet"), [0] * 6, 2.5),
            "bits: weights=2.5 must be a whole number from 1 to 16",
        ),
        (
            lambda s: uniform_bits(published.load("digits-resnet"), [0] * 6, (2, 17)),
            "bits: inputs=17 must be a whole number from 1 to 16",
        ),
        (
            lambda s: uniform_bits(published.load("digits-resnet"), [0] * 6, (2,)),
            "bits: (2,) must be a pair of whole numbers",
        ),
        (
            lambda s: uniform_bits(
                with_scales(published.load("digits-resnet"), (0.5,)), [0] * 12, 2
            ),
            "choice 'stage1_0_scale' has no option 1, the usual channels; it has (0.5,)",
        ),
        (
            lambda s: with_scales(with_scales(s)),
            "space 'digits-mobile-channels' has a choice 'stage1_0_scale' already",
        ),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(InputError) as error:
        change(published.load("digits-mobile"))
    assert message in str(error.value)


def test_numbers_of_numpy_are_taken_as_they_are():
    resnet = published.load("digits-resnet")
    pairs = np.array([[1, 2], [4, 4]])
    assert with_bits(resnet, pairs) == with_bits(resnet, ((1, 2), (4, 4)))
    scaled = with_scales(resnet, np.array([0.5, 1.0], dtype=np.float32))
    assert scaled == with_scales(resnet, (0.5, 1))
    # 1.4 in single precision is less than 1.4: a channel of 160 fewer.
    spos = published.load("spos-shufflenet")
    assert with_scales(spos, np.float32([1.4, 1])) == with_scales(spos, (1.4, 1))
    network = uniform_bits(resnet, [0] * 6, np.int64(2))
    assert network == uniform_bits(resnet, [0] * 6, np.array([2, 2]))
    for space in (with_bits(resnet, pairs), scaled, network):
        assert from_json(to_json(space)) == space
