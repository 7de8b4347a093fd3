"""Losses and weights that are not finite: where a training stops, and what it keeps."""

import itertools
import math

import pytest
import torch
from attrs import evolve

from nas_samplers import DivergedError, Optimiser, train
from nas_samplers.checkpoint import read_checkpoint
from nas_spaces import InputError

CPU = torch.device("cpu")


def poisoned(step, value=float("nan")):
    """A forward pass whose logits are not finite at one step (from 1)."""
    calls = itertools.count(1)

    def forward(network, images, row):
        logits = network(images, row)
        return logits * value if next(calls) == step else logits

    return forward


@pytest.mark.parametrize("step", [1, 2, 5, 6, 8, 11])
def test_a_loss_that_is_not_finite_stops_with_its_step(
    space, data, tmp_path, step, supernet, phase, uniform
):
    path = tmp_path / "c"
    once = phase(uniform(space), 11, name="main", forward=poisoned(step))
    saved = {"checkpoint": path, "checkpoint_every": 4, "log_every": 100}
    with pytest.raises(DivergedError, match=f"nan at step {step} of phase 'main'") as caught:
        train(supernet(space), [once], data.train, seed=0, device=CPU, **saved)
    assert "learning rate" in str(caught.value)
    good = (step - 1) // 4 * 4
    assert path.exists() == (good > 0)
    assert (str(path) in str(caught.value)) == path.exists()
    if good:
        kept = read_checkpoint(path)
        assert kept.state["step"] == good
        assert all(x.isfinite().all() for x in kept.tensors.values())


def test_the_step_is_right_in_a_later_phase_and_without_a_checkpoint(
    space, data, supernet, phase, uniform
):
    phases = [
        phase(uniform(space), 3, name="a"),
        phase(uniform(space), 5, name="b", forward=poisoned(4, float("inf"))),
    ]
    with pytest.raises(DivergedError, match=r"loss became \S+ at step 4 of phase 'b'"):
        train(supernet(space), phases, data.train, seed=0, device=CPU, log_every=2)


@pytest.mark.parametrize("make_phases", ["darts", "fbnet", "betanas", "fp_nas"], indirect=True)
def test_weights_that_diverge_under_a_learner_are_said_to_diverge(
    space, data, make_phases, supernet
):
    *_, last = make_phases(space)
    wild = evolve(last, optimiser=Optimiser("sgd", lr=1e30))
    with pytest.raises(DivergedError, match=r"became \S+ at step \d .* lower the learning rate"):
        train(supernet(space), [wild], data.train, seed=0, device=CPU, held_out=data.held_out)


def test_what_a_learner_records_is_finite(
    space, data, tmp_path, supernet, phase, uniform, learner_class
):
    class Odd(learner_class):
        def learn(self, *args):
            return {**super().learn(*args), "odd": 1.0 if len(self.calls) < 3 else math.inf}

    path = tmp_path / "c"
    odd = phase(uniform(space), 6, name="main", learner=Odd())
    files = {"checkpoint": path, "checkpoint_every": 1, "log_every": 100}
    with pytest.raises(DivergedError, match="the learner's odd became inf at step 3 of phase"):
        train(
            supernet(space), [odd], data.train, held_out=data.held_out, seed=0, device=CPU, **files
        )
    assert read_checkpoint(path).state["step"] == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_before_the_training_are_named(
    quantised, tmp_path, value, supernet, phase, uniform
):
    space, digits = quantised
    network = supernet(space)

    def poison(network):
        with torch.no_grad():
            network.blocks["b"]["0"].quantise2.alpha_4.fill_(value)

    phases = [phase(uniform(space), 1), phase(uniform(space), 1, name="next", before=poison)]
    named = r"'next' cannot begin: 1 tensors of the network \(blocks.b.0.quantise2.alpha_4 first\)"
    with pytest.raises(InputError, match=named) as error:
        train(network, phases, digits.train, seed=0, device=CPU)
    assert "learning rate" not in str(error.value)
    with pytest.raises(InputError, match=r"phase 'supernet' cannot begin: 1 tensors"):
        train(network, phases[:1], digits.train, seed=0, device=CPU)


class Poison:
    """Makes a weight infinite at its n-th call: the loss before it was finite."""

    def __init__(self, call):
        self.call = call
        self.count = 0

    def learn(self, network, archs, images, labels):
        self.count += 1
        if self.count == self.call:
            with torch.no_grad():
                network.blocks["head"]["0"].linear.bias[0] = float("inf")
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    # Without a file, weights are looked at in the last step; before it the next loss says it.
    ("step", "last", "saved"),
    [(4, 6, True), (6, 6, True), (3, 3, True), (6, 6, False), (3, 3, False)],
)
def test_weights_that_are_not_finite_reach_no_file(
    space, data, tmp_path, step, last, saved, supernet, phase, uniform
):
    path = tmp_path / "c"
    poison = phase(uniform(space), last, name="main", learner=Poison(step))
    phases = [poison, phase(uniform(space), 3, name="next")]
    files = {"checkpoint": path, "checkpoint_every": 2} if saved else {}
    with pytest.raises(
        DivergedError, match=rf"blocks\.head.*not finite at step {step} of phase 'main'"
    ):
        train(
            supernet(space),
            phases,
            data.train,
            held_out=data.held_out,
            seed=0,
            device=CPU,
            **files,
        )
    if saved:
        kept = read_checkpoint(path)
        assert kept.state["step"] == (step - 1) // 2 * 2
        assert all(x.isfinite().all() for x in kept.tensors.values())
