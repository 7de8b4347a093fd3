"""Small spaces, images and trainings, and one thread: more only slow such small networks."""

import numpy as np
import pytest
import torch
from attrs import evolve
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nas_samplers import (
    Alphas,
    Balanced,
    BelowMean,
    BinaryGates,
    Cooling,
    Distribution,
    EntropyRows,
    EntropySampler,
    Gumbel,
    KnowledgePool,
    Mixture,
    Optimiser,
    PathDropout,
    Phase,
    PosteriorLearner,
    RelaxedLearner,
    Uniform,
    Weighted,
    load_data,
    mean_rows,
    posterior_rows,
)
from nas_spaces import Block, Choice, SearchSpace
from nas_spaces.layers import BasicBlock, Classifier, Conv, Identity, MBConv
from nas_spaces.torch import Network, Supernet
from nas_spaces.vary import with_bits

CPU = torch.device("cpu")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data():
    """Images of 3 x 8 x 8 in 10 classes: 410 to train on, 102 held out, 128 to test on."""
    return load_data("synthetic", resolution=8, device=CPU, seed=0)


@pytest.fixture(scope="session")
def space():
    """Three choices in two groups, 18 rows, with dropout: it shows what a training does wrong."""
    candidates = [MBConv(8, 3, expand=2), MBConv(8, 5, expand=1), Identity()]
    names = ("k3", "k5", "skip")
    return SearchSpace(
        "tiny",
        (3, 8, 8),
        [
            Choice("a", names, group="ab"),
            Choice("b", names, group="ab"),
            Choice("c", ("k1", "k3")),
        ],
        [
            Block("stem", [Conv(8)]),
            Block("a", list(candidates), ("a",)),
            Block("b", list(candidates), ("b",)),
            Block("c", [Conv(16, 1, 2), Conv(16, 3, 2)], ("c",)),
            Block("head", [Classifier(10, dropout=0.2)]),
        ],
    )


@pytest.fixture(scope="session")
def quantised():
    """Two residual blocks of 2w2a and 4w4a, and 512 of sklearn's digits."""
    layers = [BasicBlock(8), BasicBlock(16, 2)]
    blocks = [Block(name, [layer]) for name, layer in zip("ab", layers, strict=True)]
    stem, head = Block("stem", [Conv(8)]), Block("head", [Classifier(10)])
    plain = SearchSpace("blocks", (1, 8, 8), (), [stem, *blocks, head])
    digits = load_data("digits", resolution=8, device=CPU, seed=0)
    return with_bits(plain, ((2, 2), (4, 4))), digits


@pytest.fixture(scope="session")
def supernet():
    """A function that builds a supernet in training mode."""

    def build(space, seed=0, **options):
        return Supernet(space, generator=torch.Generator().manual_seed(seed), **options).train()

    return build


@pytest.fixture(scope="session")
def batch():
    """A function that draws images and labels for a space."""

    def draw(space, n=8, seed=0):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn((n, *space.input_shape), generator=generator)
        return images, torch.randint(0, space.num_classes, (n,), generator=generator)

    return draw


class Rows:
    """A sampler that goes round given lists of rows; its place is its state."""

    def __init__(self, *steps):
        self.steps = [np.array(rows, dtype=np.int64) for rows in steps]
        self.place = 0

    def ask(self):
        rows = self.steps[self.place % len(self.steps)]
        self.place += 1
        return rows

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


@pytest.fixture(scope="session")
def rows_sampler():
    return Rows


@pytest.fixture(scope="session")
def grouped():
    """A function that builds a space of given groups of sizes, for arithmetic with rows."""

    def build(*groups):
        choices = [
            Choice(f"g{number}_{place}", range(size), group=f"g{number}")
            for number, sizes in enumerate(groups)
            for place, size in enumerate(sizes)
        ]
        blocks = [Block(one.name, [Identity()] * len(one.options), (one.name,)) for one in choices]
        return SearchSpace("grouped", (3, 8, 8), choices, [*blocks, Block("head", [Classifier(2)])])

    return build


@pytest.fixture(scope="session")
def snapshot():
    """A function that copies a module's tensors, by name."""
    return lambda module: {name: x.detach().clone() for name, x in module.state_dict().items()}


@pytest.fixture(scope="session")
def same():
    """A function that says whether two snapshots are equal, bit for bit."""
    return lambda a, b: a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="session", name="network_of")
def _network_of():
    """A function that builds a network whose tensors all differ from those it begins with.

    Statistics included.
    """
    return network_of


def network_of(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    network = Network(space, generator=generator)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for name, x in module.named_parameters():
                    x.copy_(torch.randn(x.shape, generator=generator) / 4 + (name == "weight"))
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 1)
                module.num_batches_tracked.fill_(seed + 3)
            elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="session")
def alone():
    """A function that builds the space of one network, of given layers and a head."""

    def build(*layers, classes=4, channels=8, resolution=6, name="alone"):
        blocks = [Block(f"block{i}", [layer]) for i, layer in enumerate(layers)]
        head = Block("head", [Classifier(classes)])
        return SearchSpace(name, (channels, resolution, resolution), (), [*blocks, head])

    return build


