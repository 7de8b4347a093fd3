import numpy as np
import pytest

from nas_search import crowding, fronts, hypervolume, non_dominated
from nas_spaces import InputError


def dominates(values):
    """Return bool [n, n]: which row dominates which."""
    below = (values[:, None] <= values).all(axis=2)
    return below & (values[:, None] < values).any(axis=2)


def by_definition(values):
    return ~dominates(values).any(axis=0)


def fronts_by_definition(values):
    beats = dominates(values)
    ranks = np.full(len(values), -1)
    for rank in range(len(values)):
        left = ranks < 0
        ranks[left & ~beats[left].any(axis=0)] = rank
    return ranks


def crowding_by_definition(values, ranks):
    distances = np.zeros(len(values))
    for rank in set(ranks.tolist()):
        front = np.flatnonzero(ranks == rank).tolist()
        for column in values.T.tolist():
            ordered = sorted(front, key=lambda row: column[row])  # stable
            span = column[ordered[-1]] - column[ordered[0]]
            for before, row, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
                distances[row] += (column[after] - column[before]) / span if span else 0
            distances[ordered[0]] = distances[ordered[-1]] = np.inf
    return distances


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [3, 10, 10**6])
@pytest.mark.parametrize("rows", [1, 2, 7, 200])
def test_it_is_the_definition(rows, levels, columns):
    rng = np.random.default_rng(rows * levels + columns)
    for _ in range(10):
        values = rng.integers(levels, size=(rows, columns)).astype(float)
        np.testing.assert_array_equal(non_dominated(values), by_definition(values))


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [2, 4, 10, 10**6])
@pytest.mark.parametrize("rows", [1, 2, 7, 60])
def test_fronts_and_distances_are_the_definitions(rows, levels, columns):
    rng = np.random.default_rng(rows * levels + columns)
    for _ in range(10):
        values = rng.integers(levels, size=(rows, columns)).astype(float)
        ranks = fronts(values)
        assert ranks.dtype == np.int64
        np.testing.assert_array_equal(ranks, fronts_by_definition(values))
        np.testing.assert_allclose(
            crowding(values, ranks), crowding_by_definition(values, ranks), rtol=1e-12
        )


@pytest.mark.parametrize("columns", [2, 3])
def test_fronts_do_not_depend_on_the_order_of_rows(columns):
    rng = np.random.default_rng(0)
    values = rng.integers(8, size=(80, columns))
    order = rng.permutation(80)
    np.testing.assert_array_equal(fronts(values)[order], fronts(values[order]))


def test_equal_rows_stay_together():
    values = [[1, 2], [1, 2], [1, 3]]
    assert non_dominated(values).tolist() == [True, True, False]
    assert fronts([*values, [1, 3], [0, 9]]).tolist() == [0, 0, 1, 1, 0]
    assert fronts(np.ones((5, 3))).tolist() == [0] * 5


def test_a_chain_has_as_many_fronts_as_rows():
    chain = np.arange(50)[::-1]
    for columns in (1, 2, 3):
        assert fronts(np.stack([chain] * columns, axis=1)).tolist() == chain.tolist()


def test_zero_has_no_sign():
    assert fronts([[0.0, -0.0], [-0.0, 0.0]]).tolist() == [0, 0]
    assert fronts([[0.0, 1.0, 1.0], [-0.0, 1.0, 1.0]]).tolist() == [0, 0]


def test_infinite_values_are_values():
    values = np.array([[np.inf, 1], [2, np.inf], [2, 3], [np.inf, np.inf], [-np.inf, np.inf]])
    np.testing.assert_array_equal(non_dominated(values), by_definition(values))
    np.testing.assert_array_equal(fronts(values), fronts_by_definition(values))


def test_no_rows():
    for columns in (1, 2, 3):
        nothing = np.zeros((0, columns))
        assert non_dominated(nothing).shape == (0,)
        assert fronts(nothing).shape == (0,)
        assert crowding(nothing, fronts(nothing)).shape == (0,)
        assert crowding(nothing, []).shape == (0,)


