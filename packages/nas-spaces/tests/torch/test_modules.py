import pytest
import torch
from attrs import frozen
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from nas_spaces import InputError, published
from nas_spaces.layers import Classifier, Conv, Identity, MBConv, Pool, ShuffleUnit, Zero
from nas_spaces.primitives import ACTIVATIONS, INPUT, Convolution, GraphBuilder, Linear, Norm
from nas_spaces.torch import LayerModule, Network, Norms
from nas_spaces.torch.program import compile_graph


@frozen
class Activated:
    """An activation, of the input itself or of a norm."""

    kind: str
    normed: bool

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.activation("act", build.norm("norm", INPUT) if self.normed else INPUT, self.kind)
        return build.graph


@frozen
class Gated:
    """Squeeze and excitation with everything else that a graph can hold."""

    rate: float = 0.0

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("conv", INPUT, shape[0], kernel=3, bias=True)
        build.norm("norm", "conv")
        pooled = build.pool("pool", "norm", "global")
        if self.rate:
            pooled = build.dropout("dropout", pooled, self.rate)
        build.convolution("gate", pooled, shape[0], kernel=1, bias=True)
        build.activation("sigmoid", "gate", "sigmoid")
        build.multiply("product", "norm", "sigmoid")
        build.activation("act", "norm", "relu")  # reads what others read as well
        build.add("sum", "product", "act", INPUT)
        return build.graph


def module_of(layer, shape, seed=0):
    module = LayerModule([layer.graph(shape)])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def images(shape, n=4, seed=1):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed))


