import numpy as np
import pytest

from nas_search.rl import ExperienceBuffer
from nas_spaces import InputError, published

# Priorities and importance weights of FNAS's formulas for four rewards.
REWARDS = [0.7, 0.72, 0.75, 0.6]
PRIORITIES = [0.2514894554516932, 0.25656987945441645, 0.26438359555971075, 0.2275570695341795]
WEIGHTS = {
    0.0: [1.0, 1.0, 1.0, 1.0],
    0.4: [0.997626762924542, 0.9896775879167318, 0.977872429473949, 1.0383406834745388],
    1.0: [0.9940774636096847, 0.9743934109943576, 0.9455957336185701, 1.0986255030958267],
}


@pytest.fixture
def space():
    return published.load("nas-bench-macro")


def row(number):
    """The ``number``-th row of the space."""
    return np.array([number // 3**place % 3 for place in range(8)], dtype=np.int64)


def filled(space, rewards, **settings):
    buffer = ExperienceBuffer(space, **settings)
    for number, reward in enumerate(rewards):
        buffer.add(row(number), -float(number), reward)
    return buffer


def test_priorities_are_a_softmax_of_rewards(space):
    np.testing.assert_allclose(filled(space, REWARDS).probabilities(), PRIORITIES, rtol=1e-12)
    sharp = filled(space, REWARDS, temperature=0.01).probabilities()
    np.testing.assert_allclose(sharp[2] / sharp[1], np.exp(3), rtol=1e-6)


@pytest.mark.parametrize("beta", WEIGHTS)
def test_importance_weights(space, beta):
    chosen, weights = filled(space, REWARDS).draw(200, beta, rng=np.random.default_rng(0))
    assert {*chosen} == {0, 1, 2, 3}
    np.testing.assert_allclose(weights, np.array(WEIGHTS[beta])[chosen], rtol=1e-12)


def test_at_beta_one_the_priority_cancels(space):
    buffer = filled(space, REWARDS, temperature=0.1)
    chosen, weights = buffer.draw(100_000, 1.0, rng=np.random.default_rng(0))
    shares = np.bincount(chosen, weights=weights, minlength=4) / 100_000
    np.testing.assert_allclose(shares, 0.25, atol=0.005)


def test_a_full_buffer_keeps_rewards_different_and_the_best(space):
    buffer = filled(space, [0.1, 0.5, 0.9], capacity=3)
    buffer.add(row(7), -7.0, 0.45)
    assert buffer.rewards.tolist() == [0.1, 0.45, 0.9]
    assert buffer.archs[1].tolist() == row(7).tolist()
    buffer.add(row(8), -8.0, 0.89)  # nearest to the best, which stays
    assert buffer.rewards.tolist() == [0.1, 0.89, 0.9]
    buffer.add(row(9), -9.0, 0.95)  # better than the best: takes its place
    assert buffer.rewards.tolist() == [0.1, 0.89, 0.95]


def test_the_same_row_is_kept_once_as_it_came_last(space):
    buffer = filled(space, [0.1, 0.5])
    buffer.add(row(0), -3.0, 0.2)
    assert (buffer.rewards.tolist(), buffer.log_probabilities.tolist()) == ([0.2, 0.5], [-3, -1])


def test_a_network_is_kept_once_however_it_is_written(space):
    buffer = ExperienceBuffer(space)
    buffer.add(np.array([1, 0, 1, 0, 0, 0, 0, 0]), -1.0, 0.5)
    buffer.add(np.array([1, 0, 0, 1, 0, 0, 0, 0]), -2.0, 0.5)
    same = space.canonical(np.array([[1, 0, 1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0, 0]]))
    assert len(buffer) == len(np.unique(same, axis=0))


def test_at_most_its_share_of_a_batch_is_replayed(space):
    assert ExperienceBuffer(space).replayed(10) == 0
    assert filled(space, REWARDS).replayed(10) == 4
    assert filled(space, [0.5] * 9).replayed(10) == 5
    assert filled(space, [0.5] * 9).replayed(3) == 1
    for share in (0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9):
        buffer = ExperienceBuffer(space, share=share)
        parts = round(10 * share)
        assert buffer.beside(10 - parts) == parts
        assert buffer.beside(9 - parts) < parts
    assert ExperienceBuffer(space).draw(0, 0.5, rng=np.random.default_rng(0))[0].shape == (0,)


def test_state(space):
    buffer = filled(space, REWARDS)
    other = ExperienceBuffer(space)
    other.load_state_dict(buffer.state_dict())
    one, two = (b.draw(20, 0.5, rng=np.random.default_rng(3)) for b in (buffer, other))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(InputError, match="capacity=3 holds fewer"):
        ExperienceBuffer(space, capacity=3).load_state_dict(buffer.state_dict())
    with pytest.raises(InputError, match="has no archs"):
        buffer.load_state_dict({"rewards": []})


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"share": 1.0}, {"temperature": 0.0}])
def test_bad_settings_are_refused(space, wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(InputError, match=f"{name}={value} must be"):
        ExperienceBuffer(space, **wrong)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(space, wrong):
    buffer = filled(space, REWARDS)
    before = buffer.state_dict()
    with pytest.raises(InputError, match=f"reward={wrong} must be a finite number"):
        buffer.add(row(7), -1.0, wrong)
    with pytest.raises(InputError, match=f"log_probability={wrong} must be a finite number"):
        buffer.add(row(7), wrong, 0.5)
    np.testing.assert_equal(buffer.state_dict(), before)
