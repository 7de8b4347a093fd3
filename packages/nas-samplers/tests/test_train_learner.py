"""What a training does for the learner of a phase, and what it does not let it do."""

import pytest
import torch
from attrs import evolve
from torch.nn import functional as F  # noqa: N812

from nas_samplers import train
from nas_spaces import InputError

CPU = torch.device("cpu")


def test_a_learner_gets_held_out_batches_at_its_steps(
    space, data, rows_sampler, supernet, phase, learner_class
):
    learner, records = learner_class(), []
    rows = [[[0, 0, 0]], [[1, 1, 1]], [[2, 2, 0]], [[0, 2, 1]]]
    steps = phase(rows_sampler(*rows), 7, learner=learner, learn_every=3)
    options = {"held_out": data.held_out, "log_every": 1, "on_record": records.append}
    train(supernet(space), [steps], data.train, seed=0, device=CPU, **options)
    assert [archs.tolist() for archs, _, _ in learner.calls] == [rows[2], rows[1]]
    assert [r["step"] for r in records if "learned" in r] == [3, 6]
    whole, labels = next(data.held_out.fixed_batches(len(data.held_out)))
    assert len(whole) == len(data.held_out)
    for _, images, given in learner.calls:
        assert images.shape == (8, 3, 8, 8)
        assert set(given.tolist()) <= set(labels.tolist())
    first, second = (images for _, images, _ in learner.calls)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("first", "steps"), [(0, [2, 4, 6]), (1, [2, 4, 6]), (2, [4, 6]), (9, [])])
def test_a_learner_may_begin_later(
    space, data, first, steps, supernet, phase, uniform, learner_class
):
    learner, records = learner_class(), []
    later = phase(uniform(space), 7, learner=learner, learn_every=2, learn_from=first)
    options = {"held_out": data.held_out, "log_every": 1, "on_record": records.append}
    train(supernet(space), [later], data.train, seed=0, device=CPU, **options)
    assert [r["step"] for r in records if "learned" in r] == steps
    assert len(learner.calls) == len(steps) == later.learned(7)


def test_gradients_that_a_learner_leaves_do_not_train_weights(
    space, data, supernet, phase, uniform, snapshot, same, learner_class
):
    class Quiet(learner_class):
        def learn(self, network, archs, images, labels):
            return {}

    class Noisy(learner_class):
        def learn(self, network, archs, images, labels):
            for parameter in network.parameters():
                parameter.grad = torch.ones_like(parameter)
            return {}

    states = []
    for learner in (Quiet(), Noisy()):
        network = supernet(space)
        phases = [phase(uniform(space), learner=learner)]
        train(network, phases, data.train, held_out=data.held_out, seed=0, device=CPU)
        states.append(snapshot(network))
    assert same(*states)


def test_a_learner_needs_held_out_images(space, data, supernet, phase, uniform, learner_class):
    with pytest.raises(InputError, match="held_out"):
        train(
            supernet(space),
            [phase(uniform(space), learner=learner_class())],
            data.train,
            seed=0,
            device=CPU,
        )


@pytest.mark.parametrize("make_phases", ["betanas", "proxyless", "darts", "fbnet"], indirect=True)
def test_what_a_learner_passes_at_once_fits_micro_batches(
    space, data, make_phases, monkeypatch, supernet
):
    sizes, real = [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda x, *args: sizes.append(len(x)) or real(x, *args))
    largest = []
    for micro_batch in (None, 3):
        sizes.clear()
        *_, last = make_phases(space)
        once = evolve(last, steps=2, learn_from=0, learn_every=2, micro_batch=micro_batch)
        before = last.learner.alphas.values.copy()
        train(supernet(space), [once], data.train, held_out=data.held_out, seed=0, device=CPU)
        assert (last.learner.alphas.values != before).any()
        largest.append(max(sizes))
    assert largest == [8, 3]


def test_a_learner_that_knows_no_parts_is_told_of_none(
    space, data, supernet, phase, uniform, learner_class
):
    told = []

    class Curious(learner_class):
        def learn(self, network, archs, images, labels, **options):
            told.append((len(images), options))
            return {}

    for micro_batch in (None, 4):
        curious = phase(uniform(space), 1, learner=Curious(), micro_batch=micro_batch)
        train(supernet(space), [curious], data.train, held_out=data.held_out, seed=0, device=CPU)
    assert told == [(8, {}), (8, {"micro_batch": 4})]


def test_a_learner_that_cannot_be_told_of_parts_is_refused(
    space, data, supernet, phase, uniform, learner_class
):
    class Simple(learner_class):
        def learn(self, network, archs, images, labels):
            return {}

    simple = phase(uniform(space), 1, learner=Simple(), micro_batch=4)
    with pytest.raises(InputError, match=r"learn\(\) of its Simple takes no micro_batch"):
        train(supernet(space), [simple], data.train, held_out=data.held_out, seed=0, device=CPU)
