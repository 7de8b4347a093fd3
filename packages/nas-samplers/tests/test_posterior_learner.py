import itertools
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from nas_samplers import (
    CostHinge,
    Distribution,
    EntropyRows,
    EntropySampler,
    Optimiser,
    Phase,
    PosteriorLearner,
    posterior_rows,
    posterior_weights,
    train,
)
from nas_samplers.posterior_learner import held_out_losses
from nas_spaces import InputError, Table
from nas_spaces.jsonable import from_jsonable, to_jsonable
from nas_spaces.table import Term
from nas_spaces.torch import Norms, Supernet


def rng(seed=0):
    return np.random.default_rng(seed)


def sampler_of(space, *, joint=False, rows=4, seed=0, **options):
    return EntropySampler(Distribution(space, joint=joint), rng=rng(seed), rows=rows, **options)


def table(space, seed=7, reduce="sum"):
    draw = rng(seed)
    terms = [
        Term((column,), draw.uniform(0.0, 10.0, size=size))
        for column, size in enumerate(space.num_options)
    ]
    return Table(space, "macs", "MACs", terms, constant=5.0, reduce=reduce)


# --- weights --------------------------------------------------------------------------------------


def test_the_known_weights():
    losses = np.array([2.3, 1.9, 2.0])
    np.testing.assert_allclose(
        posterior_weights(losses),
        [0.2603025466938988, 0.3883257680168782, 0.351371685289223],
        rtol=1e-12,
    )
    # Likelihoods of a batch of 256 images are products: the same as a temperature of 1/256.
    one_hot = [3.3747767862315927e-45, 0.9999999999923781, 7.621865194454634e-12]
    np.testing.assert_allclose(posterior_weights(losses, 1 / 256), one_hot, rtol=1e-10)
    np.testing.assert_allclose(posterior_weights(256 * losses), one_hot, rtol=1e-10)


@pytest.mark.parametrize("level", [0.0, 3.0, 800.0, 1e9])
@pytest.mark.parametrize("count", [1, 2, 14])
def test_equal_likelihoods_weigh_equally_also_where_they_underflow(level, count):
    assert posterior_weights([level] * count).tolist() == [1 / count] * count


def test_likelihoods_that_underflow_keep_their_ratios():
    assert np.exp(-2000.0) == 0
    far = posterior_weights([2000.0, 2001.0])
    np.testing.assert_allclose(far, posterior_weights([0.0, 1.0]), rtol=1e-12)
    assert posterior_weights([0.0, 1e6], 1e-6).tolist() == [1.0, 0.0]
    assert posterior_weights([0.0, 1e300], 1e-300).tolist() == [1.0, 0.0]


def test_temperature_flattens():
    spread = [np.ptp(posterior_weights([2.3, 1.9, 2.0], t)) for t in (0.1, 1.0, 10.0, 1e6)]
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < 1e-6


@pytest.mark.parametrize("losses", [[1.0, np.nan], [np.inf, 1.0], [-np.inf, 0.0], [], [[1.0]]])
def test_likelihoods_that_are_not_finite_are_refused(losses):
    with pytest.raises(InputError, match="must be finite numbers, one a row"):
        posterior_weights(losses)


@pytest.mark.parametrize("temperature", [0, -1.0, np.inf, np.nan])
def test_temperatures_out_of_range(temperature, space):
    with pytest.raises(InputError, match=r"temperature=\S+ must be a finite number above 0"):
        posterior_weights([1.0], temperature)
    with pytest.raises(InputError, match="temperature="):
        PosteriorLearner(sampler_of(space), temperature=temperature)


# --- the gradient ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def enumerable(grouped):
    """144 rows with a loss and a cost each."""
    space = grouped((3, 2), (4,), (2, 3))
    rows = np.array(list(itertools.product(*map(range, space.num_options))))
    draw = rng(1)
    # What each option does, and what only goes together.
    losses = draw.uniform(0.0, 0.5, size=len(rows))
    for column, size in enumerate(space.num_options):
        losses += draw.uniform(0.0, 1.0, size=size)[rows[:, column]]
    return space, rows, losses


