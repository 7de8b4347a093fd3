import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from nas_samplers import (
    AddedCost,
    Alphas,
    Cooling,
    Gumbel,
    Mixture,
    MultipliedCost,
    RelaxedLearner,
)
from nas_spaces import InputError, Table, Term, published
from nas_spaces.jsonable import from_jsonable, to_jsonable
from nas_spaces.testing import check_sampler


def drawn(space, cost=None, std=1.0):
    alphas = Alphas(space, std=std, rng=np.random.default_rng(1), cost=cost)
    alphas.drop(0, 1)
    return alphas


def gumbel_of(alphas, seed=0, temperature=None):
    temperature = temperature or Cooling(10)
    return Gumbel(alphas, rng=np.random.default_rng(seed), temperature=temperature)


def with_given_gates(network, images, gates):
    return network(images, torch.as_tensor(gates, dtype=torch.float32))


# --- samplers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [Mixture, gumbel_of])
def test_rows_name_every_live_option_and_nothing_else(space, build):
    alphas = drawn(space)
    sampler = build(alphas)
    for _ in range(3):
        rows = sampler.ask()
    assert rows.shape == (3, 3)
    assert rows.dtype == np.int64
    named = np.zeros_like(alphas.alive)
    named[np.arange(3), rows] = True
    assert np.array_equal(named, alphas.alive)
    assert np.array_equal(alphas.counts, 3 * alphas.alive)
    assert alphas.steps == 3


def test_a_mixture_weighs_by_probability_and_leaves_out_what_was_dropped(space, supernet, batch):
    network, alphas = supernet(space).eval(), drawn(space)
    sampler = Mixture(alphas)
    images, _ = batch(space)
    logits = sampler.join(network, images, sampler.ask())
    chances = alphas.probabilities()
    assert chances[0, 1] == 0
    assert torch.equal(logits, with_given_gates(network, images, chances))
    alphas.values[1] = [30.0, 0.0, 0.0]
    alphas.values[[0, 2]] = [30.0, 0.0, -1.0]
    np.testing.assert_allclose(
        sampler.join(network, images, sampler.ask()).detach(),
        network(images, [0, 0, 0]).detach(),
        atol=1e-5,
    )


def test_gumbel_keeps_the_rules_of_samplers_but_for_its_rows(space, supernet, batch):
    """Rows name all options, whatever the seed; what the seed decides are the gates."""
    network, (images, _) = supernet(space).eval(), batch(space)

    def step(sampler):
        return sampler.join(network, images, sampler.ask())

    one, two, three = (gumbel_of(Alphas(space), seed) for seed in (0, 0, 1))
    logits = [step(sampler) for sampler in (one, two, three)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])
    three.load_state_dict(from_jsonable(json.loads(json.dumps(to_jsonable(one.state_dict(), "")))))
    for _ in range(3):
        assert torch.equal(step(one), step(three))


def test_a_step_has_one_set_of_gates_and_the_next_another(space, supernet, batch):
    network = supernet(space).eval()
    images, _ = batch(space)
    sampler = gumbel_of(drawn(space))
    rows = sampler.ask()
    first = sampler.join(network, images, rows)
    parts = [sampler.join(network, part, rows) for part in images.split(3)]
    torch.testing.assert_close(torch.cat(parts), first)
    assert not torch.allclose(sampler.join(network, images, sampler.ask()), first)
    with pytest.raises(InputError, match="call ask first"):
        gumbel_of(drawn(space)).join(network, images, rows)


def test_gumbel_gates_are_drawn_by_the_probabilities(space):
    alphas = drawn(space)
    sampler = gumbel_of(alphas, temperature=lambda step: 0.05)
    gates = np.array([sampler.relax().gates for _ in range(4000)])
    np.testing.assert_allclose(gates.sum(axis=2), 1)
    assert not gates[:, ~alphas.alive].any()
    # The largest gate is a draw from the probabilities at any temperature.
    shares = np.array([np.bincount(c, minlength=3) for c in gates.argmax(axis=2).T]) / 4000
    np.testing.assert_allclose(shares, alphas.probabilities(), atol=0.03)
    assert np.median(gates.max(axis=2)) > 0.99
    hot = gumbel_of(alphas, temperature=lambda step: 1e6).relax().gates
    np.testing.assert_allclose(hot, alphas.alive / alphas.alive.sum(1, keepdims=True), atol=1e-4)


