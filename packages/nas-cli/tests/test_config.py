import attrs
import pytest

from nas_cli.config import (
    differences,
    from_toml,
    override,
    parse_setting,
    read_config,
    resolve,
    to_toml,
)
from nas_cli.recipes import RECIPES
from nas_cli.scales import SCALES
from nas_spaces import InputError, published, to_json


def changed(*texts):
    return resolve([parse_setting(text) for text in texts])


def test_defaults_are_the_recipe_at_the_scale_of_the_digits():
    config = resolve([])
    assert (config.method, config.space, config.data) == ("spos", "digits-mobile", "digits")
    assert config.limits == ("macs<=50%",)
    assert config.train.epochs == SCALES["digits"]["train"]["epochs"]
    assert config.search.population == RECIPES["spos"]["search"]["population"]


@pytest.mark.parametrize(
    ("settings", "sampler"),
    [
        ([], "constrained"),
        (["data=cifar10"], "constrained"),
        (["limits=[]"], "uniform"),
        (['limits=["params<=30k"]'], "constrained"),
        (["supernet.sampler=uniform"], "uniform"),
        (["supernet.sampler=auto", "limits=[]"], "uniform"),
        (["supernet.sampler=constrained", "limits=[]"], "constrained"),  # refused by the training
    ],
)
def test_the_sampler_follows_the_limits(settings, sampler):
    config = changed(*settings)
    assert config.supernet.sampler == sampler
    assert f'sampler = "{sampler}"' in to_toml(config)


def test_a_trained_run_keeps_its_sampler():
    config = changed()
    assert override(config, [{"limits": []}]).supernet.sampler == "constrained"
    asked = override(config, [parse_setting("supernet.sampler=auto")])
    assert differences(config, asked) == {}


@pytest.mark.parametrize(
    ("settings", "space", "batch"),
    [
        (["data=cifar10"], "nas-bench-macro", SCALES["small"]["train"]["batch_size"]),
        (["data=imagefolder:x"], "spos-shufflenet", 1024),
        (["data=imagefolder:x", "space=nas-bench-macro"], "nas-bench-macro", 128),
        (["data=imagefolder:x", "resolution=32"], "nas-bench-macro", 128),
        (["data=cifar10", "space=spos-shufflenet"], "spos-shufflenet", 1024),
        (["data=cifar10", "train.batch_size=96"], "nas-bench-macro", 96),
    ],
)
def test_scale_follows_data_and_resolution(settings, space, batch):
    config = changed(*settings)
    assert (config.space, config.train.batch_size) == (space, batch)


def test_scale_of_a_space_in_a_file(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(to_json(published.load("nas-bench-macro")))
    assert changed("data=imagefolder:x", f"space={path}").train.batch_size == 128


def test_later_settings_count():
    config = resolve([{"train": {"epochs": 3, "lr": 0.5}}, {"train": {"epochs": 4}}])
    assert (config.train.epochs, config.train.lr) == (4, 0.5)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["train.clip=none"],
        ["retrain.micro_batch=8", "limits=[]", "threads=none"],
        ["resolution=16", 'limits=["macs<=3M", "params>=1k"]', "images.subset=100"],
        ["method=ponas", "meta.clip=none"],
        ["method=ponas", "meta=none"],
        ["method=betanas", "alphas.drop=none"],
    ],
)
def test_written_settings_are_read_back(tmp_path, settings):
    config = changed(*settings)
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert read_config(path) == config
    assert resolve([from_toml(path)]) == config


