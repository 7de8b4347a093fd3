import numpy as np

from nas_search.rl.batch import Batch, first_rows


def batch(*rewards):
    n = len(rewards)
    archs = np.arange(2 * n).reshape(n, 2)
    keys = [b"a" if i % 2 else b"b" for i in range(n)]
    return Batch(archs, -np.arange(float(n)), np.array(rewards), keys, np.array([False] * n))


def same(one, other):
    fields = ("archs", "log_probabilities", "rewards", "keys", "trusted")
    return all(
        np.array_equal(getattr(one, x), getattr(other, x), equal_nan=x == "rewards") for x in fields
    )


def test_rows_without_a_reward_are_open():
    rows = batch(0.5, np.nan, 0.25, np.nan)
    assert rows.open.tolist() == [1, 3]
    assert rows.keys_of(rows.open) == {b"a"}
    assert rows.keys_of(np.array([0, 1])) == {b"a", b"b"}


def test_what_is_taken_apart_is_joined_again():
    rows = batch(0.5, np.nan, 0.25)
    assert same(rows.take(np.array([0])).join(rows.take(np.array([1, 2]))), rows)
    assert rows.take(np.array([2, 0])).archs.tolist() == [[4, 5], [0, 1]]
    empty = Batch.empty(2)
    assert len(empty) == 0
    assert same(empty.join(rows), rows)
    assert same(rows.take(np.array([], dtype=np.int64)), empty)


def test_first_rows_of_each_network_keep_their_order():
    assert first_rows([b"a", b"b", b"a", b"c"], [3, 2, 0, 1]) == [3, 2, 1]