def test_the_temperature_follows_the_training_steps(space):
    cooling = Cooling(10)
    assert cooling(0) == 5.0
    assert cooling(30) == pytest.approx(5.0 * math.exp(-0.045 * 3))
    sampler = gumbel_of(Alphas(space), temperature=cooling)
    for step in range(25):
        sampler.ask()
        # A learner that comes after the step sees the step's.
        assert sampler.relax().temperature == cooling(step)
    for wrong in ({"steps_per_epoch": 0}, {"start": 0.0}, {"rate": math.inf}):
        ((name, value),) = wrong.items()
        with pytest.raises(InputError, match=f"^{name}={value} must be a finite number"):
            Cooling(**{"steps_per_epoch": 10, **wrong})
    with pytest.raises(InputError, match=r"temperature is 0\.0 at step 0"):
        gumbel_of(Alphas(space), temperature=lambda step: 0.0).ask()
    with pytest.raises(InputError, match="temperature is 'Cooling"):
        gumbel_of(Alphas(space), temperature=Cooling(11)).load_state_dict(sampler.state_dict())


def test_mixture_is_a_sampler():
    one = published.load("nas-bench-macro").restrict(np.eye(3, dtype=bool)[[0] * 8])
    check_sampler(lambda rng: Mixture(Alphas(one)), one)
    check_sampler(lambda rng: gumbel_of(Alphas(one), rng.integers(1000)), one)


@pytest.mark.parametrize("build", [Mixture, gumbel_of])
def test_spaces_that_cannot_be_gated_are_refused_at_once(build):
    space = published.load("spos-shufflenet-joint")
    with pytest.raises(InputError, match="gates cannot mix block"):
        build(Alphas(space))


# --- learner --------------------------------------------------------------------------------------


TERMS = {"none": None, "added": AddedCost(reference=50.0), "multiplied": MultipliedCost()}


