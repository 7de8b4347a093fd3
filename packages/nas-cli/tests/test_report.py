import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import plotly.offline
import pytest

import nas_hw
from nas_cli.report import draw, load_run, write_report
from nas_cli.spaces import load_space
from nas_search import non_dominated
from nas_spaces import FeasibleSet, History, InputError, Limit, published

SPACE = published.load("digits-mobile")
MACS = nas_hw.macs(SPACE)
PARAMS = nas_hw.params(SPACE)
LIMIT = Limit(MACS, upper=1_042_368)
COLUMNS = ("generation", "error", "macs", "params")
RETRAINED = "searches/main/retrain/result.json"
UNITS = ("1", "1", "multiply-adds", "parameters")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


def supernet_error(archs, rng):
    """Made up: larger networks err less, with noise, in steps of one of 287 held-out images."""
    cost = MACS(archs) / 1e6
    error = 0.025 + 0.09 * np.exp(-1.6 * cost) + 0.05 * rng.beta(1.5, 6, len(archs))
    return np.round(error * 287) / 287


def history(archs, generation, rng):
    archs = np.asarray(archs)
    columns = [generation, supernet_error(archs, rng), MACS(archs), PARAMS(archs)]
    return History(COLUMNS, UNITS, archs, np.stack(columns, axis=1).astype(float))


def evolved(feasible, rng, generations=8, size=50):
    """Made up: later generations mutate the cheapest-in-error rows of the earlier ones."""
    rows = history(feasible.sample(size, rng=rng), np.zeros(size), rng)
    for generation in range(1, generations):
        parents = rows.archs[np.argsort(rows.column("error"))[:10]]
        children = parents[rng.integers(10, size=4 * size)].copy()
        fresh = SPACE.sample(len(children), rng=rng)
        children = np.where(rng.random(children.shape) < 0.15, fresh, children)
        children = children[feasible.contains(children)][:size]
        new = history(children, np.full(len(children), generation), rng)
        rows = rows.append(new.archs, new.values)
    return rows


def step_events(stage, steps, rng, every=5, floor=0.5):
    for step in range(every, steps + 1, every):
        loss = floor + 1.8 * np.exp(-3 * step / steps) * (1 + 0.15 * rng.standard_normal())
        lr = 0.05 * 0.5 * (1 + np.cos(np.pi * step / steps))
        yield {
            "event": "step", "stage": stage, "phase": "supernet", "step": step, "steps": steps,
            "epoch": step / 40, "loss": float(loss), "lr": float(lr), "time": 1.7e9 + step,
        }  # fmt: skip


