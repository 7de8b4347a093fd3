import json
import re

import numpy as np
import pytest
import torch
from attrs import evolve, frozen

from nas_samplers import Fixed, KnowledgePool, Optimiser, Phase, run_network, train
from nas_samplers.pool_block import BlockKey, block_keys, block_shapes
from nas_spaces import Block, InputError, SearchSpace, published
from nas_spaces.layers import LAYERS, Conv, Identity, MBConv, SplitMBConv, SqueezeExcite
from nas_spaces.primitives import INPUT, GraphBuilder
from nas_spaces.torch import Network, load_network, save_network

SPACES = {
    "digits-mobile": {},
    "mnasnet": {"resolution": 32, "classes": 10, "width": 0.25},
    "nas-bench-201": {},
    "nas-bench-macro": {"resolution": 16},
    "resnet18-quant": {"resolution": 32, "classes": 10},
    "spos-shufflenet": {"resolution": 64, "classes": 10},
}


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


def test_each_field_of_a_record_is_one_token(alone):
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


def test_shapes_are_channels_and_stride_at_any_resolution(alone):
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


def test_a_layer_behind_an_identity_stays_at_its_place(alone):
    layer = MBConv(8, 3)
    behind = block_keys(alone(layer, Identity(), layer))
    assert list(behind) == ["block0", "block2", "head"]
    assert behind["block2"] == block_keys(alone(layer, layer, layer))["block2"]
    assert behind["block2"] != behind["block0"]


def test_a_record_that_is_known_by_its_primitives_only_has_the_same_key(
    tmp_path, alone, network_of, same
):
    network = network_of(alone(MBConv(8, 3, se=SqueezeExcite(0.25)), MBConv(16, 5, 2, expand=2.5)))
    save_network(network, tmp_path)
    without = {name: cls for name, cls in LAYERS.items() if name != "MBConv"}
    spelled = load_network(tmp_path, layers=without)
    assert spelled.space != network.space
    assert block_keys(spelled.space) == block_keys(network.space)
    pool = KnowledgePool()
    pool.add(spelled, iterations=1, task="a")
    fresh = network_of(network.space, 5)
    assert pool.initialise(fresh).hits == 3
    assert same(fresh.state_dict(), network.state_dict())


class Plain:
    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("conv", INPUT, shape[0], kernel=1)
        return build.graph


def test_a_layer_without_fields_is_refused(alone, network_of):
    network = network_of(alone(Plain()))
    pool = KnowledgePool()
    with pytest.raises(InputError, match="Plain is no attrs record"):
        pool.initialise(network)
    assert pool.queries == 0


def test_shapes_are_those_of_all_networks_of_a_space(alone):
    assert block_shapes(alone(Conv(12), Identity())) == {(8, 12, 1), (12, 4, 0)}
    # Widths change what is behind them.
    wide = published.load("mnasnet", **SPACES["mnasnet"])
    known = block_shapes(wide)
    for row in wide.sample(10, rng=np.random.default_rng(0)):
        assert {key.shape for key in block_keys(wide.fix(row)).values()} <= known


# Copying


@pytest.mark.parametrize("name", SPACES)
def test_all_hits_give_the_stored_network_bit_for_bit(network_of, same, batch, name):
    space = published.load(name, **SPACES[name])
    arch = space.sample(1, rng=np.random.default_rng(3))[0]
    trained, new = network_of(space.fix(arch), 1), network_of(space.fix(arch), 2)
    pool = KnowledgePool(least_similarity=1)
    pool.add(trained, iterations=10, task="a")
    x, _ = batch(space, 4)
    assert not torch.equal(trained(x), new(x))
    inheritance = pool.initialise(new)
    assert inheritance.hits == inheritance.queries == len(inheritance.blocks) == len(pool)
    assert {block.similarity for block in inheritance.blocks} == {1.0}
    assert same(new.state_dict(), trained.state_dict())
    assert torch.equal(new(x), trained(x))


def test_a_trained_network_is_what_the_pool_gives_back(space, data, snapshot, same):
    fixed = space.fix([0, 1, 1])
    trained = Network(fixed, generator=torch.Generator().manual_seed(0))
    phase = Phase(
        "alone", Fixed(()), steps=3, optimiser=Optimiser(lr=0.1), batch_size=16, forward=run_network
    )
    train(trained, [phase], data.train, seed=0, device=torch.device("cpu"))
    pool = KnowledgePool()
    pool.add(trained, iterations=3, task="synthetic")
    kept = snapshot(trained)
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


