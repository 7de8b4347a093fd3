import numpy as np
import pytest
from attrs import evolve

from nas_search.rl import Critic
from nas_spaces import Choice, InputError, published


@pytest.fixture
def space():
    return published.load("nas-bench-macro")


def reward(archs):
    """0.5 to 0.75, the sum of what the options are worth."""
    return 0.5 + np.asarray(archs).sum(axis=1) / 64


def taught(space, *, rounds=30, seed=0, **settings):
    critic = Critic(space, rng=np.random.default_rng(seed), **{"hidden": 64, **settings})
    rng = np.random.default_rng(seed + 1)
    for _ in range(rounds):
        archs = space.sample(10, rng=rng)
        critic.learn(archs, reward(archs))
    return critic


def test_it_learns_rewards_and_how_far_it_is_off(space):
    critic = taught(space)
    archs = space.sample(500, rng=np.random.default_rng(9))
    value, uncertainty = critic.predict(archs)
    off = np.abs(value - reward(archs))
    assert off.mean() < 0.2 * np.abs(reward(archs) - reward(archs).mean()).mean()
    assert (uncertainty >= 0).all()
    # First residuals include those of the beginning, when little was known.
    assert 0.5 * off.mean() < uncertainty.mean() < 0.05


def test_rows_of_one_network_are_one_to_it():
    space = published.load("nas-bench-201-reduce-3")
    rows = np.array(list(np.ndindex(*space.num_options)))
    canonical = space.canonical(rows)
    critic = Critic(space, rng=np.random.default_rng(0), hidden=8)
    for all_of, own in zip(critic.predict(rows), critic.predict(canonical), strict=True):
        np.testing.assert_array_equal(all_of, own)
    assert len(np.unique(canonical, axis=0)) < len(rows)
    # What it learns from one of them it learns from the other.
    other = Critic(space, rng=np.random.default_rng(0), hidden=8)
    critic.learn(rows[:40], rows[:40].sum(axis=1) / 10)
    other.learn(canonical[:40], rows[:40].sum(axis=1) / 10)
    np.testing.assert_array_equal(critic.predict(rows)[0], other.predict(rows)[0])


def test_it_is_less_certain_where_rewards_are_noisy(space):
    rng = np.random.default_rng(0)
    critic = Critic(space, rng=rng, hidden=64)
    for _ in range(60):
        archs = space.sample(10, rng=rng)
        noise = 0.1 * rng.standard_normal(10) * (archs[:, 0] == 2)
        critic.learn(archs, reward(archs) + noise)
    archs = space.sample(500, rng=rng)
    _, uncertainty = critic.predict(archs)
    noisy = archs[:, 0] == 2
    assert uncertainty[noisy].mean() > 2 * uncertainty[~noisy].mean()


def test_uncertainty_does_not_pull_at_the_value(space):
    def values(residuals):
        critic = taught(space, rounds=5, residuals=residuals)
        return critic.predict(space.sample(50, rng=np.random.default_rng(3)))

    (first, one), (current, other) = values("first"), values("current")
    # The target of U differs; V, whose gradient stops there, learns the same.
    np.testing.assert_array_equal(first, current)
    assert (one != other).any()


def test_the_scale_of_rewards_does_not_matter(space):
    archs = space.sample(60, rng=np.random.default_rng(0))
    found = []
    for scale, shift in ((1.0, 0.0), (1e-3, 5.0)):
        critic = Critic(space, rng=np.random.default_rng(1), hidden=64)
        for part in archs.reshape(6, 10, -1):
            critic.learn(part, scale * reward(part) + shift)
        value, uncertainty = critic.predict(archs)
        found.append(((value - shift) / scale, uncertainty / scale))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-3)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-2)


def test_equal_rewards_are_learned(space):
    critic = Critic(space, rng=np.random.default_rng(0), hidden=64)
    archs = space.sample(10, rng=np.random.default_rng(0))
    losses = critic.learn(archs, np.full(10, 0.3))
    assert max(losses.values()) < 2


def test_members_differ_where_little_was_measured(space):
    """An ensemble knows what it has not seen: rows of an option that no reward was of."""
    critic = Critic(space, rng=np.random.default_rng(0), hidden=64, members=4)
    rng = np.random.default_rng(1)
    seen = space.sample(60, rng=rng)
    seen[:, 0] = rng.integers(2, size=60)
    for new in (seen, *[seen[:0]] * 19):
        losses = critic.learn(new, reward(new))
    assert list(losses) == ["value_loss"]
    archs = space.sample(500, rng=rng)
    value, uncertainty = critic.predict(archs)
    known = archs[:, 0] < 2
    assert uncertainty[~known].mean() > 1.5 * uncertainty[known].mean() > 0
    off = np.abs(value - reward(archs))[known]
    assert off.mean() < 0.3 * np.abs(reward(archs) - reward(archs).mean()).mean()


