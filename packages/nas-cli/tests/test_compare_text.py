import re

import pytest

from nas_cli.compare_text import between, interval_text, ratio_text, show_comparison

FAST, SLOW = [5, 6, 7, 8, 9, 10, 11, 12], [25, 26, 27, 28, 29, 30, 31, 32]
RARE, NEVER = [None] * 7 + [39], [None] * 8


def test_pairs_can_be_turned(compared):
    record = compared.record(ppo=FAST, random=SLOW, fnas=NEVER)
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
    assert never["at_least"] == pytest.approx(compared.budget / 8.5)
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
def test_verdicts(methods, verdict, compared):
    said = compared.record(**methods)["verdict"]
    assert re.match(verdict, said), said


def test_whoever_ends_closer_where_nobody_reaches_the_mark(compared):
    near = [compared.searched(None) for _ in range(8)]
    for history in near:
        history.values[5:, 0] = 0.4
    record = compared.describe({"random": [compared.searched(None) for _ in range(8)], "ppo": near})
    said = "ppo ends closest, measurably closer than random (p < 0.001)"
    assert record["verdict"].endswith(said)


def test_what_is_known_of_a_ratio():
    assert ratio_text({"at_least": 2.0, "at_most": 2.0}) == "2.0"
    assert ratio_text({"at_least": 0.0, "at_most": 0.25}) == "less than 0.25"
    assert ratio_text({"at_least": 0.0, "at_most": None}) == "unknown"
    assert interval_text({"low": 1.0, "high": 2.0}) == "1.0 to 2.0"
    assert interval_text({"low": 0.0, "high": None}) == "open"


def test_what_a_person_sees(capsys, compared):
    from rich.console import Console

    parts = show_comparison(compared.record(random=SLOW, ppo=FAST, fnas=NEVER))
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
    # Of the fourth of eight nobody knows how much longer the fifth would have taken.
    half = compared.record(ppo=[*FAST[:4], *NEVER[:4]])
    assert "≥8 " in "".join(str(cell) for cell in show_comparison(half)[0].columns[1].cells) + " "
    assert "the median after at least 8 evaluations" in half["verdict"]
    assert "corrected for 3 pairs (Holm)" in " ".join(said.split())
    assert "as 3 of 100 architectures do" in " ".join(said.split())
