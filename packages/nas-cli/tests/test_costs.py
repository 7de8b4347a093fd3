"""Tables over primitives against counters that look at the built modules only."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import nas_hw
from nas_spaces import published
from nas_spaces.torch import Network, Supernet

SPACES = sorted(published.SPACES)


@pytest.fixture(params=SPACES)
def space(request):
    return published.load(request.param)


@pytest.fixture
def archs(space):
    last = np.array(space.num_options) - 1
    rows = space.sample(6, rng=np.random.default_rng(17))
    return np.concatenate([np.stack([last * 0, last]), rows])


def image(space):
    # Nothing is computed on this device, so that full resolution costs no time.
    return torch.empty((1, *space.input_shape), device="meta")


def count_with_hooks(network, x):
    """Multiply-adds by the weights and output shapes of modules as they run."""
    total = 0

    def count(module, _, output):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() * output.shape[2] * output.shape[3]
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    handles = [module.register_forward_hook(count) for module in network.modules()]
    network(x)
    for handle in handles:
        handle.remove()
    return total


def test_macs_and_params_are_those_of_the_built_network(space, archs):
    macs, params = nas_hw.macs(space)(archs), nas_hw.params(space)(archs)
    for arch, expected_macs, expected_params in zip(archs, macs, params, strict=True):
        network = Network(space.fix(arch), generator=torch.Generator()).eval().to("meta")
        counter = FlopCounterMode(display=False)
        with counter:
            network(image(space))
        assert counter.get_total_flops() == 2 * expected_macs
        assert count_with_hooks(network, image(space)) == expected_macs
        assert sum(p.numel() for p in network.parameters()) == expected_params
    assert len(set(macs.tolist())) > 4


@pytest.mark.parametrize("affine", [True, False])
def test_params_of_inherited_networks(space, archs, affine):
    supernet = Supernet(space, generator=torch.Generator(), affine=affine)
    params = nas_hw.params(space)(archs)
    for arch, expected in zip(archs[:3], params[:3], strict=True):
        network = supernet.inherit(arch)
        # A stand-alone network has scales and shifts, whether its supernet has them or not.
        assert sum(p.numel() for p in network.parameters()) == expected


def test_macs_of_a_path_of_the_supernet(space, archs):
    supernet = Supernet(space, generator=torch.Generator()).eval().to("meta")
    for arch, expected in zip(archs[:3], nas_hw.macs(space)(archs[:3]), strict=True):
        counter = FlopCounterMode(display=False)
        with counter:
            supernet(image(space), arch)
        assert counter.get_total_flops() == 2 * expected


@pytest.mark.parametrize("name", sorted(published.ARCHITECTURES))
def test_published_architectures(name):
    space, arch = published.architecture(name)
    network = Network(space.fix(arch), generator=torch.Generator()).eval().to("meta")
    assert count_with_hooks(network, image(space)) == nas_hw.macs(space)([arch])[0]
    assert sum(p.numel() for p in network.parameters()) == nas_hw.params(space)([arch])[0]
