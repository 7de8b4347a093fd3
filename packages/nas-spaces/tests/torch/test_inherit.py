import numpy as np
import pytest
import torch
from torch import nn

from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, Identity, MBConv
from nas_spaces.published.ponas import SQUEEZE_EXCITE
from nas_spaces.torch import Inherited, Network, Supernet, inherit_candidates, inherit_network
from nas_spaces.torch.inherit import corresponding_part
from nas_spaces.vary import uniform_bits, with_bits, with_scales

SIZES = {
    "nas-bench-macro": {"resolution": 16},
    "ponas-19": {"resolution": 32, "classes": 10},
    "spos-shufflenet": {"resolution": 64, "classes": 10},
    "digits-mobile": {},
}
# The largest option of each: kernel and expansion, and squeeze-and-excitation.
LARGEST = {"nas-bench-macro": 2, "ponas-19": 11, "spos-shufflenet": 2, "digits-mobile": 3}


def build(space, *, affine=True, seed=0):
    """A supernet whose tensors all differ from each other, statistics of norms included."""
    generator = torch.Generator().manual_seed(seed)
    supernet = Supernet(space, generator=generator, affine=affine)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                for name, x in module.named_parameters():
                    x.copy_(torch.randn(x.shape, generator=generator) / 4 + (name == "weight"))
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 1)
                module.num_batches_tracked.fill_(seed + 3)
            elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
    return supernet


def copy_of(supernet):
    return {name: x.clone() for name, x in supernet.state_dict().items()}


def prefixes(supernet, arch):
    """Where the weights of the path lie in the state."""
    found = set()
    for index, combination in enumerate(supernet.combinations(arch)):
        layer = supernet.layer(index, combination)
        found |= {f"{name}." for name, module in supernet.named_modules() if module is layer}
    return tuple(found)


def centre(tensor, shape):
    """The prefix of the first two axes, the centre of a kernel's."""
    tensor = tensor[tuple(slice(0, size) for size in shape[:2])]
    if len(shape) == 4:
        border = (tensor.shape[-1] - shape[-1]) // 2
        tensor = tensor[..., border : border + shape[-1], border : border + shape[-1]]
    return tensor


@pytest.mark.parametrize(
    ("name", "affine"), [*((name, True) for name in SIZES), ("nas-bench-macro", False)]
)
def test_the_whole_state_after_inheriting_from_the_largest(name, affine):
    space = published.load(name, **SIZES[name])
    supernet = build(space, affine=affine)
    supernet.eval()
    largest = np.full(space.num_choices, LARGEST[name])
    generator = torch.Generator().manual_seed(1)
    images = torch.randn((2, *space.input_shape), generator=generator)
    before, path = copy_of(supernet), prefixes(supernet, largest)
    with torch.no_grad():
        logits = supernet(images, largest)
        inherited = inherit_candidates(supernet, largest)
        assert torch.equal(supernet(images, largest), logits)

    after = supernet.state_dict()
    own = {name: x for name, x in after.items() if not name.startswith(path)}
    assert inherited.copied + len(inherited.kept) == len(own) > 0
    assert set(inherited.kept) < set(own)
    for key, tensor in after.items():
        if key.startswith(path) or key in inherited.kept:
            assert torch.equal(tensor, before[key]), key
            continue
        _, block, _, tail = key.split(".", 3)
        (source,) = (one for one in path if one.startswith(f"blocks.{block}."))
        assert torch.equal(tensor, centre(before[source + tail], tensor.shape)), key
    # Only what the largest has no counterpart of.
    tails = {key.split(".", 3)[3] for key in inherited.kept}
    if name == "nas-bench-macro":
        # The 1x1 convolution in place of the identity, where the stride is 2.
        assert {tail.split(".")[0] for tail in tails} == {"conv", "conv_norm"}
        assert len({key.split(".")[1] for key in inherited.kept}) == 3
    elif name == "spos-shufflenet":
        # The Xception-like unit's other convolutions.
        assert {"dw1.weight", "dw2.weight", "dw3.weight", "pw3.weight"} <= tails
        assert all(key.split(".")[2] == "3" for key in inherited.kept)
    else:
        assert tails == set()
    # The parameters are the same objects: an optimiser keeps hold of them.
    assert all(p.requires_grad for p in supernet.parameters())


