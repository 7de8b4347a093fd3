import json
import os
from pathlib import Path

import numpy as np
import pytest

import nas_hw
from nas_cli.truth import Named, read_costs, read_truth
from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv

MACRO = published.load("nas-bench-macro")
CELLS = published.load("nas-bench-201")


def write(path, text):
    path.write_text(text)
    return path


def csv_of(path, rows, header="architecture,top1"):
    return write(path, "\n".join([header, *rows]) + "\n")


def twelve(n=12):
    return MACRO.sample(n, rng=np.random.default_rng(0))


@pytest.fixture
def table(tmp_path):
    """Write a CSV table of NAS-Bench-Macro with some of its lines replaced or added."""

    def make(*more, changed=None, header="architecture,top1"):
        rows = [f"{MACRO.notate(arch)},{80 + i / 2}" for i, arch in enumerate(twelve())]
        for index, row in (changed or {}).items():
            rows[index] = row
        return csv_of(tmp_path / "table.csv", [*rows, *more], header)

    return make


@pytest.fixture
def macro_table(tmp_path):
    """Write a table of the form of NAS-Bench-Macro's, with more in its first record."""

    def make(**more):
        archs = twelve()
        params, macs = nas_hw.params(MACRO)(archs).tolist(), nas_hw.macs(MACRO)(archs).tolist()
        records = {
            MACRO.notate(arch): {
                "test_acc": [80.0 + i, 81.0 + i, 82.5 + i],
                "mean_acc": 81.0 + i,
                "std": 0.5,
                "params": int(params[i]),
                "flops": int(macs[i]),
            }
            for i, arch in enumerate(archs)
        }
        records[MACRO.notate(archs[0])].update(more)
        return write(tmp_path / "macro.json", json.dumps(records))

    return make


def test_a_csv_table(table):
    truth = read_truth(table(), MACRO)
    assert (truth.file, truth.column, truth.repeated) == ("table.csv", "top1", 0)
    np.testing.assert_array_equal(truth.archs, twelve())
    np.testing.assert_array_equal(truth.accuracy, 80 + np.arange(12) / 2)
    assert truth.repeats is None
    assert truth.unknown == Named(0, ())
    assert truth.missing.count == 6561 - 12
    assert truth.missing.examples == ("00000000", "00000001", "00000002")


def test_missing_architectures_are_those_that_are_not_in_the_table(tmp_path):
    space = SearchSpace(
        "two",
        (1, 4, 4),
        [Choice("a", tuple("xyz")), Choice("b", tuple("xyzu"))],
        [
            Block("a", [Conv(2)] * 3, ("a",)),
            Block("b", [Conv(2)] * 4, ("b",)),
            Block("head", [Classifier(2)]),
        ],
    )
    rows = [f'"{a},{b}",50' for a in range(3) for b in range(4) if (a, b) not in ((0, 1), (2, 3))]
    truth = read_truth(csv_of(tmp_path / "table.csv", rows), space)
    assert truth.missing == Named(2, ("0,1", "2,3"))


def test_unknown_architectures_are_counted_and_named(table):
    truth = read_truth(table("0000000,50", "33333333,60", "x,70", "01010101x,80"), MACRO)
    assert truth.unknown == Named(4, ("0000000", "33333333", "x"))
    assert len(truth.archs) == 12


def test_options_that_were_dropped_are_unknown(table):
    alive = MACRO.mask.copy()
    alive[0, 2] = False
    truth = read_truth(table("01010101,33"), MACRO.restrict(alive))
    gone = [MACRO.notate(arch) for arch in twelve() if arch[0] == 2]
    assert truth.unknown == Named(len(gone), tuple(gone[:3]))
    assert truth.missing.count == 6561 // 3 * 2 - len(truth.archs)


def test_empty_cells_are_missing(table):
    arch = MACRO.notate(twelve()[3])
    truth = read_truth(table(changed={3: f"{arch},"}), MACRO)
    assert len(truth.archs) == 11
    assert truth.missing.count == 6561 - 11
    assert truth.unknown.count == 0


def test_lines_that_repeat_an_architecture_are_averaged(table):
    arch = MACRO.format(twelve()[3])
    truth = read_truth(table(f'"{arch}",85.5'), MACRO)
    assert (len(truth.archs), truth.repeated) == (12, 1)
    assert truth.accuracy[3] == pytest.approx((81.5 + 85.5) / 2)


