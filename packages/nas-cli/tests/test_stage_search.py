import contextlib
import json
import shutil
import tomllib

import attrs
import numpy as np
import pytest
import tomli_w

from nas_cli.limits import METRICS, build_limits
from nas_cli.report.words import si
from nas_cli.searchers import _standing
from nas_samplers import Distribution, zero_options
from nas_search import CandidateTable, largest, specialise
from nas_spaces import FeasibleSet, History, from_json, published, to_json


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
    assert "of 60 held-out images with the supernet's weights, of 16 architectures" in said[3]
    assert said[-1] == f"next:   nas retrain {run} --name small"


def test_a_search_says_and_a_report_shows_what_was_limited(nas, run):
    options = ["--name", "lean", "--limit", "traffic<=60%"]
    said = nas("search", run, *options).stdout.splitlines()
    values = result(run, "lean")["values"]
    costs = (f"{values[key]:,.0f} {key}" for key in ("macs", "params", "traffic"))
    assert said[2] == f"cost:   {', '.join(costs)}"
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


def sweep(nas, run, *options, name="main"):
    said = nas("search", run, "--name", name, "--set", "search.searcher=progressive", *options)
    assert said.exit_code == 0, said.output
    return said


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


def test_a_sweep_and_its_answer_within_the_limits(nas, run):
    limit = "macs<=25%"
    said = sweep(nas, run, "--limit", limit).stdout.splitlines()
    space = from_json((run / "space.json").read_text())
    found, rows = result(run, "main"), history(run, "main")
    table = CandidateTable.from_json((run / "searches/main/table.json").read_text(), space=space)
    feasible = build_limits(space, (limit,))
    answer = specialise(table, feasible.limits, score="loss/saving")
    assert found["winner"] == answer.row.tolist()
    assert feasible.contains([found["winner"]])[0]
    assert found["values"]["macs"] <= feasible.limits[0].upper
    # The sweep looks at every option, also of networks outside the limits.
    assert not feasible.contains(rows.archs).all()
    # What was told of the start and of the answer is what was measured.
    keys = [row.tobytes() for row in space.canonical(rows.archs)]
    error = dict(zip(keys, rows.column("error"), strict=True))
    (start, winner) = space.canonical([table.start, answer.row])
    whole = largest(space, METRICS["macs"](space))
    for column, size in enumerate(space.num_options):
        swept = np.tile([*table.start[:column], *whole[column:]], (size, 1))
        swept[:, column] = np.arange(size)
        errors = [error[row.tobytes()] for row in space.canonical(swept)]
        assert table.losses[column, :size].tolist() == [one - min(errors) for one in errors]
    assert table.base_error == found["start_error"] == error[start.tobytes()]
    assert found["values"]["error"] == error[winner.tobytes()]
    assert found["predicted_error"] == table.predict(answer.row[None])[0]
    assert (found["method"], len(found["path"])) == ("greedy", len(answer.path))
    assert [step["choice"] for step in found["path"]] == [step.choice for step in answer.path]
    assert found["stopped"] == "complete"
    # Random search is within the limits, and looks at as many.
    random = history(run, "main", "random.csv")
    assert len(random) == len(rows) == found["evaluated"]
    assert feasible.contains(random.archs).all()
    assert f"{len(rows)} architectures evaluated (random search: " in said[4]
    assert said[5].startswith(f"other:  nas specialize {run} --limit 'macs<=")


def test_settings_of_a_sweep(nas, run):
    space = from_json((run / "space.json").read_text())
    options = [
        f"search.{text}" for text in ("suffixes=2", "exact=true", 'objectives=["macs","error"]')
    ]
    sweep(nas, run, *(part for text in options for part in ("--set", text)), name="two")
    found, rows = result(run, "two"), history(run, "two")
    assert found["method"] == "exact"
    table = (run / "searches/two/table.json").read_text()
    table = CandidateTable.from_json(table, space=space)
    exact = specialise(table, build_limits(space, ("macs<=50%",)).limits, method="exact")
    assert found["winner"] == exact.row.tolist()
    options = sum(space.num_options)
    assert options < len(rows) <= 2 * options
    # It is the error that is swept, whatever the objectives of other searches.
    assert table.base_error in rows.column("error")


def test_a_killed_sweep_ends_with_the_same_files(nas, forked, trained, run, tmp_path):
    sweep(nas, run, "--limit", "macs<=25%")
    files = ("result.json", "history.csv", "random.csv", "table.json")
    wanted = [(run / "searches/main" / name).read_bytes() for name in files]
    copy = shutil.copytree(trained, tmp_path / "killed")
    args = ("search", copy, "--limit", "macs<=25%", "--set", "search.searcher=progressive")
    for moment in (
        {"replace": 3, "file": "history.json"},
        {"replace": 1, "file": "random.json"},
    ):
        status, _ = forked(*args, kill=moment)
        assert status < 0
        args = ("search", copy, "--resume")
    assert forked(*args)[0] == 0
    assert [(copy / "searches/main" / name).read_bytes() for name in files] == wanted


