import json

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch

from nas_spaces import Block, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, MBConv, SplitMBConv
from nas_spaces.torch import Network, load_network, save_network
from nas_spaces.vary import uniform_bits, with_bits, with_scales


def network(space, arch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    built = Network(space.fix(arch), generator=generator)
    # Away from where it began, statistics of norms included.
    for _ in range(2):
        built(torch.randn((4, *space.input_shape), generator=generator) + 0.5)
    return built.eval()


@pytest.fixture
def small():
    space = published.load("digits-mobile")
    return network(space, space.sample(1, rng=np.random.default_rng(0))[0])


def test_saved_and_loaded_it_gives_the_same_bits(space, archs, images, tmp_path):
    built = network(space, archs[2])
    save_network(built, tmp_path)
    loaded = load_network(tmp_path)
    assert not loaded.training
    assert loaded.space == space.fix(archs[2])
    with torch.no_grad():
        assert torch.equal(loaded(images), built(images))
    expected = built.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(x, expected[name]) for name, x in loaded.state_dict().items())


# An architecture.json of version 0.1, in one line.
OLD = (
    '{"format": 1, "name": "old", "input_shape": [1, 8, 8], "choices": [], "blocks": [{"name": '
    '"stem", "reads": [], "inputs": null, "shares": [], "layers": [{"layer": "Conv", "out": 8, '
    '"kernel": 3, "stride": 1, "groups": 1, "activation": "relu6"}]}, {"name": "body", "reads": '
    '[], "inputs": null, "shares": [], "layers": [{"layer": "MBConv", "out": 8, "kernel": 5, '
    '"stride": 1, "expand": 6, "activation": "relu6", "residual": true}]}, {"name": "head", '
    '"reads": [], "inputs": ["stem", "body"], "shares": [], "layers": [{"layer": "Classifier", '
    '"classes": 10, "bias": true, "dropout": 0.0}]}], "alive": null}'
)


@torch.no_grad()
def test_a_folder_of_version_0_1_is_read(tmp_path):
    blocks = [
        Block("stem", [Conv(8, activation="relu6")]),
        Block("body", [MBConv(8, 5)]),
        Block("head", [Classifier(10)], inputs=("stem", "body")),
    ]
    built = network(SearchSpace("old", (1, 8, 8), (), blocks), [])
    # Version 0.1 called the tensors as this version does.
    expected = {"blocks.stem.conv.weight", "blocks.body.project_norm.running_var"}
    assert expected <= built.state_dict().keys()
    safetensors.torch.save_file(built.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "architecture.json").write_text(OLD)
    loaded = load_network(tmp_path)
    images = torch.randn((2, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded(images), built(images))


def test_the_same_network_gives_the_same_bytes(small, tmp_path):
    save_network(small, tmp_path / "a" / "deep")
    small.to(memory_format=torch.channels_last)
    save_network(small, tmp_path / "b")
    for name in ("architecture.json", "model.safetensors"):
        first = (tmp_path / "a" / "deep" / name).read_bytes()
        assert first == (tmp_path / "b" / name).read_bytes()
    save_network(small, tmp_path / "b")  # over itself
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "architecture.json",
        "model.safetensors",
    ]