def test_every_setting_is_written():
    def count(record):
        values = [getattr(record, f.name) for f in attrs.fields(type(record))]
        return sum(count(value) if attrs.has(type(value)) else 1 for value in values)

    config = changed("limits=[]")
    lines = [line for line in to_toml(config).splitlines() if "=" in line]
    assert len(lines) == count(config)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("trian.epochs=3", "did you mean 'train.epochs'?"),
        ("train.epcohs=3", "did you mean 'train.epochs'?"),
        ("epochs=3", "did you mean 'train.epochs'?"),
        ("completely.different=3", "every setting stands in a run's config.toml"),
        ("train=3", "'train' is a table, received 3; set one of its keys, like train.epochs"),
        ("train.epochs.most=3", "'train.epochs' is no table"),
        ("meta=3", "'meta' is a table, received 3; set one of its keys, like meta.epochs"),
        ("meta.epcohs=3", "did you mean 'meta.epochs'?"),
        ("meta.epochs=3", "meta.batch_size required field missing"),
        ("train=none", "'train' is a table, received None"),
        ("alphas.variant=two", "alphas.variant cannot be 'two': did you mean 'two-path'?"),
        ("alphas.drop=shares", "did you mean 'share'?"),
        ("alphas.beta1=1", "alphas.beta1 must be < 1; received 1.0"),
        ("train.epochs=abc", "train.epochs must be a number; received 'abc'"),
        ("train.epochs=-1", "train.epochs must be > 0; received -1.0"),
        ("train.epochs=none", "train.epochs must be a number; received None"),
        ("train.lr=inf", "train.lr must be a number; received inf"),
        ("train.lr=nan", "train.lr must be a number; received nan"),
        ("supernet.sampler=constraint", "did you mean 'constrained'?"),
        ("space=no_module:space", "there is no module 'no_module'"),
        ("train.optimiser=adam", "train.optimiser cannot be 'adam': did you mean 'adamw'?"),
        ("search.recalibration_images=1", "must be 0 or >= 2; received 1"),
        ("seed=1.5", "seed must be a whole number; received 1.5"),
        ("seed=true", "seed must be a whole number; received True"),
        ("seed=-1", "seed must be >= 0; received -1"),
        ("images.upscale=1", "images.upscale must be true or false; received 1"),
        ("device=3", "device must be a text; received 3"),
        ("limits=macs<=3M", 'limits must be a list of texts like ["macs<=50%"]'),
        ("limits=[3]", 'limits must be a list of texts like ["macs<=50%"]'),
        ("references=2w2a", 'references must be a list of texts like ["2w2a"]; received'),
        (
            "search.objectives=bitops",
            'search.objectives must be a list of texts like ["error", "bitops"]; received',
        ),
        (
            'references=["2w2a", "2w2a"]',
            "setting references must name each once; received '2w2a'",
        ),
        ("resolution=big", "resolution must be a whole number; received 'big'"),
        ("method=spoz", "method 'spoz' is unknown: did you mean 'spos'?"),
        ("method=3", "method 3 is unknown"),
        ("space=digit-mobile", "space 'digit-mobile' is unknown: did you mean 'digits-mobile'?"),
        ("space=3", "space must be a text"),
        ("space=no.json", "there is no file no.json"),
    ],
)
def test_wrong_settings_are_named(setting, says):
    with pytest.raises(InputError) as caught:
        changed(setting)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["train.epochs", "=3", " =3"])
def test_setting_of_another_form(text):
    with pytest.raises(InputError, match=r"write it like train\.epochs=3"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ("adamw", "adamw"), ("'3'", "3"), ("none", None)],
)
def test_values_of_settings(text, value):
    assert parse_setting(f"a.b={text}") == {"a": {"b": value}}


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe"])
def test_file_that_is_no_toml(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.toml is no TOML"):
        from_toml(path)


def test_damaged_settings_name_their_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(to_toml(resolve([])).split("[search]")[0])
    with pytest.raises(InputError) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert "search" in str(caught.value)


def test_differences_name_both_values():
    config = resolve([])
    other = override(config, [{"train": {"lr": 0.25}, "limits": ["macs<=1M"]}])
    assert list(differences(config, other).values()) == [
        "limits is macs<=50%, received macs<=1M",
        "train.lr is 0.3, received 0.25",
    ]


def test_differences_of_a_table_that_may_be_missing():
    ponas = changed("method=ponas")
    without = override(ponas, [{"meta": None}])
    assert without.meta is None
    told = differences(ponas, without)
    assert told["meta.epochs"] == "meta.epochs is 15.0, received none"
    assert differences(without, ponas)["meta.epochs"] == "meta.epochs is none, received 15.0"
    assert set(told) == set(differences(without, ponas))
    assert all(key.startswith("meta.") for key in told)
    assert differences(without, without) == {}


def test_settings_of_an_older_run_are_read(tmp_path):
    config = changed("supernet.sampler=uniform")
    text = to_toml(config)
    # Before there were architecture parameters and a first phase.
    old = text.replace('meta = "none"\n', "").split("[alphas]")
    old = old[0] + "[search]" + old[1].split("[search]")[1]
    (tmp_path / "config.toml").write_text(old)
    assert "alphas" not in old
    assert "meta" not in old
    assert read_config(tmp_path / "config.toml") == config


def test_where_a_run_is_computed_is_no_difference():
    config = resolve([])
    other = override(config, [{"device": "cuda:1", "images": {"root": "x", "workers": 0}}])
    assert other.device == "cuda:1"
    assert differences(config, other) == {}
