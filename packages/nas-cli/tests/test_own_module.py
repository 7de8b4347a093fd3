"""Runs on a space named as module:attribute, whatever becomes of the module."""

import json
import sys
import textwrap

import pytest

from nas_spaces import from_json
from nas_spaces.torch import load_network

CODE = """
    from attrs import frozen
    from nas_spaces import Block, Choice, SearchSpace
    from nas_spaces.layers import Classifier, Conv
    from nas_spaces.primitives import GraphBuilder

    LAYER

    def space(*, classes=10, resolution=8, in_channels=1):
        kernels, widths = (1, 3, 5), (4, 6, 8)
        return SearchSpace(
            "own",
            (in_channels, resolution, resolution),
            (Choice("a", kernels), Choice("b", kernels), Choice("width", widths)),
            (
                Block("first", [Conv(8, kernel) for kernel in kernels], reads=("a",)),
                Block("second", [Conv(8, kernel, 2) for kernel in kernels], reads=("b",)),
                Block("third", [Wide(width) for width in widths], reads=("width",)),
                Block("fourth", [Conv(12, 3)]),
                Block("head", [Classifier(classes)]),
            ),
        )

    fixed = space(classes=7)
"""
PLAIN = "def Wide(width):\n        return Conv(width, 3)"
LAYER = """@frozen
    class Wide:
        channels: int

        def graph(self, shape):
            build = GraphBuilder(shape)
            build.convolution("conv", "input", self.channels, kernel=3)
            return build.graph
"""
EASY = ("--limit", "macs<=80%")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write ``mine.py`` into the current folder, to be imported anew."""
    monkeypatch.chdir(tmp_path)
    # What is written again within a second, as long as before, looks compiled already.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(layer):
        sys.modules.pop("mine", None)
        (tmp_path / "mine.py").write_text(textwrap.dedent(CODE.replace("LAYER", layer)))

    yield write
    sys.modules.pop("mine", None)


def forget(tmp_path):
    (tmp_path / "mine.py").unlink()
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    "layer", [PLAIN, LAYER], ids=["layers of nas_spaces", "a layer of its own"]
)
def test_a_pipeline(nas, tiny, module, tmp_path, layer):
    module(layer)
    out = tmp_path / "run"
    options = ["--space", "mine:space", *EASY, *tiny(baselines=1, search__generations=1)]
    result = nas("pipeline", "--out", out, *options, "--json")
    assert result.exit_code == 0, result.output
    assert "space:    own: 27 architectures, images 1 x 8 x 8" in result.stderr
    assert len(json.loads(result.stdout)["search"]["winner"]) == 3
    assert "mine:space" in (out / "config.toml").read_text()
    assert nas("report", out).exit_code == 0
    assert nas("search", out, "--name", "more", "--limit", "macs<=70%").exit_code == 0
    # Nothing but nas-spaces is needed to use what was found.
    forget(tmp_path)
    assert load_network(out / "best").space.num_classes == 10


def test_the_module_may_be_gone_once_a_run_is_begun(nas, tiny, module, tmp_path):
    module(PLAIN)
    out = tmp_path / "run"
    assert nas("train", "--out", out, "--space", "mine:space", *EASY, *tiny()).exit_code == 0
    forget(tmp_path)
    for command in (["search", out], ["train", "--resume", "--out", out], ["report", out]):
        assert nas(*command).exit_code == 0
    # Another space of that name plays no part either.
    (tmp_path / "mine.py").write_text("space = 3")
    assert nas("search", out, "--name", "more").exit_code == 0
    assert from_json((out / "space.json").read_text()).name == "own"


def test_layers_of_its_own_need_their_module(nas, tiny, module, tmp_path):
    module(LAYER)
    out = tmp_path / "run"
    assert nas("train", "--out", out, "--space", "mine:space", *EASY, *tiny()).exit_code == 0
    forget(tmp_path)
    result = nas("search", out)
    assert result.exit_code == 2
    assert "space mine:space: there is no module 'mine' in " in result.stderr
    module(LAYER)
    assert nas("search", out).exit_code == 0
    module(LAYER.replace("channels", "width"))
    result = nas("search", out, "--name", "more")
    assert result.exit_code == 2
    assert f"space mine:space is not the one that {out} was begun with" in result.stderr


def test_a_space_for_other_images(nas, tiny, module, tmp_path):
    module(PLAIN)
    result = nas("train", "--out", tmp_path / "run", "--space", "mine:fixed", *tiny())
    assert result.exit_code == 2
    assert (
        "space mine:fixed takes images (1, 8, 8) of 7 classes; 'digits' has (1, 8, 8) of 10"
        in result.stderr
    )
    assert not (tmp_path / "run").exists()


def test_spaces_and_cost(nas, module):
    module(LAYER)
    assert nas("spaces", "mine:fixed").stdout.startswith("own: 27 architectures of 3 choices\n")
    assert json.loads(nas("cost", "mine:space", "1,1,2", "--json").stdout)["macs"] > 0
    result = nas("cost", "mine:space")
    assert "the architecture is missing; give a row of options like 0,0,0" in result.stderr
    counted = json.loads(nas("spaces", "mine:space", *EASY, "--json").stdout)["count"]
    assert 1 < counted[0] == counted[1] < 27
