import pickle
import sys
from functools import partial

import attrs
import numpy as np
import pytest
import torch

from nas_samplers import (
    Optimiser,
    StandaloneError,
    Training,
    WorkerProcesses,
    load_data,
    run_here,
    top1_error,
    train_network,
)
from nas_samplers.candidate import train_candidate
from nas_samplers.pool import KnowledgePool
from nas_samplers.pool_guard import PoolGuard
from nas_samplers.workers import Outcome
from nas_spaces import InputError, Metric, derive_seed, to_json
from nas_spaces.torch import Network

CPU = torch.device("cpu")
IMAGES = partial(load_data, "synthetic", resolution=8, device="cpu", seed=0)
# Few, but enough for errors to differ.
TRAINING = Training(optimiser=Optimiser(lr=0.3), batch_size=32, steps=16)
ROWS = [[0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 2, 1]]


@pytest.fixture
def metric(space, tmp_path):
    """A function that makes a metric, in a folder of its own or a named one."""

    def make(folder="alone", **options):
        defaults = {"training": TRAINING, "images": IMAGES, "seed": 0}
        return StandaloneError(space=space, folder=tmp_path / folder, **defaults | options)

    return make


def kept(metric):
    """Return what the pool of a metric holds, to the last bit."""
    return {
        (str(block.key), name): tensor.numpy().tobytes()
        for block in metric.pool.blocks
        for name, tensor in block.tensors.items()
    }


def test_an_error_is_that_of_the_network_trained_by_hand(metric, space, data):
    error = metric()
    assert isinstance(error, Metric)
    assert (error.name, error.unit) == ("error", "1")
    values = error(ROWS[:2])
    assert values.dtype == np.float64
    for number, row in enumerate(ROWS[:2]):
        seed = derive_seed(0, number)
        generator = torch.Generator().manual_seed(derive_seed(seed, 0))
        network = Network(space.fix(row), generator=generator)
        seed = derive_seed(seed, 1)
        assert train_network(network, TRAINING, data.train, seed=seed, device=CPU).steps == 16
        assert values[number] == top1_error(network, data.held_out, device=CPU)
    # Numbers go on: the same rows once more are other networks.
    assert error.trained == 2
    assert error(ROWS[:2]).tolist() != values.tolist()
    assert error.trained == 4


def test_rows(metric):
    error = metric()
    assert error(np.empty((0, 3), dtype=int)).shape == (0,)
    assert not error.folder.exists()
    with pytest.raises(InputError, match="3 choices"):
        error([[0, 0]])


