"""What is wrong is told in one sentence before anything is begun, with exit code 2."""

import shutil

import pytest
import torch

from nas_samplers.checkpoint import read_checkpoint
from nas_spaces import published, to_json


def refused(result, *says):
    """Check that a command refused its input; a traceback would have been raised."""
    assert result.exit_code == 2
    *_, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    for part in says:
        assert part in last


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["spaces", "digit-mobile"], "did you mean 'digits-mobile'?"),
        (["cost", "spos-shufflent", "1"], "did you mean 'spos-shufflenet'?"),
        (["spaces", "--limit", "macs<=3M"], "needs the name of a space"),
        (["spaces", "digits-mobile", "--limit", "macs<=3X"], "unit 'X' is unknown"),
        (["spaces", "digits-mobile", "--limit", "macs<=3"], "attainable: 159,264 to 1,212,288"),
        (["spaces", "digits-mobile", "--limit", "bitops<=3Gi"], "has 0 bit operations"),
        (["spaces", "no_module:space"], "there is no module 'no_module'"),
        (["spaces", "no_module.py:space"], "write it as module:attribute"),
        (["cost", "no_module:space", "0"], "there is no module 'no_module'"),
        (["cost", "json:loads", "0"], "argument 's' has no default"),
        (["cost", "json:lods", "0"], "has no 'lods': did you mean 'loads'?"),
        (["cost", "spos-readme", "--convention", "conv"], "did you mean 'conv-only'?"),
        (["cost", "spos-redme"], "did you mean 'spos-readme'?"),
        (["cost", "nas-bench-macro"], "give a row of options like 0,0,0,0,0,0,0,0"),
        (["cost", "nas-bench-macro", "1,2"], "has 2 columns; space 'nas-bench-macro' has 8"),
        (["cost", "nas-bench-macro", "1,2,9,0,0,0,0,0"], "is 9; choice 'stage2_0'"),
        (["cost", "digits-mobile", "1,2,-1,0,0,0,0,0"], "is -1; choice 'stage2_0'"),
        (["cost", "digits-mobile", "1,2,x,0,0,0,0,0"], "is no row of integers"),
        (["cost", "digits-mobile", "1,2,0.5,0,0,0,0,0"], "is no row of integers"),
        (["cost", "nas-bench-macro", "2221x220"], "has no option 'x'; valid: 0, 1, 2"),
        (["pipeline", "--limt", "macs<=3M"], "--limit"),
        (["pipeline", "--seed", "x"], "'x' is not a valid integer"),
        (["pipeline", "--resume"], "--resume needs --out"),
        (["pipeline", "--config", "no.toml"], "there is no file no.toml"),
        (["search", "nowhere"], "nowhere holds no run; `nas train --out nowhere` would begin one"),
        (["retrain", "nowhere"], "nowhere holds no run"),
        (["report", "nowhere"], "nowhere holds no run"),
        (["report", __file__], f"{__file__} is a file; name the folder of a run"),
        (["rank", __file__, "--standalone", "30"], "is a file; name the folder of a run"),
        (["rank", "nowhere", "--standalone", "30"], "nowhere holds no run"),
        (["rank", "nowhere", "--standalone", "-3"], "--standalone -3: a rank correlation of fewer"),
        (["rank", "nowhere", "--truth", "t.csv", "--architectures", "5"], "--architectures 5: a"),
        (["specialize", "nowhere", "--limit", "macs=30%"], "sign '=' is unknown; use <= or >="),
        (["specialize", "nowhere", "--limit", "macs<=3.M.1"], "cannot be read; write it like"),
        (["specialize", "nowhere", "--limit", "macs<-3"], "above 0, like 300M, 6.3Gi or 50%; rec"),
        (["specialize", __file__], "is a file; name the folder of a run"),
        (["search", "nowhere", "--name", "../x"], "--name '../x' must be made of letters"),
    ],
)
def test_commands_that_need_no_run(nas, args, says):
    refused(nas(*args), says)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--space", "digit-mobile"], "did you mean 'digits-mobile'?"),
        (["--method", "spoz"], "did you mean 'spos'?"),
        (["--data", "digit"], "data source 'digit' is unknown: did you mean 'digits'?"),
        (["--seed", "-1"], "seed must be >= 0; received -1"),
        (["--set", "trian.epochs=3"], "did you mean 'train.epochs'?"),
        (["--set", "train.epochs=many"], "train.epochs must be a number; received 'many'"),
        (["--limit", "macs<=300X"], "unit 'X' is unknown"),
        (["--limit", "macs<300k"], "sign '<' is unknown"),
        (["--limit", "latency<=3"], "metric 'latency' is unknown: valid: bitops, macs"),
        (["--limit", "bitops<=3Gi"], "which are counted of quantised layers only"),
        (["--set", "supernet.sampler=constrained", "--set", "limits=[]"], "needs a limit; give"),
        (["--set", 'search.objectives=["eror"]'], "did you mean 'error'?"),
        (["--set", 'search.objectives=["macs"]'], "search.objectives is macs; it names 'error'"),
        (["--set", 'search.objectives=["error","error"]'], "each once"),
        (["--set", "search.searcher=nsga2"], "is for several objectives, search.objectives"),
        (["--set", "search.searcher=nsga3"], "did you mean 'nsga2'?"),
        (["--set", "supernet.paths=0"], "supernet.paths must be >= 1; received 0"),
        (["--space", "no_module:space"], "there is no module 'no_module'"),
        (["--limit", "flops<=600k"], "flops = 2 x macs"),
        (["--limit", "macs<=1"], "attainable: 159,264 to 1,212,288 multiply-adds"),
        (["--limit", "macs>=99M"], "attainable: 159,264 to 1,212,288 multiply-adds"),
        (["--limit", "macs<=300k", "--limit", "macs>=500k"], "contradict each other"),
        (["--limit", "macs<=200k", "--limit", "params>=120k"], "widen a limit"),
        (["--set", "search.population=4"], "make 8 children; population=4 holds fewer"),
        (["--space", "digits-resnet@0,1,0,1,0,1"], "leaves nothing to search: 1 architecture"),
        (
            ["--method", "spos-bits", "--space", "digits-mobile"],
            "no limit was given: bitops<=38% is the default of method spos-bits, for its own "
            "space digits-resnet@0,0,0,0,0,0+bits+channels=0.5,1,1.5; give --limit",
        ),
        (
            ["--method", "spos-bits", "--space", "digits-resnet@0,0,0,0,0,0+bits=8w8a,9w9a"],
            "no limit was given: bitops<=38% is the default of method spos-bits",
        ),
        (["--data", "imagefolder:nowhere"], "data folder nowhere does not exist"),
        (["--space", "nas-bench-macro"], "are 8x8 and the network takes 32x32"),
        (["--space", "nas-bench-macro"], "allow enlarging with --set images.upscale=true"),
        (["--set", "images.subset=3"], "subset is 3"),
        (["--device", "gpu"], "device 'gpu' cannot be used"),
        (["--weights", "no.safetensors"], "weights: there is no file no.safetensors"),
    ],
)
def test_nothing_is_begun(nas, tiny, tmp_path, args, says):
    out = tmp_path / "run"
    # The faulty setting comes last, so that it counts.
    refused(nas("pipeline", "--out", out, *tiny(), *args), says)
    assert not out.exists()