@pytest.fixture
def learned(run):
    """A run whose training learned architecture parameters: those of `alphas`, and nothing else."""

    def learn(alphas, alive):
        space = from_json((run / "space.json").read_text())
        there = space.mask
        record = {
            "choices": [choice.name for choice in space.choices],
            "options": [list(map(str, choice.options)) for choice in space.choices],
            "steps": [0, 10],
            # The last entry counts.
            "alphas": [np.where(there, values, None).tolist() for values in (-alphas, alphas)],
            "alive": [np.where(there, values, None).tolist() for values in (there, alive)],
        }
        (run / "train/alphas.json").write_text(json.dumps(record))
        return space

    return learn


PROBABLE = ("--set", "search.searcher=most-probable")


def test_the_most_probable_architecture(nas, run, learned):
    space = from_json((run / "space.json").read_text())
    alphas = np.random.default_rng(0).normal(size=space.mask.shape)
    alphas -= np.arange(5) / 2  # the larger, the less probable
    alive = space.mask.copy()
    alive[3, np.where(space.mask[3], alphas[3], -9).argmax()] = False
    learned(alphas, alive)
    for name, limit in (("main", "macs<=100%"), ("large", "macs>=80%"), ("small", "macs<=25%")):
        said = nas("search", run, "--name", name, "--limit", limit, *PROBABLE)
        assert said.exit_code == 0, said.output
        found, rows = result(run, name), history(run, name)
        feasible = build_limits(space, (limit,))
        values = np.where(alive, alphas, -np.inf)
        values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
        assert found["winner"] == feasible.most_probable(values).tolist()
        assert feasible.contains([found["winner"]])[0]
        assert (len(rows), found["evaluated"], found["stopped"]) == (1, 1, "complete")
        assert found["values"]["error"] == rows.column("error")[0]
        assert len(history(run, name, "random.csv")) == 16
        assert "weights, 1 architecture evaluated (random search: " in said.stdout
    assert result(run, "main")["winner"] == np.where(alive, alphas, -np.inf).argmax(1).tolist()


def test_what_was_dropped_cannot_meet_the_limit(nas, run, learned):
    space = from_json((run / "space.json").read_text())
    alive = np.zeros_like(space.mask)
    alive[np.arange(len(alive)), np.array(space.num_options) - 1] = True
    learned(np.zeros(space.mask.shape), alive)
    said = nas("search", run, "--limit", "macs<=30%", *PROBABLE)
    assert said.exit_code == 2
    least = METRICS["macs"](space)(np.array(space.num_options)[None] - 1)[0]
    assert "of the candidates that the training of" in said.output
    assert f"attainable: {least:,} to {least:,}" in said.output
    assert "widen the limits, or train another run with them" in said.output
    assert not (run / "searches").exists()


@pytest.mark.parametrize("searcher", ["most-probable", "evolution", "random", "progressive"])
def test_no_search_looks_at_candidates_that_were_dropped(nas, run, learned, searcher):
    space = from_json((run / "space.json").read_text())
    alive = space.mask.copy()
    alive[:, 1] = False
    alive[2, 0] = False
    learned(np.zeros(space.mask.shape), alive)
    said = nas("search", run, "--set", f"search.searcher={searcher}", "--limit", "macs<=90%")
    assert said.exit_code == 0, said.output
    live = FeasibleSet(space.restrict(alive))
    found = result(run, "main")
    assert live.contains(history(run, "main").archs).all()
    assert live.contains([found["winner"]]).all()
    # Shares are of the whole space.
    assert found["limits"] == [str(limit) for limit in build_limits(space, ("macs<=90%",)).limits]
    if searcher != "random":
        rows = history(run, "main", "random.csv")
        assert len(rows) > 1
        assert live.contains(rows.archs).all()


def test_a_supernet_without_architecture_parameters(nas, run, tiny, tmp_path):
    for args in (("search", run), ("pipeline", "--out", tmp_path / "new", *tiny())):
        said = nas(*args, *PROBABLE)
        assert said.exit_code == 2
        assert "most-probable is for supernets with architecture parameters" in said.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "text", ["{", '{"alphas": [[[0]]], "alive": [[[true]]]}', '{"alphas": [], "alive": []}']
)
def test_damaged_architecture_parameters(nas, run, text):
    (run / "train/alphas.json").write_text(text)
    said = nas("search", run, *PROBABLE)
    assert said.exit_code == 2
    assert "alphas.json is damaged" in said.output


