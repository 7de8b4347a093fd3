import json

import numpy as np
import pytest
import torch
from attrs import frozen
from torch.nn import functional as F  # noqa: N812

from nas_samplers import (
    AddedCost,
    Alphas,
    BelowMean,
    BinaryGates,
    MultipliedCost,
    binary_gates,
)
from nas_samplers.binary_gates import gate_gradients
from nas_spaces import Block, Choice, InputError, SearchSpace, Table, Term, published
from nas_spaces.jsonable import from_jsonable, to_jsonable
from nas_spaces.layers import Classifier, Conv, Identity, MBConv, Zero
from nas_spaces.primitives import INPUT, GraphBuilder
from nas_spaces.torch import Supernet


def gates_of(alphas, seed=0, **options):
    return BinaryGates(alphas, rng=np.random.default_rng(seed), **options)


def table(space, rows):
    rows = [row[:size] for row, size in zip(rows, space.num_options, strict=True)]
    return Table(space, "cost", "1", [Term((c,), row) for c, row in enumerate(rows)])


ROWS = np.zeros((1, 3), dtype=np.int64)


# --- the derivative by gates --------------------------------------------------------------------


@frozen
class Scale:
    """A 1x1 convolution without anything else."""

    label: str

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("conv", INPUT, shape[0], kernel=1)
        return build.graph


def test_the_known_answer(supernet, monkeypatch):
    candidates = [Scale("a"), Scale("b"), Scale("c")]
    choice = Choice("edge", ("a", "b", "c"))
    space = SearchSpace("edge", (1, 1, 1), [choice], [Block("edge", candidates, ("edge",))])
    network = supernet(space)
    with torch.no_grad():
        for option, output in enumerate((1.0, -2.0, 0.5)):
            network.layer(0, option).conv.weight.fill_(output)
    monkeypatch.setattr(F, "cross_entropy", lambda y, labels: ((y - 1) ** 2).sum())
    images, labels = torch.ones(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64)
    loss, slopes = gate_gradients(network, images, labels, np.array([1]), space.mask)
    assert loss == 9.0
    assert slopes.tolist() == [[-6.0, 12.0, -3.0]]

    alphas = Alphas(space)
    alphas.values[0] = [0.5, -0.25, 0.1]
    learner = gates_of(alphas)
    monkeypatch.setattr(binary_gates, "draw_options", lambda *_: np.array([1]))
    seen = []
    real = learner.adam.step
    monkeypatch.setattr(learner.adam, "step", lambda *args: seen.append(args[1]) or real(*args))
    learner.learn(network, ROWS, images, labels)
    expected = [-2.289983809287227, 2.886483102865847, -0.5964992935786199]
    np.testing.assert_allclose(seen[0][0], expected, rtol=1e-12)


def shared():
    """Two blocks of one choice, one of another behind a branch, and a sum."""
    pair = [MBConv(6, 3, expand=2), Identity(), Conv(6, 1)]
    return SearchSpace(
        "shared",
        (3, 6, 6),
        [Choice("a", ("mb", "skip", "k1")), Choice("b", ("k3", "zero"))],
        [
            Block("stem", [Conv(6)]),
            Block("one", list(pair), ("a",)),
            Block("two", list(pair), ("a",)),
            Block("side", [Conv(6), Zero()], ("b",), inputs=("one",)),
            Block("sum", [Identity()], inputs=("two", "side")),
            Block("head", [Classifier(3)]),
        ],
    )


@pytest.mark.parametrize("active", [[0, 0], [1, 0], [2, 1]])
def test_gates_of_all_candidates_are_those_of_autograd(supernet, batch, active):
    space = shared()
    network, active = supernet(space), np.array(active)
    images, labels = batch(space)
    loss, slopes = gate_gradients(network, images, labels, active, space.mask)
    # Nearly closed gates let autograd reach the candidates that are not on the path.
    gates = torch.where(torch.tensor(space.mask), 1e-7, 0.0)
    gates[np.arange(2), active] = 1.0
    gates.requires_grad_()
    mixed = F.cross_entropy(network(images, gates), labels)
    (expected,) = torch.autograd.grad(mixed, gates)
    assert loss == pytest.approx(mixed.item(), rel=1e-5)
    assert np.abs(slopes[space.mask])[:4].min() > 1e-4 or active[1] == 1
    assert slopes[1, 1] == 0  # zeros
    np.testing.assert_allclose(slopes, expected.numpy(), rtol=1e-3, atol=1e-5)
    some = space.mask & (np.arange(3) != 1)
    _, fewer = gate_gradients(network, images, labels, active, some)
    assert np.array_equal(fewer, np.where(some, slopes, 0))