def test_a_limit_that_was_given_is_no_default(nas, tiny, tmp_path):
    result = nas("pipeline", "--out", tmp_path / "run", *tiny(), "--limit", "macs<=1")
    assert "no limit was given" not in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a GPU")
def test_a_gpu_that_is_not_there(nas, tmp_path):
    refused(nas("train", "--out", tmp_path / "run", "--device", "cuda"), "device 'cuda' cannot")


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_damaged_weights(nas, tiny, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refused(
        nas("train", "--out", tmp_path / "run", "--weights", path, *tiny()),
        f"weights: {path} cannot be read as tensors",
    )


def test_weights_of_another_network(nas, tiny, finished, tmp_path):
    best = finished / "best" / "model.safetensors"
    refused(
        nas(
            *("train", "--out", tmp_path / "run", "--space", "digits-resnet", "--weights", best),
            *tiny(),
        ),
        "of the network correspond to none of space 'digits-resnet'",
    )
    supernet = finished / "train" / "checkpoint.safetensors"
    run = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(run / "searches/main/retrain")
    refused(nas("retrain", run, "--weights", supernet), "does not fit the network in")
    assert not (run / "searches/main/retrain").exists()


def images(tmp_path, draw_images, case):
    folder = tmp_path / case
    if case == "empty":
        folder.mkdir()
    elif case == "one-class":
        draw_images(folder, ["cat"])
    elif case == "unreadable":
        draw_images(folder, ["cat", "dog"])
        (folder / "dog/2.png").write_bytes((folder / "dog/2.png").read_bytes()[:80])
    elif case == "small":
        draw_images(folder, ["cat", "dog"], side=16)
    elif case == "few":
        draw_images(folder, ["cat", "dog"], count=2)
    return folder


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("empty", "is empty; it needs one folder a class"),
        ("one-class", "has one class ('cat'); at least two are needed"),
        ("unreadable", "dog/2.png cannot be read"),
        ("small", "is 16x16 and the network takes 32x32"),
        ("few", "has too few images (2)"),
    ],
)
def test_folders_of_images(nas, tiny, tmp_path, draw_images, case, says):
    folder = images(tmp_path, draw_images, case)
    options = ["--data", f"imagefolder:{folder}", "--space", "nas-bench-macro"]
    out = tmp_path / "run"
    refused(nas("pipeline", "--out", out, *options, *tiny(images__subset="none")), says)
    assert not out.exists()


