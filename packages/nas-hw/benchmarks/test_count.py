"""Costs a second from tables, their building, and a counter that hooks into a network instead."""

import time

import numpy as np
import pytest
import torch
from torch import nn

import nas_hw
from nas_spaces import published
from nas_spaces.torch import Network

SPACES = ("spos-shufflenet", "fbnetv2-f")
ROWS = 10_000


@pytest.fixture(scope="module", params=SPACES)
def space(request):
    return published.load(request.param)


@pytest.fixture(scope="module")
def tables(space):
    return nas_hw.tables(space)


@pytest.mark.parametrize("name", ["macs", "params", "bitops", "traffic", "peak_memory"])
def test_look_up(benchmark, space, tables, name):
    archs = space.sample(ROWS, rng=np.random.default_rng(0))
    values = benchmark(tables[name], archs)
    rate = ROWS / benchmark.stats["median"]
    benchmark.extra_info["architectures a second"] = f"{rate:.3g}"
    print(f"{space.name} {name}: {rate:.2e} architectures a second")
    assert values.shape == (ROWS,)


@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_look_up_macs_of_fewer_and_more(benchmark, rows):
    space = published.load("spos-shufflenet")
    macs = nas_hw.macs(space)
    archs = space.sample(rows, rng=np.random.default_rng(0))
    assert benchmark(macs, archs).shape == (rows,)


@pytest.mark.parametrize("build", [nas_hw.macs, nas_hw.traffic, nas_hw.peak_memory, nas_hw.tables])
def test_build(benchmark, space, build):
    benchmark.pedantic(build, (space,), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("build", [nas_hw.peak_memory, nas_hw.tables])
def test_build_where_values_are_kept(benchmark, build):
    benchmark.pedantic(build, (published.load("nas-bench-201"),), rounds=5, warmup_rounds=1)


def hooked_macs(network, image):
    """Count multiply-adds by running the network with a hook on each convolution and linear map."""
    counts = []

    def count(module, inputs, output):
        counts.append(module.weight.numel() * output[0].numel() // output.shape[1])

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    network(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def test_counting_by_hooks(benchmark, space, tables):
    """The network of a row is built and run, as tools do that know nothing of the space."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    archs = iter(np.tile(space.sample(64, rng=np.random.default_rng(0)), (8, 1)))
    image = torch.zeros(1, *space.input_shape)

    @torch.no_grad()
    def count():
        arch = next(archs)
        return arch, hooked_macs(Network(space.fix(arch), generator=generator).eval(), image)

    arch, macs = benchmark.pedantic(count, rounds=20, warmup_rounds=2)
    assert tables["macs"]([arch]).tolist() == [macs]

    rows = space.sample(ROWS, rng=np.random.default_rng(0))
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        tables["macs"](rows)
        seconds.append(time.perf_counter() - start)
    each = float(np.median(seconds)) / ROWS
    hooks = benchmark.stats["median"]
    benchmark.extra_info["ratio"] = f"{hooks / each:.3g}"
    print(f"{space.name}: hooks {1e3 * hooks:.1f} ms, a table {1e9 * each:.0f} ns, "
          f"ratio {hooks / each:.2e}")  # fmt: skip


def test_hooks_alone(benchmark, space):
    """The network is there already: what the hooks and the forward pass take."""
    torch.set_num_threads(1)
    arch = space.sample(1, rng=np.random.default_rng(0))[0]
    network = Network(space.fix(arch), generator=torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        benchmark.pedantic(
            hooked_macs,
            (network, torch.zeros(1, *space.input_shape)),
            rounds=20,
            warmup_rounds=2,
        )
