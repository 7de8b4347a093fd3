import numpy as np
import pytest

import nas_hw
from nas_spaces import published
from nas_spaces.testing import check_metric

EACH = {
    "macs": nas_hw.macs,
    "params": nas_hw.params,
    "bitops": nas_hw.bitops,
    "traffic": nas_hw.traffic,
    "peak_memory": nas_hw.peak_memory,
}


@pytest.mark.parametrize("name", ["nas-bench-macro", "nas-bench-201", "resnet18-quant"])
def test_all_at_once_are_those_one_by_one(name):
    space = published.load(name)
    archs = space.sample(50, rng=np.random.default_rng(0))
    together = nas_hw.tables(space)
    assert list(together) == list(EACH)
    for key, table in together.items():
        alone = EACH[key](space)
        assert (table.name, table.unit, table.reduce) == (key, alone.unit, alone.reduce)
        assert table(archs).tolist() == alone(archs).tolist()


def test_they_are_metrics_that_depend_on_the_network_alone():
    space = published.load("nas-bench-macro")
    archs = space.sample(200, rng=np.random.default_rng(1))
    for table in nas_hw.tables(space).values():
        check_metric(table, space)
        assert table.is_integer
        assert (table(archs) == table(space.canonical(archs))).all()


def test_graphs_are_built_once_for_all(monkeypatch):
    space = published.load("digits-mobile")
    layer = type(space.blocks[1].layers[0])
    built = []
    graph = layer.graph
    monkeypatch.setattr(layer, "graph", lambda self, shape: built.append(1) or graph(self, shape))
    nas_hw.macs(space)
    once = len(built)
    nas_hw.tables(space)
    assert once > 0
    assert len(built) == 2 * once
