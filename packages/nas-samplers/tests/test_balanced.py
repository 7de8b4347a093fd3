import numpy as np
import pytest

from nas_samplers import Alphas, Balanced, Weighted
from nas_spaces import published
from nas_spaces.testing import check_sampler

DRAWS = 3000


@pytest.mark.parametrize("sampler", [Balanced, Weighted])
@pytest.mark.parametrize("name", ["nas-bench-macro", "digits-mobile", "nas-bench-201"])
def test_they_keep_the_rules_of_samplers(sampler, name):
    space = published.load(name)
    check_sampler(lambda rng: sampler(Alphas(space), rng=rng), space)


@pytest.mark.parametrize("sampler", [Balanced, Weighted])
def test_what_was_dropped_is_neither_drawn_nor_counted(sampler):
    space = published.load("digits-mobile")
    alphas = Alphas(space, std=0.1, rng=np.random.default_rng(0))
    drawing = sampler(alphas, rng=np.random.default_rng(1))
    alphas.drop(0, 2)
    for _ in range(100):
        drawing.ask()
    alphas.drop(0, 1)
    for _ in range(100):
        assert drawing.ask()[0, 0] in (0, 3)
    assert alphas.steps == 200
    assert (alphas.counts.sum(axis=1) == 200).all()
    assert alphas.counts[0, 2] == 0
    assert 0 < alphas.counts[0, 1] < 60
    assert not alphas.counts[~space.mask].any()


def shares(sampler, alphas):
    drawn = sampler(alphas, rng=np.random.default_rng(3))
    rows = np.concatenate([drawn.ask() for _ in range(DRAWS)])
    counts = [np.bincount(column, minlength=alphas.alive.shape[1]) for column in rows.T]
    assert np.array_equal(counts, alphas.counts)
    return np.array(counts) / DRAWS


def test_balanced_does_not_look_at_alphas_and_weighted_does():
    space = published.load("digits-mobile")
    alphas = Alphas(space, std=1.0, rng=np.random.default_rng(0))
    alphas.drop(4, 1)
    wanted = alphas.probabilities()
    even = alphas.alive / alphas.alive.sum(axis=1, keepdims=True)
    assert np.abs(wanted - even).max() > 0.2
    np.testing.assert_allclose(shares(Weighted, alphas), wanted, atol=0.04)
    alphas.counts[:] = 0
    np.testing.assert_allclose(shares(Balanced, alphas), even, atol=0.04)