def test_parts_of_a_batch_average(supernet, batch):
    space = shared()
    network, (images, labels) = supernet(space), batch(space, n=7)
    row = np.array([0, 0])

    def gradients(part=slice(None), micro_batch=None):
        return gate_gradients(network, images[part], labels[part], row, space.mask, micro_batch)

    loss, slopes = gradients(micro_batch=3)
    parts = [(2, gradients(slice(2))), (3, gradients(slice(2, 5))), (2, gradients(slice(5, 7)))]
    assert loss == pytest.approx(sum(n * alone[0] for n, alone in parts) / 7)
    np.testing.assert_allclose(slopes, sum(n * alone[1] for n, alone in parts) / 7)
    # Norms saw the images of their part alone.
    assert not np.allclose(slopes, gradients()[1])
    for whole in (7, 100):
        assert gradients(micro_batch=whole)[0] == gradients()[0]


# --- what it leaves alone -----------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["all", "two-path"])
def test_weights_gradients_and_statistics_stay(space, supernet, batch, variant):
    network = supernet(space)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    marked = next(network.parameters())
    marked.grad = torch.ones_like(marked)
    alphas = Alphas(space)
    learner = gates_of(alphas, variant=variant)
    for step in range(4):
        learner.learn(network, ROWS, *batch(space, seed=step))
    assert alphas.values.any()
    assert network.training
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert (marked.grad == 1).all()
    assert [p for p in network.parameters() if p.grad is not None] == [marked]


def saved_bytes(run):
    """Bytes that graphs keep for their backward pass, storages of weights left out."""
    kept = {}

    def pack(x):
        if not isinstance(x, torch.nn.Parameter):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    alive = []  # so that no address is used twice
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: alive.append(x) or pack(x), lambda x: x
    ):
        run()
    return sum(kept.values())


def test_graphs_hold_one_path_whatever_the_number_of_candidates(supernet, batch):
    space = published.load("nas-bench-macro", resolution=8)
    network, (images, labels) = supernet(space), batch(space)
    row = np.full(8, 1)

    def forward(arch):
        F.cross_entropy(network(images, arch), labels)

    wanted = saved_bytes(lambda: gate_gradients(network, images, labels, row, space.mask))
    path = saved_bytes(lambda: forward(row))
    mixture = saved_bytes(lambda: forward(torch.full((8, 3), 1 / 3)))
    assert wanted <= path * 1.02
    assert mixture > 2 * path


def test_candidates_are_run_once_each_and_without_a_graph(space, supernet, batch, monkeypatch):
    network, calls = supernet(space), []
    real = Supernet.candidate

    def candidate(self, x, index, combination, norms=None):
        out = real(self, x, index, combination, norms)
        calls.append((index, combination, torch.is_grad_enabled()))
        return out

    monkeypatch.setattr(Supernet, "candidate", candidate)
    images, labels = batch(space)
    gate_gradients(network, images, labels, np.array([0, 1, 1]), space.mask)
    # The path, and then every other candidate.
    assert calls[:5] == [(0, 0, True), (1, 0, True), (2, 1, True), (3, 1, True), (4, 0, True)]
    others = [(1, 1), (1, 2), (2, 0), (2, 2), (3, 0)]
    assert calls[5:] == [(index, option, False) for index, option in others]


# --- the update -----------------------------------------------------------------------------------


def test_alphas_follow_the_loss(supernet):
    """Of a good and a useless candidate the good one wins."""
    space = SearchSpace(
        "good",
        (3, 4, 4),
        [Choice("a", ("through", "zero", "other"))],
        [Block("a", [Identity(), Zero(), Zero()], ("a",)), Block("head", [Classifier(2)])],
    )
    network = supernet(space)
    images = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = (images[:, 0].mean((1, 2)) > 0).long()
    with torch.no_grad():
        weight = network.layer(1, 0).linear.weight
        weight.zero_()
        weight[:, 0] = torch.tensor([-20.0, 20.0])
    for variant in ("all", "two-path"):
        alphas = Alphas(space)
        learner = gates_of(alphas, variant=variant, lr=0.05)
        for _ in range(40):
            learner.learn(network, ROWS, images, labels)
        assert alphas.probabilities()[0, 0] > 0.6


