import json

import numpy as np
import pytest

from nas_search import Random, search
from nas_search.rl import PPO, Critic, ExperienceBuffer, Policy, WeightedProduct
from nas_spaces import FeasibleSet, InputError, Limit, published
from nas_spaces.testing import check_searcher


def fnas(space, *, rng, least=5, **settings):
    critic = Critic(space, rng=rng, steps=3, hidden=32, least=least)
    return PPO(
        space,
        rng=rng,
        policy=Policy(space, rng=rng, hidden=16, lr=1e-2),
        critic=critic,
        buffer=ExperienceBuffer(space),
        **settings,
    )


def plain(space, *, rng, **settings):
    return PPO(space, rng=rng, policy=Policy(space, rng=rng, hidden=16, lr=1e-2), **settings)


@pytest.mark.parametrize("kind", [plain, fnas])
@pytest.mark.parametrize("upper", [None, 40e6])
def test_it_does_what_the_protocol_promises(macro, macs, kind, upper):
    limits = [] if upper is None else [Limit(macs(macro), upper=upper)]
    feasible = FeasibleSet(macro, limits)
    check_searcher(lambda rng: kind(macro, rng=rng, feasible=feasible), macro, feasible)


@pytest.mark.parametrize("kind", [plain, fnas])
def test_it_finds_better_ones_than_chance_does(macro, additive_error, kind):
    def least(make, seed):
        error = additive_error(macro, seed)
        found = search(make(np.random.default_rng(seed)), [error], space=macro, budget=150)
        return found.history.column("error").min()

    def learning(rng):
        return kind(macro, rng=rng, budget=150)

    def chance(rng):
        return Random(macro, rng=rng, batch=10)

    gains = [least(chance, seed) - least(learning, seed) for seed in range(3)]
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("baseline", ["moving", "critic"])
def test_a_search_that_was_killed_ends_with_the_same_bits(macro, additive_error, baseline):
    error, states = additive_error(macro, 0), []
    whole = search(
        fnas(macro, rng=np.random.default_rng(0), baseline=baseline),
        [error],
        space=macro,
        budget=60,
        checkpoint=lambda state: states.append(json.dumps(state)),
    )
    for state in states[::3]:
        resumed = search(
            fnas(macro, rng=np.random.default_rng(7), baseline=baseline),
            [error],
            space=macro,
            budget=60,
            resume=json.loads(state),
        )
        assert resumed.history.to_csv() == whole.history.to_csv()


def test_what_waits_is_saved(macro, additive_error):
    error = additive_error(macro, 0)
    one, other = (fnas(macro, rng=np.random.default_rng(seed)) for seed in (0, 1))
    one.critic.threshold = other.critic.threshold = 1e9
    for _ in range(6):
        archs = one.ask()
        one.tell(archs, error(archs)[:, None])
    archs = one.ask()
    state = one.state_dict()
    assert state["pending"]["trusted"].any()
    other.load_state_dict(state)
    for searcher in (one, other):
        searcher.tell(archs, error(archs)[:, None])
    assert one.counts == other.counts
    np.testing.assert_array_equal(one.ask(), other.ask())


def test_half_of_the_new_rows_of_a_batch_are_measured(macro, additive_error):
    error = additive_error(macro, 0)
    searcher = fnas(macro, rng=np.random.default_rng(0), batch=10)
    for _ in range(25):
        archs = searcher.ask()
        before = searcher.counts
        searcher.tell(archs, error(archs)[:, None])
        after = searcher.counts
        measured, trusted = after.measured - before.measured, after.trusted - before.trusted
        assert measured == len(archs) >= 1
        assert trusted <= measured
        assert after.replayed - before.replayed <= 5
    assert searcher.counts.trusted > 0
    assert searcher.counts.replayed > 0


def test_a_certain_critic_still_measures_half(macro, additive_error):
    error = additive_error(macro, 0)
    searcher = fnas(macro, rng=np.random.default_rng(0))
    searcher.critic.threshold = 1e9
    for _ in range(5):
        archs = searcher.ask()
        searcher.tell(archs, error(archs)[:, None])
    archs = searcher.ask()
    # The most promising of what was set aside: better than what the critic answers.
    waiting = searcher.state_dict()["pending"]
    assert len(archs) >= waiting["trusted"].sum() > 0
    values = searcher.critic.predict(archs)[0]
    assert values.mean() > waiting["rewards"][waiting["trusted"]].mean()


