"""Every method end to end on digits, with a budget that finds nothing worth having."""

import json
import re

import pytest

import nas_hw
from nas_cli.config import read_config
from nas_cli.limits import build_limits
from nas_cli.recipes import RECIPES
from nas_cli.report.words import bounds
from nas_spaces import from_json, published

LEARNING = {"betanas", "proxyless", "gumbel", "darts"}
REFERENCES = {
    "spos-channels": ["channels"],
    "spos-bits": ["2w2a", "3w3a", "4w4a"],
    "spos-joint": ["2w2a", "3w3a", "4w4a"],
}


@pytest.fixture(scope="module")
def pipeline(nas, tiny, tmp_path_factory):
    """Run a method's tiny pipeline; return its folder."""

    def run(method):
        out = tmp_path_factory.mktemp("runs") / method
        options = tiny(train__epochs=2, baselines=0, search__population=4, search__parents=2,
                       search__crossover=2, search__mutation=2)  # fmt: skip
        if method == "ponas":
            options += ["--set", "meta.epochs=1"]
        if method == "fpnas":
            options += ["--set", "distribution.warmup=0.2"]  # of 5 steps
        if method == "spos-channels":
            options += [f"blocks.{part}" if "=" in part else part for part in options]
        if method == "fnas":
            options += ["--set", "candidates.workers=1", "--set", "candidates.finalists=2"]
        result = nas("pipeline", "--method", method, "--out", out, *options)
        assert result.exit_code == 0, result.output
        return out

    return run


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("method", RECIPES)
def test_every_method_gets_to_its_report(pipeline, method):
    out = pipeline(method)
    config = read_config(out / "config.toml")
    assert config.method == method
    found = read(out / "searches/main/result.json")
    feasible = build_limits(from_json((out / "space.json").read_text()), config.limits)
    assert feasible.contains([found["winner"]]).all()
    assert 0 <= found["values"]["error"] < 1
    winner, *references = read(out / "searches/main/retrain/result.json")["candidates"]
    assert winner["architecture"] == found["winner"]
    assert [one["name"] for one in references] == REFERENCES.get(method, [])
    assert (out / "report.html").exists()
    assert (out / "best/model.safetensors").exists()
    if method in ("spos-bits", "spos-joint"):
        check_bits(out, found, references)
    if method == "fnas":
        assert not (out / "train").exists()
        return
    summary = read(out / "train/summary.json")
    assert sum(phase["steps"] for phase in summary["phases"]) == summary["steps"]
    assert (out / "train/alphas.json").exists() == (method in LEARNING)
    assert (out / "train/distribution.json").exists() == (method in ("fpnas", "parsec"))
    if method in LEARNING:
        check_learned(out, config, summary, found)
    if method in ("fpnas", "parsec"):
        check_distribution(out, config, summary, found)
    assert ("inherited" in summary) == (method == "ponas")


