import errno
import json
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from nas_samplers import KnowledgePool
from nas_samplers.pool_file import HEADER
from nas_spaces import InputError, published
from nas_spaces.layers import MBConv, SqueezeExcite


@pytest.fixture
def filled(network_of):
    """A pool of three networks and two tasks."""
    space = published.load("digits-mobile")
    pool = KnowledgePool(least_similarity=0.8)
    for seed, row in enumerate(space.sample(3, rng=np.random.default_rng(0))):
        pool.add(network_of(space.fix(row), seed), iterations=10, task="äöü" if seed else "a")
    pool.initialise(network_of(space.fix([1] * 8)), task="a")
    pool.initialise(network_of(space.fix([2] * 8)))
    return pool


def read(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()[HEADER])


def write(path, tensors, index):
    text = index if isinstance(index, str) else json.dumps(index)
    path.write_bytes(safetensors.torch.save(tensors, metadata={HEADER: text}))


@pytest.mark.parametrize("empty", [False, True])
def test_what_is_loaded_is_what_was_saved(tmp_path, empty, network_of, same, filled):
    pool, one, other = KnowledgePool() if empty else filled, tmp_path / "one", tmp_path / "other"
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
    networks = network_of(space, 7), network_of(space, 7)
    assert pool.initialise(networks[0]) == loaded.initialise(networks[1])
    assert same(networks[0].state_dict(), networks[1].state_dict())
    # And goes on as the other would have.
    for each in (pool, loaded):
        each.add(network_of(space, 8), iterations=10, task="a")
        each.save(one if each is pool else other)
    assert one.read_bytes() == other.read_bytes()


def test_the_file_can_be_read_without_this_package(tmp_path, alone, pool_of):
    pool = pool_of(alone(MBConv(8, 5, se=SqueezeExcite(0.25))))
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
def test_a_truncated_file_is_refused(tmp_path, size, filled):
    filled.save(tmp_path / "p")
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
def test_what_does_not_belong_together_is_named(tmp_path, damage, named, pool_of, network_of):
    path = tmp_path / "p"
    # One network, so that its stem is the first block.
    pool = pool_of(published.load("digits-mobile").fix([0] * 8))
    pool.initialise(network_of(published.load("digits-mobile").fix([1] * 8)), task="a")
    pool.save(path)
    tensors, index = read(path)
    damage(tensors, index)
    write(path, tensors, index)
    with pytest.raises(InputError, match=named) as caught:
        KnowledgePool.load(path)
    assert str(path) in str(caught.value)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, alone, network_of, filled):
    path, pool = tmp_path / "p", filled
    pool.save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    pool.initialise(network_of(alone(MBConv(8, 3))))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        pool.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_index_that_no_reader_would_take_is_not_written(tmp_path, monkeypatch, filled):
    monkeypatch.setattr("nas_samplers.pool_file.LONGEST_HEADER", 1000)
    with pytest.raises(InputError, match=r"index of .* blocks is longer"):
        filled.save(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []
