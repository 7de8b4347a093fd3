import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import BasicBlock, Classifier, Conv
from nas_spaces.torch import LayerModule, Network, Norms, Supernet, initialise
from nas_spaces.torch.quantise import (
    FIRST_ALPHA,
    SMALLEST_ALPHA,
    Pact,
    dorefa,
    pact,
    restart_levels,
)
from nas_spaces.vary import with_bits, with_scales

NAN = float("nan")


def quantise(x, alpha, bits):
    """Value and gradients of the sum of `pact`, for lists and numbers."""
    x = torch.tensor(x, requires_grad=True)
    level = torch.tensor(alpha, requires_grad=True)
    y = pact(x, level, bits)
    y.sum().backward()
    return y.tolist(), x.grad.tolist(), level.grad.item()


def test_activations_and_their_gradients():
    y, dx, dalpha = quantise([-1.0, 0.2, 0.9, 1.5, 3.0], 2.0, 2)
    assert y == pytest.approx([0, 0, 2 / 3, 4 / 3, 2])
    assert dx == [0, 1, 1, 1, 0]
    assert dalpha == 1


def test_the_ends_of_the_range_belong_to_zero_and_to_alpha():
    y, dx, dalpha = quantise([0.0, -0.0, -1e-30, 2.0, 1.9999], 2.0, 2)
    assert y == [0, 0, 0, 2, 2]
    assert dx == [1, 1, 0, 0, 1]
    assert dalpha == 1


def test_activations_on_a_half_are_rounded_to_even():
    assert quantise([0.5, 1.5, 2.5], 3.0, 2)[0] == [0, 2, 2]
    assert quantise([0.5, 1.5, 2.5, 3.5, 4.5], 15.0, 4)[0] == [0, 2, 2, 4, 4]


def test_what_is_not_a_number_is_not_hidden():
    y, *_ = quantise([NAN, 1.0], 2.0, 2)
    assert np.isnan(y).tolist() == [True, False]
    assert dorefa(torch.tensor([NAN, 1.0]), 2).isnan().all()


def by_definition(x, alpha, bits):
    """`pact`, an operation for each of its formula; autograd has the gradient."""
    steps = 2**bits - 1
    precise = x if x.dtype == torch.float64 else x.float()
    clipped = torch.where(precise < 0, 0.0, torch.where(precise >= alpha, alpha, precise))
    level = alpha.detach()
    rounded = torch.round(clipped.detach() * steps / level) * level / steps
    return (rounded + (clipped - clipped.detach())).to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_activations_and_gradients_are_those_of_the_formula_to_the_last_bit(
    dtype, bits, memory_format
):
    rng = torch.Generator().manual_seed(bits)
    images = 2 * torch.randn(3, 8, 5, 5, generator=rng)
    images = images.to(dtype=dtype, memory_format=memory_format)
    gradient = torch.randn(3, 4, 5, 5, generator=rng).to(dtype)
    found = []
    for function in (by_definition, pact):
        x, level = images.clone()[:, ::2], torch.tensor(1.7)  # not dense
        inputs = x.requires_grad_(), level.requires_grad_()
        y = function(*inputs, bits)
        found.append((y, *torch.autograd.grad(y, inputs, gradient)))
    for expected, given in zip(*found, strict=True):
        assert torch.equal(expected, given)
        assert given.stride() == expected.stride()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_low_precision_moves_nothing_to_another_level(dtype, bits):
    rng = torch.Generator().manual_seed(bits)
    x = (2 * torch.randn(10_000, generator=rng)).to(dtype)
    for alpha in (torch.tensor(2.937), torch.tensor(2.937, dtype=dtype)):
        assert torch.equal(pact(x, alpha, bits), pact(x.float(), alpha.float(), bits).to(dtype))
    assert torch.equal(dorefa(x, bits), dorefa(x.float(), bits).to(dtype))
    with torch.autocast("cpu", dtype):
        assert torch.equal(Pact([bits])(x, bits), pact(x, torch.tensor(FIRST_ALPHA), bits))