def test_rows_of_the_same_network_count_each(tmp_path):
    # An identity before the block or behind it: a benchmark lists both.
    archs = [[0, 0, 0, i, j, 0, 0, 0] for i in range(3) for j in range(3)] + [[1] * 8]
    assert len(np.unique(MACRO.canonical(archs), axis=0)) < 10
    rows = [f'"{MACRO.format(arch)}",{50 + i}' for i, arch in enumerate(archs)]
    assert len(read_truth(csv_of(tmp_path / "table.csv", rows), MACRO).archs) == 10


def test_a_spreadsheets_csv(tmp_path):
    rows = [f"{MACRO.notate(arch)};".replace(";", ",80.25 , x") for arch in twelve()]
    path = tmp_path / "table.csv"
    text = "architecture , top1 [%],note\r\n" + "\r\n".join(rows) + "\r\n\r\n"
    path.write_bytes(text.encode("utf-8-sig"))
    truth = read_truth(path, MACRO, "top1")
    assert len(truth.archs) == 12
    assert set(truth.accuracy) == {80.25}


def test_a_table_in_the_benchmarks_own_notation(tmp_path):
    archs = CELLS.sample(12, rng=np.random.default_rng(0))
    rows = [f"{CELLS.notate(arch)},{i},{2 * i}" for i, arch in enumerate(archs)]
    path = csv_of(tmp_path / "cells.csv", rows, "architecture,cifar10,cifar100")
    truth = read_truth(path, CELLS, "cifar100")
    np.testing.assert_array_equal(truth.archs, archs)
    np.testing.assert_array_equal(truth.accuracy, 2.0 * np.arange(12))
    with pytest.raises(InputError, match=r"several columns; .*--column: cifar10, cifar100"):
        read_truth(path, CELLS)
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        read_truth(path, CELLS, "cifar-10")


def test_a_json_table_and_its_single_trainings(macro_table):
    path = macro_table()
    truth = read_truth(path, MACRO)
    assert truth.column == "mean_acc"
    np.testing.assert_array_equal(truth.archs, twelve())
    np.testing.assert_array_equal(truth.accuracy, 81.0 + np.arange(12))
    np.testing.assert_array_equal(truth.repeats[:, 2], 82.5 + np.arange(12))
    one = read_truth(path, MACRO, "test_acc[1]")
    np.testing.assert_array_equal(one.accuracy, truth.repeats[:, 1])
    np.testing.assert_array_equal(one.repeats, truth.repeats)


def test_other_numbers_of_classes_are_no_other_space(macro_table):
    assert len(read_truth(macro_table(), published.load("nas-bench-macro", classes=7)).archs) == 12


def test_digits_that_fit_another_space_by_chance(macro_table):
    digits = published.load("digits-mobile")
    assert (digits.num_choices, min(digits.num_options)) == (8, 4)
    with pytest.raises(InputError, match="another space: the params that it gives are not"):
        read_truth(macro_table(), digits)


def test_a_table_of_another_space(table, tmp_path):
    with pytest.raises(
        InputError, match=r"another space: 0 of its 12 architectures are of 'nas-bench-201'; line 2"
    ):
        read_truth(table(), CELLS)
    # A few that fit by chance do not make it one of this space.
    rows = [f'"{MACRO.format(arch)}",50' for arch in twelve(11)]
    rows += [
        f"{CELLS.notate(arch)},50" for arch in CELLS.sample(1200, rng=np.random.default_rng(1))
    ]
    with pytest.raises(InputError, match="another space: 11 of its 1,211"):
        read_truth(csv_of(tmp_path / "mixed.csv", rows), MACRO)


@pytest.mark.parametrize("value", ["nan", "-0.5", "100.01", "inf", "high", "93,1"])
def test_values_that_are_no_percentage(table, value):
    arch = MACRO.notate(twelve()[3])
    with pytest.raises(InputError, match=rf"table.csv: line 5: top1 is '{value}'; .* percent"):
        read_truth(table(changed={3: f'{arch},"{value}"'}), MACRO)


@pytest.mark.parametrize("value", [float("nan"), 101, "high", {}, True])
def test_values_of_json_that_are_no_percentage(macro_table, value):
    first = MACRO.notate(twelve()[0])
    with pytest.raises(InputError, match=f"architecture '{first}': mean_acc is .* percent"):
        read_truth(macro_table(mean_acc=value), MACRO)


