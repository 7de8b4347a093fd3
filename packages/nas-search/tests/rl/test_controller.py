import itertools

import numpy as np
import pytest
import torch

from nas_search.rl import Controller
from nas_spaces import InputError, published


@pytest.fixture
def space():
    return published.load("nas-bench-201-reduce-2")


def every_row(space):
    rows = itertools.product(*(np.flatnonzero(live) for live in space.mask))
    return np.array(list(rows), dtype=np.int64)


def trained(space):
    """A controller far from uniform."""
    controller = Controller(space, rng=np.random.default_rng(0), hidden=16)
    with torch.no_grad():
        controller.heads.mul_(200)
    return controller


def test_probabilities_of_all_rows_add_to_one(space):
    probabilities = np.exp(trained(space).log_probability(every_row(space)))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert probabilities.max() > 3 * probabilities.min()


def test_rows_are_drawn_as_often_as_their_probability_says(space):
    controller = trained(space)
    archs, log_p = controller.sample(20_000, rng=np.random.default_rng(1))
    np.testing.assert_allclose(log_p, controller.log_probability(archs), atol=1e-4)
    rows, counts = np.unique(archs, axis=0, return_counts=True)
    expected = 20_000 * np.exp(controller.log_probability(rows))
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 1).all()


def test_dropped_options_are_never_drawn(space):
    alive = space.mask.copy()
    alive[0, 0] = alive[3, 1] = False
    controller = trained(space.restrict(alive))
    archs, log_p = controller.sample(500, rng=np.random.default_rng(1))
    assert (archs[:, 0] != 0).all()
    assert (archs[:, 3] != 1).all()
    assert np.isfinite(log_p).all()
    dropped = np.zeros((1, space.num_choices), dtype=np.int64)
    assert controller.log_probability(dropped).tolist() == [-np.inf]


def test_given_choices_are_kept(space):
    controller = trained(space)
    given = space.sample(200, rng=np.random.default_rng(2))
    free = np.random.default_rng(3).random(given.shape) < 0.3
    archs, _ = controller.sample(200, rng=np.random.default_rng(4), given=given, free=free)
    assert (archs == given)[~free].all()
    assert not (archs == given)[free].all()


def test_seeds_decide(space):
    def draw(seed):
        controller = Controller(space, rng=np.random.default_rng(seed))
        return controller.sample(20, rng=np.random.default_rng(seed))[0].tolist()

    assert draw(0) == draw(0) != draw(1)


def test_bad_arguments_are_refused(space):
    fixed = space.fix(space.sample(1, rng=np.random.default_rng(0))[0])
    with pytest.raises(InputError, match="hidden=0"):
        Controller(space, rng=np.random.default_rng(0), hidden=0)
    with pytest.raises(InputError, match="no choices"):
        Controller(fixed, rng=np.random.default_rng(0))
