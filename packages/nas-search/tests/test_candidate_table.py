import json

import numpy as np
import pytest

from nas_search import CandidateTable
from nas_spaces import InputError, published


def _table(space, seed=0):
    losses = np.where(space.mask, np.random.default_rng(seed).random(space.mask.shape), np.nan)
    losses -= np.nanmin(losses, axis=1, keepdims=True)
    return CandidateTable(space, losses, np.nanargmin(losses, axis=1), 0.25)


def _restricted(space):
    alive = space.mask.copy()
    alive[2, 0] = alive[5, 2] = alive[6, 1] = False
    return space.restrict(alive)


def test_predictions_are_the_base_error_and_the_losses_of_the_row(macro):
    table = _table(macro)
    archs = macro.sample(50, rng=np.random.default_rng(1))
    expected = [0.25 + sum(table.losses[c, o] for c, o in enumerate(arch)) for arch in archs]
    np.testing.assert_allclose(table.predict(archs), expected, rtol=1e-12)
    assert table.predict(table.start[None]) == [0.25]
    assert table.predict(np.zeros((0, 8), dtype=int)).shape == (0,)


@pytest.mark.parametrize("restricted", [False, True])
def test_json_keeps_every_bit(macro, restricted):
    space = _restricted(macro) if restricted else macro
    table = _table(space)
    text = table.to_json()
    assert "NaN" not in text
    again = CandidateTable.from_json(text, space=space)
    np.testing.assert_array_equal(again.losses, table.losses)
    np.testing.assert_array_equal(again.start, table.start)
    assert again.base_error == table.base_error
    assert again.start.dtype == np.int64
    assert again.to_json() == text


def test_json_of_choices_of_unlike_size():
    space = published.load("mobilenet-21")
    assert len(set(space.num_options)) > 1
    table = _table(space)
    again = CandidateTable.from_json(table.to_json(), space=space)
    np.testing.assert_array_equal(again.losses, table.losses)


def test_a_table_of_another_space_is_refused(macro, spos):
    text = _table(macro).to_json()
    with pytest.raises(InputError, match="its name is 'nas-bench-macro', not 'spos-shufflenet'"):
        CandidateTable.from_json(text, space=spos)
    with pytest.raises(InputError, match=r"its choice 2 is .*'live': \[0, 1, 2\]"):
        CandidateTable.from_json(text, space=_restricted(macro))
    smaller = published.load("nas-bench-macro", resolution=64)
    with pytest.raises(InputError, match="input_shape"):
        CandidateTable.from_json(text, space=smaller)
    record = json.loads(text)
    record["space"]["choices"].pop()
    with pytest.raises(InputError, match="it has 7 choices, not 8"):
        CandidateTable.from_json(json.dumps(record), space=macro)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"start": [0, 1]}, "2 columns"),
        ({"start": "no"}, "1 dimensions"),
        ({"start": [0.5] * 8}, "architectures are integers"),
        ({"start": [10**30] * 8}, "architectures are integers"),
        ({"base_error": 10**400}, "no candidate table"),
        ({"losses": [[0.0, 1.0, "x"]] * 8}, "no candidate table"),
        ({"losses": [[0.0, 1.0, None]] * 8}, r"losses\[0, 2\] is nan; the option is live"),
        ({"losses": [[0.0] * 4] * 8}, "no candidate table"),
        ({"losses": [[0.0] * 3] * 9}, "no candidate table"),
        ({"base_error": None}, "no candidate table"),
        ({"base_error": float("inf")}, "base_error is inf"),
    ],
)
def test_damaged_files_are_refused(macro, change, message):
    record = json.loads(_table(macro).to_json()) | change
    with pytest.raises(InputError, match=message):
        CandidateTable.from_json(json.dumps(record), space=macro)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", "3"])
def test_other_files_are_refused(macro, text):
    with pytest.raises(InputError, match=r"no candidate table|no state of a candidate table"):
        CandidateTable.from_json(text, space=macro)


def test_parts_that_do_not_fit_are_refused(macro):
    table = _table(macro)
    with pytest.raises(InputError, match=r"shape \(8, 2\)"):
        CandidateTable(macro, table.losses[:, :2], table.start, 0.1)
    with pytest.raises(InputError, match="the best option has loss 0"):
        CandidateTable(macro, table.losses, (table.start + 1) % 3, 0.1)
    with pytest.raises(InputError, match="no option has less"):
        CandidateTable(macro, np.where(table.losses > 0, -1.0, 0.0), table.start, 0.1)
    with pytest.raises(InputError, match=r"losses\[2, 0\] is .* not live"):
        CandidateTable(_restricted(macro), table.losses, table.start, 0.1)
    dead = _table(_restricted(macro))
    with pytest.raises(InputError, match=r"archs\[1, 2\] is 0, an option that was not live"):
        dead.predict([dead.start, np.zeros(8, dtype=int)])


def test_a_table_is_a_copy_of_what_it_was_made_from(macro):
    losses, start = np.tile([0.0, 0.1, 0.2], (8, 1)), np.zeros(8, dtype=np.int32)
    table = CandidateTable(macro, losses, start, 0.1)
    losses += 1
    start += 1
    assert table.predict([[0] * 8]) == [0.1]
    assert table.start.tolist() == [0] * 8
    assert table.start.dtype == np.int64
