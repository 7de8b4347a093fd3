import json

import numpy as np
import pytest

from nas_spaces import History, InputError

NAMES, UNITS = ("error", "macs"), ("1", "multiply-adds")


@pytest.fixture
def history():
    archs = [[0, 1, 2], [2, 1, 0]]
    return History.empty(3, NAMES, UNITS).append(archs, [[0.1 + 0.2, 1e9], [1 / 3, np.inf]])


def test_csv_round_trip_is_exact(history):
    text = history.to_csv()
    again = History.from_csv(text)
    assert (again.names, again.units) == (NAMES, UNITS)
    assert (again.archs == history.archs).all()
    assert again.archs.dtype == np.int64
    assert (again.values == history.values).all()
    assert again.to_csv() == text


def test_csv_of_no_rows_keeps_its_columns():
    again = History.from_csv(History.empty(3, NAMES, UNITS).to_csv())
    assert len(again) == 0
    assert (again.names, again.units) == (NAMES, UNITS)
    assert again.values.shape == (0, 2)


def test_jsonl_has_one_object_a_row(history):
    records = [json.loads(line) for line in history.to_jsonl().splitlines()]
    assert records[0] == {"architecture": [0, 1, 2], "error": 0.1 + 0.2, "macs": 1e9}
    assert len(records) == len(history) == 2


def test_append_puts_rows_behind_and_leaves_the_old_history(history):
    longer = history.append([[1, 1, 1]], [[0.5, 7]])
    assert longer.archs[-1].tolist() == [1, 1, 1]
    assert (len(history), len(longer)) == (2, 3)


def test_column(history):
    assert history.column("macs").tolist() == [1e9, np.inf]
    with pytest.raises(InputError) as error:
        history.column("params")
    assert str(error.value) == "history has no column 'params'; it has error, macs"


@pytest.mark.parametrize(
    ("archs", "values", "message"),
    [
        ([[0, 1]], [[1, 2]], "archs has shape (1, 2); the history has 3 columns"),
        ([0, 1, 2], [[1, 2]], "archs has shape (3,); the history has 3 columns"),
        ([[0, 1, 2]], [[1]], "values has shape (1, 1); expected (1, 2)"),
        ([[0, 1, 2]], [1, 2], "values has shape (2,); expected (1, 2)"),
    ],
)
def test_what_append_refuses(history, archs, values, message):
    with pytest.raises(InputError) as error:
        history.append(archs, values)
    assert str(error.value) == message


def test_names_have_units():
    with pytest.raises(InputError, match="history has 2 names and 1 units"):
        History.empty(3, NAMES, ("1",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "architecture\n",
        "architecture,error\n",
        'architecture,error [1]\n"0,x",0.5\n',
        'architecture,error [1]\n"0,1",half\n',
        'architecture,error [1]\n"0,1"\n',
        'architecture,error [1]\n"0,1",0.5\n"0",0.5\n',
        'architecture,error [1]\n"0,1",0.5,0.6\n',
    ],
)
def test_text_of_another_form_is_refused(text):
    with pytest.raises(InputError, match="this is no history in CSV"):
        History.from_csv(text)


def test_an_empty_history_keeps_its_width():
    text = History.empty(2, ("error",), ("1",)).to_csv()
    assert len(History.from_csv(text, num_choices=2).append([[0, 1]], [[0.5]])) == 1


def test_broken_csv_is_named():
    with pytest.raises(InputError, match="no history in CSV"):
        History.from_csv("a\rb")
