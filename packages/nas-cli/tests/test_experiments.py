"""experiments/: the command lines that its READMEs show, at a size that finds nothing."""

import itertools
import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from nas_spaces import published

FOLDER = Path(__file__).parents[3] / "experiments"
COMMANDS = sorted(
    {
        command
        for page in FOLDER.rglob("README.md")
        for command in re.findall(r"^    python (experiments/.*)$", page.read_text(), re.MULTILINE)
    }
)
SEARCH = {
    "population = 20": "population = 4",
    "parents = 10": "parents = 2",
    "crossover = 10": "crossover = 2",
    "mutation = 10": "mutation = 2",
    "generations = 10": "generations = 2",
}
IMAGES = {"subset = 25000": 'subset = "none"', "batch_size = 32": "batch_size = 16"}
# What makes each file's runs small; that it is there is checked.
SMALLER = {
    "common.py": {"return 50 if given.full else 20": "return 1"},
    "fairness/config.toml": IMAGES,
    "fairness/run.py": {'"--architectures", "200"': '"--architectures", "12"'},
    "ponas/config.toml": IMAGES,
    "ponas/run.py": {
        "LIMITS = (40, 50, 60, 70, 80)": "LIMITS = (60,)",
        '"search.population": 20': '"search.population": 4',
        '"search.parents": 10': '"search.parents": 2',
        '"search.crossover": 10': '"search.crossover": 2',
        '"search.mutation": 10': '"search.mutation": 2',
        '"search.generations": 10': '"search.generations": 2',
    },
    "betanas/config.toml": {**IMAGES, **SEARCH, "every = 4": "every = 1"},
    "betanas/branches.py": {
        "EPOCHS = 30": "EPOCHS = 1",
        "IMAGES, RESOLUTION, BATCH, LR = 10_000, 16": "IMAGES, RESOLUTION, BATCH, LR = 20, 8",
        "subset=IMAGES + 1000": "subset=IMAGES + 20",
        "held_out=1000 / (IMAGES + 1000)": "held_out=20 / (IMAGES + 20)",
        "fixed_batches(500, count=4": "fixed_batches(10, count=1",
        "fixed_batches(500)": "fixed_batches(10)",
        ", 128, 0.1": ", 8, 0.1",
    },
    "betanas/steps.py": {
        "PIXELS, BATCH, STEPS = 32, 64, 6": "PIXELS, BATCH, STEPS = 32, 2, 1",
        "default=7": "default=1",
    },
    "fnas/run.py": {
        "(1e-3, 3e-3, 1e-2), (0.01, 0.1, 0.3)), (3e-2, 0.1), (3e-3, 0.0)]": "(1e-3,), (0.1,))]",
        "TUNING_SEEDS, SEEDS = 16, 50": "TUNING_SEEDS, SEEDS = 2, 2",
        "BUDGET, OF_OTHERS = 300, 1000": "BUDGET, OF_OTHERS = 25, 30",
    },
    "fnas/critic.py": {"SEEDS, BUDGET, BEFORE = 50, 150, 300": "SEEDS, BUDGET, BEFORE = 2, 25, 25"},
    "fnas/pool.py": {
        "RESOLUTION, IMAGES = 16, 3000": "RESOLUTION, IMAGES = 8, 15",
        "NETWORKS, BATCH, STEP = 40, 10, 32": "NETWORKS, BATCH, STEP = 4, 2, 5",
        "EPOCHS = (1, 2, 4, 8)": "EPOCHS = (1,)",
    },
    "channels-bits/config.toml": {
        "subset = 25000": 'subset = "none"',
        "epochs = 20": "epochs = 1",
        "[train]\nbatch_size = 32": "[train]\nbatch_size = 16",
        **SEARCH,
    },
    "channels-bits/run.py": {
        "BUDGET_BITS = (2, 3, 4)": "BUDGET_BITS = (3,)",
        '{"channels": 2, "bits": 1}': '{"channels": 1, "bits": 1}',
        "EQUAL = 0.97": "EQUAL = 0.8",
    },
    "fp-nas/config.toml": {
        "epochs = 7.68": "epochs = 2",
        "batch_size = 32": "batch_size = 10",
        "subset = 25000": 'subset = "none"',
        "samples = 20": "samples = 2",
    },
    "fp-nas/run.py": {
        "EPOCHS, BATCH, LR = 10, 32": "EPOCHS, BATCH, LR = 1, 20",
        "else 25_000": "else None",
    },
    "fp-nas/synthetic_arms.py": {
        "STEPS, LR = 3000, 0.016": "STEPS, LR = 40, 0.5",
        "tuple(range(100, 110))": "(100, 101)",
        "(*SEEDS, *range(110, 130)), SEEDS[:6], SEEDS[:3]": "SEEDS, SEEDS, SEEDS",
        '("fbnetv2-f++", "fp-nas-l0", "fp-nas-l1", "fbnetv2-fine")': '("fbnetv2-f++",)',
    },
    "fp-nas/synthetic_gradient.py": {
        "(14, 100, 1000, 10_000, 100_000, 1_000_000), 5": "(14, 100), 2",
    },
    "fp-nas/synthetic_problem.py": {"BISECTIONS = 20": "BISECTIONS = 2"},
}
# One of the variants stands for all.
MORE = {
    "fairness/run.py": ["--seed", "0", "--only", "uniform"],
    "ponas/run.py": ["--seed", "0"],
    "betanas/run.py": ["--seed", "0", "--only", "betanas"],
    "channels-bits/run.py": ["--seed", "0"],
    "betanas/branches.py": ["--seed", "0"],
    "betanas/steps.py": [],
    "fnas/critic.py": [],
    "fnas/pool.py": ["--seed", "0"],
    "fnas/run.py": ["--workers", "1"],
    "fp-nas/run.py": ["--seed", "0", "--only", "λ H"],
    "fp-nas/synthetic.py": [],
}


