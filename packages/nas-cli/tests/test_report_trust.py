"""What the report shows of trust reports and of similar candidates."""

import json
import re

import numpy as np
import pytest

import nas_hw
from nas_cli.report import load_run, write_report
from nas_search import kendall
from nas_spaces import History, InputError

SCATTER = "Supernet top-1 against the true"


def agreement(a, b):
    found = kendall(a, b, rng=np.random.default_rng(0), resamples=50)
    return {name: getattr(found, name) for name in ("tau", "low", "high", "undefined")}


def write_rank(run, *, name="main", n=60, noise=0.05, **changes):
    space, rng = run.space, np.random.default_rng(11)
    archs = space.sample(n, rng=rng)
    macs, params = nas_hw.macs(space)(archs), nas_hw.params(space)(archs)
    truth = 0.03 + 0.05 * np.exp(-macs / macs.mean()) + 0.01 * rng.random(n)
    scores = {"recalibrated": 3 * truth, "own_norms": 6 * truth}
    scores = {key: one + noise * rng.standard_normal(n) for key, one in scores.items()}
    names = ("truth", "error_recalibrated", "error_own_norms", "macs", "params")
    columns = [truth, *scores.values(), macs, params]
    values = np.stack(columns, axis=1).astype(float)
    rows = History(names, ("1", "1", "1", "multiply-adds", "parameters"), archs, values)
    regret = {"1": 0.812, "5": 0.4, "10": None}
    result = {
        "name": name,
        "truth": "macro.json",
        "column": "mean_acc",
        "architectures": n,
        "unknown": {"count": 2, "examples": ["9,9", "8,8"]},
        "missing": {"count": 0, "examples": []},
        "tau": {key: agreement(one, truth) for key, one in scores.items()},
        "macs": agreement(-macs, truth),
        "params": agreement(-params, truth),
        "ceiling": {"tau": 0.88, "low": 0.87, "high": 0.89, "undefined": None},
        "regret": {"recalibrated": regret, "own_norms": regret, "macs": regret},
        "gap": {"recalibrated": -12.34, "own_norms": 0.5},
        "judged": "recalibrated",
        "verdict": "no better than counting MACs",
    }
    run.write(f"ranks/{name}/values.csv", rows.to_csv())
    run.write(f"ranks/{name}/result.json", result | changes)
    return rows


def write_similarity(run, *, name="main", size=8):
    space, rng = run.space, np.random.default_rng(4)
    blocks = []
    for choice in space.choices:
        k = len(choice.options)
        cosine = np.corrcoef(rng.standard_normal(30) + 0.8 * rng.standard_normal((k, 30)))
        options = [str(option) for option in choice.options]
        record = {"choice": choice.name, "block": choice.name, "options": options}
        blocks.append(record | {"cosine": np.round(cosine, 3).tolist()})
    options = blocks[0]["options"]
    waves = np.sin(np.arange(size)[:, None] / 2) * np.cos(np.arange(size) / 3)
    maps = [(waves + 0.3 * rng.standard_normal((size, size))).tolist() for _ in options]
    channel = {"block": blocks[0]["block"], "options": options, "maps": maps, "channel": 7}
    record = {"path": [0] * space.num_choices, "images": 64, "blocks": blocks}
    run.write(f"ranks/{name}/similarity.json", record | {"channel": channel})
    return blocks


@pytest.fixture
def bare(make_run):
    return make_run()


def test_verdict_stands_at_the_top_and_over_its_section(bare):
    write_rank(bare)
    page = bare.page()
    verdict = "No better than counting MACs."
    assert page.text.count(verdict) == 2
    assert page.text.index(verdict) < page.text.index("Method")
    assert "60 architectures, held against macro.json, column mean_acc" in page.text
    assert "2 architectures of the truth are unknown in this space" in page.text
    assert "for example 9,9; 8,8" in page.text
    assert "missing from the truth" not in page.text


def test_of_several_rankings_the_largest_speaks_first(bare):
    write_rank(bare, name="alone", n=20, truth="standalone", verdict="by twenty")
    write_rank(bare, name="seeds", n=60, truth="run", verdict="by another supernet")
    write_rank(bare, name="table", n=60, verdict="by sixty")
    page = bare.page()
    top = page.text[: page.text.index("Method")]
    said = ["By sixty.", "2 more rankings", "By another supernet.", "By twenty."]
    assert sorted(said, key=top.index) == said
    # Each verdict leads to its own section, which stand by name.
    box = page.html[page.html.index('<div class="verdict trust">') :]
    assert re.findall(r'href="#rank-(\d)"', box)[:3] == ["2", "1", "0"]
    assert "<summary>2 more rankings" in box.split("By another")[0]
    folders = re.findall(r'id="rank-(\d)">\s*<h2>Trust (\w+)', page.html)
    assert folders == [("0", "alone"), ("1", "seeds"), ("2", "table")]


def test_a_regret_that_means_nothing_is_no_number(bare):
    scores = ("recalibrated", "own_norms", "macs")
    write_rank(bare, regret=dict.fromkeys(scores))
    text = bare.page().text
    says = "What choosing costs means nothing where the truth is the same for all architectures"
    assert f"{says}." in text
    assert "best of the top" not in text
    write_rank(bare, regret={"recalibrated": {"1": 0.5}, "own_norms": None})
    text = bare.page().text
    assert f"{says}; such scores are left out." in text
    assert "best of the top 1 [points] Supernet, norms recalibrated 0.50" in text


