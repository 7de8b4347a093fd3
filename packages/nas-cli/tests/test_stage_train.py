import json
import shutil

import numpy as np
import pytest

import nas_cli.training
import nas_hw
from nas_cli.config import read_config
from nas_cli.run import open_run
from nas_samplers.checkpoint import read_checkpoint
from nas_spaces import published, to_json


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


@pytest.fixture
def folder(tmp_path, draw_images):
    """Images in train/, val/ and test/: 24, 9 and 6 of three classes."""
    for name, count in (("train", 8), ("val", 3), ("test", 2)):
        draw_images(tmp_path / "images" / name, ["cat", "dog", "eel"], count=count)
    return f"imagefolder:{tmp_path}/images"


def few_steps(tiny, steps, images):
    """Return the settings of too few steps for groups to be joined."""
    return tiny(
        images__subset="none",
        train__batch_size=8,
        train__epochs=steps * 8 / images,
        distribution__join_after="none",
    )


def test_a_supernet_of_the_papers_space_on_images_of_ones_own(nas, tiny, folder, tmp_path):
    command = ["--method", "fpnas", "--space", "fbnetv2-f", "--data", folder]
    small = ["--set", "resolution=32", "--set", "images.classes=2", *few_steps(tiny, 2, 16)]
    small += ["--set", "distribution.rows_per_nat=0.05"]
    result = nas("train", "--out", tmp_path / "run", *command, *small)
    assert result.exit_code == 0, result.output
    assert "paths:    3 in the first step (0.05 a nat of 56.3)" in result.stderr.splitlines()
    learned = json.loads((tmp_path / "run/train/distribution.json").read_text())
    assert (learned["steps"][-1], learned["rows"][-1], learned["sampled"][-1]) == (2, 3, 6)


def test_a_share_without_effect_is_said(nas, tiny, folder, tmp_path):
    command = ["--method", "fpnas", "--data", folder, "--set", "resolution=16"]
    result = nas("train", "--out", tmp_path / "run", *command, *few_steps(tiny, 2, 24))
    assert result.exit_code == 0, result.output
    said = "val/ has 9 held-out images, taken in place of a share of 0.5"
    assert f"          {said}" in result.stderr.splitlines()
    assert "24 images to train, 9 to search, 6 to test" in result.stderr
    assert said in json.loads((tmp_path / "run/data.json").read_text())["notes"]
    assert (tmp_path / "run/train/distribution.json").exists()


