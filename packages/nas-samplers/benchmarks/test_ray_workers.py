"""What a candidate costs beside its training, on Ray: at most 5 ms where the task does nothing.

A local cluster of two workers, or two processes, and batches of three: of FNAS's ten no more are
trained once the others are learned from again or answered for by the critic. A batch's time over
its candidates; the median of the batches counts. The search loop around it is a benchmark of
nas-cli.
"""

import pytest

from nas_samplers import RayWorkers, WorkerProcesses

BATCH, BATCHES, WARM_UP = 3, 30, 5
ALLOWED_MS = 5.0


def nothing(task, report):
    return task


@pytest.fixture(scope="module", params=["ray", "processes"])
def executor(request):
    if request.param == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'nas-samplers[ray]'")
    with {"ray": RayWorkers, "processes": WorkerProcesses}[request.param](workers=2) as run:
        # The processes begin, and import what a candidate needs.
        run(nothing, range(100))
        yield run


def test_the_executor(benchmark, executor):
    benchmark.pedantic(
        executor, args=(nothing, range(BATCH)), rounds=BATCHES, warmup_rounds=WARM_UP
    )
    each = 1000 * benchmark.stats.stats.median / BATCH
    benchmark.extra_info["ms a candidate"] = round(each, 3)
    print(f"\n{type(executor).__name__} alone: {each:.2f} ms a candidate")
    assert each <= ALLOWED_MS
