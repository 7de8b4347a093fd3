import pytest

from nas_samplers.micro_batches import split_batch


@pytest.mark.parametrize(("batch", "micro"), [(16, 5), (7, 2), (2, 2), (9, 4), (1024, 96), (5, 3)])
def test_parts_cover_the_batch_and_norms_get_two_images_at_least(batch, micro):
    parts = split_batch(batch, micro)
    sizes = [len(range(batch)[part]) for part in parts]
    assert [i for part in parts for i in range(batch)[part]] == list(range(batch))
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= max(micro, 3)


@pytest.mark.parametrize(("batch", "micro"), [(16, None), (16, 16), (16, 100), (1, 2), (1, None)])
def test_what_fits_passes_at_once(batch, micro):
    assert split_batch(batch, micro) == [slice(0, batch)]
