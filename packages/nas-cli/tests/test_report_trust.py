"""What the report shows of trust reports and of similar candidates."""

import json
import re
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest

import nas_hw
from nas_cli.config import resolve, to_toml
from nas_cli.report import load_run, write_report
from nas_search import kendall
from nas_spaces import History, InputError, published, to_json

SPACE = "digits-mobile"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


def begin(run, space, **settings):
    """Write what every run has; return it with the space."""
    config = resolve([{"data": "digits", "space": space, **settings}])
    write(run / "config.toml", to_toml(config))
    write(run / "space.json", to_json(published.load(space)))
    return SimpleNamespace(path=run, space=published.load(space), config=config)


def agreement(a, b):
    found = kendall(a, b, rng=np.random.default_rng(0), resamples=50)
    return {name: getattr(found, name) for name in ("tau", "low", "high", "undefined")}


def write_rank(run, space, *, name="main", n=60, noise=0.05, **changes):
    rng = np.random.default_rng(11)
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
    folder = run / "ranks" / name
    write(folder / "values.csv", rows.to_csv())
    write(folder / "result.json", result | changes)
    return rows


def write_similarity(run, space, *, name="main", size=8):
    rng = np.random.default_rng(4)
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
    write(run / "ranks" / name / "similarity.json", record | {"channel": channel})
    return blocks


class Page:
    """What a report says and draws: its text, and its plots by their labels."""

    def __init__(self, run):
        # Without plotly itself, which is 40 times the rest.
        self.html = write_report(run).read_text(encoding="utf-8").split("<script>")[0]
        plots = r'aria-label="([^"]*)"[^>]*></div>\s*<script type="application/json">(.*?)</script>'
        self.figures = {
            unescape(label): json.loads(data)
            for label, data in re.findall(plots, self.html, flags=re.DOTALL)
        }
        shown = re.sub(r"<(style|script).*?</\1>", " ", self.html, flags=re.DOTALL)
        self.text = " ".join(unescape(re.sub(r"<[^>]*>", "", shown)).split())

    def figure(self, label):
        [found] = [figure for name, figure in self.figures.items() if name.startswith(label)]
        return found


def trace(figure, name):
    [found] = [one for one in figure["data"] if one.get("name") == name]
    return found


@pytest.fixture
def bare(tmp_path):
    return begin(tmp_path / "bare", SPACE)


def test_verdict_stands_at_the_top_and_over_its_section(bare):
    write_rank(bare.path, bare.space)
    page = Page(bare.path)
    verdict = "No better than counting MACs."
    assert page.text.count(verdict) == 2
    assert page.text.index(verdict) < page.text.index("Method")
    assert "60 architectures, held against macro.json, column mean_acc" in page.text
    assert "2 architectures of the truth are unknown in this space" in page.text
    assert "for example 9,9; 8,8" in page.text
    assert "missing from the truth" not in page.text


def test_taus_regret_and_gap_are_those_of_the_file(bare):
    write_rank(bare.path, bare.space)
    text = Page(bare.path).text
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
    rows = write_rank(bare.path, bare.space)
    figure = Page(bare.path).figure("Supernet top-1 against the true")
    points = trace(figure, "norms recalibrated")
    np.testing.assert_allclose(points["x"], 100 - 100 * rows.column("truth"))
    np.testing.assert_allclose(points["y"], 100 - 100 * rows.column("error_recalibrated"))
    assert points["text"][0].startswith(",".join(map(str, rows.archs[0].tolist())))


def test_second_supernet_is_held_against_with_the_same_norms(bare):
    rows = write_rank(bare.path, bare.space, truth="run", column="runs/second", failed=1)
    values = np.concatenate([rows.values, 1 - rows.values[:, :1]], axis=1)
    names, units = (*rows.names, "truth_own_norms"), (*rows.units, "1")
    wider = History(names, units, rows.archs, values)
    write(bare.path / "ranks" / "main" / "values.csv", wider.to_csv())
    page = Page(bare.path)
    figure = page.figure("Supernet top-1 against the true")
    np.testing.assert_allclose(trace(figure, "the supernet's own norms")["x"], 100 * values[:, 0])
    recalibrated = trace(figure, "norms recalibrated")["x"]
    np.testing.assert_allclose(recalibrated, 100 - 100 * values[:, 0])
    assert "held against another supernet of runs/second" in page.text
    assert "1 network could not be trained and is left out" in page.text


def test_undefined_tau_is_said_and_missing_parts_are_left_out(bare):
    undefined = {"tau": None, "low": None, "high": None, "undefined": "the truth is constant"}
    write_rank(
        bare.path, bare.space, truth="standalone", column=None, ceiling=None, regret=None,
        gap=None, tau={"recalibrated": undefined, "own_norms": None},
    )  # fmt: skip
    text = Page(bare.path).text
    assert "as in the searches not defined \N{EN DASH} the truth is constant" in text
    assert "held against networks that were trained alone, from scratch" in text
    for absent in ("Supernet, its own norms", "Ceiling", "Regret", "In the mean"):
        assert absent not in text


def test_similarity_alone_is_shown(bare):
    blocks = write_similarity(bare.path, bare.space, name="alike")
    page = Page(bare.path)
    assert "Trust alike" in page.text
    assert "on the same channel, mean over channels and 64 images" in page.text
    squares = re.findall(r'<rect [^>]*fill="#', page.html)
    assert len(squares) == sum(len(block["options"]) ** 2 for block in blocks)
    images = re.findall(r'<img src="([^"]*)"', page.html)
    assert len(images) == len(blocks[0]["options"])
    assert all(image.startswith("data:image/png;base64,") for image in images)
    assert f"Channel 7 of block {blocks[0]['block']}" in page.text


def test_similarity_without_pictures_and_with_gaps(bare):
    blocks = write_similarity(bare.path, bare.space)
    blocks[0]["cosine"][0][1] = None
    record = {"path": [], "images": 2, "blocks": blocks, "channel": None}
    write(bare.path / "ranks" / "main" / "similarity.json", record)
    page = Page(bare.path)
    assert "<img" not in page.html
    assert len(re.findall(r'<rect [^>]*fill="none"', page.html)) == 1


def test_unfinished_trust_report_is_named(bare):
    write(bare.path / "ranks" / "late" / "state.json", {})
    assert "Trust late This trust report has not finished" in Page(bare.path).text


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
    write(path, content)
    with pytest.raises(InputError, match=says) as caught:
        load_run(bare.path)
    assert str(path) in str(caught.value)


def test_names_with_markup_are_escaped(bare):
    bad = "</script><b onmouseover=alert(1)>"
    write_rank(
        bare.path, bare.space, verdict=bad, column=bad, unknown={"count": 1, "examples": [bad]}
    )
    html = write_report(bare.path).read_text(encoding="utf-8")
    assert "<b onmouseover" not in html
    # Verdict twice, column and example; the plot's axis has it escaped once more.
    assert html.count("&lt;/script&gt;&lt;b onmouseover") >= 4
    assert html.count("</script>") == html.count("<script")
