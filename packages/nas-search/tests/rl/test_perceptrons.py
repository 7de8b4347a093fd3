import numpy as np
import torch
from torch import nn

from nas_search.rl.perceptrons import Perceptrons


def test_each_network_is_what_torch_makes_of_its_weights():
    networks = Perceptrons(3, 7, 5, np.random.default_rng(0))
    with torch.no_grad():
        for slope in networks.slopes:
            slope.copy_(torch.tensor([0.1, 0.3, -0.5]))
    x = torch.randn(3, 11, 7, generator=torch.Generator().manual_seed(0))
    answers = networks(x)
    assert answers.shape == (3, 11)
    for index in range(3):
        layers = []
        for weight, bias in zip(networks.weights, networks.biases, strict=True):
            layer = nn.Linear(*weight.shape[1:])
            layer.weight.data, layer.bias.data = weight[index].T, bias[index, 0]
            layers += [layer, nn.PReLU()]
        for layer, slope in zip(layers[1::2], networks.slopes, strict=False):
            layer.weight.data = slope[index : index + 1]
        torch.testing.assert_close(answers[index], nn.Sequential(*layers[:-1])(x[index])[:, 0])


def test_initial_weights_are_drawn_from_the_generator():
    one, same, other = (Perceptrons(2, 50, 40, np.random.default_rng(s)) for s in (0, 0, 1))
    for first, second, third in zip(
        one.parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(first, second)
        assert first.ndim == 1 or not torch.equal(first, third)
    for weight, inputs in zip(one.weights, (50, 40, 40, 40), strict=True):
        assert 0.9 < weight.abs().max() * inputs**0.5 <= 1
