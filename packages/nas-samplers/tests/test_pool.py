import errno
import json
import os
import pickle
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from attrs import evolve, frozen
from safetensors import safe_open
from torch import nn

from nas_samplers import Fixed, KnowledgePool, Optimiser, Phase, run_network, train
from nas_samplers.pool import HEADER, HitCount
from nas_samplers.pool_block import BlockKey, block_keys, block_shapes
from nas_spaces import Block, InputError, SearchSpace, published
from nas_spaces.layers import (
    LAYERS,
    Classifier,
    Conv,
    Identity,
    MBConv,
    SplitMBConv,
    SqueezeExcite,
)
from nas_spaces.primitives import INPUT, GraphBuilder
from nas_spaces.torch import Network, Supernet, load_network, save_network

SPACES = {
    "digits-mobile": {},
    "mnasnet": {"resolution": 32, "classes": 10, "width": 0.25},
    "nas-bench-201": {},
    "nas-bench-macro": {"resolution": 16},
    "resnet18-quant": {"resolution": 32, "classes": 10},
    "spos-shufflenet": {"resolution": 64, "classes": 10},
}


def build(space, seed=0):
    """A network whose tensors all differ from what they start with, statistics included."""
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


def alone(*layers, classes=4, channels=8, resolution=6, name="alone"):
    """A network of the given layers and a head."""
    blocks = [Block(f"block{i}", [layer]) for i, layer in enumerate(layers)]
    head = Block("head", [Classifier(classes)])
    return SearchSpace(name, (channels, resolution, resolution), (), [*blocks, head])


def pool_of(*spaces, iterations=10, task="task", **options):
    pool = KnowledgePool(**options)
    for seed, space in enumerate(spaces, start=1):
        pool.add(build(space, seed), iterations=iterations, task=task)
    return pool


def copy_of(module):
    return {name: x.clone() for name, x in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(x, other[name]) for name, x in one.items()
    )


def images(space, n=4):
    return torch.randn((n, *space.input_shape), generator=torch.Generator().manual_seed(9))


# Keys


def one_hot_cosine(one, other):
    """The cosine from the one-hot codes themselves."""
    places = {token: i for i, token in enumerate(sorted({*one.tokens, *other.tokens}))}
    codes = np.zeros((2, len(places)))
    for row, key in enumerate((one, other)):
        codes[row, [places[token] for token in key.tokens]] = 1
    return codes[0] @ codes[1] / np.sqrt((codes[0] @ codes[0]) * (codes[1] @ codes[1]))


def some_keys(n=40):
    rng = np.random.default_rng(0)
    found = []
    for name, options in SPACES.items():
        space = published.load(name, **options)
        for row in space.sample(3, rng=rng):
            found += block_keys(space.fix(row)).values()
    return [found[i] for i in rng.choice(len(found), n, replace=False)]


def test_similarity_is_the_cosine_of_one_hot_codes():
    keys = some_keys()
    for one in keys:
        for other in keys:
            similarity = one.similarity(other)
            assert similarity == other.similarity(one)
            assert 0 <= similarity <= 1
            assert (similarity == 1) == (one.tokens == other.tokens)
            assert similarity == pytest.approx(one_hot_cosine(one, other), abs=1e-12)


def test_keys_survive_json():
    for key in some_keys():
        assert BlockKey.from_json(json.loads(json.dumps(key.to_json()))) == key


def test_each_field_of_a_record_is_one_token():
    base = MBConv(8, 3, se=SqueezeExcite(0.25))
    [key] = [block_keys(alone(base))["block0"]]
    # Class, place, and the fields of MBConv; squeeze-and-excitation is one of them.
    assert len(key.tokens) == 10
    changes = (
        {"kernel": 5},
        {"expand": 3},
        {"activation": "relu"},
        {"residual": False},
        {"se": None},
        {"se": SqueezeExcite(0.5)},
        {"se": SqueezeExcite(0.25, divisor=8)},
        {"scale": 0.5},
    )
    for change in changes:
        other = block_keys(alone(evolve(base, **change)))["block0"]
        assert other.shape == key.shape == (8, 8, 1)
        assert key.similarity(other) == 9 / 10
    two = block_keys(alone(evolve(base, kernel=5, expand=3)))["block0"]
    assert key.similarity(two) == 8 / 10
    assert block_keys(alone(evolve(base, expand=6.0)))["block0"] == key


