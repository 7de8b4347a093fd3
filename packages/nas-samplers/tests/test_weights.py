import os
import pickle

import pytest
import safetensors.torch
import torch
import torchvision

from nas_samplers import load_weights, read_weights
from nas_samplers.checkpoint import Checkpoint, write_checkpoint
from nas_spaces import InputError, published
from nas_spaces.torch import Network, Supernet
from nas_spaces.vary import uniform_bits, with_bits, with_scales


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def fresh(seed=0, classes=10, arch=(1, 2, 3, 1, 4, 0, 1, 2)):
    space = published.load("digits-mobile", classes=classes)
    return Network(space.fix(arch), generator=torch.Generator().manual_seed(seed))


def write_plain(module, folder):
    path = folder / "w.safetensors"
    safetensors.torch.save_file(module.state_dict(), path)
    return path


def write_torch(module, folder):
    path = folder / "w.pt"
    torch.save(module.state_dict(), path)
    return path


def write_old_torch(module, folder):
    path = folder / "w.pth"
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def write_ours(module, folder):
    path = folder / "checkpoint.safetensors"
    tensors = {f"network.{name}": x for name, x in module.state_dict().items()}
    tensors["optimiser.blocks.stem.0.conv.weight|momentum_buffer"] = torch.zeros(3)
    write_checkpoint(path, Checkpoint(tensors, {"step": 3}))
    return path


WRITERS = [write_plain, write_torch, write_old_torch, write_ours]


@pytest.mark.parametrize("write", WRITERS)
def test_weights_from_a_file(tmp_path, write):
    for build in (fresh, supernet):
        given, network = build(1), build(2)
        assert load_weights(network, write(given, tmp_path)).kept == ()
        wanted = given.state_dict()
        assert all(torch.equal(x, wanted[name]) for name, x in network.state_dict().items())
        read = read_weights(write(given, tmp_path))
        assert read.keys() >= wanted.keys()  # a checkpoint holds its optimiser too
        assert all(torch.equal(read[name], x) for name, x in wanted.items())


def supernet(seed, classes=10, **options):
    space = published.load("digits-mobile", classes=classes)
    return Supernet(space, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_that_the_network_lacks_are_named_and_nothing_loaded(tmp_path, write):
    network = supernet(2, affine=False)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    lacking = r"the network does not have; the first is blocks\.\w+\.0\.\w+_norm\.bias of shape"
    with pytest.raises(InputError, match=lacking):
        load_weights(network, write(supernet(1), tmp_path))
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_a_classifier_may_have_other_tensors(tmp_path):
    network = fresh(2)
    tensors = {**fresh(1).state_dict(), "blocks.head.hidden.weight": torch.ones(3)}
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors")
    assert load_weights(network, tmp_path / "w.safetensors").kept == ()


@pytest.mark.parametrize("write", WRITERS)
def test_a_classifier_of_other_classes_keeps_its_own(tmp_path, write):
    given, network = fresh(1, classes=7), fresh(2)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    head = ("blocks.head.linear.bias", "blocks.head.linear.weight")
    assert load_weights(network, write(given, tmp_path)).kept == head
    for name, x in network.state_dict().items():
        assert torch.equal(x, before[name] if name in head else given.state_dict()[name])
    head = ("blocks.head.0.linear.bias", "blocks.head.0.linear.weight")
    assert load_weights(supernet(2), write(supernet(1, classes=7), tmp_path)).kept == head


@pytest.mark.parametrize("write", WRITERS)
def test_a_mismatch_is_named_and_nothing_loaded(tmp_path, write):
    path = write(fresh(1, arch=(0,) * 8), tmp_path)
    network = fresh(2)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with pytest.raises(
        InputError, match=r"blocks\.stage1_0\.\w+\.weight of shape \(.*the file has"
    ):
        load_weights(network, path)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_files_that_are_no_weights(tmp_path):
    network = fresh()
    with pytest.raises(InputError, match="no file"):
        load_weights(network, tmp_path / "none.pt")
    with pytest.raises(InputError, match="no file"):
        load_weights(network, tmp_path)
    for suffix in ("pt", "safetensors"):
        path = tmp_path / f"w.{suffix}"
        broken = (b"", b"not weights at all", b"\x80\x02" * 40, b"PK\x03\x04" + b"x" * 60)
        # Torch ends in a KeyError at the one, in an IndexError at the other.
        for content in (*broken, b"hello\n", b"e = 1\n"):
            path.write_bytes(content)
            kind = "torch" if suffix == "pt" else "safetensors"
            with pytest.raises(InputError, match=f"cannot be read.* truncated, or no {kind} file"):
                load_weights(network, path)
    for write in (write_plain, write_torch):
        path = write(network, tmp_path)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(InputError, match="cannot be read"):
            load_weights(network, path)


@pytest.mark.parametrize(
    "content",
    [
        [torch.ones(2)],
        torch.ones(3),
        {"state_dict": {"blocks.stem.conv.weight": torch.ones(2)}, "epoch": 3},
        {0: torch.ones(2)},
        7,
    ],
)
def test_torch_files_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InputError, match="tensors by name"):
        load_weights(fresh(), tmp_path / "w.pt")