def two(layers):
    """A space of one block with these candidates, the source first."""
    return SearchSpace(
        "one-block",
        (8, 9, 9),
        [Choice("layer", range(len(layers)))],
        [Block("block", layers, ("layer",)), Block("head", [Classifier(3)])],
    )


def outputs(space, state, images):
    """Logits of candidate 0 with weights ``state`` of its own."""
    network = Network(space.fix([0]), generator=torch.Generator()).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        return network(images)


def test_a_smaller_candidate_computes_what_the_larger_one_does_without_the_rest():
    # Kernel 7 with expansion 6, of which kernel 3 with expansion 3 takes the middle and the half.
    space = two([MBConv(8, 7, expand=6), MBConv(8, 3, expand=3)])
    supernet = build(space).eval()
    inherit_candidates(supernet, [0])
    images = torch.randn((4, 8, 9, 9), generator=torch.Generator().manual_seed(1))
    state = {name: x.clone() for name, x in supernet.inherit([0]).state_dict().items()}
    state["blocks.block.project.weight"][:, 24:] = 0
    kernel = state["blocks.block.depthwise.weight"]
    border = torch.ones_like(kernel)
    border[..., 2:5, 2:5] = 0
    kernel[border.bool()] = 0
    with torch.no_grad():
        small = supernet(images, [1])
        assert not torch.allclose(small, supernet(images, [0]), atol=1e-2)
    assert torch.allclose(small, outputs(space, state, images), atol=1e-5)


def test_squeeze_and_excitation_is_sliced_left_out_and_never_invented():
    layers = [
        MBConv(8, 5, expand=6, se=SQUEEZE_EXCITE),
        MBConv(8, 3, expand=6, se=SQUEEZE_EXCITE),
        MBConv(8, 5, expand=3, se=SQUEEZE_EXCITE),
        MBConv(8, 5, expand=6),
    ]
    supernet = build(two(layers))
    assert inherit_candidates(supernet, [0]).kept == ()
    largest = supernet.layer(0, 0)
    assert (largest.se_reduce.out_channels, supernet.layer(0, 2).se_reduce.out_channels) == (12, 8)
    for option in (1, 2):
        layer = supernet.layer(0, option)
        middle, hidden = layer.se_reduce.weight.shape[:2]
        assert torch.equal(layer.se_reduce.weight, largest.se_reduce.weight[:middle, :hidden])
        assert torch.equal(layer.se_expand.weight, largest.se_expand.weight[:hidden, :middle])
        assert torch.equal(layer.se_reduce.bias, largest.se_reduce.bias[:middle])
        assert torch.equal(layer.se_expand.bias, largest.se_expand.bias[:hidden])
    assert "se_reduce" not in dict(supernet.layer(0, 3).named_children())
    assert torch.equal(supernet.layer(0, 3).project.weight, largest.project.weight)

    # The other way round, squeeze-and-excitation starts from its own weights.
    supernet = build(two(layers))
    before = copy_of(supernet)
    inherited = inherit_candidates(supernet, [3])
    assert {key.split(".")[3] for key in inherited.kept} == {"se_reduce", "se_expand"}
    assert len(inherited.kept) == 3 * 4
    after = supernet.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in inherited.kept)


def test_what_the_source_is_too_small_for_keeps_its_own_values():
    layers = [MBConv(8, 3, expand=3), MBConv(8, 5, expand=3), MBConv(8, 3, expand=6)]
    supernet = build(two(layers))
    before = copy_of(supernet)
    inherited = inherit_candidates(supernet, [0])
    kept = set(inherited.kept)
    # The kernel alone is larger; wider layers have nothing but the last norm from it.
    assert {key for key in kept if key.startswith("blocks.block.1.")} == {
        "blocks.block.1.depthwise.weight"
    }
    wider = {key for key in before if key.startswith("blocks.block.2.")}
    same = {key for key in wider if "project_norm" in key or "num_batches" in key}
    assert kept & wider == wider - same
    after = supernet.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in kept)