def test_shapes_are_channels_and_stride_at_any_resolution():
    for resolution in (32, 64):
        space = published.load("spos-shufflenet", resolution=resolution, classes=10)
        shapes = {name: k.shape for name, k in block_keys(space.fix([0, 1, 2, 3] * 5)).items()}
        names = list(shapes)
        assert shapes[names[0]] == (3, 16, 2)
        assert shapes[names[-1]] == (1024, 10, 0)
        assert [shapes[name][2] for name in names[1:-2]].count(2) == 4
    # The gate of squeeze-and-excitation averages positions, its block does not.
    block = MBConv(8, 3, 2, se=SqueezeExcite(0.25))
    assert block_keys(alone(block))["block0"].shape == (8, 8, 2)
    assert block_keys(alone(SplitMBConv(8, 3, 2, splits=2)))["block0"].shape == (8, 8, 2)


def test_a_layer_behind_an_identity_stays_at_its_place():
    layer = MBConv(8, 3)
    behind = block_keys(alone(layer, Identity(), layer))
    assert list(behind) == ["block0", "block2", "head"]
    assert behind["block2"] == block_keys(alone(layer, layer, layer))["block2"]
    assert behind["block2"] != behind["block0"]


def test_a_record_that_is_known_by_its_primitives_only_has_the_same_key(tmp_path):
    network = build(alone(MBConv(8, 3, se=SqueezeExcite(0.25)), MBConv(16, 5, 2, expand=2.5)))
    save_network(network, tmp_path)
    without = {name: cls for name, cls in LAYERS.items() if name != "MBConv"}
    spelled = load_network(tmp_path, layers=without)
    assert spelled.space != network.space
    assert block_keys(spelled.space) == block_keys(network.space)
    pool = KnowledgePool()
    pool.add(spelled, iterations=1, task="a")
    fresh = build(network.space, 5)
    assert pool.initialise(fresh).hits == 3
    assert same(fresh.state_dict(), network.state_dict())


class Plain:
    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("conv", INPUT, shape[0], kernel=1)
        return build.graph


def test_a_layer_without_fields_is_refused():
    network = build(alone(Plain()))
    pool = KnowledgePool()
    with pytest.raises(InputError, match="Plain is no attrs record"):
        pool.initialise(network)
    assert pool.queries == 0


# Copying


@pytest.mark.parametrize("name", SPACES)
def test_all_hits_give_the_stored_network_bit_for_bit(name):
    space = published.load(name, **SPACES[name])
    arch = space.sample(1, rng=np.random.default_rng(3))[0]
    trained, new = build(space.fix(arch), 1), build(space.fix(arch), 2)
    pool = KnowledgePool(least_similarity=1)
    pool.add(trained, iterations=10, task="a")
    x = images(space)
    assert not torch.equal(trained(x), new(x))
    inheritance = pool.initialise(new)
    assert inheritance.hits == inheritance.queries == len(inheritance.blocks) == len(pool)
    assert {block.similarity for block in inheritance.blocks} == {1.0}
    assert same(new.state_dict(), trained.state_dict())
    assert torch.equal(new(x), trained(x))


