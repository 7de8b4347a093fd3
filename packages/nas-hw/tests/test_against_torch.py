"""Every table against what torch does: an independent count over the real module."""

import inspect
import itertools
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
import torch
from attrs import frozen
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import nas_hw
from nas_spaces import Block, Choice, SearchSpace, published
from nas_spaces.layers import (
    Classifier,
    Conv,
    Identity,
    MBConv,
    Pool,
    ShuffleUnit,
    SqueezeExcite,
    Zero,
)
from nas_spaces.layers.layer import conv_norm
from nas_spaces.primitives import GraphBuilder
from nas_spaces.torch import Network, Norms
from nas_spaces.torch.quantise import Pact

aten = torch.ops.aten
CONVOLUTIONS = (aten.convolution.default,)
PRODUCTS = (aten.addmm.default, aten.mm.default)
NORMS = (aten.native_batch_norm.default, aten._native_batch_norm_legit_no_training.default)
ELEMENTWISE = (
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.hardtanh.default,
    aten.relu.default,
    aten.sigmoid.default,
    aten.silu.default,
    *NORMS,
)
IN_PLACE = (aten.relu_.default, aten.hardtanh_.default)
FILLS = (aten.new_zeros.default,)
BITS = 32


def memory(tensor):
    return tensor.untyped_storage()._cdata


