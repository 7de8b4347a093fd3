import csv
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

import nas_hw
import nas_search
from nas_cli.compare_methods import METHODS
from nas_cli.compare_result import write_curves
from nas_cli.report.comparison import write_comparison
from nas_spaces import Block, Choice, FeasibleSet, History, SearchSpace, published, to_json
from nas_spaces.layers import Classifier, Conv, Identity

CHOICES = 4
# Of the methods that learn, with parts as small as they can be.
SMALL = ("ppo.policy.hidden=8", "ppo.policy.batch=4", "fnas.policy.hidden=8", "fnas.policy.batch=4")
SMALL += ("fnas.critic.hidden=8", "fnas.critic.least=4", "fnas.critic.steps=2")


def small_space():
    """81 rows; an identity before a block or behind it is the same network."""
    names = [f"block{i}" for i in range(CHOICES)]
    layers = [Identity(), Conv(8), Conv(8, 5)]
    return SearchSpace(
        "small",
        (3, 8, 8),
        [Choice(name, ("identity", "k3", "k5")) for name in names],
        [
            Block("stem", [Conv(8)]),
            *(Block(name, layers, (name,)) for name in names),
            Block("head", [Classifier(10)]),
        ],
    )


SPACE = small_space()
ROWS = np.stack(np.meshgrid(*[range(3)] * CHOICES, indexing="ij"), axis=-1).reshape(-1, CHOICES)


def accuracy_of(archs):
    """Every row has a value of its own, the largest network the best."""
    weights = np.array([4.0, 3.0, 2.0, 1.0])
    return 60 + 2 * (archs @ weights) / 2 + np.arange(len(archs)) / 1000


@attrs.frozen
class Table:
    """A space and its table on disk."""

    folder: Path

    @property
    def options(self):
        return ["--space", self.folder / "small.json", "--truth", self.folder / "truth.csv"]

    def write(self, rows=ROWS, **columns):
        """Write the table; a column is one number for each row."""
        columns = columns or {"top1": accuracy_of(rows)}
        with (self.folder / "truth.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["architecture", *(name.replace("_s", " [s]") for name in columns)])
            for index, row in enumerate(rows):
                values = [columns[name][index] for name in columns]
                writer.writerow([SPACE.format(row), *values])


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path)
    (tmp_path / "small.json").write_text(to_json(SPACE))
    made.write()
    return made


def few(*methods, seeds=3, budget=12, **more):
    """Return options of a comparison that takes no time."""
    options = ["--methods", ",".join(methods), "--seeds", seeds, "--budget", budget, "--workers", 1]
    for name in SMALL:
        if name.partition(".")[0] in methods:
            options += ["--set", name]
    return [*options, *(part for key, one in more.items() for part in (f"--{key}", one))]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, nas):
    """A finished comparison of all methods: its table, folder and what was said."""
    folder = tmp_path_factory.mktemp("compare")
    made = Table(folder)
    (folder / "small.json").write_text(to_json(SPACE))
    made.write()
    out = folder / "whole"
    result = nas("compare", *made.options, *few(*METHODS), "--out", out, "--json")
    assert result.exit_code == 0, result.output
    return made, out, result


def test_all_methods_over_a_table(whole):
    _, out, result = whole
    said = json.loads(result.stdout)
    assert (said["comparison"], said["report"]) == (str(out), str(out / "report.html"))
    record = json.loads((out / "comparison.json").read_text())
    assert {key: said[key] for key in record} == record
    assert [one["name"] for one in record["methods"]] == list(METHODS)
    stored = json.loads((out / "settings.json").read_text())["question"]
    assert {one["name"]: one["settings"] for one in said["methods"]} == stored["settings"]
    fnas = stored["settings"]["fnas"]
    assert (fnas["policy"]["hidden"], fnas["critic"]["least"], fnas["buffer"]["share"]) == (
        8,
        4,
        0.5,
    )
    assert stored["settings"]["random"] == {"batch": 10}
    assert len(record["pairs"]) == 15
    networks = np.unique(SPACE.canonical(ROWS), axis=0)
    assert record["architectures"] == len(networks) < len(ROWS)
    best = accuracy_of(ROWS)[[(row == ROWS).all(axis=1).argmax() for row in networks]].max()
    assert record["best"] == pytest.approx(best)
    assert record["mark"]["accuracy"] == pytest.approx(0.999 * best)
    for line in (f"{len(networks)} different networks", "mark:     80.00 %", "18 searches"):
        assert line in result.stderr


