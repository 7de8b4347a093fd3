import numpy as np
import pytest
import torch
from torch.nn import functional

from nas_samplers import candidate_similarity
from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, Identity, Zero
from nas_spaces.torch import Supernet


def build(space):
    return Supernet(space, generator=torch.Generator().manual_seed(0))


def noise(space, n=6, seed=0):
    return torch.randn(n, *space.input_shape, generator=torch.Generator().manual_seed(seed))


def one_block(candidates, *before, reads=("a",), choices=None):
    """A space whose only choice decides the block behind the image."""
    names = tuple(range(len(candidates)))
    return SearchSpace(
        "one",
        (4, 6, 6),
        choices or [Choice("a", names)],
        [*before, Block("mixed", candidates, reads), Block("head", [Classifier(3)])],
    )


def by_loops(maps):
    """Mean cosine similarity of maps [n, c, h, w] on the same channel."""
    cosine = np.empty((len(maps), len(maps)))
    for i, a in enumerate(maps):
        for j, b in enumerate(maps):
            pairs = zip(a.flatten(0, 1), b.flatten(0, 1), strict=False)
            values = [
                functional.cosine_similarity(x.flatten(), y.flatten(), dim=0) for x, y in pairs
            ]
            cosine[i, j] = torch.stack(values).mean()
    return cosine


def test_it_is_the_cosine_on_the_same_channel_averaged(space):
    supernet, images = build(space), noise(space)
    found = candidate_similarity(supernet, images, [1, 2, 0])
    # With batch statistics a supernet in training gives the same; this changes its statistics.
    supernet.train()
    with torch.no_grad():
        trace = supernet.trace(images, [1, 2, 0])
        for block, index, options in zip(found.blocks, (1, 2, 3), (3, 3, 2), strict=True):
            maps = [supernet.candidate(trace.inputs[index], index, o) for o in range(options)]
            assert block.options == tuple(range(options))
            np.testing.assert_allclose(block.cosine, by_loops(maps), atol=1e-5)
    assert [(one.block, one.choice) for one in found.blocks] == [("a", "a"), ("b", "b"), ("c", "c")]
    assert found.left_out == ()


def test_the_path_decides_what_the_candidates_are_given(space):
    supernet, images = build(space), noise(space)
    one, other = (candidate_similarity(supernet, images, path) for path in ([0, 0, 0], [1, 0, 0]))
    np.testing.assert_array_equal(one.blocks[0].cosine, other.blocks[0].cosine)
    assert not np.allclose(one.blocks[1].cosine, other.blocks[1].cosine)


def test_the_supernet_is_not_changed(space):
    supernet = build(space)
    before = {name: x.clone() for name, x in supernet.state_dict().items()}
    candidate_similarity(supernet, noise(space), [0, 1, 1])
    assert all(torch.equal(before[name], x) for name, x in supernet.state_dict().items())
    assert supernet.training


def test_equal_and_opposite_candidates():
    space = one_block([Identity(), Conv(4, 1, activation=None), Conv(4, 1, activation=None)])
    supernet = build(space)
    with torch.no_grad():
        for option, sign in ((1, 1.0), (2, -1.0)):
            convolution = supernet.layer(0, option).weighted("conv")
            convolution.weight.copy_(sign * torch.eye(4)[:, :, None, None])
    images = noise(space, n=400)
    # Of zero mean and unit variance, which norms then leave alone.
    images = (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)
    cosine = candidate_similarity(supernet, images, [0]).blocks[0].cosine
    np.testing.assert_allclose(cosine, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-4)


def test_maps_of_zeros_do_not_count():
    space = one_block([Identity(), Zero()])
    images = noise(space)
    images[:, 1] = 0
    found = candidate_similarity(build(space), images, [0])
    np.testing.assert_allclose(found.blocks[0].cosine, [[1, np.nan], [np.nan, np.nan]])
    assert found.maps.channel != 1


def test_candidates_of_different_width_are_compared_on_the_channels_that_both_have():
    space = one_block([Conv(4, 3), Conv(9, 3)])
    supernet, images = build(space), noise(space)
    cosine = candidate_similarity(supernet, images, [0]).blocks[0].cosine
    supernet.train()
    with torch.no_grad():
        maps = [supernet.candidate(images, 0, option) for option in (0, 1)]
    assert cosine[0, 1] == pytest.approx(by_loops([maps[0], maps[1][:, :4]])[0, 1], abs=1e-5)


def test_blocks_that_cannot_be_compared_are_named():
    stem = Block("stem", [Conv(4), Conv(8)], ("width",))
    choices = [Choice("width", (4, 8)), Choice("a", (0, 1)), Choice("b", (0, 1))]
    several = [Conv(4, kernel) for kernel in (1, 3, 5, 7)]
    sizes = [Conv(4, 3, 1), Conv(4, 3, 2)]
    space = SearchSpace(
        "left-out",
        (4, 6, 6),
        choices,
        [
            stem,
            Block("follows", [Conv(4, 3), Conv(4, 5)], ("a",)),
            Block("several", several, ("a", "b")),
            Block("head", [Classifier(3)]),
        ],
    )
    found = candidate_similarity(build(space), noise(space), [0, 0, 0])
    assert [one.block for one in found.blocks] == ["stem"]
    assert found.left_out == ("follows", "several")
    space = one_block(sizes)
    found = candidate_similarity(build(space), noise(space), [0])
    assert (found.blocks, found.maps, found.left_out) == ((), None, ("mixed",))


def test_dropped_options_are_not_compared(space):
    alive = space.mask.copy()
    alive[0, 1] = False
    found = candidate_similarity(build(space.restrict(alive)), noise(space), [0, 0, 0])
    assert found.blocks[0].options == (0, 2)
    assert found.blocks[0].cosine.shape == (2, 2)


def test_a_cell_is_compared_wherever_it_stands():
    space = published.load("nas-bench-201", resolution=8)
    found = candidate_similarity(build(space), noise(space), [3, 3, 1, 3, 1, 3])
    assert len(found.blocks) == 15 * 6
    assert {one.choice for one in found.blocks} == {choice.name for choice in space.choices}
    # The first option is `none`, whose maps are zeros.
    assert np.isnan(found.blocks[0].cosine[0]).all()


def test_the_channel_that_is_shown(space):
    supernet, images = build(space), noise(space)
    found = candidate_similarity(supernet, images, [1, 2, 0])
    assert (found.maps.block, found.maps.options) == ("a", (0, 1, 2))
    supernet.train()
    with torch.no_grad():
        entering = supernet.trace(images, [1, 2, 0]).inputs[1]
        for option, shown in enumerate(found.maps.maps):
            whole = supernet.candidate(entering, 1, option)[0]
            np.testing.assert_allclose(shown, whole[found.maps.channel], atol=1e-5)


@pytest.mark.parametrize(
    ("n", "path", "match"), [(1, [0, 0, 0], "batch of 1"), (4, [0, 0], "2 columns")]
)
def test_bad_input_is_refused(space, n, path, match):
    with pytest.raises(InputError, match=match):
        candidate_similarity(build(space), noise(space, n), path)