class Counter(TorchDispatchMode):
    """Lists what is carried out: what each operation reads, which weights, what it writes."""

    def __init__(self, image):
        super().__init__()
        self.operations = []
        self.held = [image]  # so that no memory is given out twice
        self.weights = {}
        self.bits = {}
        self.borders = set()
        self.paused = False

    def own(self, weights, bits=BITS):
        """Tell weights from activations, and how many bits an element of them has."""
        for weight in weights:
            self.held.append(weight)
            self.weights[memory(weight)] = bits if weight.ndim > 1 else BITS

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not self.paused and func not in IN_PLACE:
            inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            # Maximum pooling returns where its maxima were too, norms their statistics.
            self.record(func, inputs, next(x for x in tree_leaves(out)))
        elif not self.paused:
            assert self.operations[-1]["writes"] == memory(out)
            assert memory(out) not in self.borders
        return out

    def record(self, func, inputs, out, bits=BITS):
        self.held += [*inputs, out]
        if memory(out) in map(memory, inputs):  # another view of it
            return
        self.bits[memory(out)] = bits
        weights = [x for x in inputs if memory(x) in self.weights]
        if func in NORMS:
            weights = weights[:2]  # four statistics are a scale and a shift
        values = [] if func in FILLS else [x for x in inputs if memory(x) not in self.weights]
        macs = bitops = 0
        if func in CONVOLUTIONS:
            macs = weights[0].numel() * out.shape[2] * out.shape[3]
            widths = (self.weights[memory(weights[0])], self.bits.get(memory(values[0]), BITS))
            bitops = macs * widths[0] * widths[1] if BITS not in widths else 0
        elif func in PRODUCTS:
            (matrix,) = [x for x in weights if x.ndim == 2]
            macs = matrix.numel()
        sizes = [(memory(x), -(-x.numel() * self.bits.get(memory(x), BITS) // 8)) for x in values]
        self.operations.append(
            {
                "func": func,
                "reads": sizes,
                "weights": sum(-(-x.numel() * self.weights[memory(x)] // 8) for x in weights),
                "writes": memory(out),
                "bytes": -(-out.numel() * bits // 8),
                "macs": macs,
                "bitops": bitops,
            }
        )

    @contextmanager
    def one_operation(self, x, bits):
        """Record all that happens inside as one element-wise operation."""
        self.paused = True
        written = []
        yield written
        self.paused = False
        self.record("quantise", [x], written[0], bits)

    def merged(self):
        """Return the operations with element-wise ones applied by those that make their input."""
        reads = [place for operation in self.operations for place, _ in operation["reads"]]
        makers, done = {}, []
        for operation in map(dict, self.operations):
            if operation["func"] in (*ELEMENTWISE, "quantise"):
                ((place, _),) = operation["reads"]
                if place in makers and place not in self.borders and reads.count(place) == 1:
                    maker = makers[operation["writes"]] = makers.pop(place)
                    maker["writes"], maker["bytes"] = operation["writes"], operation["bytes"]
                    maker["weights"] += operation["weights"]
                    continue
            makers[operation["writes"]] = operation
            done.append(operation)
        return done

    def peak(self, image, output):
        """Return the most that is alive at one operation, from first writing to last reading."""
        merged = self.merged()
        born = {memory(image): (-1, image.numel() * 4)}
        last = {}
        for number, operation in enumerate(merged):
            born[operation["writes"]] = (number, operation["bytes"])
            last[operation["writes"]] = number
            last.update((place, number) for place, _ in operation["reads"])
        last[memory(output)] = len(merged)
        return max(
            sum(size for place, (at, size) in born.items() if at <= now <= last.get(place, at))
            for now in range(len(merged))
        )


def count(space, arch):
    """Count one architecture by running it."""
    placed = space.layers(arch)
    network = Network(space.fix(arch), generator=torch.Generator().manual_seed(0)).eval()
    blocks = list(network.blocks.values())
    norms = [Norms() for _ in blocks]

    def run(x, border=lambda value: value):
        values = {-1: x}
        for index, block in enumerate(blocks):
            values = network.wiring.advance(
                values, index, lambda x, i=index, b=block: b(border(x), norms=norms[i])
            )
        return network.wiring.output(values)

    for one in norms:
        one.recalibrate()
    run(torch.randn(2, *space.input_shape))
    image = torch.randn(1, *space.input_shape)
    counter = Counter(image)
    counter.own([*network.parameters(), *network.buffers()])
    for block, one, layer in zip(blocks, norms, placed, strict=True):
        one.settle()
        one.fold(block, block.program)
        bits = getattr(layer.layer, "weight_bits", None) or BITS
        counter.own([x for pair in one.folded.values() for x in pair], bits)
        counter.own([x for pair in one.buffers.values() for x in pair])

    def border(value):
        counter.borders.add(memory(value))
        return value

    original = Pact.forward

    def quantise(self, x, bits):
        with counter.one_operation(x, bits) as written:
            written.append(original(self, x, bits))
        return written[0]

    with patch.object(Pact, "forward", quantise), counter:
        output = run(image, border)
    merged = counter.merged()
    return {
        "macs": sum(one["macs"] for one in merged),
        "params": sum(x.numel() for x in network.parameters()),
        "bitops": sum(one["bitops"] for one in merged),
        "traffic": sum(
            sum(size for _, size in one["reads"]) + one["weights"] + one["bytes"] for one in merged
        ),
        "peak_memory": counter.peak(image, output),
    }


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


def compare(space, archs):
    tables = nas_hw.tables(space)
    for arch in archs:
        told = {name: int(table([arch])[0]) for name, table in tables.items()}
        assert told == count(space, arch), space.format(arch)


def small(name):
    """Load a published space or network for small images and few classes."""
    builders = {**published.SPACES, **published.NETWORKS}
    usual = inspect.signature(builders[name]).parameters["resolution"].default
    return published.load(name, resolution=min(usual, 64), classes=10)


@pytest.mark.parametrize("name", sorted([*published.SPACES, *published.NETWORKS]))
def test_published(name):
    space = small(name)
    compare(space, space.sample(2, rng=np.random.default_rng(0)) if space.num_choices else [[]])


@frozen
class Odd:
    """What published layers do not do: each ``kind`` is a case of the definition."""

    kind: str

    def graph(self, shape):
        build = GraphBuilder(shape)
        if self.kind == "activation first":
            build.norm(
                "norm",
                build.convolution(
                    "conv", build.activation("act", "input", "relu"), shape[0], kernel=1
                ),
            )
        elif self.kind == "norms that no convolution takes":
            value = build.activation("act1", build.norm("norm1", "input"), "relu")
            value = build.norm("norm2", build.pool("pool", value, "average", kernel=3))
            build.activation("act2", value, "hswish")
        elif self.kind == "values that are read twice":
            value = build.convolution("conv", "input", shape[0], kernel=3, bias=True)
            act = build.activation("act", value, "swish")
            build.add("sum", value, act, "input", act)
        elif self.kind == "input read early and late":
            value = build.convolution("wide", "input", 4 * shape[0], kernel=1)
            value = build.convolution("narrow", value, shape[0], kernel=1)
            build.concatenate("join", value, build.shuffle("shuffle", "input", 2))
            build.convolution("squeeze", "join", shape[0], kernel=1)
        elif self.kind == "dropout":
            value = build.dropout("drop1", build.convolution("c", "input", shape[0], kernel=1), 0.1)
            build.dropout("drop2", build.activation("act", value, "relu6"), 0.1)
        elif self.kind == "dead":
            build.pool("nobody", "input", "max", kernel=3)
            build.dropout("drop", "input", 0.1)
        elif self.kind == "gate":
            value = build.activation("gate", build.pool("mean", "input", "global"), "hsigmoid")
            value = build.multiply("scale", "input", value)
            build.activation("act", value, "relu")
        elif self.kind == "bits":
            value = build.quantise("quantise", "input", 3)
            value = conv_norm(build, "conv", value, shape[0], weight_bits=2)
            build.quantise("last", value, 5)
            build.select("odd", "last", 1, 2)
            build.concatenate("twice", "odd", "odd")
        return build.graph

    @property
    def weight_bits(self):
        return 2 if self.kind == "bits" else None


ODD = (
    "activation first",
    "norms that no convolution takes",
    "values that are read twice",
    "input read early and late",
    "dropout",
    "dead",
    "gate",
    "bits",
)


@pytest.mark.parametrize("kind", ODD)
def test_cases_of_the_definition(kind):
    blocks = [Block("stem", [Conv(8)]), Block("odd", [Odd(kind)]), Block("head", [Classifier(3)])]
    compare(SearchSpace("odd", (3, 6, 6), (), blocks), [[]])


# What a block of a random space may be; all keep the shape.
CANDIDATES = (
    Conv(8),
    Conv(8, 5, activation="hswish"),
    Identity(),
    Identity(),
    Zero(),
    Pool("average"),
    Pool("max"),
    MBConv(8, 3, expand=2, se=SqueezeExcite()),
    ShuffleUnit(8, 3),
    *map(Odd, ODD),
)


def random_space(rng):
    """Return blocks that read any blocks before them, some with a choice of what they are."""
    choices, blocks = [], [Block("stem", [Conv(8)])]
    for index in range(int(rng.integers(3, 9))):
        names = [block.name for block in blocks]
        # The block before is the most likely, so that there are stretches with one value alive.
        sources = [names[-1]] if rng.random() < 0.6 else []
        sources += list(rng.choice(names, int(rng.integers(0, 4))))
        options = [CANDIDATES[i] for i in rng.choice(len(CANDIDATES), int(rng.integers(1, 4)))]
        if len(options) > 1:
            choices.append(Choice(f"c{index}", range(len(options))))
        reads = (f"c{index}",) if len(options) > 1 else ()
        blocks.append(Block(f"b{index}", options, reads, inputs=sources or names[-1:]))
    return SearchSpace("random", (3, 6, 6), choices, [*blocks, Block("head", [Classifier(3)])])


@pytest.mark.parametrize("seed", range(40))
def test_wired_blocks(seed):
    rng = np.random.default_rng(seed)
    space = random_space(rng)
    compare(space, space.sample(4, rng=rng))


def test_widths_that_wiring_keeps():
    wide = (4, 16)
    space = SearchSpace(
        "kept-widths",
        (3, 8, 8),
        [Choice("w", wide), Choice("k", (1, 5)), Choice("pass", (True, False))],
        [
            Block("stem", [Conv(4)]),
            Block("wide", [Conv(w, 1) for w in wide], ("w",)),
            Block("narrow", [Conv(2, k) for k in (1, 5)], ("k",)),
            Block("again", [Identity(), Conv(2)], ("pass",)),
            Block("back", [Conv(w, 1) for w in wide], ("w",)),
            Block("sum", [Conv(8)], inputs=("back", "wide")),
            Block("head", [Classifier(3)], inputs=("sum",)),
        ],
    )
    compare(space, list(itertools.product(range(2), repeat=3)))
    # The block "narrow" reads one choice; what is alive beside it depends on another.
    held = [set(term.columns) for term in nas_hw.peak_memory(space).terms]
    assert {0} in held or {0, 2} in held
