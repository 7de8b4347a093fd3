import hashlib
import itertools
import os
import pickle
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas_samplers import data_sources
from nas_samplers.data import load_data
from nas_spaces import InputError


def _load(source, **options):
    return load_data(source, **{"resolution": 8, "device": "cpu", "seed": 0, **options})


def _all(split):
    batches = list(split.fixed_batches(64))
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def _contents(split):
    return {image.numpy().tobytes() for image in _all(split)[0]}


def _folder(root, layout, *, side=8, kind="png"):
    """Write ``{"train/cat": 4, ...}`` images, no two alike."""
    number = 0
    for place, count in layout.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / place / f"{i}.{kind}")
            number += 1
    return f"imagefolder:{root}"


SPLIT = {"train/cat": 8, "train/dog": 6, "test/cat": 3, "test/dog": 2}


# --- splits


@pytest.mark.parametrize("source", ["synthetic", "folder", "plain"])
def test_no_image_is_in_two_splits(source, tmp_path):
    if source == "folder":
        source = _folder(tmp_path, SPLIT)
    elif source == "plain":
        source = _folder(tmp_path, {"cat": 9, "dog": 14})
    tests = []
    for seed in (0, 1):
        data = _load(source, seed=seed)
        splits = (data.train, data.held_out, data.test)
        # Statistics differ with the seed; raw pixels do not.
        scale, shift = (torch.tensor(v).view(-1, 1, 1) for v in (data.std, data.mean))
        raw = [
            {(x * scale + shift).mul(255).round().byte().numpy().tobytes() for x in _all(s)[0]}
            for s in splits
        ]
        assert [len(r) for r in raw] == [len(s) for s in splits]
        assert not raw[0] & raw[1] and not raw[0] & raw[2] and not raw[1] & raw[2]
        assert _contents(data.train_and_held_out) == _contents(data.train) | _contents(
            data.held_out
        )
        tests.append(raw)
    assert tests[0][2] == tests[1][2]  # the test images are the same for every seed
    assert tests[0][1] != tests[1][1]


def test_held_out_images_are_drawn_by_class():
    data = _load("synthetic", held_out=0.25)
    sizes = np.bincount(data.train.labels), np.bincount(data.held_out.labels)
    assert len(data.held_out) == 128
    assert sizes[1].min() >= 12 and sizes[1].max() <= 13
    np.testing.assert_array_equal(sizes[0] + sizes[1], np.bincount(np.arange(512) % 10))


def test_subset_is_drawn_by_class_and_leaves_the_test_images():
    whole, part = _load("synthetic"), _load("synthetic", subset=100)
    assert (len(part.train), len(part.held_out), len(part.test)) == (80, 20, 128)
    assert np.bincount(part.train_and_held_out.labels).tolist() == [10] * 10
    other = _load("synthetic", subset=100, seed=1)
    assert part.digest != other.digest != whole.digest
    assert part.digest == _load("synthetic", subset=100).digest
    assert any("100 of 512 training images" in note for note in part.notes)


def test_some_classes_are_drawn_and_count_anew():
    whole, part = _load("digits"), _load("digits", classes=4)
    assert len(part.classes) == 4
    assert [whole.classes.index(name) for name in part.classes] == sorted(
        whole.classes.index(name) for name in part.classes
    )
    kept = [whole.classes.index(name) for name in part.classes]
    for name in ("train_and_held_out", "test"):
        there, here = (getattr(data, name).labels for data in (whole, part))
        assert np.bincount(here).tolist() == [(there == number).sum() for number in kept]
    images, _ = _all(part.test)
    every, names = _all(whole.test)
    own = every[[int(label) in kept for label in names]]
    # Other images are trained on, so that they are normalised otherwise.
    flat, there = ((x - x.mean()).flatten(1) / x.std() for x in (images, own))
    np.testing.assert_allclose(flat, there, atol=1e-4)
    assert any("4 of 10 classes" in note for note in part.notes)
    assert _load("digits", classes=4).digest == part.digest
    others = {_load("digits", classes=4, seed=seed).classes for seed in range(1, 5)}
    assert others != {part.classes}


@pytest.mark.parametrize("classes", [0, 1, 11])
def test_numbers_of_classes_that_cannot_be(classes):
    with pytest.raises(InputError, match=f"classes is {classes}; .* has 10: give 2 to 10"):
        _load("digits", classes=classes)


