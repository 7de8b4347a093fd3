import csv
import io
import re

import numpy as np
import pytest

from nas_cli.compare_question import question_of
from nas_cli.compare_result import (
    Setting,
    between,
    describe,
    interval_text,
    ratio_text,
    show_comparison,
    write_curves,
)
from nas_cli.truth import Named, Truth
from nas_spaces import History

BUDGET = 40
BEST, MARK = 0.25, 0.3


def setting(methods, seeds=8, **options):
    asked = {"space": "nas-bench-201", "truth": "t.csv", "budget": BUDGET, "seeds": seeds}
    none = Named(0, ())
    rows, accuracy = np.zeros((1, 6), dtype=np.int64), np.array([75.0])
    return Setting(
        question=question_of({**asked, "methods": ",".join(methods), **options}),
        truth=Truth("t.csv", "0" * 64, "top1", rows, accuracy, None, none, none, 0),
        architectures=100,
        by="row",
        best=BEST,
        mark=MARK,
        at_mark=3,
        limits=(),
        cost="training",
        cost_unit="multiply-adds",
    )


def searched(reached, budget=BUDGET, cost=2.0):
    """Return a history that reaches the mark with evaluation ``reached``, None for never."""
    error = np.full(budget, 0.5)
    if reached is not None:
        error[reached - 1 :] = [0.28] + [BEST] * (budget - reached)
    values = np.stack([error, np.full(budget, cost)], axis=1)
    archs = np.zeros((budget, 6), dtype=np.int64)
    return History(("error", "training"), ("1", "multiply-adds"), archs, values)


def record_of(**methods):
    seeds = len(next(iter(methods.values())))
    found = {name: [searched(one) for one in taken] for name, taken in methods.items()}
    return describe(setting(methods, seeds), found)


FAST, SLOW = [5, 6, 7, 8, 9, 10, 11, 12], [25, 26, 27, 28, 29, 30, 31, 32]
RARE, NEVER = [None] * 7 + [39], [None] * 8


def test_a_method_in_numbers():
    record = record_of(ppo=[5, 6, 7, None, 9, 10, 11, None], random=NEVER)
    ppo, random = record["methods"]
    assert ppo["reached"] == 6
    assert ppo["evaluations"]["median"] == 9.5
    assert (ppo["evaluations"]["low"], ppo["evaluations"]["high"]) == (5, None)
    assert ppo["evaluations"]["searches"] == [5, 6, 7, None, 9, 10, 11, None]
    assert ppo["regret"]["median"] == 0
    assert ppo["regret"]["searches"] == pytest.approx([0, 0, 0, 25, 0, 0, 0, 25])
    assert ppo["cost"] == {"median": 19, "beyond": False}
    assert random["evaluations"]["median"] is random["evaluations"]["low"] is None
    assert random["cost"] == {"median": 80, "beyond": True}
    assert record["mark"] == {"percent": 99.9, "accuracy": 70, "architectures": 3}
    assert record["best"] == 75


def test_a_search_that_ended_early_used_its_budget():
    early = searched(None, budget=10)
    record = describe(setting(["random"], 2), {"random": [early, searched(4)]})
    [random] = record["methods"]
    assert random["evaluations"]["searches"] == [None, 4]
    assert random["cost"] == {"median": 14, "beyond": True}  # 20 and 8


def test_pairs_can_be_turned():
    record = record_of(ppo=FAST, random=SLOW, fnas=NEVER)
    assert [pair["methods"] for pair in record["pairs"]] == [
        ["ppo", "random"],
        ["ppo", "fnas"],
        ["random", "fnas"],
    ]
    pair = between(record, "random", "ppo")
    assert pair["ratio"]["at_least"] == pytest.approx(28.5 / 8.5)
    assert pair["ratio"]["low"] < 28.5 / 8.5 < pair["ratio"]["high"]
    assert pair["p_evaluations"] == between(record, "ppo", "random")["p_evaluations"] < 0.01
    # Corrected for three pairs, at most by three.
    assert 1 <= pair["p_evaluations"] / pair["p_evaluations_uncorrected"] <= 3
    never = between(record, "fnas", "ppo")["ratio"]
    assert never["at_least"] == pytest.approx(BUDGET / 8.5)
    assert never["at_most"] is never["high"] is None
    assert between(record, "ppo", "fnas")["ratio"]["at_least"] == 0