def test_two_paths_leave_the_probabilities_of_others(space, supernet, batch):
    network = supernet(space)
    alphas = Alphas(space, std=1.0, rng=np.random.default_rng(0))
    learner = gates_of(alphas, variant="two-path", lr=0.1)
    for step in range(12):
        before, chances = alphas.values.copy(), alphas.probabilities()
        learner.learn(network, ROWS, *batch(space, seed=step))
        moved = alphas.values != before
        assert (moved.sum(axis=1) <= 2).all()
        assert moved.sum() >= 4
        np.testing.assert_allclose(alphas.probabilities()[~moved], chances[~moved], rtol=1e-12)


def test_two_paths_are_drawn_without_replacement(space):
    alphas = Alphas(space)
    alphas.values[0] = np.log([0.6, 0.3, 0.1])
    alphas.drop(2, 0)
    learner = gates_of(alphas, variant="two-path")
    pairs = {}
    firsts = {}
    draws = 20_000
    for _ in range(draws):
        pair, active = learner.draw()
        assert pair[2].tolist() == [False, True, False]
        assert pair[np.arange(3), active].all()
        key = tuple(np.flatnonzero(pair[0]).tolist())
        pairs[key] = pairs.get(key, 0) + 1
        firsts[key] = firsts.get(key, 0) + (active[0] == key[0])
    for (i, j), p, q in (((0, 1), 0.6, 0.3), ((0, 2), 0.6, 0.1), ((1, 2), 0.3, 0.1)):
        assert pairs[i, j] / draws == pytest.approx(p * q / (1 - p) + q * p / (1 - q), abs=0.015)
        assert firsts[i, j] / pairs[i, j] == pytest.approx(p / (p + q), abs=0.04)


@pytest.mark.parametrize("variant", ["all", "two-path"])
def test_a_choice_whose_active_candidate_is_zero_is_left_alone(
    supernet, batch, variant, monkeypatch
):
    space = shared()
    network, alphas = supernet(space), Alphas(space)
    learner = gates_of(alphas, variant=variant)
    for option in (1, 0):
        active = np.array([0, option])
        monkeypatch.setattr(binary_gates, "draw_options", lambda *_, a=active: a)
        learner.learn(network, ROWS, *batch(space))
        assert alphas.values[1].any() == (option == 0)
        assert alphas.values[0].any()
    assert learner.adam.steps[1].tolist() == [1, 1, 0]


# --- the cost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["all", "two-path"])
@pytest.mark.parametrize("kind", ["added", "multiplied"])
def test_the_gradient_is_that_of_the_objective(space, supernet, batch, variant, kind, monkeypatch):
    cost = table(space, [[40, 20, 10], [40, 20, 10], [90, 30, 0]])
    term = AddedCost(reference=50.0, weight=3.0) if kind == "added" else MultipliedCost()
    alphas = Alphas(space, std=0.5, rng=np.random.default_rng(2), cost=cost)
    alphas.drop(0, 2)
    learner = gates_of(alphas, variant=variant, cost=term)
    seen = []
    real = learner.adam.step
    monkeypatch.setattr(learner.adam, "step", lambda *args: seen.append(args) or real(*args))
    network, (images, labels) = supernet(space), batch(space)
    state = np.random.default_rng(0)
    pair, active = BinaryGates(alphas, rng=state, variant=variant).draw()
    record = learner.learn(network, ROWS, images, labels)
    loss, slopes = gate_gradients(network, images, labels, active, pair)
    ((values, gradient, where),) = seen
    assert np.array_equal(where, pair)
    theirs = torch.tensor(values, requires_grad=True)
    p = torch.where(torch.tensor(pair), theirs, -torch.inf).softmax(1)
    expected = Alphas(space, cost=cost)
    expected.values, expected.alive = values, alphas.alive
    e = expected.expected_cost()
    objective = term(loss, e)
    linear = objective.per_loss * torch.tensor(slopes) + objective.per_cost * torch.tensor(
        alphas.costs()
    )
    (wanted,) = torch.autograd.grad((p * linear).sum(), theirs)
    np.testing.assert_allclose(gradient[pair], wanted.numpy()[pair], rtol=1e-9, atol=1e-12)
    assert record["expected_cost"] == e
    assert record["objective"] == objective.value
    assert record["held_out_loss"] == loss