def test_every_search_measures_each_network_once_and_keeps_to_the_budget(whole):
    _, out, _ = whole
    record = json.loads((out / "comparison.json").read_text())
    for one in record["methods"]:
        for index in range(3):
            history = History.from_csv((out / f"searches/{one['name']}/{index}.csv").read_text())
            assert len(history) == 12
            assert len(np.unique(SPACE.canonical(history.archs), axis=0)) == 12
            places = [(row == ROWS).all(axis=1).argmax() for row in history.archs]
            error = 1 - accuracy_of(ROWS)[places] / 100
            np.testing.assert_allclose(history.column("error"), error)
            macs = nas_hw.macs(SPACE)(history.archs)
            cost = 3 * macs * 50_000.0 * 200
            np.testing.assert_array_equal(history.column("training"), cost)
            mark = 1 - 0.999 * record["best"] / 100
            taken = nas_search.evaluations_to(error, mark + 1e-9)
            assert one["evaluations"]["searches"][index] == (taken if taken < 13 else None)
            regret = record["best"] - 100 * (1 - error.min())
            assert one["regret"]["searches"][index] == pytest.approx(regret, abs=1e-9)


def test_seeds_and_methods_draw_differently_and_neighbours_do_not_matter(nas, table, whole):
    _, out, _ = whole
    begun = {}
    for name in METHODS:
        texts = [(out / f"searches/{name}/{index}.csv").read_text() for index in range(3)]
        begun[name] = [History.from_csv(text).archs[:4].tolist() for text in texts]
        assert begun[name][0] != begun[name][1] != begun[name][2] != begun[name][0], name
    # Those that begin with random rows draw them for themselves.
    for index in range(3):
        drawn = [begun[name][index] for name in ("random", "evolution", "regularized", "nsga2")]
        assert all(one not in drawn[:place] for place, one in enumerate(drawn))
    alone = table.folder / "alone"
    result = nas("compare", *table.options, *few("regularized", seeds=2), "--out", alone)
    assert result.exit_code == 0, result.output
    for index in range(2):
        name = f"searches/regularized/{index}.csv"
        assert (alone / name).read_bytes() == (out / name).read_bytes()
    assert "regularized reaches" in result.stdout
    other = table.folder / "other"
    nas("compare", *table.options, *few("regularized", seeds=2), "--seed", 1, "--out", other)
    name = "searches/regularized/0.csv"
    assert (other / name).read_bytes() != (out / name).read_bytes()


def test_processes_beside_this_one_change_nothing(nas, whole):
    made, out, _ = whole
    options = few("random", "ppo")
    options[options.index("--workers") + 1] = 2
    second = made.folder / "two"
    assert nas("compare", *made.options, *options, "--out", second).exit_code == 0
    for name in ("random", "ppo"):
        for index in range(3):
            file = f"searches/{name}/{index}.csv"
            assert (second / file).read_bytes() == (out / file).read_bytes()


def test_killed_and_gone_on(forked, whole):
    made, out, _ = whole
    run = made.folder / "killed"
    options = [*made.options, *few(*METHODS), "--out", run]
    moments = [("settings.json", 1), ("0.csv", 3), ("1.csv", 6), ("curves.csv", 1)]
    moments += [("comparison.json", 1), ("report.html", 1)]
    for name, times in moments:
        status, said = forked(
            "compare", "--resume", *options, kill={"replace": times, "file": name}
        )
        assert status == -9, said
    status, said = forked("compare", "--resume", "--workers", 1, "--out", run)
    assert status == 0, said
    assert f"{run} is finished already" in said
    kept, expected = contents(run), contents(out)
    # The page is called by its folder.
    assert kept.pop("report.html").count(b"killed") > 0
    expected.pop("report.html")
    assert kept == expected