def test_levels_of_channels_get_a_gradient_each():
    level = torch.tensor([1.0, 2.0]).reshape(2, 1, 1).requires_grad_()
    pact(torch.tensor([3.0, 1.5]).reshape(2, 1, 1), level, 2).backward(torch.ones(2, 1, 1))
    assert level.grad.flatten().tolist() == [1, 0]


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_transforms_of_torch_know_its_gradient():
    level = torch.tensor(2.0)
    slope = torch.func.vmap(torch.func.grad(lambda x: pact(x, level, 2)))
    assert slope(torch.tensor([-1.0, 0.5, 3.0])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activations_have_as_many_levels_as_their_bits_give(bits):
    x = torch.linspace(-1, 7, 20_001)
    levels = pact(x, torch.tensor(5.0), bits).unique()
    assert len(levels) == 2**bits
    assert torch.allclose(levels, torch.linspace(0, 5, 2**bits))


WEIGHTS = [-0.8, -0.1, 0.3, 1.2]


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (1, [-0.6, -0.6, 0.6, 0.6]),
        (2, [-1, -1 / 3, 1 / 3, 1]),
        (3, [-5 / 7, -1 / 7, 3 / 7, 1]),
        (4, [-11 / 15, -1 / 15, 5 / 15, 1]),
    ],
)
def test_weights(bits, expected):
    assert dorefa(torch.tensor(WEIGHTS), bits).tolist() == pytest.approx(expected, abs=1e-6)


def test_weights_on_a_half_are_rounded_to_even():
    # A weight of 0 stands between two levels: 1.5 of 3, 3.5 of 7, 7.5 of 15 steps.
    for bits, step in ((2, 2), (3, 4), (4, 8)):
        steps = 2**bits - 1
        value = dorefa(torch.tensor([0.0, 1.0]), bits)[0].item()
        assert value == pytest.approx(2 * step / steps - 1)


def test_one_bit_is_one_of_two_values():
    assert dorefa(torch.tensor([0.0, -0.0, 3.0, -1.0]), 1).tolist() == [1, 1, 1, -1]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_weights_that_are_all_zero_stay_finite(bits):
    weight = torch.zeros(3, requires_grad=True)
    value = dorefa(weight, bits)
    assert value.isfinite().all()
    assert len(value.unique()) == 1


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-9])
def test_weights_next_to_zero_do_not_get_all_of_the_gradient(size):
    weight = torch.tensor([size, -size], requires_grad=True)
    value = dorefa(weight, 2)
    assert value.tolist() == dorefa(torch.zeros(2), 2).tolist()
    value.sum().backward()
    assert weight.grad.tolist() == [0, 0]
    # One that is large enough decides for all.
    weight = torch.tensor([size, 0.5], requires_grad=True)
    dorefa(weight, 2).sum().backward()
    assert (weight.grad > 0).all()


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gradients_of_weights_go_through_the_tangent(bits):
    weight = torch.tensor(WEIGHTS, dtype=torch.float64, requires_grad=True)
    factors = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    (dorefa(weight, bits) * factors).sum().backward()
    tangent = np.tanh(WEIGHTS)
    # 2 * d(tanh(w) / (2 max)) with a constant maximum, whatever the bits.
    expected = factors.numpy() * (1 - tangent**2) / np.abs(tangent).max()
    assert weight.grad.tolist() == pytest.approx(expected.tolist())


def test_gradients_of_one_bit_are_those_of_the_weights():
    weight = torch.tensor(WEIGHTS, requires_grad=True)
    factors = torch.tensor([1.0, -2.0, 3.0, 0.5])
    (dorefa(weight, 1) * factors).sum().backward()
    assert torch.equal(weight.grad, factors)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_slice_is_quantised_as_its_copy_to_the_last_bit(bits, memory_format):
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn((96, 48, 3, 3), generator=generator).to(memory_format=memory_format)
    with torch.no_grad():
        # Larger than what is in use, so that the maximum must be of the slice.
        whole[70:] *= 9
    # Several sizes: the order of a sum does not show in each of them.
    for out in range(41, 70):
        part = whole[:out, :29]
        value = dorefa(part, bits)
        assert torch.equal(value, dorefa(part.clone(), bits))
        assert torch.equal(value, dorefa(part.contiguous(), bits))
        assert not torch.equal(value, dorefa(whole, bits)[:out, :29])
        # And as without gradients.
        assert torch.equal(dorefa(part.clone().requires_grad_(), bits), value)