def test_a_cost_that_outweighs_the_loss_makes_networks_cheap(space, supernet, batch):
    alphas = Alphas(space, cost=table(space, [[4, 2, 1], [4, 2, 1], [9, 3]]))
    learner = gates_of(alphas, lr=0.05, cost=AddedCost(reference=1.0, weight=100.0))
    network, (images, labels) = supernet(space), batch(space)
    costs = [learner.learn(network, ROWS, images, labels)["expected_cost"] for _ in range(60)]
    assert costs[0] == pytest.approx(7 / 3 * 2 + 6)
    assert costs[-1] < 6
    assert alphas.values.argmax(axis=1).tolist() == [2, 2, 1]


# --- dropping -------------------------------------------------------------------------------------


def test_one_a_choice_goes_and_the_last_one_stays(space, supernet, batch):
    alphas = Alphas(space)
    learner = gates_of(alphas, drop=lambda a: a.alive, warmup=2)
    network, (images, labels) = supernet(space), batch(space)
    alive = []
    for _ in range(6):
        record = learner.learn(network, ROWS, images, labels)
        assert record["alive"] == alphas.alive.sum()
        alive.append(alphas.alive.sum(axis=1).tolist())
    assert alive == [[3, 3, 2], [3, 3, 2], [2, 2, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert len(alphas.dropped) == 5


def test_the_lowest_goes_first_and_takes_no_part_any_more(space, supernet, batch, monkeypatch):
    alphas = Alphas(space)
    alphas.values[0] = [-3.0, -2.0, 9.0]
    alphas.values[1] = [0.0, 0.001, 0.002]
    learner = gates_of(alphas, drop=BelowMean(1.0))
    network, (images, labels) = supernet(space), batch(space)
    learner.learn(network, ROWS, images, labels)
    assert [(one.choice, one.option) for one in alphas.dropped] == [(0, 0)]
    asked = []
    real = Supernet.candidate

    def candidate(self, x, index, combination, norms=None):
        asked.append((index, combination))
        return real(self, x, index, combination, norms)

    monkeypatch.setattr(Supernet, "candidate", candidate)
    frozen_at = alphas.values[0, 0]
    for _ in range(20):
        learner.learn(network, ROWS, images, labels)
    assert (1, 0) not in asked
    assert (2, 0) in asked
    assert alphas.values[0, 0] == frozen_at
    assert learner.adam.steps[0].tolist() == [1, 2, 21]  # option 1 went one call later


# --- state, refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["all", "two-path"])
def test_its_state_is_whole(space, supernet, batch, variant):
    def build(seed):
        alphas = Alphas(space, std=1e-3, rng=np.random.default_rng(seed))
        return gates_of(alphas, seed, variant=variant, drop=BelowMean(0.02), warmup=3, lr=0.01)

    network = supernet(space)

    def follow(learner, first, last):
        for step in range(first, last):
            learner.learn(network, ROWS, *batch(space, seed=step))
        return learner

    whole = follow(build(0), 0, 8)
    saved = json.loads(json.dumps(to_jsonable(follow(build(0), 0, 4).state_dict(), "")))
    other = follow(build(1), 0, 2)
    other.load_state_dict(from_jsonable(saved))
    follow(other, 4, 8)
    assert to_jsonable(other.state_dict(), "") == to_jsonable(whole.state_dict(), "")
    assert other.alphas.to_record() == whole.alphas.to_record()
    assert whole.alphas.dropped or variant == "two-path"


def test_a_state_of_other_settings_is_refused(space):
    state = gates_of(Alphas(space), drop=BelowMean(0.5)).state_dict()
    with pytest.raises(InputError, match="its drop is 'BelowMean"):
        gates_of(Alphas(space)).load_state_dict(state)
    with pytest.raises(InputError, match=r"its lr is 0\.001, this one's is 0\.01"):
        gates_of(Alphas(space), drop=BelowMean(0.5), lr=0.01).load_state_dict(state)


def test_what_cannot_be(space):
    alphas = Alphas(space)
    with pytest.raises(InputError, match="variant='al' is unknown: did you mean 'all'"):
        gates_of(alphas, variant="al")
    with pytest.raises(InputError, match="warmup=-1"):
        gates_of(alphas, warmup=-1)
    with pytest.raises(InputError, match="no cost"):
        gates_of(alphas, cost=AddedCost(reference=1.0))
    with pytest.raises(InputError, match="lr=0"):
        gates_of(alphas, lr=0)
    several = published.load("spos-shufflenet-joint")
    with pytest.raises(InputError, match="gates cannot mix block"):
        gates_of(Alphas(several))