@pytest.mark.parametrize("seed", range(20))
def test_a_network_that_is_measured_is_not_trusted_as_well(additive_error, seed):
    space = published.load("nas-bench-201-reduce-3")  # many rows of one network
    error = additive_error(space, 0)
    searcher = fnas(space, rng=np.random.default_rng(seed), batch=6)
    searcher.critic.threshold = 1e9
    # Hardly anything is left to decide, so that the same networks come again and again.
    searcher.policy.controller.biases.data[:5, 1] = 100.0
    for _ in range(4):
        archs = searcher.ask()
        waiting = searcher.state_dict()["pending"]
        keys = [row.tobytes() for row in space.canonical(waiting["archs"])]
        measured = {key for key, left in zip(keys, waiting["open"], strict=True) if left}
        trusted = {key for key, given in zip(keys, waiting["trusted"], strict=True) if given}
        assert len(archs) == len(measured) >= max(1, len(trusted))
        assert not measured & trusted
        searcher.tell(archs, error(archs)[:, None])
        searcher.policy.controller.biases.data[:5, 1] = 100.0


def test_what_is_measured_of_certain_rows_is_picked_as_asked_for(macro, additive_error):
    error = additive_error(macro, 0)
    value, uncertainty = {}, {}
    for pick in ("promising", "uncertain", "drawn"):
        searcher = fnas(macro, rng=np.random.default_rng(0), pick=pick, resampled=50)
        searcher.critic.threshold = 1e9
        for _ in range(5):
            archs = searcher.ask()
            if searcher.state_dict()["pending"]["trusted"].any():
                break
            searcher.tell(archs, error(archs)[:, None])
        # Until then all did the same, and the same is drawn now.
        value[pick], uncertainty[pick] = map(np.mean, searcher.critic.predict(archs))
    assert uncertainty["uncertain"] > uncertainty["promising"]
    assert uncertainty["uncertain"] > uncertainty["drawn"]
    assert value["promising"] + uncertainty["promising"] > value["drawn"] + uncertainty["drawn"]


def test_no_more_is_drawn_than_resampled_allows(macro):
    for resampled in (1, 7):
        rng = np.random.default_rng(0)
        critic = Critic(macro, rng=rng, steps=3, hidden=32, least=5, threshold=1e9)
        searcher = plain(macro, rng=rng, critic=critic, resampled=resampled)
        archs = macro.sample(10, rng=np.random.default_rng(1))
        searcher.tell(archs, np.linspace(0, 1, 10)[:, None])
        sample, asked = searcher.policy.controller.sample, []

        def counted(n, *, rng, asked=asked, sample=sample):
            asked.append(n)
            return sample(n, rng=rng)

        searcher.policy.controller.sample = counted
        # The critic is certain of every row, so that it never finds the 5 that it is not.
        assert len(searcher.ask()) == 5
        assert asked == [10, 5 * resampled]


def test_rows_of_one_network_have_the_reward_of_the_one_measured(macs):
    space = published.load("nas-bench-201")
    reward = WeightedProduct(macs(space), target=50e6)
    # Convolutions that no path from the input reaches count in the first only.
    archs = np.array([[0, 3, 3, 0, 3, 0], [0, 1, 1, 0, 1, 0]])
    assert (space.canonical(archs) == archs[1]).all()
    own = reward(archs, np.full((2, 1), 0.25))
    assert own[0] < 0.9 * own[1]

    def told(space, arch):
        searcher = plain(space, rng=np.random.default_rng(0), reward=reward)
        searcher.tell(arch[None], [[0.25]])
        return searcher.state_dict()["told_rewards"].tolist()

    assert told(space, archs[0]) == told(space, archs[1]) == [own[1]]
    alive = space.mask.copy()
    alive[1, 1] = False  # the second row is not there to be measured
    assert told(space.restrict(alive), archs[0]) == [own[0]]


def test_the_reward_is_that_of_what_the_search_measured(macs, additive_error):
    space = published.load("nas-bench-201")
    alive = space.mask.copy()
    alive[1, 1] = False  # some canonical rows are dropped, others are not
    cost = macs(space)
    feasible = FeasibleSet(space.restrict(alive), [Limit(cost, upper=100e6)])
    reward, error = WeightedProduct(cost, target=50e6), additive_error(space, 0)
    searcher = plain(feasible.space, rng=np.random.default_rng(0), feasible=feasible, reward=reward)
    history = search(searcher, [error], space=feasible.space, feasible=feasible, budget=60).history
    state = searcher.state_dict()
    rewards = {
        row.tobytes(): reward
        for row, reward in zip(state["told"], state["told_rewards"], strict=True)
    }
    canonical = space.canonical(history.archs)
    assert (canonical != history.archs).any()
    np.testing.assert_array_equal(
        [rewards[row.tobytes()] for row in canonical],
        reward(history.archs, history.column("error")[:, None]),
    )


