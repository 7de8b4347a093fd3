"""What a candidate costs beside its training, on Ray: at most 5 ms where the task does nothing.

A local cluster of two workers, batches of ten as FNAS's. Once the executor alone, once the whole of
`StandaloneError` around it, whose workers train nothing. A batch's time over its
candidates; the median of the batches counts.
"""

from functools import partial
from itertools import count

import numpy as np
import pytest

from nas_samplers import (
    Candidate,
    Optimiser,
    RayWorkers,
    StandaloneError,
    Training,
    WorkerProcesses,
    load_data,
)
from nas_spaces import published

BATCH, BATCHES, WARM_UP = 10, 30, 5
ALLOWED_MS = 5.0


def nothing(task, report):
    return task


def nothing_trained(job, report):
    return Candidate(job.number, job.arch, 0.5)


def instead(run, work):
    return lambda _, tasks, **told: run(work, tasks, **told)


@pytest.fixture(scope="module", params=["ray", "processes"])
def executor(request):
    if request.param == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'nas-samplers[ray]'")
    with {"ray": RayWorkers, "processes": WorkerProcesses}[request.param](workers=2) as run:
        # The processes begin, and import what a candidate needs.
        run(nothing, range(100))
        yield run


def milliseconds(benchmark, batch, what):
    benchmark.pedantic(batch, rounds=BATCHES, warmup_rounds=WARM_UP)
    each = 1000 * benchmark.stats.stats.median / BATCH
    benchmark.extra_info["ms a candidate"] = round(each, 3)
    print(f"\n{what}: {each:.2f} ms a candidate")
    assert each <= ALLOWED_MS


def test_the_executor(benchmark, executor):
    milliseconds(
        benchmark, lambda: executor(nothing, range(BATCH)), f"{type(executor).__name__} alone"
    )


def test_the_metric(benchmark, executor, tmp_path):
    space = published.load("spos-shufflenet")  # 20 decisions
    metric = StandaloneError(
        space=space,
        images=partial(load_data, "synthetic", resolution=8, device="cpu", seed=0),
        training=Training(optimiser=Optimiser(), batch_size=32, steps=1),
        folder=tmp_path,
        seed=0,
        executor=instead(executor, nothing_trained),
    )
    seeds = count()

    def batch():
        metric(space.sample(BATCH, rng=np.random.default_rng(next(seeds))))
        metric.state_dict()

    milliseconds(benchmark, batch, f"StandaloneError on {type(executor).__name__}")