def test_stopped_by_the_keyboard(nas, table, monkeypatch):
    out = table.folder / "a run"

    def stop(*_, **__):
        raise KeyboardInterrupt

    options = [*table.options, *few("random"), "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr("nas_search.search", stop)
        result = nas("compare", *options)
    assert result.exit_code == 130
    assert f"go on with: nas compare --resume --out '{out}'" in result.stderr
    assert nas("compare", "--resume", "--workers", 1, "--out", out).exit_code == 0


def test_a_comparison_gives_threads_back(nas, table):
    before = torch.get_num_threads()
    nas("compare", *table.options, *few("random"), "--out", table.folder / "run")
    assert torch.get_num_threads() == before


class Report:
    def __init__(self, path):
        html = path.read_text(encoding="utf-8")
        self.size = len(html)
        self.html = html.split("<script>")[0]
        plots = r'aria-label="([^"]*)"[^>]*></div>\s*<script type="application/json">(.*?)</script>'
        self.figures = [
            json.loads(unescape(data)) for _, data in re.findall(plots, self.html, flags=re.DOTALL)
        ]
        shown = re.sub(r"<(style|script).*?</\1>", " ", self.html, flags=re.DOTALL)
        self.text = " ".join(unescape(re.sub(r"<[^>]*>", " ", shown)).split())


def test_the_report(whole):
    _, out, _ = whole
    record = json.loads((out / "comparison.json").read_text())
    report = Report(out / "report.html")
    assert record["verdict"][1:] in report.text
    assert not re.search(r'(src|href)="(?!#)', report.html)
    curves, reached = report.figures
    shown = {one["name"]: one for one in curves["data"] if "name" in one}
    assert list(shown) == list(METHODS)
    lines = list(csv.reader((out / "curves.csv").read_text().splitlines()))
    medians = [float(line[3]) for line in lines if line[0] == "fnas"]
    assert shown["fnas"]["y"] == medians
    assert len(curves["data"]) == 3 * len(METHODS)
    for one, method in zip(reached["data"], record["methods"], strict=True):
        assert one["y"][-1] == pytest.approx(100 * method["reached"] / 3)
    for one in record["methods"]:
        assert f"{one['reached']} of 3" in report.text
    assert f"random / {record['methods'][1]['name']}" in report.text


def test_a_median_that_half_of_the_searches_reach_is_at_least_so_much(compared, tmp_path):
    found = {"ppo": [compared.searched(one) for one in [5, 6, 7, 8] + [None] * 4]}
    write_curves(tmp_path / "curves.csv", compared.setting(found, 8), found)
    report = Report(write_comparison(tmp_path, compared.describe(found)))
    assert " at least 8 5 to more than 40 " in report.text


def test_names_cannot_break_the_page(nas, table):
    table.write(**{"<b>&top": accuracy_of(ROWS)})
    out = table.folder / "run"
    nas("compare", *table.options, *few("random", "nsga2"), "--out", out)
    html = (out / "report.html").read_text().split("<script>")[0]
    assert "<b>" not in html
    assert "&lt;b&gt;&amp;top" in html


def test_what_a_person_reads(nas, table):
    out = table.folder / "run"
    options = [*table.options, *few("random", "regularized", seeds=8, budget=40), "--out", out]
    lines = nas("compare", *options).stdout.splitlines()
    assert lines[-1] == f"report: {out}/report.html"
    record = json.loads((out / "comparison.json").read_text())
    assert lines[-2] == record["verdict"]
    assert "times fewer evaluations than random" in "\n".join(lines)
    again = nas("compare", "--resume", "--out", out)
    assert again.stdout.splitlines() == lines
    assert "finished already" in again.stderr


def test_the_best_is_reached_where_the_mark_is_all_of_it(nas, table):
    options = few("random", seeds=2, budget=81, mark=100)
    said = json.loads(
        nas("compare", *table.options, *options, "--out", table.folder / "run", "--json").stdout
    )
    assert said["methods"][0]["reached"] == 2
    assert said["mark"]["architectures"] == 1


def test_a_search_that_runs_out_of_networks(nas, table):
    out = table.folder / "run"
    options = few("random", "evolution", seeds=2, budget=500)
    assert nas("compare", *table.options, *options, "--out", out).exit_code == 0
    history = History.from_csv((out / "searches/random/0.csv").read_text())
    assert len(history) == len(np.unique(SPACE.canonical(ROWS), axis=0))
    assert len((out / "curves.csv").read_text().splitlines()) == 1 + 2 * 500


def test_limits_decide_what_can_be_reached(nas, table):
    macs = nas_hw.macs(SPACE)(ROWS)
    upper = int(np.median(macs))
    options = few("random", "regularized", seeds=2, budget=30, limit=f"macs<={upper}")
    out = table.folder / "run"
    said = json.loads(nas("compare", *table.options, *options, "--out", out, "--json").stdout)
    assert said["limits"] == [f"macs <= {upper:,} multiply-adds"]
    rows = nas_search.measured_rows(FeasibleSet(SPACE))
    inside = rows[nas_hw.macs(SPACE)(rows) <= upper]
    places = [(row == ROWS).all(axis=1).argmax() for row in inside]
    assert said["best"] == pytest.approx(accuracy_of(ROWS)[places].max())
    for name in ("random", "regularized"):
        history = History.from_csv((out / f"searches/{name}/0.csv").read_text())
        assert history.column("macs").max() <= upper


def test_a_column_of_the_table_says_what_a_training_costs(nas, table):
    seconds = 100.0 + np.arange(len(ROWS))
    table.write(top1=accuracy_of(ROWS), time_s=seconds)
    options = [*few("random", seeds=2), "--column", "top1", "--cost-column", "time"]
    out = table.folder / "run"
    said = json.loads(nas("compare", *table.options, *options, "--out", out, "--json").stdout)
    assert said["cost"] == {"unit": "s", "column": "time", "images": None, "epochs": None}
    history = History.from_csv((out / "searches/random/0.csv").read_text())
    places = [(row == ROWS).all(axis=1).argmax() for row in history.archs]
    np.testing.assert_array_equal(history.column("training"), seconds[places])
    assert "the table's column time" in Report(out / "report.html").text


def test_images_and_epochs_of_the_simulated_cost(nas, table):
    out = table.folder / "run"
    options = few("random", seeds=2, images=100, epochs=3)
    nas("compare", *table.options, *options, "--out", out)
    history = History.from_csv((out / "searches/random/0.csv").read_text())
    np.testing.assert_array_equal(history.column("training"), 900 * history.column("macs"))


def test_one_row_of_several_equal_ones_is_enough(nas, table):
    _, first = np.unique(SPACE.canonical(ROWS), axis=0, return_index=True)
    some = ROWS[first]
    assert (SPACE.canonical(some) != some).any()
    table.write(some)
    result = nas(
        "compare", *table.options, *few("random", seeds=2), "--out", table.folder / "run", "--json"
    )
    assert json.loads(result.stdout)["by"] == "network"
    assert "the mean of equal ones stands for them all" in result.stderr


def refused(result, *says):
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    for part in says:
        assert part in last


def test_tables_that_are_refused(nas, table):
    def ask(*more):
        return nas("compare", *table.options, *few("random"), "--out", table.folder / "run", *more)

    table.write(ROWS[:40])
    refused(ask(), "lacks ", " architectures of space 'small', like ", "the whole space")
    table.write(first=accuracy_of(ROWS), second=accuracy_of(ROWS))
    refused(ask(), "several columns; choose one by --column: first, second")
    refused(ask("--column", "frist"), "did you mean 'first'")
    refused(ask("--column", "first", "--cost-column", "secnd"), "did you mean 'second'")
    table.write(top1=accuracy_of(ROWS), time_s=-accuracy_of(ROWS))
    refused(
        ask("--column", "top1", "--cost-column", "time"), "time is '-60.0'; what a training costs"
    )
    empty = ["" for _ in ROWS]
    table.write(top1=accuracy_of(ROWS), time_s=empty)
    refused(ask("--column", "top1", "--cost-column", "time"), "column 'time' lacks")
    refused(nas("compare", "--space", "spos-shufflenet", *table.options[2:]), "can be listed")
    assert not (table.folder / "run").exists()


def test_settings_that_are_refused(nas, table):
    run = ["compare", *table.options, "--out", table.folder / "run"]
    refused(nas(*run, "--methods", "random,anealing"), "--methods: 'anealing' is unknown")
    refused(nas(*run, "--seeds", 1), "--seeds 1: ")
    refused(nas(*run, "--budget", 0), "--budget 0: ")
    refused(nas(*run, "--set", "ppo.policy.lrate=1"), "did you mean 'ppo.policy.lr'")
    refused(nas(*run, "--limit", "macs<=1"), "attainable")
    refused(nas(*run, "--set", "evolution.parents=0"), "evolution.parents must be >= 1; received 0")
    refused(nas(*run, "--set", "fnas.buffer.share=2"), "fnas.buffer.share must be < 1; received 2")
    many = ("--set", "evolution.crossover=15")
    refused(nas(*run, *many), "crossover=15", "change it by --set evolution.KEY=VALUE")
    critic = ("--set", "fnas.policy.baseline=critic", "--set", "fnas.critic=none")
    refused(nas(*run, *critic), "needs a critic", "change it by --set fnas.KEY=VALUE")
    refused(nas("compare", "--truth", "t.csv"), "needs --space")
    refused(nas("compare", "--resume"), "--resume needs --out")
    assert not (table.folder / "run").exists()


def test_going_on_with_something_else(nas, table):
    out = table.folder / "run"
    options = [*table.options, *few("random", seeds=2), "--out", out]
    assert nas("compare", *options).exit_code == 0
    refused(nas("compare", *options), "holds another comparison; go on with it by --resume")
    refused(nas("compare", *options, "--resume", "--seeds", 5), "--seeds is 2, received 5")
    (out / "comparison.json").unlink()
    (out / "searches/random/1.csv").unlink()
    table.write(top1=accuracy_of(ROWS) + 1)
    refused(nas("compare", "--resume", "--out", out), "has changed since")
    table.write()
    (out / "searches/random/0.csv").write_text("torn")
    refused(nas("compare", "--resume", "--out", out), "0.csv is damaged", "remove it")
    (out / "searches/random/0.csv").unlink()
    assert nas("compare", "--resume", "--out", out).exit_code == 0


def test_searches_of_two_versions_are_not_mixed(nas, table):
    out = table.folder / "run"
    assert nas("compare", *table.options, *few("random", seeds=2), "--out", out).exit_code == 0
    kept = json.loads((out / "settings.json").read_text())
    assert set(kept["versions"]) == {"nas-search", "nas-cli"}
    for versions, says in (
        ({**kept["versions"], "nas-search": "0.6.3"}, "was begun with nas-search 0.6.3, nas-cli"),
        (None, "was begun with nas-cli before 0.6.2"),
    ):
        other = {**kept, "versions": versions}
        if versions is None:
            del other["versions"]
        (out / "settings.json").write_text(json.dumps(other))
        # What is finished is shown all the same.
        assert nas("compare", "--resume", "--out", out).exit_code == 0
        result = (out / "comparison.json").read_text()
        (out / "comparison.json").unlink()
        refused(nas("compare", "--resume", "--out", out), says, "another --out")
        (out / "comparison.json").write_text(result)


def test_what_is_refused_is_refused_without_torch(table):
    table.write(ROWS[:40])
    options = [str(one) for one in (*table.options, *few("ppo", "fnas"))]
    code = (
        "import sys\n"
        "from nas_cli.main import main\n"
        f"try: main(['compare', *{options!r}])\n"
        "except SystemExit as end: assert end.code == 2\n"
        "assert not {'torch', 'plotly'} & set(sys.modules), 'loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a table of the whole space" in done.stderr


def test_nas_bench_201(nas, tmp_path):
    named = os.environ.get("NAS_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[4] / "shared" / "data"
    truth = folder / "nas-bench-201.csv"
    if not truth.is_file():
        pytest.skip("no nas-bench-201.csv in NAS_TEST_DATA")
    options = [
        "--space",
        "nas-bench-201",
        "--truth",
        truth,
        *few("random", "evolution", budget=200),
    ]
    column = "cifar100_test_accuracy_200_epochs"
    options += ["--column", column, "--mark", 95, "--out", tmp_path / "run", "--json"]
    result = nas("compare", *options)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    space = published.load("nas-bench-201")
    networks = np.unique(
        space.canonical(space.sample(200_000, rng=np.random.default_rng(0))), axis=0
    )
    assert said["architectures"] == len(networks)
    assert (said["by"], said["column"]) == ("row", column)
    assert all(one["reached"] == 3 for one in said["methods"])