def test_importance_weights_reach_the_policy_and_rise_to_whole(macro, additive_error, monkeypatch):
    error = additive_error(macro, 0)
    searcher = fnas(macro, rng=np.random.default_rng(0), budget=40)
    draw, update = ExperienceBuffer.draw, searcher.policy.update
    betas, measured = [], []
    weights, learned = [], []

    def drawn(buffer, n, beta, *, rng):
        chosen, importance = draw(buffer, n, beta, rng=rng)
        priorities = buffer.probabilities()[chosen] if n else np.zeros(0)
        np.testing.assert_array_equal(importance, (len(buffer) * priorities) ** -beta)
        betas.append(beta)
        weights.append(importance)
        return chosen, importance

    def updated(experience, *, baseline):
        learned.append(experience.weights)
        return update(experience, baseline=baseline)

    monkeypatch.setattr(ExperienceBuffer, "draw", drawn)
    searcher.policy.update = updated
    while len(measured) < 12:
        archs = searcher.ask()
        measured.append(len(archs))
        searcher.tell(archs, error(archs)[:, None])
    spent = np.cumsum(measured)
    assert spent[-1] > 40
    assert betas == np.minimum(spent / 40, 1).tolist()
    assert sum(len(one) for one in weights) == searcher.counts.replayed > 0
    for importance, all_of_them in zip(weights, learned, strict=True):
        own = np.ones(len(all_of_them) - len(importance))
        np.testing.assert_array_equal(all_of_them, np.concatenate([own, importance]))


def test_critic_and_buffer_learn_from_what_was_measured_only(macro, additive_error):
    error = additive_error(macro, 0)
    searcher = fnas(macro, rng=np.random.default_rng(0))
    searcher.critic.threshold = 1e9
    drawn = {}
    for _ in range(12):
        archs = searcher.ask()
        waiting = searcher.state_dict()["pending"]
        for row, log_p in zip(waiting["archs"], waiting["log_probabilities"], strict=True):
            drawn.setdefault(row.tobytes(), log_p)
        searcher.tell(archs, error(archs)[:, None])
    assert searcher.counts.trusted > 5
    assert len(searcher.critic) == searcher.counts.measured
    buffer = searcher.buffer
    np.testing.assert_allclose(buffer.rewards, 1 - error(buffer.archs), rtol=1e-12)
    # With the probabilities that they were drawn with, not those of the policy now.
    then = [drawn[row.tobytes()] for row in buffer.archs]
    np.testing.assert_array_equal(buffer.log_probabilities, then)
    assert (searcher.policy.controller.log_probability(buffer.archs) != then).all()


def test_rows_that_the_critic_is_uncertain_of_take_the_place_of_certain_ones(macro):
    rng = np.random.default_rng(0)
    critic = Critic(macro, rng=rng, steps=1, hidden=8, least=5, threshold=0.5)
    searcher = plain(macro, rng=rng, critic=critic, resampled=20)
    archs = macro.sample(10, rng=np.random.default_rng(1))
    searcher.tell(archs, np.linspace(0, 1, 10)[:, None])
    # Certain of two rows in three, whatever it promises of them.
    critic.predict = lambda archs: (np.ones(len(archs)), (archs[:, 0] == 2).astype(float))
    asked = []
    for _ in range(20):
        asked += searcher.ask()[:, 0].tolist()  # nothing is told, so that nothing is learned
    assert len(asked) >= 100
    # All but those in whose place a batch has drawn the same network twice.
    assert np.mean(np.array(asked) == 2) > 0.95


@pytest.mark.parametrize("kind", [plain, fnas])
def test_a_failure_is_as_bad_as_the_floor_and_no_worse(macro, kind):
    """Of what is measured, replayed and remembered."""
    archs = macro.sample(40, rng=np.random.default_rng(1)).reshape(2, 20, -1)
    errors = np.linspace(0.08, 0.10, 40).reshape(2, 20)

    def learned(failed):
        searcher = kind(macro, rng=np.random.default_rng(0))
        for rows, values in zip(archs, errors, strict=True):
            told = np.concatenate([[failed], values[1:]])[:, None]
            searcher.tell(rows, told)
        assert 0.90 < searcher.policy.baseline < 0.92
        return searcher.policy.controller.log_probability(archs[0])

    np.testing.assert_allclose(learned(1.0), learned(100.0), rtol=1e-5)
    assert (learned(1.0) != learned(0.1)).any()