def search_files(folder, feasible, rng, as_written):
    """Write a search of made-up values, in the form of the result of a real one."""
    rows = evolved(feasible, rng)
    random = history(feasible.sample(400, rng=rng), np.arange(400) // 50, rng)
    best = int(np.argmin(rows.column("error")))
    values = {
        "name": folder.name,
        "limits": [str(limit) for limit in feasible.limits],
        "winner": rows.archs[best].tolist(),
        "values": {name: rows.column(name)[best] for name in COLUMNS[1:]},
        "evaluated": len(rows),
        "random_best_error": random.column("error").min(),
        "feasible": feasible.count(),
    }
    assert set(values) <= set(as_written)
    result = as_written | values
    write(folder / "history.csv", rows.to_csv())
    write(folder / "random.csv", random.to_csv())
    write(folder / "result.json", result)
    return result


def write_events(path, rng):
    """Put made-up curves in place of what trainings logged; stages stay as they were written."""
    written = [json.loads(line) for line in path.read_text().splitlines()]
    step = next(event for event in written if event["event"] == "step")
    stages = [event for event in written if event["event"] != "step"]
    seconds = {"train": 41.2, "retrain/main/winner": 83.0}
    for event in stages:
        if event.get("status") == "finished" and event["stage"] in seconds:
            event["seconds"] = seconds[event["stage"]]
    events = list(step_events("train", 1500, rng))
    for name in ["winner", *(f"random-{i}" for i in range(1, 6))]:
        events += step_events(f"retrain/main/{name}", 600, rng, floor=0.45 + 0.05 * rng.random())
    assert all(set(event) <= set(step) for event in events)
    events = [*(step | event for event in events), *stages]
    write(path, "".join(json.dumps(event) + "\n" for event in events))


def write_run(run, finished):
    """Copy a finished run, with made-up values where plots and verdicts need more than it has."""
    shutil.copytree(finished, run)
    (run / "report.html").unlink()
    rng = np.random.default_rng(7)
    write_events(run / "events.jsonl", rng)
    counts = [rng.multinomial(1500, np.ones(k) / k).tolist() for k in SPACE.num_options]
    summary = run / "train" / "summary.json"
    write(summary, read(summary) | {"steps": 1500, "path_counts": counts, "seconds": 41.2})
    assert History.from_csv((run / "searches/main/history.csv").read_text()).names == COLUMNS
    feasible = FeasibleSet(SPACE, [LIMIT])
    as_written = read(run / "searches/main/result.json")
    result = search_files(run / "searches" / "main", feasible, rng, as_written)
    archs = [result["winner"], *feasible.sample(5, rng=rng).tolist()]
    retrained = read(run / RETRAINED)
    candidates = [
        retrained["candidates"][min(i, 1)]
        | {
            "name": f"random-{i}" if i else "winner",
            "architecture": arch,
            "top1": 100 * correct / 360,
            "test_images": 360,
            "macs": int(MACS([arch])[0]),
            "params": int(PARAMS([arch])[0]),
            "supernet_error": None if i else result["values"]["error"],
        }
        for i, (arch, correct) in enumerate(zip(archs, (353, 350, 351, 348, 352, 349), strict=True))
    ]
    comparison = retrained["comparison"] | {
        "difference": 0.83, "low": -0.12, "high": 1.78, "confidence": 0.95,
        "verdict": "No measurable difference: the interval contains zero.",
    }  # fmt: skip
    write(run / RETRAINED, {"candidates": candidates, "comparison": comparison})


@pytest.fixture
def run(finished, tmp_path):
    write_run(tmp_path / "first", finished)
    return tmp_path / "first"


class Page(HTMLParser):
    """The tags, the visible text and the data of the plots of a report."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.inside, self.figures, text = [], [], [], []
        self.words = text
        self.feed(html)
        self.text = re.sub(r"\s+", " ", "".join(text))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inside.append(self.tags[-1])

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words.append(data)
        elif self.inside[-1][1].get("type") == "application/json":
            self.figures.append(json.loads(data))

    def traces(self, name):
        return [t for figure in self.figures for t in figure["data"] if t.get("name") == name]


def page_of(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def ids(page):
    return {attributes["id"] for _, attributes in page.tags if "id" in attributes}


def test_report_has_every_section_and_plot(run):
    assert write_report(run) == run / "report.html"
    page = page_of(run)
    assert {"result", "search-0", "training", "sampling", "settings"} <= ids(page)
    # Supernet training, sampling, candidates, progress, retraining.
    assert len(page.figures) == 5
    assert sum(attributes.get("class") == "plot" for _, attributes in page.tags) == 5
    assert "flops = 2 \N{MULTIPLICATION SIGN} MACs" in page.text


def test_report_loads_nothing_from_anywhere(run):
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    loading = ("src", "href", "srcset", "data", "action", "poster", "xlink:href")
    targets = [
        value for _, attributes in page.tags for key, value in attributes.items() if key in loading
    ]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert not any(tag in ("link", "iframe", "img", "object", "base") for tag, _ in page.tags)
    assert html.count(plotly.offline.get_plotlyjs()) == 1
    own = html.replace(plotly.offline.get_plotlyjs(), "")
    assert "http:" not in own
    assert "https:" not in own
    assert not re.search(r"url\(|@import", own)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_headline_shows_the_numbers_of_the_files(run):
    page = page_of(run)
    result = json.loads((run / "searches/main/result.json").read_text())
    macs, params = int(MACS([result["winner"]])[0]), int(PARAMS([result["winner"]])[0])
    assert "98.1 % on 360 test images" in page.text
    assert f"{macs:,} multiply-adds" in page.text
    assert f"{params:,}" in page.text
    assert "No measurable difference: the interval contains zero." in page.text
    assert "+0.8 percentage points" in page.text
    assert "95 % interval \N{MINUS SIGN}0.1 to +1.8" in page.text
    assert "macs <= 1,042,368 multiply-adds" in page.text
    assert ",".join(map(str, result["winner"])) in page.text
    assert "spos" in page.text
    assert "train 41 s, search/main " in page.text
    assert "retrain/main/winner 1 min 23 s" in page.text


def test_candidates_plot_holds_every_candidate_the_front_and_the_limit(run):
    page = page_of(run)
    rows = History.from_csv((run / "searches/main/history.csv").read_text())
    random = History.from_csv((run / "searches/main/random.csv").read_text())
    [searched] = page.traces("searched")
    np.testing.assert_array_equal(searched["x"], rows.column("macs"))
    np.testing.assert_allclose(searched["y"], 100 * rows.column("error"))
    [baseline] = page.traces("random search")
    np.testing.assert_array_equal(baseline["x"], random.column("macs"))
    [front] = page.traces("Pareto front")
    kept = non_dominated(np.stack([rows.column("error"), rows.column("macs")], axis=1))
    assert len(front["x"]) == kept.sum()
    assert front["x"] == sorted(front["x"])
    assert front["y"] == sorted(front["y"], reverse=True)
    [winner] = page.traces("winner")[:1]
    assert winner["y"] == [pytest.approx(100 * rows.column("error").min())]
    [figure] = [f for f in page.figures if searched in f["data"]]
    [line] = figure["layout"]["shapes"]
    assert line["x0"] == line["x1"] == 1_042_368


def test_progress_plot_counts_architectures_and_keeps_the_best(run):
    page = page_of(run)
    rows = History.from_csv((run / "searches/main/history.csv").read_text())
    error, generation = rows.column("error"), rows.column("generation")
    [best], [mean] = page.traces("search: best so far"), page.traces("search: mean")
    assert best["x"] == [int((generation <= g).sum()) for g in range(8)]
    np.testing.assert_allclose(best["y"], [100 * error[generation <= g].min() for g in range(8)])
    np.testing.assert_allclose(mean["y"], [100 * error[generation == g].mean() for g in range(8)])
    [random] = page.traces("random: best so far")
    assert random["x"] == [50 * (i + 1) for i in range(8)]


def test_sampling_plot_shows_the_counts_with_the_names_of_the_options(run):
    page = page_of(run)
    counts = json.loads((run / "train/summary.json").read_text())["path_counts"]
    [heat] = [t for figure in page.figures for t in figure["data"] if t["type"] == "heatmap"]
    assert [row[: len(expected)] for row, expected in zip(heat["z"], counts, strict=True)] == counts
    # The first block of a stage has no identity: nothing is drawn there.
    assert heat["z"][0][4] is None
    assert heat["customdata"][1] == list(SPACE.choices[1].options)
    assert heat["y"] == [choice.name for choice in SPACE.choices]


def test_picture_has_a_box_a_block_and_its_costs_add_up(run):
    winner = load_run(run).searches[0].result.winner
    boxes = draw(SPACE, winner)
    assert [box.block for box in boxes] == [block.name for block in SPACE.blocks]
    assert sum(box.macs for box in boxes) == MACS([winner])[0]
    assert sum(box.params for box in boxes) == PARAMS([winner])[0]
    assert sum(box.share for box in boxes) == pytest.approx(1)
    page = page_of(run)
    drawn = [a for tag, a in page.tags if tag == "li" and "box" in a.get("class", "")]
    assert len(drawn) == len(SPACE.blocks)


def test_key_of_the_picture_names_what_is_drawn(run):
    key = r'<p class="key">\s*(<span class="swatch.*?)Each drawn solid'
    path = run / "searches/main/result.json"
    kernels = {box.kernel for box in draw(SPACE, json.loads(path.read_text())["winner"])}
    assert 5 in kernels
    [words] = re.findall(key, write_report(run).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert {int(k) for k in re.findall(r"swatch k(\d)", words)} == kernels
    assert "other kernel" not in words
    # Of 3x3 alone, apart from the fixed layers.
    write(path, json.loads(path.read_text()) | {"winner": [0] * 8})
    [words] = re.findall(key, write_report(run).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "5\N{MULTIPLICATION SIGN}5" not in words
    assert "3\N{MULTIPLICATION SIGN}3" in words


def test_loss_that_was_logged_once_is_seen(run):
    event = {"event": "step", "stage": "retrain/main/winner", "phase": "alone", "step": 9}
    event |= {"steps": 9, "epoch": 1.0, "loss": 2.0, "lr": 0.1, "time": 1.7e9}
    write(run / "events.jsonl", json.dumps(event) + "\n")
    [winner] = [one for one in page_of(run).traces("winner") if one["x"] == [9]]
    assert winner["mode"] == "lines+markers"


@pytest.mark.parametrize(
    ("option", "title", "details", "kernel"),
    [
        (0, "MBConv 3x3", ("expand 3",), 3),
        (3, "MBConv 5x5", ("expand 6",), 5),
        (4, "Identity", (), 0),
    ],
)
def test_picture_says_what_a_block_is(option, title, details, kernel):
    box = draw(SPACE, [0, option, 0, 0, 0, 0, 0, 0])[2]
    assert (box.title, box.details, box.kernel) == (title, details, kernel)
    assert box.shape == (12, 8, 8)
    assert box.searched


def test_several_searches_have_a_section_each_the_run_s_own_first(run):
    rng = np.random.default_rng(3)
    small = FeasibleSet(SPACE, [Limit(MACS, upper=600_000)])
    search_files(run / "searches" / "half", small, rng, read(run / "searches/main/result.json"))
    page = page_of(run)
    assert {"search-0", "search-1"} <= ids(page)
    assert page.text.index("Search main") < page.text.index("Search half")
    assert "macs <= 600,000" in page.text
    # The result at the top is still that of the search whose winner was retrained.
    assert load_run(run).searches[0].retrain.winner.architecture == (
        load_run(run).searches[0].result.winner
    )
    assert "limit macs <= 1,042,368" in page.text


def remove(run, *names):
    for name in names:
        path = run / name
        if path.is_dir():
            for child in path.iterdir():
                remove(path, child.name)
            path.rmdir()
        else:
            path.unlink()


def test_report_after_search_only_says_what_is_next(run):
    remove(run, "searches/main/retrain")
    page = page_of(run)
    assert "has not been retrained" in page.text
    assert "nas retrain RUN" in page.text
    assert "on 360 test images" not in page.text


def test_report_after_training_only(run):
    remove(run, "searches")
    page = page_of(run)
    assert "nas search RUN" in page.text
    assert len(page.traces("learning rate")) == 1
    assert not page.traces("searched")


def test_report_of_a_run_that_only_began(run):
    remove(run, "searches", "train", "events.jsonl")
    page = page_of(run)
    assert page.figures == []
    assert "has not finished" in page.text
    assert not [tag for tag, _ in page.tags if tag == "script"]


def test_unfinished_search_is_named_and_left_out(run):
    write(run / "searches" / "killed" / "history.csv", "")
    page = page_of(run)
    assert "Search killed" in page.text
    assert len(load_run(run).searches) == 1


def test_winner_without_random_networks_says_so(run):
    path = run / RETRAINED
    record = json.loads(path.read_text())
    write(path, {"candidates": record["candidates"][:1], "comparison": None})
    assert "nothing says what the search was worth" in page_of(run).text
    write(path, {"candidates": record["candidates"][:2], "comparison": None})
    assert "Only 1 random architecture was retrained, too few to say" in page_of(run).text


def test_comparison_without_an_interval(run):
    path = run / RETRAINED
    record = json.loads(path.read_text())
    record["comparison"] |= {"low": None, "high": None}
    write(path, record)
    text = page_of(run).text
    assert "+0.8 percentage points" in text
    assert "% interval" not in text


def test_missing_random_baseline_is_left_out(run):
    remove(run, "searches/main/random.csv")
    page = page_of(run)
    assert not page.traces("random search")
    assert len(page.traces("searched")) == 1


def test_torn_last_event_is_left_out(run):
    path = run / "events.jsonl"
    whole = load_run(run).curves
    lines = path.read_text().splitlines(keepends=True)
    # Cut within a character of two bytes as well.
    path.write_bytes("".join(lines).encode() + lines[0][: len(lines[0]) // 2].encode() + b"\xc3")
    torn = load_run(run).curves
    np.testing.assert_array_equal(torn["train"].loss, whole["train"].loss)


def test_last_line_of_a_repeated_step_counts(run):
    path = run / "events.jsonl"
    again = json.loads(path.read_text().splitlines()[9]) | {"loss": 123.0}
    with path.open("a") as file:
        file.write(json.dumps(again) + "\n")
    curve = load_run(run).curves["train"]
    assert curve.loss[9] == 123.0
    assert (np.diff(curve.step) > 0).all()
    assert len(curve.step) == 300


def test_loss_that_is_no_number_is_not_drawn(run):
    with (run / "events.jsonl").open("a") as file:
        event = next(step_events("train", 5, np.random.default_rng(0))) | {"step": 2000}
        file.write(json.dumps(event | {"loss": float("nan")}) + "\n")
    assert load_run(run).curves["train"].step.max() == 1500


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.toml", "method = ", "is no TOML"),
        ("config.toml", 'method = "spos"\n', "space"),
        ("space.json", "{}", "search space"),
        ("space.json", "[", "JSON"),
        ("events.jsonl", '{"event": "step"}\n{"event"', "line 1"),
        ("events.jsonl", "nonsense\n", "line 1"),
        ("train/summary.json", "[]", "steps"),
        ("train/summary.json", '{"steps": 1, "seconds": 1, "device": "cpu"}', "path_counts"),
        (
            "train/summary.json",
            '{"steps": 1, "path_counts": [[1]], "seconds": 1, "device": "cpu"}',
            "options",
        ),
        ("searches/main/history.csv", "a,b\n1\n", "CSV"),
        ("searches/main/history.csv", 'architecture,error [1]\n"0,1",0.5\n', "generation"),
        (
            "searches/main/history.csv",
            "architecture,generation [1],error [1],macs [1],params [1]\n"
            '"0,0,0,0,0,0,0,0",0,nan,1,1\n',
            "row 0",
        ),
        ("searches/main/result.json", "{", "malformed"),
        ("searches/main/result.json", '{"name": "main"}', "winner"),
        (RETRAINED, '{"candidates": []}', "winner"),
        (RETRAINED, '{"candidates": 3}', "candidates"),
    ],
)
def test_malformed_file_is_named(run, name, content, says):
    (run / name).write_text(content)
    with pytest.raises(InputError) as caught:
        load_run(run)
    assert str(run / name) in str(caught.value)
    assert says in str(caught.value).replace(str(run), "")


@pytest.mark.parametrize("name", ["space.json", "searches/main/history.csv"])
def test_missing_file_is_named(run, name):
    (run / name).unlink()
    with pytest.raises(InputError) as caught:
        load_run(run)
    assert f"{run / name} is missing; " in str(caught.value)
    assert "`nas " in str(caught.value)


def test_architecture_of_another_space_is_an_error(run):
    path = run / "searches" / "main" / "result.json"
    write(path, json.loads(path.read_text()) | {"winner": [0, 1]})
    with pytest.raises(InputError, match="2 columns") as caught:
        load_run(run)
    cure = f"remove {path} and go on by `nas search {run} --name main --resume`"
    assert cure in str(caught.value)


def test_run_that_is_no_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="absent holds no run"):
        load_run(tmp_path / "absent")


def test_malformed_run_leaves_the_old_report(run):
    before = write_report(run).read_bytes()
    (run / "space.json").write_text("{}")
    with pytest.raises(InputError):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_names_with_markup_are_escaped(run, edit_config):
    bad = "</script><b onmouseover=alert(1)>&"
    path = run / RETRAINED
    record = json.loads(path.read_text())
    record["candidates"][1]["name"] = bad
    record["comparison"]["verdict"] = bad
    write(path, record)
    edit_config(run, '"digits"', f"'imagefolder:{bad}'")
    event = next(step_events(f"retrain/main/{bad}", 5, np.random.default_rng(0)))
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert "<b onmouseover" not in html
    assert not [tag for tag, _ in page.tags if tag == "b"]
    assert page.text.count(bad) >= 4
    # Names inside plots: markup that plotly would interpret is escaped once more.
    names = [trace["text"][0] for trace in page.traces("references")]
    assert "&lt;/script&gt;&lt;b onmouseover=alert(1)&gt;&amp;" in names


def test_same_files_give_the_same_report(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_spaces_of_other_shapes_are_drawn():
    for name, resolution in (("spos-shufflenet", 224), ("nas-bench-macro", 32)):
        space = published.load(name)
        arch = space.sample(1, rng=np.random.default_rng(0))[0]
        boxes = draw(space, arch)
        assert sum(box.macs for box in boxes) == nas_hw.macs(space)([arch])[0]
        # Everything fits the drawing's view box of 60 by 52.
        assert all(2 + box.side + box.depth <= 60 for box in boxes)
        assert all(4 + 0.6 * box.depth + box.side <= 52 for box in boxes)
        assert space.input_shape[1] == resolution


def test_a_quantised_network_is_drawn_by_its_bit_operations():
    space = load_space("digits-resnet+bits")
    winner = [3 if choice.name.endswith("bits") else 0 for choice in space.choices]
    boxes = draw(space, winner)
    assert sum(box.bitops for box in boxes) == nas_hw.bitops(space)([winner])[0]
    assert sum(box.share for box in boxes) == pytest.approx(1)
    first, *blocks, last = boxes
    assert first.share == last.share == 0
    assert all("2w4a" in box.details for box in blocks if box.share)
    assert not any("bits" in detail for box in boxes for detail in box.details)
