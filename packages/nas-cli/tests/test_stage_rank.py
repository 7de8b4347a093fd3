import json
import pickle
import shutil

import numpy as np
import pytest

from nas_cli.config import override, read_config, resolve, to_toml
from nas_cli.limits import build_limits, cost_tables
from nas_cli.rank_question import ask_rank, question_of
from nas_cli.run import open_run
from nas_samplers import Alphas, train_network
from nas_samplers.workers import run_here
from nas_search import kendall, top_k_regret
from nas_spaces import History, InputError, from_json, published, to_json


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def space_of(run):
    return from_json((run / "space.json").read_text())


def values(run, name="main"):
    return History.from_csv((run / "ranks" / name / "values.csv").read_text())


def result(run, name="main"):
    return json.loads((run / "ranks" / name / "result.json").read_text())


@pytest.fixture
def write_truth(run, tmp_path):
    """Write a table with accuracies for random architectures of the run's space."""

    def write(accuracy=None, archs=None, name="truth.csv", *more):
        space = space_of(run)
        if archs is None:
            archs = space.sample(14, rng=np.random.default_rng(0))
        accuracy = 60 + 2.0 * np.arange(len(archs)) if accuracy is None else accuracy
        rows = [f'"{space.format(a)}",{v!r}' for a, v in zip(archs, accuracy.tolist(), strict=True)]
        path = tmp_path / name
        path.write_text("\n".join(["architecture,top1", *rows, *more]) + "\n")
        return path

    return write


def refused(nas, *args):
    said = nas(*args)
    assert said.exit_code == 2, said.output
    return " ".join(said.output.split())


def test_the_errors_are_those_of_the_runs_own_searches(nas, run, write_truth):
    assert nas("search", run).exit_code == 0
    searched = History.from_csv((run / "searches/main/random.csv").read_text())
    error = dict(
        zip(map(tuple, searched.archs.tolist()), searched.column("error").tolist(), strict=True)
    )
    said = nas("rank", run, "--truth", write_truth(archs=searched.archs), "--json")
    found, rows = json.loads(said.stdout), values(run)
    assert found["architectures"] == len(rows) == len(searched)
    measured = rows.column("error_recalibrated")
    assert measured.tolist() == [error[tuple(arch)] for arch in rows.archs.tolist()]
    assert not np.array_equal(measured, rows.column("error_own_norms"))


def test_what_a_ranking_reports(nas, run, write_truth):
    archs = space_of(run).sample(30, rng=np.random.default_rng(1))
    accuracy = 50 + 40 * np.random.default_rng(2).random(30)
    said = nas("rank", run, "--truth", write_truth(accuracy, archs), "--architectures", 20)
    assert said.exit_code == 0, said.output
    found, rows = result(run), values(run)
    assert len(np.unique(rows.archs, axis=0)) == len(rows) == 20
    truth = rows.column("truth")
    listed = dict(zip(map(tuple, archs.tolist()), 1 - accuracy / 100, strict=True))
    np.testing.assert_allclose(truth, [listed[tuple(arch)] for arch in rows.archs.tolist()])
    rng = np.random.default_rng(0)
    costs = cost_tables(space_of(run))
    scores = {key: rows.column(f"error_{key}") for key in ("recalibrated", "own_norms")}
    for key, score in scores.items():
        assert found["tau"][key]["tau"] == pytest.approx(kendall(score, truth, rng=rng).tau)
        assert found["tau"][key]["low"] < found["tau"][key]["tau"] < found["tau"][key]["high"]
        assert found["gap"][key] == pytest.approx(100 * (truth - score).mean())
    for key in ("macs", "params"):
        np.testing.assert_array_equal(rows.column(key), costs[key](rows.archs))
        assert found[key]["tau"] == pytest.approx(kendall(-rows.column(key), truth, rng=rng).tau)
    for key, score in {**scores, "macs": -rows.column("macs")}.items():
        regret = {str(k): 100 * top_k_regret(score, truth, k) for k in (1, 5, 10)}
        assert found["regret"][key] == pytest.approx(regret)
    assert (found["truth"], found["column"], found["ceiling"]) == ("truth.csv", "top1", None)
    assert found["missing"]["count"] == space_of(run).size - 30
    # The truth is drawn from a hat.
    assert found["verdict"].startswith("no better than counting MACs: tau ")
    assert found["verdict"] in " ".join(said.stdout.split())
    assert "20 architectures against truth.csv, top1" in said.stdout
    similar = json.loads((run / "ranks/main/similarity.json").read_text())
    best = scores["recalibrated"].argmin()
    assert similar["path"] == rows.archs[best].tolist()
    assert [one["choice"] for one in similar["blocks"]] == [c.name for c in space_of(run).choices]
    assert all(len(one["cosine"]) == len(one["options"]) for one in similar["blocks"])
    assert len(similar["channel"]["maps"]) == len(similar["channel"]["options"])
    assert similar["images"] == 60
    page = run / "report.html"
    assert f"report: {page}" in said.stdout
    assert page.exists()


