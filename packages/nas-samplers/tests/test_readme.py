import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
TRAINING = [block for block in BLOCKS if "train(" in block or "train_network(" in block]


def test_there_are_examples():
    assert len(TRAINING) == 5
    assert len(BLOCKS) == 8


@pytest.mark.parametrize("block", TRAINING)
def test_the_trainings_run(block, capsys):
    pytest.importorskip("sklearn", reason="the examples need nas-samplers[digits]")
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})
    print(shown := capsys.readouterr().out)
    errors = [float(x) for x in re.findall(r"([\d.]+)%", shown)]
    # Ten classes: a guess is wrong nine times of ten.
    assert errors
    assert min(errors) < 60


def test_the_ranges_are_those_of_the_text(capsys):
    [block] = [block for block in BLOCKS if "cost_ranges" in block]
    names = {}
    exec(compile(block, str(README), "exec"), names)
    assert len(names["sets"]) == 7
    *counts, drawn = capsys.readouterr().out.splitlines()
    assert sum(int(line.split()[-1]) for line in counts) > 1000
    assert 0.87 * 1500 < int(drawn.strip("[]")) < 1.1 * 1500


def test_the_columns_of_a_fair_step_are_permutations(capsys):
    [block] = [block for block in BLOCKS if "StrictFair" in block]
    names = {}
    exec(compile(block, str(README), "exec"), names)
    shown = capsys.readouterr().out
    columns = re.findall(r"(\d) (\d) (\d)", shown)
    assert len(columns) == 8
    assert all(sorted(column) == ["0", "1", "2"] for column in columns)
    assert shown.rstrip().endswith("()")
    # 0.045 / 3, as the text says.
    assert names["slower"].optimiser.lr * names["uniform"].k == names["optimiser"].lr


def test_candidates_are_trained_alone(capsys):
    pytest.importorskip("sklearn", reason="the examples need nas-samplers[digits]")
    [block] = [block for block in BLOCKS if "StandaloneError(" in block]
    names = {}
    exec(compile(block, str(README), "exec"), names)
    shown = capsys.readouterr().out
    assert shown.count("Candidate(number=") == 6
    assert min(float(x) for x in re.findall(r"'([\d.]+)%'", shown)) < 60
    error = names["error"]
    assert (error.trained, names["state"]) == (6, error.state_dict())
    # Of the second batch, which was the first to find something in the pool.
    assert len(error.guard.errors) == 2
    assert "in 2 pairs." in shown