def exact_gradient(distribution, rows, losses, cost):
    """The derivative of -log sum_A P(A) L(A) + beta log C (or beta C), by autograd."""
    values = torch.tensor(distribution.values, requires_grad=True)
    alive = torch.tensor(distribution.alive)
    logs = values.masked_fill(~alive, -torch.inf).log_softmax(dim=1)
    places = torch.tensor(distribution.places(rows))
    log_chances = logs[torch.arange(len(values)), places].sum(dim=1)
    objective = -torch.logsumexp(log_chances - torch.tensor(losses), dim=0)
    if cost is not None:
        excess = (log_chances.exp() * torch.tensor(cost.excess(rows))).sum()
        objective = objective + cost.weight * (excess.log() if cost.kind == "log" else excess)
    (slope,) = torch.autograd.grad(objective, values)
    return slope.numpy()


@pytest.mark.parametrize("kind", [None, "log", "linear"])
@pytest.mark.parametrize("paper_exact", [False, True])
@pytest.mark.parametrize("joint", [False, True])
def test_it_becomes_the_exact_gradient_as_rows_grow(enumerable, kind, paper_exact, joint):
    space, rows, losses = enumerable
    sampler = sampler_of(space, joint=joint)
    one = sampler.distribution
    one.values[one.alive] = rng(2).normal(0.0, 0.7, size=int(one.alive.sum()))
    cost = None
    if kind is not None:
        macs = table(space)
        cost = CostHinge(macs, target=float(np.median(macs(rows))), kind=kind)
    learner = PosteriorLearner(sampler, cost=cost, paper_exact=paper_exact)
    exact = exact_gradient(one, rows, losses, cost).ravel()
    cosines = []
    # Without centring the mean of grad log P, which is 0, adds its noise.
    for count in (30, 3000, 1_000_000 if paper_exact else 100_000):
        drawn = one.sample(count, rng=rng(3))
        places = np.ravel_multi_index(tuple(drawn.T), space.num_options)
        found = learner.gradient(drawn, losses[places]).ravel()
        cosines.append(found @ exact / np.linalg.norm(found) / np.linalg.norm(exact))
    assert cosines == sorted(cosines)
    assert cosines[-1] >= 0.999
    # Not the direction alone.
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(exact), rel=0.03)


def test_the_printed_weights_are_those_of_the_known_answers(grouped):
    class Costs:
        name, unit = "flops", "MFLOPs"

        def __call__(self, archs):
            return np.array([70.0, 60.0, 90.0])

    sampler = sampler_of(grouped((3,)))
    cost = CostHinge(Costs(), target=60.0, weight=0.3)
    losses, rows = [2.3, 1.9, 2.0], [[0], [1], [2]]
    printed = PosteriorLearner(sampler, cost=cost, paper_exact=True).gradient(rows, losses)[0]
    m = np.array([0.18530254669389878, 0.3883257680168782, 0.12637168528922305])
    np.testing.assert_allclose(printed, m.sum() / 3 - m, rtol=1e-12)
    centred = PosteriorLearner(sampler, cost=cost).gradient(rows, losses)[0]
    np.testing.assert_allclose(centred, m.mean() - m, rtol=1e-12)


# --- self-reinforcement ---------------------------------------------------------------------------


def constant_likelihood(grouped, rows, steps, **options):
    sampler = sampler_of(grouped(*[(12,)] * 10), rows=rows)
    learner = PosteriorLearner(sampler, **options)
    for _ in range(steps):
        learner.update(sampler.ask(), [2.3] * rows)
    return sampler.distribution


@pytest.mark.parametrize("rows", [1, 14])
def test_as_printed_a_constant_likelihood_makes_the_entropy_fall(grouped, rows):
    # 24.85 to 20.5 (K = 1) and 19.6 (K = 14) in the known answers, of another generator.
    one = constant_likelihood(grouped, rows, 3000, paper_exact=True)
    assert one.moments[0].entropy == pytest.approx(24.849, abs=1e-3)
    assert 18.5 < one.entropy() < 22.5


@pytest.mark.parametrize("rows", [2, 14])
def test_centred_a_constant_likelihood_moves_nothing(grouped, rows):
    one = constant_likelihood(grouped, rows, 300)
    assert (one.values == 0).all()