@pytest.fixture
def learned_jointly(run):
    """Write a joint distribution as what the run's training has learned; return it."""

    def learn(seed=0, joint=True):
        space = from_json((run / "space.json").read_text())
        # Of groups of two choices, so that joint is more than factorised.
        choices = [attrs.evolve(c, group=f"pair{i // 2}") for i, c in enumerate(space.choices)]
        grouped = attrs.evolve(space, choices=tuple(choices))
        (run / "space.json").write_text(to_json(grouped))
        one = Distribution(grouped, joint=joint)
        draw = np.random.default_rng(seed).normal(0, 2, one.values.shape)
        one.values = np.where(one.alive, draw, 0.0)
        (run / "train/distribution.json").write_text(json.dumps(one.to_record()))
        return one

    return learn


@pytest.mark.parametrize("joint", [False, True])
def test_the_mode_of_a_distribution_beside_samples_of_it(nas, run, learned_jointly, joint):
    one = learned_jointly(joint=joint)
    samples = ("--set", "search.samples=12")
    for name, limit in (("main", "macs<=100%"), ("small", "macs<=40%")):
        said = nas("search", run, "--name", name, "--limit", limit, *PROBABLE, *samples)
        assert said.exit_code == 0, said.output
        found, rows = result(run, name), history(run, name)
        feasible = build_limits(one.space, (limit,))
        every = feasible.sample(20_000, rng=np.random.default_rng(1))
        chance = one.log_probability([found["winner"]])[0]
        assert chance >= one.log_probability(every).max() - 1e-9
        assert feasible.contains(rows.archs).all()
        errors = rows.column("error")
        # Recorded as the row that stands for its network.
        same = one.space.canonical([found["winner"], rows.archs[0]])
        assert (same[0] == same[1]).all()
        assert found["values"]["error"] == errors[0]
        drawn, again = (found["samples"].pop(key) for key in ("drawn", "winner"))
        assert drawn == 12
        assert 0 <= again <= drawn - found["samples"]["evaluated"]
        assert found["samples"] == {
            "evaluated": len(rows) - 1,
            "better": int((errors[1:] < errors[0]).sum()),
            "errors": pytest.approx([errors[1:].min(), errors[1:].max()]),
        }
        assert found["proven"]
        assert 1 < len(rows) <= 13
    assert result(run, "main")["winner"] == one.mode().tolist()


def test_samples_that_are_the_winner_again_are_counted():
    space = published.load("digits-mobile")
    winner, other, third = (np.full(8, option) for option in (0, 1, 2))
    archs, values = np.stack([winner, third, other]), np.array([[0.3], [0.4], [0.2]])
    samples = np.stack([other, winner, third, winner, winner, other])
    assert _standing(space, History(("error",), ("1",), archs, values), winner, samples) == {
        "drawn": 6,
        "winner": 3,
        "evaluated": 2,
        "better": 1,
        "errors": [0.2, 0.4],
    }
    alone = History(("error",), ("1",), archs[:1], values[:1])
    nothing = {"evaluated": 0, "better": 0, "errors": []}
    assert _standing(space, alone, winner, samples[3:5]) == {"drawn": 2, "winner": 2, **nothing}
    assert _standing(space, alone, winner, samples[:0]) == {"drawn": 0, "winner": 0, **nothing}


def test_a_search_by_a_distribution_that_is_killed_and_resumed(nas, run, learned_jointly, forked):
    learned_jointly()
    options = ("--limit", "macs<=60%", *PROBABLE, "--set", "search.samples=12")
    assert nas("search", run, "--name", "whole", *options).exit_code == 0
    # Behind the first rows of three portions; then in the random search beside them.
    for number, moment in enumerate(("history.json", "random.json")):
        name = f"killed-{number}"
        kill = {"replace": 1, "file": moment}
        status, _ = forked("search", run, "--name", name, *options, kill=kill)
        assert status == -9
        status, said = forked("search", run, "--name", name, "--resume")
        assert status == 0, said
        for file in ("history.csv", "random.csv"):
            whole, killed = (run / "searches" / one / file for one in ("whole", name))
            assert whole.read_bytes() == killed.read_bytes()
        assert result(run, name) | {"name": ""} == result(run, "whole") | {"name": ""}


@pytest.mark.parametrize("text", ["{", "[]", '{"choices": []}'])
def test_a_damaged_distribution(nas, run, learned_jointly, text):
    learned_jointly()
    (run / "train/distribution.json").write_text(text)
    said = nas("search", run, *PROBABLE)
    assert said.exit_code == 2
    assert "distribution.json is damaged" in said.output


def test_zeros_are_options_that_only_cut():
    space = published.load("nas-bench-201")
    assert zero_options(space).sum() == 6
    assert zero_options(space)[:, 0].all()
    assert not zero_options(published.load("nas-bench-macro")).any()


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