def test_a_supernet_that_is_right(nas, run, write_truth, edit_config):
    assert nas("rank", run, "--truth", write_truth(), "--name", "first").exit_code == 0
    rows = values(run, "first")
    own = write_truth(100 * (1 - rows.column("error_own_norms")), rows.archs, "own.csv")
    # It is searched without recalibration, and is then judged by that.
    edit_config(run, "recalibration_images = 512", "recalibration_images = 0")
    said = nas("rank", run, "--truth", own, "--name", "own", "--json")
    found = json.loads(said.stdout)
    assert "also judged with norms recalibrated on 512 training images" in said.stderr
    assert found["tau"]["own_norms"]["tau"] == pytest.approx(1)
    assert found["regret"]["own_norms"]["1"] == pytest.approx(0)
    assert found["gap"]["own_norms"] == pytest.approx(0, abs=1e-9)
    assert found["judged"] == "own_norms"
    assert found["verdict"].startswith("better than counting MACs: tau 1.00 with the supernet's")
    # What is recalibrated here is as much as such images usually get.
    np.testing.assert_array_equal(
        values(run, "own").column("error_recalibrated"), rows.column("error_recalibrated")
    )


def test_a_supernet_that_is_worse_than_counting(nas, run, write_truth):
    space = space_of(run)
    archs = space.sample(40, rng=np.random.default_rng(0))
    macs = cost_tables(space)["macs"](archs)
    found = json.loads(nas("rank", run, "--truth", write_truth(macs / 1e5, archs), "--json").stdout)
    assert found["macs"]["tau"] == pytest.approx(1)
    assert found["regret"]["macs"] == pytest.approx({"1": 0, "5": 0, "10": 0})
    tau = found["tau"]["recalibrated"]["tau"]
    assert found["gain"]["difference"] == pytest.approx(tau - 1)
    assert found["gain"]["high"] < 0
    assert found["verdict"].startswith(f"worse than counting MACs: tau {tau:.2f} with recalibrated")


def test_unknown_and_repeated_lines_are_told(nas, run, write_truth):
    archs = space_of(run).sample(14, rng=np.random.default_rng(0))
    accuracy = 60 + 2.0 * np.arange(14)
    more = ['"9,9,9,9,9,9,9,9",50', "none,50", f'"{space_of(run).format(archs[0])}",62']
    said = nas("rank", run, "--truth", write_truth(accuracy, archs, "t.csv", *more))
    assert said.exit_code == 0, said.output
    found = result(run)
    assert found["unknown"] == {"count": 2, "examples": ["9,9,9,9,9,9,9,9", "none"]}
    assert (found["repeated"], found["architectures"]) == (1, 14)
    assert "unknown: 2 are of no architecture of the run, like 9,9,9,9,9,9,9,9, none" in said.stdout
    assert "missing: " in said.stdout
    assert "repeated: 1 lines" in said.stdout


def test_a_constant_truth_has_no_tau(nas, run, write_truth):
    said = nas("rank", run, "--truth", write_truth(np.full(14, 70.0)))
    assert said.exit_code == 0, said.output
    nothing = {"tau": None, "low": None, "high": None}
    why = "the truth is the same for all architectures"
    assert result(run)["tau"]["recalibrated"] == {**nothing, "undefined": why}
    assert result(run)["verdict"] == f"nothing can be said: tau is undefined, {why}"
    assert "undefined" in said.stdout
    # No choice among equals can be a wrong one, which is no merit of the supernet's.
    assert result(run)["regret"] == dict.fromkeys(("recalibrated", "own_norms", "macs"))
    assert " 0.00 " not in said.stdout
    assert "where the truth is the same for all, choosing costs nothing" in said.stdout


