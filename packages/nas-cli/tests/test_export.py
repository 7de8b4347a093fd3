import json
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from nas_cli import export
from nas_spaces import published
from nas_spaces.torch import Network, load_network, save_network
from nas_spaces.vary import uniform_bits


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def bits_in_colour(run):
    """Give a run a winner of 2 bits that takes images of three channels."""
    space = published.load("resnet20", resolution=16)
    generator = torch.Generator().manual_seed(0)
    network = Network(uniform_bits(space, [], 2), generator=generator)
    network(torch.randn((8, 3, 16, 16), generator=generator))
    save_network(network, run / "best")
    data = json.loads((run / "data.json").read_text())
    data |= {"mean": [0.1, 0.5, 0.9], "std": [0.2, 0.3, 0.4]}
    (run / "data.json").write_text(json.dumps(data))


def expected(run, pixels):
    data = json.loads((run / "data.json").read_text())
    mean, std = (np.array(data[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return load_network(run / "best")(torch.from_numpy((pixels - mean) / std)).numpy()


def pixels(number, shape=(1, 8, 8)):
    return np.random.default_rng(number).random((number, *shape), dtype=np.float32)


def run_onnx(path, images):
    return onnxruntime.InferenceSession(path).run(["logits"], {"images": images})[0]


def run_pt2(path, images):
    # Without a word of gradients.
    return torch.export.load(path).module()(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize(("form", "program"), [("onnx", run_onnx), ("pt2", run_pt2)])
@pytest.mark.parametrize(
    ("change", "shape"), [(None, (1, 8, 8)), (bits_in_colour, (3, 16, 16))], ids=["grey", "bits"]
)
def test_any_number_of_images(nas, run, form, program, change, shape):
    if change is not None:
        change(run)
    result = nas("export", run, "--format", form)
    assert result.exit_code == 0, result.output
    path = run / "best" / f"model.{form}"
    images = pixels(16, shape)
    logits = program(path, images)
    difference = np.abs(logits - expected(run, images)).max(axis=1)
    # Beside the middle between two levels, other arithmetic may round to the other one: of a few
    # images all logits then differ.
    assert (difference.max() if change is None else np.median(difference)) < 1e-4
    single = program(path, images[:1])
    assert single.shape == (1, 10)
    if change is None:
        np.testing.assert_allclose(single, logits[:1], atol=1e-4)
    colour = "grey" if change is None else "RGB"
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        f"program: {path} ({path.stat().st_size / 2**20:.2f} MiB)",
        f"takes:   {colour} images float32 [n, {', '.join(map(str, shape))}] from 0 to 1, any "
        "number n; normalises them",
        "gives:   logits float32 [n, 10] of 0, 1, 2, 3, ...",
    ]
    assert lines[3].startswith("checked: on 16 random images logits differ from the network's by ")
    assert [line.split()[0] for line in lines[4:]] == ([] if change is None else ["bits:"])
    # Whoever gets it learns nothing of this machine.
    assert b"nas_spaces/" not in path.read_bytes()


def test_classes_are_named_in_onnx(nas, run):
    assert nas("export", run, "--format", "onnx").exit_code == 0
    session = onnxruntime.InferenceSession(run / "best" / "model.onnx")
    classes = session.get_modelmeta().custom_metadata_map["classes"]
    assert json.loads(classes) == [str(digit) for digit in range(10)]


def test_a_program_needs_torch_alone(nas, run, tmp_path):
    # Of another search than the first, too.
    shutil.copytree(run / "best", run / "searches" / "small" / "best")
    result = nas("export", run, "--name", "small", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    path = run / "searches" / "small" / "best" / "model.pt2"
    assert (said["file"], said["bytes"]) == (str(path), path.stat().st_size)
    assert (said["image"], said["classes"][9], said["bits"]) == ([1, 8, 8], "9", False)
    assert said["same_class"] == said["checked"] == 16
    assert said["difference"] <= 1e-4 < said["largest"]
    np.save(tmp_path / "pixels.npy", pixels(3))
    code = """
import sys
for name in ("nas_spaces", "nas_samplers", "nas_search", "nas_hw", "nas_cli"):
    sys.modules[name] = None  # importing it fails
import numpy, torch
program, pixels, logits = sys.argv[1:]
files = {"classes.json": ""}
module = torch.export.load(program, extra_files=files).module()
numpy.save(logits, module(torch.from_numpy(numpy.load(pixels))).numpy())
print(files["classes.json"])
"""
    args = [path, tmp_path / "pixels.npy", tmp_path / "logits.npy"]
    done = subprocess.run(
        [sys.executable, "-c", code, *args], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == said["classes"]
    logits = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(logits, expected(run, pixels(3)), atol=1e-4)


def test_what_is_there_is_replaced_and_the_run_goes_on(nas, run):
    program = run / "best" / "model.pt2"
    program.write_bytes(b"of another training")
    assert nas("export", run).exit_code == 0
    assert program.stat().st_size > 1000
    result = nas("pipeline", "--resume", "--out", run)
    assert result.exit_code == 0
    assert f"export: nas export {run}\n" in result.stdout


def refused(nas, *args):
    result = nas("export", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.output.split())


def test_what_cannot_be_exported_is_refused(nas, run, trained, tmp_path, monkeypatch):
    assert "holds no run" in refused(nas, tmp_path)
    assert "made of letters" in refused(nas, run, "--name", "../best")
    said = refused(nas, trained, "--name", "small")
    assert f"`nas search {trained} --name small` and then `nas retrain` makes one" in said
    (run / "searches" / "small").mkdir()
    shutil.copy(run / "searches/main/result.json", run / "searches/small/result.json")
    assert f"`nas retrain {run} --name small` makes one" in refused(nas, run, "--name", "small")
    assert "is not one of 'pt2', 'onnx'" in refused(nas, run, "--format", "tflite")
    for module in ("onnxruntime", "onnxscript"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            said = refused(nas, run, "--format", "onnx")
        assert (
            f"needs {module}: pip install 'nas-cli[onnx]'; --format pt2 needs torch alone" in said
        )
    weights = run / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "model.safetensors" in refused(nas, run)
    assert not list(run.glob("best/*.onnx")) and not list(run.glob("best/*.pt2"))


@pytest.mark.parametrize("change", [None, bits_in_colour], ids=["grey", "bits"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_program_that_gives_no_numbers_is_refused(nas, run, monkeypatch, change, wrong):
    if change is not None:
        change(run)

    def broken(module, images, classes):
        return b"program", lambda images: module(images) + wrong

    monkeypatch.setitem(export.FORMATS, "pt2", broken)
    assert "differs from the network by" in refused(nas, run)
    assert not (run / "best" / "model.pt2").exists()


def test_other_numbers_are_refused_but_where_levels_explain_them(nas, run, monkeypatch):
    def near(module, images, classes):
        return b"program", lambda images: module(images) * 1.01

    monkeypatch.setitem(export.FORMATS, "pt2", near)
    assert "use another --format, or another version of torch" in refused(nas, run)
    bits_in_colour(run)
    result = nas("export", run)
    assert result.exit_code == 0
    assert "bits:    simulated; where a number is rounded to another level" in result.stdout
    (run / "best" / "model.pt2").unlink()

    def nothing(module, images, classes):
        return b"program", lambda images: 0 * module(images)

    monkeypatch.setitem(export.FORMATS, "pt2", nothing)
    assert "use another --format, or another version of torch" in refused(nas, run)
    assert not (run / "best" / "model.pt2").exists()
