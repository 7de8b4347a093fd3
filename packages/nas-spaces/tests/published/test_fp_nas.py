import itertools

import numpy as np
import pytest

from nas_spaces import published


def test_fine_chooses_for_every_block_what_f_chooses_for_a_group():
    fine, coarse = published.load("fbnetv2-fine"), published.load("fbnetv2-f")
    groups = list(dict.fromkeys(choice.group for choice in fine.choices))
    assert groups == [block.name for block in fine.blocks[1:-2]]
    assert len(groups) == 17
    # A row of F, written out block by block, builds the same network.
    row = coarse.sample(1, rng=np.random.default_rng(1))[0]
    column = {choice.name: i for i, choice in enumerate(coarse.choices)}
    spread = [row[column[name]] for block in coarse.blocks[1:-2] for name in block.reads]
    assert fine.layers(spread) == coarse.layers(row)


def test_splits_extend_squeeze_and_excitation():
    splits, coarse = published.load("fbnetv2-f++"), published.load("fbnetv2-f")
    assert [choice.options for choice in splits.choices[4::5]] == [(0, 1, 2, 4)] * 10
    assert splits.size == coarse.size * 2**10
    row = coarse.sample(1, rng=np.random.default_rng(2))[0]
    assert splits.layers(row) == coarse.layers(row)


@pytest.mark.parametrize(
    ("name", "blocks", "resolution", "printed"),
    [
        ("fp-nas-l0", 27, 224, 2e32),
        ("fp-nas-l1", 32, 240, 1e36),
        ("fp-nas-l2", 32, 256, 1e36),
    ],
)
def test_the_large_spaces_have_what_the_paper_says_of_them(name, blocks, resolution, printed):
    space = published.load(name)
    assert space.input_shape == (3, resolution, resolution)
    assert len(space.blocks) == blocks + 3
    assert space.size == pytest.approx(printed, rel=0.05)
    assert {choice.options for choice in space.choices[4::5]} == {(0, 1, 2, 4)}
    sizes = [layer.out_shape[1] for layer in space.layers([0] * space.num_choices)[:-1]]
    assert sizes[0] == resolution // 2
    assert sizes[-1] == resolution // 32 + (resolution % 32 > 0)
    assert all(before >= after for before, after in itertools.pairwise(sizes))


def test_large_spaces_are_wider_and_deeper_than_f():
    widths = {}
    for name in ("fbnetv2-f++", "fp-nas-l0", "fp-nas-l1", "fp-nas-l2"):
        space = published.load(name)
        last = np.array(space.num_options) - 1
        widths[name] = sum(layer.out_shape[0] for layer in space.layers(last)[1:-2])
    assert list(widths.values()) == sorted(widths.values())
