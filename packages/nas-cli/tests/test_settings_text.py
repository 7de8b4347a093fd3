import json
from pathlib import Path

import attrs
import pytest

from nas_cli.config import resolve
from nas_cli.settings_text import describe_settings, settings_page
from nas_cli.typed import flatten

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


def test_the_page_is_up_to_date():
    cure = "write it anew: python -m nas_cli.settings_text > packages/nas-cli/docs/settings.md"
    assert PAGE.read_text() == settings_page(), cure


@pytest.mark.parametrize("method", ["spos", "ponas", "fnas"])
def test_every_setting_has_its_default_and_words(nas, method):
    said = json.loads(nas("settings", "--method", method, "--json").stdout)
    config = flatten(attrs.asdict(resolve([{"method": method}])))
    assert {key: one["default"] for key, one in said.items() if key in config} == json.loads(
        json.dumps({key: value for key, value in config.items() if key in said})
    )
    # What a config.toml holds besides is a table that is none.
    assert {key for key in config if key not in said} <= {"meta", "critic", "buffer"}
    assert all(one["values"] and len(one["about"]) > 5 for one in said.values())
    assert not [key for key, one in said.items() if "`" in one["about"]]


def test_one_setting_and_one_table(nas):
    assert nas("settings", "train.lr").stdout == "train.lr = 0.3   (a number)\n" + (
        "    Peak learning rate.\n"
    )
    assert list(describe_settings("buffer")) == [
        "buffer.capacity",
        "buffer.share",
        "buffer.temperature",
    ]
    shown = nas("settings", "retrain", "--data", "cifar10").stdout
    assert shown.startswith("retrain: The winner and the networks beside it, from scratch.\n")
    assert "retrain.epochs = 50   (a number)\n    Passes over the training images." in shown


def test_all_settings_are_told_once(nas):
    shown = nas("settings").stdout
    assert "meta = none   (a table, see `nas settings meta`)" in shown
    assert "retrain.lr = 0.1   (a number)\n    As train.lr." in shown
    assert shown.count("Peak learning rate.") == 1
    assert max(map(len, shown.splitlines())) <= 100
    assert "meta.lr = 0.1   (a number)" in nas("settings", "--method", "ponas").stdout


def test_a_number_of_cores_is_nobodys_default():
    assert describe_settings("threads")["threads"]["default"] == 1
    assert describe_settings("threads", data="cifar10")["threads"]["default"] == "the cores"


def test_a_table_that_there_is_none_of_is_said_to_be_none():
    absent = "a number; there is no table meta by default"
    assert describe_settings("meta.lr")["meta.lr"]["values"] == absent
    assert describe_settings("meta.lr", "ponas")["meta.lr"]["values"] == "a number"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["trian.lr"], "did you mean 'train.lr'? `nas settings` lists all of them"),
        (["zzz"], "setting 'zzz' is unknown: `nas settings` lists all of them"),
        (["--method", "spoz"], "did you mean 'spos'?"),
        (["blocks.method"], "is one of the search before: see `nas settings method`"),
        (["--data", "digit"], "data 'digit' is unknown: did you mean 'digits'?"),
    ],
)
def test_what_is_unknown(nas, args, says):
    result = nas("settings", *args)
    assert result.exit_code == 2
    assert says in result.stderr
