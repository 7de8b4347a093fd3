import csv
import io

import pytest

from nas_cli.compare_result import write_curves

FAST, SLOW = [5, 6, 7, 8, 9, 10, 11, 12], [25, 26, 27, 28, 29, 30, 31, 32]
NEVER = [None] * 8


def test_a_method_in_numbers(compared):
    record = compared.record(ppo=[5, 6, 7, None, 9, 10, 11, None], random=NEVER)
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


def test_a_search_that_ended_early_used_its_budget(compared):
    early = compared.searched(None, budget=10)
    record = compared.describe({"random": [early, compared.searched(4)]}, 2)
    [random] = record["methods"]
    assert random["evaluations"]["searches"] == [None, 4]
    assert random["cost"] == {"median": 14, "beyond": True}  # 20 and 8


def test_the_same_record_again(compared):
    assert compared.record(ppo=FAST, random=SLOW) == compared.record(ppo=FAST, random=SLOW)


def test_curves_are_quartiles_of_the_best_so_far(tmp_path, compared):
    found = {"random": [compared.searched(one) for one in (2, 3, 4, None, 6)]}
    write_curves(tmp_path / "curves.csv", compared.setting(["random"], 5), found)
    header, *lines = csv.reader(io.StringIO((tmp_path / "curves.csv").read_text()))
    assert header == ["method", "evaluations", "low [%]", "median [%]", "high [%]"]
    assert len(lines) == compared.budget
    assert lines[0] == ["random", "1", "50.0", "50.0", "50.0"]
    assert lines[3] == ["random", "4", "50.0", "72.0", "75.0"]
    assert lines[-1] == ["random", "40", "75.0", "75.0", "75.0"]