def test_mbconv_is_mobilenet_v2s_block():
    module, x = module_of(MBConv(8, 5, expand=3), (8, 6, 6)), images((8, 6, 6))
    y = F.relu6(conv_norm(module, "expand", x))
    y = F.relu6(conv_norm(module, "depthwise", y))
    assert module.depthwise.weight.shape == (24, 1, 5, 5)
    assert torch.equal(module(x), x + conv_norm(module, "project", y))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (1, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_kernels_larger_than_their_image_learn_as_usual(size, stride, kernel):
    builder = GraphBuilder((6, *size))
    builder.convolution("depthwise", INPUT, 6, kernel=kernel, stride=stride, groups=6)
    module, x = LayerModule([builder.graph]), images((6, *size)).requires_grad_()
    weight = module.depthwise.weight
    y = module(x)
    usual = F.conv2d(x, weight, None, stride, kernel // 2, 1, 6)
    torch.testing.assert_close(y, usual)
    found = torch.autograd.grad(y.square().sum(), (x, weight))
    torch.testing.assert_close(found, torch.autograd.grad(usual.square().sum(), (x, weight)))


def affine(norm):
    return norm.weight, norm.bias


def conv_norm(module, name, x, stride=1, relu=False):
    conv = getattr(module, name)
    x = F.conv2d(x, conv.weight, None, stride, conv.kernel_size[0] // 2, 1, conv.groups)
    x = F.batch_norm(x, None, None, *affine(getattr(module, f"{name}_norm")), True)
    return F.relu(x) if relu else x


def test_shuffle_unit_at_stride_1_is_the_official_one():
    module, x = module_of(ShuffleUnit(16, 7), (16, 6, 6)), images((16, 6, 6))
    # Channel shuffle as in the official code.
    n, c, h, w = x.shape
    passed, main = x.reshape(n * c // 2, 2, h * w).permute(1, 0, 2).reshape(2, n, c // 2, h, w)
    main = conv_norm(module, "pw1", main, relu=True)
    main = conv_norm(module, "dw", main)
    main = conv_norm(module, "pw2", main, relu=True)
    assert torch.allclose(module(x), torch.cat([passed, main], 1), rtol=1e-5, atol=1e-5)
    assert torch.equal(module(x)[:, :8], passed)


def test_xception_unit_at_stride_2():
    module, x = module_of(ShuffleUnit(20, 3, 2, kind="x"), (8, 6, 6)), images((8, 6, 6))
    passed = conv_norm(module, "proj_pw", conv_norm(module, "proj_dw", x, 2), relu=True)
    main = conv_norm(module, "pw1", conv_norm(module, "dw1", x, 2), relu=True)
    main = conv_norm(module, "pw2", conv_norm(module, "dw2", main), relu=True)
    main = conv_norm(module, "pw3", conv_norm(module, "dw3", main), relu=True)
    assert torch.equal(module(x), torch.cat([passed, main], 1))
    assert module(x).shape == (4, 20, 3, 3)


@pytest.mark.parametrize("stride", [1, 2])
def test_pools(stride):
    x = images((3, 7, 7))
    run = {kind: module_of(Pool(kind, 3, stride), (3, 7, 7)) for kind in ("max", "average")}
    windows = F.unfold(F.pad(x, (1,) * 4, value=-torch.inf), 3, stride=stride)
    windows = windows.view(4, 3, 9, *run["max"](x).shape[2:])
    assert torch.equal(run["max"](x), windows.amax(2))
    # The average is over what lies inside the image.
    inside = windows.isfinite()
    mean = windows.where(inside, torch.zeros(())).sum(2) / inside.sum(2)
    assert torch.allclose(run["average"](x), mean, atol=1e-6)
    assert torch.equal(module_of(Pool(), (3, 7, 7))(x), x.mean((2, 3), keepdim=True))


def test_zero_identity_and_classifier():
    x = images((3, 5, 5))
    zeros = module_of(Zero(2), (3, 5, 5))(x)
    assert zeros.shape == (4, 3, 3, 3)
    assert not zeros.any()
    assert module_of(Identity(), (3, 5, 5))(x) is x
    head = module_of(Classifier(7), (3, 5, 5))
    expected = F.linear(x.mean((2, 3)), head.linear.weight, head.linear.bias)
    assert torch.allclose(head(x), expected, atol=1e-6)


REFERENCES = {
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "hswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "swish": lambda x: x / (1 + torch.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "hsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("normed", [False, True])
def test_activations(kind, normed):
    module, x = LayerModule([Activated(kind, normed).graph((3, 6, 6))]), images((3, 6, 6)) * 4
    before = x.clone()
    entering = F.batch_norm(x, None, None, training=True) if normed else x
    assert torch.allclose(module(x), REFERENCES[kind](entering), atol=1e-6)
    assert torch.equal(x, before)


def test_all_parts_of_a_graph_together():
    module, x = module_of(Gated(), (4, 6, 6)), images((4, 6, 6))
    before = x.clone()
    normed = F.conv2d(x, module.conv.weight, module.conv.bias, padding=1)
    normed = F.batch_norm(normed, None, None, *affine(module.norm), True)
    gate = torch.sigmoid(F.conv2d(normed.mean((2, 3), keepdim=True), *affine(module.gate)))
    assert torch.allclose(module(x), normed * gate + normed.relu() + x, atol=1e-5)
    assert torch.equal(x, before)


def test_only_what_nothing_else_reads_is_overwritten():
    steps = {s.primitive.name: s for s in compile_graph(MBConv(8, 3).graph((8, 4, 4)))}
    assert steps["expand_act"].in_place
    steps = {s.primitive.name: s for s in compile_graph(Gated().graph((8, 4, 4)))}
    assert not steps["act"].in_place
    assert not any(
        s.in_place for s in compile_graph(Activated("relu", normed=False).graph((8, 4, 4)))
    )


@pytest.mark.parametrize("layer", [MBConv(4, 3), ShuffleUnit(4, 3), Conv(4), Gated(0.5)])
def test_values_are_freed_after_their_last_use(layer):
    program = compile_graph(layer.graph((4, 6, 6)))
    freed = [name for step in program for name in step.frees]
    read = {name for step in program for name in step.primitive.inputs}
    assert sorted(freed) == sorted(read)


def test_dropout_only_in_training():
    module, x = module_of(Gated(0.5), (4, 6, 6)), images((4, 6, 6))
    torch.manual_seed(0)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
    # Recalibration is without dropout, whatever the module's mode.
    module.train()
    outputs = []
    for _ in range(2):
        norms = Norms()
        norms.recalibrate()
        outputs.append(module(x, norms=norms))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("name", ["forward", "training", "program", "a.b"])
def test_names_that_a_module_cannot_have(name):
    graph = (Convolution(name, (INPUT,), 3, 3, 1, 1, 1, False, (3, 4, 4)),)
    with pytest.raises(InputError, match="cannot be named"):
        LayerModule([graph])


def test_sharing_needs_the_same_kernel_kind_and_groups():
    shape = (8, 4, 4)
    for others in (Conv(8, 5), Conv(8, 3, 2), Conv(8, 3, groups=None), Conv(8, 3, groups=2)):
        with pytest.raises(InputError, match="share no weights"):
            LayerModule([Conv(8, 3).graph(shape), others.graph(shape)])
    # Nor does one channel make a convolution of another's groups.
    with pytest.raises(InputError, match="share no weights"):
        LayerModule([Conv(8, 3, groups=2).graph(shape), Conv(8, 3).graph((1, 4, 4))])
    build = GraphBuilder(shape)
    build.linear("conv", INPUT, 8)
    with pytest.raises(InputError, match="different kinds"):
        LayerModule([Conv(8, 3).graph(shape), build.graph])
    other = GraphBuilder(shape)
    other.linear("conv", INPUT, 8, bias=False)
    for graphs in ([build.graph, other.graph], [other.graph, build.graph]):
        with pytest.raises(InputError, match=r"differ in bias; they share no weights"):
            LayerModule(graphs)


def batches(shape, n=3):
    return [images(shape, 5 + i, seed=i) * (1 + i) + i for i in range(n)]


def test_recalibration_is_a_cumulative_batch_norm():
    shape = (4, 6, 6)
    module = module_of(MBConv(4, 3, expand=2), shape).eval()
    before = {name: x.clone() for name, x in module.state_dict().items()}
    norms = Norms()
    outputs = []
    for x in batches(shape):
        norms.recalibrate()
        outputs.append(module(x, norms=norms))
    norms.settle()
    settled = module(images(shape), norms=norms)
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())

    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None
    module.train()
    assert all(torch.equal(module(x), y) for x, y in zip(batches(shape), outputs, strict=True))
    module.eval()
    assert torch.equal(module(images(shape)), settled)
    assert torch.equal(module.expand_norm.running_var, norms.buffers["expand_norm"][1])


@frozen
class Interleaved:
    """Convolutions whose norms do not stand right behind them."""

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("a", INPUT, 4, kernel=3)
        build.convolution("b", INPUT, 4, kernel=1)
        build.norm("a_norm", "a")
        build.norm("b_norm", "b")
        build.concatenate("join", "a_norm", "b_norm")
        return build.graph


@pytest.mark.parametrize(
    "layer", [MBConv(4, 3, expand=2), ShuffleUnit(4, 5), Gated(0.1), Interleaved(), Conv(6, 1)]
)
def test_folding_changes_little_and_nothing_of_the_module(layer):
    shape = (4, 6, 6)
    module = module_of(layer, shape)
    before = {name: x.clone() for name, x in module.state_dict().items()}
    norms = Norms()
    for x in batches(shape):
        norms.recalibrate()
        module(x, norms=norms)
    norms.settle()
    x = images(shape)
    plain = module(x, norms=norms)
    norms.fold(module, module.program)
    folded = module(x, norms=norms)
    if not isinstance(layer, Interleaved):
        assert norms.folded
        assert not torch.equal(folded, plain)  # it did take another way
    assert torch.allclose(folded, plain, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(y, before[name]) for name, y in module.state_dict().items())


def counts(placed):
    """Multiply-adds and parameters of one placed layer, by the primitives' sizes."""
    macs = params = 0
    for node in placed.graph:
        if isinstance(node, Convolution):
            weights = node.out_channels * node.in_channels // node.groups * node.kernel**2
            macs += weights * node.shape[1] * node.shape[2]
            params += weights + node.bias * node.out_channels
        elif isinstance(node, Linear):
            macs += node.in_features * node.out_features
            params += (node.in_features + node.bias) * node.out_features
        elif isinstance(node, Norm):
            params += 2 * node.channels
    return macs, params


def count_with_torch(space, arch):
    """The same of the built module, by torch's own counter; no arithmetic is done on ``meta``."""
    network = Network(space.fix(arch), generator=torch.Generator()).eval().to("meta")
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.empty((1, *space.input_shape), device="meta"))
    # It counts a multiply-add as two operations.
    return counter.get_total_flops() / 2, sum(p.numel() for p in network.parameters())


def test_primitives_say_what_torch_counts(space, archs):
    for arch in archs:
        macs, params = (sum(part) for part in zip(*map(counts, space.layers(arch)), strict=True))
        assert count_with_torch(space, arch) == (macs, params)


@pytest.mark.parametrize("name", sorted(published.ARCHITECTURES))
def test_published_architectures_say_what_torch_counts(name):
    space, arch = published.architecture(name)
    macs, params = (sum(part) for part in zip(*map(counts, space.layers(arch)), strict=True))
    assert count_with_torch(space, arch) == (macs, params)


def test_shapes_are_what_modules_return(space, archs):
    for arch in archs:
        for placed in space.layers(arch):
            module = LayerModule([placed.graph]).eval()
            out = module(torch.zeros((2, *placed.in_shape)))
            assert out.reshape(2, -1).shape[1] == placed.out_shape[0] * placed.out_shape[1] ** 2
            assert out.shape[1] == placed.out_shape[0]
