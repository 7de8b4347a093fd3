import inspect

import attrs
import numpy as np
import pytest
import torch

from nas_cli.ppo_settings import OF_PPO, BufferConfig, CriticConfig, PolicyConfig, build_ppo
from nas_cli.typed import structure
from nas_search.rl import PPO, Accuracy, Critic, ExperienceBuffer, Policy
from nas_spaces import FeasibleSet, InputError, published

SPACE = published.load("nas-bench-201-reduce-3")
FEASIBLE = FeasibleSet(SPACE)
SMALL = PolicyConfig(hidden=8, batch=4)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(policy=SMALL, critic=None, buffer=None, *, seed=0, reward=None):
    rng = np.random.default_rng(seed)
    return build_ppo(FEASIBLE, policy, critic, buffer, rng=rng, budget=70, reward=reward)


def search(searcher, batches=3):
    """Return what a search asks that is told nothing but the sum of the options."""
    asked = []
    for _ in range(batches):
        archs = searcher.ask()
        searcher.tell(archs, 1 - archs.sum(axis=1, keepdims=True) / 100)
        asked.append(archs)
    return np.concatenate(asked)


@pytest.mark.parametrize(
    ("keys", "made"),
    [
        (set(attrs.asdict(PolicyConfig())) - set(OF_PPO), Policy),
        (set(OF_PPO), PPO),
        (set(attrs.asdict(CriticConfig())), Critic),
        (set(attrs.asdict(BufferConfig())), ExperienceBuffer),
    ],
)
def test_all_numbers_can_be_set(keys, made):
    """A parameter that is added to one of the parts is to be added to its settings too."""
    parameters = set(inspect.signature(made).parameters)
    given = {"space", "rng", "feasible", "reward", "policy", "critic", "buffer", "budget"}
    assert parameters - given == keys


def test_a_searcher_is_made_of_its_settings():
    policy = PolicyConfig(
        batch=5,
        hidden=7,
        lr=0.02,
        entropy=0.3,
        clip=0.4,
        decay=0.6,
        epochs=2,
        standardise=False,
        baseline="critic",
        pick="uncertain",
        resampled=9,
    )
    critic = CriticConfig(
        hidden=6,
        lr=0.03,
        steps=3,
        batch=8,
        residuals="current",
        threshold=None,
        window=11,
        least=4,
    )
    made = build(policy, critic, BufferConfig(capacity=3, share=0.25, temperature=0.1))
    assert (made.feasible, made.space, made.budget) == (FEASIBLE, SPACE, 70)
    assert (made.batch, made.baseline, made.pick, made.resampled) == (5, "critic", "uncertain", 9)
    own = made.policy
    assert (own.entropy, own.clip, own.decay, own.epochs, own.standardise) == (
        0.3,
        0.4,
        0.6,
        2,
        False,
    )
    assert (made.critic.hidden, made.critic.steps, made.critic.batch) == (6, 3, 8)
    assert (made.critic.residuals, made.critic.threshold, made.critic.least) == ("current", None, 4)
    assert attrs.asdict(BufferConfig(capacity=3, share=0.25, temperature=0.1)) == {
        key: getattr(made.buffer, key) for key in ("capacity", "share", "temperature")
    }
    assert len(search(made)) >= 3


@pytest.mark.parametrize(
    "other",
    [{"hidden": 9}, {"lr": 0.5}],
)
def test_settings_of_the_policy_that_cannot_be_read_back_count(other):
    plain = search(build())
    changed = search(build(attrs.evolve(SMALL, **other)))
    assert plain.shape != changed.shape or (plain != changed).any()


def test_the_same_seed_searches_alike():
    parts = (CriticConfig(hidden=8, steps=2, least=4), BufferConfig())
    first, again = (search(build(SMALL, *parts)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = search(build(SMALL, *parts, seed=1))
    assert first.shape != other.shape or (first != other).any()


def test_parts_are_left_out():
    plain = build()
    assert (plain.critic, plain.buffer) == (None, None)
    assert build(buffer=BufferConfig()).critic is None
    assert build(critic=CriticConfig(hidden=8)).buffer is None


def test_the_reward_is_accuracy_or_what_is_given():
    assert isinstance(build().reward, Accuracy)

    def reward(archs, values):
        return -values[:, 0]

    assert build(reward=reward).reward is reward


def test_settings_that_do_not_fit_together():
    with pytest.raises(InputError, match="baseline='critic' needs a critic"):
        build(attrs.evolve(SMALL, baseline="critic"))


@pytest.mark.parametrize(
    ("record", "values", "says"),
    [
        (PolicyConfig, {"decay": 1.0}, "decay must be < 1"),
        (PolicyConfig, {"lr": 0.0}, "lr must be > 0"),
        (PolicyConfig, {"baseline": "mean"}, "baseline cannot be 'mean'"),
        (CriticConfig, {"residuals": "last"}, "residuals cannot be 'last'"),
        (CriticConfig, {"threshold": -0.5}, "threshold must be >= 0"),
        (CriticConfig, {"least": 0}, "least must be >= 1"),
        (BufferConfig, {"share": 1.0}, "share must be < 1"),
        (BufferConfig, {"temperature": 0.0}, "temperature must be > 0"),
    ],
)
def test_settings_out_of_range(record, values, says):
    with pytest.raises(InputError, match=says):
        structure(values, record)
