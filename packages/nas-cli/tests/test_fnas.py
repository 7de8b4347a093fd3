"""Search of architectures that are trained alone: FNAS in all its parts, with a tiny budget."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

from nas_cli.config import read_config
from nas_cli.report.reading import load_run
from nas_spaces import Block, Choice, History, SearchSpace, published, to_json
from nas_spaces.layers import Classifier, Conv

FILES = (
    "history.csv",
    "searches/main/history.csv",
    "searches/main/history.json",
    "searches/main/pool.safetensors",
    "searches/main/result.json",
    "searches/main/retrain/result.json",
    "best/model.safetensors",
    "config.toml",
)


def contents(run):
    return {name: (run / name).read_bytes() for name in FILES}


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def settings(tiny):
    """Options of a tiny run by fnas, in this process."""

    def options(**changes):
        small = {
            "baselines": 0,
            "train__epochs": 0.3,
            "train__batch_size": 16,
            "search__population": 4,
            "search__generations": 4,
            "policy__batch": 4,
            "critic__least": 4,
            "critic__steps": 2,
            "candidates__workers": 1,
            "candidates__pairs": 2,
            "candidates__finalists": 2,
        }
        return ["--method", "fnas", *tiny(**(small | changes))]

    return options


@pytest.fixture(scope="module")
def run(nas, settings, tmp_path_factory):
    """A finished run by fnas: its folder; copy it to change it."""
    out = tmp_path_factory.mktemp("runs") / "fnas"
    result = nas("pipeline", "--out", out, *settings())
    assert result.exit_code == 0, result.output
    return out


def test_what_a_run_by_fnas_records(run):
    found = read(run / "searches/main/result.json")
    assert (found["evaluation"], found["evaluated"], found["failed"]) == ("standalone", 16, [])
    assert found["random_best_error"] is None
    assert found["counts"]["measured"] == 16
    assert found["counts"]["trusted"] > 0
    assert found["counts"]["replayed"] > 0
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    trained = [one for one in events if one["event"] == "candidate"]
    assert [one["number"] for one in trained] == list(range(16))
    # The time is kept with every candidate, every batch of them and both finalists.
    assert [one["event"] for one in events].count("saved") >= 16 + 4 + 2
    pairs = [one for one in trained if one["pool_error"] is not None]
    assert len(pairs) == 2
    assert found["pool"]["hits"] == sum(one["hits"] for one in trained) > 0
    assert "in 2 pairs" in found["pool"]["verdict"]
    # What it needs no more is gone.
    assert not (run / "searches/main/candidates").exists()
    assert not (run / "searches/main/finalists").exists()


def test_the_best_finalist_wins(run):
    found = read(run / "searches/main/result.json")
    assert len(found["finalists"]) == 2
    best = max(found["finalists"], key=lambda one: one["reward"])
    assert found["winner"] == best["architecture"]
    rewards = [one["reward_in_search"] for one in found["finalists"]]
    assert rewards == sorted(rewards, reverse=True)
    # The limit is the target, and what is below it worth no more: the reward is the accuracy.
    for one in found["finalists"]:
        assert one["reward"] == pytest.approx(1 - one["error"])


def test_finalists_that_cannot_be_trained(nas, settings, tmp_path):
    out = tmp_path / "run"
    options = settings(search__generations=1, retrain__lr=1e9)
    result = nas("pipeline", "--out", out, *options)
    assert result.exit_code == 2
    assert "go on by `nas retrain` with --set retrain.lr=VALUE" in result.output
    found = read(out / "searches/main/result.json")
    # The best of the search wins, and can be trained by other settings.
    assert [one["reward"] for one in found["finalists"]] == [0, 0]
    assert found["winner"] == found["finalists"][0]["architecture"]
    assert nas("retrain", out, "--set", "retrain.lr=0.1").exit_code == 0


def test_finalists_are_near_a_target_that_is_set(nas, settings, tmp_path):
    out = tmp_path / "run"
    given = ["--set", "limits=[]", "--set", "reward.target=50%", "--set", "reward.hard=false"]
    options = [*settings(search__generations=2), *given]
    assert nas("pipeline", "--out", out, *options).exit_code == 0
    history = History.from_csv((out / "history.csv").read_text())
    near = np.abs(history.column("macs") / 606_144 - 1) <= 0.1
    assert near.any()
    assert not near.all()
    found = read(out / "searches/main/result.json")
    assert found["near_target"] is True
    rows = [history.archs.tolist().index(one["architecture"]) for one in found["finalists"]]
    assert near[rows].all()
    assert len(rows) == min(near.sum(), 2)


def test_a_target_that_no_architecture_is_near_is_told(nas, settings, tmp_path):
    out = tmp_path / "run"
    # The largest network alone costs as much; it is not drawn among eight.
    given = ["--set", "limits=[]", "--set", "reward.target=100%", "--set", "reward.hard=false"]
    result = nas("pipeline", "--out", out, *settings(search__generations=2), *given)
    assert result.exit_code == 0, result.output
    history = History.from_csv((out / "history.csv").read_text())
    assert history.column("macs").max() < 0.9 * 1_212_288
    said = "none of 8 architectures is near the target of 1,212,288 macs: the best by reward"
    assert said in result.stderr
    found = read(out / "searches/main/result.json")
    assert (found["near_target"], len(found["finalists"])) == (False, 2)
    assert "None of the search's architectures is near the target" in (
        " ".join((out / "report.html").read_text().split())
    )


def test_the_report_of_a_run_by_fnas(run, nas):
    data = load_run(run)
    assert data.alone
    assert len(data.searches[0].result.finalists) == 2
    page = (run / "report.html").read_text()
    for words in ("What the policy learned from", "The pool of trained blocks", "Finalists"):
        assert words in page
    assert "supernet's weights" not in page
    assert "Supernet training" not in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ("standard deviation of 4 networks", "U is at most 1;", "the largest V + U.")),
        (
            {"critic": {"members": 1, "threshold": None}, "policy": {"pick": "drawn"}},
            ("by a network each", "U is at most its running median;", "what was drawn first."),
        ),
        ({"critic": {"threshold": 0.05}, "policy": {"pick": "uncertain"}}, ("at most 0.05;",)),
    ],
)
def test_the_report_says_how_the_critic_was_asked(run, nas, tmp_path, changes, says):
    """Its default is not the paper's."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    path = copy / "searches" / "main" / "search.json"
    settings = read(path)
    for table, values in changes.items():
        settings[table].update(values)
    path.write_text(json.dumps(settings))
    assert nas("report", copy).exit_code == 0
    page = " ".join((copy / "report.html").read_text().split())
    for words in says:
        assert words in page