def test_shares_are_no_percentages(tmp_path):
    rows = [f'"{MACRO.format(arch)}",{0.5 + i / 100}' for i, arch in enumerate(twelve())]
    with pytest.raises(InputError, match=r"top1 goes from 0.5 to 0.61, which looks like shares"):
        read_truth(csv_of(tmp_path / "table.csv", rows), MACRO)


def test_a_column_of_another_unit(tmp_path):
    rows = [f'"{MACRO.format(arch)}",0.5,60' for arch in twelve()]
    path = csv_of(tmp_path / "history.csv", rows, "architecture,error [1],top1 [%]")
    with pytest.raises(InputError, match=r"column 'error' is in \[1\]; .* error, top1"):
        read_truth(path, MACRO, "error")
    assert read_truth(path, MACRO, "top1").accuracy[0] == 60


def test_fewer_than_ten(tmp_path):
    rows = [f"{MACRO.notate(arch)},50" for arch in twelve(9)]
    with pytest.raises(InputError, match=r"9 architectures with a value in 'top1'; .* at least 10"):
        read_truth(csv_of(tmp_path / "table.csv", rows), MACRO)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no column 'architecture', it has nothing"),
        ("arch,top1\n01010101,50\n", "no column 'architecture', it has 'arch', 'top1'"),
        ("architecture\n01010101\n", "no column of accuracies"),
        ("architecture,top1\n", "holds no architectures"),
        ("architecture,a,a\n01010101,5,6\n", "names 'a' twice"),
        ("architecture,top1\n0,1,0,1,0,1,0,1,50\n", "line 2 has 9 cells, .* in quotes"),
        ("{", "is no JSON"),
        ("[1, 2]", "holds a JSON list; a truth in JSON is an object of architectures"),
        ("{}", "no column of accuracies"),
        ('{"01010101": 93.5}', "'01010101' has 93.5; write an object"),
        ("architecture,top1\n\x00,5\n", "another space|no CSV"),
    ],
)
def test_no_tables(tmp_path, text, match):
    with pytest.raises(InputError, match=match):
        read_truth(write(tmp_path / "table", text), MACRO)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_truth(tmp_path / "none.csv", MACRO)
    (tmp_path / "image").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is no text"):
        read_truth(tmp_path / "image", MACRO)


def test_what_trainings_cost(tmp_path):
    notes = [MACRO.notate(arch) for arch in twelve()]
    rows = [f"{note},80,{100 + i}" for i, note in enumerate(notes)]
    rows[3] = f"{notes[3]},80,"
    path = csv_of(tmp_path / "t.csv", [*rows, f"{notes[5]},80,205"], "architecture,top1,time [s]")
    costs = read_costs(path, MACRO, "time")
    assert (costs.column, costs.unit) == ("time", "s")
    np.testing.assert_array_equal(costs.archs, np.delete(twelve(), 3, axis=0))
    assert costs.values.tolist() == [100, 101, 102, 104, 155, 106, 107, 108, 109, 110, 111]
    for value in ("-1", "x", "nan", "inf"):
        csv_of(path, [f"{notes[0]},80,{value}"], "architecture,top1,time [s]")
        with pytest.raises(InputError, match=f"line 2: time is '{value}'; what a training costs"):
            read_costs(path, MACRO, "time")
    with pytest.raises(InputError, match="no column 'tme': did you mean 'time'"):
        read_costs(path, MACRO, "tme")


def test_costs_of_a_json_table_have_no_unit(macro_table):
    costs = read_costs(macro_table(), MACRO, "params")
    assert costs.unit == ""
    np.testing.assert_array_equal(costs.values, nas_hw.params(MACRO)(twelve()))


def test_the_benchmarks_themselves():
    named = os.environ.get("NAS_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[4] / "shared" / "data"
    macro, cells = folder / "nas-bench-macro_cifar10.json", folder / "nas-bench-201.csv"
    if not (macro.is_file() and cells.is_file()):
        pytest.skip("no nas-bench-macro_cifar10.json and nas-bench-201.csv in NAS_TEST_DATA")
    truth = read_truth(macro, MACRO)
    assert (len(truth.archs), truth.repeats.shape) == (6561, (6561, 3))
    assert truth.missing == truth.unknown == Named(0, ())
    column = "cifar100_test_accuracy_200_epochs"
    truth = read_truth(cells, CELLS, column)
    assert len(truth.archs) == 15625
    reduced = published.load("nas-bench-201-reduce-3")
    truth = read_truth(cells, reduced, column)
    assert (len(truth.archs), truth.unknown.count, truth.missing.count) == (729, 15625 - 729, 0)
