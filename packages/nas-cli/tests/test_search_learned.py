"""Searches of what a training learned of the architectures."""

import json
import shutil

import attrs
import numpy as np
import pytest

from nas_cli.limits import METRICS, build_limits
from nas_cli.searchers import _standing
from nas_samplers import Distribution, zero_options
from nas_spaces import FeasibleSet, History, from_json, published, to_json


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def history(run, name, file="history.csv"):
    return History.from_csv((run / "searches" / name / file).read_text())


def result(run, name):
    return json.loads((run / "searches" / name / "result.json").read_text())


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
