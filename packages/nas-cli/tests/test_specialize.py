import json
import shutil
import subprocess
import sys

import attrs
import numpy as np
import pytest

from nas_cli.architecture_text import option_lines, options_of
from nas_cli.config import read_config
from nas_cli.limits import METRICS, build_limits
from nas_search import CandidateTable, largest, specialise
from nas_spaces import from_json

# Of the smallest to the largest network of the space.
LIMITS = ("macs<=20%", "macs<=40%", "params<=30%")


def folder(run, name):
    return run / "searches" / name


def result(run, name):
    return json.loads((folder(run, name) / "result.json").read_text())


def space_of(run):
    return from_json((run / "space.json").read_text())


@pytest.fixture(scope="module")
def swept(trained, tmp_path_factory):
    """A tiny supernet with a made-up table that starts at the largest network."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "swept")
    space = space_of(run)
    start = largest(space, METRICS["macs"](space))
    losses = np.where(space.mask, np.random.default_rng(0).random(space.mask.shape) / 20, np.nan)
    losses[np.arange(len(start)), start] = 0
    settings = attrs.asdict(read_config(run / "config.toml").search) | {"searcher": "progressive"}
    folder(run, "main").mkdir(parents=True)
    (folder(run, "main") / "table.json").write_text(
        CandidateTable(space, losses, start, 0.125).to_json()
    )
    (folder(run, "main") / "search.json").write_text(json.dumps({"limits": [], "search": settings}))
    return run


@pytest.fixture
def run(swept, tmp_path):
    return shutil.copytree(swept, tmp_path / "run")


def table_of(run, name="main"):
    text = (folder(run, name) / "table.json").read_text()
    return CandidateTable.from_json(text, space=space_of(run))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(
    ("options", "how"),
    [
        ((), {"score": "loss/saving"}),
        (("--score", "loss"), {"score": "loss"}),
        (("--exact",), {"method": "exact"}),
    ],
)
def test_an_answer_is_what_the_table_says(nas, swept, limit, options, how):
    said = nas("specialize", swept, "--limit", limit, *options, "--json")
    found = json.loads(said.stdout)
    space = space_of(swept)
    feasible = build_limits(space, (limit,))
    wanted = specialise(table_of(swept), feasible.limits, **how)
    assert found["winner"] == wanted.row.tolist()
    assert feasible.contains([found["winner"]])[0]
    assert found["predicted_error"] == pytest.approx(
        table_of(swept).predict([found["winner"]])[0], abs=1e-12
    )
    assert found["start_error"] == 0.125
    assert found["method"] == wanted.method
    assert found["values"] == {
        name: METRICS[name](space)([found["winner"]])[0] for name in ("macs", "params")
    }
    assert found["evaluated"] == 0
    # The path leads from the table's start to the row, and says what it costs on the way.
    row = table_of(swept).start.copy()
    name = limit.split("<")[0]
    for step in found["path"]:
        assert row[step["choice"]] == step["before"]
        row[step["choice"]] = step["after"]
        assert step["costs"] == {name: METRICS[name](space)(row[None])[0]}
    assert row.tolist() == found["winner"]
    assert len(found["path"]) > 0


def test_several_limits_and_a_lower_one(nas, swept):
    limits = ("macs<=60%", "params<=50%", "macs>=30%")
    options = [part for text in limits for part in ("--limit", text)]
    found = json.loads(nas("specialize", swept, *options, "--json").stdout)
    assert build_limits(space_of(swept), limits).contains([found["winner"]])[0]
    assert found["method"] == "exact"
    assert found["proven"]
    said = nas("specialize", swept, *options).stdout
    assert "replacements, the best by the table\n" in said
    no_limit = json.loads(nas("specialize", swept, "--json").stdout)
    assert no_limit["winner"] == table_of(swept).start.tolist()
    assert no_limit["path"] == []


def test_an_answer_that_is_not_proven_is_said_to_be_found(nas, swept, monkeypatch):
    """As where the solver's time is over; greedy answers are no proof of anything."""
    module = sys.modules["nas_search.specialise"]  # the package has a function of that name
    proven = module.least_sum
    monkeypatch.setattr(module, "least_sum", lambda *given: (proven(*given)[0], False))
    options = ("--limit", "macs<=60%", "--limit", "params<=50%", "--exact")
    found = json.loads(nas("specialize", swept, *options, "--json").stdout)
    assert (found["method"], found["proven"]) == ("exact", False)
    assert "the best that was found\n" in nas("specialize", swept, *options).stdout
    greedy = json.loads(nas("specialize", swept, "--limit", "macs<=60%", "--json").stdout)
    assert (greedy["method"], greedy["proven"]) == ("greedy", False)


