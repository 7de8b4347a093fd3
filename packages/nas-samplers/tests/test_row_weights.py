import weakref

import numpy as np
import pytest
import torch
from attrs import evolve
from torch.nn import functional as F  # noqa: N812

from nas_samplers import (
    Optimiser,
    Phase,
    mean_rows,
    posterior_rows,
    posterior_weights,
    sum_rows,
    train,
)
from nas_spaces import InputError, derive_seed
from nas_spaces.torch import Supernet

CPU = torch.device("cpu")
PURE = Optimiser(lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")
# One row twice; two that share candidates; and one whose candidates are its own.
ROWS = [[0, 1, 0], [2, 1, 0], [0, 1, 0], [1, 0, 1]]


@pytest.fixture
def still(space):
    """The space without dropout, so that a step can be repeated by hand."""
    *blocks, head = space.blocks
    return evolve(space, blocks=(*blocks, evolve(head, layers=[evolve(head.layers[0], dropout=0)])))


def supernet(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    network = Supernet(space, generator=generator, scheme="kaiming")
    with torch.no_grad():
        # A classifier begins so small that all rows would be as likely as each other.
        network.blocks["head"]["0"].get_parameter("linear.weight").mul_(30)
    return network


def step(space, data, sampler, seed=0, optimiser=PURE, **options):
    """Return minus the gradient of one step: the change of each parameter; None where none."""
    network = supernet(space, seed)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    records = []
    once = Phase("once", sampler, 1, optimiser, 16, **options)
    train(
        network,
        [once],
        data.train,
        seed=0,
        device=CPU,
        channels_last=False,
        log_every=1,
        on_record=records.append,
    )
    return (
        {name: before[name] - p.detach() for name, p in network.named_parameters()},
        records[0]["loss"],
    )


def by_hand(space, data, rows, temperature, parts=(slice(None),)):
    """The derivative of -T log sum_k exp(-loss_k / T), with all graphs at once."""
    network = supernet(space).train()
    images, labels = next(data.train.training_batches(batch_size=16, seed=derive_seed(0, 0)))
    losses = torch.stack(
        [
            sum(
                F.cross_entropy(network(images[part], np.array(row)), labels[part])
                * (len(labels[part]) / 16)
                for part in parts
            )
            for row in rows
        ]
    )
    objective = -temperature * torch.logsumexp(-losses / temperature, dim=0)
    names, parameters = zip(*network.named_parameters(), strict=True)
    found = torch.autograd.grad(objective, parameters, materialize_grads=True)
    return dict(zip(names, found, strict=True)), losses.detach()


def close(a, b):
    assert a.keys() == b.keys()
    assert any(x.abs().max() > 1e-3 for x in a.values())
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1], ROWS[1:], [*ROWS[2:], *ROWS[:2]]])
@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_the_gradient_is_that_of_the_mixture_of_all_rows(
    still, data, rows_sampler, rows, temperature
):
    change, loss = step(still, data, rows_sampler(rows), weigh=posterior_rows(temperature))
    wanted, losses = by_hand(still, data, rows, temperature)
    close(change, wanted)
    assert loss == pytest.approx(losses.mean().item(), rel=1e-5)
    # The test would not tell rows apart if they were all as likely.
    assert np.ptp(posterior_weights(losses.numpy(), temperature)) > (
        0.02 if temperature == 1 else 0.5
    )


def test_a_row_that_passes_in_parts_counts_by_its_whole_loss(still, data, rows_sampler):
    parts = [slice(0, 5), slice(5, 11), slice(11, 16)]
    options = {"weigh": posterior_rows(0.05), "micro_batch": 6}
    sampler = rows_sampler(ROWS)
    assert Phase("p", sampler, 1, PURE, 16, **options).parts == parts
    change, _ = step(still, data, sampler, **options)
    close(change, by_hand(still, data, ROWS, 0.05, parts)[0])


@pytest.mark.parametrize("weigh", [sum_rows, mean_rows, posterior_rows(), posterior_rows(1e-3)])
def test_one_row_alone_counts_1_to_the_bit(space, data, rows_sampler, weigh):
    ours, _ = step(space, data, rows_sampler(ROWS[:1]), weigh=weigh)
    plain, _ = step(space, data, rows_sampler(ROWS[:1]))
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