def test_a_candidate_that_failed_does_not_end_learning(macro, additive_error):
    """Its error of 1 stands among others that differ by thousandths."""

    def late(seed):
        error, searcher = additive_error(macro, seed), plain(macro, rng=np.random.default_rng(seed))
        chance, told = error(macro.sample(500, rng=np.random.default_rng(9))), []
        while len(told) < 150:
            archs = searcher.ask()
            values = 0.1 + error(archs) / 20
            values[:1] = values[:1] if told else 1.0
            told += error(archs).tolist()
            searcher.tell(archs, values[:, None])
        return (chance.mean() - np.mean(told[-50:])) / chance.std()

    assert np.mean([late(seed) for seed in range(5)]) > 0.5


def test_replayed_rows_keep_to_their_share_of_short_batches(macro):
    searcher = fnas(macro, rng=np.random.default_rng(0))
    archs = macro.sample(30, rng=np.random.default_rng(1))
    searcher.tell(archs, np.linspace(0, 1, 30)[:, None])
    before = searcher.counts.replayed
    searcher.tell(macro.sample(1, rng=np.random.default_rng(2)), [[0.5]])
    assert searcher.counts.replayed - before == 1


def test_dropped_options_are_never_asked_for(macro, additive_error):
    alive = macro.mask.copy()
    alive[:, 1] = [True, False] * 4
    space = macro.restrict(alive)
    error = additive_error(macro, 0)
    searcher = fnas(space, rng=np.random.default_rng(0))
    for _ in range(5):
        archs = searcher.ask()
        assert alive[np.arange(8), archs].all()
        searcher.tell(archs, error(archs)[:, None])
    # Foreign rows that use one are no reason to fail.
    searcher.tell(np.ones((1, 8), dtype=np.int64), [[0.1]])


def test_a_policy_that_draws_the_same_row_only_goes_on_at_random(macro, additive_error):
    error = additive_error(macro, 0)
    searcher = plain(macro, rng=np.random.default_rng(0))
    for parameter in searcher.policy.controller.parameters():
        parameter.data.zero_()
    searcher.policy.controller.biases.data[:, 1] = 100.0
    rows = []
    for _ in range(4):
        archs = searcher.ask()
        rows += archs.tolist()
        searcher.tell(archs, error(archs)[:, None])
        searcher.policy.controller.biases.data[:, 1] = 100.0
    assert rows[0] == [1] * 8
    assert len({tuple(row) for row in rows}) == len(rows) == 4
    assert searcher.counts.stuck == 3


def test_a_space_is_searched_to_its_end(additive_error):
    space = published.load("nas-bench-201-reduce-3")
    error = additive_error(space, 0)
    found = search(plain(space, rng=np.random.default_rng(0)), [error], space=space, budget=999)
    everything = FeasibleSet(space).sample(20_000, rng=np.random.default_rng(0))
    assert found.stopped == "exhausted"
    assert len(found.history) == len(np.unique(space.canonical(everything), axis=0))


def test_it_learns_from_rows_that_it_did_not_propose(macro):
    searcher = plain(macro, rng=np.random.default_rng(0))
    target = np.full((1, 8), 2)
    before = searcher.policy.controller.log_probability(target)[0]
    archs = macro.sample(10, rng=np.random.default_rng(1))
    searcher.tell(
        np.concatenate([archs, target]), np.concatenate([np.ones((10, 1)), np.zeros((1, 1))])
    )
    assert searcher.policy.controller.log_probability(target)[0] > before
    assert searcher.counts.measured == 11


def test_the_critic_can_be_the_baseline(macro, additive_error):
    rng = np.random.default_rng(0)
    searcher = fnas(macro, rng=rng, least=30, baseline="critic")
    told = []

    def keep(_):
        told.append((len(searcher.critic) >= searcher.critic.least, searcher.policy.baseline))

    search(searcher, [additive_error(macro, 0)], space=macro, budget=80, checkpoint=keep)
    moving = [mean for trusted, mean in told if not trusted]
    assert len(set(moving)) == len(moving) > 1
    # From then on the policy's own mean does not move.
    assert {mean for trusted, mean in told if trusted} == {moving[-1]}


def test_the_baseline_of_the_critic_is_what_it_expects_of_the_policy(macro, additive_error):
    searcher = fnas(macro, rng=np.random.default_rng(0), baseline="critic")
    error, update, given = additive_error(macro, 0), searcher.policy.update, []

    def keep(experience, *, baseline):
        drawn, _ = searcher.policy.controller.sample(2000, rng=np.random.default_rng(5))
        value, _ = searcher.critic.predict(drawn)
        given.append((baseline, value.mean(), 4 * value.std() / 200**0.5))
        return update(experience, baseline=baseline)

    searcher.policy.update = keep
    for _ in range(4):
        archs = searcher.ask()
        searcher.tell(archs, error(archs)[:, None])
    assert len(given) == 4
    for baseline, mean, off in given:
        assert baseline == pytest.approx(mean, abs=off)


