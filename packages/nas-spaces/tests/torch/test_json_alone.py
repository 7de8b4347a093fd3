"""A network built from the JSON text alone, by a builder that knows nothing of nas_spaces.

The builder follows docs/json-format.md; it imports torch and json only.
"""

import json
from typing import get_args

import attrs
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_spaces import Block, InputError, SearchSpace, published, to_json
from nas_spaces.primitives import ACTIVATIONS as KINDS
from nas_spaces.primitives import GraphBuilder, Primitive
from nas_spaces.torch import Network, load_network, save_network

ACTIVATIONS = {
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "swish": lambda x: x / (1 + (-x).exp()),
    "hsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "hswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
}


def round_weight(w, bits):
    if bits is None:
        return w
    if bits == 1:
        return torch.where(w < 0, -w.abs().mean(), w.abs().mean())
    t, n = w.tanh(), 2**bits - 1
    return 2 * ((t / (2 * t.abs().max()) + 0.5) * n).round() / n - 1


def round_input(x, alpha, bits):
    alpha, n = alpha.clamp(min=0.001), 2**bits - 1
    return (x.clamp(min=0).minimum(alpha) * n / alpha).round() * alpha / n


def convolve(node, w, x):
    weight = round_weight(w["weight"], node["weight_bits"])
    return F.conv2d(
        x, weight, w.get("bias"), node["stride"], node["padding"], groups=node["groups"]
    )


def pool(node, w, x):
    if node["kind"] == "global":
        return x.mean((2, 3), keepdim=True)
    sizes = node["kernel"], node["stride"], node["padding"]
    if node["kind"] == "max":
        return F.max_pool2d(x, *sizes)
    return F.avg_pool2d(x, *sizes, count_include_pad=node["count_include_pad"])


def split(node, x):
    return x.unflatten(1, (-1, node["splits"]))


# What each op computes of the node, its tensors and its inputs.
OPS = {
    "Convolution": convolve,
    "Linear": lambda node, w, x: F.linear(x.flatten(1), w["weight"], w.get("bias")),
    "Norm": lambda node, w, x: F.batch_norm(
        x, w["running_mean"], w["running_var"], w["weight"], w["bias"], eps=node["eps"]
    ),
    "Activation": lambda node, w, x: ACTIVATIONS[node["kind"]](x),
    "Pool": pool,
    "Quantise": lambda node, w, x: round_input(x, w[f"alpha_{node['bits']}"], node["bits"]),
    "Add": lambda node, w, *xs: sum(xs),
    "Multiply": lambda node, w, x, factor: x * factor,
    "Concatenate": lambda node, w, *xs: torch.cat(xs, 1),
    "Select": lambda node, w, x: x[:, node["start"] :: node["step"]],
    "Shuffle": lambda node, w, x: (
        x.unflatten(1, (node["groups"], -1)).transpose(1, 2).flatten(1, 2)
    ),
    "SplitSum": lambda node, w, x: split(node, x).sum(2),
    "SplitSoftmax": lambda node, w, x: split(node, x).softmax(2).flatten(1, 2),
    "Dropout": lambda node, w, x: x,
    "Zeros": lambda node, w, x: torch.zeros(len(x), *node["shape"]),
}


class Alone(nn.Module):
    """A network from its JSON text, in evaluation mode; `weights` are its parameters."""

    def __init__(self, text):
        super().__init__()
        network = json.loads(text)
        assert network["format"] == 2
        assert network["choices"] == []
        self.blocks = [(block, block["variants"][0]["primitives"]) for block in network["spelled"]]
        self.weights = {}
        for _, nodes in self.blocks:
            for node in nodes:
                if node["op"] not in OPS:
                    raise NotImplementedError(f"{node['op']} is an op that this reader lacks")
                self.weights |= {k: torch.empty(v) for k, v in node.get("tensors", {}).items()}

    def load(self, tensors):
        for name, tensor in self.weights.items():
            tensor.copy_(tensors[name])

    def forward(self, image):
        outputs = {"input": image}
        for block, nodes in self.blocks:
            values = {"input": sum(outputs[name] for name in block["inputs"])}
            value = values["input"]
            for node in nodes:
                own = {k.rpartition(".")[2]: self.weights[k] for k in node.get("tensors", {})}
                value = OPS[node["op"]](node, own, *(values[name] for name in node["inputs"]))
                assert list(value.shape[1:]) == node["shape"][: value.dim() - 1]
                values[node["name"]] = value
            outputs[block["name"]] = value
        return value


# --- from here on nas_spaces writes what the builder above reads


def network(space, arch=()):
    """A network whose norms do something: statistics, scales and shifts are random."""
    generator = torch.Generator().manual_seed(0)
    built = Network(space.fix(arch), generator=generator).eval()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data.normal_(0.1, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 1.5, generator=generator)
    return built


