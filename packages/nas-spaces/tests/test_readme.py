import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_there_are_examples_with_and_without_torch():
    assert 0 < sum("import torch" in block for block in BLOCKS) < len(BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    if "import torch" in block:
        pytest.importorskip("torch", reason="this example needs nas-spaces[torch]")
    exec(compile(block, str(README), "exec"), {"__name__": "readme"})