def test_images_are_normalised_by_the_training_images():
    data = _load("synthetic")
    images, labels = _all(data.train)
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (images.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3
    np.testing.assert_array_equal(labels.numpy(), data.train.labels)


# --- built-in sources


@pytest.mark.parametrize("resolution", [4, 8, 32, 72])
def test_synthetic_classes_can_be_learned(resolution):
    data = _load("synthetic", resolution=resolution)
    assert data.shape == (3, resolution, resolution)
    assert len(data.classes) == 10 and len(data.test) == 128
    images, labels = _all(data.train)
    means = torch.stack([images[labels == c].mean(dim=0).flatten() for c in range(10)])
    images, labels = _all(data.test)
    nearest = torch.cdist(images.flatten(1), means).argmin(dim=1)
    assert (nearest == labels).float().mean() > 0.9


def test_digits():
    pytest.importorskip("sklearn", reason="the extra 'digits' is not installed")
    data = _load("digits")
    assert data.shape == (1, 8, 8) and data.classes == tuple("0123456789")
    assert len(data.train_and_held_out) + len(data.test) == 1797
    assert len(data.test) == 359
    # Digits are not mirrored: every training image is a window of its padded original.
    fixed = _all(data.train)[0]
    black = float(fixed.min())
    padded = torch.nn.functional.pad(fixed, (1,) * 4, value=black)
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1).reshape(-1, 64)
    known = {w.round(decimals=3).numpy().tobytes() for w in windows}
    images, _ = next(data.train.training_batches(batch_size=64, seed=0))
    assert all(i.flatten().round(decimals=3).numpy().tobytes() in known for i in images)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"pip install 'nas-samplers\[digits\]'"):
        _load("digits")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_from_torchvisions_files(name, tmp_path, monkeypatch):
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    key, meta_key = (
        ("labels", "label_names") if name == "cifar10" else ("fine_labels", "fine_label_names")
    )
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = {part: rng.integers(0, 256, (20, 3072), dtype=np.uint8) for part in ("a", "b")}
    labels = [i % 2 for i in range(20)]

    def write(file, content):
        (folder / file).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    sums = {part: write(part, {"data": rows, key: labels}) for part, rows in pixels.items()}
    monkeypatch.setattr(kind, "train_list", [["a", sums["a"]]])
    monkeypatch.setattr(kind, "test_list", [["b", sums["b"]]])
    meta = {"filename": "meta", "key": meta_key, "md5": write("meta", {meta_key: ["x", "y"]})}
    monkeypatch.setattr(kind, "meta", meta)
    data = _load(name, resolution=32, root=tmp_path)
    assert data.classes == ("x", "y") and data.shape == (3, 32, 32)
    assert (len(data.train), len(data.held_out), len(data.test)) == (16, 4, 20)
    images, targets = _all(data.test)
    raw = images * torch.tensor(data.std).view(-1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1)
    expected = pixels["b"].reshape(20, 3, 32, 32)  # planes of red, green, blue, row by row
    np.testing.assert_array_equal((raw * 255).round().byte().numpy(), expected)
    assert targets.tolist() == labels


def test_cifar_that_cannot_be_downloaded(tmp_path, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets.CIFAR10, "url", (tmp_path / "absent.tar.gz").as_uri())
    with pytest.raises(InputError) as caught:
        _load("cifar10", resolution=32, root=tmp_path / "data")
    for words in (str(tmp_path / "data"), "cifar-10-batches-py", "imagefolder:PATH"):
        assert words in str(caught.value)


# --- resolution


def test_arrays_are_scaled_down_and_it_is_said(monkeypatch):
    source = data_sources.read_source("synthetic", resolution=16, root=None)
    monkeypatch.setattr("nas_samplers.data.read_source", lambda *_, **__: source)
    data = _load("synthetic", resolution=8)
    assert data.shape == (3, 8, 8)
    assert "images are scaled from 16x16 to 8x8" in data.notes
    images, _ = _all(data.test)
    raw = images * torch.tensor(data.std).view(-1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1)
    assert abs(float(raw.mean()) * 255 - source.images[source.test].mean()) < 1