@pytest.mark.parametrize("kind", ["mixture", "gumbel"])
@pytest.mark.parametrize("name", list(TERMS))
def test_the_gradient_is_that_of_autograd_through_everything(
    space, supernet, batch, kind, name, monkeypatch
):
    rows = [[40, 20, 10], [40, 20, 10], [90, 30]]
    cost = Table(space, "cost", "1", [Term((c,), row) for c, row in enumerate(rows)])
    alphas, term = drawn(space, cost), TERMS[name]
    sampler = Mixture(alphas) if kind == "mixture" else gumbel_of(alphas, 4)
    sampler.ask()
    learner = RelaxedLearner(sampler, cost=term)
    steps = []
    real = learner.adam.step
    monkeypatch.setattr(learner.adam, "step", lambda *args: steps.append(args) or real(*args))
    network, again, (images, labels) = supernet(space), supernet(space), batch(space)
    if kind == "gumbel":
        noise = np.random.default_rng(4)
        noise.gumbel(size=alphas.values.shape)  # what ask drew
        noise = torch.tensor(noise.gumbel(size=alphas.values.shape))
        temperature = 5.0
    else:
        noise, temperature = 0.0, 1.0
    with torch.random.fork_rng():
        torch.manual_seed(0)  # dropout
        record = learner.learn(network, np.zeros((1, 3), dtype=np.int64), images, labels)
        ((before, gradient, where),) = steps
        values = torch.tensor(before, requires_grad=True)
        logits = torch.where(torch.tensor(alphas.alive), values, -torch.inf)
        gates = ((logits.log_softmax(1) + noise) / temperature).softmax(1)
        torch.manual_seed(0)
        loss = F.cross_entropy(again(images, gates.float()), labels)
    padded = torch.tensor(alphas.costs())
    expected_cost = (logits.softmax(1) * padded).sum()
    objective = loss.double()
    if name == "added":
        objective = objective + 0.1 * (expected_cost - 50.0) / 50.0
    elif name == "multiplied":
        objective = objective * 0.2 * expected_cost.log() ** 0.6
    (wanted,) = torch.autograd.grad(objective, values)
    assert np.abs(gradient).max() > 1e-4
    np.testing.assert_allclose(gradient, wanted.numpy(), rtol=2e-4, atol=1e-7)
    assert np.array_equal(where, alphas.alive)
    assert record["held_out_loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert record["objective"] == pytest.approx(objective.item(), rel=1e-5)
    assert record["temperature"] == temperature
    assert ("expected_cost" in record) == (term is not None)


@pytest.mark.parametrize("build", [Mixture, gumbel_of])
def test_weights_gradients_and_statistics_stay(space, supernet, batch, build):
    network = supernet(space)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    buffers = {name: id(x) for name, x in network.named_buffers()}
    marked = next(network.parameters())
    marked.grad = torch.ones_like(marked)
    sampler = build(Alphas(space))
    learner = RelaxedLearner(sampler)
    for seed in range(3):
        learner.learn(network, sampler.ask(), *batch(space, seed=seed))
    assert learner.alphas.values.any()
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert {name: id(x) for name, x in network.named_buffers()} == buffers
    assert (marked.grad == 1).all()
    assert [p for p in network.parameters() if p.grad is not None] == [marked]


@pytest.mark.parametrize("build", [Mixture, gumbel_of])
def test_parts_of_a_batch_share_their_gates_and_average(space, supernet, batch, build, monkeypatch):
    network, (images, labels) = supernet(space).eval(), batch(space, n=7)
    gradients, records = [], []
    for micro_batch in (None, 3):
        learner = RelaxedLearner(build(Alphas(space, std=1.0, rng=np.random.default_rng(1))))
        real = learner.adam.step
        monkeypatch.setattr(
            learner.adam, "step", lambda *args, real=real: gradients.append(args[1]) or real(*args)
        )
        rows = learner.sampler.ask()
        # In evaluation mode norms do not see what passes with an image.
        records.append(learner.learn(network, rows, images, labels, micro_batch=micro_batch))
    assert np.abs(gradients[0]).max() > 1e-4
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)
    assert records[1] == pytest.approx(records[0], rel=1e-6)


def test_an_error_leaves_the_network_as_it_was(space, supernet, batch):
    network = supernet(space)
    buffers = {name: id(x) for name, x in network.named_buffers()}
    sampler = Mixture(Alphas(space))
    images, labels = batch(space)
    with pytest.raises(IndexError):
        RelaxedLearner(sampler).learn(network, sampler.ask(), images, labels + 99)
    with pytest.raises(RuntimeError):
        RelaxedLearner(sampler).learn(network, sampler.ask(), images[:, :1], labels)
    assert {name: id(x) for name, x in network.named_buffers()} == buffers


def test_batch_statistics_are_used(space, supernet, batch):
    """A mixture in training mode does not see the running statistics."""
    losses = []
    for scale in (1.0, 9.0):
        network = supernet(space)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(scale)
        torch.manual_seed(0)
        learner = RelaxedLearner(Mixture(Alphas(space)))
        losses.append(learner.learn(network, np.zeros((1, 3)), *batch(space))["held_out_loss"])
    assert losses[0] == losses[1]


def test_a_state_of_other_settings_is_refused(space):
    state = RelaxedLearner(Mixture(Alphas(space))).state_dict()
    with pytest.raises(InputError, match="its sampler is 'Mixture', this one's is 'Gumbel'"):
        RelaxedLearner(gumbel_of(Alphas(space))).load_state_dict(state)
    with pytest.raises(InputError, match="weight_decay"):
        RelaxedLearner(Mixture(Alphas(space)), weight_decay=0.0).load_state_dict(state)
    with pytest.raises(InputError, match="no cost"):
        RelaxedLearner(Mixture(Alphas(space)), cost=MultipliedCost())