def test_members_learn_from_batches_of_their_own(space):
    critic = Critic(space, rng=np.random.default_rng(0), hidden=16, members=2, batch=8)
    state = critic.state_dict()
    for value in state["networks"].values():
        value[1] = value[0]
    critic.load_state_dict(state)
    archs = space.sample(50, rng=np.random.default_rng(1))
    assert (critic.predict(archs)[1] == 0).all()
    critic.learn(archs, reward(archs))
    assert (critic.predict(archs)[1] > 0).all()


def test_one_failure_does_not_hide_the_others(space):
    archs = space.sample(300, rng=np.random.default_rng(9))
    found = []
    for failed in (False, True):
        critic = Critic(space, rng=np.random.default_rng(0), hidden=64, steps=200)
        few = space.sample(40, rng=np.random.default_rng(1))
        rewards = 0.9 + reward(few) / 50
        rewards[0] -= 0.9 * failed
        critic.learn(few, rewards)
        found.append(np.abs(critic.predict(archs)[0] - 0.9 - reward(archs) / 50).mean())
        # How far V was off is told in the scale of the others as well.
        assert critic.state_dict()["residuals"].max() < 0.1
    assert found[1] < 2 * found[0]


def test_the_running_median_is_of_the_last_proposals(space):
    critic = taught(space, window=10)
    critic.trusts(np.full(10, 5.0))
    critic.trusts(np.full(10, 1.0))
    assert not critic.trusts(np.array([2.0])).any()


def test_half_of_the_proposals_are_trusted_by_the_running_median(space):
    critic = taught(space)
    uncertainty = np.random.default_rng(0).random(1000)
    trusted = np.concatenate([critic.trusts(part) for part in uncertainty.reshape(-1, 10)])
    assert 0.45 < trusted.mean() < 0.6
    assert uncertainty[trusted].mean() < 0.35 < uncertainty[~trusted].mean()


def test_nothing_is_trusted_before_enough_is_measured(space):
    critic = taught(space, rounds=1)
    assert not critic.trusts(np.zeros(5)).any()
    archs = space.sample(10, rng=np.random.default_rng(7))
    critic.learn(archs, reward(archs))
    assert critic.trusts(np.zeros(5)).all()
    assert len(critic) == 20


def test_nothing_is_trusted_while_rewards_are_equal(space):
    """One reward, or equal ones, have no scale that U could be below a threshold in."""
    archs = space.sample(6, rng=np.random.default_rng(0))
    for rewards in ([0.9], [0.9] * 5):
        critic = Critic(space, rng=np.random.default_rng(1), hidden=8, threshold=1e9, least=1)
        critic.learn(archs[: len(rewards)], np.array(rewards))
        assert not critic.trusts(critic.predict(archs)[1]).any()
        critic.learn(archs[-1:], np.array([0.8]))
        assert critic.trusts(critic.predict(archs)[1]).all()


def test_nothing_is_trusted_while_rewards_differ_by_rounding_and_outliers(space):
    critic = Critic(space, rng=np.random.default_rng(1), hidden=8, threshold=1e9, least=1)
    archs = space.sample(20, rng=np.random.default_rng(0))
    critic.learn(archs, np.array([0.3] * 10 + [0.1 + 0.2] * 10))
    assert not critic.trusts(np.zeros(3)).any()


def test_a_fixed_threshold(space):
    critic = taught(space, threshold=0.01)
    assert critic.trusts(np.array([0.005, 0.01, 0.02])).tolist() == [True, True, False]


@pytest.mark.parametrize("members", [1, 3])
def test_another_search_inherits_what_it_knows(space, members):
    critic = taught(space, rounds=60, members=members)
    archs = space.sample(300, rng=np.random.default_rng(9))
    other = Critic(space, rng=np.random.default_rng(5), hidden=64, members=members)
    assert other.inherit(critic) == 24
    assert len(other) == 0
    # Another task: the same order of architectures, other rewards.
    few = space.sample(20, rng=np.random.default_rng(11))
    other.learn(few, 2 * reward(few) - 0.9)
    fresh = Critic(space, rng=np.random.default_rng(5), hidden=64, members=members)
    fresh.learn(few, 2 * reward(few) - 0.9)
    off = [np.abs(c.predict(archs)[0] - (2 * reward(archs) - 0.9)).mean() for c in (other, fresh)]
    assert off[0] < 0.5 * off[1]


