import errno
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from nas_samplers.checkpoint import (
    Checkpoint,
    load_optimiser,
    optimiser_tensors,
    read_checkpoint,
    write_checkpoint,
)
from nas_samplers.optimiser import Optimiser
from nas_spaces import InputError, published
from nas_spaces.torch import Supernet


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def some():
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "network.b": torch.randn(3, 4, 5, 5, generator=generator).to(
            memory_format=torch.channels_last
        ),
        "network.a": torch.randn(2, generator=generator),
        "optimiser.a|step": torch.tensor(3.0),
        "network.count": torch.tensor(7),
    }
    rng = np.random.Generator(np.random.MT19937(5))
    state = {
        "loss": 0.1 + 0.2,
        "rng": rng.bit_generator.state,
        "alpha": np.linspace(0, 1, 6).reshape(2, 3),
        "names": ["ä", None, True],
        "count": np.int64(3),
    }
    return Checkpoint(tensors, state)


def test_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "c"
    write_checkpoint(path, some())
    read, wanted = read_checkpoint(path), some()
    assert read.tensors.keys() == wanted.tensors.keys()
    for name, x in read.tensors.items():
        assert torch.equal(x, wanted.tensors[name])
        assert x.dtype == wanted.tensors[name].dtype
    assert read.state["loss"] == wanted.state["loss"]
    assert read.state["names"] == ["ä", None, True]
    assert read.state["count"] == 3
    np.testing.assert_array_equal(read.state["alpha"], wanted.state["alpha"])
    one, other = np.random.Generator(np.random.MT19937()), np.random.default_rng(0)
    one.bit_generator.state = read.state["rng"]
    other = np.random.Generator(np.random.MT19937(5))
    np.testing.assert_array_equal(one.random(5), other.random(5))


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, some())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_state_of_something_else_is_refused_before_anything_is_written(tmp_path):
    write_checkpoint(tmp_path / "c", some())
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(TypeError, match=r"state\['seen'\] is a set"):
        write_checkpoint(tmp_path / "c", Checkpoint({}, {"seen": {1, 2}}))
    assert (tmp_path / "c").read_bytes() == before


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1, -100])
def test_a_truncated_file_is_refused(tmp_path, size):
    path = tmp_path / "c"
    write_checkpoint(path, some())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="remove it"):
        read_checkpoint(path)


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"state": "[]"}, {"state": "{"}])
def test_a_foreign_file_is_refused(tmp_path, header):
    path = tmp_path / "c"
    path.write_bytes(safetensors.torch.save({"x": torch.ones(2)}, metadata=header))
    with pytest.raises(InputError, match="checkpoint"):
        read_checkpoint(path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path, trap = tmp_path / "c", tmp_path / "trap"
    path.write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(InputError):
        read_checkpoint(path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())
    assert trap.exists()  # it would have gone off


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c"
    write_checkpoint(path, some())
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changed = some()
    changed.state["loss"] = 0.0
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(path, changed)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_optimiser_state_of_the_touched_parameters(kind):
    space = published.load("digits-mobile")
    networks = [
        Supernet(space, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
        for layout in (torch.contiguous_format, torch.channels_last)
    ]
    optimisers = [Optimiser(kind, lr=0.1).build(network) for network in networks]
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def step(number, arch):
        networks[number](images, arch).square().sum().backward()
        optimisers[number].step()
        optimisers[number].zero_grad(set_to_none=True)

    arch = [1] * 8
    step(0, arch)
    tensors = optimiser_tensors(networks[0], optimisers[0])
    touched = sum(p.numel() for p in networks[0].inherit(arch).parameters())
    moments = [x for name, x in tensors.items() if x.ndim]
    assert sum(x.numel() for x in moments) == touched * (1 if kind == "sgd" else 2)

    networks[1].load_state_dict(networks[0].state_dict())
    load_optimiser(networks[1], optimisers[1], tensors)
    again = optimiser_tensors(networks[1], optimisers[1])
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], x) for name, x in tensors.items())
    for name, x in again.items():
        parameter = dict(networks[1].named_parameters())[name.split("|")[0]]
        assert x.ndim == 0 or x.stride() == parameter.stride()
    networks[1].to(memory_format=torch.contiguous_format)
    for number in (0, 1):
        step(number, [1, 2] * 4)
    a, b = (network.state_dict() for network in networks)
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
