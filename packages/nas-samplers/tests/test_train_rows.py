"""Several rows in one step: the weights' change beside gradients that are computed by hand."""

import numpy as np
import pytest
import torch
from attrs import evolve, frozen
from torch.nn import functional as F  # noqa: N812

from nas_samplers import Optimiser, mean_rows, sum_rows, train
from nas_spaces import Block, Choice, SearchSpace, derive_seed
from nas_spaces.primitives import INPUT, GraphBuilder

CPU = torch.device("cpu")
PURE = Optimiser(lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")
ROWS = [[0, 1], [2, 1], [1, 0]]


@frozen
class Plain:
    """A convolution without a norm: images do not see each other."""

    kernel: int

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.activation("act", build.convolution("conv", INPUT, 8, kernel=self.kernel), "relu")
        return build.graph


@frozen
class Head:
    def graph(self, shape):
        build = GraphBuilder(shape)
        build.linear("linear", build.pool("pool", INPUT, "global"), 10)
        return build.graph


@pytest.fixture(scope="module")
def normless():
    options = [Plain(1), Plain(3), Plain(5)]
    return SearchSpace(
        "normless",
        (3, 8, 8),
        [Choice("a", (1, 3, 5)), Choice("b", (1, 3, 5))],
        [
            Block("a", list(options), ("a",)),
            Block("b", list(options), ("b",)),
            Block("head", [Head()]),
        ],
    )


@pytest.fixture(scope="module")
def one_step(normless, data, rows_sampler, supernet, phase, snapshot):
    """A function that returns the weights' change of one step: minus the gradient."""

    def change(rows, *, optimiser=PURE, **options):
        network = supernet(normless, scheme="kaiming")
        before = snapshot(network)
        once = phase(rows_sampler(rows), 1, optimiser, 16, **options)
        train(network, [once], data.train, seed=0, device=CPU, channels_last=False)
        after = network.state_dict()
        return {name: before[name] - after[name] for name, _ in network.named_parameters()}

    return change


@pytest.fixture(scope="module")
def gradients(normless, data, supernet):
    """The same by hand."""

    def change(rows, weights, smoothing=0.0):
        network = supernet(normless)
        stream = data.train.training_batches(batch_size=16, seed=derive_seed(0, 0))
        images, labels = next(stream)
        total = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
        for row, weight in zip(rows, weights, strict=True):
            loss = F.cross_entropy(network(images, row), labels, label_smoothing=smoothing)
            names, parameters = zip(*network.named_parameters(), strict=True)
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            for name, gradient in zip(names, found, strict=True):
                if gradient is not None:
                    total[name] += weight * gradient
        return total

    return change


def close(a, b):
    assert a.keys() == b.keys()
    assert any(x.abs().max() > 1e-3 for x in a.values())
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("weigh", "weights"),
    [(sum_rows, [1, 1, 1]), (mean_rows, [1 / 3] * 3), (lambda n: 2 * n, [6] * 3)],
)
def test_rows_share_one_batch_and_one_step(one_step, gradients, weigh, weights):
    change = one_step(ROWS, weigh=weigh)
    close(change, gradients(ROWS, weights))


def test_label_smoothing(one_step, gradients):
    change = one_step(ROWS[:1], label_smoothing=0.3)
    close(change, gradients(ROWS[:1], [1], smoothing=0.3))


@pytest.mark.parametrize("micro_batch", [2, 3, 5, 8, 15, 16, 100])
def test_micro_batches_add_up_to_the_batch(one_step, gradients, micro_batch):
    change = one_step(ROWS, micro_batch=micro_batch)
    close(change, gradients(ROWS, [1] * 3))


def test_clipping_bounds_the_step(one_step):
    def norm(change):
        return torch.cat([x.flatten() for x in change.values()]).norm().item()

    free = one_step(ROWS)
    clip = norm(free) / 3
    clipped = one_step(ROWS, optimiser=evolve(PURE, clip=clip))
    assert norm(clipped) == pytest.approx(clip, rel=1e-3)
    close(clipped, {name: x / 3 for name, x in free.items()})
    loose = one_step(ROWS, optimiser=evolve(PURE, clip=1e6))
    close(loose, free)


def test_gradients_that_the_network_came_with_count_nothing(
    normless, data, rows_sampler, supernet, phase, snapshot, same
):
    once = phase(rows_sampler(ROWS), 1, PURE, 16)
    states = []
    for stale in (False, True):
        network = supernet(normless)
        if stale:
            for parameter in network.parameters():
                parameter.grad = torch.ones_like(parameter)
        train(network, [once], data.train, seed=0, device=CPU)
        states.append(snapshot(network))
    assert same(*states)


# --- joined rows ------------------------------------------------------------------------------


def join_mean(network, images, rows):
    """One pass of all that the rows name, in equal parts."""
    gates = torch.zeros(network.space.mask.shape)
    gates[np.arange(rows.shape[1]), rows] = 1.0
    return network(images, gates / gates.sum(1, keepdim=True))


@pytest.mark.parametrize("options", [{}, {"weigh": lambda n: 7 * n}, {"micro_batch": 5}])
def test_joined_rows_are_one_pass_that_counts_once(one_step, normless, data, options, supernet):
    passes = []

    def join(network, images, rows):
        passes.append((len(images), rows.tolist()))
        return join_mean(network, images, rows)

    change = one_step(ROWS, join=join, **options)
    parts = [4, 4, 4, 4] if "micro_batch" in options else [16]
    assert sorted(passes) == sorted((size, ROWS) for size in parts)
    network = supernet(normless)
    stream = data.train.training_batches(batch_size=16, seed=derive_seed(0, 0))
    images, labels = next(stream)
    F.cross_entropy(join_mean(network, images, np.array(ROWS)), labels).backward()
    close(
        {name: x for name, x in change.items() if x.any()},
        {name: p.grad for name, p in network.named_parameters() if p.grad is not None},
    )


def test_the_loss_of_joined_rows_is_that_of_their_pass(
    normless, data, rows_sampler, supernet, phase
):
    losses = []
    for join in (None, join_mean):
        once = phase(rows_sampler(ROWS[:1] * 3), 1, PURE, 16, join=join)
        summary = train(supernet(normless), [once], data.train, seed=0, device=CPU)
        losses.append(summary.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_options_of_joined_rows_are_counted_once_a_step(space, data, rows_sampler, supernet, phase):
    steps = [[[0, 1, 0], [0, 2, 1], [2, 1, 1]], [[1, 1, 0]]]
    joined = phase(rows_sampler(*steps), 2, join=join_mean)
    summary = train(supernet(space), [joined], data.train, seed=0, device=CPU)
    assert summary.path_counts == ((1, 1, 1), (0, 2, 1), (2, 1, 0))