def test_crowding_of_four_points():
    distances = crowding([[1, 5], [2, 3], [4, 2], [5, 1]], [0, 0, 0, 0])
    assert distances.tolist() == [np.inf, 1.5, 1.25, np.inf]


def test_crowding_looks_at_each_front_alone():
    first = np.array([[1, 5], [2, 3], [4, 2], [5, 1]])
    values = np.concatenate([first, 100 * first])[[0, 4, 1, 5, 2, 6, 3, 7]]
    # The second front is far away from the first, and has the same shape.
    expected = np.repeat([np.inf, 1.5, 1.25, np.inf], 2)
    assert crowding(values, [0, 7] * 4).tolist() == expected.tolist()


def test_the_ends_of_a_front_are_infinitely_far():
    assert crowding([[3, 4]], [0]).tolist() == [np.inf]
    assert crowding([[3, 4], [4, 3]], [0, 0]).tolist() == [np.inf, np.inf]


def test_a_column_without_range_adds_nothing():
    values = np.array([[1, 5, 7], [2, 3, 7], [4, 2, 7], [5, 1, 7]])
    assert crowding(values, [0] * 4).tolist() == [np.inf, 1.5, 1.25, np.inf]
    assert crowding(np.ones((4, 2)), [0] * 4).tolist() == [np.inf, 0, 0, np.inf]


def test_copies_are_crowded():
    values = [[0, 4], [1, 3], [1, 3], [1, 3], [4, 0]]
    assert crowding(values, [0] * 5).tolist() == [np.inf, 1, 0, 1, np.inf]


def test_large_values_do_not_overflow():
    values = np.array([[-1.5e308, 1.5e308], [0, 0], [1.5e308, -1.5e308]])
    assert crowding(values, [0] * 3).tolist() == [np.inf, 2, np.inf]


@pytest.mark.parametrize("values", [[1, 2], np.zeros((3, 0)), [[1, np.nan]]])
def test_bad_input_is_refused(values):
    with pytest.raises(InputError, match="values"):
        non_dominated(values)
    with pytest.raises(InputError, match="values"):
        fronts(values)
    with pytest.raises(InputError, match="values"):
        crowding(values, [0] * len(values))


def test_bad_input_of_crowding_is_refused():
    with pytest.raises(InputError, match=r"values\[1\] is \[inf, 1.0\]"):
        crowding([[1, 2], [np.inf, 1]], [0, 0])
    for ranks in ([0], [0, 0, 0], [[0, 0]], [0.0, 0.0], [True, False]):
        with pytest.raises(InputError, match=r"ranks has shape .* expected integers \[2\]"):
            crowding([[1, 2], [2, 1]], ranks)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_the_volume_is_what_some_row_dominates(columns):
    rng = np.random.default_rng(columns)
    # On a grid every cell is dominated as a whole or not at all.
    rows = rng.integers(0, 6, (12, columns))
    cells = np.array([*np.ndindex(*(5,) * columns)])
    dominated = (rows[None] <= cells[:, None]).all(axis=2).any(axis=1)
    assert hypervolume(rows, [5] * columns) == dominated.sum()
    assert hypervolume(rows[::-1], [5] * columns) == dominated.sum()


def test_rows_beyond_the_reference_add_no_volume():
    assert hypervolume([[2.0, 0.0], [0.0, 1.0]], [1.0, 1.0]) == 0
    assert hypervolume(np.empty((0, 2)), [1.0, 1.0]) == 0
    assert hypervolume([[-1.0, 0.5]], [1.0, 1.0]) == 1.0


@pytest.mark.parametrize("reference", [[1.0], [1.0, np.inf], [np.nan, 1.0], 1.0])
def test_bad_references_are_refused(reference):
    with pytest.raises(InputError, match="must be one finite number for each of the 2 objectives"):
        hypervolume([[0.0, 0.0]], reference)