def test_the_ceiling_is_how_single_trainings_agree(nas, run, tmp_path):
    space = space_of(run)
    archs = space.sample(12, rng=np.random.default_rng(0)).tolist()
    seeds = np.random.default_rng(1).random((12, 2)) * 30 + 60
    table = {
        space.format(arch): {"mean_acc": two.mean(), "test_acc": two.tolist()}
        for arch, two in zip(archs, seeds, strict=True)
    }
    (tmp_path / "truth.json").write_text(json.dumps(table))
    found = json.loads(nas("rank", run, "--truth", tmp_path / "truth.json", "--json").stdout)
    tau = kendall(seeds[:, 0], seeds[:, 1], rng=np.random.default_rng(0)).tau
    assert found["ceiling"]["tau"] == pytest.approx(tau)
    assert f"two trainings of the same architectures agree to {tau:.2f}" in found["verdict"]


def test_a_ranking_goes_on_where_it_was(nas, run, write_truth):
    truth = write_truth()
    options = ["--set", "search.evaluation_images=40"]
    assert nas("rank", run, "--truth", truth, *options).exit_code == 0
    folder = run / "ranks/main"
    files = ("result.json", "values.csv", "similarity.json")
    wanted = [(folder / name).read_bytes() for name in files]
    # As if killed while the second half was judged.
    for name in files:
        (folder / name).unlink()
    saved = folder / "own_norms.json"
    record = json.loads(saved.read_text())
    record["errors"] = record["errors"][:5]
    saved.write_text(json.dumps(record))
    assert "by --resume, or choose another" in refused(nas, "rank", run, "--truth", truth)
    assert nas("rank", run, "--resume").exit_code == 0
    assert [(folder / name).read_bytes() for name in files] == wanted
    # What is there is not judged again.
    record["errors"][0] = 0.125
    saved.write_text(json.dumps(record))
    (folder / "result.json").unlink()
    assert nas("rank", run, "--truth", truth, "--resume").exit_code == 0
    assert 0.125 in values(run).column("error_own_norms")
    assert "finished already" in nas("rank", run, "--resume").stderr
    # What is judged anew begins at 0.
    lengthen(run)
    (folder / "result.json").unlink()
    (folder / "recalibrated.json").unlink()
    assert nas("rank", run, "--resume").exit_code == 0
    assert seconds_of(run)[-1] < 1e6


def seconds_of(run):
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [
        one["seconds"] for one in events if one.get("stage") == "rank/main" and "seconds" in one
    ]


def lengthen(run):
    """Say that the ranking has taken a million seconds so far."""
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": "saved", "stage": "rank/main", "seconds": 1e6}) + "\n")


def test_killed_and_gone_on(forked, run, write_truth, tmp_path):
    archs = space_of(run).sample(60, rng=np.random.default_rng(0))  # judged in three parts
    truth = write_truth(archs=archs, accuracy=90 - np.arange(60) / 2)
    options = ["--truth", truth, "--set", "search.evaluation_images=20"]
    whole = shutil.copytree(run, tmp_path / "whole")
    status, said = forked("rank", whole, *options)
    assert status == 0, said
    moments = [("settings.json", 1), ("recalibrated.json", 2), ("own_norms.json", 2)]
    moments += [(name, 1) for name in ("values.csv", "similarity.json", "result.json")]
    for name, times in moments:
        kill = {"replace": times, "file": name}
        status, said = forked("rank", run, "--resume", *options, kill=kill)
        assert status == -9, said
    lengthen(run)
    status, said = forked("rank", run, "--resume", *options)
    assert status == 0, said
    assert contents(run) == contents(whole)
    assert seconds_of(run)[-1] > 1e6


class Workers:
    """In place of processes: ``train(tasks)`` in this one, or the tasks themselves."""

    def __init__(self, number):
        assert number > 0

    def __enter__(self):
        return run_here

    def __exit__(self, *error):
        pass


@pytest.fixture
def asked(monkeypatch):
    """The tasks of the processes that train, which do nothing."""
    tasks = []

    def note(_, all_tasks, **told):
        tasks.extend(all_tasks)
        raise InputError("enough is seen")

    monkeypatch.setattr(Workers, "__enter__", lambda self: note)
    monkeypatch.setattr("nas_cli.rank_trainings.WorkerProcesses", Workers)
    return tasks


