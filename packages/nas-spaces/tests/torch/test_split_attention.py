"""Blocks of FBNet and FP-NAS as modules, against torch code written out by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nas_spaces.layers import FBNetBlock, SplitMBConv
from nas_spaces.published.fbnetv2 import Group, grouped_space
from nas_spaces.torch import LayerModule, Supernet


def settled(module, seed=0):
    """Make weights, biases and norm statistics all differ from their initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator) / 4
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)
    return module.eval()


def conv_norm(x, module, name, activation=None):
    y = module.weighted(f"{name}_norm")(module.weighted(name)(x))
    return activation(y) if activation else y


@pytest.mark.parametrize("splits", [2, 4])
def test_split_attention_is_a_softmax_weighted_sum_of_the_splits(splits):
    layer = SplitMBConv(16, 3, expand=3, splits=splits)
    module = settled(LayerModule([layer.graph((16, 7, 7))]))
    x = torch.randn((3, 16, 7, 7), generator=torch.Generator().manual_seed(1))
    hidden = conv_norm(x, module, "expand", F.hardswish)
    maps = conv_norm(hidden, module, "depthwise", F.hardswish)
    # The maps of a channel are neighbours: [3, 48, splits, 7, 7].
    maps = maps.unflatten(1, (48, splits))
    means = maps.sum(2).mean((2, 3), keepdim=True)
    factors = module.weighted("split_expand")(conv_norm(means, module, "split_reduce", F.relu))
    factors = F.softmax(factors.unflatten(1, (48, splits)), dim=2)
    assert factors.shape == (3, 48, splits, 1, 1)
    merged = sum(factors[:, :, split] * maps[:, :, split] for split in range(splits))
    expected = x + conv_norm(merged, module, "project")
    torch.testing.assert_close(module(x), expected)


def test_one_split_is_squeeze_and_excitation():
    layer = SplitMBConv(24, 5, 2, expand=3, splits=1)
    module = settled(LayerModule([layer.graph((16, 7, 7))]))
    x = torch.randn((3, 16, 7, 7), generator=torch.Generator().manual_seed(1))
    maps = conv_norm(conv_norm(x, module, "expand", F.hardswish), module, "depthwise", F.hardswish)
    squeezed = F.hardswish(module.weighted("se_reduce")(F.adaptive_avg_pool2d(maps, 1)))
    factors = torch.sigmoid(module.weighted("se_expand")(squeezed))
    torch.testing.assert_close(module(x), conv_norm(maps * factors, module, "project"))


def test_fbnet_s_shuffle_takes_turns_between_the_groups():
    module = settled(LayerModule([FBNetBlock(8, 3, expand=2, groups=2).graph((8, 5, 5))]))
    x = torch.randn((2, 8, 5, 5), generator=torch.Generator().manual_seed(1))
    hidden = conv_norm(x, module, "expand", F.relu)
    order = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
    hidden = conv_norm(hidden[:, order], module, "depthwise", F.relu)
    torch.testing.assert_close(module(x), x + conv_norm(hidden, module, "project"))


def split_space():
    """Every kind of block of FP-NAS's spaces, in a network for images of 16 pixels."""
    groups = (
        Group((1,), (8, 12), 1, 1),
        Group((0.75, 3.0), (12, 16, 20), 2, 2),
        Group((1.5, 4.5), (16, 24), 2, 1),
    )
    return grouped_space(
        "split",
        groups,
        attention=(0, 1, 2, 4),
        stem=8,
        last=32,
        classes=5,
        resolution=16,
        in_channels=3,
    )


def test_narrow_blocks_are_slices_of_wide_ones_to_the_last_bit():
    space = split_space()
    supernet = settled(Supernet(space, generator=torch.Generator().manual_seed(0)))
    images = torch.randn((4, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    last = np.array(space.num_options) - 1
    rows = space.sample(24, rng=np.random.default_rng(0))
    with torch.no_grad():
        for row in [last * 0, last, *rows]:
            assert torch.equal(supernet(images, row), supernet.inherit(row)(images))


def test_kernels_and_splits_own_their_weights_and_widths_share_them():
    space = split_space()
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    block = supernet.blocks["group2_0"]
    # A skip, and two kernels with four numbers of splits.
    assert len(block) == 1 + 2 * 4
    depthwise = {
        tuple(module.weighted("depthwise").weight.shape[::2])
        for module in block.values()
        if "depthwise" in module._modules
    }
    # 12 channels x 3 = 36, rounded to 40; replicated by the splits.
    assert depthwise == {
        (40 * max(splits, 1), kernel) for splits in (0, 1, 2, 4) for kernel in (3, 5)
    }


def test_a_step_trains_only_what_its_row_uses():
    space = split_space()
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    row = np.array(space.num_options) - 1
    images = torch.randn((4, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    supernet(images, row).square().sum().backward()
    layer = supernet.layer(2, supernet.combinations(row)[2])
    assert all(parameter.grad is not None for parameter in layer.parameters())
    others = [module for module in supernet.blocks["group2_0"].values() if module is not layer]
    assert all(p.grad is None for module in others for p in module.parameters())
    assert isinstance(layer.weighted("split_reduce_norm"), nn.BatchNorm2d)
