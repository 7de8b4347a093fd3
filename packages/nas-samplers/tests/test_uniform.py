import numpy as np
import pytest

from nas_samplers import Uniform
from nas_spaces import published
from nas_spaces.testing import check_sampler

DRAWS = 3000


@pytest.mark.parametrize("name", sorted(published.SPACES))
def test_it_keeps_the_rules_of_samplers(name):
    space = published.load(name)
    check_sampler(lambda rng: Uniform(space, rng=rng), space)


def test_restricted_spaces_too():
    space = published.load("digits-mobile")
    alive = space.mask.copy()
    alive[0, 1:] = False
    alive[3, 2] = False
    space = space.restrict(alive)
    check_sampler(lambda rng: Uniform(space, rng=rng), space)
    rows = draw(space)
    assert set(rows[:, 0]) == {0}
    assert 2 not in rows[:, 3]
    assert set(rows[:, 2]) == set(range(space.num_options[2]))


def draw(space):
    sampler = Uniform(space, rng=np.random.default_rng(4))
    rows = [sampler.ask() for _ in range(DRAWS)]
    assert all(row.shape == (1, space.num_choices) for row in rows)
    return np.concatenate(rows)


def chi_square(counts):
    """Return how many standard deviations the statistic is above its mean."""
    expected = counts.sum() / counts.size
    free = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - free) / (2 * free) ** 0.5


def test_every_option_is_equally_likely_and_columns_are_independent():
    space = published.load("nas-bench-macro")
    rows = draw(space)
    for column, size in enumerate(space.num_options):
        assert chi_square(np.bincount(rows[:, column], minlength=size)) < 5
    for a in range(space.num_choices):
        for b in range(a):
            pairs = np.bincount(rows[:, a] * 3 + rows[:, b], minlength=9)
            assert chi_square(pairs) < 5


def test_one_row_a_step():
    space = published.load("spos-shufflenet")
    assert Uniform(space, rng=np.random.default_rng(0)).ask().shape == (1, 20)
    fixed = space.fix([0] * 20)
    assert Uniform(fixed, rng=np.random.default_rng(0)).ask().shape == (1, 0)