def test_a_trained_network_is_what_the_pool_gives_back(space, data):
    fixed = space.fix([0, 1, 1])
    trained = Network(fixed, generator=torch.Generator().manual_seed(0))
    phase = Phase(
        "alone", Fixed(()), steps=3, optimiser=Optimiser(lr=0.1), batch_size=16, forward=run_network
    )
    train(trained, [phase], data.train, seed=0, device=torch.device("cpu"))
    pool = KnowledgePool()
    pool.add(trained, iterations=3, task="synthetic")
    kept = copy_of(trained)
    # What is stored is a copy.
    with torch.no_grad():
        for x in trained.parameters():
            x.zero_()
    new = Network(fixed, generator=torch.Generator().manual_seed(1))
    assert pool.initialise(new).hits == 5
    assert same(new.state_dict(), kept)
    # And so is what is given.
    with torch.no_grad():
        for x in new.parameters():
            x.zero_()
    again = Network(fixed, generator=torch.Generator().manual_seed(2))
    pool.initialise(again)
    assert same(again.state_dict(), kept)
    assert all(x.requires_grad for x in again.parameters())


def test_equal_layers_of_a_stage_keep_their_own_weights():
    space = alone(*[MBConv(8, 3)] * 3)
    trained, new = build(space, 1), build(space, 2)
    pool = KnowledgePool()
    pool.add(trained, iterations=1, task="a")
    assert len(pool) == 4
    pool.initialise(new)
    weights = [new.blocks[f"block{i}"].expand.weight for i in range(3)]
    assert not torch.equal(weights[0], weights[1])
    assert same(new.state_dict(), trained.state_dict())


@pytest.mark.parametrize("stored, wanted", [(3, 5), (5, 3), (3, 7)])
def test_kernels_are_cropped_to_their_centre_or_get_zeros(stored, wanted):
    trained, new = (build(alone(MBConv(8, k)), seed) for seed, k in ((1, stored), (2, wanted)))
    pool = KnowledgePool()
    pool.add(trained, iterations=1, task="a")
    inheritance = pool.initialise(new)
    assert [(b.name, b.similarity) for b in inheritance.blocks] == [
        ("block0", 9 / 10),
        ("head", 1.0),
    ]
    old, given = (x.blocks["block0"].depthwise.weight for x in (trained, new))
    border = abs(stored - wanted) // 2
    if stored > wanted:
        assert torch.equal(given, old[..., border:-border, border:-border])
    else:
        assert torch.equal(given[..., border:-border, border:-border], old)
        assert given.count_nonzero() == old.count_nonzero()
        # A border of zeros leaves the function what it was.
        x = images(trained.space)
        assert torch.allclose(new(x), trained(x), atol=1e-5)


def test_the_first_hidden_channels_are_taken():
    trained, new = (build(alone(MBConv(8, 3, expand=e)), s) for s, e in ((1, 6), (2, 3)))
    pool = KnowledgePool()
    pool.add(trained, iterations=1, task="a")
    assert pool.initialise(new).hits == 2
    old, given = trained.blocks["block0"].state_dict(), new.blocks["block0"].state_dict()
    assert torch.equal(given["expand.weight"], old["expand.weight"][:24])
    assert torch.equal(given["project.weight"], old["project.weight"][:, :24])
    for key in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(given[f"depthwise_norm.{key}"], old[f"depthwise_norm.{key}"][:24])


@frozen
class Flat:
    """Reads all positions, as a head without pooling does."""

    out: int

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.linear("linear", INPUT, self.out)
        return build.graph


def flat(resolution):
    return SearchSpace("flat", (8, resolution, resolution), (), [Block("head", [Flat(4)])])


SE = SqueezeExcite(0.25)
MISFITS = [
    (alone(MBConv(8, 3, expand=3)), alone(MBConv(8, 3, expand=6)), r"expand.weight of shape \(48,"),
    (alone(MBConv(8, 3)), alone(MBConv(8, 3, se=SE)), "as se_reduce the nearest has nothing"),
    (alone(MBConv(8, 3, se=SE)), alone(MBConv(8, 3)), "as se_reduce .*, this block nothing"),
    (alone(MBConv(8, 3, expand=6)), alone(MBConv(8, 3, expand=1)), "as expand .* nothing"),
    (alone(Conv(8, bias=True)), alone(Conv(8)), "as conv .*Convolution with bias, this block"),
    (alone(Conv(8, groups=None)), alone(Conv(8)), "conv.weight .* in 8 groups"),
    (alone(Conv(8, groups=2)), alone(Conv(8, groups=4)), "conv.weight .* in 2 groups"),
    (
        alone(SplitMBConv(8, 3, splits=4)),
        alone(SplitMBConv(8, 3, splits=2)),
        "depthwise.weight .* in 48 groups",
    ),
    (flat(6), flat(4), "as linear .* of 288 positions and channels, .* of 128"),
]


