import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_there_are_examples_with_and_without_torch():
    assert 0 < sum("nas_search.rl" in block for block in BLOCKS) < len(BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_run(block):
    if "nas_search.rl" in block:
        torch = pytest.importorskip("torch", reason="this example needs nas-search[rl]")
        torch.set_num_threads(1)  # more only slow such small networks
    exec(compile(block, str(README), "exec"), {})