def test_only_tokens_of_the_same_names_are_inherited(space):
    critic = taught(space, rounds=2)
    first = space.choices[0]
    blocks = tuple(
        evolve(block, reads=tuple("begin" if name == first.name else name for name in block.reads))
        for block in space.blocks
    )
    choices = (Choice("begin", first.options), *space.choices[1:])
    renamed = evolve(space, choices=choices, blocks=blocks)
    other = Critic(renamed, rng=np.random.default_rng(5), hidden=64)
    before = other.state_dict()["networks"]["weights.0"]
    assert other.inherit(critic) == 21
    after = other.state_dict()["networks"]["weights.0"]
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    its = critic.state_dict()["networks"]["weights.0"]
    np.testing.assert_array_equal(after[:, 3:], its[:, 3:])
    foreign = Critic(published.load("nas-bench-201"), rng=np.random.default_rng(0), hidden=64)
    with pytest.raises(InputError, match="share no option"):
        foreign.inherit(critic)
    with pytest.raises(InputError, match="hidden=100 here and 64"):
        Critic(space, rng=np.random.default_rng(0), hidden=100).inherit(critic)
    with pytest.raises(InputError, match="members=3 here and 1"):
        Critic(space, rng=np.random.default_rng(0), hidden=64, members=3).inherit(critic)
    with pytest.raises(InputError, match="has learned from 20 rewards"):
        critic.inherit(other)


@pytest.mark.parametrize("members", [1, 3])
def test_state_goes_on_with_the_same_bits(space, members):
    critic = taught(space, rounds=4, members=members)
    other = Critic(space, rng=np.random.default_rng(8), hidden=64, members=members)
    other.load_state_dict(critic.state_dict())
    archs = space.sample(10, rng=np.random.default_rng(3))
    for one in (critic, other):
        one.trusts(np.ones(7))
        one.learn(archs, reward(archs))
    np.testing.assert_array_equal(critic.predict(archs), other.predict(archs))
    uncertainty = np.linspace(0, 2, 9)
    np.testing.assert_array_equal(critic.trusts(uncertainty), other.trusts(uncertainty))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden=0"),
        ({"members": 0}, "members=0"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"residuals": "last"}, "residuals='last'"),
        ({"threshold": -0.5}, "threshold=-0.5"),
        ({"least": 0}, "least=0"),
    ],
)
def test_bad_settings_are_refused(space, settings, message):
    with pytest.raises(InputError, match=message):
        Critic(space, rng=np.random.default_rng(0), **settings)


def test_states_of_something_else_are_refused(space):
    critic = taught(space, rounds=1)
    with pytest.raises(InputError, match="no state of Critic: it has no rng"):
        critic.load_state_dict({})
    other = taught(published.load("nas-bench-201"), rounds=1)
    with pytest.raises(InputError, match="critic of other tokens"):
        critic.load_state_dict(other.state_dict())
    # One V with its U are as many networks as two V.
    two = Critic(space, rng=np.random.default_rng(0), hidden=64, members=2)
    with pytest.raises(InputError, match="critic of members=1, here 2"):
        two.load_state_dict(critic.state_dict())
    with pytest.raises(InputError, match="9 rewards"):
        critic.load_state_dict({**critic.state_dict(), "rewards": np.zeros(9)})


def test_rewards_that_are_not_finite_numbers_for_each_row_are_refused(space):
    critic = taught(space, rounds=1)
    archs, before = space.sample(3, rng=np.random.default_rng(0)), critic.state_dict()
    with pytest.raises(InputError, match=r"rewards\[1\] is nan; give finite numbers"):
        critic.learn(archs, np.array([0.1, np.nan, 0.3]))
    with pytest.raises(InputError, match=r"rewards has shape \(2,\); expected \(3,\)"):
        critic.learn(archs, np.array([0.1, 0.3]))
    np.testing.assert_equal(critic.state_dict(), before)


def test_a_space_without_choices_is_refused(space):
    with pytest.raises(InputError, match=r"has no choices; there is nothing to decide"):
        Critic(space.fix([0] * 8), rng=np.random.default_rng(0))


def test_a_state_that_is_refused_changes_nothing(space):
    critic, other = (taught(space, rounds=2, seed=seed) for seed in (0, 1))
    before, state = critic.state_dict(), other.state_dict()
    for wrong, message in (
        ({"adam": state["adam"][:-1]}, "no optimiser state of Critic"),
        ({"rng": np.random.MT19937(0).state}, "state of rng does not fit"),
    ):
        with pytest.raises(InputError, match=message):
            critic.load_state_dict({**state, **wrong})
        np.testing.assert_equal(critic.state_dict(), before)
