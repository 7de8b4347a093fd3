from pathlib import Path

import pytest

from nas_cli.rank_question import RankQuestion, question_of
from nas_spaces import InputError


def test_what_options_ask_for():
    table, run = str(Path("t.csv").resolve()), str(Path("r").resolve())
    assert question_of() is None
    assert question_of(standalone=30) == RankQuestion("standalone", architectures=30)
    asked = question_of(truth=Path("t.csv"), column="top1")
    assert (asked, asked.count) == (RankQuestion("table", table, "top1"), 200)
    asked = question_of(truth=Path("t.csv"), architectures=0)
    assert (asked, asked.count) == (RankQuestion("table", table, None, 0), 0)
    asked = question_of(against=Path("r"), architectures=10)
    assert asked == RankQuestion("run", run, architectures=10)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"standalone": 9}, "--standalone 9: a rank correlation of fewer than 10"),
        ({"standalone": 0}, "--standalone 0: "),
        ({"standalone": -3}, "--standalone -3: "),
        ({"truth": Path("t.csv"), "architectures": 5}, "--architectures 5: a rank correlation"),
        ({"truth": Path("t.csv"), "architectures": -1}, "--architectures -1: "),
        # All of a table is a number, all of a space is not drawn.
        ({"against": Path("r"), "architectures": 0}, "--architectures 0: "),
        ({"standalone": 20, "against": Path("r")}, "--standalone and --against: a ranking is held"),
        ({"standalone": 20, "architectures": 20}, "--architectures goes with"),
        ({"architectures": 20}, "--architectures goes with"),
        ({"standalone": 20, "column": "a"}, "--column is of a table"),
    ],
)
def test_what_cannot_be_asked(options, says):
    with pytest.raises(InputError, match=says):
        question_of(**options)
