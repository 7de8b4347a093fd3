"""What a candidate costs beside its training in a search on Ray: at most 5 ms.

A local cluster of two workers that train nothing: the whole loop of proposing, handing out, telling
and saving, by random draws of ten (the loop and Ray alone) and by FNAS without a pool, which
measures 10 of its first batch and about 3 of each later one. Its policy and critic propose, learn
and are saved after each: that is the method's own, and is measured without Ray as well, with and
without saving, in the same rounds.
"""

import time
from functools import partial
from itertools import count

import numpy as np
import pytest

from nas_cli.ppo_settings import BufferConfig, CriticConfig, PolicyConfig, build_ppo
from nas_cli.run import write_json
from nas_samplers import (
    Candidate,
    Optimiser,
    RayWorkers,
    StandaloneError,
    Training,
    load_data,
    run_here,
)
from nas_search import Random, search
from nas_spaces import FeasibleSet, published
from nas_spaces.jsonable import to_jsonable

pytest.importorskip("ray", reason="Ray is not installed: pip install 'nas-cli[ray]'")

SPACE = published.load("spos-shufflenet")  # 20 decisions
BATCH, CANDIDATES, ROUNDS = 10, 100, 7
ALLOWED_MS = 5.0


def nothing_trained(job, report):
    return Candidate(job.number, job.arch, 0.5 + sum(job.arch) / len(job.arch) / 10)


def instead(run, work):
    return lambda _, tasks, **told: run(work, tasks, **told)


def random_searcher(seed):
    return Random(SPACE, rng=np.random.default_rng(seed), batch=BATCH)


def fnas_searcher(seed):
    parts = PolicyConfig(batch=BATCH), CriticConfig(), BufferConfig()
    rng = np.random.default_rng(seed)
    return build_ppo(FeasibleSet(SPACE), *parts, rng=rng, budget=CANDIDATES)


def milliseconds(make, executor, folder, seed, *, saved=True):
    """Return the time of one search over its candidates, first weights and folders not counted."""
    error = StandaloneError(
        space=SPACE,
        images=partial(load_data, "synthetic", resolution=8, device="cpu", seed=0),
        training=Training(optimiser=Optimiser(), batch_size=32, steps=1),
        folder=folder,
        seed=0,
        executor=instead(executor, nothing_trained),
    )
    searcher = make(seed)

    def keep(state):
        write_json(
            folder / "history.json",
            {**state, "evaluation": to_jsonable(error.state_dict(), "state")},
        )

    begun = time.perf_counter()
    found = search(
        searcher,
        [error],
        space=SPACE,
        budget=CANDIDATES,
        checkpoint=keep if saved else None,
    )
    taken = time.perf_counter() - begun
    assert len(found.history) == CANDIDATES
    return 1000 * taken / CANDIDATES


def test_a_candidate_on_ray(benchmark, tmp_path):
    taken, seeds = {}, count()

    def rounds():
        seed = next(seeds)
        for name, make in (("random", random_searcher), ("fnas", fnas_searcher)):
            for where, executor in (("ray", cluster), ("here", run_here)):
                folder = tmp_path / f"{name}-{where}-{seed}"
                one = milliseconds(make, executor, folder, seed)
                taken.setdefault(f"{name}, {where}", []).append(one)
        folder = tmp_path / f"not-saved-{seed}"
        one = milliseconds(fnas_searcher, run_here, folder, seed, saved=False)
        taken.setdefault("fnas, here, not saved", []).append(one)

    with RayWorkers(workers=2) as cluster:
        rounds()  # workers begin, and import what a candidate needs
        taken.clear()
        benchmark.pedantic(rounds, rounds=ROUNDS)
    medians = {name: float(np.median(ones)) for name, ones in taken.items()}
    medians["fnas, ray - here"] = float(
        np.median(np.subtract(taken["fnas, ray"], taken["fnas, here"]))
    )
    for name, median in medians.items():
        benchmark.extra_info[name] = round(median, 2)
        print(f"\n{name}: {median:.2f} ms a candidate")
    if benchmark.stats is not None:  # None under --benchmark-disable
        assert medians["random, ray"] <= ALLOWED_MS
        assert medians["fnas, ray - here"] <= ALLOWED_MS