@pytest.mark.parametrize("bits", [0, -1, 17, 32, 64, 2.5, True, None, "2"])
def test_bits_that_no_quantiser_has(bits):
    x, message = torch.ones(3), r"bits=\S+ must be a whole number from 1 to 16"
    with pytest.raises(InputError, match=message):
        pact(x, torch.tensor(2.0), bits)
    with pytest.raises(InputError, match=message):
        dorefa(x, bits)
    with pytest.raises(InputError, match=message):
        Pact([2])(x, bits)
    with pytest.raises(InputError, match=r"widths=\S+ must be a whole number from 1 to 16"):
        Pact([2, bits])


def test_a_quantiser_names_the_widths_that_it_has():
    module = Pact([4, np.int64(2)])
    x = torch.tensor([1.0, 9.0])
    assert torch.equal(module(x, np.int64(2)), module(x, 2))
    with pytest.raises(InputError, match=r"bits=3: this quantiser has levels for \(2, 4\)"):
        module(x, 3)


def test_each_width_has_a_level_of_its_own():
    module = Pact([4, 2, 4])
    assert {name: p.tolist() for name, p in module.named_parameters()} == {
        "alpha_2": [FIRST_ALPHA],
        "alpha_4": [FIRST_ALPHA],
    }
    module(torch.full((2, 3), 9.0), 4).sum().backward()
    assert module.alpha_2.grad is None
    assert module.alpha_4.grad.tolist() == [6]


@pytest.mark.parametrize("alpha", [SMALLEST_ALPHA / 2, 0.0, -3.0, -math.inf])
def test_a_level_below_the_smallest_is_used_as_that_and_not_trained(alpha):
    x = [-1.0, 0.5, 2.0]
    y, dx, dalpha = quantise(x, alpha, 2)
    assert (y, dx) == quantise(x, SMALLEST_ALPHA, 2)[:2]
    assert y[1:] == pytest.approx([SMALLEST_ALPHA] * 2)
    assert dalpha == 0
    module = Pact([2])
    with torch.no_grad():
        module.alpha_2.fill_(alpha)
    assert module(torch.tensor(x), 2).tolist() == y


def test_levels_that_have_fallen_start_again():
    values = [-3.0, 0.0, SMALLEST_ALPHA, 2 * SMALLEST_ALPHA, 5.0, NAN]
    levels = [torch.tensor([value], requires_grad=True) for value in values]
    fallen = restart_levels(levels)
    assert [x.item() for x in fallen] == [True] * 3 + [False] * 3
    after = torch.cat(levels).detach()
    expected = torch.tensor([FIRST_ALPHA] * 3 + values[3:])
    # What is not a number is not hidden.
    assert torch.equal(after.nan_to_num(-1), expected.nan_to_num(-1))
    assert all(level.requires_grad and level.is_leaf for level in levels)


def tiny(bits=((1, 2), (2, 2), (3, 4), (1, 4)), scales=(0.5, 1.0, 1.5)):
    """Three quantised blocks, one of them with another stride and width."""
    places = (("a", 8, 1), ("b", 16, 2), ("c", 16, 1))
    choices, blocks = [], [Block("stem", [Conv(8)])]
    for name, out, stride in places:
        choices += [Choice(f"{name}_bits", bits), Choice(f"{name}_scale", scales)]
        layers = [BasicBlock(out, stride, scale, *pair) for pair in bits for scale in scales]
        shares = ("scale", "weight_bits", "input_bits")
        blocks.append(Block(name, layers, (f"{name}_bits", f"{name}_scale"), shares=shares))
    blocks.append(Block("head", [Classifier(5)]))
    return SearchSpace("tiny", (3, 12, 12), choices, blocks)


