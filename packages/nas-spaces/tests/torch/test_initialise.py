import numpy as np
import pytest
import torch
from torch import nn

from nas_spaces import InputError, published
from nas_spaces.torch import Network, Supernet, initialise


def network(scheme="kaiming", seed=0):
    space, arch = published.architecture("spos-readme", resolution=32)
    generator = torch.Generator().manual_seed(seed)
    return Network(space.fix(arch), generator=generator, scheme=scheme)


@pytest.mark.parametrize("scheme", ["kaiming", "spos"])
def test_weights_depend_on_the_generator_alone(scheme):
    torch.manual_seed(1)
    first = network(scheme).state_dict()
    torch.manual_seed(2)
    second, other = network(scheme).state_dict(), network(scheme, seed=1).state_dict()
    assert all(torch.equal(x, second[name]) for name, x in first.items())
    weights = [name for name, x in first.items() if x.ndim > 1]
    assert not any(torch.equal(first[name], other[name]) for name in weights)


def test_drawing_weights_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    space = published.load("digits-mobile")
    # Whatever torch's own constructors draw is replaced, so a global seed must not matter.
    supernets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        supernets.append(Supernet(space, generator=torch.Generator().manual_seed(0)))
    torch.set_rng_state(before)
    a, b = (supernet.state_dict() for supernet in supernets)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def convolutions(module):
    return [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 4000]


def test_kaiming_spreads_by_fan_out():
    for conv in convolutions(network("kaiming")):
        fan_out = conv.out_channels * conv.kernel_size[0] ** 2 / conv.groups
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert abs(conv.weight.mean().item()) < 0.1 * conv.weight.std().item()


def test_spos_spreads_by_input_channels_and_starts_the_stem_small():
    module = network("spos")
    stem = module.blocks["stem"].conv
    assert stem.weight.std().item() == pytest.approx(0.01, rel=0.15)
    for conv in convolutions(module):
        assert conv.weight.std().item() == pytest.approx(1 / conv.weight.shape[1], rel=0.05)


def test_residual_branches_can_start_as_nothing():
    space = published.load("digits-mobile")
    generator = torch.Generator().manual_seed(0)
    supernet = Supernet(space, generator=generator, scheme="zero-residual")
    kaiming = Supernet(space, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 1, 8, 8, generator=generator)
    values, residual = {-1: x}, 0
    for index, block in enumerate(space.blocks):
        for combination, layer in enumerate(block.layers):
            out = supernet.advance(values, index, combination)[index]
            if any(node.name == "residual" for node in space.graph(index, combination)):
                residual += 1
                assert torch.equal(out, values[index - 1])
                assert not torch.equal(
                    kaiming.advance(values, index, combination)[index], values[index - 1]
                )
            elif index and len(block.layers) > 1 and type(layer).__name__ == "MBConv":
                assert out.std() > 0.5  # its norm is as it was
        values = supernet.advance(values, index, 0)
    assert residual == 5 * 4
    # Everything else is drawn as by "kaiming".
    others = supernet.state_dict()
    assert all(torch.equal(p, others[n]) for n, p in kaiming.state_dict().items() if p.ndim > 1)


@pytest.mark.parametrize("name", ["mnasnet", "fbnetv2-f"])
def test_layers_without_a_shortcut_let_something_through(name):
    # Their norms belong to layers with a shortcut as well.
    space = published.load(name, classes=3, resolution=32)
    generator = torch.Generator().manual_seed(0)
    supernet = Supernet(space, generator=generator, scheme="zero-residual")
    images = torch.randn(4, 3, 32, 32, generator=generator)
    zeroed = [module for module in supernet.modules() if module_is_zeroed(module)]
    # All repeats of one group keep the width; MnasNet's may all be without a shortcut.
    assert bool(zeroed) == (name == "fbnetv2-f")
    for arch in space.sample(8, rng=np.random.default_rng(0)):
        assert supernet(images, arch).std(0).min() > 1e-6


def module_is_zeroed(module):
    return isinstance(module, nn.BatchNorm2d) and not module.weight.any()


def test_branches_whose_norms_have_no_scale_cannot_start_as_nothing():
    options = {"generator": torch.Generator(), "affine": False, "scheme": "zero-residual"}
    with pytest.raises(InputError, match="affine=True, or scheme='kaiming'"):
        Supernet(published.load("digits-mobile"), **options)
    # Without residual branches there is nothing to set.
    Supernet(published.load("spos-shufflenet", resolution=32), **options)


def test_unknown_scheme():
    with pytest.raises(InputError, match="scheme='kaimin' is unknown: did you mean 'kaiming'"):
        network("kaimin")


def test_biases_are_zero_and_norms_the_identity():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    module(torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7)
    initialise(module, "kaiming", generator=torch.Generator().manual_seed(0))
    conv, norm, _, linear = module
    assert not conv.bias.any()
    assert not linear.bias.any()
    assert (norm.weight == 1).all()
    assert not norm.bias.any()
    assert not norm.running_mean.any()
    assert (norm.running_var == 1).all()
    assert conv.weight.ne(7).all()
    assert linear.weight.std() < 0.1
