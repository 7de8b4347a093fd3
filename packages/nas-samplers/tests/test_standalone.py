import numpy as np
import pytest
import torch
from torch import nn

from nas_samplers import (
    DivergedError,
    Optimiser,
    Phase,
    Training,
    Uniform,
    run_network,
    top1_error,
    train,
    train_network,
    wrong_answers,
)
from nas_spaces import InputError, published
from nas_spaces.torch import Network

CPU = torch.device("cpu")


class Few:
    """Images in batches, whatever size is asked for."""

    def __init__(self, *batches):
        self.batches = batches

    def fixed_batches(self, batch_size):
        return iter(self.batches)


class Bias(nn.Module):
    """Answers by the first pixel; in training always 0."""

    def forward(self, x):
        answer = x[:, 0, 0, 0].long() * (not self.training)
        return nn.functional.one_hot(answer, 5).float()


def labelled(answers, labels):
    images = torch.tensor(answers, dtype=torch.float32).view(-1, 1, 1, 1)
    return images, torch.tensor(labels)


def test_wrong_answers_are_in_the_order_of_the_images():
    images = Few(labelled([0, 1, 2], [0, 2, 2]), labelled([3, 4], [0, 4]))
    network = Bias().train()
    wrong = wrong_answers(network, images, device=CPU)
    assert wrong.dtype == bool
    assert wrong.tolist() == [False, True, False, True, False]
    assert top1_error(network, images, device=CPU) == pytest.approx(2 / 5)


def test_no_images():
    with pytest.raises(InputError, match="no images"):
        top1_error(Bias(), Few(), device=CPU)


def small(seed=0):
    space = published.load("digits-mobile", in_channels=3)
    return Network(space.fix([1] * 8), generator=torch.Generator().manual_seed(seed))


def test_neither_the_batch_size_nor_the_mode_matters(data):
    network = small()
    for x, _ in data.train.fixed_batches(128):
        network(x)
    answers = [
        wrong_answers(network.train(training), data.test, device=CPU, batch_size=size)
        for training, size in ((True, 256), (False, 7))
    ]
    np.testing.assert_array_equal(*answers)
    assert len(answers[0]) == len(data.test)
    x, y = next(iter(data.test.fixed_batches(len(data.test))))
    with torch.no_grad():
        expected = network.eval()(x).argmax(1) != y
    np.testing.assert_array_equal(answers[0], expected.numpy())


def test_one_architecture_trains_like_a_supernet_of_one(data):
    network = small()
    sampler = Uniform(network.space, rng=np.random.default_rng(0))
    phase = Phase("retrain", sampler, 60, Optimiser(lr=0.1), 32, forward=run_network)
    summary = train(network, [phase], data.train, seed=0, device=CPU)
    assert summary.steps == 60
    assert summary.path_counts == ()
    assert top1_error(network, data.test, device=CPU) < 0.5  # of ten classes


def weights(network):
    return [x.numpy().tobytes() for x in network.state_dict().values()]


def test_a_training_is_a_phase_of_the_one_loop(data):
    training = Training(
        optimiser=Optimiser(lr=0.1, warmup=0.2),
        batch_size=32,
        epochs=0.5,
        label_smoothing=0.1,
        micro_batch=16,
        channels_last=False,
    )
    steps = round(0.5 * len(data.train) / 32)
    assert training.steps_on(data.train) == steps
    network, by_hand, records = small(), small(), []
    summary = train_network(
        network, training, data.train, seed=3, device=CPU, on_record=records.append
    )
    assert summary.steps == steps == records[-1]["step"]
    phase = Phase(
        "alone",
        Uniform(by_hand.space, rng=np.random.default_rng(0)),
        steps,
        training.optimiser,
        32,
        label_smoothing=0.1,
        micro_batch=16,
        forward=run_network,
    )
    train(by_hand, [phase], data.train, seed=3, device=CPU, channels_last=False)
    assert weights(network) == weights(by_hand)


def test_a_training_is_so_many_epochs_or_steps(data):
    optimiser = Optimiser()
    assert Training(optimiser=optimiser, batch_size=32, steps=7).steps_on(data.train) == 7
    assert Training(optimiser=optimiser, batch_size=32, epochs=1e-9).steps_on(data.train) == 1
    for both in ({}, {"epochs": 1, "steps": 1}):
        with pytest.raises(InputError, match="a training has one of the two"):
            Training(optimiser=optimiser, batch_size=32, **both)
    for wrong in ({"batch_size": 1}, {"steps": 0}, {"micro_batch": 1}, {"precision": "float16"}):
        name = next(iter(wrong))
        with pytest.raises(InputError, match=name):
            Training(**{"optimiser": optimiser, "batch_size": 32, "steps": 1} | wrong)


def test_a_training_that_fails_leaves_no_checkpoint_to_fail_from(data, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    how = {"seed": 0, "device": CPU, "checkpoint": checkpoint, "checkpoint_every": 1}
    bad = Training(optimiser=Optimiser(lr=1e30), batch_size=32, steps=5)
    with pytest.raises(DivergedError):
        train_network(small(), bad, data.train, **how)
    assert not checkpoint.exists()
    good = Training(optimiser=Optimiser(lr=0.1), batch_size=32, steps=2)
    train_network(small(), good, data.train, **how)
    with pytest.raises(InputError, match="is of another training"):
        train_network(small(), bad, data.train, **how)
    assert not checkpoint.exists()
