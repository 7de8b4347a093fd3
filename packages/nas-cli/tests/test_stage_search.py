import contextlib
import json
import shutil
import tomllib

import numpy as np
import pytest
import tomli_w

from nas_cli.limits import build_limits, merge_limits
from nas_cli.report.words import si
from nas_cli.run import open_run
from nas_cli.trained_paths import beyond_paths
from nas_spaces import FeasibleSet, History, from_json


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def history(run, name, file="history.csv"):
    return History.from_csv((run / "searches" / name / file).read_text())


def result(run, name):
    return json.loads((run / "searches" / name / "result.json").read_text())


def test_searches_of_one_supernet_keep_their_own_limits(nas, run):
    space = from_json((run / "space.json").read_text())
    asked = {
        "main": (),
        "small": ("macs<=30%",),
        "both": ("macs<=500k", "params<=50k", "macs>=300k"),
    }
    for name, limits in asked.items():
        options = [part for text in limits for part in ("--limit", text)]
        assert nas("search", run, "--name", name, *options).exit_code == 0
    for name, limits in asked.items():
        feasible = build_limits(space, limits or ("macs<=50%",))
        found = result(run, name)
        assert found["limits"] == [str(limit) for limit in feasible.limits]
        assert feasible.contains([found["winner"]]).all()
        for file in ("history.csv", "random.csv"):
            rows = history(run, name, file)
            assert len(rows) == 16
            assert feasible.contains(rows.archs).all()
    assert result(run, "main")["feasible"] == build_limits(space, ("macs<=50%",)).count()
    assert result(run, "both")["feasible"] is None
    # The first search is the run's own.
    own = (run / "searches" / "main" / "history.csv").read_bytes()
    assert (run / "history.csv").read_bytes() == own


def test_the_winner_is_the_best_of_all_and_the_cheapest_of_equals(nas, finished):
    rows, found = history(finished, "main"), result(finished, "main")
    error, macs = rows.column("error"), rows.column("macs")
    best = np.flatnonzero(error == error.min())
    assert found["winner"] == rows.archs[best[macs[best].argmin()]].tolist()
    assert found["values"]["error"] == error.min()
    assert (
        found["random_best_error"] == history(finished, "main", "random.csv").column("error").min()
    )


def test_settings_of_one_search(nas, run):
    options = ["--name", "wide", "--set", "search.generations=1", "--set", "search.population=20"]
    assert nas("search", run, *options).exit_code == 0
    assert len(history(run, "wide")) == 20
    # Resumed without them it is still that search.
    assert nas("search", run, "--name", "wide", "--resume").exit_code == 0
    assert "generations = 2" in (run / "config.toml").read_text()


@pytest.mark.parametrize(
    ("settings", "recalibration", "evaluation"),
    [
        (["recalibration_images=0"], 0, 60),
        (["recalibration_images=50", "recalibration_batch=20"], 40, 60),
        (["recalibration_images=50", "evaluation_images=30"], 50, 30),
        (["evaluation_images=50", "evaluation_batch=20"], 240, 40),
    ],
)
def test_numbers_of_images(nas, run, settings, recalibration, evaluation):
    few = ["population=4", "crossover=2", "mutation=2", "generations=1", *settings]
    options = [part for text in few for part in ("--set", f"search.{text}")]
    assert nas("search", run, *options).exit_code == 0
    found = result(run, "main")
    assert found["recalibration_images"] == recalibration
    assert found["evaluation_images"] == evaluation


def test_a_search_ends_where_nothing_is_left(nas, run):
    options = ["--limit", "macs<=165k", "--set", "search.generations=20"]
    said = nas("search", run, *options)
    assert said.exit_code == 0
    found = result(run, "main")
    assert found["stopped"] == "exhausted"
    assert found["evaluated"] <= found["feasible"] < 160
    retrained = nas("retrain", run, "--set", "baselines=200", "--set", "retrain.epochs=0.01")
    assert f"only {found['evaluated'] - 1} other networks are within the limits" in retrained.stderr


def test_weights_of_the_supernet_are_not_changed(nas, run):
    checkpoint = run / "train" / "checkpoint.safetensors"
    before = checkpoint.read_bytes()
    nas("search", run)
    assert checkpoint.read_bytes() == before


def test_several_objectives(nas, run):
    objectives = ["search.searcher=nsga2", 'search.objectives=["error", "params"]']
    options = [part for text in objectives for part in ("--set", text)]
    assert nas("search", run, "--name", "two", *options, "--limit", "macs<=40%").exit_code == 0
    for file in ("history.csv", "random.csv"):
        rows = history(run, "two", file)
        assert rows.names == ("generation", "error", "params", "macs")
        assert len(rows) == 16
        assert rows.column("macs").max() <= 0.4 * 1_212_288
    two = history(run, "two")
    best = two.column("error").min()
    assert result(run, "two")["values"]["error"] == best


def test_mutation_that_is_learned(nas, run):
    options = ["search.searcher=nsga2", 'search.objectives=["error", "macs"]']
    options += ["search.mutation=8", "search.crossover=0", "policy.hidden=8"]
    learned = [*options, "search.mutator=learned"]
    asked = {"random": options, "learned": learned, "again": learned}
    asked["faster"] = [*learned, "policy.lr=0.1"]
    asked["wilder"] = [*learned, "search.mutation_probability=1.0"]
    for name, settings in asked.items():
        words = [part for text in settings for part in ("--set", text)]
        said = nas("search", run, "--name", name, *words, "--limit", "macs<=40%")
        assert said.exit_code == 0, said.output
        assert len(history(run, name)) == 16
    rows = {name: history(run, name).archs.tolist() for name in asked}
    assert rows["learned"] == rows["again"]
    assert rows["learned"] != rows["random"]
    assert rows["learned"] != rows["faster"]
    assert rows["learned"] != rows["wilder"]


def test_a_run_of_an_older_version_is_searched_and_gone_on_with(nas, run):
    config = run / "config.toml"
    settings = tomllib.loads(config.read_text())
    # What came later.
    del settings["supernet"]["paths"], settings["supernet"]["reduction"]
    del settings["search"]["objectives"]
    config.write_text(tomli_w.dumps(settings))
    assert nas("search", run, "--name", "old").exit_code == 0
    known, found = run / "searches/old/search.json", run / "searches/old/result.json"
    settings = json.loads(known.read_text())
    del settings["search"]["objectives"]
    known.write_text(json.dumps(settings))
    before = found.read_bytes()
    assert nas("search", run, "--name", "old", "--resume").exit_code == 0
    assert found.read_bytes() == before
    options = ["search.searcher=nsga2", 'search.objectives=["error", "macs"]']
    options = [part for text in options for part in ("--set", text)]
    assert nas("search", run, "--name", "two", *options).exit_code == 0
    assert history(run, "two").names == ("generation", "error", "macs", "params")


def test_what_a_search_says(nas, run):
    said = nas("search", run, "--name", "small", "--limit", "macs<=300k").stdout.splitlines()
    assert said[0] == "limits: macs <= 300,000 multiply-adds"
    assert said[1].startswith("winner: ")
    assert said[2].startswith("        stage1: mb_k")
    [top1] = [line for line in said if line.startswith("top-1:")]
    assert "of 60 held-out images with the supernet's weights, of 16 architectures" in top1
    assert said[-1] == f"next:   nas retrain {run} --name small"


BEYOND = "the supernet was trained on paths of 532,672 to 661,248 (supernet.sampler=constrained)"


@pytest.mark.parametrize(
    ("limits", "beyond"),
    [
        (["macs<=20%"], "limits lead to 242,457 multiply-adds (macs), "),
        (["macs<=80%", "params<=90k"], "limits lead to 969,830 multiply-adds (macs), "),
        (["macs>=20%"], "limits lead to 1,212,288 multiply-adds (macs), "),
        (["macs<=45%"], None),
        (["macs<=54%", "macs>=10%"], None),
        (["params<=40k"], None),
    ],
)
def test_limits_beyond_the_paths_of_the_supernet_are_said(trained, limits, beyond):
    space = from_json((trained / "space.json").read_text())
    run = open_run(trained)
    try:
        said = beyond_paths(run, FeasibleSet(space, merge_limits(space, limits)))
    finally:
        run.close()
    assert said is None if beyond is None else (said or "").startswith(beyond + BEYOND), said