@pytest.mark.parametrize(
    "kill",
    [
        {"replace": 2, "file": ".safetensors"},
        {"replace": 9, "file": ".safetensors"},
        {"replace": 2, "file": "main/history.json"},
        {"replace": 3, "file": "pool.safetensors"},
        {"replace": 1, "file": "finalists.json"},
        {"replace": 1, "file": "main/result.json"},
    ],
)
def test_killed_and_gone_on_with_it_ends_the_same(forked, settings, run, tmp_path, kill):
    out = tmp_path / "run"
    status, said = forked("pipeline", "--out", out, *settings(), kill=kill)
    assert status == -9, said
    status, said = forked("pipeline", "--out", out, "--resume")
    assert status == 0, said
    assert contents(out) == contents(run)
    # Candidates that are kept are not trained again: their time counts.
    events = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    seconds = [one["seconds"] for one in events
               if one.get("stage") == "search/main" and "seconds" in one]  # fmt: skip
    assert seconds == sorted(seconds)


def test_processes_give_what_one_process_gives(nas, settings, tmp_path):
    found = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        options = settings(candidates__workers=workers, search__generations=2)
        result = nas("pipeline", "--out", out, *options)
        assert result.exit_code == 0, result.output
        found.append(contents(out))
    one, two = found
    assert all(one[name] == two[name] for name in FILES if name != "config.toml")