def test_what_no_row_uses_has_no_gradient(space, data, rows_sampler):
    # Decay would move what has a gradient of zero.
    decaying = evolve(PURE, weight_decay=0.5)
    change, _ = step(
        space,
        data,
        rows_sampler([[0, 0, 0], [0, 1, 0]]),
        optimiser=decaying,
        weigh=posterior_rows(),
    )
    unused = [n for n in change if n.startswith(("blocks.a.1", "blocks.c.1"))]
    assert unused
    assert all((change[name] == 0).all() for name in unused)
    assert all((x != 0).any() for n, x in change.items() if n.startswith(("blocks.a.0", "stem")))


def test_clipping_sees_the_combined_gradient(still, data, rows_sampler):
    free, _ = step(still, data, rows_sampler(ROWS), weigh=posterior_rows())
    norm = torch.cat([x.flatten() for x in free.values()]).norm().item()
    clipped, _ = step(
        still,
        data,
        rows_sampler(ROWS),
        weigh=posterior_rows(),
        optimiser=evolve(PURE, clip=norm / 4),
    )
    close({n: 4 * x for n, x in clipped.items()}, free)


def test_weights_of_any_kind_see_each_loss_as_it_comes(still, data, rows_sampler):
    class Last:
        """Only the last row counts, twice; written by a user."""

        def __init__(self, rows):
            self.losses = []
            seen.append(self)

        def add(self, loss):
            self.losses.append(loss.item())
            return torch.zeros(()), torch.ones(())

        def finish(self):
            return torch.tensor(2.0)

    seen = []
    change, loss = step(still, data, rows_sampler(ROWS), weigh=Last)
    (weights,) = seen
    assert np.mean(weights.losses) == pytest.approx(loss, rel=1e-6)
    assert len(weights.losses) == 4
    alone, _ = step(still, data, rows_sampler(ROWS[3:]))
    close(change, {name: 2 * x for name, x in alone.items()})


class Graphs:
    """Counts bytes that graphs keep for their backward pass, and how many they ever kept."""

    def __init__(self):
        self.now = self.peak = self.kept = 0

    def pack(self, x):
        class Held:
            pass

        held = Held()
        held.tensor = x
        if not isinstance(x, torch.nn.Parameter):
            size = x.nbytes
            self.now += size
            self.kept += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(held, self.free, size)
        return held

    def free(self, size):
        self.now -= size

    def hooks(self):
        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda held: held.tensor)


@pytest.mark.parametrize("micro_batch", [None, 8])
@pytest.mark.parametrize("weigh", [sum_rows, posterior_rows()])
def test_one_graph_is_alive_at_a_time(space, data, rows_sampler, weigh, micro_batch):
    found = {}
    for count in (1, 6):
        graphs = Graphs()
        with graphs.hooks():
            step(
                space, data, rows_sampler([[0, 0, 1]] * count), weigh=weigh, micro_batch=micro_batch
            )
        found[count] = graphs
        assert graphs.now == 0
    assert found[6].peak == found[1].peak
    assert found[6].kept == 6 * found[1].kept


@pytest.mark.parametrize(
    "losses", [[2.0, 1.0, 3.0], [1.0, 1.0, 1.0], [900.0, 0.0, 400.0], [0.0, 900.0, 1e4], [5.0]]
)
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_streamed_weights_are_the_posterior_weights(losses, temperature):
    counted = streamed(losses, temperature, torch.float64)
    np.testing.assert_allclose(counted, posterior_weights(losses, temperature), rtol=1e-12)


def streamed(losses, temperature, dtype):
    weights = posterior_rows(temperature)(len(losses))
    counted = []
    for loss in losses:
        keep, count = weights.add(torch.tensor(loss, dtype=dtype))
        counted = [keep * one for one in counted] + [count]
    return [(weights.finish() * one).item() for one in counted]


@pytest.mark.parametrize(
    "losses", [[2.0, 1.0, 3.0], [1.0, 2.0, 1.0], [3.0, 2.0, 1.0], [2.0, 2.0], [0.0, 1e-3], [5.0]]
)
@pytest.mark.parametrize("temperature", [1e-5, 1e-38, 1e-39, 1e-50, 1e-310])
def test_tiny_temperatures_keep_their_weights_in_float32(losses, temperature):
    counted = streamed(losses, temperature, torch.float32)
    wanted = posterior_weights(losses, temperature)
    np.testing.assert_allclose(counted, wanted, rtol=1e-6, atol=1e-40)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_temperatures_out_of_range(temperature):
    with pytest.raises(InputError, match=r"temperature=\S+ must be a finite number above 0"):
        posterior_rows(temperature)
