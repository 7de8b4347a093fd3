"""Statistics that a supernet's path gathers are those that its network alone would."""

import numpy as np
import pytest
import torch
from torch import nn

from nas_spaces import InputError, published
from nas_spaces.torch import Norms, Supernet
from nas_spaces.torch.quantise import Pact
from nas_spaces.vary import with_bits, with_scales

SCALES = (0.1, 0.5, 1.0)
BITS = ((1, 1), (1, 2), (2, 2), (3, 4))


def channels(name):
    space = published.load(name)
    return with_scales(space.fix([0] * space.num_choices), SCALES)


SPACES = {
    "channels": lambda: channels("digits-resnet"),
    "depthwise-channels": lambda: channels("digits-mobile"),
    "bits": lambda: with_bits(published.load("digits-resnet").fix([0] * 6), BITS),
    "joint": lambda: with_scales(with_bits(published.load("digits-resnet"), BITS), SCALES),
}


def built(space, affine):
    """A supernet whose scales, shifts and clipping levels are not those of its start."""
    generator = torch.Generator().manual_seed(0)
    supernet = Supernet(space, generator=generator, affine=affine)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d) and affine:
                module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.num_features, generator=generator) / 4)
            elif isinstance(module, Pact):
                for level in module.parameters():
                    level.copy_(torch.rand(1, generator=generator) * 2 + 1)
    return supernet


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_recalibrated_norms_give_what_the_network_alone_does_to_the_last_bit(name, affine):
    space = SPACES[name]()
    supernet = built(space, affine)
    before = {key: x.clone() for key, x in supernet.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn((6 + i, *space.input_shape), generator=generator) for i in range(3)]
    last = np.array(space.num_options) - 1
    for arch in (last * 0, last, *space.sample(2, rng=np.random.default_rng(0))):
        network = supernet.inherit(arch).train()
        statistics = [x for x in network.modules() if isinstance(x, nn.BatchNorm2d)]
        for norm in statistics:
            norm.reset_running_stats()
            norm.momentum = None
        norms = [Norms() for _ in space.blocks]
        with torch.no_grad():
            for images in batches:
                for own in norms:
                    own.recalibrate()
                assert torch.equal(supernet.trace(images, arch, norms).logits, network(images))
            for own in norms:
                own.settle()
            network.eval()
            for images in batches:
                assert torch.equal(supernet.trace(images, arch, norms).logits, network(images))
        assert not any(own.folded for own in norms)
        means = [mean for own in norms for mean, _ in own.buffers.values()]
        assert len(means) == len(statistics) > 0
    # What lies beside the supernet is not written into it.
    assert all(torch.equal(x, before[key]) for key, x in supernet.state_dict().items())


def test_sliced_norms_cannot_average_over_all_batches():
    supernet = built(channels("digits-resnet"), affine=True)
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with pytest.raises(InputError, match=r"momentum=None, and its channels are sliced"):
        supernet.train()(torch.rand(2, 1, 8, 8), [0] * 6)