def test_it_finds_the_best_row(enumerable):
    space, rows, losses = enumerable
    loss_of = dict(zip(map(tuple, rows.tolist()), losses.tolist(), strict=True))
    sampler = sampler_of(space, rows=EntropyRows(2.0))
    learner = PosteriorLearner(sampler, lr=0.1, temperature=0.2, joint_from=100)
    for _ in range(500):
        drawn = sampler.ask()
        record = learner.update(drawn, [loss_of[tuple(row)] for row in drawn.tolist()])
    one = sampler.distribution
    assert record["entropy"] < 1.0
    assert record["rows"] == 2
    assert loss_of[tuple(one.mode().tolist())] <= np.sort(losses)[2]


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_a_cost_moves_the_distribution_below_its_target(enumerable, kind):
    space, rows, _ = enumerable
    macs = table(space)
    target = float(np.quantile(macs(rows), 0.3))
    sampler = sampler_of(space, rows=8)
    cost = CostHinge(macs, target=target, weight=3.0, kind=kind)
    learner = PosteriorLearner(sampler, lr=0.05, cost=cost)
    one = sampler.distribution
    assert one.expected(macs) > target
    for _ in range(200):
        record = learner.update(sampler.ask(), [1.0] * 8)
    assert one.expected(macs) < target
    assert macs(one.mode()[None])[0] <= target
    assert record["excess"] < 0.1


# --- factorised to joint --------------------------------------------------------------------------


def test_the_switch_keeps_probabilities_and_moments_of_what_stays(grouped):
    space = grouped((3, 2), (4,))
    sampler = sampler_of(space, rows=5)
    learner = PosteriorLearner(sampler, joint_from=4)
    one = sampler.distribution
    every = np.array(list(itertools.product(*map(range, space.num_options))))
    for step in range(1, 4):
        assert learner.update(sampler.ask(), rng(step).uniform(1, 2, size=5))["joint"] == 0
    before, moments = one.log_probability(every), learner.adam.first[2].copy()
    entropy = one.entropy()
    assert (moments != 0).all()
    # Equal losses have no gradient: what moves is moved by moments.
    record = learner.update(sampler.ask(), np.ones(5))
    assert record["joint"] == 1
    assert record["entropy"] == pytest.approx(entropy, rel=1e-12)
    assert learner.adam.first.shape == one.values.shape == (2, 6)
    # The group that was joined has none yet, and keeps its probabilities.
    moved = one.log_probability(every) - before
    for option in range(4):
        same = moved[every[:, 2] == option]
        np.testing.assert_allclose(same, same[0], atol=1e-12)
    assert (learner.adam.first[0] == 0).all()
    assert (learner.adam.second[0] == 0).all()
    # The other one keeps its own, which go on.
    assert np.ptp(moved) > 1e-3
    np.testing.assert_allclose(learner.adam.first[1, :4], learner.adam.betas[0] * moments)
    assert learner.adam.steps.tolist() == [[1] * 6, [4] * 4 + [0] * 2]


@pytest.mark.parametrize(
    ("joint_from", "joint", "words"),
    [
        (100, False, "joint_from=100 is not before the end of the training, 100 steps"),
        (-1, False, "joint_from=-1 must be an integer at least 0"),
        (np.nan, False, "joint_from=nan must be an integer"),
        (1.5, False, r"joint_from=1\.5 must be an integer"),
        (True, False, "joint_from=True must be an integer"),
        ("a", False, "joint_from='a' must be an integer"),
        (10, True, "joint_from=10, but the distribution is joint already"),
    ],
)
def test_switches_that_cannot_be(space, joint_from, joint, words):
    with pytest.raises(InputError, match=words):
        PosteriorLearner(sampler_of(space, joint=joint), joint_from=joint_from, steps=100)


def test_a_switch_to_groups_that_are_too_large_is_refused_at_once(grouped):
    with pytest.raises(InputError, match="65,536 a group"):
        PosteriorLearner(sampler_of(grouped((300, 300))), joint_from=10)


# --- on a supernet --------------------------------------------------------------------------------