def test_taus_regret_and_gap_are_those_of_the_file(bare):
    write_rank(bare)
    text = bare.page().text
    result = json.loads((bare.path / "ranks/main/result.json").read_text())
    for label, found in (
        ("Supernet, norms recalibrated, as in the searches", result["tau"]["recalibrated"]),
        ("Supernet, its own norms", result["tau"]["own_norms"]),
        ("MACs alone", result["macs"]),
        ("Parameters alone", result["params"]),
        ("Ceiling", result["ceiling"]),
    ):
        numbers = " ".join(
            [f"{found['tau']:.2f}", f"{found['low']:.2f}", "to", f"{found['high']:.2f}"]
        )
        assert f"{label} {numbers}".replace("-", "\N{MINUS SIGN}") in text
    assert "MACs alone 0.81 0.40 \N{EN DASH}" in text
    assert "12.34 percentage points below the true one with norms recalibrated, 0.50" in text


def test_scatter_shows_accuracy_with_the_architecture(bare):
    rows = write_rank(bare)
    points = bare.page().trace(SCATTER, "norms recalibrated")
    np.testing.assert_allclose(points["x"], 100 - 100 * rows.column("truth"))
    np.testing.assert_allclose(points["y"], 100 - 100 * rows.column("error_recalibrated"))
    assert points["text"][0].startswith(",".join(map(str, rows.archs[0].tolist())))


def test_second_supernet_is_held_against_with_the_same_norms(bare):
    rows = write_rank(bare, truth="run", column="runs/second", failed=1)
    values = np.concatenate([rows.values, 1 - rows.values[:, :1]], axis=1)
    names, units = (*rows.names, "truth_own_norms"), (*rows.units, "1")
    wider = History(names, units, rows.archs, values)
    bare.write("ranks/main/values.csv", wider.to_csv())
    page = bare.page()
    np.testing.assert_allclose(
        page.trace(SCATTER, "the supernet's own norms")["x"], 100 * values[:, 0]
    )
    recalibrated = page.trace(SCATTER, "norms recalibrated")["x"]
    np.testing.assert_allclose(recalibrated, 100 - 100 * values[:, 0])
    assert "held against another supernet of runs/second" in page.text
    assert "1 network could not be trained and is left out" in page.text


def test_undefined_tau_is_said_and_missing_parts_are_left_out(bare):
    undefined = {"tau": None, "low": None, "high": None, "undefined": "the truth is constant"}
    write_rank(
        bare, truth="standalone", column=None, ceiling=None, regret=None,
        gap=None, tau={"recalibrated": undefined, "own_norms": None},
    )  # fmt: skip
    text = bare.page().text
    assert "as in the searches not defined \N{EN DASH} the truth is constant" in text
    assert "held against networks that were trained alone, from scratch" in text
    for absent in ("Supernet, its own norms", "Ceiling", "Regret", "In the mean"):
        assert absent not in text


def test_similarity_alone_is_shown(bare):
    blocks = write_similarity(bare, name="alike")
    page = bare.page()
    assert "Trust alike" in page.text
    assert "on the same channel, mean over channels and 64 images" in page.text
    squares = re.findall(r'<rect [^>]*fill="#', page.html)
    assert len(squares) == sum(len(block["options"]) ** 2 for block in blocks)
    images = re.findall(r'<img src="([^"]*)"', page.html)
    assert len(images) == len(blocks[0]["options"])
    assert all(image.startswith("data:image/png;base64,") for image in images)
    assert f"Channel 7 of block {blocks[0]['block']}" in page.text


def test_similarity_without_pictures_and_with_gaps(bare):
    blocks = write_similarity(bare)
    blocks[0]["cosine"][0][1] = None
    record = {"path": [], "images": 2, "blocks": blocks, "channel": None}
    bare.write("ranks/main/similarity.json", record)
    page = bare.page()
    assert "<img" not in page.html
    assert len(re.findall(r'<rect [^>]*fill="none"', page.html)) == 1


def test_unfinished_trust_report_is_named(bare):
    bare.write("ranks/late/state.json", {})
    assert "Trust late This trust report has not finished" in bare.page().text


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("result.json", {"name": "main"}, "verdict"),
        ("values.csv", 'architecture,error [1]\n"0,1",0.5\n', "truth"),
        (
            "similarity.json",
            {"images": 2, "blocks": [{"block": "b", "options": ["x", "y"], "cosine": [[1]]}]},
            "expected 2 rows of 2",
        ),
    ],
)
def test_malformed_trust_files_are_named(bare, name, content, says):
    path = bare.path / "ranks" / "main" / name
    bare.write(f"ranks/main/{name}", content)
    with pytest.raises(InputError, match=says) as caught:
        load_run(bare.path)
    assert str(path) in str(caught.value)


def test_names_with_markup_are_escaped(bare):
    bad = "</script><b onmouseover=alert(1)>"
    write_rank(bare, verdict=bad, column=bad, unknown={"count": 1, "examples": [bad]})
    html = write_report(bare.path).read_text(encoding="utf-8")
    assert "<b onmouseover" not in html
    # Verdict twice, column and example; the plot's axis has it escaped once more.
    assert html.count("&lt;/script&gt;&lt;b onmouseover") >= 4
    assert html.count("</script>") == html.count("<script")
