import itertools
import re

import numpy as np
import pytest
import torch
from PIL import Image

from nas_samplers.data import load_data
from nas_samplers.data_files import decode, read_image
from nas_spaces import InputError


def _write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def large(tmp_path):
    """Two classes of 12 training and 3 test images, 90x100, larger than is kept in memory."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 12), ("test", 3)):
        for label, name in enumerate(("dark", "light")):
            for i in range(number):
                base = 40 + 140 * label
                pixels = rng.integers(base, base + 40, (90, 100, 3), dtype=np.uint8)
                _write(tmp_path / split / name / f"{i}.png", pixels)
    return tmp_path


def _load(path, **options):
    chosen = {"resolution": 72, "device": "cpu", "seed": 0, "held_out": 0.25, "workers": 0}
    return load_data(f"imagefolder:{path}", **{**chosen, **options})


def _take(stream, number):
    return list(itertools.islice(stream, number))


def _equal(some, others):
    return all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(some, others, strict=True)
    )


def test_batches_do_not_depend_on_the_number_of_workers(large):
    alone, helped = _load(large), _load(large, workers=2)
    assert alone.digest == helped.digest
    assert (len(alone.train), len(alone.held_out), len(alone.test)) == (18, 6, 6)
    whole = _take(alone.train.training_batches(batch_size=5, seed=1), 9)
    assert _equal(whole, _take(helped.train.training_batches(batch_size=5, seed=1), 9))
    assert _equal(list(alone.test.fixed_batches(4)), list(helped.test.fixed_batches(4)))
    x, y = whole[0]
    assert x.shape == (5, 3, 72, 72) and x.dtype == torch.float32 and y.dtype == torch.int64
    # An epoch is 18 images; its labels are those of the split.
    labels = torch.cat([y for _, y in whole])[:18]
    assert sorted(labels.tolist()) == sorted(alone.train.labels.tolist())


def test_stream_begun_later_goes_on_bit_for_bit(large):
    train = _load(large).train
    whole = _take(train.training_batches(batch_size=5, seed=1), 7)
    later = _take(train.training_batches(batch_size=5, seed=1, first_step=4), 3)
    assert _equal(whole[4:], later)
    other = _take(train.training_batches(batch_size=5, seed=2), 7)
    assert not _equal(whole, other)


def test_images_are_augmented_anew_in_each_epoch(large):
    train = _load(large).train
    (first, y), (second, z) = _take(train.training_batches(batch_size=18, seed=0), 2)
    assert not {image.numpy().tobytes() for image in first} & {
        image.numpy().tobytes() for image in second
    }
    assert sorted(y.tolist()) == sorted(z.tolist())


@pytest.mark.parametrize("workers", [0, 1])
def test_no_global_generator_is_read_or_changed(large, workers):
    train = _load(large, workers=workers).train
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = _take(train.training_batches(batch_size=4, seed=0), 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert _equal(one, _take(train.training_batches(batch_size=4, seed=0), 2))


def test_fixed_batches(large):
    data = _load(large)
    batches = list(data.test.fixed_batches(4))
    assert [len(y) for _, y in batches] == [4, 2]
    assert torch.cat([y for _, y in batches]).tolist() == [0, 0, 0, 1, 1, 1]
    assert batches[0][0].shape == (4, 3, 72, 72)
    # "dark" pixels lie in [40, 80), "light" in [180, 220); normalised by ImageNet's constants.
    dark = batches[0][0][0]
    pixels = dark * torch.tensor(data.std).view(-1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1)
    assert 40 / 255 - 0.01 < float(pixels.min()) < float(pixels.max()) < 80 / 255 + 0.01
    drawn = list(data.train.fixed_batches(4, count=2, seed=3))
    assert [len(y) for _, y in drawn] == [4, 4]
    assert _equal(drawn, list(data.train.fixed_batches(4, count=2, seed=3)))


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_image_is_named_when_it_is_reached(large, workers):
    path = large / "train" / "light" / "4.png"
    path.write_bytes(path.read_bytes()[:4000])
    data = _load(large, workers=workers)
    with pytest.raises(InputError) as caught:
        for _ in itertools.islice(
            data.train_and_held_out.training_batches(batch_size=4, seed=0), 7
        ):
            pass
    assert str(path) in str(caught.value)
    assert "Traceback" not in str(caught.value)
    with pytest.raises(InputError, match=re.escape(str(path))):
        list(data.train_and_held_out.fixed_batches(4))


def test_too_small_for_the_network(large):
    with pytest.raises(InputError) as caught:
        _load(large, resolution=128)
    for words in ("100x90", "128x128", "upscale=True"):
        assert words in str(caught.value)
    data = _load(large, resolution=128, upscale=True)
    assert next(data.test.fixed_batches(2))[0].shape == (2, 3, 128, 128)


def test_a_few_small_images_among_large_ones_are_enlarged(large):
    _write(large / "train" / "dark" / "0.png", np.full((20, 30, 3), 60, dtype=np.uint8))
    data = _load(large)
    assert sum(len(y) for _, y in data.train_and_held_out.fixed_batches(8)) == 24


def test_digest_follows_the_files(large):
    digest = _load(large).digest
    assert _load(large).digest == digest
    assert _load(large, seed=1).digest != digest
    _write(large / "test" / "dark" / "0.png", np.zeros((90, 90, 3), dtype=np.uint8))
    assert _load(large).digest != digest


def test_decode_scales_the_short_side_and_crops_the_middle(tmp_path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, 10:30] = (250, 100, 50)
    _write(tmp_path / "wide.png", pixels)
    _write(tmp_path / "grey.png", np.full((10, 10), 77, dtype=np.uint8))
    progress = []
    result = decode(
        [tmp_path / "wide.png", tmp_path / "grey.png"],
        resolution=10,
        upscale=False,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert result.shape == (2, 3, 10, 10) and result.dtype == np.uint8
    np.testing.assert_allclose(result[0].mean(axis=(1, 2)), (250, 100, 50), atol=12)
    assert (result[1] == 77).all()
    assert progress == [(2, 2)]


def test_decoding_a_large_jpeg_as_a_draft_gives_nearly_the_same(tmp_path):
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (512, 1))] * 3, axis=2)
    _write(tmp_path / "a.jpg", pixels)
    _write(tmp_path / "a.png", pixels)
    draft, full = decode(
        [tmp_path / "a.jpg", tmp_path / "a.png"], resolution=32, upscale=False, on_progress=None
    )
    assert read_image(tmp_path / "a.jpg", draft=32).size == (64, 64)  # an eighth
    assert np.abs(draft.astype(int) - full.astype(int)).max() <= 6


@pytest.mark.parametrize(
    ("kind", "dtype"), [("png", "<u2"), ("pgm", "<u2"), ("tif", "<u2"), ("tif", ">u2")], ids=str
)
def test_grey_images_of_16_bits_keep_their_contrast(tmp_path, kind, dtype):
    ramp = np.arange(256).repeat(4).reshape(32, 32)
    Image.fromarray((ramp * 257).astype(dtype)).save(tmp_path / f"a.{kind}")
    result = np.asarray(read_image(tmp_path / f"a.{kind}"))
    np.testing.assert_array_equal(result, np.stack([ramp] * 3, axis=2))


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_grey_images_without_a_range_are_refused(tmp_path, dtype, mode):
    path = tmp_path / "a.tif"
    _write(path, np.full((32, 32), 1000, dtype=dtype))
    with pytest.raises(InputError, match=re.escape(str(path)) + f".*mode '{mode}'.*8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_unreadable_image_is_named(tmp_path, content):
    path = tmp_path / "a.jpg"
    _write(path, np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:500] if content == "half" else content)
    with pytest.raises(InputError, match=re.escape(str(path)) + " cannot be read .*replace or"):
        decode([path], resolution=32, upscale=False, on_progress=None)


def test_small_image_is_named_with_both_sizes(tmp_path):
    _write(tmp_path / "a.png", np.zeros((40, 30, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"a\.png is 30x40 .* 32x32: .*upscale=True"):
        decode([tmp_path / "a.png"], resolution=32, upscale=False, on_progress=None)
    enlarged = decode([tmp_path / "a.png"], resolution=32, upscale=True, on_progress=None)
    assert enlarged.shape == (1, 3, 32, 32)
