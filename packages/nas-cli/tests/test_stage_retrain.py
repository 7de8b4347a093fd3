import io
import json
import shutil
import subprocess
import sys

import attrs
import numpy as np
import pytest
import torch
from rich.console import Console

import nas_cli.workshop
from nas_cli.run import open_run
from nas_cli.stage_retrain import _compare, retrain
from nas_cli.stage_search import judge_again
from nas_cli.workshop import Workshop
from nas_samplers import load_data
from nas_spaces import InputError, from_json
from nas_spaces.torch import load_network

# As somebody would use the network who has nothing but nas-spaces.
USE = """
import sys
import numpy as np, torch
from nas_spaces.torch import load_network
images, labels = (torch.from_numpy(x) for x in np.load(sys.argv[2]).values())
torch.set_num_threads(1)
with torch.inference_mode():
    right = load_network(sys.argv[1])(images).argmax(dim=1) == labels
print(100 * float(right.double().mean()))
assert not [name for name in sys.modules if name.startswith("nas_") and "nas_spaces" not in name]
"""


@pytest.fixture
def searched(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(run / "searches/main/retrain")
    shutil.rmtree(run / "best")
    return run


def candidates(run, name="main"):
    path = run / "searches" / name / "retrain" / "result.json"
    return json.loads(path.read_text())["candidates"]


def test_best_gives_the_reported_result_with_nas_spaces_alone(finished, tmp_path):
    data = load_data("digits", resolution=8, device="cpu", seed=0, subset=300)
    batches = list(data.test.fixed_batches(1000))
    images, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    np.savez(tmp_path / "test.npz", images=images, labels=labels)
    command = [sys.executable, "-c", USE, str(finished / "best"), str(tmp_path / "test.npz")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert float(said) == pytest.approx(candidates(finished)[0]["top1"], abs=1e-3)


def test_best_is_the_winner(finished):
    found = json.loads((finished / "searches/main/result.json").read_text())
    space = from_json((finished / "space.json").read_text())
    assert load_network(finished / "best").space == space.fix(found["winner"])
    record = candidates(finished)[0]
    assert record["architecture"] == found["winner"]
    assert record["supernet_error"] == found["values"]["error"]
    assert (record["macs"], record["params"]) == (
        found["values"]["macs"],
        found["values"]["params"],
    )


def test_random_networks_are_other_networks_within_the_limits(nas, searched):
    settings = ["--set", "baselines=12", "--set", "retrain.epochs=0.05"]
    assert nas("retrain", searched, *settings).exit_code == 0
    space = from_json((searched / "space.json").read_text())
    records = candidates(searched)
    assert [one["name"] for one in records] == ["winner", *(f"random-{i}" for i in range(1, 13))]
    assert all(one["macs"] <= 606_144 for one in records)
    rows = space.canonical([one["architecture"] for one in records])
    assert len(np.unique(rows, axis=0)) == 13


def test_random_networks_are_judged_by_the_supernet_as_the_search_judged_its_own(nas, searched):
    few = ("--set", "search.evaluation_images=20", "--set", "search.evaluation_batch=20")
    assert nas("search", searched, "--name", "few", *few).exit_code == 0
    errors = {}
    for name in ("main", "few"):
        retrained = nas("retrain", searched, "--name", name, "--set", "retrain.epochs=0.05")
        assert retrained.exit_code == 0
        winner, *randoms = candidates(searched, name)
        found = json.loads((searched / f"searches/{name}/result.json").read_text())
        assert winner["supernet_error"] == found["values"]["error"]
        rows = [winner["architecture"], *(one["architecture"] for one in randoms)]
        shop = Workshop(open_run(searched), Console())
        again = judge_again(shop, name, np.array(rows))
        shop.run.close()
        errors[name] = [winner["supernet_error"], *(one["supernet_error"] for one in randoms)]
        assert errors[name] == again
        for one in (winner, *randoms):
            assert f"{100 * (1 - one['supernet_error']):.2f}" in retrained.stdout
    # Of 20 images: twentieths; the same random networks, judged by the 60 of the main search.
    assert all(20 * error == round(20 * error) for error in errors["few"])
    assert errors["main"][1:] != errors["few"][1:]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_says_that_a_network_is_tested(searched, terminal):
    run, said = open_run(searched), io.StringIO()
    short = attrs.evolve(run.config.retrain, epochs=0.05)
    run.config = attrs.evolve(run.config, baselines=0, retrain=short)
    shop = Workshop(run, Console(file=said, force_terminal=terminal))
    retrain(shop, "main")
    run.close()
    [winner] = candidates(searched)
    assert (f"testing winner on {winner['test_images']}" in said.getvalue()) == terminal


def test_nothing_is_said_of_candidates_that_the_training_dropped(nas, searched):
    space = from_json((searched / "space.json").read_text())
    alive = space.mask.copy()
    alive[0, 0] = False
    record = {
        "choices": [choice.name for choice in space.choices],
        "options": [list(map(str, choice.options)) for choice in space.choices],
        "steps": [1],
        "alphas": [np.where(space.mask, 0.0, None).tolist()],
        "alive": [np.where(space.mask, alive, None).tolist()],
        "counts": [np.where(space.mask, 0, None).tolist()],
    }
    (searched / "train/alphas.json").write_text(json.dumps(record))
    settings = ("--set", "baselines=12", "--set", "retrain.epochs=0.05")
    retrained = nas("retrain", searched, *settings)
    assert retrained.exit_code == 0, retrained.output
    _, *randoms = candidates(searched)
    dropped = [one["architecture"][0] == 0 for one in randoms]
    assert 0 < sum(dropped) < len(dropped)
    assert [one["supernet_error"] is None for one in randoms] == dropped


def test_a_retraining_does_not_need_the_supernet(nas, searched):
    (searched / "train/checkpoint.safetensors").unlink()
    retrained = nas("retrain", searched, "--set", "retrain.epochs=0.05")
    assert retrained.exit_code == 0, retrained.output
    winner, *randoms = candidates(searched)
    assert winner["supernet_error"] is not None
    assert randoms
    assert all(one["supernet_error"] is None for one in randoms)


class Watched:
    """Test images that note every look at them; nothing trains on them."""

    def __init__(self, images, run, looks):
        self.images, self.run, self.looks = images, run, looks

    def __len__(self):
        return len(self.images)

    def fixed_batches(self, *args, **options):
        events = (self.run / "events.jsonl").read_text().splitlines()
        last = json.loads(events[-1])
        self.looks.append((last["stage"], last.get("status")))
        return self.images.fixed_batches(*args, **options)


def test_limits_that_random_networks_do_not_find(nas, searched, monkeypatch):
    """An answer from a table can be in a corner of which drawing at random knows nothing."""

    def nothing_drawn(space, texts):
        raise InputError("0 of 100 rows drawn satisfy all limits")

    monkeypatch.setattr("nas_cli.stage_retrain.build_limits", nothing_drawn)
    few = ("--set", "retrain.epochs=0.1")
    refused = nas("retrain", searched, *few)
    assert refused.exit_code == 2
    assert "0 of 100 rows drawn satisfy all limits; or train none, by --set" in refused.output
    alone = nas("retrain", searched, *few, "--set", "baselines=0")
    assert alone.exit_code == 0, alone.output
    assert [one["name"] for one in candidates(searched)] == ["winner"]


def test_test_images_are_seen_once_by_each_finished_network(nas, tiny, tmp_path, monkeypatch):
    run, looks = tmp_path / "run", []

    def watched(*args, **options):
        data = load_data(*args, **options)
        return attrs.evolve(data, test=Watched(data.test, run, looks))

    monkeypatch.setattr(nas_cli.workshop, "load_data", watched)
    assert nas("pipeline", "--out", run, *tiny()).exit_code == 0
    names = ("winner", "random-1", "random-2")
    assert looks == [(f"retrain/main/{name}", "finished") for name in names]


def test_networks_are_trained_on_training_and_held_out_images(nas, finished):
    lines = (finished / "events.jsonl").read_text().splitlines()
    steps = [one for one in map(json.loads, lines) if one["event"] == "step"]
    # 300 images and not 240: nine steps of 32 images are 0.96 epochs.
    last = [one for one in steps if one["stage"] == "retrain/main/winner"][-1]
    assert (last["step"], last["epoch"]) == (9, 0.96)
    last = [one for one in steps if one["stage"] == "train"][-1]
    assert (last["step"], last["epoch"]) == (15, 4.0)


def test_winners_of_other_searches_have_their_own_best(nas, searched, finished):
    nas("search", searched, "--name", "small", "--limit", "macs<=30%")
    assert nas("retrain", searched, "--name", "small").exit_code == 0
    assert not (searched / "best").exists()
    best = searched / "searches" / "small" / "best"
    network = load_network(best)
    assert (
        sum(x.numel() for x in network.parameters()) == candidates(searched, "small")[0]["params"]
    )
    assert nas("retrain", searched).exit_code == 0
    for name in ("architecture.json", "model.safetensors"):
        assert (searched / "best" / name).read_bytes() == (finished / "best" / name).read_bytes()


def test_the_winner_can_start_from_weights(nas, searched, finished):
    weights = finished / "best" / "model.safetensors"
    settings = ["--set", "retrain.epochs=0.01", "--set", "retrain.lr=1e-9", "--weights", weights]
    said = nas("retrain", searched, *settings)
    assert f"winner: starts from {weights}, 0 tensors are new" in said.stderr
    begun, ended = (load_network(run / "best").state_dict() for run in (finished, searched))
    for name, x in begun.items():
        if name.endswith("weight"):
            torch.testing.assert_close(ended[name], x, atol=1e-6, rtol=0)
    result = json.loads((searched / "searches/main/retrain/result.json").read_text())
    assert result["comparison"]["verdict"].endswith("; only the winner began from weights")
    # Going on takes them from the run.
    shutil.rmtree(searched / "searches/main/retrain/winner")
    (searched / "searches/main/retrain/result.json").unlink()
    assert f"starts from {weights}" in nas("retrain", searched).stderr


def test_verdicts():
    better, worse = _compare(99.0, 97.0, 97.1, 96.9), _compare(95.0, 97.0, 97.1, 96.9)
    assert better["verdict"] == (
        "the winner is 2.00 percentage points better than 3 random architectures within the same "
        "limits on average"
    )
    assert better["low"] > 0
    assert "2.00 percentage points worse" in worse["verdict"]
    assert worse["high"] < 0
    none = _compare(97.2, 96.0, 97.1, 97.9)
    assert none["verdict"].startswith("no measurable difference between the winner and 3 random")
    assert none["low"] < 0 < none["high"]
    # One other network has no spread.
    assert _compare(97.0, 96.0) is None


def test_random_ones_that_score_alike_give_no_interval(nas, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "searches/main/retrain/result.json").unlink()
    randoms = list(run.glob("searches/main/retrain/random-*/result.json"))
    assert len(randoms) > 1
    for path in randoms:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"top1": 97.5}))
    said = nas("retrain", run).stdout
    assert "which score alike (" in " ".join(said.split())
    assert "interval" not in said
    found = json.loads((run / "searches/main/retrain/result.json").read_text())["comparison"]
    assert found["low"] is found["high"] is None


