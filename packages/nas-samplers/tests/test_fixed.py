import numpy as np
import pytest

from nas_samplers import Fixed
from nas_spaces import InputError


def test_it_is_always_the_same_row():
    sampler = Fixed(np.array([1, 0, 2], dtype=np.int32))
    for _ in range(3):
        rows = sampler.ask()
        assert rows.tolist() == [[1, 0, 2]]
        assert rows.dtype == np.int64
        rows += 1  # a caller's own


def test_a_state_of_another_row_is_refused():
    sampler = Fixed([1, 0])
    sampler.load_state_dict(Fixed([1, 0]).state_dict())
    with pytest.raises(InputError, match=r"row is \[1, 1\], this one's is \[1, 0\]"):
        sampler.load_state_dict(Fixed([1, 1]).state_dict())


@pytest.mark.parametrize("row", [[[1, 0]], [0.5, 1.0], 3])
def test_what_is_no_row_is_refused(row):
    with pytest.raises(InputError, match="give one architecture"):
        Fixed(row)