def test_arrays_smaller_than_the_network_takes(monkeypatch):
    source = data_sources.read_source("synthetic", resolution=8, root=None)
    monkeypatch.setattr("nas_samplers.data.read_source", lambda *_, **__: source)
    with pytest.raises(InputError, match=r"are 8x8 and the network takes 32x32: .*upscale=True"):
        _load("synthetic", resolution=32)
    assert _load("synthetic", resolution=32, upscale=True).shape == (3, 32, 32)


def test_arrays_too_large_for_memory(monkeypatch):
    monkeypatch.setattr("nas_samplers.data.SMALL_BYTES", 640 * 3 * 8 * 8 - 1)
    with pytest.raises(InputError, match="lower the resolution or give a subset"):
        _load("synthetic")
    assert _load("synthetic", subset=511).shape == (3, 8, 8)


# --- image folders


def test_folder_with_train_and_test(tmp_path):
    data = _load(_folder(tmp_path, SPLIT))
    assert data.classes == ("cat", "dog") and data.shape == (3, 8, 8) and data.notes == ()
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1]
    assert (len(data.train), len(data.held_out)) == (11, 3)


def test_folder_with_train_and_val(tmp_path):
    layout = {place.replace("test", "val"): count for place, count in SPLIT.items()}
    data = _load(_folder(tmp_path, layout))
    assert len(data.test) == 5 and (len(data.train), len(data.held_out)) == (11, 3)
    assert data.notes == ("no test folder: the images in val are the test images",)


def test_folder_with_all_three_holds_out_val(tmp_path):
    data = _load(_folder(tmp_path, {**SPLIT, "val/cat": 4, "val/dog": 3, "extra/cat": 1}))
    assert (len(data.train), len(data.held_out), len(data.test)) == (14, 7, 5)
    assert len(_contents(data.train_and_held_out)) == 21
    assert data.notes == (
        "not read, being neither train, val nor test: extra",
        "val/ has 7 held-out images, taken in place of a share of 0.2",
    )
    part = _load(f"imagefolder:{tmp_path}", subset=4)
    assert (len(part.train), len(part.held_out), len(part.test)) == (4, 7, 5)


@pytest.mark.parametrize("below", ["", "train/"])
def test_plain_class_folders_are_split_and_it_is_said(below, tmp_path):
    data = _load(_folder(tmp_path, {f"{below}cat": 10, f"{below}dog": 20}))
    assert np.bincount(data.test.labels).tolist() == [2, 4]
    assert len(data.notes) == 1 and "20% of the images, drawn by class" in data.notes[0]


def test_a_class_may_be_called_train(tmp_path):
    data = _load(_folder(tmp_path, {"car": 5, "train": 5}))
    assert data.classes == ("car", "train")


def test_other_files_and_nested_folders(tmp_path):
    source = _folder(tmp_path, {**SPLIT, "train/cat/more": 2})
    (tmp_path / "train" / "cat" / "readme.txt").write_text("no image")
    (tmp_path / "train" / "cat" / "._0.png").write_text("no image")
    (tmp_path / "train" / ".cache").mkdir()
    assert len(_load(source).train_and_held_out) == 16


def test_test_folder_may_lack_a_class(tmp_path):
    data = _load(_folder(tmp_path, {**SPLIT, "train/cow": 5}))
    assert data.classes == ("cat", "cow", "dog")
    assert data.test.labels.tolist() == [0, 0, 0, 2, 2]
    assert data.notes == ("classes without images in test: cow",)


def test_test_folder_may_be_of_one_class(tmp_path):
    layout = {name: n for name, n in SPLIT.items() if name != "test/cat"}
    data = _load(_folder(tmp_path, layout))
    assert data.test.labels.tolist() == [1, 1]
    assert data.notes == ("classes without images in test: cat",)


def test_labels_of_the_test_folder_are_those_of_the_training_folder(tmp_path):
    data = _load(_folder(tmp_path, {**SPLIT, "train/ape": 5, "test/emu": 2, "train/emu": 5}))
    assert data.classes == ("ape", "cat", "dog", "emu")
    assert data.test.labels.tolist() == [1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({}, "is empty; it needs one folder a class"),
        ({".": 3}, "holds no folder; it needs one folder a class"),
        ({"cat": 5}, r"has one class \('cat'\); at least two"),
        ({"train/cat": 5, "test/cat": 5}, r"train has one class \('cat'\); at least two"),
        ({"cat": 5, "dog": 0}, "dog holds no image"),
        ({"cat": 5, "dog": 2}, r"class 'dog' in .* has too few images \(2\); at least 3"),
        ({**SPLIT, "test/cow": 1}, r"class 'cow' is in .*test but not in .*train"),
        ({**SPLIT, "train/cow": 1}, "class 'cow' of .* has 1 training image; at least 2"),
        ({"train/cat": 3, "train/dog": 3, "test/.": 2}, "test holds no folder"),
    ],
)
def test_folders_that_cannot_be_used(layout, words, tmp_path):
    with pytest.raises(InputError, match=words):
        _load(_folder(tmp_path, layout))