def test_neither_batches_nor_threads_matter(metric):
    here = metric("here")(ROWS)
    one_by_one = metric("one")
    np.testing.assert_array_equal([one_by_one([row])[0] for row in ROWS], here)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(metric("threads")(ROWS[:2]), here[:2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def one_thread_images(like):
    torch.set_num_threads(1)
    return like()


def test_images_may_set_the_number_of_threads(metric):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        values = metric("a", images=partial(one_thread_images, IMAGES), threads=2)(ROWS[:2])
        assert torch.get_num_threads() == 2
        assert values.tolist() == metric("b", threads=2)(ROWS[:2]).tolist()
    finally:
        torch.set_num_threads(before)


def test_trainings_that_a_pool_makes_diverge_count(metric, space):
    pool = KnowledgePool()
    network = Network(space.fix(ROWS[0]), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e30)
    pool.add(network, iterations=16, task="task")
    seen = []
    guard = PoolGuard(pairs=2)
    error = metric(pool=pool, guard=guard, task="task", on_candidate=seen.append)
    assert (error([ROWS[0]] * 2) < 1).all()
    assert [one.pool_error for one in seen] == [1, 1]
    assert guard.verdict.pairs == 2
    assert not guard.missing


def with_pool(**options):
    return {"pool": KnowledgePool(), "guard": PoolGuard(pairs=2), "task": "synthetic", **options}


WILD = Training(optimiser=Optimiser(lr=1e9), batch_size=32, steps=4)


def test_a_first_batch_may_fail_where_that_is_no_reason_to_stop(metric):
    error = metric(training=WILD, refuses=False)
    assert error(ROWS[:2]).tolist() == [1, 1]
    assert len(error.failures) == 2


@pytest.mark.parametrize("options", [dict, with_pool])
def test_one_by_one_the_second_failure_is_no_search(metric, options):
    error = metric(training=WILD, **options())
    assert error(ROWS[:1]).tolist() == [1]
    state = error.state_dict()
    reason = "none of the first 2 candidates could be trained; the first failed because"
    with pytest.raises(InputError, match=reason):
        error(ROWS[1:2])
    # It is refused again where it is gone on with, and nothing stands in its way once it can be.
    again = metric(training=WILD, **options())
    again.load_state_dict(state)
    with pytest.raises(InputError, match=reason):
        again(ROWS[1:2])
    assert (again.trained, len(again.failures)) == (1, 1)
    mended = metric(training=WILD, executor=instead(calmly), **options())
    mended.load_state_dict(state)
    assert mended(ROWS[1:2])[0] < 1
    assert mended(ROWS[2:3])[0] < 1
    # A network that could be trained says that the settings are right, whatever comes then.
    mended.executor = run_here
    assert mended(ROWS[3:]).tolist() == [1]


def calmly(job, report):
    """As trained by other settings."""
    return train_candidate(attrs.evolve(job, training=TRAINING), report)


def test_progress_and_candidates(metric):
    told, candidates = [], []
    error = metric(
        on_progress=lambda *done: told.append(done),
        on_candidate=candidates.append,
        on_kept=lambda one: told.append(one.number),
        pool=None,
    )
    values = error(ROWS[:2])
    assert told == [(0, 2), (1.0, 2), 0, (2.0, 2), 1]
    # What is finished already is told at once.
    told.clear()
    again = metric(on_progress=lambda *done: told.append(done))
    np.testing.assert_array_equal(again(ROWS[:2]), values)
    assert told == [(2.0, 2)]
    assert [one.arch for one in candidates] == [(0, 1, 0), (1, 0, 1)]
    assert [one.number for one in candidates] == [0, 1]
    assert [one.error for one in candidates] == values.tolist()
    assert all(
        (one.steps, one.hits, one.blocks, one.failed) == (16, 0, 0, None) for one in candidates
    )


def test_epochs_are_of_the_training_images(metric, data):
    candidates = []
    training = Training(optimiser=Optimiser(lr=0.1), batch_size=64, epochs=0.5)
    metric(training=training, on_candidate=candidates.append)(ROWS[:1])
    assert candidates[0].steps == round(0.5 * len(data.train) / 64) == 3


def out_of_memory(job, report):
    """The second of four candidates has no room; a stand-in for `train_candidate`."""
    if job.number == 1:
        raise torch.cuda.OutOfMemoryError("no room")
    return train_candidate(job, report)


def instead(work):
    """An executor that does other work."""

    def run(_, tasks, **told):
        return run_here(work, tasks, **told)

    return run


def test_a_candidate_that_fails_has_the_worst_error(metric):
    failures = []
    error = metric(executor=instead(out_of_memory), on_failure=failures.append)
    values = error(ROWS)
    assert values[1] == 1
    np.testing.assert_array_equal(np.delete(values, 1), np.delete(metric("all")(ROWS), 1))
    assert error.failures == failures
    [failure] = failures
    assert (failure.number, failure.arch) == (1, (1, 0, 1))
    assert failure.failed == "OutOfMemoryError: no room"
    # It is saved.
    again = metric()
    again.load_state_dict(error.state_dict())
    assert again.failures == failures


@pytest.mark.parametrize("stands", [True, False])
def test_whether_what_failed_is_tried_again_after_a_kill(metric, stands):
    def run(_, tasks, *, on_outcome, **told):
        # Killed when the third is about to be trained; the second has failed for good by then.
        for index, task in enumerate(tasks):
            if task.number == 2:
                raise Stopped
            failed = "no room" if task.number == 1 else None
            result = None if failed else train_candidate(task, lambda value: None)
            on_outcome(index, Outcome(result, failed))

    with pytest.raises(Stopped):
        metric(executor=run, failures_stand=stands)(ROWS)
    numbers = []
    values = metric(executor=counting(numbers), failures_stand=stands)(ROWS)
    assert numbers == ([2, 3] if stands else [1, 2, 3])
    assert bool(values[1] == 1) is stands


def diverging(job, report):
    """The first candidate learns at a rate that no network survives."""
    if job.number == 0:
        training = attrs.evolve(job.training, optimiser=Optimiser(lr=1e30))
        tried.append(job.number)
        return train_candidate(attrs.evolve(job, training=training), report)
    return train_candidate(job, report)


tried = []


def test_a_candidate_that_diverges_is_not_tried_again(metric):
    tried.clear()
    error = metric(executor=instead(diverging))
    assert error(ROWS[:2])[0] == 1
    assert tried == [0]
    assert "at step" in error.failures[0].failed
    assert "lower the learning rate" in error.failures[0].failed


def test_a_first_batch_without_a_network_is_no_search(metric, tmp_path):
    error = metric(training=attrs.evolve(TRAINING, optimiser=Optimiser(lr=1e30)))
    reason = "none of the first 2 candidates could be trained; the first failed because"
    with pytest.raises(InputError, match=reason):
        error(ROWS[:2])
    assert error.trained == 0
    # What was mended is tried anew, in the same folder.
    assert metric()(ROWS[:2]).max() < 1
    # Later it is bad luck.
    later = metric("later")
    later(ROWS[:1])
    later.training = attrs.evolve(TRAINING, optimiser=Optimiser(lr=1e30))
    assert later(ROWS[1:3]).tolist() == [1, 1]
    assert [one.number for one in later.failures] == [1, 2]


class Stopped(BaseException):
    """In place of SIGKILL."""


def killed_after(number, work=train_candidate):
    """An executor that finishes so many candidates and is killed."""

    def run(_, tasks, *, on_outcome, **told):
        for index, task in enumerate(tasks):
            if index == number:
                raise Stopped
            on_outcome(index, Outcome(work(task, lambda value: None)))
        return []

    return run


def counting(numbers):
    def run(work, tasks, **told):
        numbers.extend(task.number for task in tasks)
        return run_here(work, tasks, **told)

    return run


@pytest.mark.parametrize("options", [dict, with_pool])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_killed_and_resumed(metric, options, batch):
    batches = [ROWS[:2], ROWS[2:], ROWS[1:3]]
    whole = metric("whole", **options())
    expected = [whole(rows).tolist() for rows in batches]

    error, values, state = metric(**options()), [], None
    for rows in batches[:batch]:
        values.append(error(rows).tolist())
        state = pickle.dumps(error.state_dict())
    error.executor = killed_after(1)
    with pytest.raises(Stopped):
        error(batches[batch])

    numbers, candidates = [], []
    again = metric(executor=counting(numbers), on_candidate=candidates.append, **options())
    if state is not None:
        again.load_state_dict(pickle.loads(state))
    values += [again(rows).tolist() for rows in batches[batch:]]
    assert values == expected
    # What was finished is not trained again.
    assert numbers == list(range(2 * batch + 1, 6))
    assert [one.number for one in candidates] == list(range(2 * batch, 6))
    assert again.state_dict() == whole.state_dict()
    if again.pool is not None:
        assert kept(again) == kept(whole)


def test_a_state_that_was_saved_before_the_last_batch(metric):
    """Killed between the batch and the writing of what it gave."""
    error = metric(**with_pool())
    error(ROWS[:2])
    state = error.state_dict()
    values = error(ROWS[2:])
    numbers = []
    again = metric(executor=counting(numbers), **with_pool())
    again.load_state_dict(state)
    np.testing.assert_array_equal(again(ROWS[2:]), values)
    assert numbers == []
    assert kept(again) == kept(error)
    # Two batches lie in the folder, whatever the number of calls.
    assert sorted(path.name for path in again.folder.iterdir()) == ["batch-2", "batch-4"]


def test_states_and_folders_of_others_are_refused(metric):
    error = metric()
    error(ROWS[:2])
    with pytest.raises(InputError, match="its seed is 0, this one's is 1"):
        metric(seed=1).load_state_dict(error.state_dict())
    with pytest.raises(InputError, match=r"its training is .*steps=16.*, this one's is .*steps=9"):
        metric(training=attrs.evolve(TRAINING, steps=9)).load_state_dict(error.state_dict())
    # Without a state the folder must be empty, or of the same search.
    with pytest.raises(InputError, match=r"jsonl is of another search: its archs is \[\[0, 1"):
        metric()(ROWS[1:3])
    with pytest.raises(InputError, match=r"jsonl is of another search: its seed is 0, this one's"):
        metric(seed=1)(ROWS[:2])


def test_arguments_that_are_refused(metric):
    with pytest.raises(InputError, match="images cannot be sent to workers"):
        metric(images=lambda: None)
    with pytest.raises(InputError, match="a guard judges a pool; pass pool"):
        metric(guard=PoolGuard())
    with pytest.raises(InputError, match="pass task"):
        metric(pool=KnowledgePool())
    with pytest.raises(InputError, match="threads=0 must be an integer at least 1"):
        metric(threads=0)


def test_a_job_is_small(metric):
    jobs = []
    metric(executor=counting_jobs(jobs))(ROWS[:1])
    assert len(pickle.dumps(jobs[0])) < 10_000


def counting_jobs(jobs):
    def run(work, tasks, **told):
        jobs.extend(tasks)
        return run_here(work, tasks, **told)

    return run


def test_a_batch_begins_with_the_pool_as_it_was_before_it(metric, space):
    candidates = []
    error = metric(pool=KnowledgePool(), task="synthetic", on_candidate=candidates.append)
    first = error(ROWS[:3])
    # Nothing was there for any of them, although they share blocks.
    assert [one.hits for one in candidates] == [0, 0, 0]
    np.testing.assert_array_equal(first, metric("scratch")(ROWS[:3]))
    assert error.pool.iterations == 16
    error([ROWS[2]])
    assert candidates[3].hits == candidates[3].blocks == 5
    assert (error.hits, error.blocks) == (5, sum(one.blocks for one in candidates))
    [count] = error.pool.tasks.values()
    assert (count.hits, count.queries) == (error.hits, error.blocks)


def test_the_weights_that_a_candidate_begins_with(metric, space, data):
    candidates = []
    error = metric(pool=KnowledgePool(), task="synthetic", on_candidate=candidates.append)
    error(ROWS[:2])
    pool = KnowledgePool.load(error.folder / "batch-2/pool.safetensors")
    [value] = error([ROWS[2]])
    generator = torch.Generator().manual_seed(derive_seed(derive_seed(0, 2), 0))
    network = Network(space.fix(ROWS[2]), generator=generator)
    inherited = pool.initialise(network)
    assert 0 < inherited.hits == candidates[2].hits
    seed = derive_seed(derive_seed(0, 2), 1)
    train_network(network, TRAINING, data.train, seed=seed, device=CPU)
    assert value == top1_error(network, data.held_out, device=CPU)
    # Its blocks are in the pool now.
    trained = {name: x.numpy().tobytes() for name, x in network.state_dict().items()}
    last = next(block for block in reversed(error.pool.blocks) if block.name == "stem")
    own = {name: x for name, x in last.tensors.items() if "weight" in name}
    assert own
    assert all(x.numpy().tobytes() in trained.values() for x in own.values())


def test_while_the_guard_wants_pairs_the_error_from_scratch_counts(metric):
    candidates = []
    guard = PoolGuard(pairs=2)
    told = []
    error = metric(
        pool=KnowledgePool(),
        guard=guard,
        task="synthetic",
        on_candidate=candidates.append,
        on_progress=lambda done, total: told.append(done),
    )
    scratch = metric("scratch")
    np.testing.assert_array_equal(error(ROWS[:2]), scratch(ROWS[:2]))
    assert guard.errors == ()  # the pool was empty
    told.clear()
    np.testing.assert_array_equal(error(ROWS[2:]), scratch(ROWS[2:]))
    assert told == [0, 0.5, 1.0, 1.5, 2.0]
    assert not guard.missing
    assert guard.errors == tuple((one.scratch_error, one.pool_error) for one in candidates[2:])
    assert [one.scratch_error for one in candidates[2:]] == [one.error for one in candidates[2:]]
    # From now on, what begins with the pool counts.
    assert guard.uses_pool
    values = error(ROWS[2:])
    assert candidates[4].hits
    assert candidates[4].scratch_error is None
    assert values.tolist() != scratch(ROWS[2:]).tolist()


def with_full_pool(space, pairs=2):
    """A pool that has something for every candidate, and a guard."""
    pool = KnowledgePool()
    network = Network(space.fix(ROWS[0]), generator=torch.Generator().manual_seed(0))
    pool.add(network, iterations=16, task="task")
    return {"pool": pool, "guard": PoolGuard(pairs), "task": "task"}


def test_no_more_are_trained_both_ways_than_pairs_are_wanted(metric, space):
    seen = []
    error = metric(on_candidate=seen.append, **with_full_pool(space))
    values = error(ROWS)
    assert all(one.hits for one in seen)
    assert [one.pool_error is not None for one in seen] == [True, True, False, False]
    assert error.guard.errors == tuple((one.scratch_error, one.pool_error) for one in seen[:2])
    # The first two count from scratch; the others as they begin with the pool.
    scratch = metric("scratch")(ROWS)
    assert values[:2].tolist() == scratch[:2].tolist()
    assert values[2:].tolist() != scratch[2:].tolist()


def first_diverges(job, report):
    """From scratch and from the pool; a stand-in for `train_candidate`."""
    if job.number == 0:
        return train_candidate(attrs.evolve(job, training=attrs.evolve(WILD, steps=16)), report)
    return train_candidate(job, report)


def test_a_pair_that_is_missing_is_made_up_for_in_the_next_batch(metric, space):
    batches = [ROWS[:3], ROWS[1:], ROWS[:2]]
    seen = []
    whole = metric(
        "whole",
        on_candidate=seen.append,
        executor=instead(first_diverges),
        **with_full_pool(space),
    )
    values = [whole(rows).tolist() for rows in batches]
    paired = [one.number for one in seen if one.pool_error is not None]
    assert paired == [1, 3]
    assert seen[0].failed
    # The same where it was killed before the last of each batch.
    state, found = None, []
    for rows in batches:
        killed = metric(
            executor=killed_after(len(rows) - 1, first_diverges), **with_full_pool(space)
        )
        again = metric(executor=instead(first_diverges), **with_full_pool(space))
        for error in (killed, again):
            if state is not None:
                error.load_state_dict(pickle.loads(state))
        with pytest.raises(Stopped):
            killed(rows)
        found.append(again(rows).tolist())
        state = pickle.dumps(again.state_dict())
    assert found == values
    assert again.state_dict() == whole.state_dict()


def test_a_pool_that_harms_is_left_alone(metric):
    candidates = []
    guard = PoolGuard(pairs=2)
    guard.tell(0.1, 0.5)
    guard.tell(0.1, 0.5001)
    assert not guard.uses_pool
    error = metric(
        pool=KnowledgePool(), guard=guard, task="synthetic", on_candidate=candidates.append
    )
    scratch = metric("scratch")
    for rows in (ROWS[:2], ROWS[:2]):
        np.testing.assert_array_equal(error(rows), scratch(rows))
    assert all(one.blocks == 0 for one in candidates)
    # Others may still be helped by it.
    assert len(error.pool)


def test_a_pool_of_other_steps_is_refused_before_anything_is_trained(metric, space):
    network = Network(space.fix(ROWS[0]), generator=torch.Generator().manual_seed(0))
    pool = KnowledgePool()
    pool.add(network, iterations=5, task="synthetic")
    with pytest.raises(InputError, match="pool were trained for 5 steps, the candidates are to be"):
        metric(pool=pool, task="synthetic")(ROWS[:2])


MODULE = """
import os
from pathlib import Path

from nas_samplers.candidate import train_candidate
from nas_spaces import from_json


def dying(job, report):
    # The process that is to train the second candidate ends once.
    mark = job.folder / "died"
    if job.number == 1 and not mark.exists():
        mark.touch()
        os._exit(9)
    return train_candidate(job, report)


def fix(row):
    space = from_json(Path(__file__).with_name("space.json").read_text())
    return space.fix(row)
"""


def test_processes_of_which_one_dies_give_the_same(metric, space, tmp_path, monkeypatch):
    (tmp_path / "work_of_candidates.py").write_text(MODULE)
    (tmp_path / "space.json").write_text(to_json(space))
    monkeypatch.syspath_prepend(tmp_path)
    import work_of_candidates

    told = []
    with WorkerProcesses(2) as workers:

        def run(_, tasks, **told):
            return workers(work_of_candidates.dying, tasks, **told)

        error = metric(
            executor=run,
            fix=work_of_candidates.fix,
            on_progress=lambda done, total: told.append(done),
            **with_pool(),
        )
        values = [error(ROWS[:3]), error(ROWS[1:])]
    sys.modules.pop("work_of_candidates")
    assert told[-1] == 3
    assert error.failures == []
    here = metric("here", **with_pool())
    np.testing.assert_array_equal(values, [here(ROWS[:3]), here(ROWS[1:])])
    assert kept(error) == kept(here)


def test_a_killed_training_goes_on_from_its_checkpoint(metric):
    def stop(done, total):
        if done == 0.75:
            raise Stopped

    expected = metric("whole")(ROWS[:1])
    error = metric(checkpoint_every=4, on_progress=stop)
    with pytest.raises(Stopped):
        error(ROWS[:1])
    assert (error.folder / "batch-0/0-alone.checkpoint").exists()
    told = []
    again = metric(checkpoint_every=4, on_progress=lambda done, total: told.append(done))
    np.testing.assert_array_equal(again(ROWS[:1]), expected)
    assert told == [0, 0.75, 1]
    # What is finished needs no state to go on from.
    assert not list(again.folder.glob("*/*.checkpoint"))
