"""The page that lists the published spaces and architectures says what is true."""

import re
from pathlib import Path

import pytest

import nas_hw
from nas_spaces import published

PAGE = Path(__file__).parents[2] / "nas-spaces" / "docs" / "spaces.md"
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| `")
]
SPACES = {row[0]: row for row in ROWS if len(row) == 6}
ARCHITECTURES = {row[0]: row for row in ROWS if len(row) == 5}


def test_it_lists_everything():
    assert set(SPACES) == set(published.SPACES)
    assert set(ARCHITECTURES) == set(published.ARCHITECTURES)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_spaces(name):
    space = published.load(name)
    _, choices, rows, image, _, _ = SPACES[name]
    assert int(choices) == space.num_choices
    assert rows in (f"{space.size:,}", f"{space.size:.4g}")
    assert int(image) == space.input_shape[1]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_architectures(name):
    space, arch = published.architecture(name)
    _, home, macs, params, source = ARCHITECTURES[name]
    assert home == (space.name if space.num_choices else "none")
    network = space.fix(arch)
    assert macs == f"{nas_hw.macs(network)([[]])[0]:,}"
    assert params == f"{nas_hw.params(network)([[]])[0]:,}"
    convention = re.search(r"\(`([\w-]+)`\)", source)
    if convention is not None:
        # To the digits that the source prints.
        printed, digits = re.match(r"(\d+(?:\.(\d+))?)M", source).groups()
        table = nas_hw.macs(network, convention=convention[1])
        assert f"{table([[]])[0] / 1e6:.{len(digits or '')}f}" == printed
