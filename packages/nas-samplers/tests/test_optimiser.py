import math

import pytest
import torch
from torch import nn

from nas_samplers import Optimiser
from nas_spaces import InputError
from nas_spaces.torch.quantise import FIRST_ALPHA, Pact


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_linear_falls_from_the_peak_to_nothing():
    rates = [Optimiser(lr=0.5, schedule="linear").rate(step, 10) for step in range(10)]
    assert rates == pytest.approx([0.5 * (1 - step / 10) for step in range(10)])


def test_cosine():
    optimiser = Optimiser(lr=2.0, schedule="cosine")
    assert optimiser.rate(0, 8) == 2.0
    assert optimiser.rate(4, 8) == pytest.approx(1.0)
    assert optimiser.rate(2, 8) == pytest.approx(1 + math.cos(math.pi / 4))
    assert 0 < optimiser.rate(7, 8) < 0.1


def test_constant():
    assert {Optimiser(lr=0.3, schedule="constant").rate(step, 5) for step in range(5)} == {0.3}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_warm_up_rises_by_equal_steps_and_then_begins_at_the_peak(schedule):
    optimiser = Optimiser(lr=1.0, schedule=schedule, warmup=0.25)
    rates = [optimiser.rate(step, 16) for step in range(16)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0
    assert min(rates) > 0
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_a_warm_up_of_all_steps_never_falls():
    rates = [Optimiser(lr=1.0, warmup=1.0).rate(step, 4) for step in range(4)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_decay_is_for_weights_of_more_than_one_dimension(kind):
    module = network()
    before = [p.detach().clone() for p in module.parameters()]
    optimiser = Optimiser(kind, lr=0.1, weight_decay=0.5).build(module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for parameter, old in zip(module.parameters(), before, strict=True):
        expected = old * (1 - 0.1 * 0.5) if old.ndim > 1 else old
        assert torch.allclose(parameter, expected, atol=1e-7)
        if old.ndim <= 1:
            assert torch.equal(parameter, old)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_clipping_levels_have_a_decay_of_their_own(kind):
    module = nn.Sequential(nn.Conv2d(1, 2, 3), Pact([2, 4]), nn.BatchNorm2d(2))
    before = [p.detach().clone() for p in module.parameters()]
    optimiser = Optimiser(kind, lr=0.1, weight_decay=0.0, level_decay=0.5).build(module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    levels = list(module[1].parameters())
    assert len(levels) == 2
    for parameter, old in zip(module.parameters(), before, strict=True):
        decayed = any(parameter is level for level in levels)
        assert torch.allclose(parameter, old * (1 - 0.1 * 0.5) if decayed else old)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_clipping_levels_that_fall_start_again(kind):
    module = Pact([1, 2, 4])
    with torch.no_grad():
        module.alpha_1.fill_(-3.0)
    optimiser = Optimiser(kind, lr=0.5, weight_decay=0.0, schedule="constant").build(module)
    assert module.alpha_1.item() == FIRST_ALPHA
    with torch.no_grad():
        module.alpha_1.fill_(-3.0)
        module.alpha_2.fill_(0.4)
        module.alpha_4.fill_(0.8)
    module.alpha_2.grad = torch.tensor([1.0])
    module.alpha_4.grad = torch.tensor([-1.0])
    optimiser.step()
    # Without a gradient it is left alone.
    assert module.alpha_1.item() == -3
    assert module.alpha_2.item() == FIRST_ALPHA
    assert module.alpha_4.item() == pytest.approx(1.3)
    sizes = {
        name: [x.abs().max().item() for x in optimiser.state[level].values() if x.ndim]
        for name, level in module.named_parameters()
        if level in optimiser.state
    }
    assert set(sizes) == {"alpha_2", "alpha_4"}
    assert not any(sizes["alpha_2"])
    assert all(sizes["alpha_4"])
    # With no momentum left it stays where it is.
    module.alpha_2.grad = torch.zeros(1)
    optimiser.step()
    assert module.alpha_2.item() == FIRST_ALPHA


def test_sgd_is_sgd_with_momentum():
    module = network()
    optimiser = Optimiser(lr=0.1, momentum=0.9, weight_decay=0.0).build(module)
    bias = module[3].bias
    old = bias.detach().clone()
    for _ in range(2):
        bias.grad = torch.ones_like(bias)
        optimiser.step()
    assert torch.allclose(bias, old - 0.1 - 0.1 * 1.9)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_some_parameters_may_have_state_and_others_none(kind):
    # Paths are sampled one by one: most weights meet their first gradient late.
    module = network()
    optimiser = Optimiser(kind, lr=0.1, weight_decay=0.1).build(module)
    first, second = module[0].weight, module[3].weight
    untouched = second.detach().clone()
    for parameters in ([first], [first, second]):
        if second not in optimiser.state:
            assert torch.equal(second, untouched)
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    assert not torch.equal(second, untouched)
    assert set(optimiser.state) == {first, second}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "adam"},
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": math.inf},
        {"lr": math.nan},
        {"momentum": -0.1},
        {"momentum": math.inf},
        {"weight_decay": -1e-4},
        {"weight_decay": math.inf},
        {"schedule": "step"},
        {"warmup": -0.1},
        {"warmup": 1.5},
        {"clip": 0.0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=f"^{name}={value!r} (must be a finite|is unknown: )"):
        Optimiser(**wrong)