def test_a_trained_supernet_is_not_trained_again(nas, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    before = (run / "events.jsonl").read_bytes()
    result = nas("train", "--resume", "--out", run)
    assert "supernet: trained already" in result.stderr
    assert (run / "events.jsonl").read_bytes() == before


def paths(nas, monkeypatch, out, *options):
    """Train, and return the rows that the training drew."""
    drawn = []
    train = nas_cli.training.train

    def watch(network, phases, *args, **kwargs):
        ask = phases[0].sampler.ask

        def remember():
            drawn.append(ask())
            return drawn[-1]

        phases[0].sampler.ask = remember
        return train(network, phases, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(nas_cli.training, "train", watch)
        result = nas("train", "--out", out, *options)
    assert result.exit_code == 0, result.output
    return np.concatenate(drawn), result.stderr


def test_paths_are_around_the_first_limit_on_macs(nas, tiny, tmp_path, monkeypatch):
    limits = ["--limit", "params<=60k", "--limit", "macs<=400k"]
    rows, said = paths(nas, monkeypatch, tmp_path / "run", *limits, *tiny())
    macs = nas_hw.macs(published.load("digits-mobile"))(rows)
    assert len(rows) == 15
    assert macs.min() >= 400e3 * 290 / 330
    assert 400e3 < macs.max() <= 400e3 * 360 / 330
    assert read_config(tmp_path / "run/config.toml").supernet.sampler == "constrained"
    assert "trains paths of 351,515 to 436,364 multiply-adds (macs), 7 ranges" in said


def test_paths_are_around_the_first_limit_where_none_is_on_macs(nas, tiny, tmp_path, monkeypatch):
    limits = ["--limit", "params>=60k", "--limit", "params<=70k", "--limit", "traffic<=90%"]
    rows, _ = paths(nas, monkeypatch, tmp_path / "run", *limits, *tiny())
    params = nas_hw.params(published.load("digits-mobile"))(rows)
    assert params.min() >= 60e3
    assert params.max() <= 70e3


@pytest.mark.parametrize("options", [["supernet.sampler=uniform"], ["limits=[]"]])
def test_paths_are_anywhere(nas, tiny, tmp_path, monkeypatch, options):
    options = [part for one in options for part in ("--set", one)]
    rows, said = paths(nas, monkeypatch, tmp_path / "run", *options, *tiny(train__epochs=8))
    macs = nas_hw.macs(published.load("digits-mobile"))(rows)
    assert macs.max() - macs.min() > 200e3
    assert read_config(tmp_path / "run/config.toml").supernet.sampler == "uniform"
    assert "trains paths of" not in said


def test_strictly_fair_paths(nas, tiny, tmp_path, monkeypatch):
    out, option = tmp_path / "run", ("--set", "supernet.sampler=strict-fair")
    rows, _ = paths(nas, monkeypatch, out, *tiny(), *option)
    assert rows.shape == (5 * 15, 8)
    for step in rows.reshape(15, 5, 8):
        # Five options of most choices, once each; the first block of a stage has four.
        assert all(sorted(step[:, column]) == [0, 1, 2, 3, 4] for column in (1, 3, 4, 6, 7))
        assert all(set(step[:, column]) == {0, 1, 2, 3} for column in (0, 2, 5))
    counts = json.loads((out / "train/summary.json").read_text())["path_counts"]
    assert counts[1] == [15] * 5


@pytest.mark.parametrize(("paths_", "expected"), [("none", 5), ("2", 2)])
def test_paths_that_are_fair_in_expectation(nas, tiny, tmp_path, monkeypatch, paths_, expected):
    options = ["supernet.sampler=expectation-fair", f"supernet.paths={paths_}"]
    options = [part for one in options for part in ("--set", one)]
    rows, _ = paths(nas, monkeypatch, tmp_path / "run", *tiny(), *options)
    assert rows.shape == (expected * 15, 8)


@pytest.mark.parametrize("sampler", ["strict-fair", "expectation-fair"])
def test_a_step_has_as_many_paths_as_a_choice_has_live_options(
    nas, tiny, tmp_path, monkeypatch, sampler
):
    space = published.load("digits-mobile")
    alive = space.mask.copy()
    alive[:, 3:] = False
    (tmp_path / "space.json").write_text(to_json(space.restrict(alive)))
    options = ["--space", tmp_path / "space.json", "--limit", "macs<=80%"]
    options += ["--set", f"supernet.sampler={sampler}"]
    rows, _ = paths(nas, monkeypatch, tmp_path / "run", *tiny(), *options)
    assert rows.shape == (3 * 15, 8)


def test_gradients_are_reduced_as_asked(nas, tiny, tmp_path):
    losses = {}
    for reduction in ("sum", "mean"):
        out = tmp_path / reduction
        option = [
            "supernet.sampler=strict-fair",
            f"supernet.reduction={reduction}",
            "train.clip=none",
        ]
        settings = [part for one in option for part in ("--set", one)]
        assert nas("train", "--out", out, *tiny(), *settings).exit_code == 0
        losses[reduction] = json.loads((out / "train/summary.json").read_text())["loss"]
    # The same paths and images: only the length of the steps differs.
    assert losses["sum"] != losses["mean"]


def test_a_supernet_of_ranges_is_searched_anywhere(nas, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    result = nas("search", run, "--limit", "macs<=25%", "--limit", "traffic<=60%", "--json")
    found = json.loads(result.stdout)
    assert found["values"]["macs"] <= 1_212_288 / 4
    # What was limited is recorded.
    assert found["values"]["traffic"] > 0
    assert open_run(run).config.supernet.sampler == "constrained"