@pytest.mark.parametrize("stored, wanted, why", MISFITS)
def test_what_does_not_fit_as_a_whole_is_left_alone(stored, wanted, why):
    pool = pool_of(stored, least_similarity=0)
    network = build(wanted, 5)
    before = copy_of(network.blocks[wanted.blocks[0].name])
    block = pool.initialise(network).blocks[0]
    assert block.miss is not None
    assert block.task is block.key is None
    assert block.similarity > 0.5
    assert same(network.blocks[wanted.blocks[0].name].state_dict(), before)
    assert re.search(why, block.miss)


def test_quantisers_of_other_widths_are_misses():
    space = published.load("resnet18-quant", resolution=32, classes=10)
    arch = np.zeros(space.num_choices, dtype=np.int64)
    pool = pool_of(space.fix(arch), least_similarity=0)
    assert pool.initialise(build(space.fix(arch), 5)).hits == len(pool)
    other = [len(choice.options) - 1 for choice in space.choices]
    missed = {b.name: b.miss for b in pool.initialise(build(space.fix(other), 5)).blocks if b.miss}
    assert any("alpha_" in why and "no such tensor" in why for why in missed.values())


def test_the_nearest_that_fits_is_taken():
    wide = MBConv(8, 3, expand=6)
    # Nearer is the narrow one, whose channels are too few; the next differs in two tokens.
    narrow, far = evolve(wide, expand=3), evolve(wide, kernel=5, activation="relu")
    pool = pool_of(alone(far), alone(narrow))
    new = build(alone(wide), 5)
    block = pool.initialise(new).blocks[0]
    assert block.miss is None
    assert block.similarity == 8 / 10
    assert block.key == str(block_keys(alone(far))["block0"])
    assert "8 -> 8, stride 1: " in block.key
    assert 'activation="relu"' in block.key


# What is near enough, and newest


def test_below_the_least_similarity_a_block_keeps_its_initialisation():
    wanted = MBConv(8, 3, activation="relu")
    two = evolve(wanted, kernel=5, activation="hswish")
    three = evolve(two, residual=False)
    assert pool_of(alone(two)).initialise(build(alone(wanted))).hits == 2
    new = build(alone(wanted), 5)
    before = copy_of(new.blocks["block0"])
    inheritance = pool_of(alone(three)).initialise(new)
    assert (inheritance.hits, inheritance.queries) == (1, 2)
    assert inheritance.blocks[0].similarity == 7 / 10
    assert inheritance.blocks[0].miss == "the nearest has a similarity of 0.700; least is 0.75"
    assert same(new.blocks["block0"].state_dict(), before)
    assert pool_of(alone(three), least_similarity=0.6).initialise(new).hits == 2
    assert pool_of(alone(two), least_similarity=1).initialise(new).hits == 1


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", True])
def test_least_similarity_is_a_share(value):
    with pytest.raises(InputError, match="least_similarity="):
        KnowledgePool(least_similarity=value)


def test_of_equally_similar_blocks_the_newest_is_taken():
    wanted = MBConv(8, 5)
    spaces = [alone(evolve(wanted, kernel=3)), alone(evolve(wanted, kernel=7))]
    for order in (spaces, spaces[::-1]):
        pool = pool_of(*order)
        block = pool.initialise(build(alone(wanted), 5)).blocks[0]
        assert block.similarity == 9 / 10
        assert block.key == str(block_keys(order[1])["block0"])
    # Stored again, the older one is the newest.
    pool.add(build(order[0], 7), iterations=10, task="task")
    block = pool.initialise(build(alone(wanted), 5)).blocks[0]
    assert block.key == str(block_keys(order[0])["block0"])