def test_a_space_in_a_file_for_other_images(nas, tiny, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(to_json(published.load("digits-mobile", classes=4)))
    refused(
        nas("train", "--out", tmp_path / "run", "--space", path, *tiny()),
        "takes images (1, 8, 8) of 4 classes; 'digits' has (1, 8, 8) of 10",
    )


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def test_out_that_holds_something_else(nas, tiny, run, tmp_path):
    refused(nas("train", "--out", run, *tiny()), "holds another run; go on with it by --resume")
    refused(nas("train", "--out", run / "train"), "is not empty and holds no run")
    refused(nas("train", "--out", run / "config.toml"), "is a file; name a folder")


def test_resume_with_other_settings(nas, run):
    refused(
        nas("pipeline", "--out", run, "--resume", "--seed", "4", "--set", "train.lr=0.125"),
        "made with other settings: seed is 0, received 4; train.lr is 0.3, received 0.125",
    )
    # Asking for what the run has is no difference.
    assert nas("train", "--out", run, "--resume", "--seed", "0").exit_code == 0


def test_damaged_settings(nas, run):
    (run / "config.toml").write_text((run / "config.toml").read_text()[:300])
    refused(nas("train", "--out", run, "--resume"), f"{run}/config.toml is no TOML")
    refused(nas("search", run), f"{run}/config.toml is no TOML")


def test_edited_settings(nas, run, tmp_path):
    config = run / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("epochs = 4", "epochs = 9", 1))
    assert config.read_text() != text
    says = f"{config} was changed since the run was begun with it; undo that, or begin another run"
    for command in (["train", "--resume", "--out", run], ["search", run], ["report", run]):
        refused(nas(*command), says)
    # Other settings are what another run takes; where it is computed, and remarks, are free.
    other = nas("train", "--config", config, "--out", tmp_path / "other", "--set", "train.epochs=1")
    assert other.exit_code == 0
    config.write_text(text.replace('device = "auto"', '# here:\ndevice = "cpu"'))
    assert nas("train", "--resume", "--out", run).exit_code == 0
    # Images may have moved; whether they are the same is known.
    config.write_text(text.replace('data = "digits"', 'data = "synthetic"'))
    refused(nas("train", "--resume", "--out", run), "are not those that", "restore them")
    # Earlier versions wrote no digest.
    config.write_text(text.partition("\n")[2].replace("epochs = 4", "epochs = 9", 1))
    assert nas("train", "--resume", "--out", run).exit_code == 0


def test_other_images_than_at_the_beginning(nas, run):
    record = (run / "data.json").read_text()
    (run / "data.json").write_text(record.replace('"digest": "', '"digest": "0'))
    refused(nas("search", run), "are not those that", "restore them")


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_damaged_checkpoint_of_a_training(nas, tiny, run, finished, damage):
    checkpoint = run / "train" / "checkpoint.safetensors"
    if damage == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    elif damage == "foreign":
        shutil.copy(finished / "best" / "model.safetensors", checkpoint)
    else:
        checkpoint.write_bytes(b"")
    # While it is searched, and while it is trained.
    refused(nas("search", run), str(checkpoint), f"`nas train --resume --out {run}`")
    assert not (run / "searches").exists()
    (run / "train" / "summary.json").unlink()
    refused(nas("train", "--resume", "--out", run), str(checkpoint), "remove")
    checkpoint.unlink()
    assert nas("train", "--resume", "--out", run).exit_code == 0
    assert checkpoint.read_bytes() == (finished / "train/checkpoint.safetensors").read_bytes()


