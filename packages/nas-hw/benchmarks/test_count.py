"""How many architectures of SPOS's space are counted in a second: rows / the time a round."""

import numpy as np
import pytest

import nas_hw
from nas_spaces import published


@pytest.mark.parametrize("rows", [1_000, 10_000, 100_000])
def test_macs(benchmark, rows):
    space = published.load("spos-shufflenet")
    macs = nas_hw.macs(space)
    archs = space.sample(rows, rng=np.random.default_rng(0))
    values = benchmark(macs, archs)
    benchmark.extra_info["architectures a second"] = f"{rows / benchmark.stats['median']:.3g}"
    assert values.shape == (rows,)


def test_build_the_table(benchmark):
    space = published.load("spos-shufflenet")
    table = benchmark(nas_hw.macs, space)
    assert len(table.terms) == 20
