import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from nas_spaces import published
from nas_spaces.torch import Supernet
from nas_spaces.vary import with_scales


def owners(supernet):
    """Number of modules that hold the weights of each choice block."""
    return [
        len({id(supernet.layer(index, i)) for i in range(len(block.layers))})
        for index, block in enumerate(supernet.space.blocks)
        if block.reads
    ]


@pytest.mark.parametrize(
    ("name", "modules"), [("spos-shufflenet-channels", 1), ("spos-shufflenet-joint", 4)]
)
def test_scales_share_weights_and_a_step_uses_a_slice_of_them(name, modules):
    space = published.load(name, resolution=32, classes=5)
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0), affine=False)
    assert owners(supernet) == [modules] * 20
    x = torch.randn((3, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    for arch in space.sample(2, rng=np.random.default_rng(4)):
        supernet.eval()
        with torch.no_grad():
            assert torch.equal(supernet(x, arch), supernet.inherit(arch)(x))
        supernet.train()
        supernet.zero_grad(set_to_none=True)
        F.cross_entropy(supernet(x, arch), torch.arange(3)).backward()
        for index, combination in enumerate(supernet.combinations(arch)):
            used = {
                node.name: node.out_channels
                for node in space.graph(index, combination)
                if node.name.startswith(("pw", "dw")) and hasattr(node, "out_channels")
            }
            for primitive, out in used.items():
                grad = supernet.layer(index, combination).weighted(primitive).weight.grad
                assert grad[:out].count_nonzero() > 0
                assert grad[out:].count_nonzero() == 0


def test_the_largest_scale_is_what_is_stored():
    space = published.load("spos-shufflenet-channels", resolution=32, blocks="0" * 20)
    supernet = Supernet(space, generator=torch.Generator())
    weight = supernet.layer(1, 0).pw1.weight
    assert weight.shape == (51, 16, 1, 1)
    assert supernet.layer(1, 7).pw1.weight is weight


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["spos-shufflenet-channels", "digits-mobile"])
def test_slices_give_what_their_copies_do_to_the_last_bit(name, memory_format):
    space = published.load(name, resolution=64, in_channels=3, classes=10)
    if name == "digits-mobile":
        space = with_scales(space)
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    supernet.to(memory_format=memory_format)
    images = torch.randn((4, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=memory_format)
    last = np.array(space.num_options) - 1
    for arch in (last * 0, last, *space.sample(2, rng=np.random.default_rng(0))):
        # Dropout of the one draws other units than that of the other.
        for training in (False, True) if name == "digits-mobile" else (False,):
            supernet.train(training)
            network = supernet.inherit(arch)
            with torch.no_grad():
                assert torch.equal(supernet(images, arch), network(images))


@pytest.mark.parametrize(("name", "scale"), [("digits-resnet", 0.1), ("digits-mobile", 0.05)])
def test_slices_of_one_channel(name, scale):
    space = published.load(name)
    space = with_scales(space.fix([0] * space.num_choices), (scale, 1.0))
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    images = torch.randn((4, *space.input_shape), generator=torch.Generator().manual_seed(1))
    for arch in ([0] * space.num_choices, [1, 0] * (space.num_choices // 2)):
        network = supernet.inherit(arch)
        convolutions = [x for x in network.modules() if isinstance(x, torch.nn.Conv2d)]
        assert min(x.in_channels for x in convolutions[1:]) == 1
        for training in (False, True):
            supernet.train(training)
            network.train(training)
            with torch.no_grad():
                assert torch.equal(supernet(images, arch), network(images))
        supernet.zero_grad(set_to_none=True)
        network.zero_grad(set_to_none=True)
        F.cross_entropy(supernet(images, arch), torch.arange(4)).backward()
        F.cross_entropy(network(images), torch.arange(4)).backward()
        for index, combination in enumerate(supernet.combinations(arch)):
            ours = dict(supernet.layer(index, combination).named_parameters())
            theirs = network.blocks[space.blocks[index].name].named_parameters()
            for key, parameter in theirs:
                part = tuple(slice(0, size) for size in parameter.shape)
                assert torch.equal(ours[key].grad[part], parameter.grad)