def test_killed_while_networks_are_trained(nas, forked, run, tmp_path, monkeypatch):
    options = ["--standalone", 10, "--workers", 1, "--set", "retrain.epochs=1"]
    whole = shutil.copytree(run, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("nas_cli.rank_trainings.WorkerProcesses", Workers)
        assert nas("rank", whole, *options).exit_code == 0
    # Four lines are written: they are opened to be appended to.
    status, said = forked("rank", run, *options, kill={"event": 5, "file": "candidates.jsonl"})
    assert status == -9, said
    assert not (run / "ranks/main/standalone.csv").exists()
    status, said = forked("rank", run, "--resume", "--workers", 1)
    assert status == 0, said
    assert "4 of 10 networks are finished" in said
    assert contents(run) == contents(whole)
    table = "ranks/main/standalone.csv"
    assert (run / table).read_bytes() == (whole / table).read_bytes()


def contents(run):
    names = ("settings.json", "values.csv", "similarity.json", "result.json")
    return {name: (run / "ranks/main" / name).read_bytes() for name in names}


def test_what_is_not_said_again_is_as_it_was(nas, run, write_truth):
    truth = write_truth()
    assert nas("rank", run, "--truth", truth, "--architectures", 12).exit_code == 0
    (run / "ranks/main/result.json").unlink()
    said = nas("rank", run, "--resume", "--truth", truth)
    assert said.exit_code == 0, said.output
    assert result(run)["architectures"] == 12


def test_a_ranking_that_is_there_keeps_its_settings(nas, run, write_truth):
    truth = write_truth()
    assert nas("rank", run, "--truth", truth).exit_code == 0
    (run / "ranks/main/result.json").unlink()
    said = refused(nas, "rank", run, "--resume", "--standalone", 12)
    assert f"begun with other settings: --truth {truth}, received --standalone 12; leave" in said
    other = write_truth(name="other.csv")
    said = refused(nas, "rank", run, "--resume", "--truth", other, "--column", "top1")
    assert f"--truth is {truth}, received {other}; --column is left out, received top1;" in said
    said = refused(nas, "rank", run, "--resume", "--truth", truth, "--architectures", 12)
    assert "settings: --architectures is 200, received 12; leave them out" in said
    said = refused(nas, "rank", run, "--resume", "--set", "search.evaluation_images=7")
    assert "search.evaluation_images is 0, received 7" in said
    truth.write_text(truth.read_text() + "none,50\n")
    assert "truth.csv has changed since" in refused(nas, "rank", run, "--resume")


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ([], "give --truth FILE, --standalone N or --against RUN2"),
        (["--standalone", "9"], "--standalone 9: a rank correlation of fewer than 10"),
        (["--standalone", "20", "--set", "train.epochs=3"], "search.* and retrain.* only"),
        (["--truth", "none.csv"], "there is no file"),
        (["--against", "none"], "holds no run"),
        (["--truth", "none.csv", "--set", "retrain.epochs=3"], "search.* only, not retrain.epochs"),
        (["--truth", "none.csv", "--name", "a/b"], "--name 'a/b'"),
        (
            ["--truth", "none.csv", "--set", "search.recalibration_images=0"],
            "recalibration_images=0: a ranking judges in both ways, with recalibrated norms and",
        ),
    ],
)
def test_what_cannot_be_ranked_is_said_before_anything_is_written(nas, run, args, match):
    assert match in refused(nas, "rank", run, *args)
    assert not (run / "ranks").exists()


def test_few_architectures_are_refused(nas, run, write_truth):
    said = refused(nas, "rank", run, "--truth", write_truth(), "--architectures", 9)
    assert "--architectures 9: a rank correlation of fewer than 10" in said
    assert "loading torch" not in said
    archs = space_of(run).sample(9, rng=np.random.default_rng(0))
    said = refused(nas, "rank", run, "--truth", write_truth(archs=archs))
    assert "holds 9 architectures with a value in 'top1'" in said
    assert not (run / "ranks").exists()


def test_a_supernet_is_needed(nas, run, write_truth):
    (run / "train/summary.json").unlink()
    assert "holds no trained supernet" in refused(nas, "rank", run, "--truth", write_truth())


