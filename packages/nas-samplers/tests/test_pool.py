import numpy as np
import pytest
import torch
from attrs import evolve
from torch import nn

from nas_samplers import HitCount, KnowledgePool
from nas_samplers.pool_block import block_keys
from nas_spaces import InputError, published
from nas_spaces.layers import Conv, MBConv
from nas_spaces.torch import Supernet


def test_the_nearest_that_fits_is_taken(alone, pool_of, network_of):
    wide = MBConv(8, 3, expand=6)
    # Nearer is the narrow one, whose channels are too few; the next differs in two tokens.
    narrow, far = evolve(wide, expand=3), evolve(wide, kernel=5, activation="relu")
    pool = pool_of(alone(far), alone(narrow))
    new = network_of(alone(wide), 5)
    block = pool.initialise(new).blocks[0]
    assert block.miss is None
    assert block.similarity == 8 / 10
    assert block.key == str(block_keys(alone(far))["block0"])
    assert "8 -> 8, stride 1: " in block.key
    assert 'activation="relu"' in block.key


# What is near enough, and newest


def test_below_the_least_similarity_a_block_keeps_its_initialisation(
    alone, pool_of, network_of, snapshot, same
):
    wanted = MBConv(8, 3, activation="relu")
    two = evolve(wanted, kernel=5, activation="hswish")
    three = evolve(two, residual=False)
    assert pool_of(alone(two)).initialise(network_of(alone(wanted))).hits == 2
    new = network_of(alone(wanted), 5)
    before = snapshot(new.blocks["block0"])
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


def test_of_equally_similar_blocks_the_newest_is_taken(alone, pool_of, network_of):
    wanted = MBConv(8, 5)
    spaces = [alone(evolve(wanted, kernel=3)), alone(evolve(wanted, kernel=7))]
    for order in (spaces, spaces[::-1]):
        pool = pool_of(*order)
        block = pool.initialise(network_of(alone(wanted), 5)).blocks[0]
        assert block.similarity == 9 / 10
        assert block.key == str(block_keys(order[1])["block0"])
    # Stored again, the older one is the newest.
    pool.add(network_of(order[0], 7), iterations=10, task="task")
    block = pool.initialise(network_of(alone(wanted), 5)).blocks[0]
    assert block.key == str(block_keys(order[0])["block0"])


def test_a_block_of_the_same_key_takes_the_place_of_the_older(alone, network_of, same):
    space = alone(MBConv(8, 3), MBConv(16, 3, 2))
    pool = KnowledgePool()
    for seed, task in ((1, "a"), (2, "b")):
        pool.add(network_of(space, seed), iterations=10, task=task)
    assert len(pool) == 3
    new = network_of(space, 5)
    assert {block.task for block in pool.initialise(new).blocks} == {"b"}
    assert same(new.state_dict(), network_of(space, 2).state_dict())


def test_there_is_no_randomness(network_of, same):
    space = published.load("digits-mobile")
    rows = space.sample(6, rng=np.random.default_rng(0))
    networks = [network_of(space.fix(row), seed) for seed, row in enumerate(rows)]
    news = [network_of(space.fix(rows[5]), 9) for _ in range(2)]
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


def test_one_pool_holds_networks_of_equal_iterations(alone, pool_of, network_of):
    pool = pool_of(alone(MBConv(8, 3)), iterations=10)
    assert pool.iterations == 10
    with pytest.raises(InputError, match="for 20 iterations, those of this pool for 10;"):
        pool.add(network_of(alone(MBConv(8, 5))), iterations=20, task="a")
    with pytest.raises(InputError, match="the other pool was trained for 5 iterations"):
        pool.merge(pool_of(alone(MBConv(8, 5)), iterations=5))
    assert len(pool) == 2


def test_bad_input_stores_nothing(alone, network_of):
    pool = KnowledgePool()
    network = network_of(alone(MBConv(8, 3)))
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


def test_an_empty_pool_misses_everything(alone, network_of, snapshot, same):
    network = network_of(alone(MBConv(8, 3)))
    before = snapshot(network)
    inheritance = KnowledgePool().initialise(network)
    assert str(inheritance) == "0 of 2 blocks start from the pool"
    assert inheritance.blocks[0].miss == "the pool has no block 8 -> 8 of stride 1"
    assert inheritance.blocks[0].similarity is None
    assert same(network.state_dict(), before)


# Tasks and spaces


def test_heads_and_other_spaces(alone, pool_of, network_of):
    body = [MBConv(8, 3), MBConv(16, 3, 2)]
    pool = pool_of(alone(*body, classes=4), task="a")
    inheritance = pool.initialise(network_of(alone(*body, classes=7, resolution=9), 5))
    assert [block.miss for block in inheritance.blocks] == [
        None,
        None,
        "the pool has no block 16 -> 7 of stride 0",
    ]
    other = alone(MBConv(8, 3), Conv(8), MBConv(16, 3, 2), name="other")
    inheritance = pool.initialise(network_of(other, 5))
    assert [block.name for block in inheritance.blocks if block.miss] == ["block1"]
    assert {block.task for block in inheritance.blocks if not block.miss} == {"a"}


def test_blocks_that_fit_a_space(alone, pool_of):
    space = published.load("digits-mobile")
    pool = pool_of(space.fix([0] * 8), space.fix([2] * 8))
    assert pool.fitting(space) == len(pool)
    assert KnowledgePool().fitting(space) == 0
    # Of other channels there is nothing but the head of as many classes, if it has their channels.
    small = pool_of(alone(Conv(13), channels=9))
    assert small.fitting(space) == 0
    assert small.fitting(alone(Conv(16), Conv(13))) == 1


def test_hits_are_counted_a_task(alone, pool_of, network_of):
    space, other = alone(MBConv(8, 3)), alone(MBConv(8, 3), classes=7)
    pool = pool_of(space)
    pool.initialise(network_of(space), task="a")
    pool.initialise(network_of(other), task="b")
    pool.initialise(network_of(other), task="b")
    pool.initialise(network_of(space))
    assert pool.tasks == {"a": HitCount(2, 2), "b": HitCount(2, 4), None: HitCount(2, 2)}
    assert (pool.hits, pool.queries) == (6, 8)
    pool.merge(pool_of(space))
    more = pool_of(space)
    more.initialise(network_of(other), task="b")
    pool.merge(more)
    assert pool.tasks["b"] == HitCount(3, 6)


def test_merged_blocks_are_the_newer(alone, network_of):
    one, other = alone(MBConv(8, 3)), alone(MBConv(8, 7))
    pool, second = KnowledgePool(), KnowledgePool()
    pool.add(network_of(one, 1), iterations=10, task="a")
    second.add(network_of(other, 2), iterations=10, task="b")
    pool.merge(second)
    assert [(block.task, block.name) for block in pool.blocks] == [
        ("a", "block0"),
        ("b", "block0"),
        ("b", "head"),
    ]
    assert len(second) == 2
    assert pool.initialise(network_of(alone(MBConv(8, 5)), 5)).blocks[0].task == "b"
    empty = KnowledgePool()
    empty.merge(pool)
    assert empty.iterations == 10
    with pytest.raises(InputError, match="this pool itself"):
        pool.merge(pool)


def test_a_factorised_space(pool_of, network_of):
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
    inheritance = pool.initialise(network_of(space.fix(changed), 5))
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