def test_networks_outside_of_the_limits_are_marked(nas, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    path = run / "searches/main/retrain/result.json"
    lines = nas("retrain", run).stdout.splitlines()
    assert "limits: macs <= 606,144 multiply-adds" in lines
    assert not [line for line in lines if "*" in line]
    record = json.loads(path.read_text())
    record["candidates"][2]["macs"] = 606_145
    path.write_text(json.dumps(record))
    lines = nas("retrain", run).stdout.splitlines()
    assert "limits: macs <= 606,144 multiply-adds (* is outside)" in lines
    [marked] = [line for line in lines if "606,145" in line]
    assert "random-2 *" in marked
    assert sum("*" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("baselines", "says"),
    [(1, "only 1 random architecture was trained, too few"), (0, "no random architectures were")],
)
def test_a_verdict_that_there_cannot_be_is_said(nas, searched, baselines, says):
    few = ("--set", f"baselines={baselines}", "--set", "retrain.epochs=0.05")
    said = nas("retrain", searched, *few).stdout
    [line] = [line for line in said.splitlines() if line.endswith("what the search was worth")]
    assert line.startswith(says)


def test_a_pipeline_goes_on_by_the_settings_that_a_retraining_was_begun_with(nas, searched):
    assert nas("retrain", searched, "--set", "retrain.epochs=2").exit_code == 0
    wanted = (searched / "searches/main/retrain/result.json").read_bytes()
    # As if killed before the last network was finished.
    (searched / "searches/main/retrain/result.json").unlink()
    shutil.rmtree(searched / "searches/main/retrain/random-2", ignore_errors=True)
    result = nas("pipeline", "--resume", "--out", searched)
    assert result.exit_code == 0, result.output
    assert (searched / "searches/main/retrain/result.json").read_bytes() == wanted


def test_a_retraining_that_diverged_can_be_begun_anew(nas, searched):
    result = nas("retrain", searched, "--set", "retrain.lr=1e30", "--set", "retrain.clip=none")
    assert result.exit_code == 2
    assert "go on by `nas retrain` with --set retrain.lr=VALUE" in " ".join(result.output.split())
    result = nas("retrain", searched, "--set", "retrain.lr=0.1")
    assert result.exit_code == 0, result.output
    result = nas("retrain", searched, "--set", "retrain.lr=0.2")
    assert result.exit_code == 2
    assert "is retrained with other settings" in result.output


def test_a_healthy_retraining_is_not_thrown_away_for_other_settings(nas, searched):
    assert nas("retrain", searched).exit_code == 0
    folder = searched / "searches/main/retrain"
    (folder / "result.json").unlink()
    for path in folder.glob("*/result.json"):
        path.unlink()
    # As if killed while the winner was trained.
    (folder / "winner/checkpoint.safetensors").write_bytes(b"state")
    result = nas("retrain", searched, "--set", "retrain.lr=0.2")
    assert result.exit_code == 2
    assert "is retrained with other settings" in result.output
    assert (folder / "winner/checkpoint.safetensors").read_bytes() == b"state"


def test_references_that_nothing_has_are_refused_before_settings_are_kept(nas, searched):
    refused = nas("retrain", searched, "--set", 'references=["3w3a"]')
    assert refused.exit_code == 2
    assert "references=3w3a: space 'digits-mobile' has no layer that can be quan" in refused.output
    assert not (searched / "searches/main/retrain/settings.json").exists()
    assert nas("retrain", searched).exit_code == 0