@pytest.fixture
def copy(tmp_path, monkeypatch, draw_images, nas):
    """A copy of the folder, made small, with the files that the commands name beside it."""
    kept_out = shutil.ignore_patterns("*.json", "*.svg", "__pycache__")
    folder = shutil.copytree(FOLDER, tmp_path / "experiments", ignore=kept_out)
    for name, changes in SMALLER.items():
        text = (folder / name).read_text()
        for before, after in changes.items():
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (folder / name).write_text(text)
    classes = [str(number) for number in range(10)]
    for part in ("train", "test"):
        draw_images(tmp_path / "CIFAR" / part, classes, count=4, side=16)
    rows = map("".join, itertools.product("012", repeat=8))
    table = {row: {"mean_acc": 80 + sum(map(int, row))} for row in rows}
    (tmp_path / "nas-bench-macro_cifar10.json").write_text(json.dumps(table))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    import common

    def run(*command, log):
        result = nas(*command)
        assert result.exit_code == 0, result.output

    # In this process; each of its own would import torch.
    monkeypatch.setattr(common, "nas", run)
    yield folder
    # What was imported is of this copy.
    for path in folder.rglob("*.py"):
        sys.modules.pop(path.stem, None)


def write_cells(path):
    """Write a table of all of NAS-Bench-201; nothing in it is true."""
    space = published.load("nas-bench-201")
    archs = np.unique(space.canonical(np.array([*np.ndindex(*space.num_options)])), axis=0)
    head = "architecture,cifar10_test_accuracy_200_epochs,cifar100_test_accuracy_200_epochs"
    lines = [f"{space.notate(row)},{70 + row.sum()},{50 + row.sum()}" for row in archs]
    path.write_text("\n".join([head, *lines]))


def test_every_script_has_its_command():
    shown = {shlex.split(command)[0].removeprefix("experiments/") for command in COMMANDS}
    assert shown == MORE.keys()
    for path in FOLDER.glob("*/*.py"):
        if path.relative_to(FOLDER).as_posix() not in shown:  # what a script imports
            beside = "".join(one.read_text() for one in path.parent.glob("*.py"))
            assert f"\nfrom {path.stem} import " in beside