def test_code_in_a_torch_file_is_not_run(tmp_path):
    trap = tmp_path / "trap"
    for name, options in (("a.pt", {}), ("b.pth", {"_use_new_zipfile_serialization": False})):
        torch.save({"x": Bomb(trap)}, tmp_path / name, **options)
        with pytest.raises(InputError, match="cannot be read"):
            load_weights(fresh(), tmp_path / name)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(fresh(), tmp_path / "c.pt")
    assert not trap.exists()


def quantised(seed, network="resnet20", scales=(0.5, 1.0, 1.5)):
    space = with_scales(with_bits(published.load(network, classes=10, resolution=32)), scales)
    return Supernet(space, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("write", WRITERS)
def test_a_supernet_starts_from_one_network(tmp_path, write):
    generator = torch.Generator().manual_seed(1)
    given = Network(published.load("resnet20"), generator=generator)
    supernet = quantised(2)
    kept = load_weights(supernet, write(given, tmp_path)).kept
    assert len(kept) == 9 * 2 * 2  # two quantisers a block, of 2 and of 4 bits
    assert all(".alpha_" in name for name in kept)
    weight = supernet.state_dict()["blocks.stage1_0.0.conv1.weight"]
    assert weight.shape[0] == 24
    assert torch.equal(weight[:16], given.state_dict()["blocks.stage1_0.conv1.weight"])


def test_a_network_of_other_blocks_is_named_and_nothing_loaded(tmp_path):
    supernet = quantised(2)
    before = {name: x.clone() for name, x in supernet.state_dict().items()}
    with pytest.raises(InputError, match=r"w.safetensors: \d+ tensors of the network corr"):
        load_weights(supernet, write_plain(fresh(1), tmp_path))
    assert all(torch.equal(x, before[name]) for name, x in supernet.state_dict().items())


def test_what_a_supernet_can_start_from_is_said(tmp_path):
    generator = torch.Generator().manual_seed(1)
    given = Supernet(published.load("resnet20-blocks"), generator=generator)
    message = r"does not fit .*; a supernet starts from one of the same space, or from one network"
    with pytest.raises(InputError, match=message):
        load_weights(quantised(2), write_plain(given, tmp_path))


def test_a_quantised_network_starts_from_one_in_full_precision(tmp_path):
    given = Network(published.load("resnet20"), generator=torch.Generator().manual_seed(1))
    space = with_bits(published.load("resnet20"))
    network = Network(space.fix([3] * 9), generator=torch.Generator().manual_seed(2))
    kept = load_weights(network, write_plain(given, tmp_path)).kept
    assert len(kept) == 18
    assert all(name.endswith(".alpha_4") for name in kept)
    wanted = given.state_dict()
    for name, x in network.state_dict().items():
        if name not in kept:
            assert torch.equal(x, wanted[name])


@pytest.mark.parametrize("depth", [18, 34])
def test_weights_of_torchvision(tmp_path, depth):
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    path = tmp_path / "resnet.pth"
    torch.save(theirs.state_dict(), path)
    network = Network(published.load(f"resnet{depth}"), generator=torch.Generator()).eval()
    assert load_weights(network, path).kept == ()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), theirs(images))
    supernet = quantised(2, f"resnet{depth}")
    # Of 10 classes.
    head = ["blocks.head.0.linear.bias", "blocks.head.0.linear.weight"]
    kept = [name for name in load_weights(supernet, path).kept if ".alpha_" not in name]
    assert sorted(kept) == head
    weight = supernet.state_dict()["blocks.stage4_1.0.conv2.weight"]
    assert torch.equal(weight[:, :512], theirs.layer4[1].conv2.weight)