def test_candidates_that_the_training_dropped_are_not_ranked(nas, run, write_truth):
    space = space_of(run)
    alphas = Alphas(space)
    for choice in range(space.num_choices):
        alphas.drop(choice, 1)
    (run / "train/alphas.json").write_text(json.dumps(alphas.to_record()))
    archs = space.sample(200, rng=np.random.default_rng(0))
    assert nas("rank", run, "--truth", write_truth(70 + np.arange(200) / 10, archs)).exit_code == 0
    found, left = result(run), (archs != 1).all(axis=1).sum()
    assert (found["architectures"], found["unknown"]["count"]) == (left, 200 - left)


def test_dropped_candidates_do_not_move_the_limits(nas, run, asked):
    alphas = Alphas(space_of(run))
    for choice in range(alphas.space.num_choices):
        for option in (1, 2, 3):
            alphas.drop(choice, option)
    (run / "train/alphas.json").write_text(json.dumps(alphas.to_record()))
    refused(nas, "rank", run, "--standalone", 32)
    # All that is left, 2 x 3 x 3 networks, is within half of the largest that there was.
    assert len(asked) == 18


def test_a_supernet_agrees_with_itself(nas, run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    said = nas("rank", run, "--against", other, "--architectures", 12)
    assert said.exit_code == 0, said.output
    found, rows = result(run), values(run)
    assert (found["truth"], found["column"], len(rows)) == ("run", str(other), 12)
    assert build_limits(space_of(run), ("macs<=50%",)).contains(rows.archs).all()
    for key in ("recalibrated", "own_norms"):
        assert found["tau"][key]["tau"] == pytest.approx(1)
        assert found["gap"][key] == 0
    np.testing.assert_array_equal(rows.column("truth"), rows.column("error_recalibrated"))
    np.testing.assert_array_equal(rows.column("truth_own_norms"), rows.column("error_own_norms"))
    assert "the two supernets agree to tau 1.00" in found["verdict"]


def test_counting_is_held_against_the_norms_that_are_judged(nas, run, tmp_path, edit_config):
    """Where searches use the supernet's own norms, the second supernet is judged by its own."""
    for one in (run, other := shutil.copytree(run, tmp_path / "other")):
        edit_config(one, "recalibration_images = 512", "recalibration_images = 0")
    said = nas("rank", run, "--against", other, "--architectures", 12)
    assert said.exit_code == 0, said.output
    found, rows = result(run), values(run)
    assert found["judged"] == "own_norms"
    truth, macs = rows.column("truth_own_norms"), rows.column("macs")
    tau = kendall(-macs, truth, rng=np.random.default_rng(0)).tau
    assert tau != kendall(-macs, rows.column("truth"), rng=np.random.default_rng(0)).tau
    assert found["macs"]["tau"] == tau
    assert found["gain"]["difference"] == pytest.approx(found["tau"]["own_norms"]["tau"] - tau)
    assert found["regret"]["macs"]["1"] == 100 * top_k_regret(-macs, truth, 1)


@pytest.mark.parametrize(
    ("data", "resolution", "images"),
    [("digits", 8, 512), ("synthetic", 32, 2000), ("synthetic", 96, 20_000)],
)
def test_norms_are_recalibrated_at_every_scale(tmp_path, data, resolution, images):
    """Where a run's searches recalibrate nothing, by as many images as SPOS takes there."""
    config = resolve([{"data": data, "resolution": resolution, "space": "nas-bench-macro"}])
    config = override(config, [{"search": {"recalibration_images": 0}}])
    (tmp_path / "config.toml").write_text(to_toml(config))
    space = published.load("nas-bench-macro", resolution=resolution)
    (tmp_path / "space.json").write_text(to_json(space))
    question = question_of(standalone=20)
    run = open_run(tmp_path)
    asked, _ = ask_rank(run, "main", question, [], resume=False)
    run.close()
    assert asked.search.recalibration_images == images


def test_only_another_supernet_of_the_same_space_is_compared(nas, run, tmp_path):
    assert "names the run itself" in refused(nas, "rank", run, "--against", run / ".." / "run")
    other = shutil.copytree(run, tmp_path / "other")
    text = (other / "space.json").read_text()
    (other / "space.json").write_text(text.replace('"digits-mobile"', '"another"'))
    said = refused(nas, "rank", run, "--against", other)
    assert "its space 'another' is not the space 'digits-mobile'" in said
    assert not (run / "ranks").exists()


def test_trainings_from_scratch(nas, run):
    folder = run / "ranks/main/standalone"
    # No checkpoint can be written there, on either attempt.
    blocked = folder / "batch-0" / "4-alone.checkpoint"
    blocked.mkdir(parents=True)
    options = ["--standalone", 11, "--workers", 2, "--set", "retrain.epochs=0.5"]
    said = nas("rank", run, *options)
    assert said.exit_code == 0, said.output
    found, table = result(run), run / "ranks/main/standalone.csv"
    assert (found["truth"], found["architectures"], found["failed"]) == ("standalone", 10, 1)
    assert "failed: 1 networks could not be trained and are left out" in said.stdout
    assert "network 4 failed: " in said.stderr
    alone = History.from_csv(table.read_text())
    np.testing.assert_array_equal(values(run).archs, alone.archs)
    np.testing.assert_allclose(values(run).column("truth"), 1 - alone.column("top1") / 100)
    space = space_of(run)
    assert build_limits(space, ("macs<=50%",)).contains(alone.archs).all()
    assert len(np.unique(space.canonical(alone.archs), axis=0)) == 10
    # Of 300 images a fifth is held out, and an accuracy is a number of these.
    answers = 60 * alone.column("top1") / 100
    np.testing.assert_allclose(answers, answers.round())
    # What is finished leaves nothing but its line.
    left = sorted(path.name for path in folder.glob("batch-0/*"))
    assert left == ["4-alone.checkpoint", "candidates.jsonl"]

    # Gone on with once there is room: only what is left is trained.
    blocked.rmdir()
    (run / "ranks/main/result.json").unlink()
    said = nas("rank", run, "--resume", "--workers", 1)
    assert said.exit_code == 0, said.output
    assert "10 of 11 networks are finished" in said.stderr
    found, more = result(run), History.from_csv(table.read_text())
    assert (found["architectures"], found["failed"]) == (11, 0)
    np.testing.assert_array_equal(np.delete(more.archs, 4, axis=0), alone.archs)
    np.testing.assert_array_equal(np.delete(more.values, 4, axis=0), alone.values)
    # The table can be ranked by as any other.
    said = nas("rank", run, "--truth", table, "--name", "table", "--json")
    same = json.loads(said.stdout)
    assert same["tau"] == found["tau"]


def test_processes_that_train_read_images_themselves(nas, run, asked):
    assert read_config(run / "config.toml").images.workers > 0
    assert "enough is seen" in refused(nas, "rank", run, "--standalone", 10)
    # They are daemons, which may not have processes of their own.
    images = [pickle.loads(job.images) for job in asked]
    configs = [config for _, config in (one.args for one in images)]
    assert [(one.images.workers, one.threads) for one in configs] == [(0, 1)] * 10


def test_too_few_networks_that_could_be_trained(nas, run, monkeypatch):
    tried = []

    def note(work, tasks, **told):
        tried.extend(task.number for task in tasks)
        return run_here(work, tasks, **told)

    monkeypatch.setattr(Workers, "__enter__", lambda self: note)
    monkeypatch.setattr("nas_cli.rank_trainings.WorkerProcesses", Workers)
    monkeypatch.setattr("nas_samplers.candidate.train_network", counting_trainings(trainings := []))
    options = ["--standalone", 10, "--workers", 1]
    settings = ["retrain.lr=1e30", "retrain.clip=none", "retrain.epochs=1"]
    said = refused(nas, "rank", run, *options, *(x for s in settings for x in ("--set", s)))
    assert "0 of 10 networks could be trained" in said
    assert "the first failed because: " in said
    assert not (run / "ranks/main/result.json").exists()
    # That a network diverges is what came of it: it is not tried again, nor after a kill.
    assert (len(tried), len(trainings)) == (10, 10)
    assert "0 of 10 networks could be trained" in refused(nas, "rank", run, "--resume")
    assert (len(tried), len(trainings)) == (10, 10)


def counting_trainings(trainings):
    def train(*args, **options):
        trainings.append(args)
        return train_network(*args, **options)

    return train