def test_what_an_error_proposes_makes_the_file_again(nas, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "copy")
    (run / "space.json").unlink()
    again = f"`nas train --resume --out {run}`"
    refused(nas("report", run), f"{run}/space.json is missing; ", again)
    assert nas("train", "--resume", "--out", run).exit_code == 0
    assert (run / "space.json").read_bytes() == (finished / "space.json").read_bytes()
    result = run / "searches/main/result.json"
    whole = result.read_text()
    again = f"remove {result} and go on by `nas search {run} --name main --resume`"
    result.write_text("{\n")
    refused(nas("report", run), f"{result} is malformed: ", again)
    result.write_text(whole.replace('"winner": [', '"winner": [0,'))
    refused(nas("report", run), str(result), "9 columns", again)
    shutil.rmtree(run / "searches/main/retrain")
    refused(nas("retrain", run), str(result), "9 columns", again)
    result.unlink()
    (run / "searches/main/history.csv").unlink()
    assert nas("search", run, "--name", "main", "--resume").exit_code == 0
    assert result.read_text() == whole


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(nas, tiny, tmp_path):
    run = tmp_path / "run"
    checkpoint = run / "train" / "checkpoint.safetensors"
    wild = tiny(train__lr=1e30, train__clip="none", train__checkpoint_every=1)
    refused(
        nas("train", "--out", run, *wild),
        "the loss became nan at step 2",
        f"the last good checkpoint stays in {checkpoint}",
        "lower the learning rate",
    )
    assert not (run / "train" / "summary.json").exists()
    kept = read_checkpoint(checkpoint)
    assert kept.state["step"] == 1
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())


def test_search_before_training_and_retrain_before_search(nas, tiny, run):
    refused(nas("retrain", run), "holds no finished search 'main'", f"`nas search {run}` makes one")
    refused(nas("retrain", run, "--name", "half"), f"`nas search {run} --name half`")
    (run / "train" / "summary.json").unlink()
    refused(nas("search", run), "no trained supernet", f"`nas train --resume --out {run}`")
    # Nothing of the refused search is left to stand in the way of the next.
    assert not (run / "searches").exists()


def test_a_retraining_of_other_settings(nas, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(run / "searches/main/retrain")
    refused(
        nas("retrain", run, "--set", "seed=3"), "baselines, references and retrain.* only, not seed"
    )
    refused(nas("retrain", run, "--set", "retrain.lr=fast"), "retrain.lr must be a number")
    assert not (run / "searches/main/retrain").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ["--set", "train.lr=3"],
            "a search can change limits and search.*, reward.*, policy.*, critic.*",
        ),
        (["--set", "search.population=4"], "make 8 children; population=4 holds fewer"),
        (["--set", "search.populaton=4"], "did you mean 'search.population'?"),
        (["--limit", "macs<=1"], "attainable"),
        (["--limit", "macs<=1Y"], "unit 'Y' is unknown"),
        (["--device", "gpu"], "device 'gpu' cannot be used"),
    ],
)
def test_searches_that_cannot_be(nas, run, args, says):
    refused(nas("search", run, *args), says)
    assert not (run / "searches").exists()


def test_a_search_that_is_there(nas, finished):
    refused(nas("search", finished), "holds a search 'main' already", "--name")
    refused(
        nas("search", finished, "--resume", "--limit", "macs<=30%"),
        "was begun with other settings: limits is macs<=50%, received macs<=30%",
    )
    refused(
        nas("search", finished, "--resume", "--set", "search.generations=3"), "generations is 2"
    )


def test_a_retraining_that_is_there(nas, finished):
    refused(nas("retrain", finished, "--set", "baselines=3"), "baselines is 2, received 3")
    refused(nas("retrain", finished, "--set", "retrain.lr=1"), "retrain.lr is 0.1, received 1.0")
    weights = finished / "best" / "model.safetensors"
    refused(nas("retrain", finished, "--weights", weights), "weights is none, received")