def test_equal_layers_of_a_stage_keep_their_own_weights(alone, network_of, same):
    space = alone(*[MBConv(8, 3)] * 3)
    trained, new = network_of(space, 1), network_of(space, 2)
    pool = KnowledgePool()
    pool.add(trained, iterations=1, task="a")
    assert len(pool) == 4
    pool.initialise(new)
    weights = [new.blocks[f"block{i}"].expand.weight for i in range(3)]
    assert not torch.equal(weights[0], weights[1])
    assert same(new.state_dict(), trained.state_dict())


@pytest.mark.parametrize("stored, wanted", [(3, 5), (5, 3), (3, 7)])
def test_kernels_are_cropped_to_their_centre_or_get_zeros(alone, network_of, batch, stored, wanted):
    trained, new = (network_of(alone(MBConv(8, k)), seed) for seed, k in ((1, stored), (2, wanted)))
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
        x, _ = batch(trained.space, 4)
        assert torch.allclose(new(x), trained(x), atol=1e-5)


def test_the_first_hidden_channels_are_taken(alone, network_of):
    trained, new = (network_of(alone(MBConv(8, 3, expand=e)), s) for s, e in ((1, 6), (2, 3)))
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


SE = SqueezeExcite(0.25)
MISFITS = [
    (MBConv(8, 3, expand=3), MBConv(8, 3, expand=6), r"expand.weight of shape \(48,"),
    (MBConv(8, 3), MBConv(8, 3, se=SE), "as se_reduce the nearest has nothing"),
    (MBConv(8, 3, se=SE), MBConv(8, 3), "as se_reduce .*, this block nothing"),
    (MBConv(8, 3, expand=6), MBConv(8, 3, expand=1), "as expand .* nothing"),
    (Conv(8, bias=True), Conv(8), "as conv .*Convolution with bias, this block"),
    (Conv(8, groups=None), Conv(8), "conv.weight .* in 8 groups"),
    (Conv(8, groups=2), Conv(8, groups=4), "conv.weight .* in 2 groups"),
    (
        SplitMBConv(8, 3, splits=4),
        SplitMBConv(8, 3, splits=2),
        "depthwise.weight .* in 48 groups",
    ),
]


@pytest.fixture
def check_left_alone(pool_of, network_of, snapshot, same):
    """A function that checks that the first block takes nothing from its neighbour, and why."""

    def check(stored, wanted, why):
        pool = pool_of(stored, least_similarity=0)
        network = network_of(wanted, 5)
        before = snapshot(network.blocks[wanted.blocks[0].name])
        block = pool.initialise(network).blocks[0]
        assert block.miss is not None
        assert block.task is block.key is None
        assert block.similarity > 0.5
        assert same(network.blocks[wanted.blocks[0].name].state_dict(), before)
        assert re.search(why, block.miss)

    return check


@pytest.mark.parametrize("stored, wanted, why", MISFITS)
def test_what_does_not_fit_as_a_whole_is_left_alone(check_left_alone, alone, stored, wanted, why):
    check_left_alone(alone(stored), alone(wanted), why)


def test_heads_that_read_all_positions_do_not_fit_at_another_resolution(check_left_alone):
    stored, wanted = (
        SearchSpace("flat", (8, resolution, resolution), (), [Block("head", [Flat(4)])])
        for resolution in (6, 4)
    )
    check_left_alone(stored, wanted, "as linear .* of 288 positions and channels, .* of 128")


def test_quantisers_of_other_widths_are_misses(pool_of, network_of):
    space = published.load("resnet18-quant", resolution=32, classes=10)
    arch = np.zeros(space.num_choices, dtype=np.int64)
    pool = pool_of(space.fix(arch), least_similarity=0)
    assert pool.initialise(network_of(space.fix(arch), 5)).hits == len(pool)
    other = [len(choice.options) - 1 for choice in space.choices]
    missed = {
        b.name: b.miss for b in pool.initialise(network_of(space.fix(other), 5)).blocks if b.miss
    }
    assert any("alpha_" in why and "no such tensor" in why for why in missed.values())