@pytest.mark.parametrize("name", ["resnet50", "wide_resnet50_2", "mobilenet_v2"])
def test_other_networks_of_torchvision_are_refused(tmp_path, name):
    path = tmp_path / "other.pth"
    torch.save(getattr(torchvision.models, name)(weights=None).state_dict(), path)
    for network in (quantised(2, "resnet34"), quantised(2, "resnet18")):
        with pytest.raises(InputError, match=r"other.pth (does not fit|holds \d+ tensors)"):
            load_weights(network, path)


@pytest.mark.parametrize("write", WRITERS)
def test_levels_of_other_bits_are_left(tmp_path, write):
    plain = published.load("resnet20")
    given = Network(uniform_bits(plain, [], 4), generator=torch.Generator().manual_seed(1))
    levels = tuple(sorted(name for name in given.state_dict() if ".alpha_4" in name))
    path = write(given, tmp_path)
    other = Network(uniform_bits(plain, [], 2), generator=torch.Generator().manual_seed(2))
    space = with_bits(plain, ((2, 2), (3, 3)))
    supernet = Supernet(space, generator=torch.Generator().manual_seed(2))
    for network in (other, supernet):
        found = load_weights(network, path)
        assert found.left == levels
        assert len(levels) == 18
        assert all(".alpha_" in name for name in found.kept)
        assert len(found.kept) == (18 if network is other else 36)
        assert found.copied == len(network.state_dict()) - len(found.kept)
    for name, x in other.state_dict().items():
        assert ".alpha_" in name or torch.equal(x, given.state_dict()[name])


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_named_and_nothing_loaded(tmp_path, write, value):
    plain = uniform_bits(published.load("digits-resnet"), [0] * 6, 2)
    given, network = (Network(plain, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    with torch.no_grad():
        given.blocks["stage2_0"].quantise1.alpha_2.fill_(value)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    path = write(given, tmp_path)
    named = r"1 tensors \(blocks.stage2_0.quantise1.alpha_2 first\) are not finite; give those of"
    with pytest.raises(InputError, match=named):
        load_weights(network, path)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.to_sparse(),
        lambda x: x.to(torch.complex64),
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        lambda x: x.tolist(),
    ],
)
def test_what_is_no_plain_tensor_is_refused(tmp_path, change):
    network = fresh()
    tensors = network.state_dict()
    tensors["blocks.stem.conv.weight"] = change(tensors["blocks.stem.conv.weight"])
    torch.save(tensors, tmp_path / "w.pt")
    with pytest.raises(InputError, match="else than tensors by name, dense and of real numbers"):
        load_weights(network, tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda level: -level, r"1 clipping levels \(blocks.stage2_0.quantise1.alpha_2 first"),
        (torch.zeros_like, "are not above 0; leave them out to start new ones"),
        (lambda level: level.repeat(2), "stage2_0.quantise1.alpha_2 of shape"),
    ],
)
def test_levels_that_cannot_be_are_refused_by_networks_and_supernets(tmp_path, change, reason):
    plain = published.load("digits-resnet")
    network = Network(uniform_bits(plain, [0] * 6, 2), generator=torch.Generator().manual_seed(1))
    supernet = Supernet(with_bits(plain, ((2, 2), (3, 3))), generator=torch.Generator())
    tensors = network.state_dict()
    name = "blocks.stage2_0.quantise1.alpha_2"
    torch.save({**tensors, name: change(tensors[name])}, tmp_path / "w.pt")
    for one in (network, supernet):
        before = {key: x.clone() for key, x in one.state_dict().items()}
        with pytest.raises(InputError, match=reason):
            load_weights(one, tmp_path / "w.pt")
        assert all(torch.equal(x, before[key]) for key, x in one.state_dict().items())