def test_synthetic_likelihoods_without_all_runs_are_said_to_be_incomplete(copy, monkeypatch):
    script = copy / "fp-nas" / "synthetic.py"
    script.with_suffix(".json").write_text('{"gradients": [{}]}')
    monkeypatch.setattr(sys, "argv", [str(script), "--collect"])
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    with pytest.raises(SystemExit, match="not all is recorded yet"):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_it_shows(copy, monkeypatch, command):
    script, *options = shlex.split(command)
    name = script.removeprefix("experiments/")
    if "nas-bench-201.csv" in options:
        write_cells(Path("nas-bench-201.csv"))
    if name == "fnas/critic.py":
        settings = {"fnas.policy.lr": 0.001, "fnas.policy.entropy": 0.1}
        table = "NAS-Bench-201, CIFAR-100"
        plain = {"budget": 30, "methods": {"ppo": {"evaluations": [12, None]}}}
        before = [
            {"comparison": table, **plain},
            {"comparison": f"{table}, fnas", "settings": settings},
        ]
        (copy / "fnas" / "results.json").write_text(json.dumps({"runs": before}))
    monkeypatch.setattr(sys, "argv", [script, *options, *MORE[name]])
    folder = (copy / name).parent
    # As Python does for a script; runpy does not.
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    runpy.run_path(str(copy.parent / script), run_name="__main__")
    page = (folder / "README.md").read_text()
    if not name.endswith("run.py"):
        assert json.loads((copy / name).with_suffix(".json").read_text())
        mark = f"<!-- {Path(name).stem} -->\n"
        assert mark not in page or f"{mark}| " in page
        return
    runs = json.loads((folder / "results.json").read_text())["runs"]
    # The tuning of fnas has other draws than what is reported.
    assert {one["seed"] for one in runs} == ({0, 1} if name == "fnas/run.py" else {0})
    assert "No run is recorded yet" not in page
    for picture in re.findall(r"!\[\w+\]\((.*)\)", page):
        assert (folder / picture).read_text().startswith("<?xml")
    # Once more, from what is recorded: the same page and picture.
    before = {
        path: path.read_bytes() for path in folder.iterdir() if path.suffix in (".md", ".svg")
    }
    assert {path.suffix for path in before} == {".md", ".svg"}
    monkeypatch.setattr(sys, "argv", [script, *options, "--collect"])
    runpy.run_path(str(copy.parent / script), run_name="__main__")
    assert {path: path.read_bytes() for path in before} == before


def test_what_fnas_is_compared_with_is_tuned_and_censored(copy):
    """By hand: who was tuned to what, and what a search that did not reach the mark counts."""
    run = runpy.run_path(str(copy / "fnas" / "run.py"), run_name="run")
    best, worse = run["GRID"][0], (1e-3, 0.7)
    run["GRID"].append(worse)

    def record(name, evaluations, budget, **more):
        methods = {one: {"evaluations": taken, "regret": [0.0]} for one, taken in evaluations}
        seeds = len(evaluations[0][1])
        return {"comparison": name, "methods": methods, "budget": budget, "seeds": seeds, **more}

    tuning = [
        # Both medians are 20; of what was not reached the budget counts.
        record(run["grid_name"]("ppo", *best), [("ppo", [10, 20, 60])], 100),
        record(run["grid_name"]("ppo", *worse), [("ppo", [10, 20, None])], 100),
    ]
    (copy / "fnas" / "results.json").write_text(json.dumps({"runs": tuning}))
    assert run["tuned"]("ppo") == best
    assert run["spent"](tuning[1], "ppo") == pytest.approx(130 / 3)
    assert "30 ± 15 (3 of 3)" in run["tuning_table"](run["recorded"]())
    with pytest.raises(SystemExit, match=r"tuning of fnas, lr 0\.001, entropy 0\.1' is missing"):
        run["tuned"]("fnas")
    mark = {"accuracy": 73.0, "percent": 99.5, "architectures": 8}
    final = record(
        run["CIFAR_100"],
        [("ppo", [400, 500, 600, None, None]), ("random", [None] * 5)],
        1000,
        mark=mark,
        architectures=9445,
    )
    fnas = record(run["OF_FNAS"], [("fnas", [40, 50, 60, 70, None])], 300)
    lines = run["final_table"](
        {one["comparison"]: one for one in (final, fnas)}, run["CIFAR_100"]
    ).splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines[4:]}
    assert [cells["ppo"][1], cells["ppo"][3], cells["ppo"][5]] == ["600", "3 of 5", "1"]
    # 600 over 60, though the budgets differ; beyond both of them is a bound.
    assert cells["fnas"][1] == "60"
    assert cells["fnas"][5].startswith("10.0 (")
    assert cells["random"][1] == "above 1000"
    assert cells["random"][5].startswith("below 0.6 (")
