"""docs/own-space.md does what it says: its code and its commands, one after the other."""

import re
import shlex
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "own-space.md"
BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The reader's folder, which Python finds modules in and forgets afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mymodule", None)


def test_a_reader_gets_from_choices_to_a_network(nas, folder, monkeypatch):
    (kind, module), *steps = BLOCKS
    assert kind == "python"
    (folder / "mymodule.py").write_text(module)
    names, said = {}, []
    for kind, text in steps:
        if kind == "python":
            if "load_network" in text:
                # The page says that the reader's module is not needed.
                (folder / "mymodule.py").unlink()
                sys.modules.pop("mymodule", None)
            exec(compile(text, str(PAGE), "exec"), names)
        else:
            for line in text.replace("\\\n", " ").splitlines():
                program, *args = shlex.split(line)
                assert program == "nas"
                result = nas(*args, *(["--device", "cpu"] if args[0] == "pipeline" else []))
                assert result.exit_code == 0, result.output
                said.append(result.stdout)
    spaces, cost, within, pipeline, search = said
    assert "1,728 architectures" in spaces
    assert "665,328" in cost
    assert f"{names['small'].count():,} architectures" in within
    assert (folder / "runs" / "own" / "report.html").is_file()
    assert "mymodule" not in sys.modules
    assert "runs/own" in pipeline
    assert "winner:" in search
    network = names["network"]
    assert not network.training
    assert network.space.num_classes == 10
