import json
import shutil

import numpy as np
import pytest

from nas_samplers.checkpoint import read_checkpoint


def network(run):
    tensors = read_checkpoint(run / "train" / "checkpoint.safetensors").tensors
    return {name: x.numpy() for name, x in tensors.items() if name.startswith("network.")}


def test_summary_counts_every_path(trained):
    summary = json.loads((trained / "train" / "summary.json").read_text())
    space = json.loads((trained / "space.json").read_text())
    assert summary["steps"] == 15
    assert [len(row) for row in summary["path_counts"]] == [
        len(choice["options"]) for choice in space["choices"]
    ]
    assert {sum(row) for row in summary["path_counts"]} == {15}


def test_weights_that_were_given_are_where_it_starts(nas, tiny, trained, tmp_path):
    weights = trained / "train" / "checkpoint.safetensors"
    # So few and so small steps that the weights stay where they are, nearly.
    options = ["--weights", weights, *tiny(train__epochs=0.1, train__lr=1e-9)]
    result = nas("train", "--out", tmp_path / "run", *options)
    assert f"supernet: starts from {weights}, 0 tensors are new" in result.stderr
    begun, ended = network(trained), network(tmp_path / "run")
    for name, x in begun.items():
        if name.endswith("weight"):
            np.testing.assert_allclose(ended[name], x, atol=1e-5)


def test_parts_of_a_batch_add_up(nas, tiny, tmp_path):
    weights = {}
    for name, part in (("whole", "none"), ("parts", 32)):
        options = tiny(train__epochs=0.3, train__micro_batch=part)
        assert nas("train", "--out", tmp_path / name, *options).exit_code == 0
        weights[name] = network(tmp_path / name)
    # Norms see 32 images instead of 64, so that the weights differ; but not by much.
    for name, x in weights["whole"].items():
        if name.endswith("weight"):
            np.testing.assert_allclose(weights["parts"][name], x, atol=0.2)
    assert any((weights["parts"][name] != x).any() for name, x in weights["whole"].items())


@pytest.mark.parametrize("data", ["plain", "train-and-test"])
def test_image_folders(nas, tiny, tmp_path, draw_images, data):
    if data == "plain":
        draw_images(tmp_path / "images", ["cat", "dog", "eel"], count=10)
        note = "no test or val folder: 20% of the images, drawn by class, are the test images"
        line = "3 classes; 12 images to train, 6 to search, 6 to test"
    else:
        draw_images(tmp_path / "images" / "train", ["cat", "dog"], count=10)
        draw_images(tmp_path / "images" / "test", ["cat", "dog"], count=3)
        note = ""
        line = "2 classes; 12 images to train, 4 to search, 6 to test"
    options = ["--data", f"imagefolder:{tmp_path}/images", "--space", "nas-bench-macro"]
    subset = 18 if data == "plain" else 16
    small = tiny(
        images__subset=subset, images__held_out=0.25 if data != "plain" else 0.3334,
        train__epochs=1, train__batch_size=8, train__micro_batch=4, search__population=4,
        search__parents=2, search__crossover=2, search__mutation=2, search__generations=1,
        search__recalibration_images=6, retrain__batch_size=8, baselines=1,
    )  # fmt: skip
    result = nas("pipeline", "--limit", "macs<=60M", "--out", tmp_path / "run", *options, *small)
    assert result.exit_code == 0, result.output
    assert line in result.stderr
    assert note in result.stderr
    found = json.loads((tmp_path / "run/searches/main/result.json").read_text())
    assert found["values"]["macs"] <= 60e6
    assert (found["recalibration_images"], found["evaluation_images"]) == (6, 6 if note else 4)


def test_a_trained_supernet_is_not_trained_again(nas, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "events.jsonl").read_bytes()
    result = nas("train", "--resume", "--out", run)
    assert "supernet: trained already" in result.stderr
    assert (run / "events.jsonl").read_bytes() == before