def test_missing_folder_and_file_for_folder(tmp_path):
    with pytest.raises(
        InputError, match=re.escape(f"data folder {tmp_path / 'no'} does not exist")
    ):
        _load(f"imagefolder:{tmp_path / 'no'}")
    (tmp_path / "images.zip").write_bytes(b"")
    with pytest.raises(InputError, match="is a file; unpack it"):
        _load(f"imagefolder:{tmp_path / 'images.zip'}")


def test_truncated_image_is_named(tmp_path):
    source = _folder(tmp_path, SPLIT, side=32, kind="jpg")
    broken = tmp_path / "test" / "dog" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    with pytest.raises(InputError, match=re.escape(str(broken))):
        _load(source)


# --- arguments


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("digit", "did you mean 'digits'"),
        ("imagefolder:", "did you mean 'imagefolder:PATH'"),
        ("imagenet", "valid: cifar10, cifar100, digits"),
    ],
)
def test_unknown_source(source, words):
    with pytest.raises(InputError, match=words):
        _load(source)


def test_bare_path(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"write imagefolder:{tmp_path}")):
        _load(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"held_out": 0.0}, "held_out is 0.0"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"held_out": -1}, "held_out is -1"),
        ({"held_out": float("nan")}, "held_out is nan"),
        ({"subset": 513}, "subset is 513; synthetic has 512 training images .* give 20 to 512"),
        ({"subset": 19}, "subset is 19"),
        ({"resolution": 0}, "resolution=0 must be an integer at least 1"),
        ({"seed": -1}, "seed=-1 must be an integer at least 0"),
        ({"workers": -1}, "workers=-1 must be an integer at least 0"),
    ],
)
def test_numbers_out_of_range(options, words):
    with pytest.raises(InputError, match=words):
        _load("synthetic", **options)


def test_flip_can_be_chosen():
    on, off = (
        _load("synthetic", flip=f, resolution=4).train.training_batches(batch_size=64, seed=0)
        for f in (True, False)
    )
    (mirrored, labels), (plain, same) = next(on), next(off)
    assert torch.equal(labels, same)
    # At 4 pixels the padding is 0, so that only the mirroring is left of the augmentation.
    equal = (mirrored == plain).flatten(1).all(dim=1)
    turned = (mirrored == plain.flip(-1)).flatten(1).all(dim=1)
    assert (equal | turned).all() and 16 < int(turned.sum()) < 48


# --- real images


def _data_folder():
    named = os.environ.get("NAS_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[4] / "shared" / "data"
    return folder if (folder / "cifar10-train.zip").exists() else None


@pytest.mark.skipif(
    _data_folder() is None, reason="no cifar10-train.zip in NAS_TEST_DATA or ../shared/data"
)
def test_cifar_images_from_a_folder(tmp_path):
    for split in ("train", "test"):
        with zipfile.ZipFile(_data_folder() / f"cifar10-{split}.zip") as archive:
            chosen = itertools.chain.from_iterable(
                itertools.islice(names, 30)
                for _, names in itertools.groupby(
                    sorted(n for n in archive.namelist() if n.endswith(".jpg")),
                    key=lambda name: name.rsplit("/", 1)[0],
                )
            )
            archive.extractall(tmp_path, members=list(chosen))
    data = _load(f"imagefolder:{tmp_path}", resolution=32)
    assert len(data.classes) == 10 and data.classes[0] == "airplane"
    assert (len(data.train), len(data.held_out), len(data.test)) == (240, 60, 300)
    # The published statistics of CIFAR-10, which 240 images come close to.
    np.testing.assert_allclose(data.mean, (0.4914, 0.4822, 0.4465), atol=0.04)
    np.testing.assert_allclose(data.std, (0.247, 0.243, 0.262), atol=0.03)
    assert next(data.train.training_batches(batch_size=64, seed=0))[0].shape == (64, 3, 32, 32)