def test_a_block_of_the_same_key_takes_the_place_of_the_older():
    space = alone(MBConv(8, 3), MBConv(16, 3, 2))
    pool = KnowledgePool()
    for seed, task in ((1, "a"), (2, "b")):
        pool.add(build(space, seed), iterations=10, task=task)
    assert len(pool) == 3
    new = build(space, 5)
    assert {block.task for block in pool.initialise(new).blocks} == {"b"}
    assert same(new.state_dict(), build(space, 2).state_dict())


def test_there_is_no_randomness():
    space = published.load("digits-mobile")
    rows = space.sample(6, rng=np.random.default_rng(0))
    networks = [build(space.fix(row), seed) for seed, row in enumerate(rows)]
    news = [build(space.fix(rows[5]), 9) for _ in range(2)]
    state = torch.random.get_rng_state()
    results = []
    for new in news:
        pool = KnowledgePool()
        for network in networks[:5]:
            pool.add(network, iterations=10, task="a")
        results.append(pool.initialise(new))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert results[0] == results[1]
    assert same(news[0].state_dict(), news[1].state_dict())


# Fairness and bad input


def test_one_pool_holds_networks_of_equal_iterations():
    pool = pool_of(alone(MBConv(8, 3)), iterations=10)
    assert pool.iterations == 10
    with pytest.raises(InputError, match="for 20 iterations, those of this pool for 10;"):
        pool.add(build(alone(MBConv(8, 5))), iterations=20, task="a")
    with pytest.raises(InputError, match="the other pool was trained for 5 iterations"):
        pool.merge(pool_of(alone(MBConv(8, 5)), iterations=5))
    assert len(pool) == 2


def test_bad_input_stores_nothing():
    pool = KnowledgePool()
    network = build(alone(MBConv(8, 3)))
    for iterations in (0, -1, 1.5, True, "10"):
        with pytest.raises(InputError, match="iterations="):
            pool.add(network, iterations=iterations, task="a")
    for task in ("", None, 3):
        with pytest.raises(InputError, match="task="):
            pool.add(network, iterations=1, task=task)
    space = published.load("digits-mobile")
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    for call in (
        lambda: pool.add(supernet, iterations=1, task="a"),
        lambda: pool.initialise(supernet),
    ):
        with pytest.raises(InputError, match="network is a Supernet; a pool takes stand-alone"):
            call()
    with torch.no_grad():
        network.blocks["head"].linear.weight[0, 0] = float("nan")
    with pytest.raises(
        InputError, match=r"'head': linear.weight holds numbers that are not finite"
    ):
        pool.add(network, iterations=1, task="a")
    network.blocks["head"].linear = nn.Linear(8, 5)
    with pytest.raises(InputError, match=r"'head': linear.weight has the shape \(5, 8\)"):
        pool.add(network, iterations=1, task="a")
    assert len(pool) == pool.queries == 0
    assert pool.iterations is None


def test_an_empty_pool_misses_everything():
    network = build(alone(MBConv(8, 3)))
    before = copy_of(network)
    inheritance = KnowledgePool().initialise(network)
    assert str(inheritance) == "0 of 2 blocks start from the pool"
    assert inheritance.blocks[0].miss == "the pool has no block 8 -> 8 of stride 1"
    assert inheritance.blocks[0].similarity is None
    assert same(network.state_dict(), before)


# Tasks and spaces


def test_heads_and_other_spaces():
    body = [MBConv(8, 3), MBConv(16, 3, 2)]
    pool = pool_of(alone(*body, classes=4), task="a")
    inheritance = pool.initialise(build(alone(*body, classes=7, resolution=9), 5))
    assert [block.miss for block in inheritance.blocks] == [
        None,
        None,
        "the pool has no block 16 -> 7 of stride 0",
    ]
    other = alone(MBConv(8, 3), Conv(8), MBConv(16, 3, 2), name="other")
    inheritance = pool.initialise(build(other, 5))
    assert [block.name for block in inheritance.blocks if block.miss] == ["block1"]
    assert {block.task for block in inheritance.blocks if not block.miss} == {"a"}


