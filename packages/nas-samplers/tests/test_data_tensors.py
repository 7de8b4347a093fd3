import itertools

import numpy as np
import pytest
import torch

from nas_samplers.data_order import sample_bits
from nas_samplers.data_tensors import TensorImages, TensorSplit, channel_statistics
from nas_spaces import InputError

MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.25, 0.2)


def _images(number=20, channels=3, side=16):
    rng = np.random.default_rng(0)
    # No black pixels, so that padding can be told from the image.
    return rng.integers(1, 256, (number, channels, side, side), dtype=np.uint8)


def _split(images, index=None, *, flip=True, padding=2):
    labels = np.arange(len(images), dtype=np.int64)
    channels = images.shape[1]
    placed = TensorImages.place(
        images,
        labels,
        mean=MEAN[:channels],
        std=STD[:channels],
        padding=padding,
        flip=flip,
        device=torch.device("cpu"),
    )
    return TensorSplit(placed, labels if index is None else np.asarray(index))


def _pixels(batch):
    """Undo the normalisation of float32 [b, 3, h, w]."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (MEAN, STD))
    return ((batch * std + mean) * 255).round().to(torch.uint8).numpy()


def test_every_augmented_image_is_a_window_of_the_padded_one_or_its_mirror():
    images = _images()
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (16, 16), axis=(2, 3))
    split = _split(images)
    seen = set()
    for batch, labels in itertools.islice(split.training_batches(batch_size=8, seed=0), 100):
        assert batch.dtype == torch.float32 and labels.dtype == torch.int64
        for pixels, label in zip(_pixels(batch), labels.tolist(), strict=True):
            places = []
            for flipped, candidate in ((0, pixels), (1, pixels[:, :, ::-1])):
                equal = (windows[label] == candidate[:, None, None]).all(axis=(0, 3, 4))
                places += [(flipped, *place) for place in np.argwhere(equal).tolist()]
            assert len(places) == 1
            seen.add(tuple(places[0]))
    assert len(seen) == 2 * 5 * 5  # every offset, mirrored or not


def test_augmentation_depends_on_the_sample_and_not_on_the_batch():
    images = _images()
    split = _split(images)

    def epoch(batch_size, which):
        stream = split.training_batches(batch_size=batch_size, seed=5)
        pairs = itertools.islice(stream, which * 20 // batch_size, (which + 1) * 20 // batch_size)
        return {int(y): x for xs, ys in pairs for x, y in zip(xs, ys, strict=True)}

    first, same, second = epoch(4, 0), epoch(10, 0), epoch(4, 1)
    assert first.keys() == same.keys() == second.keys() == set(range(20))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("batch_size", [6, 45])
def test_stream_begun_later_goes_on_bit_for_bit(batch_size):
    split = _split(_images(), index=np.arange(3, 17))
    whole = list(itertools.islice(split.training_batches(batch_size=batch_size, seed=1), 12))
    for first in (0, 1, 7):
        stream = split.training_batches(batch_size=batch_size, seed=1, first_step=first)
        for (x, y), (a, b) in zip(stream, whole[first:], strict=False):
            assert torch.equal(x, a) and torch.equal(y, b)


def test_no_global_generator_is_read_or_changed():
    split = _split(_images())
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, _ = next(split.training_batches(batch_size=8, seed=0))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002
    torch.manual_seed(1)
    two, _ = next(split.training_batches(batch_size=8, seed=0))
    assert torch.equal(one, two)


def test_without_flip_no_image_is_mirrored():
    images = _images()
    plain, mirrored = (_split(images, flip=flip, padding=0) for flip in (False, True))
    batch, labels = next(plain.training_batches(batch_size=20, seed=0))
    np.testing.assert_array_equal(_pixels(batch), images[labels.numpy()])
    batch, labels = next(mirrored.training_batches(batch_size=20, seed=0))
    source = images[labels.numpy()]
    turned = (sample_bits(0, np.zeros(20, dtype=np.int64), labels.numpy()) >> 63).astype(bool)
    assert 0 < turned.sum() < 20
    source[turned] = source[turned][..., ::-1]
    np.testing.assert_array_equal(_pixels(batch), source)


def test_fixed_batches_are_the_images_in_order():
    images = _images()
    split = _split(images, index=[4, 2, 9, 11, 3])
    batches = list(split.fixed_batches(2))
    assert [len(y) for _, y in batches] == [2, 2, 1]
    assert torch.cat([y for _, y in batches]).tolist() == [4, 2, 9, 11, 3]
    np.testing.assert_array_equal(
        _pixels(torch.cat([x for x, _ in batches])), images[[4, 2, 9, 11, 3]]
    )
    x = images[[4]].astype(np.float64) / 255
    expected = (x - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(batches[0][0][:1].numpy(), expected, atol=1e-5)
    assert split.labels.tolist() == [4, 2, 9, 11, 3] and len(split) == 5


def test_batches_do_not_alias_the_stored_images():
    images = _images()
    split = _split(images)
    for x, _ in split.fixed_batches(20):
        x.zero_()
    next(split.training_batches(batch_size=20, seed=0))[0].zero_()
    batch, _ = next(split.fixed_batches(20))
    np.testing.assert_array_equal(_pixels(batch), images)


def test_numbers_are_checked_when_the_stream_is_asked_for():
    split = _split(_images())
    with pytest.raises(InputError, match="batch_size=0 must be an integer at least 1"):
        split.training_batches(batch_size=0, seed=0)
    with pytest.raises(InputError, match="first_step=-1 must be an integer at least 0"):
        split.training_batches(batch_size=1, seed=0, first_step=-1)
    with pytest.raises(InputError, match="need 21 images"):
        split.fixed_batches(21, count=1)


def test_channel_statistics():
    images = _images(number=7)
    images[:, 2] = 51
    mean, std = channel_statistics(images, np.array([1, 2, 5]))
    chosen = images[[1, 2, 5]] / 255
    np.testing.assert_allclose(mean, chosen.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std[:2], chosen.std(axis=(0, 2, 3))[:2], rtol=1e-9)
    assert std[2] == 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_hold_the_same_pixels():
    images = _images()
    labels = np.arange(20, dtype=np.int64)
    streams = []
    for device in ("cpu", "cuda"):
        placed = TensorImages.place(
            images,
            labels,
            mean=MEAN,
            std=STD,
            padding=2,
            flip=True,
            device=torch.device(device),
        )
        streams.append(TensorSplit(placed, labels).training_batches(batch_size=8, seed=0))
    for (x, y), (a, b) in itertools.islice(zip(*streams, strict=True), 5):
        assert a.device.type == b.device.type == "cuda"
        assert torch.equal(y, b.cpu())
        torch.testing.assert_close(x, a.cpu(), atol=1e-5, rtol=1e-5)