@torch.no_grad()
def check(built, text, tensors):
    """The builder's network computes what ours does, and uses every tensor."""
    assert len(text) < 250_000
    alone = Alone(text)
    used = {name for name in tensors if not name.endswith(".num_batches_tracked")}
    assert alone.weights.keys() == used
    alone.load(tensors)
    shape = built.space.input_shape
    images = torch.randn((1, *shape), generator=torch.Generator().manual_seed(1))
    expected, found = built(images), alone(images)
    assert expected.std() > 0
    # Relative to the logits; activations of other formulas round otherwise.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def at_resolution(load, *resolutions):
    """The space at the first resolution that it allows."""
    for resolution in resolutions:
        try:
            return load(resolution=resolution)
        except InputError:
            continue
    return load()


@pytest.mark.parametrize("name", sorted(published.ARCHITECTURES))
def test_published_architectures(name):
    space = at_resolution(lambda **size: published.architecture(name, **size)[0], 32, 64)
    _, arch = published.architecture(name)
    built = network(space, arch)
    check(built, to_json(built.space), built.state_dict())


@pytest.mark.parametrize("name", sorted(published.SPACES))
def test_an_architecture_of_each_space(name):
    space = at_resolution(lambda **size: published.load(name, **size), 32, 64)
    built = network(space, space.sample(1, rng=np.random.default_rng(1))[0])
    check(built, to_json(built.space), built.state_dict())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits-mobile", {}),
        ("nas-bench-macro", {"resolution": 16}),
        ("spos-shufflenet", {"resolution": 64, "classes": 10}),
    ],
)
def test_the_two_files_are_enough(name, options, tmp_path):
    space = published.load(name, **options)
    for arch in (np.array(space.num_options) - 1, *space.sample(2, rng=np.random.default_rng(0))):
        built = network(space, arch)
        save_network(built, tmp_path)
        text = (tmp_path / "architecture.json").read_text()
        check(built, text, safetensors.torch.load_file(tmp_path / "model.safetensors"))


@attrs.frozen
class Everything:
    """A layer of one's own with every op that there is."""

    def graph(self, shape):
        build = GraphBuilder(shape)
        value = build.convolution("conv", "input", 12, kernel=3, stride=2, groups=1, bias=True)
        value = build.norm("norm", value)
        value = build.quantise("pact", value, 3)
        value = build.convolution("wide", value, 24, kernel=5, groups=4, weight_bits=2)
        value = build.convolution("coarse", value, 24, kernel=1, weight_bits=1)
        value = build.shuffle("shuffle", value, 3)
        value = build.split_softmax("softmax", value, 2)
        value = build.split_sum("sum", value, 2)
        left = build.select("even", value, 0, 2)
        right = build.select("odd", value, 1, 2)
        value = build.concatenate("join", left, right)
        for kind in ACTIVATIONS:
            value = build.activation(kind, value, kind)
        most = build.pool("max", value, "max", kernel=2, stride=2)
        mean = build.pool("average", value, "average", kernel=2, stride=2)
        padded = build.pool("padded", value, "average", kernel=3, stride=2)
        nothing = build.zeros("zeros", value, build.shape_of(most))
        value = build.add("add", most, mean, padded, nothing)
        value = build.multiply("scale", value, build.pool("global", value, "global"))
        value = build.dropout("dropout", value, 0.5)
        build.linear("linear", value, 5, bias=False)
        return build.graph


@pytest.fixture
def everything():
    return network(SearchSpace("all", (3, 8, 8), (), [Block("only", [Everything()])]))


def test_every_op(everything):
    text = to_json(everything.space)
    used = {node["op"] for node in json.loads(text)["spelled"][0]["variants"][0]["primitives"]}
    assert used == OPS.keys() == {cls.__name__ for cls in get_args(Primitive)}
    assert set(KINDS) == ACTIVATIONS.keys()
    check(everything, text, everything.state_dict())


def test_branches_are_summed(cell):
    built = network(cell, [0, 1])
    check(built, to_json(built.space), built.state_dict())


def test_an_unknown_op_is_refused(everything):
    with pytest.raises(NotImplementedError, match="Fourier"):
        Alone(to_json(everything.space).replace('"Dropout"', '"Fourier"'))


@torch.no_grad()
def test_our_own_reader_needs_no_record_either(everything, tmp_path):
    save_network(everything, tmp_path / "a")
    loaded = load_network(tmp_path / "a")
    images = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded(images), everything(images))
    save_network(loaded, tmp_path / "b")
    for name in ("architecture.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    layers = {"Everything": Everything}
    assert load_network(tmp_path / "a", layers=layers).space == everything.space
