import numpy as np
import pytest
import torch

from nas_samplers.adam import Adam
from nas_spaces import InputError


@pytest.mark.parametrize("settings", [(1e-3, (0.0, 0.999), 0.0), (0.1, (0.5, 0.9), 0.3)])
def test_it_is_torchs(settings):
    lr, betas, decay = settings
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 4))
    theirs = torch.tensor(values, requires_grad=True)
    optimiser = torch.optim.Adam([theirs], lr=lr, betas=betas, weight_decay=decay)
    ours = Adam(values.shape, lr=lr, betas=betas, weight_decay=decay)
    for _ in range(20):
        gradient = rng.normal(size=values.shape)
        values = ours.step(values, gradient, np.ones(values.shape, dtype=bool))
        theirs.grad = torch.tensor(gradient)
        optimiser.step()
        np.testing.assert_allclose(values, theirs.detach().numpy(), rtol=1e-10)


def test_what_takes_no_part_is_as_if_it_had_no_gradient():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3))
    parts = [torch.tensor([[x]], dtype=torch.float64, requires_grad=True) for x in values.ravel()]
    optimiser = torch.optim.Adam(parts, lr=0.1, betas=(0.9, 0.99), weight_decay=0.1)
    ours = Adam(values.shape, lr=0.1, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(20):
        gradient, where = rng.normal(size=values.shape), rng.random(values.shape) < 0.5
        before = values
        values = ours.step(values, gradient, where)
        assert np.array_equal(values[~where], before[~where])
        for part, slope, taking in zip(parts, gradient.ravel(), where.ravel(), strict=True):
            part.grad = torch.tensor([[slope]]) if taking else None
        optimiser.step()
    np.testing.assert_allclose(values.ravel(), [part.item() for part in parts], rtol=1e-10)


def test_its_state_is_whole():
    rng = np.random.default_rng(0)
    values, gradients = rng.normal(size=(2, 3)), rng.normal(size=(4, 2, 3))
    where = np.ones(values.shape, dtype=bool)
    first = Adam(values.shape, lr=0.1, betas=(0.9, 0.99))
    for gradient in gradients[:2]:
        values = first.step(values, gradient, where)
    saved = first.state_dict()
    second = Adam(values.shape, lr=0.1, betas=(0.9, 0.99))
    second.load_state_dict(saved)
    after = values
    for gradient in gradients[2:]:
        values = first.step(values, gradient, where)
    for gradient in gradients[2:]:
        after = second.step(after, gradient, where)
    assert np.array_equal(after, values)


def test_any_two_numbers_are_betas():
    assert Adam((1, 2), lr=0.1, betas=np.array([0.9, 0.99])).betas == (0.9, 0.99)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0.0}, "lr=0.0 must be"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": "a"}, "lr='a' must be"),
        ({"lr": None}, "lr=None must be"),
        ({"lr": 10**400}, "0 must be a finite number above 0"),
        ({"lr": True}, "lr=True must be"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\]=1\.0 must be a finite number at least 0 and below 1"),
        ({"betas": ("a", 0.9)}, r"betas\[0\]='a' must be"),
        ({"betas": 0.9}, r"betas=0\.9 must be two numbers"),
        ({"betas": (0.9,)}, "two numbers"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
    ],
)
def test_what_cannot_be(wrong, message):
    with pytest.raises(InputError, match=message):
        Adam((1, 2), **{"lr": 0.1, "betas": (0.9, 0.99), **wrong})
