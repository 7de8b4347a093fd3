import numpy as np
import pytest

from nas_search import non_dominated
from nas_spaces import InputError


def by_definition(values):
    smaller = (values[:, None] <= values).all(axis=2) & (values[:, None] < values).any(axis=2)
    return ~smaller.any(axis=0)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [3, 10, 10**6])
@pytest.mark.parametrize("rows", [1, 2, 7, 200])
def test_it_is_the_definition(rows, levels, columns):
    rng = np.random.default_rng(rows * levels + columns)
    for _ in range(10):
        values = rng.integers(levels, size=(rows, columns)).astype(float)
        np.testing.assert_array_equal(non_dominated(values), by_definition(values))


def test_equal_rows_stay_together():
    assert non_dominated([[1, 2], [1, 2], [1, 3]]).tolist() == [True, True, False]


def test_infinite_values_are_values():
    values = np.array([[np.inf, 1], [2, np.inf], [2, 3], [np.inf, np.inf], [-np.inf, np.inf]])
    np.testing.assert_array_equal(non_dominated(values), by_definition(values))


def test_no_rows():
    assert non_dominated(np.zeros((0, 2))).shape == (0,)
    assert non_dominated(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("values", [[1, 2], np.zeros((3, 0)), [[1, np.nan]]])
def test_bad_input_is_refused(values):
    with pytest.raises(InputError, match="values"):
        non_dominated(values)