def test_steps_that_are_fair_in_the_mean_only_are_named(nas, tiny, tmp_path):
    options = tiny(train__epochs=0.5)
    result = nas("train", "--method", "fairnas", "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "strictly fair among 5 options; of stage1_0, stage2_0, stage3_0 some are on" in said
    uneven = ["stage1_0", "stage2_0", "stage3_0"]
    assert read(tmp_path / "run/train/summary.json")["uneven"] == uneven
    assert nas("report", tmp_path / "run").exit_code == 0
    page = " ".join((tmp_path / "run/report.html").read_text().split())
    assert "once; but of stage1_0, stage2_0, stage3_0 some are on more paths of a step than" in page
    even = nas(
        "train", "--method", "fairnas", "--space", "digits-mobile@0,0,0,0,0,0,0,0+channels=0.5,1",
        "--limit", "macs<=90%", "--out", tmp_path / "even", *options,
    )  # fmt: skip
    assert even.exit_code == 0, even.output
    assert "strictly fair" not in even.stderr
    assert read(tmp_path / "even/train/summary.json")["uneven"] == []


def test_bits_are_compared_whatever_is_limited(nas, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # narrower than the table, whose numbers stay whole
    options = tiny(train__epochs=1, baselines=0, search__population=4, search__parents=2,
                   search__crossover=2, search__mutation=2, search__generations=1)  # fmt: skip
    options += ["--limit", "macs<=70%", "--set", 'references=["2w2a", "2w4a"]']
    out = tmp_path / "run"
    result = nas("pipeline", "--method", "spos-bits", "--out", out, *options)
    assert result.exit_code == 0, result.output
    networks = read(out / "searches/main/retrain/result.json")["candidates"]
    _, equal, other = networks
    assert (equal["name"], other["name"]) == ("2w2a", "2w4a")
    assert other["costs"]["bitops"] == 2 * equal["costs"]["bitops"]
    for one in networks:
        assert set(one["costs"]) == {"bitops"}
        [row] = [line for line in result.stdout.splitlines() if line.startswith(f"{one['name']} ")]
        assert f"{one['costs']['bitops']:,}" in row
    # What an older version has finished lacks it, and gets it.
    (out / "searches/main/retrain/result.json").unlink()
    path = out / "searches/main/retrain/winner/result.json"
    path.write_text(json.dumps(read(path) | {"costs": {}}))
    assert nas("retrain", out).exit_code == 0
    assert read(out / "searches/main/retrain/result.json")["candidates"] == networks


def check_bits(out, found, references):
    """Check that errors stand against what is limited, and networks of equal bits beside."""
    page = (out / "report.html").read_text()
    assert 'aria-label="Supernet error against BitOPs of every evaluated architecture"' in page
    assert page.count("not in the space") == 3
    costs = [one["costs"]["bitops"] for one in references]
    assert [round(cost / costs[0], 4) for cost in costs] == [1, 9 / 4, 4]
    for cost in (*costs, found["values"]["bitops"]):
        assert f'data-label="BitOPs">{cost:,.0f}</td>' in page
    # Which of them the limit would have refused.
    _, most = bounds(found["limits"])["bitops"]
    outside = [one["name"] for one in references if one["costs"]["bitops"] > most]
    assert 0 < len(outside) < len(references)
    marked = r'"Network">([\w-]+) <span class="where">outside the limit'
    assert re.findall(marked, page) == outside


def check_learned(out, config, summary, found):
    """Check that the parameters were moved as often as they should, and decided."""
    record = read(out / "train/alphas.json")
    assert record["steps"][-1] == summary["steps"]
    every, late = config.alphas.every, round(config.alphas.warmup * summary["steps"])
    moments = [step for step in range(late + 1, summary["steps"] + 1) if step % every == 0]
    assert moments
    assert [step for step in record["steps"][1:] if step in moments] == moments
    assert record["counts"][-1][0][: len(record["options"][0])] == summary["path_counts"][0]
    assert found["evaluated"] == 1
    assert record["alphas"][-1] != record["alphas"][0]


def check_distribution(out, config, summary, found):
    """Check that the distribution was moved behind the warm-up, joined in time, and decided."""
    record = read(out / "train/distribution.json")
    asked, steps = config.distribution, summary["steps"]
    assert record["steps"][-1] == steps
    assert record["steps"][1] == int(asked.warmup * steps) + 1
    assert record["sampled"][-1] == sum(summary["path_counts"][0])
    switch = 0 if asked.joint else int(asked.join_after * steps)
    after = [step >= switch for step in record["steps"]]
    assert record["joint"] == after
    assert True in after
    assert (record["cost"], record["target"]) == ("macs", 576_912)
    space = published.load(config.space)
    [cost] = nas_hw.macs(space)([record["mode"]])
    if cost <= 576_912 and asked.joint:  # factorised, of equally probable ones the cheaper wins
        assert found["winner"] == record["mode"]
    samples = found["samples"]
    assert samples["drawn"] == config.search.samples  # half of the space is within the limit
    assert 0 <= samples["winner"] <= samples["drawn"] - samples["evaluated"]
    assert found["evaluated"] == samples["evaluated"] + 1
    assert 0 <= samples["better"] <= samples["evaluated"] <= config.search.samples