def built(space, seed=0):
    """A supernet whose norms and levels are not those of its start."""
    generator = torch.Generator().manual_seed(seed)
    supernet = Supernet(space, generator=generator)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                shape = module.weight.shape
                module.weight.copy_(torch.rand(shape, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(shape, generator=generator) / 4)
                module.running_mean.copy_(torch.randn(shape, generator=generator) / 4)
                module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
            elif isinstance(module, Pact):
                for alpha in module.parameters():
                    alpha.copy_(torch.rand(1, generator=generator) * 2 + 1)
    return supernet


def images(space, n=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((n, *space.input_shape), generator=generator) * 2 + 0.5


def rows(space, n=6):
    first = np.zeros((1, space.num_choices), dtype=np.int64)
    last = first + np.array(space.num_options) - 1
    return np.concatenate([first, last, space.sample(n, rng=np.random.default_rng(2))])


def joint():
    return with_scales(with_bits(published.load("digits-resnet")), (0.5, 1.0, 1.5))


SPACES = {
    "tiny": (tiny, 6),
    "digits-joint": (joint, 4),
    "resnet18-quant": (lambda: published.load("resnet18-quant", resolution=32, classes=10), 1),
    "resnet34-quant": (lambda: published.load("resnet34-quant", resolution=32, classes=10), 0),
}


@pytest.fixture(scope="module", params=SPACES)
def case(request):
    make, n = SPACES[request.param]
    space = make()
    return space, rows(space, n)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_supernet_is_the_stand_alone_network_to_the_last_bit(case, memory_format):
    space, archs = case
    supernet = built(space).to(memory_format=memory_format)
    x = images(space).contiguous(memory_format=memory_format)
    outputs = []
    for arch in archs:
        supernet.eval()
        network = supernet.inherit(arch)
        with torch.no_grad():
            outputs.append(supernet(x, arch))
            assert torch.equal(outputs[-1], network(x))
        supernet.train()
        network.train()
        assert torch.equal(supernet(x, arch), network(x))
    assert all(not torch.equal(outputs[0], other) for other in outputs[1:])


def test_a_step_trains_what_the_path_uses_and_nothing_else(case):
    space, archs = case
    supernet = built(space)
    x = images(space)
    for arch in archs[-2:]:
        network = supernet.inherit(arch)
        supernet.zero_grad(set_to_none=True)
        F.cross_entropy(supernet(x, arch), torch.arange(len(x))).backward()
        F.cross_entropy(network(x), torch.arange(len(x))).backward()
        for index, combination in enumerate(supernet.combinations(arch)):
            ours = dict(supernet.layer(index, combination).named_parameters())
            theirs = dict(network.blocks[space.blocks[index].name].named_parameters())
            # Levels of other widths are not trained.
            assert {name for name, p in ours.items() if p.grad is not None} == set(theirs)
            for name, parameter in theirs.items():
                part = tuple(slice(0, size) for size in parameter.shape)
                assert parameter.grad.isfinite().all()
                assert torch.equal(ours[name].grad[part], parameter.grad), name
                assert ours[name].grad.count_nonzero() == parameter.grad.count_nonzero()
        # Every quantised kernel learns something.
        grads = {name: p.grad for name, p in network.named_parameters() if p.ndim == 4}
        assert all(grad.count_nonzero() > 0 for grad in grads.values())


def test_all_bits_and_channels_share_one_kernel():
    space = tiny()
    supernet = built(space)
    for index in (1, 2, 3):
        layers = {id(supernet.layer(index, i)) for i in range(len(space.blocks[index].layers))}
        assert len(layers) == 1
    shapes = {name: tuple(p.shape) for name, p in supernet.blocks["b"].named_parameters()}
    kernels = {name.split(".", 1)[1]: shape for name, shape in shapes.items() if len(shape) == 4}
    assert kernels == {
        "conv1.weight": (24, 8, 3, 3),
        "conv2.weight": (16, 24, 3, 3),
        "downsample.weight": (16, 8, 1, 1),
    }
    levels = sorted(name.split(".", 1)[1] for name in shapes if "alpha" in name)
    assert levels == [f"quantise{i}.alpha_{bits}" for i in (1, 2) for bits in (2, 4)]


@pytest.mark.parametrize("bits", [(1, 2), (2, 2), (3, 3), (4, 4), (2, 1)])
@pytest.mark.parametrize(("stride", "out"), [(1, 8), (2, 12)])
def test_a_quantised_block_step_by_step(bits, stride, out):
    layer = BasicBlock(out, stride, 1.5, *bits)
    module = LayerModule([layer.graph((8, 6, 6))])
    initialise(module, "kaiming", generator=torch.Generator().manual_seed(0))
    x = torch.randn((4, 8, 6, 6), generator=torch.Generator().manual_seed(1)) * 3
    before = x.clone()
    alpha = torch.tensor(FIRST_ALPHA)

    def convolve(value, name, **how):
        value = F.conv2d(value, dorefa(module.weighted(name).weight, bits[0]), **how)
        return F.batch_norm(value, None, None, training=True)

    entering = pact(x, alpha, bits[1])
    assert len(entering.unique()) <= 2 ** bits[1]
    main = convolve(entering, "conv1", stride=stride, padding=1)
    main = convolve(pact(main, alpha, bits[1]), "conv2", padding=1)
    # What passes a shortcut without convolution is not quantised.
    shortcut = x if stride == 1 else convolve(entering, "downsample", stride=stride)
    assert torch.allclose(module(x), F.relu(main + shortcut), atol=1e-5)
    assert torch.equal(x, before)


def test_norms_are_folded_into_quantised_weights():
    space = tiny()
    supernet = built(space)
    for arch in rows(space):
        network = supernet.inherit(arch)
        values, alone, plain = ({-1: images(space)} for _ in range(3))
        with torch.no_grad():
            for index, combination in enumerate(supernet.combinations(arch)):
                norms, own = Norms(), Norms()
                layer = network.blocks[space.blocks[index].name]
                for seed in range(2):
                    noise = 1 + seed / 4
                    norms.recalibrate()
                    own.recalibrate()
                    supernet.advance(
                        {k: x * noise for k, x in values.items()}, index, combination, norms
                    )
                    layer(alone[index - 1] * noise, norms=own)
                norms.settle()
                own.settle()
                plain = supernet.advance(plain, index, combination, norms)
                supernet.fold(index, combination, norms)
                own.fold(layer, layer.program)
                values = supernet.advance(values, index, combination, norms)
                alone[index] = layer(alone[index - 1], norms=own)
                # The folded supernet is the folded network, to the last bit.
                assert torch.equal(values[index], alone[index])
                graph = {node.name: node for node in space.graph(index, combination)}
                for name, (kernel, _) in norms.folded.items():
                    bits = graph[name].weight_bits
                    if bits:
                        # Quantised first: each output channel has the levels of the bits, scaled.
                        assert all(len(one.unique()) <= 2**bits for one in kernel)
                # Rounding apart, which may carry a few activations to the next level.
                close = torch.isclose(values[index], plain[index], rtol=1e-3, atol=1e-3)
                assert close.float().mean() > 0.99
                plain = values


def test_initialising_again_brings_the_levels_back():
    network = Network(tiny().fix([0] * 6), generator=torch.Generator().manual_seed(0))
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    initialise(network, "kaiming", generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


@pytest.mark.parametrize("bits", [(None, None), (2, 2)])
@pytest.mark.parametrize(("stride", "out"), [(1, 8), (2, 12)])
def test_branches_that_start_as_nothing_leave_the_shortcut(bits, stride, out):
    module = LayerModule([BasicBlock(out, stride, 1.0, *bits).graph((8, 6, 6))])
    initialise(module, "zero-residual", generator=torch.Generator().manual_seed(0))
    scales = {name: p.abs().max().item() for name, p in module.named_parameters() if "norm" in name}
    assert scales["conv2_norm.weight"] == 0
    assert all(
        value == 1 for name, value in scales.items() if name.endswith("weight") and "2" not in name
    )
    assert module(torch.randn(4, 8, 6, 6)).count_nonzero() > 0


def test_a_few_steps_learn():
    space = tiny()
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if "alpha" in name:
                parameter.fill_(2.0)  # so that they clip something
    x, labels = images(space, 16), torch.arange(16) % 5
    arch = [1, 1, 2, 2, 0, 1]
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(supernet(x, arch), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    # The path has 2, 4 and 2 bits of activations.
    widths = {
        block: sorted(
            {
                int(name[-1])
                for name, p in supernet.blocks[block].named_parameters()
                if "alpha" in name and p != 2
            }
        )
        for block in "abc"
    }
    assert widths == {"a": [2], "b": [4], "c": [2]}