def test_losses_are_those_of_batch_statistics_without_dropout(space, supernet, batch):
    network, (images, labels) = supernet(space), batch(space, n=12)
    rows = np.array([[0, 1, 0], [2, 1, 1], [0, 1, 0]])
    network.zero_grad()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    torch.manual_seed(0)
    losses = held_out_losses(network, rows, images, labels)
    parts = held_out_losses(network, rows, images, labels, 5)
    assert losses[0] == losses[2] != losses[1]
    for row, loss, mean in zip(rows, losses, parts, strict=True):
        norms = [[Norms.of_batch() for _ in space.blocks] for _ in range(4)]
        logits = network.trace(images, row, norms[0]).logits
        assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
        sums = [
            F.cross_entropy(
                network.trace(images[at], row, norms[1 + i]).logits, labels[at], reduction="sum"
            ).item()
            for i, at in enumerate((slice(0, 4), slice(4, 8), slice(8, 12)))
        ]
        assert mean == pytest.approx(sum(sums) / 12, rel=1e-6)
    assert not np.allclose(losses, parts, rtol=1e-4)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    # Dropout would have drawn.
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))


def test_rows_that_come_twice_are_run_once(space, supernet, batch, monkeypatch):
    network, (images, labels) = supernet(space), batch(space)
    calls, real = [], Supernet.advance
    monkeypatch.setattr(
        Supernet, "advance", lambda self, *args: calls.append(args[1]) or real(self, *args)
    )
    held_out_losses(network, np.array([[0, 1, 0]] * 5 + [[1, 1, 1]]), images, labels)
    assert calls == [0, 1, 2, 3, 4] * 2


def test_what_it_records(space, supernet, batch):
    sampler = sampler_of(space, rows=6)
    macs = table(space)
    learner = PosteriorLearner(sampler, cost=CostHinge(macs, target=15.0))
    rows = sampler.ask()
    record = learner.learn(supernet(space), rows, *batch(space))
    assert record["rows"] == record["sampled"] == 6
    assert record["entropy"] == pytest.approx(np.log(18))
    assert record["mean_cost"] == pytest.approx(macs(rows).mean())
    assert record["excess"] == pytest.approx(np.maximum(0, macs(rows) / 15 - 1).mean())
    assert 1 <= record["effective_rows"] <= 6
    assert len(sampler.distribution.moments) == 2


@pytest.mark.parametrize("reduce", ["sum", "max"])
def test_moments_have_the_expected_cost_or_the_mean_of_the_rows(space, supernet, batch, reduce):
    sampler = sampler_of(space, rows=6)
    cost = table(space, reduce=reduce)
    learner = PosteriorLearner(sampler, cost=CostHinge(cost, target=float(cost([[0, 0, 0]])[0])))
    record = learner.learn(supernet(space), sampler.ask(), *batch(space))
    distribution = sampler.distribution
    expected = distribution.expected(cost) if reduce == "sum" else record["mean_cost"]
    assert distribution.moments[-1].cost == pytest.approx(expected)


def test_rows_of_the_warm_up_are_refused(space, supernet, batch):
    sampler = sampler_of(space, warmup=2)
    learner = PosteriorLearner(sampler)
    network = supernet(space)
    for _ in range(2):
        rows = sampler.ask()
        with pytest.raises(InputError, match="give the phase learn_from=2"):
            learner.learn(network, rows, *batch(space))
    assert learner.learn(network, sampler.ask(), *batch(space))["rows"] == 4


def test_a_network_that_diverged_moves_nothing_and_says_so(space, supernet, batch):
    network = supernet(space)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    sampler = sampler_of(space)
    learner = PosteriorLearner(sampler)
    assert np.isnan(learner.learn(network, sampler.ask(), *batch(space))["held_out_loss"])
    assert (sampler.distribution.values == 0).all()
    assert not learner.adam.steps.any()


def test_a_training_learns_which_candidate_is_better(space, data):
    steps = 40
    sampler = sampler_of(space, rows=EntropyRows(1.5), warmup=10, warmup_rows=1)
    learner = PosteriorLearner(sampler, lr=0.1, temperature=0.1, joint_from=25, steps=steps)
    records = []
    phase = Phase(
        "supernet",
        sampler,
        steps,
        Optimiser(lr=0.2),
        16,
        weigh=posterior_rows(),
        learner=learner,
        learn_from=10,
    )
    network = Supernet(space, generator=torch.Generator().manual_seed(0))
    train(
        network,
        [phase],
        data.train,
        held_out=data.held_out,
        seed=0,
        device=torch.device("cpu"),
        log_every=1,
        on_record=records.append,
    )
    assert "rows" not in records[9]
    assert [record["joint"] for record in records[10:]] == [0.0] * 14 + [1.0] * 16
    assert records[10]["rows"] == 4  # 1.5 * log 18 = 4.3
    assert sampler.distribution.entropy() < np.log(18) - 0.3
    assert sampler.distribution.sampled == 10 + sum(record["rows"] for record in records[10:])


