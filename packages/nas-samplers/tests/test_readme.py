import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
TRAINING = [block for block in BLOCKS if "train(" in block]


def test_there_are_examples():
    assert len(TRAINING) == 2
    assert len(BLOCKS) == 3


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
    [block] = [block for block in BLOCKS if block not in TRAINING]
    names = {}
    exec(compile(block, str(README), "exec"), names)
    assert len(names["sets"]) == 7
    *counts, drawn = capsys.readouterr().out.splitlines()
    assert sum(int(line.split()[-1]) for line in counts) > 1000
    assert 0.87 * 1500 < int(drawn.strip("[]")) < 1.1 * 1500
