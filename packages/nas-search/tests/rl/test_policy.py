import numpy as np
import pytest
import torch
from attrs import evolve

from nas_search.rl import Critic, Experience, Policy
from nas_spaces import InputError, published


@pytest.fixture
def space():
    return published.load("nas-bench-201-reduce-3")


def parameters(policy):
    return np.concatenate([p.detach().numpy().ravel() for p in policy.controller.parameters()])


def experience(policy, archs, rewards, log_p=None):
    log_p = policy.controller.log_probability(archs) if log_p is None else log_p
    return Experience(archs, log_p, np.asarray(rewards, dtype=float), np.ones(len(archs)))


def test_what_is_rewarded_becomes_probable(space):
    policy = Policy(space, rng=np.random.default_rng(0), lr=1e-2)
    rng = np.random.default_rng(1)
    target = np.array([2, 1, 0, 2, 1, 0])
    before = policy.controller.log_probability(target[None])[0]
    for _ in range(60):
        archs, log_p = policy.controller.sample(10, rng=rng)
        policy.update(experience(policy, archs, (archs == target).mean(axis=1), log_p))
    assert policy.controller.log_probability(target[None])[0] > np.log(0.5) > before


def test_one_step_is_the_policy_gradient(space):
    policy = Policy(
        space, rng=np.random.default_rng(0), entropy=0.0, epochs=1, standardise=False, lr=1e-3
    )
    archs, log_p = policy.controller.sample(8, rng=np.random.default_rng(1))
    rewards = np.linspace(0, 1, 8)
    rows = torch.as_tensor(archs)
    logs = policy.controller.log_probabilities(rows).gather(2, rows[..., None]).sum(dim=(1, 2))
    advantage = torch.as_tensor(rewards - rewards.mean(), dtype=torch.float32)
    (-(advantage * logs).mean()).backward()
    wanted = [p.grad.clone() for p in policy.controller.parameters()]
    policy.update(experience(policy, archs, rewards, log_p))
    for parameter, gradient in zip(policy.controller.parameters(), wanted, strict=True):
        # Ratios are 1: the gradient of the clipped objective is that of the logarithm.
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_rows_count_by_their_weights(space):
    policy = Policy(space, rng=np.random.default_rng(0), entropy=0.0, epochs=1, standardise=False)
    archs, log_p = policy.controller.sample(2, rng=np.random.default_rng(1))
    rows = torch.as_tensor(archs)
    logs = policy.controller.log_probabilities(rows).gather(2, rows[..., None]).sum(dim=(1, 2))
    # Mean over two rows of weight x advantage x log p: (2 x 0.5 x first + 0 x -0.5 x second) / 2.
    (-0.5 * logs[0]).backward()
    wanted = [p.grad.clone() for p in policy.controller.parameters()]
    policy.update(Experience(archs, log_p, np.array([1.0, 0.0]), np.array([2.0, 0.0])))
    for parameter, gradient in zip(policy.controller.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_beyond_the_clip_nothing_is_learned(space):
    policy = Policy(space, rng=np.random.default_rng(0), entropy=0.0, epochs=1, standardise=False)
    archs, log_p = policy.controller.sample(4, rng=np.random.default_rng(1))
    before = parameters(policy)
    # Twice as probable now as when they were drawn, and better than the baseline.
    told = policy.update(experience(policy, archs, np.ones(4), log_p - np.log(2)), baseline=0.5)
    assert told["clipped"] == 1.0
    np.testing.assert_array_equal(parameters(policy), before)
    # Half as probable, and worse than the baseline.
    told = policy.update(experience(policy, archs, np.zeros(4), log_p + np.log(2)), baseline=0.5)
    assert told["clipped"] == 1.0
    np.testing.assert_array_equal(parameters(policy), before)
    # Worse than the baseline and more probable: that still counts.
    policy.update(experience(policy, archs, np.zeros(4), log_p - np.log(2)), baseline=0.5)
    assert (parameters(policy) != before).any()


def test_the_baseline_is_a_moving_mean_of_the_batches(space):
    policy = Policy(space, rng=np.random.default_rng(0), decay=0.9)
    archs, log_p = policy.controller.sample(4, rng=np.random.default_rng(1))
    told = [
        policy.update(experience(policy, archs, rewards, log_p))["baseline"]
        for rewards in ([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    ]
    assert told == pytest.approx([0.25, 0.9 * 0.25 + 0.1 * 0.65])


def test_entropy_is_rewarded(space):
    policy = Policy(space, rng=np.random.default_rng(0), entropy=1.0, lr=1e-2)
    with torch.no_grad():
        policy.controller.biases[:, 0] = 3.0
    entropies = []
    for _ in range(10):
        archs, log_p = policy.controller.sample(8, rng=np.random.default_rng(1))
        entropies.append(policy.update(experience(policy, archs, np.ones(8), log_p))["entropy"])
    assert entropies[-1] > entropies[0] + 0.1


def test_a_row_that_has_become_far_more_probable_does_no_harm(space):
    policy = Policy(space, rng=np.random.default_rng(0))
    archs, log_p = policy.controller.sample(4, rng=np.random.default_rng(1))
    told = policy.update(experience(policy, archs, [1.0, 0.0, 1.0, 0.0], log_p - 200))
    assert np.isfinite(parameters(policy)).all()
    assert told["ratio"] > 1e8


def test_equal_rewards_teach_nothing(space):
    policy = Policy(space, rng=np.random.default_rng(0), entropy=0.0)
    archs, log_p = policy.controller.sample(10, rng=np.random.default_rng(1))
    before = parameters(policy)
    policy.update(experience(policy, archs, np.full(10, 0.3), log_p))
    np.testing.assert_allclose(parameters(policy), before, atol=1e-6)


def test_nothing_is_drawn_from_the_global_generator(space):
    before = torch.get_rng_state()
    Policy(space, rng=np.random.default_rng(0))
    Critic(space, rng=np.random.default_rng(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_scale_of_rewards_does_not_matter_where_it_is_standardised(space):
    def learned(scale):
        policy = Policy(space, rng=np.random.default_rng(0))
        archs, log_p = policy.controller.sample(16, rng=np.random.default_rng(1))
        for _ in range(3):
            policy.update(experience(policy, archs, scale * archs[:, 0], log_p))
        return parameters(policy)

    np.testing.assert_allclose(learned(1.0), learned(1e-3), atol=1e-5)


def test_entropy_is_that_of_the_decisions(space):
    policy = Policy(space, rng=np.random.default_rng(0), lr=1e-12, epochs=1)
    with torch.no_grad():
        policy.controller.heads.zero_()
        policy.controller.biases.zero_()
    archs, log_p = policy.controller.sample(4, rng=np.random.default_rng(1))
    told = policy.update(experience(policy, archs, np.ones(4), log_p))
    assert told["entropy"] == pytest.approx(6 * np.log(3), abs=1e-4)


def test_state_goes_on_with_the_same_bits(space):
    rng = np.random.default_rng(1)
    policy = Policy(space, rng=np.random.default_rng(0))
    batches = [policy.controller.sample(6, rng=rng) for _ in range(4)]
    for archs, log_p in batches[:2]:
        policy.update(experience(policy, archs, archs[:, 0], log_p))
    other = Policy(space, rng=np.random.default_rng(5))
    other.load_state_dict(policy.state_dict())
    for one in (policy, other):
        for archs, log_p in batches[2:]:
            one.update(experience(one, archs, archs[:, 0], log_p))
    np.testing.assert_array_equal(parameters(policy), parameters(other))
    assert policy.baseline == other.baseline


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0}, "lr=0"),
        ({"clip": -1}, "clip=-1"),
        ({"entropy": -0.1}, "entropy=-0.1"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_bad_settings_are_refused(space, settings, message):
    with pytest.raises(InputError, match=message):
        Policy(space, rng=np.random.default_rng(0), **settings)


def test_bad_experience_and_states_are_refused(space):
    policy = Policy(space, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="empty"):
        policy.update(experience(policy, np.zeros((0, 6), dtype=np.int64), []))
    with pytest.raises(InputError, match="dropped option"):
        policy.update(
            experience(policy, np.zeros((1, 6), dtype=np.int64), [1.0], np.array([-np.inf]))
        )
    with pytest.raises(InputError, match="no state of Policy: it has no controller"):
        policy.load_state_dict({})
    smaller = Policy(space, rng=np.random.default_rng(0), hidden=10)
    with pytest.raises(InputError, match="no state of Policy with the same settings"):
        policy.load_state_dict(smaller.state_dict())


@pytest.mark.parametrize("name", ["rewards", "log_probabilities", "weights"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_and_changes_nothing(space, name, wrong):
    policy = Policy(space, rng=np.random.default_rng(0), hidden=8)
    archs, log_p = policy.controller.sample(3, rng=np.random.default_rng(1))
    good = experience(policy, archs, [0.1, 0.2, 0.3], log_p)
    policy.update(good)
    before = policy.state_dict()
    numbers = getattr(good, name).copy()
    numbers[1] = wrong
    with pytest.raises(InputError, match=rf"{name}\[1\] is {wrong}; give finite"):
        policy.update(evolve(good, **{name: numbers}))
    with pytest.raises(InputError, match=rf"{name} has shape \(2,\); expected \(3,\)"):
        policy.update(evolve(good, **{name: numbers[:2]}))
    with pytest.raises(InputError, match=f"baseline={wrong} must be a finite number"):
        policy.update(good, baseline=wrong)
    np.testing.assert_equal(policy.state_dict(), before)


def test_a_state_that_is_refused_changes_nothing(space):
    policy, other = (Policy(space, rng=np.random.default_rng(seed), hidden=8) for seed in (0, 1))
    archs, log_p = policy.controller.sample(3, rng=np.random.default_rng(1))
    for one in (policy, other):
        one.update(experience(one, archs, [0.1, 0.2, 0.3], log_p))
    before, state = policy.state_dict(), other.state_dict()
    with pytest.raises(InputError, match="no optimiser state of Policy"):
        policy.load_state_dict({**state, "adam": state["adam"][:-1]})
    np.testing.assert_equal(policy.state_dict(), before)
    with pytest.raises(ValueError, match="could not convert"):
        policy.load_state_dict({**state, "mean": "none"})
    np.testing.assert_equal(policy.state_dict(), before)