# --- state, refusals ------------------------------------------------------------------------------


def test_its_state_is_whole(grouped):
    space = grouped((3, 2), (4,))
    macs = table(space)

    def build(seed):
        sampler = sampler_of(space, rows=3, seed=seed)
        cost = CostHinge(macs, target=20.0)
        return PosteriorLearner(sampler, joint_from=6, cost=cost, lr=0.1)

    def follow(learner, first, last):
        for step in range(first, last):
            learner.update(learner.sampler.ask(), rng(step).uniform(1, 3, size=3))
        return learner

    def saved(learner):
        return json.dumps(to_jsonable([learner.state_dict(), learner.sampler.state_dict()], ""))

    whole = follow(build(0), 0, 12)
    for cut in (3, 5, 6, 9):
        state, drawn = from_jsonable(json.loads(saved(follow(build(0), 0, cut))))
        other = follow(build(1), 0, 2)
        other.load_state_dict(state)
        other.sampler.load_state_dict(drawn)
        assert saved(follow(other, cut, 12)) == saved(whole)
    assert whole.distribution.joint


def test_states_of_other_settings_are_refused(space):
    state = PosteriorLearner(sampler_of(space)).state_dict()
    for options, words in (
        ({"lr": 0.1}, r"its lr is 0\.016, this one's is 0\.1"),
        ({"temperature": 2.0}, "its temperature"),
        ({"paper_exact": True}, "its paper_exact"),
        ({"joint_from": 3}, "its joint_from"),
        ({"cost": CostHinge(table(space), target=20)}, "its cost is None"),
    ):
        with pytest.raises(InputError, match=words):
            PosteriorLearner(sampler_of(space), **options).load_state_dict(state)
    with pytest.raises(InputError, match="its joint is False, this one's is True"):
        PosteriorLearner(sampler_of(space, joint=True)).load_state_dict(state)


@pytest.mark.parametrize("rows", [1, EntropyRows(least=1)])
def test_centred_weights_need_two_rows(space, rows):
    with pytest.raises(InputError, match=r"may draw 1 row a step; .* at least 2: raise its rows"):
        PosteriorLearner(sampler_of(space, rows=rows))
    sampler = sampler_of(space, rows=rows)
    learner = PosteriorLearner(sampler, paper_exact=True)
    assert learner.update([[0, 0, 0]], [1.0])["effective_rows"] == 1


@pytest.mark.parametrize(
    ("rows", "losses", "words"),
    [
        ([[0, 0, 0]], [1.0], r"for 1 rows; .* at least 2 rows"),
        ([[0, 0, 0]] * 2, [1.0], r"shape \(1,\) for 2 rows"),
        ([[0, 0, 0]] * 2, [1.0, np.inf], "must be finite"),
        ([[0, 0]] * 2, [1.0, 1.0], "2 columns"),
    ],
)
def test_updates_that_cannot_be(space, rows, losses, words):
    learner = PosteriorLearner(sampler_of(space))
    with pytest.raises(InputError, match=words):
        learner.update(rows, losses)
    assert (learner.distribution.values == 0).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0}, "lr=0 must be a finite number above 0"),
        ({"lr": np.inf}, "lr=inf"),
        ({"lr": "a"}, "lr='a' must be a finite number"),
        ({"lr": None}, "lr=None must be a finite number"),
        ({"lr": True}, "lr=True must be a finite number"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\]=1\.0"),
        ({"temperature": "a"}, "temperature='a' must be a finite number above 0"),
        ({"temperature": None}, "temperature=None must be a finite number"),
        ({"temperature": True}, "temperature=True must be a finite number"),
        ({"joint_from": 1, "steps": 2.5}, r"steps=2\.5 must be an integer at least 1"),
    ],
)
def test_arguments_out_of_range(space, options, words):
    with pytest.raises(InputError, match=words):
        PosteriorLearner(sampler_of(space), **options)


def test_a_cost_of_another_space_is_refused(space, grouped):
    cost = CostHinge(table(grouped((3, 3), (2,))), target=25)
    with pytest.raises(InputError, match="is a table of space 'grouped'"):
        PosteriorLearner(sampler_of(space), cost=cost)