def test_bad_input_is_refused(macro, macs):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="baseline='value'"):
        PPO(macro, rng=rng, baseline="value")
    with pytest.raises(InputError, match="baseline='critic' needs a critic"):
        PPO(macro, rng=rng, baseline="critic")
    with pytest.raises(InputError, match="target=1 "):
        PPO(macro, rng=rng, reward=WeightedProduct(macs(macro), target=1))
    with pytest.raises(InputError, match="batch=0"):
        PPO(macro, rng=rng, batch=0)
    with pytest.raises(InputError, match="pick='best'"):
        PPO(macro, rng=rng, pick="best")
    other = published.load("nas-bench-201")
    alive = macro.mask.copy()
    alive[0, 0] = False
    with pytest.raises(InputError, match="policy is of space 'nas-bench-macro' with other live"):
        PPO(macro.restrict(alive), rng=rng, policy=Policy(macro, rng=rng))
    with pytest.raises(InputError, match="critic is of space 'nas-bench-201'"):
        PPO(macro, rng=rng, critic=Critic(other, rng=rng))
    searcher = PPO(macro, rng=rng, reward=lambda archs, values: np.full(len(archs), np.nan))
    with pytest.raises(InputError, match=r"reward <lambda> returned nan for architecture \[0, 0"):
        searcher.tell(np.zeros((1, 8), dtype=np.int64), [[0.5]])
    with pytest.raises(InputError, match="no state of PPO's counts: it has no measured"):
        searcher.load_state_dict({**searcher.state_dict(), "counts": {}})
    with pytest.raises(InputError, match="critic: the state was saved with one"):
        plain(macro, rng=rng).load_state_dict(fnas(macro, rng=rng).state_dict())


def test_a_state_that_is_refused_changes_nothing(macro, additive_error):
    """Neither the searcher nor its parts, whichever part of the state is wrong."""
    error = additive_error(macro, 0)

    def ran(seed, critic, capacity=10):
        rng = np.random.default_rng(seed)
        searcher = plain(
            macro,
            rng=rng,
            critic=Critic(macro, rng=rng, steps=3, hidden=32, least=5, **critic),
            buffer=ExperienceBuffer(macro, capacity=capacity),
        )
        for _ in range(3):
            archs = searcher.ask()
            searcher.tell(archs, error(archs)[:, None])
        searcher.ask()
        return searcher

    searcher = ran(0, {})
    before, state = searcher.state_dict(), ran(1, {}).state_dict()
    pending = state["pending"]
    for wrong, message in (
        ({"critic": ran(1, {"members": 2}).state_dict()["critic"]}, "critic of members=2, here 1"),
        ({"buffer": ran(1, {}, capacity=30).state_dict()["buffer"]}, "capacity=10 holds fewer"),
        ({"rng": np.random.MT19937(0).state}, "saved state of rng does not fit"),
        ({"pending": {**pending, "rewards": ["none"] * len(pending["open"])}}, "could not convert"),
    ):
        with pytest.raises(ValueError, match=message):
            searcher.load_state_dict({**state, **wrong})
        np.testing.assert_equal(searcher.state_dict(), before)
    # And it goes on as one that was never bothered.
    undisturbed = ran(0, {})
    for one in (searcher, undisturbed):
        archs = one.ask()
        one.tell(archs, error(archs)[:, None])
    np.testing.assert_equal(searcher.state_dict(), undisturbed.state_dict())


def test_what_is_measured_although_the_critic_is_certain_is_counted(macro):
    rng = np.random.default_rng(0)
    critic = Critic(macro, rng=rng, steps=3, hidden=32, least=5, threshold=1e9)
    searcher = plain(macro, rng=rng, critic=critic)
    searcher.tell(macro.sample(10, rng=np.random.default_rng(1)), np.linspace(0, 1, 10)[:, None])
    assert searcher.counts.certain == 0
    assert len(searcher.ask()) == searcher.counts.certain == 5
    critic.threshold = 0.0  # certain of nothing
    searcher.ask()
    assert searcher.counts.certain == 5


def test_a_state_of_before_that_count_is_taken_back(macro):
    state = plain(macro, rng=np.random.default_rng(0)).state_dict()
    del state["counts"]["certain"]
    searcher = plain(macro, rng=np.random.default_rng(0))
    searcher.load_state_dict({**state, "counts": {**state["counts"], "stuck": 3}})
    assert (searcher.counts.stuck, searcher.counts.certain) == (3, 0)