def test_blocks_that_fit_a_space():
    space = published.load("digits-mobile")
    pool = pool_of(space.fix([0] * 8), space.fix([2] * 8))
    assert pool.fitting(space) == len(pool)
    assert KnowledgePool().fitting(space) == 0
    # Of other channels there is nothing but the head of as many classes, if it has their channels.
    small = pool_of(alone(Conv(13), channels=9))
    assert small.fitting(space) == 0
    assert small.fitting(alone(Conv(16), Conv(13))) == 1


def test_shapes_are_those_of_all_networks_of_a_space():
    assert block_shapes(alone(Conv(12), Identity())) == {(8, 12, 1), (12, 4, 0)}
    # Widths change what is behind them.
    wide = published.load("mnasnet", **SPACES["mnasnet"])
    known = block_shapes(wide)
    for row in wide.sample(10, rng=np.random.default_rng(0)):
        assert {key.shape for key in block_keys(wide.fix(row)).values()} <= known


def test_hits_are_counted_a_task():
    space, other = alone(MBConv(8, 3)), alone(MBConv(8, 3), classes=7)
    pool = pool_of(space)
    pool.initialise(build(space), task="a")
    pool.initialise(build(other), task="b")
    pool.initialise(build(other), task="b")
    pool.initialise(build(space))
    assert pool.tasks == {"a": HitCount(2, 2), "b": HitCount(2, 4), None: HitCount(2, 2)}
    assert (pool.hits, pool.queries) == (6, 8)
    pool.merge(pool_of(space))
    more = pool_of(space)
    more.initialise(build(other), task="b")
    pool.merge(more)
    assert pool.tasks["b"] == HitCount(3, 6)


def test_merged_blocks_are_the_newer():
    one, other = alone(MBConv(8, 3)), alone(MBConv(8, 7))
    pool, second = KnowledgePool(), KnowledgePool()
    pool.add(build(one, 1), iterations=10, task="a")
    second.add(build(other, 2), iterations=10, task="b")
    pool.merge(second)
    assert [(block.task, block.name) for block in pool.blocks] == [
        ("a", "block0"),
        ("b", "block0"),
        ("b", "head"),
    ]
    assert len(second) == 2
    assert pool.initialise(build(alone(MBConv(8, 5)), 5)).blocks[0].task == "b"
    empty = KnowledgePool()
    empty.merge(pool)
    assert empty.iterations == 10
    with pytest.raises(InputError, match="this pool itself"):
        pool.merge(pool)


def test_a_factorised_space():
    """All blocks of a stage share its tokens, and share nothing with other stages."""
    space = published.load("mnasnet", resolution=32, classes=10, width=0.25)
    names = [choice.name for choice in space.choices]
    arch = np.zeros(len(names), dtype=np.int64)
    arch[[i for i, name in enumerate(names) if name.endswith(("repeats", "expand", "width"))]] = 1
    pool = pool_of(space.fix(arch))
    changed = arch.copy()
    changed[names.index("stage3_kernel")] = 1
    changed[names.index("stage2_repeats")] = 2
    changed[names.index("stage5_se")] = 1
    inheritance = pool.initialise(build(space.fix(changed), 5))
    of = {block.name: block for block in inheritance.blocks}
    assert {name: round(10 * block.similarity) for name, block in of.items() if "3_" in name} == {
        f"stage3_{i}": 9 for i in range(3)
    }
    # One block more than was stored starts from another of its stage.
    assert of["stage2_3"].miss is None
    assert of["stage2_3"].similarity == 9 / 10
    missed = {name for name, block in of.items() if block.miss}
    assert missed == {f"stage5_{i}" for i in range(4)}
    assert all("se_reduce" in of[name].miss for name in missed)
    assert inheritance.hits == inheritance.queries - 4


