import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, MBConv
from nas_spaces.torch import Norms, Supernet


def build(space, *, affine=True, seed=0):
    """A supernet whose norms have seen images and whose affine parameters are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    supernet = Supernet(space, generator=generator, affine=affine)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                channels = module.num_features
                if affine:
                    module.weight.copy_(torch.rand(channels, generator=generator) + 0.5)
                    module.bias.copy_(torch.randn(channels, generator=generator) / 4)
                module.running_mean.copy_(torch.randn(channels, generator=generator) / 4)
                module.running_var.copy_(torch.rand(channels, generator=generator) + 0.5)
    return supernet


def snapshot(module):
    return {name: x.detach().clone() for name, x in module.state_dict().items()}


def used(supernet, arch):
    """Names of the tensors that an architecture's path holds, sliced ones included."""
    names = set()
    for index, combination in enumerate(supernet.combinations(arch)):
        layer = supernet.layer(index, combination)
        own = {id(module) for module in layer.modules()}
        names.update(
            f"{prefix}.{name}"
            for prefix, module in supernet.named_modules()
            if id(module) in own
            for name, _ in [
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ]
        )
    return names


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("affine", [True, False])
def test_it_is_the_stand_alone_network_to_the_last_bit(space, archs, images, affine, memory_format):
    supernet = build(space, affine=affine).to(memory_format=memory_format)
    images = images.contiguous(memory_format=memory_format)
    outputs = []
    for arch in archs:
        supernet.eval()
        network = supernet.inherit(arch)
        assert not network.training
        with torch.no_grad():
            assert torch.equal(supernet(images, arch), network(images))

        supernet.train()
        network.train()
        torch.manual_seed(0)  # of dropout
        ours = supernet(images, arch)
        torch.manual_seed(0)
        theirs = network(images)
        assert torch.equal(ours, theirs)
        outputs.append(ours)
        # And so are the statistics that its norms gathered; sliced ones do not count batches.
        after = supernet.inherit(arch).state_dict()
        for name, x in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(after[name], x), name
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])


def test_gradients_are_those_of_the_stand_alone_network(space, archs, images):
    supernet = build(space)
    arch = archs[2]
    network = supernet.inherit(arch)
    for module, call in ((supernet, (images, arch)), (network, (images,))):
        torch.manual_seed(0)
        module(*call).square().sum().backward()
    for index, combination in enumerate(supernet.combinations(arch)):
        layer = supernet.layer(index, combination)
        ours = dict(layer.named_parameters())
        for name, parameter in network.blocks[space.blocks[index].name].named_parameters():
            part = tuple(slice(0, size) for size in parameter.shape)
            assert torch.equal(ours[name].grad[part], parameter.grad)
            # Beyond the slice there is nothing.
            assert ours[name].grad.count_nonzero() == parameter.grad.count_nonzero()


def test_a_network_keeps_its_own_weights(space, archs, images):
    supernet = build(space)
    before = snapshot(supernet)
    network = supernet.inherit(archs[1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    network(images)
    assert all(torch.equal(x, before[name]) for name, x in supernet.state_dict().items())


def disjoint(space):
    """Two rows that share no candidate; choices of one option are shared by all."""
    first = np.zeros(space.num_choices, dtype=np.int64)
    return first, np.array(space.num_options) - 1


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_is_not_on_the_path_does_not_move_by_a_bit(space, images, kind):
    supernet = build(space)
    groups = supernet.parameters()
    optimiser = (
        torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)
        if kind == "sgd"
        else torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)
    )
    away, path = disjoint(space)

    def step(arch):
        supernet(images, arch).square().mean().backward()
        touched = {name for name, p in supernet.named_parameters() if p.grad is not None}
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return touched

    for _ in range(2):
        step(away)  # builds up momentum there
    before, momentum = snapshot(supernet), optimiser_state(supernet, optimiser)
    names = {name for name, _ in supernet.named_parameters()}
    for _ in range(5):
        touched = step(path)
        assert touched == used(supernet, path) & names
    outside = set(before) - used(supernet, path)
    assert outside
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in outside)
    later = optimiser_state(supernet, optimiser)
    kept = [key for key in momentum if key[0] in outside]
    assert kept
    assert all(torch.equal(momentum[key], later[key]) for key in kept)
    # While the path itself moved.
    moved = [name for name in touched if not torch.equal(before[name], after[name])]
    assert len(moved) > len(touched) / 2


def optimiser_state(supernet, optimiser):
    return {
        (name, key): value.clone()
        for name, parameter in supernet.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def test_the_global_generator_is_needed_for_dropout_only(space, archs, images):
    supernet = build(space).eval()
    before = torch.get_rng_state()
    supernet(images, archs[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_it_remembers_no_path(space, archs, images):
    supernet = build(space).eval()
    with torch.no_grad():
        alone = [supernet(images, arch) for arch in archs]
        mixed = [supernet(images, arch) for arch in reversed(archs)]
    assert all(torch.equal(a, b) for a, b in zip(alone, reversed(mixed), strict=True))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("own", [True, False])
def test_no_block_writes_to_what_it_is_given(space, images, training, own):
    supernet = build(space).train(training)
    before = images.clone()
    values = {-1: images}
    with torch.no_grad():
        for index, block in enumerate(space.blocks):
            # One combination of each module; they run on the same cached values.
            count = len(block.layers)
            kept = {key: value.clone() for key, value in values.items()}
            for combination in range(count):
                if space.plan[index].in_shapes[combination] != space.plan[index].in_shapes[-1]:
                    continue
                norms = None
                if not own:
                    norms = Norms()
                    norms.recalibrate()
                    supernet.advance(values, index, combination, norms)
                    norms.settle()
                    supernet.fold(index, combination, norms)
                supernet.advance(values, index, combination, norms)
                assert all(torch.equal(values[key], kept[key]) for key in kept), block.name
            values = supernet.advance(values, index, count - 1)
    assert torch.equal(images, before)


def test_wrong_rows_are_refused(space, images):
    supernet = Supernet(space, generator=torch.Generator())
    with pytest.raises(InputError, match="columns"):
        supernet(images, [0] * (space.num_choices + 1))
    with pytest.raises(InputError, match="options"):
        supernet(images, [99] * space.num_choices)


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_shared_tensors_are_stored_once_at_the_largest_size():
    from nas_spaces.layers import Identity

    options = [(k, e) for k in (3, 5) for e in (3, 6)]
    mixed = [MBConv(8, k, expand=e) for k, e in options]

    def space(shares):
        return SearchSpace(
            "s",
            (8, 6, 6),
            [Choice("a", (*options, "skip"))],
            [Block("a", [*mixed, Identity()], ("a",), shares=shares)],
        )

    def mbconv(kernel, expand):
        hidden = 8 * expand
        norms = 2 * (hidden + hidden + 8)
        return 8 * hidden + hidden * kernel**2 + hidden * 8 + norms

    shared = Supernet(space(("expand",)), generator=torch.Generator())
    assert size(shared) == mbconv(3, 6) + mbconv(5, 6)
    own = Supernet(space(()), generator=torch.Generator())
    assert size(own) == sum(mbconv(k, e) for k, e in options)
    assert size(Supernet(space(("expand",)), generator=torch.Generator(), affine=False)) == (
        size(shared) - 2 * 2 * (48 + 48 + 8)
    )


def test_every_candidate_owns_its_weights_where_nothing_is_shared():
    # Two candidates that are equal are still two.
    block = Block("a", [Conv(4), Conv(4)], reads=("a",))
    space = SearchSpace("s", (3, 6, 6), [Choice("a", ("x", "y"))], [block])
    supernet = Supernet(space, generator=torch.Generator())
    first, second = supernet.layer(0, 0), supernet.layer(0, 1)
    assert first.conv.weight.data_ptr() != second.conv.weight.data_ptr()
    assert not torch.equal(first.conv.weight, second.conv.weight)

    for name in ("digits-mobile", "nas-bench-macro", "spos-shufflenet"):
        supernet = Supernet(published.load(name), generator=torch.Generator())
        layers = [
            supernet.layer(index, combination)
            for index, block in enumerate(supernet.space.blocks)
            for combination in range(len(block.layers))
        ]
        assert all(a is not b for a, b in itertools.combinations(layers, 2))


def test_slices_are_the_first_channels(shared_widths):
    supernet = build(shared_widths)
    narrow, wide = supernet.inherit([0, 0, 1]), supernet.inherit([2, 2, 1])
    for block in ("first", "second", "head"):
        largest = dict(wide.blocks[block].named_parameters())
        for name, parameter in narrow.blocks[block].named_parameters():
            part = tuple(slice(0, n) for n in parameter.shape)
            assert torch.equal(parameter, largest[name][part])
    x = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    weight = supernet.layer(0, 2).conv.weight
    sliced = F.conv2d(x, weight[:8], padding=1)
    assert torch.equal(F.conv2d(x, narrow.blocks["first"].conv.weight, padding=1), sliced)


@pytest.mark.parametrize(
    ("layers", "shares"),
    [
        ([MBConv(8, 3), MBConv(8, 5)], "kernel"),
        ([Conv(8, 1), Conv(8, 3)], "kernel"),
        ([Conv(8, 3), Conv(8, 3, groups=2)], "groups"),
    ],
)
def test_kernels_and_groups_are_never_shared(layers, shares):
    block = Block("a", layers, reads=("a",), shares=(shares,))
    space = SearchSpace("s", (8, 6, 6), [Choice("a", range(len(layers)))], [block])
    with pytest.raises(InputError, match="share no weights"):
        Supernet(space, generator=torch.Generator())


def test_a_restricted_space_has_the_same_network(space, archs, images):
    alive = space.mask.copy()
    alive[0, 1:] = False
    smaller = space.restrict(alive)
    arch = archs[0]
    a, b = (Supernet(s, generator=torch.Generator().manual_seed(1)) for s in (space, smaller))
    assert torch.equal(a.eval()(images, arch), b.eval()(images, arch))
    b.load_state_dict(a.state_dict())


def test_a_block_that_is_the_classifier_alone():
    space = SearchSpace("s", (3, 4, 4), [], [Block("head", [Classifier(3)])])
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    x = torch.ones(2, 3, 4, 4)
    assert torch.equal(supernet(x, []), supernet.inherit([])(x))