def test_weights_need_nothing_of_ours_to_be_read(small, tmp_path):
    save_network(small, tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert tensors.keys() == small.state_dict().keys()
    assert "blocks.stem.conv.weight" in tensors


def float_blocks():
    return sampled(published.load("digits-mobile"))


def bits_and_channels():
    space = with_scales(with_bits(published.load("digits-resnet"), [(1, 2), (2, 4)]), [0.5, 1.0])
    return sampled(space)


def sampled(space):
    return space.fix(space.sample(1, rng=np.random.default_rng(1))[0])


def edges_of_zeros():
    space = published.load("nas-bench-201", resolution=8)
    return space.fix([3, 0, 2, 1, 0, 4])


def split_attention():
    blocks = [
        Block("stem", [Conv(8, 3)]),
        Block("body", [SplitMBConv(8, 3, expand=2, splits=2)]),
        Block("head", [Classifier(10)]),
    ]
    return SearchSpace("splits", (1, 8, 8), (), blocks)


def shuffle_units():
    return sampled(published.load("spos-shufflenet", resolution=32, classes=10))


FLOAT_KINDS = (float_blocks, edges_of_zeros, split_attention, shuffle_units)
KINDS = (*FLOAT_KINDS, bits_and_channels)


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_as_an_exported_program(kind, tmp_path):
    built = network(kind(), [])
    images = torch.randn(3, *built.space.input_shape, generator=torch.Generator().manual_seed(1))
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(built, (images,), dynamic_shapes=(batch,))
    torch.export.save(program, tmp_path / "network.pt2")
    loaded = torch.export.load(tmp_path / "network.pt2").module()
    more = torch.cat([images, -images])
    with torch.no_grad():
        assert torch.equal(loaded(images), built(images))
        assert torch.equal(loaded(more), built(more))
    # It can be trained on, in mode and norms of evaluation.
    gradients = []
    for one in (built, loaded):
        one(images).square().sum().backward()
        gradients.append({name: x.grad for name, x in one.named_parameters()})
    ours, exported = gradients
    assert ours.keys() == exported.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(exported[name], gradient)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_as_a_traced_program(kind, gradients, tmp_path):
    built = network(kind(), [])
    images = torch.randn(3, *built.space.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.set_grad_enabled(gradients):
        torch.jit.save(torch.jit.trace(built, images), tmp_path / "network.pt")
    loaded = torch.jit.load(tmp_path / "network.pt")
    more = torch.cat([images, -images])
    assert torch.equal(loaded(images), built(images))
    assert torch.equal(loaded(more), built(more))


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_in_onnx(kind, tmp_path):
    built = network(kind(), [])
    images = torch.randn(3, *built.space.input_shape, generator=torch.Generator().manual_seed(1))
    batch = {0: torch.export.Dim("batch")}
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        built, (images,), path, dynamo=True, dynamic_shapes=(batch,), external_data=False
    )
    session = onnxruntime.InferenceSession(path)
    (entry,) = session.get_inputs()
    for x in (images, torch.cat([images, -images])):
        logits, expected = session.run(None, {entry.name: x.numpy()})[0], built(x).detach().numpy()
        difference = np.abs(logits - expected) / expected.std()
        # Beside the middle between two levels, other arithmetic may round to the other one.
        assert (difference.max() if kind in FLOAT_KINDS else difference.mean()) < 1e-3


@pytest.mark.parametrize("kind", [float_blocks, bits_and_channels])
def test_its_parameters_can_be_replaced_by_tensors_of_another(kind):
    space = kind()
    ours, other = network(space, [], seed=0), network(space, [], seed=1)
    images = torch.randn(3, *ours.space.input_shape, generator=torch.Generator().manual_seed(1))
    call = torch.func.functional_call(ours, other.state_dict(), (images,))
    assert torch.equal(call, other(images))
    assert not torch.equal(call, ours(images))


@pytest.mark.parametrize("name", ["architecture.json", "model.safetensors"])
def test_a_missing_file_is_named(small, tmp_path, name):
    save_network(small, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=name):
        load_network(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    space = uniform_bits(published.load("digits-resnet"), [0] * 6, 2)
    network = Network(space, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.blocks["stage2_0"].quantise1.alpha_2.fill_(value)
        network.blocks["head"].linear.bias[3] = value
    save_network(network, tmp_path)
    named = r"safetensors: 2 tensors \(blocks.stage2_0.quantise1.alpha_2 first\) are not finite"
    with pytest.raises(InputError, match=named):
        load_network(tmp_path)


@pytest.mark.parametrize("name", ["architecture.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(small, tmp_path, name, share):
    save_network(small, tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError):
        load_network(tmp_path)


@pytest.mark.parametrize("name", ["architecture.json", "model.safetensors"])
def test_a_foreign_file_is_refused(small, tmp_path, name):
    save_network(small, tmp_path)
    (tmp_path / name).write_bytes(b"\x80\x04\xff\xfe not ours" * 9)
    with pytest.raises(InputError):
        load_network(tmp_path)
    (tmp_path / name).write_text(json.dumps({"name": "x"}))
    with pytest.raises(InputError):
        load_network(tmp_path)


def test_files_of_two_networks_do_not_belong_together(small, tmp_path):
    space = published.load("digits-mobile")
    save_network(small, tmp_path / "a")
    save_network(network(space, [0] * 8), tmp_path / "b")
    weights = (tmp_path / "b" / "model.safetensors").read_bytes()
    (tmp_path / "a" / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="does not fit"):
        load_network(tmp_path / "a")


def test_a_space_with_choices_is_no_network():
    with pytest.raises(InputError, match="8 choices"):
        Network(published.load("digits-mobile"), generator=torch.Generator())


def test_branches_are_summed(cell):
    built = Network(cell.fix([0, 1]), generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn((2, *cell.input_shape), generator=torch.Generator().manual_seed(1))
    stem = built.blocks["stem"](x)
    total = built.blocks["left"](stem) + built.blocks["right"](stem)
    expected = built.blocks["head"](built.blocks["sum"](total))
    assert torch.equal(built(x), expected)
    assert built(x).shape == (2, 5)


def test_images_are_not_written_to(space, archs, images):
    before = images.clone()
    for arch in archs:
        built = Network(space.fix(arch), generator=torch.Generator().manual_seed(0))
        built(images)
        built.eval()(images)
    assert torch.equal(images, before)