# The file


def filled():
    space = published.load("digits-mobile")
    pool = KnowledgePool(least_similarity=0.8)
    for seed, row in enumerate(space.sample(3, rng=np.random.default_rng(0))):
        pool.add(build(space.fix(row), seed), iterations=10, task="äöü" if seed else "a")
    pool.initialise(build(space.fix([1] * 8)), task="a")
    pool.initialise(build(space.fix([2] * 8)))
    return pool


def read(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()[HEADER])


def write(path, tensors, index):
    text = index if isinstance(index, str) else json.dumps(index)
    path.write_bytes(safetensors.torch.save(tensors, metadata={HEADER: text}))


@pytest.mark.parametrize("make", [filled, KnowledgePool])
def test_what_is_loaded_is_what_was_saved(tmp_path, make):
    pool, one, other = make(), tmp_path / "one", tmp_path / "other"
    pool.save(one)
    loaded = KnowledgePool.load(str(one))
    loaded.save(other)
    assert one.read_bytes() == other.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert loaded.least_similarity == pool.least_similarity
    assert (loaded.iterations, loaded.tasks, len(loaded)) == (
        pool.iterations,
        pool.tasks,
        len(pool),
    )
    space = published.load("digits-mobile").fix([3, 2, 1, 0] * 2)
    networks = build(space, 7), build(space, 7)
    assert pool.initialise(networks[0]) == loaded.initialise(networks[1])
    assert same(networks[0].state_dict(), networks[1].state_dict())
    # And goes on as the other would have.
    for each in (pool, loaded):
        each.add(build(space, 8), iterations=10, task="a")
        each.save(one if each is pool else other)
    assert one.read_bytes() == other.read_bytes()


def test_the_file_can_be_read_without_this_package(tmp_path):
    pool = pool_of(alone(MBConv(8, 5, se=SE)))
    pool.save(tmp_path / "p")
    tensors, index = read(tmp_path / "p")
    assert [entry["name"] for entry in index["blocks"]] == ["block0", "head"]
    assert index["blocks"][0]["key"]["tokens"]["kernel"] == 5
    assert index["blocks"][0]["key"]["shape"] == [8, 8, 1]
    named = {
        name: shape
        for entry in index["blocks"]
        for node in entry["spelled"]["primitives"]
        for name, shape in node.get("tensors", {}).items()
    }
    assert named == {name: list(x.shape) for name, x in tensors.items()}
    assert torch.equal(tensors["blocks.1.linear.weight"], pool.blocks[1].tensors["linear.weight"])


@pytest.mark.parametrize("size", [0, 4, 8, 1000, -1, -1000])
def test_a_truncated_file_is_refused(tmp_path, size):
    filled().save(tmp_path / "p")
    (tmp_path / "p").write_bytes((tmp_path / "p").read_bytes()[:size])
    with pytest.raises(InputError, match="p is truncated, or no safetensors file"):
        KnowledgePool.load(tmp_path / "p")


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        KnowledgePool.load(tmp_path / "none")
    with pytest.raises(InputError, match="there is no file"):
        KnowledgePool.load(tmp_path)
    path = tmp_path / "p"
    path.write_bytes(pickle.dumps({"blocks": []}))
    with pytest.raises(InputError, match="no safetensors file"):
        KnowledgePool.load(path)
    path.write_bytes(safetensors.torch.save({"x": torch.ones(2)}))
    with pytest.raises(InputError, match="no index 'knowledge_pool'"):
        KnowledgePool.load(path)
    for text in ("{", "[]", "null", "{}", '{"format": 1}', '"pool"'):
        write(path, {}, text)
        with pytest.raises(InputError, match=r"the index of .* is damaged"):
            KnowledgePool.load(path)


def another_format(tensors, index):
    index["format"] = 2


def a_tensor_less(tensors, index):
    del tensors["blocks.0.conv.weight"]