def test_convolutions_whose_channels_do_not_correspond_keep_their_own_values():
    layers = [Conv(8, 3), Conv(8, 3, groups=2), Conv(8, 3, groups=8), Conv(8, 5, groups=2)]
    supernet = build(two(layers))
    assert inherit_candidates(supernet, [0]).kept == tuple(
        f"blocks.block.{option}.conv.weight" for option in (1, 2, 3)
    )
    # Of as many groups and channels they do, and kernels are cropped.
    assert inherit_candidates(supernet, [3]).kept == tuple(
        f"blocks.block.{option}.conv.weight" for option in (0, 2)
    )
    large, small = supernet.layer(0, 3).conv.weight, supernet.layer(0, 1).conv.weight
    assert torch.equal(small, large[..., 1:-1, 1:-1])


def test_only_what_the_path_uses_of_a_shared_tensor_is_given_on():
    options = [(k, e) for k in (3, 5) for e in (3, 6)]
    space = SearchSpace(
        "shared",
        (8, 6, 6),
        [Choice("a", options)],
        [Block("a", [MBConv(8, k, expand=e) for k, e in options], ("a",), shares=("expand",))],
    )
    # Kernel 5 at expansion 3 uses half of what is stored; kernel 3 stores expansion 6.
    supernet = build(space)
    kept = inherit_candidates(supernet, [2]).kept
    assert "blocks.a.0.expand.weight" in kept
    assert "blocks.a.0.project_norm.weight" not in kept
    supernet = build(space)
    assert inherit_candidates(supernet, [3]).kept == ()
    large, small = supernet.layer(0, 3), supernet.layer(0, 0)
    assert torch.equal(small.expand.weight, large.expand.weight)


def test_candidates_that_share_all_their_weights_have_nothing_to_inherit():
    # Bit widths and channels of quantised layers are slices of one tensor.
    space = published.load("resnet18-quant", resolution=32, classes=10)
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    before = copy_of(supernet)
    assert inherit_candidates(supernet, [0] * space.num_choices) == Inherited(0, ())
    assert all(torch.equal(x, before[name]) for name, x in supernet.state_dict().items())


def test_an_identity_has_nothing_to_give():
    supernet = build(two([Identity(), MBConv(8, 3)]))
    before = copy_of(supernet)
    inherited = inherit_candidates(supernet, [0])
    assert inherited.copied == 0
    assert set(inherited.kept) == {key for key in before if key.startswith("blocks.block.1.")}


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_a_part_with_kernels_padded(kernel):
    trained, module = nn.Conv2d(4, 6, 5, bias=True), nn.Conv2d(3, 2, kernel, bias=True)
    tensors = trained.state_dict()
    part = corresponding_part(tensors, trained, module, "weight", pad_kernels=True)
    assert part.shape == module.weight.shape
    border = abs(kernel - 5) // 2
    inner = (slice(2), slice(3), *[slice(border, max(kernel, 5) - border)] * 2)
    if kernel > 5:
        assert corresponding_part(tensors, trained, module, "weight") is None
        assert torch.equal(part[inner], trained.weight[:2, :3])
        assert part.count_nonzero() == part[inner].count_nonzero()
    else:
        assert torch.equal(part, trained.weight[inner])
    assert torch.equal(corresponding_part(tensors, trained, module, "bias"), trained.bias[:2])


def test_channels_are_never_padded():
    trained, module = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 7, 3)
    tensors = trained.state_dict()
    assert corresponding_part(tensors, trained, module, "weight", pad_kernels=True) is None
    assert corresponding_part({}, trained, trained, "weight") is None
    assert corresponding_part(tensors, trained, nn.Linear(4, 6), "weight") is None


def test_rows_of_another_space_are_refused():
    supernet = build(two([Identity(), MBConv(8, 3)]))
    with pytest.raises(InputError, match="archs has 2 columns; space 'one-block' has 1 choices"):
        inherit_candidates(supernet, [0, 0])