def test_what_an_answer_says(nas, swept):
    found = json.loads(nas("specialize", swept, "--limit", "macs<=30%", "--json").stdout)
    said = nas("specialize", swept, "--limit", "macs<=30%").stdout.splitlines()
    [limit] = build_limits(space_of(swept), ("macs<=30%",)).limits
    assert said[0] == f"limits: {limit}"
    assert said[1] == f"row:    {','.join(map(str, found['winner']))}"
    options = option_lines(options_of(space_of(swept), found["winner"]))
    assert said[2 : 2 + len(options)] == [f"        {line}" for line in options]
    del said[2 : 2 + len(options)]
    assert said[2] == (
        f"cost:   {found['values']['macs']:,.0f} macs, {found['values']['params']:,.0f} params"
    )
    predicted = 100 * (1 - found["predicted_error"])
    assert said[3] == (
        f"top-1:  {predicted:.2f} % predicted from the table, nothing was evaluated; 87.50 % "
        "measured where the table starts"
    )
    assert said[4] == f"path:   {len(found['path'])} replacements, greedy"
    assert said[5].split() == ["choice", "before", "after", "points", "macs"]
    step, choice = found["path"][0], space_of(swept).choices[found["path"][0]["choice"]]
    assert said[6].startswith(f"        {choice.name}  {choice.options[step['before']]}")
    assert said[6].endswith(f"{0.0 - 100 * step['loss']:+.2f}  {step['costs']['macs']:,.0f}")
    assert len(said) == 6 + len(found["path"]) + 2
    assert said[-2].startswith("time:   ")
    assert said[-1] == "keep:   add --name NAME"


def test_a_long_path_is_cut_in_the_middle(nas, swept, tmp_path):
    run = shutil.copytree(swept, tmp_path / "long")
    space = space_of(run)
    # The cheaper the worse: options are replaced by the next cheaper one, one by one.
    start = largest(space, METRICS["macs"](space))
    losses = np.full(space.mask.shape, np.nan)
    for choice, size in enumerate(space.num_options):
        rows = np.tile(start, (size, 1))
        rows[:, choice] = np.arange(size)
        losses[choice, np.argsort(-METRICS["macs"](space)(rows))] = np.arange(size) / 50
    table = CandidateTable(space, losses, start, 0.1)
    (folder(run, "main") / "table.json").write_text(table.to_json())
    args = ("specialize", run, "--limit", "macs<=15%", "--score", "loss")
    found = json.loads(nas(*args, "--json").stdout)
    path = found["path"]
    said = nas(*args).stdout.splitlines()
    assert len(path) > 17
    many = len(option_lines(options_of(space, found["winner"])))
    assert said[14 + many].strip() == f"... {len(path) - 16} more, see --json"
    assert len(said) == 6 + many + 17 + 2


