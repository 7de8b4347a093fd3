"""Searches that sweep the choices into a table."""

import json
import shutil

import numpy as np
import pytest

from nas_cli.limits import METRICS, build_limits
from nas_search import CandidateTable, largest, specialise
from nas_spaces import History, from_json


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def history(run, name, file="history.csv"):
    return History.from_csv((run / "searches" / name / file).read_text())


def result(run, name):
    return json.loads((run / "searches" / name / "result.json").read_text())


def sweep(nas, run, *options, name="main"):
    said = nas("search", run, "--name", name, "--set", "search.searcher=progressive", *options)
    assert said.exit_code == 0, said.output
    return said


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
    assert f"{len(rows)} architectures evaluated (random search: " in said[-3]
    assert said[-2].startswith(f"other:  nas specialize {run} --limit 'macs<=")


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