def network_of(space, seed=1):
    """A network whose tensors all differ from each other, statistics of norms included."""
    network = Network(space, generator=torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            else:
                tensor.fill_(7)
    return network.eval()


def logits(supernet, row, shape):
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return supernet.eval()(images, row)


@pytest.mark.parametrize("row", [[0] * 6, [1] * 6])
def test_the_candidates_of_a_trained_network_start_as_it_is(row):
    space = published.load("digits-resnet")
    network = network_of(space.fix([0] * 6))
    supernet = build(space)
    assert inherit_network(supernet, network.state_dict()).kept == ()
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        # A kernel of 5 is the one of 3 and a border of zeros.
        torch.testing.assert_close(logits(supernet, row, (1, 8, 8)), network(images))


def test_wider_candidates_keep_what_the_network_does_not_have():
    space = with_scales(with_bits(published.load("digits-resnet").fix([0] * 6)), (0.5, 1.0, 1.5))
    plain = published.load("digits-resnet").fix([0] * 6)
    network = network_of(plain)
    supernet = build(space)
    before = copy_of(supernet)
    inherited = inherit_network(supernet, network.state_dict())
    after = supernet.state_dict()
    assert inherited.kept == tuple(name for name in after if "alpha" in name)
    assert inherited.kept
    assert all(torch.equal(after[name], before[name]) for name in inherited.kept)
    name = "blocks.stage1_0.0.conv1.weight"
    given = network.state_dict()["blocks.stage1_0.conv1.weight"]
    assert after[name].shape == (24, 16, 3, 3)
    assert torch.equal(after[name][:16], given)
    assert torch.equal(after[name][16:], before[name][16:])
    # The float layer in the supernet's weights is the network's.
    floating = Supernet(with_scales(plain, (0.5, 1.0, 1.5)), generator=torch.Generator())
    inherit_network(floating, network.state_dict())
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert torch.equal(logits(floating, [1] * 6, (1, 8, 8)), network(images))


def test_a_classifier_of_other_classes_keeps_its_own():
    space = published.load("digits-resnet")
    network = network_of(published.load("digits-resnet", classes=4).fix([0] * 6))
    supernet = build(space)
    before = copy_of(supernet)
    inherited = inherit_network(supernet, network.state_dict())
    assert inherited.kept == ("blocks.head.0.linear.weight", "blocks.head.0.linear.bias")
    assert all(torch.equal(supernet.state_dict()[name], before[name]) for name in inherited.kept)


def one_block(*layers, shares=()):
    choices = [Choice("a", tuple(range(len(layers))))] if len(layers) > 1 else []
    block = Block("a", layers, [choice.name for choice in choices], shares=shares)
    return SearchSpace("one", (8, 4, 4), choices, [block, Block("h", [Classifier(2)])])


@pytest.mark.parametrize(
    ("given", "space"),
    [
        (Conv(8, 3), [Conv(8, 3, groups=None)]),
        (Conv(8, 3, groups=None), [Conv(8, 3)]),
        (Conv(8, 3, groups=2), [Conv(8, 3)]),
        # The channels outside a block are not among what differs in it.
        (Conv(12, 3), [Conv(8, 3), Conv(8, 5)]),
        (MBConv(12, 3), [MBConv(8, 3, expand=3), MBConv(8, 3)]),
    ],
)
def test_weights_of_another_network_are_refused_and_nothing_written(given, space):
    supernet = build(one_block(*space))
    before = copy_of(supernet)
    with pytest.raises(InputError, match=r"of the network correspond to none of space 'one'"):
        inherit_network(supernet, network_of(one_block(given)).state_dict())
    after = supernet.state_dict()
    assert all(torch.equal(after[name], x) for name, x in before.items())


def test_a_network_of_other_channels_is_told_from_one_of_other_blocks():
    supernet = build(one_block(Conv(8, 3)))
    for given, reason in (
        (Conv(12, 3), "weights of a network of the same blocks and channels$"),
        (MBConv(8, 3), "weights of a network of the same blocks$"),
    ):
        with pytest.raises(InputError, match=reason):
            inherit_network(supernet, network_of(one_block(given)).state_dict())


def test_a_shallower_network_is_refused_and_nothing_written():
    sizes = {"classes": 10, "resolution": 32}
    network = network_of(published.load("resnet18", **sizes))
    supernet = Supernet(published.load("resnet34-quant", **sizes), generator=torch.Generator())
    before = copy_of(supernet)
    with pytest.raises(
        InputError, match=r"no weights of block 'stage1_2', and every layer of it in space 'resnet3"
    ):
        inherit_network(supernet, network.state_dict())
    assert all(torch.equal(x, before[name]) for name, x in supernet.state_dict().items())


@pytest.mark.parametrize("layer", [Conv(8, 3, groups=2), Conv(8, 3, groups=None), MBConv(8, 5)])
def test_a_network_is_its_own_part(layer):
    network = network_of(one_block(layer))
    supernet = build(one_block(layer))
    assert inherit_network(supernet, network.state_dict()).kept == ()
    for name, x in network.state_dict().items():
        _, block, rest = name.split(".", 2)
        assert torch.equal(supernet.state_dict()[f"blocks.{block}.0.{rest}"], x)


def test_learned_clipping_levels_are_taken():
    space = with_bits(published.load("digits-resnet").fix([0] * 6), ((2, 2), (4, 4)))
    network = network_of(space.fix([1] * 6))
    supernet = build(space)
    kept = inherit_network(supernet, network.state_dict()).kept
    state = supernet.state_dict()
    assert kept == tuple(name for name in state if name.endswith("alpha_2"))
    level = network.state_dict()["blocks.stage1_0.quantise1.alpha_4"]
    assert torch.equal(state["blocks.stage1_0.0.quantise1.alpha_4"], level)


@pytest.mark.parametrize("bits", [((2, 2), (3, 3)), None])
def test_levels_of_other_bits_are_left(bits):
    plain = published.load("digits-resnet").fix([0] * 6)
    network = network_of(uniform_bits(plain, [], 4))
    supernet = build(plain if bits is None else with_bits(plain, bits))
    inherited = inherit_network(supernet, network.state_dict())
    levels = {name for name in network.state_dict() if "alpha" in name}
    assert set(inherited.left) == levels
    assert len(levels) == 12
    assert all("alpha" in name for name in inherited.kept)
    assert len(inherited.kept) == (0 if bits is None else 24)
    weight = network.state_dict()["blocks.stage2_0.conv1.weight"]
    assert torch.equal(supernet.state_dict()["blocks.stage2_0.0.conv1.weight"], weight)


def test_a_block_that_the_network_left_out_keeps_its_own():
    space = published.load("digits-resnet")
    network = network_of(space.fix([0, 2, 0, 1, 0, 2]))
    supernet = build(space)
    kept = inherit_network(supernet, network.state_dict()).kept
    assert {name.split(".")[1] for name in kept} == {"stage1_1", "stage3_1"}
    with pytest.raises(InputError, match=r"the first is blocks.stage9_0.conv1.weight of shape"):
        inherit_network(
            supernet, {**network.state_dict(), "blocks.stage9_0.conv1.weight": torch.zeros(1)}
        )


@pytest.mark.parametrize(("name", "scale"), [("digits-resnet", 0.1), ("digits-mobile", 0.05)])
@pytest.mark.parametrize("option", [0, 1, 2])
def test_a_network_with_one_channel_inside_its_blocks(name, scale, option):
    plain = published.load(name)
    space = with_scales(plain.fix([0] * plain.num_choices), (scale, 0.5, 1.0))
    row = [option] * space.num_choices
    network = network_of(space.fix(row))
    supernet = build(space)
    given = {key: x.clone() for key, x in network.state_dict().items()}
    assert min(x.shape[0] for x in given.values() if x.ndim == 4) == 1 or option
    assert inherit_network(supernet, given).kept == ()
    images = torch.randn(3, *space.input_shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(supernet.eval()(images, row), network(images))


def test_of_a_block_with_both_kinds_a_depthwise_kernel_is_the_depthwise_ones():
    depthwise = network_of(one_block(Conv(8, 3, groups=None))).state_dict()
    supernet = build(one_block(Conv(8, 3), Conv(8, 3, groups=None)))
    assert inherit_network(supernet, depthwise).kept == ("blocks.a.0.conv.weight",)
    weight = supernet.state_dict()["blocks.a.1.conv.weight"]
    assert torch.equal(weight, depthwise["blocks.a.conv.weight"])


def test_weights_of_norms_need_a_place():
    space = published.load("digits-resnet")
    network = Network(space.fix([0] * 6), generator=torch.Generator())
    with pytest.raises(InputError, match=r"norms of the network have weights .* affine=True"):
        inherit_network(build(space, affine=False), network.state_dict())
    inherit_network(build(space), network.state_dict())
