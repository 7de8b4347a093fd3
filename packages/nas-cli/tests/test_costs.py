"""Tables against supernets and published networks; nas-hw's tests count networks of all spaces."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import nas_hw
from nas_spaces import published
from nas_spaces.torch import Network, Supernet

# One of each kind of block; the supernets of the largest spaces take long to build.
SPACES = [
    "digits-mobile",
    "fairnas-19",
    "mobilenet-21",
    "nas-bench-201",
    "nas-bench-macro",
    "resnet18-quant",
    "spos-shufflenet",
    "spos-shufflenet-channels",
]


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
    counter = FlopCounterMode(display=False)
    with counter:
        network(image(space))
    assert counter.get_total_flops() == 2 * nas_hw.macs(space)([arch])[0]
    assert sum(p.numel() for p in network.parameters()) == nas_hw.params(space)([arch])[0]
