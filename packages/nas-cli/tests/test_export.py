import json
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from nas_spaces.torch import load_network


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def expected(run, pixels):
    data = json.loads((run / "data.json").read_text())
    mean, std = (np.array(data[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return load_network(run / "best")(torch.from_numpy((pixels - mean) / std)).numpy()


def pixels(number):
    return np.random.default_rng(number).random((number, 1, 8, 8), dtype=np.float32)


def test_onnx_runs_by_itself(nas, run):
    result = nas("export", run, "--format", "onnx")
    assert result.exit_code == 0, result.output
    path = run / "best" / "model.onnx"
    session = onnxruntime.InferenceSession(path)
    for number in (1, 5):
        (logits,) = session.run(["logits"], {"images": pixels(number)})
        np.testing.assert_allclose(logits, expected(run, pixels(number)), atol=1e-4)
    classes = session.get_modelmeta().custom_metadata_map["classes"]
    assert json.loads(classes) == [str(digit) for digit in range(10)]
    assert result.stdout.splitlines()[:3] == [
        f"program: {path} ({path.stat().st_size / 2**20:.2f} MiB)",
        "takes:   images float32 [n, 1, 8, 8] from 0 to 1, any number n; normalises them",
        "gives:   logits float32 [n, 10] of 0, 1, 2, 3, ...",
    ]


def test_a_program_needs_torch_alone(nas, run, tmp_path):
    # Of another search than the first, too.
    shutil.copytree(run / "best", run / "searches" / "small" / "best")
    result = nas("export", run, "--name", "small", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    path = run / "searches" / "small" / "best" / "model.pt2"
    assert (said["file"], said["bytes"]) == (str(path), path.stat().st_size)
    assert (said["image"], said["classes"][9], said["checked"]) == ([1, 8, 8], "9", 16)
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
numpy.save(logits, module(torch.from_numpy(numpy.load(pixels))).detach().numpy())
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
    assert nas("pipeline", "--resume", "--out", run).exit_code == 0


def refused(nas, *args):
    result = nas("export", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.output.split())


def test_what_cannot_be_exported_is_refused(nas, run, trained, tmp_path, monkeypatch):
    assert "holds no run" in refused(nas, tmp_path)
    assert "made of letters" in refused(nas, run, "--name", "../best")
    said = refused(nas, trained, "--name", "small")
    assert f"`nas retrain {trained} --name small` trains it" in said
    assert "is not one of 'pt2', 'onnx'" in refused(nas, run, "--format", "tflite")
    for module in ("onnxruntime", "onnxscript"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            said = refused(nas, run, "--format", "onnx")
        assert "pip install 'nas-cli[onnx]'; --format pt2 needs torch alone" in said
    weights = run / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "model.safetensors" in refused(nas, run)
    assert not list(run.glob("best/*.onnx")) and not list(run.glob("best/*.pt2"))
