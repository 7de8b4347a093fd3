import re
import shlex
from pathlib import Path

import attrs
import click
import pytest

from nas_cli.config import resolve
from nas_cli.main import main
from nas_cli.scales import SCALES, default_space
from nas_cli.spaces import load_space
from nas_spaces.testing import check_space

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = re.findall(r"^    (nas .*)$", README, flags=re.MULTILINE)
ROWS = re.findall(r"^\| `([\w.]+)` \| (\S+) \| (\S+) \| (\S+) \|", README, flags=re.MULTILINE)
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
QUICK = ("spaces", "cost", "settings")


def test_every_command_is_shown():
    assert {command.split()[1] for command in COMMANDS} == set(main.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_or_are_understood(nas, command):
    _, name, *args = shlex.split(command)
    if name in QUICK:
        assert nas(name, *args).exit_code == 0
    else:
        # Reads the arguments as `nas` would, and stops there.
        with click.Context(main) as parent:
            assert main.commands[name].make_context(name, args, parent=parent).params


def test_every_option_is_explained():
    options = {
        option
        for command in main.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    assert not [option for option in options if f"{option}" not in README]


@pytest.mark.parametrize("column", [1, 2, 3])
def test_defaults_are_those_of_the_table(column):
    data = {1: "digits", 2: "cifar10", 3: "imagefolder:x"}[column]
    config = resolve([{"data": data}])
    assert len(ROWS) > 10
    for row in ROWS:
        value = attrs.asdict(config)
        for key in row[0].split("."):
            value = value[key]
        value = list(value) if isinstance(value, tuple) else value
        shown = "none" if value is None else str(value).lower()
        assert shown.removesuffix(".0") == row[column].removesuffix(".0"), row[0]


@pytest.mark.parametrize("method", ["spos-channels", "spos-bits", "spos-joint"])
def test_default_spaces_are_those_of_the_table(method):
    spaces = " | ".join(f"`{default_space(method, scale)}`" for scale in SCALES)
    assert f"| `{method}` | {spaces} |" in README


def test_the_folder_is_as_shown(finished):
    tree = README.split("## A run's folder")[1].split("```")[1]
    shown = {part.strip(",") for part in re.split(r"\s+", tree)}
    for path in finished.iterdir():
        name = path.name + "/" * path.is_dir()
        assert name.startswith(".") or name in shown or name == "searches/", name
    for name in ("search.json", "history.csv", "random.csv", "result.json"):
        assert name in shown
        assert (finished / "searches" / "main" / name).is_file()


def test_a_space_of_ones_own(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme_module.py").write_text(EXAMPLES[0])
    assert "9 architectures of 2 choices" in nas("spaces", "readme_module:space").stdout
    space = load_space("readme_module:space", classes=3, resolution=32, in_channels=3)
    check_space(space)
    assert (space.input_shape, space.num_classes) == ((3, 32, 32), 3)


def test_the_example_runs(finished):
    _, block = EXAMPLES
    names = {}
    exec(compile(block.replace("runs/digits", str(finished)), "README.md", "exec"), names)
    assert not names["network"].training