@pytest.fixture(scope="session")
def pool_of():
    """A function that fills a pool with networks of given spaces."""

    def fill(*spaces, iterations=10, task="task", **options):
        pool = KnowledgePool(**options)
        for seed, space in enumerate(spaces, start=1):
            pool.add(network_of(space, seed), iterations=iterations, task=task)
        return pool

    return fill


# --- trainings --------------------------------------------------------------------------------


def uniform(space, seed=0):
    return Uniform(space, rng=np.random.default_rng(seed))


def phase(sampler, steps=6, optimiser=None, batch_size=8, name="supernet", **options):
    return Phase(name, sampler, steps, optimiser or Optimiser(lr=0.1), batch_size, **options)


@pytest.fixture(scope="session", name="uniform")
def _uniform():
    """A function that makes a uniform sampler of a space."""
    return uniform


@pytest.fixture(scope="session", name="phase")
def _phase():
    """A function that makes a short phase of a sampler."""
    return phase


class Learner:
    def __init__(self):
        self.weights = np.zeros(3)
        self.calls = []

    def learn(self, network, archs, images, labels):
        self.calls.append((archs.copy(), images.clone(), labels.clone()))
        F.cross_entropy(network(images, archs[0]), labels).backward()
        self.weights = self.weights * 0.5 + torch.rand(3).numpy()
        return {"learned": float(self.weights.sum())}

    def state_dict(self):
        return {"weights": self.weights}

    def load_state_dict(self, state):
        self.weights = state["weights"].copy()


@pytest.fixture(scope="session")
def learner_class():
    """A learner that draws random numbers, leaves gradients behind and holds an array."""
    return Learner


def plain_sgd(space):
    return [phase(uniform(space), 9)]


def plain_adamw(space):
    optimiser = Optimiser("adamw", lr=0.01, weight_decay=0.1, schedule="cosine", warmup=0.3)
    return [phase(uniform(space), 9, evolve(optimiser, clip=1.0), label_smoothing=0.1)]


def several_phases(space):
    def before(network):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.9)

    return [
        phase(uniform(space, 1), 5, name="first", micro_batch=4),
        phase(uniform(space, 2), 4, Optimiser("adamw", lr=0.01), 6, name="second", before=before),
        phase(uniform(space, 3), 3, name="third", before=before, weigh=mean_rows),
    ]


def with_learner(space):
    return [phase(uniform(space), 9, learner=Learner(), learn_every=2)]


def rng(seed):
    return np.random.default_rng(seed)


def betanas(space):
    alphas = Alphas(space)
    learner = BinaryGates(alphas, rng=rng(2), lr=0.01, drop=BelowMean(0.011), warmup=1)
    warm = phase(Balanced(alphas, rng=rng(1)), 3, name="warm-up")
    return [warm, phase(Balanced(alphas, rng=rng(1)), 6, learner=learner)]


def proxyless(space):
    alphas = Alphas(space, std=1e-3, rng=rng(0))
    learner = BinaryGates(alphas, rng=rng(2), variant="two-path", lr=0.5)
    options = {"learner": learner, "learn_every": 2, "learn_from": 3}
    return [phase(Weighted(alphas, rng=rng(1)), 9, **options)]


def darts(space):
    sampler = Mixture(Alphas(space, std=1e-3, rng=rng(0)))
    learner = RelaxedLearner(sampler, lr=0.1)
    return [phase(sampler, 9, join=sampler.join, learner=learner, learn_every=2)]


def fbnet(space):
    sampler = Gumbel(Alphas(space), rng=rng(1), temperature=Cooling(2))
    learner = RelaxedLearner(sampler, lr=0.1)
    return [phase(sampler, 9, join=sampler.join, learner=learner, learn_every=2)]


def one_shot(space):
    sampler = PathDropout(space, rng=rng(1), rate=0.5, ramp=6)
    return [phase(sampler, 9, join=sampler.join, micro_batch=4)]


def fp_nas(space):
    sampler = EntropySampler(Distribution(space), rng=rng(1), rows=EntropyRows(1.2), warmup=2)
    learner = PosteriorLearner(sampler, lr=0.2, joint_from=5, steps=9)
    options = {"weigh": posterior_rows(0.5), "micro_batch": 4, "learn_from": 2}
    return [phase(sampler, 9, learner=learner, **options)]


METHODS = {
    make.__name__: make
    for make in (
        plain_sgd,
        plain_adamw,
        several_phases,
        with_learner,
        betanas,
        proxyless,
        darts,
        fbnet,
        one_shot,
        fp_nas,
    )
}


@pytest.fixture(params=METHODS)
def make_phases(request):
    """A function that makes the phases of one method, short ones, for a space."""
    return METHODS[request.param]


@pytest.fixture
def loop_alone(make_phases):
    """Whether a method is nothing but the training loop."""
    return make_phases in (plain_sgd, plain_adamw, several_phases, with_learner)