def test_a_search_beyond_the_paths_of_the_supernet_says_so(nas, run, tiny, tmp_path):
    said = nas("search", run, "--name", "small", "--limit", "macs<=30%").stderr
    assert "search small: limits lead to 363,686 multiply-adds (macs), " + BEYOND in said
    assert "lead to" not in nas("search", run).stderr
    # Any paths lead anywhere; then the next limit is one for a search.
    uniform = tmp_path / "uniform"
    options = tiny(supernet__sampler="uniform", baselines=0)
    assert nas("train", "--out", uniform, *options).exit_code == 0
    assert "lead to" not in nas("search", uniform, "--limit", "macs<=30%").stderr
    last = nas("retrain", uniform).stdout.splitlines()[-1]
    assert last.startswith(f"next:   nas search {uniform} --name smaller --limit 'macs<=")


def test_a_search_says_and_a_report_shows_what_was_limited(nas, run):
    options = ["--name", "lean", "--limit", "traffic<=60%"]
    said = nas("search", run, *options).stdout.splitlines()
    values = result(run, "lean")["values"]
    costs = (f"{values[key]:,.0f} {key}" for key in ("macs", "params", "traffic"))
    assert f"cost:   {', '.join(costs)}" in said
    retrained = nas("retrain", run, "--name", "lean", "--set", "baselines=1")
    assert " --name smaller --limit 'traffic<=" in retrained.stdout.splitlines()[-1]
    page = " ".join((run / "report.html").read_text().split())
    assert f"parameters, {' '.join(si(values['traffic']).split())} traffic." in page
    assert "on cpu, on paths around the limit." in page


def test_a_pipeline_goes_on_with_a_search_that_has_limits_of_its_own(nas, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "own")
    assert nas("search", run, "--limit", "macs<=30%").exit_code == 0
    wanted = (run / "history.csv").read_bytes()
    result = nas("pipeline", "--resume", "--out", run)
    assert result.exit_code == 0, result.output
    assert (run / "history.csv").read_bytes() == wanted


def test_state_that_is_no_object_is_damaged(nas, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "odd")
    for name, text in (("data.json", "{}"), ("data.json", "[]")):
        (run / name).write_text(text)
        result = nas("search", run, "--name", "b")
        assert result.exit_code == 2
        assert "data.json is damaged" in result.output


def test_random_search_is_a_search_of_its_own(nas, run, finished):
    said = nas("search", run, "--set", "search.searcher=random")
    assert said.exit_code == 0, said.output
    assert not (run / "searches/main/random.csv").exists()
    found, rows = result(run, "main"), history(run, "main")
    assert found["random_best_error"] is None
    assert found["values"]["error"] == rows.column("error").min()
    assert "random search" not in said.stdout
    # The same architectures as beside any other search of this seed.
    assert (run / "history.csv").read_bytes() == (
        finished / "searches/main/random.csv"
    ).read_bytes()


def test_what_is_left_is_told_from_what_is_done(nas, finished, tmp_path, monkeypatch):
    out = shutil.copytree(finished, tmp_path / "run")
    folder = out / "searches/main"
    # As if killed when the search was finished, and random search beside it was not begun.
    for name in ("result.json", "random.json", "random.csv"):
        (folder / name).unlink()
    told = {}

    @contextlib.contextmanager
    def stage(console, title, total, unit):
        told[title] = []
        yield lambda done, note: told[title].append((done, note))

    monkeypatch.setattr("nas_cli.stage_search.stage", stage)
    result = nas("search", out, "--name", "main", "--resume")
    assert result.exit_code == 0, result.output
    errors = History.from_csv((folder / "history.csv").read_text()).column("error")
    assert told["search main"] == [(16, f"best top-1 {100 * (1 - errors.min()):.1f} %")]
    # Whose first step is told from nothing.
    assert told["search main, random"][0] == (0, "")
    assert told["search main, random"][-1][0] == 16


def test_an_address_is_for_a_cluster(nas, tiny, tmp_path):
    out = tmp_path / "run"
    options = [*tiny(), "--method", "fnas", "--set", "candidates.address=10.0.0.1:6379"]
    result = nas("pipeline", "--out", out, *options)
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "candidates.address=10.0.0.1:6379 is of a Ray cluster" in said
    assert "add --set candidates.executor=ray, or leave the address out" in said
    assert not out.exists()
