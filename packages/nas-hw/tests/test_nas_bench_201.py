"""What NAS-Bench-201 counts: the whole space against its closed form."""

import itertools

import numpy as np
import pytest

import nas_hw
from nas_hw.count import macs_of, params_of
from nas_spaces import published

CONV_1X1, CONV_3X3 = "nor_conv_1x1", "nor_conv_3x3"
NAMES = ["nas-bench-201", *(f"nas-bench-201-reduce-{i}" for i in (1, 2, 3))]


def rows_of(space):
    return np.array(list(itertools.product(*map(range, space.num_options))))


def benchmark(space, rows):
    """The benchmark's two columns, in millions: biases of the classifier count as FLOPs."""
    flops = nas_hw.macs(space, convention="nas-bench-201")(rows)
    return flops / 1e6, nas_hw.params(space)(rows) / 1e6


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_costs_what_the_closed_form_says(name):
    space = published.load(name)
    rows = rows_of(space)
    operations = np.array(space.choices[0].options)[rows]
    small = (operations == CONV_1X1).sum(axis=1)
    large = (operations == CONV_3X3).sum(axis=1)
    macs, params = nas_hw.macs(space)(rows), nas_hw.params(space)(rows)
    assert (macs == 7_783_040 + 3_932_160 * small + 35_389_440 * large).all()
    assert (params == 73_306 + 28_000 * small + 243_040 * large).all()
    pairs = set(zip(macs.tolist(), params.tolist(), strict=True))
    # Numbers of convolutions that fit on six edges.
    assert len(pairs) == (28 if CONV_1X1 in space.choices[0].options else 7)


# FLOPs and parameters in millions, from the benchmark's own module and counter.
@pytest.mark.parametrize(
    ("text", "flops", "params"),
    [
        (",".join("000000"), 7.78305, 0.073306),
        (",".join("111111"), 7.78305, 0.073306),
        (",".join("444444"), 7.78305, 0.073306),
        (",".join("222222"), 31.37601, 0.241306),
        (",".join("333333"), 220.11969, 1.531546),
        (
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
            "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            15.64737,
            0.129306,
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+"
            "|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
            113.95137,
            0.802426,
        ),
    ],
)
def test_known_cells(text, flops, params):
    space = published.load("nas-bench-201")
    counted = benchmark(space, [space.parse(text)])
    assert [value.tolist() for value in counted] == [[flops], [params]]


@pytest.mark.parametrize(
    ("classes", "flops", "params"),
    [
        (10, (7.78305, 220.11969), (0.073306, 1.531546)),
        (100, (7.7889, 220.12554), (0.079156, 1.537396)),
    ],
)
def test_the_range_on_each_data_set(classes, flops, params):
    space = published.load("nas-bench-201", classes=classes)
    counted = benchmark(space, rows_of(space))
    assert [(values.min(), values.max()) for values in counted] == [flops, params]


def test_tables_are_sums_over_layers_in_a_smaller_image():
    space = published.load("nas-bench-201", classes=120, resolution=16)
    rows = space.sample(5, rng=np.random.default_rng(0))
    for table, of in ((nas_hw.macs(space), macs_of), (nas_hw.params(space), params_of)):
        sums = [
            sum(of(node) for layer in space.layers(row) for node in layer.graph) for row in rows
        ]
        assert table(rows).tolist() == sums


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [nas_hw.macs, nas_hw.params, nas_hw.traffic])
def test_a_canonical_row_never_costs_more(name, count):
    space = published.load(name)
    rows = rows_of(space)
    table = count(space)
    assert (table(space.canonical(rows)) <= table(rows)).all()