def test_another_search_of_the_run(nas, run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    options = ["--limit", "macs<=40%", "--set", "policy.entropy=0.5", "--set", "critic=none"]
    result = nas("search", out, "--name", "smaller", *options)
    assert result.exit_code == 0, result.output
    found = read(out / "searches/smaller/result.json")
    assert found["values"]["macs"] <= 0.4 * 1_212_288
    assert found["counts"]["trusted"] == 0
    # What one search may not change: how candidates are trained is the run's.
    refused = nas("search", out, "--name", "other", "--set", "train.epochs=3")
    assert refused.exit_code == 2
    assert "a search can change limits and search.*" in refused.output


def test_a_warm_start_takes_critic_and_pool(nas, settings, run, tmp_path):
    earlier, out = tmp_path / "earlier", tmp_path / "run"
    shutil.copytree(run, earlier)
    options = settings(search__generations=1)
    result = nas("pipeline", "--out", out, "--warm-start", earlier, *options)
    assert result.exit_code == 0, result.output
    assert f"critic:   37 of 37 tokens from {earlier}" in result.stderr.splitlines()
    blocks = read(run / "searches/main/result.json")["pool"]["blocks"]
    assert f"pool:     {blocks} of {blocks} blocks from {earlier} fit" in result.stderr.splitlines()
    found = read(out / "searches/main/result.json")
    assert found["pool"]["blocks"] >= read(run / "searches/main/result.json")["pool"]["blocks"]
    lines = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    first = next(line for line in lines if line["event"] == "candidate")
    # The first candidate has blocks to begin with already.
    assert (first["number"], first["hits"] > 0) == (0, True)
    assert read_config(out / "config.toml").warm_start == str(earlier)
    # All that is needed was copied.
    shutil.rmtree(earlier)
    shutil.rmtree(out / "searches")
    again = nas("pipeline", "--out", out, "--resume")
    assert again.exit_code == 0, again.output
    assert read(out / "searches/main/result.json")["pool"] == found["pool"]


def test_a_cost_of_the_reward_that_does_not_count_is_said(nas, run, tmp_path):
    out = shutil.copytree(run, tmp_path / "run")
    small = ["--set", "search.generations=1", "--set", "candidates.finalists=1"]
    result = nas("search", out, "--name", "other", *small, "--set", "reward.cost=params")
    assert result.exit_code == 0, result.output
    assert (
        "search other: accuracy alone is rewarded: reward.target is none, and no limit on params "
        "allows a largest value"
    ) in result.stderr.splitlines()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "reward.target=300X"], "reward.target='300X' cannot be read"),
        (["--set", "reward.target=300M"], "target=300,000,000"),
        (["--set", "reward.target=300000000"], "target=300,000,000"),
        (["--set", "reward.target=true"], "reward.target must be a number, or a text like 300M"),
        (
            ["--limit", "macs<=60%", "--set", "reward.target=95%"],
            "outside what macs can be within the limits",
        ),
        (
            ["--set", "reward.target=300M"],
            "change it by --set policy.KEY or critic.KEY or buffer.KEY or reward.KEY=VALUE",
        ),
        (
            ["--set", "reward.cost=bitops", "--set", "reward.target=60%"],
            "reward.cost=bitops: every architecture of space 'digits-mobile' has 0",
        ),
        (["--set", "reward.cost=latency"], "reward.cost='latency' is unknown"),
        (["--set", "reward.exponent=0.1"], "reward.exponent must be <= 0"),
        (["--set", "candidates.pairs=1"], "candidates.pairs must be 0 or >= 2"),
        (["--set", "candidates.least_similarity=2"], "least_similarity must be <= 1"),
        (["--set", "policy.baseline=critic", "--set", "critic=none"], "needs a critic"),
        (["--warm-start", "nowhere"], "nowhere"),
        (["--weights", "some.safetensors"], "they are for a supernet"),
        (
            ["--set", "search.searcher=most-probable"],
            "by search.evaluation=standalone there is none",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(nas, settings, tmp_path, options, says):
    out = tmp_path / "run"
    result = nas("pipeline", "--out", out, *settings(), *options)
    assert result.exit_code == 2
    assert says in result.output
    assert not out.exists()


def test_warm_starts_that_cannot_be_are_refused(nas, settings, run, trained, tmp_path):
    def begin(earlier, **changes):
        options = ["--out", tmp_path / "run", "--warm-start", earlier]
        result = nas("pipeline", *options, *settings(**changes))
        assert result.exit_code == 2
        assert not (tmp_path / "run").exists()
        return result.output

    assert "holds no finished search" in begin(trained)
    assert "were trained for" in begin(run, train__epochs=1)
    assert "hidden=100 here and 200" in begin(run, critic__hidden=100)
    says = begin(run, critic="none", candidates__pool="false")
    assert "has neither a critic nor a pool to begin with" in says


def test_a_critic_that_cannot_be_read_is_named_as_the_warm_start_s(nas, settings, run, tmp_path):
    earlier = tmp_path / "earlier"
    shutil.copytree(run, earlier)
    path = earlier / "searches" / "main" / "search.json"
    kept = json.loads(path.read_text())
    # As an earlier version wrote them, when there were no members.
    kept["critic"] = {**kept["critic"], "members": kept["critic"]["members"] + 1}
    path.write_text(json.dumps(kept))
    result = nas("pipeline", "--out", tmp_path / "run", "--warm-start", earlier, *settings())
    assert result.exit_code == 2
    assert f"--warm-start {earlier}: its critic cannot be read" in result.output
    assert "--set critic=none begins without one" in result.output


def test_a_pool_that_cannot_be_read_is_named_as_the_warm_start_s(nas, settings, run, tmp_path):
    earlier = tmp_path / "earlier"
    shutil.copytree(run, earlier)
    path = earlier / "searches" / "main" / "pool.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    result = nas("pipeline", "--out", tmp_path / "run", "--warm-start", earlier, *settings())
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert f"--warm-start {earlier}: " in said
    assert "pool.safetensors is truncated" in said
    assert "--set candidates.pool=false begins without one" in said
    assert not (tmp_path / "run").exists()


@pytest.fixture
def other_space(tmp_path):
    """A space with two choices that its networks have in common with the default one, and one not.

    Nothing else is: no block has the channels of one there.
    """

    def write(stage="stage1_0"):
        space = published.load("digits-mobile")
        options = {choice.name: choice.options for choice in space.choices}
        known = Choice(stage, options["stage1_0"])
        more = Choice("width", ("narrow", "wide"))
        other = SearchSpace(
            "other",
            space.input_shape,
            [known, more],
            [
                Block("stem", [Conv(9)]),
                Block("one", [Conv(11, 1), Conv(11), Conv(11, 5), Conv(11, 7)], (stage,)),
                Block("two", [Conv(13), Conv(17)], ("width",)),
                Block("head", [Classifier(10)]),
            ],
        )
        path = tmp_path / f"{stage}.json"
        path.write_text(to_json(other))
        return path

    return write


def test_a_warm_start_of_another_space(nas, settings, run, tmp_path, other_space):
    def begin(space, **changes):
        options = settings(limits="[]", search__generations=1, **changes)
        options += ["--space", space, "--out", tmp_path / "run", "--warm-start", run]
        return nas("pipeline", *options)

    # Of a pool of other shapes nothing is taken.
    result = begin(other_space())
    assert result.exit_code == 2
    assert f"--warm-start {run}: none of the " in result.output
    assert "the channels and the stride of a block of space 'other'" in result.output
    assert re.search(r"'digits-mobile', \d+ -> \d+ channels of stride \d", result.output)
    assert not (tmp_path / "run").exists()
    # Nor of a critic of other choices.
    result = begin(other_space("unknown"), candidates__pool="false")
    assert result.exit_code == 2
    assert "'other' and 'digits-mobile' share no option of a choice of the same name" in (
        result.output
    )
    assert "--set critic=none takes the pool alone" in result.output
    assert not (tmp_path / "run").exists()
    # What is common is taken, and said.
    result = begin(other_space(), candidates__pool="false")
    assert result.exit_code == 0, result.output
    assert f"critic:   4 of 6 tokens from {run}" in result.stderr.splitlines()
    assert "pool:" not in result.output


def test_a_warm_start_of_a_run_without_a_pool(nas, settings, tmp_path):
    earlier, few = tmp_path / "earlier", {"search__generations": 1}
    assert (
        nas("pipeline", "--out", earlier, *settings(candidates__pool="false", **few)).exit_code == 0
    )
    result = nas("pipeline", "--out", tmp_path / "run", "--warm-start", earlier, *settings(**few))
    assert result.exit_code == 0, result.output
    assert f"pool:     empty, {earlier} has none" in result.stderr.splitlines()


def test_a_warm_start_of_a_run_without_a_critic(nas, settings, tmp_path):
    earlier, few = tmp_path / "earlier", {"search__generations": 1}
    alone = settings(critic="none", **few)
    assert nas("pipeline", "--out", earlier, *alone).exit_code == 0
    begin = ("pipeline", "--out", tmp_path / "run", "--warm-start", earlier)
    refused = nas(*begin, *settings(**few))
    assert refused.exit_code == 2
    assert "its search has no critic" in refused.output
    assert "--set critic=none takes the pool alone" in refused.output
    result = nas(*begin, *alone)
    assert result.exit_code == 0, result.output
    assert "critic:" not in result.stderr
    assert f" blocks from {earlier} fit" in result.stderr
    # What it began with is its own.
    shutil.rmtree(earlier)
    shutil.rmtree(tmp_path / "run/searches")
    again = nas("pipeline", "--resume", "--out", tmp_path / "run")
    assert again.exit_code == 0, again.output


def test_a_warm_start_that_brings_nothing_is_refused(nas, settings, finished, tmp_path):
    begin = ("pipeline", "--out", tmp_path / "run", "--warm-start", finished)
    refused = nas(*begin, *settings(critic="none"))
    assert refused.exit_code == 2
    assert "its search has left no pool, and no critic is asked for" in refused.output
    assert not (tmp_path / "run").exists()


def test_a_warm_start_without_a_use_is_refused(nas, tiny, run, tmp_path):
    out = tmp_path / "run"
    refused = nas("pipeline", "--warm-start", run, "--out", out, *tiny())
    assert refused.exit_code == 2
    assert "method spos with these settings has neither a critic nor a pool" in refused.output
    assert not out.exists()


def test_without_ray_a_person_is_told_how_to_install_it(nas, settings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    options = settings(candidates__executor="ray")
    refused = nas("pipeline", "--out", tmp_path / "run", *options)
    assert refused.exit_code == 2
    assert "package ray, which is not installed" in refused.output
    assert "pip install 'nas-samplers[ray]'" in refused.output
    assert not (tmp_path / "run").exists()


def test_a_limit_that_binds_nothing_is_no_target_out_of_reach(nas, settings, tmp_path):
    options = settings(search__generations=1)
    result = nas("pipeline", "--out", tmp_path / "run", "--limit", "macs<=5M", *options)
    assert result.exit_code == 0, result.output


def test_what_needs_a_supernet_says_that_there_is_none(nas, settings, run, tmp_path):
    refused = nas("train", "--out", tmp_path / "run", *settings())
    assert refused.exit_code == 2
    assert "method fnas has no supernet to train" in refused.output
    refused = nas("rank", run, "--standalone", 10)
    assert refused.exit_code == 2
    assert "has no supernet: by search.evaluation=standalone" in refused.output