def a_tensor_more(tensors, index):
    tensors["blocks.0.conv.bias"] = torch.ones(8)


def a_foreign_tensor(tensors, index):
    tensors["0.conv.weight"] = tensors.pop("blocks.0.conv.weight")


def a_block_less(tensors, index):
    index["blocks"].pop()


def two_blocks_swapped(tensors, index):
    index["blocks"][0], index["blocks"][1] = index["blocks"][1], index["blocks"][0]


def a_tensor_of_another_shape(tensors, index):
    tensors["blocks.0.conv.weight"] = torch.ones(8, 1, 5, 5)


def a_tensor_of_integers(tensors, index):
    tensors["blocks.0.conv.weight"] = torch.ones(8, 1, 3, 3, dtype=torch.int64)


def not_finite(tensors, index):
    tensors["blocks.0.conv.weight"][0] = float("inf")


def a_key_of_another_shape(tensors, index):
    index["blocks"][0]["key"]["shape"] = [1, 16, 1]


def a_key_twice(tensors, index):
    index["blocks"].append(index["blocks"][0])
    place = len(index["blocks"]) - 1
    for name, x in list(tensors.items()):
        if name.startswith("blocks.0."):
            tensors[f"blocks.{place}.{name.removeprefix('blocks.0.')}"] = x.clone()


def no_key(tensors, index):
    del index["blocks"][0]["key"]


def an_unknown_operation(tensors, index):
    index["blocks"][0]["spelled"]["primitives"][0]["op"] = "Convolutoin"


def sizes_that_contradict(tensors, index):
    index["blocks"][0]["spelled"]["primitives"][0]["in_channels"] = 3


def no_iterations(tensors, index):
    index["iterations"] = None


def more_hits_than_queries(tensors, index):
    index["tasks"][0]["hits"] = 100


@pytest.mark.parametrize(
    "damage, named",
    [
        (another_format, "format 2; this version reads 1"),
        (a_tensor_less, "'stem': there is no tensor conv.weight"),
        (a_tensor_more, "'stem': a tensor conv.bias that the block does not have"),
        (a_block_less, r"does not name the tensor blocks\.10\."),
        (a_foreign_tensor, "does not name the tensor 0.conv.weight"),
        (two_blocks_swapped, "block 'stage1_0': "),
        (a_tensor_of_another_shape, r"conv.weight has the shape \(8, 1, 5, 5\); .* \(8, 1, 3, 3\)"),
        (a_tensor_of_integers, "'stem': conv.weight has the dtype torch.int64"),
        (not_finite, "'stem': conv.weight holds numbers that are not finite"),
        (a_key_of_another_shape, r"key says the shape \(1, 16, 1\), .* \(1, 8, 1\)"),
        (a_key_twice, "'stem': its key is there twice"),
        (no_key, "damaged .KeyError: 'key'"),
        (an_unknown_operation, "did you mean 'Convolution'"),
        (sizes_that_contradict, "'conv' does not fit its inputs"),
        (no_iterations, "iterations=None of"),
        (more_hits_than_queries, "hits=100 must be at most queries="),
    ],
)
def test_what_does_not_belong_together_is_named(tmp_path, damage, named):
    path = tmp_path / "p"
    # One network, so that its stem is the first block.
    pool = pool_of(published.load("digits-mobile").fix([0] * 8))
    pool.initialise(build(published.load("digits-mobile").fix([1] * 8)), task="a")
    pool.save(path)
    tensors, index = read(path)
    damage(tensors, index)
    write(path, tensors, index)
    with pytest.raises(InputError, match=named) as caught:
        KnowledgePool.load(path)
    assert str(path) in str(caught.value)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path, pool = tmp_path / "p", filled()
    pool.save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    pool.initialise(build(alone(MBConv(8, 3))))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        pool.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_index_that_no_reader_would_take_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("nas_samplers.pool.LONGEST_HEADER", 1000)
    with pytest.raises(InputError, match=r"index of .* blocks is longer"):
        filled().save(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []
