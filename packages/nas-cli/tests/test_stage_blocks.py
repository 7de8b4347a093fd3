"""Channels and bits on top of blocks: searched first in the same run, or by an earlier one."""

import contextlib
import json
import re
import shlex
import shutil

import attrs
import pytest
import torch

from nas_cli import workshop
from nas_cli.config import override, parse_setting, read_config, resolve, to_toml
from nas_cli.opening import _check_behind_blocks, _check_both, _shop
from nas_cli.run import Run, read_json, start_run
from nas_cli.run_spaces import blocks_of
from nas_cli.spaces import load_space
from nas_cli.stage_blocks import blocks_left, on_blocks, start_blocks
from nas_samplers import load_data
from nas_spaces import Block, Choice, InputError, SearchSpace, from_json, published, to_json
from nas_spaces.layers import Classifier, Conv, Identity, MBConv
from nas_spaces.torch import Network, save_network
from nas_spaces.vary import uniform_bits

CHANNELS = "digits-mobile+channels=0.5,1"


SEARCH = {"train__epochs": 1, "baselines": 0, "search__population": 4, "search__parents": 2,
          "search__crossover": 2, "search__mutation": 2, "search__generations": 1}  # fmt: skip


@pytest.fixture(scope="module")
def one(tiny):
    """Settings of a search in a few seconds."""
    return tiny(**SEARCH)


@pytest.fixture(scope="module")
def small(tiny):
    """Settings of two searches in a few seconds."""
    first = {f"blocks__{key}": value for key, value in SEARCH.items() if key != "baselines"}
    return tiny(**SEARCH, **first)


@pytest.fixture(scope="module")
def channels(nas, small, tmp_path_factory):
    """A run by spos-channels: its folder, and what was said."""
    out = tmp_path_factory.mktemp("runs") / "channels"
    result = nas("pipeline", "--method", "spos-channels", "--space", CHANNELS, "--out", out, *small)
    assert result.exit_code == 0, result.output
    return out, result


def read(path):
    return json.loads(path.read_text())


def winner(run):
    return read(run / "searches/main/result.json")["winner"]


def test_blocks_are_searched_first_and_then_fixed(channels):
    out, result = channels
    blocks = winner(out / "blocks")
    row = ",".join(map(str, blocks))
    assert f"blocks:   {row}, {out / 'blocks' / 'report.html'}" in result.stderr.replace("\n", "")
    first, then = read_config(out / "blocks/config.toml"), read_config(out / "config.toml")
    assert (first.method, first.space, first.limits) == ("spos", "digits-mobile", ("macs<=50%",))
    # The settings say how to find the blocks again, not which they were.
    assert (then.method, then.space, then.blocks["method"]) == ("spos-channels", CHANNELS, "spos")
    assert (first.train.epochs, first.train.lr, first.baselines) == (1, 0.3, 5)
    assert (first.images, first.seed, first.threads) == (then.images, then.seed, then.threads)
    space = from_json((out / "space.json").read_text())
    assert space.blocks == load_space(f"digits-mobile@{row}+channels=0.5,1").blocks
    assert not (out / "blocks/best").exists()


def test_the_usual_channels_are_trained_beside_the_winner(channels):
    out, _ = channels
    first, reference = read(out / "searches/main/retrain/result.json")["candidates"]
    assert (first["name"], first["architecture"]) == ("winner", winner(out))
    assert reference["name"] == "channels"
    space = from_json((out / "space.json").read_text())
    assert reference["architecture"] == [1] * space.num_choices
    blocks = read(out / "blocks/searches/main/result.json")
    assert reference["macs"] == blocks["values"]["macs"]


def test_both_searches_read_the_images_once(nas, small, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(workshop, "load_data", lambda *a, **k: read.append(a) or load_data(*a, **k))
    options = ("--method", "spos-channels", "--space", CHANNELS, *small)
    result = nas("pipeline", "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert len(read) == 1
    # Blocks may be searched on images of their own; those of the run do not wait in memory.
    options = (*options, "--set", "blocks.images.held_out=0.5")
    result = nas("pipeline", "--out", tmp_path / "other", *options)
    assert result.exit_code == 0, result.output
    assert len(read) == 4
    splits = [read_json(tmp_path / one / "data.json") for one in ("other", "other/blocks")]
    assert splits[0]["held_out"] < splits[1]["held_out"]


def test_the_report_says_where_the_blocks_come_from(channels):
    out, _ = channels
    page = (out / "report.html").read_text()
    row = ",".join(map(str, winner(out / "blocks")))
    link = '<a href="blocks/report.html">their report</a>'
    assert f"searched first, by spos: <code>{row}</code>, see {link}" in page
    assert (out / "blocks/report.html").exists()


def test_a_run_stopped_between_its_searches_goes_on(channels, nas, small, tmp_path):
    out, _ = channels
    copy = tmp_path / "run"
    shutil.copytree(out, copy)
    # As it is when the blocks are found and nothing of what follows has begun.
    for path in copy.iterdir():
        if path.name not in ("blocks", "config.toml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = nas("pipeline", "--resume", "--out", copy)
    assert result.exit_code == 0, result.output
    for name in ("space.json", "history.csv", "best/model.safetensors", "config.toml"):
        assert (copy / name).read_bytes() == (out / name).read_bytes()
    # And once more, with nothing left to do.
    again = nas("pipeline", "--resume", "--out", copy, "--method", "spos-channels", *small)
    assert again.exit_code == 0, again.output
    assert "blocks:" not in again.stderr


@pytest.mark.parametrize("stage", ["blocks", "config"])
def test_killed_in_the_first_search_or_before_its_settings(
    channels, forked, small, tmp_path, stage
):
    out, _ = channels
    copy = tmp_path / "run"
    options = ("--method", "spos-channels", "--space", CHANNELS, *small)
    kill = {"replace": 1 if stage == "config" else 6}
    status, said = forked("pipeline", "--out", copy, *options, kill=kill)
    assert status < 0, said
    assert (copy / "blocks").exists()
    assert not (copy / "space.json").exists()
    given = options if stage == "config" else ()
    assert not given or not (copy / "config.toml").exists()
    status, said = forked("pipeline", "--resume", "--out", copy, *given)
    assert status == 0, said
    for name in ("space.json", "history.csv", "best/model.safetensors"):
        assert (copy / name).read_bytes() == (out / name).read_bytes()


def test_the_end_proposes_a_run_on_the_same_blocks(channels, nas, tmp_path):
    out, _ = channels
    last = nas("pipeline", "--resume", "--out", out).stdout.splitlines()[-1]
    command = last.removeprefix("next:   nas pipeline ")
    assert command.startswith(f"--config {out}/config.toml --blocks {out}/blocks --limit 'macs<=")
    result = nas("train", *shlex.split(command), "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    row = ",".join(map(str, winner(out / "blocks")))
    assert read_config(tmp_path / "run/config.toml").space == f"digits-mobile@{row}+channels=0.5,1"


def test_blocks_of_an_earlier_run(channels, nas, one, tmp_path):
    out, _ = channels
    row = ",".join(map(str, winner(out / "blocks")))
    options = ("--method", "spos-channels", "--blocks", out / "blocks", *one)
    result = nas("pipeline", "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    config = read_config(tmp_path / "run/config.toml")
    # What the method varies, as no other space was named.
    assert (config.space, config.blocks) == (f"digits-mobile@{row}+channels", None)
    assert not (tmp_path / "run/blocks").exists()
    again = nas("pipeline", "--out", tmp_path / "run", "--resume", *options)
    assert again.exit_code == 0, again.output
    # What is resumed knows its method and what it adds; the blocks must be those that it has.
    resume = ("pipeline", "--out", tmp_path / "run", "--resume", "--blocks")
    again = nas(*resume, out / "blocks")
    assert again.exit_code == 0, again.output
    shutil.copytree(out / "blocks", tmp_path / "others")
    result = tmp_path / "others/searches/main/result.json"
    found = read(result)
    result.write_text(
        json.dumps({**found, "winner": [(found["winner"][0] + 1) % 5, *found["winner"][1:]]})
    )
    other = nas(*resume, tmp_path / "others")
    assert other.exit_code == 2
    assert "the run was begun with other blocks, space digits-mobile@" in other.output
    own = nas("pipeline", "--out", out, "--resume", "--blocks", out / "blocks")
    assert own.exit_code == 2
    assert "the run was begun with its own blocks; leave --blocks out" in own.output
    # And on top of that, which has channels already.
    deeper = nas(
        "train", "--out", tmp_path / "deeper", "--blocks", tmp_path / "run",
        "--space", "+channels=0.5,1", "--limit", "macs<=80%", *one,
    )  # fmt: skip
    assert deeper.exit_code == 0, deeper.output
    channels_row = ",".join(map(str, winner(tmp_path / "run")))
    config = read_config(tmp_path / "deeper/config.toml")
    assert config.space == f"digits-mobile@{row}+channels@{channels_row}+channels=0.5,1"


def test_images_are_those_of_the_earlier_run(channels, tmp_path, edit_config):
    out, _ = channels
    shutil.copytree(out / "blocks", tmp_path / "blocks")
    edit_config(tmp_path / "blocks", "seed = 0", "seed = 7")
    given = on_blocks(tmp_path / "blocks", [{"method": "spos-channels"}])
    config = resolve(given)
    assert (config.images.subset, config.seed) == (300, 7)
    # Unless others are named.
    config = resolve(
        on_blocks(tmp_path / "blocks", [{"method": "spos-channels", "data": "digits"}])
    )
    assert (config.images.subset, config.seed) == (None, 0)


def test_a_space_that_has_changed_since_is_refused(channels, tmp_path, edit_config):
    out, _ = channels
    shutil.copytree(out / "blocks", tmp_path / "blocks")
    space = tmp_path / "space.json"
    space.write_text(to_json(published.load("digits-mobile", classes=4)))
    edit_config(tmp_path / "blocks", '"digits-mobile"', f'"{space}"')
    with pytest.raises(InputError, match="is not the one that it was begun with"):
        on_blocks(tmp_path / "blocks", [{"method": "spos-channels"}])


@pytest.mark.parametrize("data", ["digits", "cifar10", "imagefolder:x"])
def test_blocks_come_first_at_every_scale(tmp_path, data):
    config = resolve([{"method": "spos-channels", "data": data}])
    run = Run(tmp_path, config, None)
    assert blocks_left(run)
    assert not blocks_left(Run(tmp_path, attrs.evolve(config, blocks=None), None))
    for method in ("spos-bits", "spos-joint"):
        assert not blocks_left(Run(tmp_path, resolve([{"method": method, "data": data}]), None))


def test_settings_of_a_run_repeat_it(channels, nas, tmp_path):
    out, _ = channels
    result = nas("pipeline", "--config", out / "config.toml", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    for name in ("blocks/config.toml", "config.toml", "history.csv", "best/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (out / name).read_bytes()


def test_a_report_before_the_blocks_are_found(channels, nas, tmp_path):
    out, _ = channels
    shutil.copytree(out / "blocks", tmp_path / "run/blocks")
    shutil.copy(out / "config.toml", tmp_path / "run")
    result = nas("report", tmp_path / "run")
    assert result.exit_code == 2
    assert f"nas report {tmp_path / 'run/blocks'}" in result.output


def test_a_folder_of_that_name_alone_is_no_search_of_blocks(channels, nas, small, tmp_path):
    out, _ = channels
    shutil.copytree(out / "blocks", tmp_path / "run/blocks")
    result = nas("train", "--out", tmp_path / "run", *small)
    assert result.exit_code == 2
    assert "is not empty and holds no run" in result.output
    assert blocks_of(tmp_path / "run/blocks") is None


def test_bits_start_from_a_network_of_other_bits(nas, one, tmp_path):
    space = uniform_bits(load_space("digits-resnet"), [0] * 6, 4)
    save_network(Network(space, generator=torch.Generator().manual_seed(0)), tmp_path / "4w4a")
    weights = tmp_path / "4w4a/model.safetensors"
    options = ("--method", "spos-bits", "--weights", weights, *one)
    name = "digits-resnet@0,0,0,0,0,0+bits=2w2a,3w3a"
    limit = ("--limit", "bitops<=14M")
    result = nas("train", "--out", tmp_path / "run", *options, "--space", name, *limit)
    assert result.exit_code == 0, result.output
    assert (
        f"supernet: starts from {weights}, 24 tensors are new, 12 clipping levels of bits "
        "that it does not have are left out"
    ) in result.stderr
    assert "space:    digits-resnet@...+bits=2w2a,3w3a: 64 architectures" in result.stderr


def test_bits_start_from_weights_in_full_precision(nas, one, tmp_path):
    network = Network(load_space("digits-resnet@0,0,0,0,0,0"), generator=torch.Generator())
    save_network(network, tmp_path / "float")
    weights = tmp_path / "float/model.safetensors"
    options = ("--method", "spos-bits", "--weights", weights, *one)
    result = nas("train", "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert f"supernet: starts from {weights}, 24 tensors are new" in result.stderr
    other = nas("train", "--out", tmp_path / "other", "--method", "spos", *options[2:])
    assert other.exit_code == 2
    assert "of the network correspond to none of space 'digits-mobile'" in other.output


def test_weights_that_no_blocks_could_start_from(nas, small, tmp_path):
    weights = tmp_path / "junk.pth"
    weights.write_text("no tensors")
    options = ("--out", tmp_path / "run", "--weights", weights, "--space", CHANNELS, *small)
    result = nas("pipeline", *options, "--method", "spos-channels")
    assert result.exit_code == 2
    assert "cannot be read as tensors" in result.output
    result = nas("pipeline", *options, "--method", "fnas", "--set", "blocks.method=spos",
                 "--limit", "macs<=80%")  # fmt: skip
    assert result.exit_code == 2
    assert "they are for a supernet" in result.output
    save_network(Network(load_space("digits-mobile@0,0,0,0,0,0,0,0"), generator=torch.Generator()),
                 tmp_path)  # fmt: skip
    result = nas("pipeline", *options, "--weights", tmp_path / "model.safetensors",
                 "--set", "supernet.affine=false", "--method", "spos-channels")  # fmt: skip
    assert result.exit_code == 2
    assert "has no place; add --set supernet.affine=true" in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["oneshot", "betanas", "proxyless", "gumbel", "darts"])
def test_methods_that_cannot_choose_blocks_and_channels_at_once(method, one, tmp_path):
    given = [{"method": method, "space": CHANNELS, "data": "digits", "limits": ["macs<=400k"]}]
    settings = [parse_setting(setting) for setting in one if "=" in setting]
    run = start_run(tmp_path / "run", [*given, *settings, {"blocks": {}}], resume=False)
    shop = _shop(run)
    _check_behind_blocks(shop)
    wrong = override(run.config, [{"search": {"objectives": ["error", "weight"]}}])
    with pytest.raises(InputError, match="'weight' is unknown"):
        _check_behind_blocks(_shop(attrs.evolve(run, config=wrong), shop.data))
    run.close()


def test_a_limit_that_no_blocks_can_meet_is_refused_before_them(nas, small, tmp_path):
    options = ("--method", "spos-channels", "--space", CHANNELS, *small)
    # Of the largest network with any blocks at least half is in what is fixed.
    result = nas("pipeline", "--out", tmp_path / "run", *options, "--limit", "macs<=45%")
    assert result.exit_code == 2
    why = "; so it is of 20 random blocks within macs<=50% with each: change --limit, or blocks"
    assert why in result.output.replace("\n", " ")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def both(tmp_path, one):
    """Make a run that searches blocks first, and what is said before: ``both(settings)``."""

    def check(**given):
        settings = [parse_setting(setting) for setting in one if "=" in setting]
        given = {"method": "spos-channels", "space": CHANNELS, "data": "digits", **given}
        run = start_run(tmp_path / "run", [*settings, given], resume=False)
        try:
            blocks = start_blocks(run)
            with contextlib.closing(blocks):
                return _check_both(run, blocks)
        finally:
            run.close()

    return check


def test_a_limit_that_some_blocks_cannot_meet_is_told_before_them(both, capsys):
    # Half of all networks within macs<=50% have more even with half of the channels.
    both(limits=["macs<=285k"])
    note = r"of 20 random blocks within macs<=50% (\d+) could not be gone on with \(no architecture"
    said = re.search(note, capsys.readouterr().err.replace("\n", " "))
    assert 0 < int(said[1]) < 20
    both(limits=["macs<=400k"])
    assert "random blocks" not in capsys.readouterr().err


def test_limits_are_of_the_images(both):
    # Of 32 x 32 pixels in colour, nothing in it has fewer than 7.7M multiply-adds.
    given = {"space": "nas-bench-macro+channels=0.5,1", "resolution": 8}
    both(**given, limits=["macs<=4M"])
    with pytest.raises(InputError, match=r"no architecture of space .* satisfies macs <= 100,000 "):
        both(**given, limits=["macs<=100k"])


def test_random_blocks_without_channels_are_none_that_could_be_gone_on_with(both, tmp_path, capsys):
    layers = [MBConv(8, 3, expand=3), Identity()]
    names = ("a", "b")
    space = SearchSpace(
        "two",
        (1, 8, 8),
        [Choice(name, ("mb", "identity")) for name in names],
        [
            Block("stem", [Conv(8, 3)]),
            *(Block(name, layers, reads=[name]) for name in names),
            Block("head", [Classifier(10)]),
        ],
    )
    path = tmp_path / "two.json"
    path.write_text(to_json(space))
    both(space=f"{path}+channels=0.5,1", limits=["macs<=95%"], blocks={"limits": []})
    said = capsys.readouterr().err.replace("\n", " ")
    assert "of 20 random blocks within no limits" in said
    assert "has no layer inside which scales" in said


def test_a_limit_that_the_blocks_found_cannot_meet(channels, nas, one, tmp_path, edit_config):
    # As a run is when its blocks are found and nothing of what follows has begun.
    out = tmp_path / "late"
    shutil.copytree(channels[0] / "blocks", out / "blocks")
    shutil.copy(channels[0] / "config.toml", out)
    edit_config(out, '"macs<=64%"', '"macs<=45%"')
    result = nas("pipeline", "--resume", "--out", out)
    assert result.exit_code == 2
    hint = f"the blocks are found and kept: begin another run, with --blocks {out / 'blocks'}"
    assert hint in result.output.replace("\n", " ")
    other = ("--out", tmp_path / "other", "--method", "spos-channels", *one)
    wrong = nas("pipeline", *other, "--blocks", out)
    assert f"or take its own: --blocks {out / 'blocks'}" in wrong.output.replace("\n", " ")
    right = nas("train", *other, "--blocks", out / "blocks", "--limit", "macs<=80%")
    assert right.exit_code == 0, right.output


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--set", "blocks.train.lr=-1"), "blocks: setting train.lr must be > 0"),
        (("--set", 'references=["3w3a"]'), "references=3w3a"),
    ],
)
def test_what_needs_no_images_is_said_before_they_are_read(nas, tmp_path, option, reason):
    images = ("--data", f"imagefolder:{tmp_path / 'nowhere'}")
    result = nas(
        "pipeline", "--out", tmp_path / "run", "--method", "spos-channels", *images, *option
    )
    assert result.exit_code == 2
    assert reason in result.output
    assert "loading torch" not in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        ("train", (), "searches the blocks first: run `nas pipeline`, or give --blocks RUN"),
        (
            "pipeline",
            ("--space", "digits-mobile"),
            "space digits-mobile has nothing to search behind the blocks; add +channels or +bits",
        ),
        (
            "pipeline",
            ("--space", "digits-mobile+channels=0.001"),
            "leaves 0; at least 1 is needed",
        ),
        ("pipeline", ("--set", "blocks.space=digits-mobile"), "blocks.space cannot be set: the bl"),
        ("pipeline", ("--set", "blocks.blocks.method=spos"), "blocks.blocks cannot be set"),
        (
            "pipeline",
            ("--set", "blocks.method=spos-bits"),
            """layers only; limit macs or traffic; give that search its own, like --set 'blocks.""",
        ),
        (
            "pipeline",
            ("--space", "resnet20+channels=0.5,1", "--set", "blocks.train.epochs=1"),
            "setting blocks says how blocks are searched first, and those of space resnet20 are",
        ),
        ("pipeline", ("--set", "references=[\"3w17a\"]"), "references must be 'channels' or bits"),
        ("pipeline", ("--set", "references=[\"3w3a\"]"), "references=3w3a: space"),
        ("pipeline", ("--set", "blocks.method=spoz"), "method 'spoz' is unknown: did you mean"),
        ("pipeline", ("--set", "blocks.train.epoch=1"), "setting 'blocks.train.epoch' is unknown"),
        ("pipeline", ("--set", "blocks.limits=[\"macs<=1k\"]"), "satisfies macs <= 1,000"),
        ("pipeline", ("--limit", "macs<=1k"), "satisfies macs <= 1,000"),
        ("pipeline", ("--limit", "bitops<=50%"), "counted of quantised layers only"),
        ("pipeline", ("--set", "search.crossover=9"), "and mutation=2 make 11 children"),
        (
            "pipeline",
            ("--set", "limits=[]", "--set", "supernet.sampler=constrained"),
            "supernet.sampler=constrained needs a limit",
        ),
        ("pipeline", ("--weights", "none.pth"), "weights: there is no file none.pth"),
        ("pipeline", ("--space", "+channels"), "put a space's name before it, or give the blocks"),
        ("pipeline", ("--blocks", "nowhere"), "--blocks nowhere has its blocks already; leave"),
        (
            "pipeline",
            ("--space", "digits-resnet+channels=0.5,1@0,0,0,0,0,0,0,0,0,0,0,0+bits"),
            "fixes choices behind what it adds, and blocks that are searched first are none yet",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(nas, small, tmp_path, command, options, reason):
    method = ("--method", "spos-channels")
    result = nas(command, "--out", tmp_path / "run", *method, *small, *options)
    assert result.exit_code == 2
    assert reason in result.output
    assert not (tmp_path / "run").exists()


def test_a_published_space_of_channels_has_them_already(tmp_path):
    name = "spos-shufflenet-channels"
    config = resolve([{"method": "spos", "space": name, "data": "synthetic"}])
    (tmp_path / "config.toml").write_text(to_toml(config))
    (tmp_path / "space.json").write_text(to_json(published.load(name)))
    (tmp_path / "searches/main").mkdir(parents=True)
    (tmp_path / "searches/main/result.json").write_text(json.dumps({"winner": [0] * 20}))
    already = rf"channels are searched there already \(space {name}\); give --space \+channels to"
    with pytest.raises(InputError, match=already):
        on_blocks(tmp_path, [{"method": "spos-channels"}])


def test_blocks_that_cannot_be_taken(nas, trained, channels, one, tmp_path):
    out, _ = channels
    for path, method, reason in (
        ("nowhere", "spos-channels", "nowhere holds no run"),
        (trained, "spos-channels", "its search is not finished; go on with it first"),
        (out / "blocks", "spos", "method spos adds nothing to blocks; take one that does"),
        (out / "blocks", "spos-bits", "has no layer that can be quantised"),
        (out / "blocks", "spos --space nas-bench-macro+channels", "of space digits-mobile, recei"),
        (out / "blocks", "spos --space digits-mobile", "space digits-mobile adds nothing to bl"),
        (
            out,
            "spos-channels",
            f"channels are searched there already (space {CHANNELS}); give "
            f"--blocks {out / 'blocks'} for its blocks alone, or --space "
            "+channels to vary what it found once more",
        ),
        (
            out,
            "spos-joint",
            "for its blocks alone, or --space +bits for what is not, or --space +bits+channels",
        ),
    ):
        options = ["--method", *method.split(), "--blocks", path, *one]
        result = nas("pipeline", "--out", tmp_path / "run", *options)
        assert result.exit_code == 2
        assert reason in result.output.replace("\n", " ")
    (tmp_path / "blocks/searches/main").mkdir(parents=True)
    for name in ("config.toml", "space.json"):
        shutil.copy(out / "blocks" / name, tmp_path / "blocks")
    for content, reason in (
        ("{}", "it lacks winner"),
        ('{"winner": [0, 1]}', "winner: archs has 2 columns"),
        ('{"winner": [9, 0, 0, 0, 0, 0, 0, 0]}', "winner: archs[0, 0] is 9"),
        ('{"winner": "none"}', "winner: archs has 1 dimensions"),
    ):
        (tmp_path / "blocks/searches/main/result.json").write_text(content)
        result = nas("train", "--method", "spos-channels", "--blocks", tmp_path / "blocks", *one)
        assert result.exit_code == 2
        assert f"result.json is damaged ({reason}" in result.output.replace("\n", "")