@pytest.mark.parametrize(
    ("methods", "verdict"),
    [
        (
            {"random": SLOW, "ppo": FAST},
            r"ppo needs 3\.4 times fewer evaluations than random to reach 70\.00 % "
            r"\(95 % interval \d\.\d to \d\.\d; p < 0\.001\)",
        ),
        (
            {"ppo": FAST, "random": NEVER},
            r"ppo needs more than 4\.7 times fewer evaluations than random .*above 3\.\d; p < 0",
        ),
        (
            {"ppo": FAST, "fnas": [6, 7, 8, 9, 10, 11, 12, 13]},
            r"no measurable difference between ppo and fnas in evaluations to reach 70\.00 % "
            r"\(1\.1 times as many for fnas, 95 % interval 0\.\d\d to 1\.\d; p = 0\.\d+\)",
        ),
        (
            {"ppo": RARE, "fnas": NEVER},
            r"no measurable difference between ppo and fnas .*\(both medians are above 40; p = ",
        ),
        (
            {"ppo": [*FAST, *NEVER, None], "fnas": NEVER * 2 + [None]},
            r"ppo reaches 70\.00 % in 8 of 17 searches, fnas in 0 \(p = 0\.00",
        ),
        ({"random": FAST}, r"random reaches 70\.00 % in 8 of 8 .* median after 8\.5 evaluations"),
        (
            {"ppo": NEVER, "fnas": NEVER},
            r"no search reaches 70\.00 % within 40 evaluations; ppo ends closest, not measurably "
            r"closer than fnas \(p = 1\)",
        ),
    ],
)
def test_verdicts(methods, verdict):
    said = record_of(**methods)["verdict"]
    assert re.match(verdict, said), said


def test_whoever_ends_closer_where_nobody_reaches_the_mark():
    near = [searched(None) for _ in range(8)]
    for history in near:
        history.values[5:, 0] = 0.4
    record = describe(
        setting(["random", "ppo"]), {"random": [searched(None) for _ in range(8)], "ppo": near}
    )
    said = "ppo ends closest, measurably closer than random (p < 0.001)"
    assert record["verdict"].endswith(said)


def test_the_same_record_again():
    assert record_of(ppo=FAST, random=SLOW) == record_of(ppo=FAST, random=SLOW)


def test_what_is_known_of_a_ratio():
    assert ratio_text({"at_least": 2.0, "at_most": 2.0}) == "2.0"
    assert ratio_text({"at_least": 0.0, "at_most": 0.25}) == "less than 0.25"
    assert ratio_text({"at_least": 0.0, "at_most": None}) == "unknown"
    assert interval_text({"low": 1.0, "high": 2.0}) == "1.0 to 2.0"
    assert interval_text({"low": 0.0, "high": None}) == "open"


def test_curves_are_quartiles_of_the_best_so_far(tmp_path):
    found = {"random": [searched(one) for one in (2, 3, 4, None, 6)]}
    write_curves(tmp_path / "curves.csv", setting(["random"], 5), found)
    header, *lines = csv.reader(io.StringIO((tmp_path / "curves.csv").read_text()))
    assert header == ["method", "evaluations", "low [%]", "median [%]", "high [%]"]
    assert len(lines) == BUDGET
    assert lines[0] == ["random", "1", "50.0", "50.0", "50.0"]
    assert lines[3] == ["random", "4", "50.0", "72.0", "75.0"]
    assert lines[-1] == ["random", "40", "75.0", "75.0", "75.0"]


def test_what_a_person_sees(capsys):
    from rich.console import Console

    parts = show_comparison(record_of(random=SLOW, ppo=FAST, fnas=NEVER))
    console = Console(width=80)
    for part in parts:
        console.print(part, markup=False, highlight=False)
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "fnas" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "fnas",
        ">40",
        ">40 to >40",
        "0",
        "25.00",
        "25.00 to 25.00",
        ">80",
    ]
    assert "corrected for 3 pairs (Holm)" in " ".join(said.split())
    assert "as 3 of 100 architectures do" in " ".join(said.split())
