"""Clipping levels of quantisers in a training."""

import numpy as np
import pytest
import torch

from nas_samplers import Optimiser, train
from nas_spaces.torch.quantise import SMALLEST_ALPHA, Pact

CPU = torch.device("cpu")


def levels_of(network):
    return [
        level
        for module in network.modules()
        if isinstance(module, Pact)
        for level in module.parameters()
    ]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("start", [0.0, -3.0])
def test_levels_that_are_not_positive_train_as_those_at_the_start(
    quantised, kind, start, supernet, phase, uniform, snapshot, same
):
    space, digits = quantised
    network, losses = supernet(space), []
    with torch.no_grad():
        for level in levels_of(network):
            level.fill_(start)
    optimiser = Optimiser(kind, lr=0.3 if kind == "sgd" else 0.02, schedule="constant")
    one = phase(uniform(space), 40, optimiser, batch_size=32)
    records = {"log_every": 1, "on_record": lambda record: losses.append(record["loss"])}
    train(network, [one], digits.train, seed=0, device=CPU, **records)
    assert np.mean(losses[-10:]) < 0.9 * losses[0]
    assert all(1 < level.item() < 16 for level in levels_of(network))
    # As if nothing had been wrong with them.
    other = supernet(space)
    one = phase(uniform(space), 40, optimiser, batch_size=32)
    train(other, [one], digits.train, seed=0, device=CPU)
    assert same(snapshot(network), snapshot(other))


def test_levels_that_fall_in_training_start_again(quantised, supernet, phase, uniform):
    space, digits = quantised
    network, losses, levels = supernet(space), [], []

    def record(record):
        losses.append(record["loss"])
        levels.append([level.item() for level in levels_of(network)])

    # Each step of the decay alone would make them negative.
    optimiser = Optimiser(lr=0.2, level_decay=6.0, schedule="constant")
    one = phase(uniform(space), 60, optimiser, batch_size=32)
    train(network, [one], digits.train, seed=0, device=CPU, log_every=1, on_record=record)
    assert np.mean(losses[-10:]) < 0.8 * losses[0]
    assert np.min(levels) > SMALLEST_ALPHA
    assert np.max(levels) < 16