def test_an_answer_under_a_name_is_a_search_that_can_be_retrained(nas, run):
    said = nas("specialize", run, "--limit", "macs<=30%", "--name", "lean")
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines()[-1] == f"next:   nas retrain {run} --name lean"
    found = result(run, "lean")
    assert "error" not in found["values"]
    assert found["evaluated"] == 0
    assert found["table"] == "main"
    assert "seconds" not in found
    settings = json.loads((folder(run, "lean") / "search.json").read_text())
    assert settings["limits"] == ["macs<=30%"]
    # Of the search whose table it was.
    assert settings["search"]["searcher"] == "progressive"
    again = nas("specialize", run, "--limit", "macs<=30%", "--name", "lean")
    assert again.exit_code == 2
    assert "holds a search 'lean' already; choose another --name" in again.output
    resumed = nas("search", run, "--name", "lean", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert f"other:  nas specialize {run} --limit 'macs<=" in resumed.stdout
    retrained = nas("retrain", run, "--name", "lean", "--set", "baselines=1")
    assert retrained.exit_code == 0, retrained.output
    winner, random = json.loads((folder(run, "lean") / "retrain" / "result.json").read_text())[
        "candidates"
    ]
    assert winner["architecture"] == found["winner"]
    assert winner["supernet_error"] is None
    assert build_limits(space_of(run), ("macs<=30%",)).contains([random["architecture"]])[0]
    last = retrained.stdout.splitlines()[-1]
    assert last.startswith(f"next:   nas specialize {run} --name smaller --limit 'macs<=")


def test_an_answer_whose_writing_was_stopped_is_no_search_yet(nas, run):
    args = ("specialize", run, "--limit", "macs<=30%", "--name", "lean")
    assert nas(*args).exit_code == 0
    (folder(run, "lean") / "search.json").unlink()  # what is written last
    said = nas("retrain", run, "--name", "lean")
    assert said.exit_code == 2
    assert "holds no finished search 'lean'" in said.output
    assert not (folder(run, "lean") / "retrain").exists()
    assert nas(*args).exit_code == 0


def test_a_run_that_is_in_use_is_answered(nas, run):
    import fcntl

    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert nas("specialize", run, "--limit", "macs<=30%").exit_code == 0
        named = nas("specialize", run, "--limit", "macs<=30%", "--name", "x")
    assert named.exit_code == 2
    assert "another process is writing" in named.output
    assert not folder(run, "x").exists()
    odd = nas("specialize", run, "--limit", "macs<=30%", "--name", "../x")
    assert odd.exit_code == 2
    assert "must be made of letters" in odd.output


def test_a_limit_that_nothing_meets(nas, swept):
    said = nas("specialize", swept, "--limit", "macs<=1%")
    assert said.exit_code == 2
    low, _ = build_limits(space_of(swept), ()).attainable(METRICS["macs"](space_of(swept)))
    assert f"attainable: {low:,} to" in said.output


def test_a_run_without_a_table_says_how_to_get_one(nas, trained, swept, tmp_path):
    said = nas("specialize", trained, "--limit", "macs<=30%")
    assert said.exit_code == 2
    command = "nas search {} --name table --set search.searcher=progressive"
    assert f"has no candidate table; `{command.format(trained)}` measures one" in said.output
    other = nas("specialize", swept, "--limit", "macs<=30%", "--search", "none")
    assert other.exit_code == 2
    assert "has no candidate table; give --search main" in other.output
    for path in (tmp_path, tmp_path / "nothing"):
        none = nas("specialize", path, "--limit", "macs<=30%")
        assert none.exit_code == 2
        assert "holds no run" in none.output


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("searches/main/table.json", "{", "no candidate table in JSON"),
        ("searches/main/table.json", '{"format": 1}', "no state of a candidate table"),
        ("config.toml", "space", "config.toml is damaged"),
        ("config.toml", "seed = 1", "config.toml is damaged"),
    ],
)
def test_damaged_files(nas, run, file, text, reason):
    (run / file).write_text(text)
    said = nas("specialize", run, "--limit", "macs<=30%")
    assert said.exit_code == 2
    assert reason in said.output


def test_a_table_of_another_space_is_refused(nas, run):
    record = json.loads((folder(run, "main") / "table.json").read_text())
    record["space"]["name"] = "another"
    (folder(run, "main") / "table.json").write_text(json.dumps(record))
    said = nas("specialize", run, "--limit", "macs<=30%")
    assert said.exit_code == 2
    assert "table is of another space: its name is 'another'" in said.output


def test_neither_torch_nor_scipy_is_loaded(swept):
    code = (
        "import sys\n"
        "from nas_cli.main import main\n"
        f"try: main(['specialize', {str(swept)!r}, '--limit', 'macs<=30%', '--exact'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[0] == "LOADED"
    assert not {"torch", "torchvision", "scipy", "plotly", "rich", "tomli_w"} & set(loaded)
