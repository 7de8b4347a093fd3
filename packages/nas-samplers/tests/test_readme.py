import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_there_are_examples():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_run(block, capsys):
    pytest.importorskip("sklearn", reason="the examples need nas-samplers[digits]")
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})
    print(shown := capsys.readouterr().out)
    errors = [float(x) for x in re.findall(r"([\d.]+)%", shown)]
    # Ten classes: a guess is wrong nine times of ten.
    assert errors
    assert min(errors) < 60
