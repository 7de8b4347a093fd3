"""Trainings that are killed and resumed; checkpoints that are kept, and that are refused."""

import errno
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from nas_samplers import Optimiser, Uniform, train, training_state
from nas_samplers.checkpoint import read_checkpoint
from nas_spaces import InputError
from nas_spaces.jsonable import to_jsonable

CPU = torch.device("cpu")


# --- killed and resumed -----------------------------------------------------------------------


class KilledError(Exception):
    pass


class Run:
    """One training; what it wrote, and what it recorded."""

    def __init__(self, network, phases, data, path, *, precision="float32"):
        self.network = network
        self.phases = phases
        self.files, self.records = [], []
        self.arguments = {
            "held_out": data.held_out,
            "seed": 3,
            "device": CPU,
            "precision": precision,
            "checkpoint": path,
            "checkpoint_every": 2,
            "log_every": 3,
        }
        self.data, self.path = data, path

    def go(self, monkeypatch, *, die_at_write=None, die_at_record=None, after=True):
        """Train; die at the n-th write (before it, or after it) or at the n-th record."""
        real = training_state.write_checkpoint

        def write(path, checkpoint):
            number = len(self.files)
            if number == die_at_write and not after:
                raise KilledError
            real(path, checkpoint)
            self.files.append(path.read_bytes())
            if number == die_at_write:
                raise KilledError

        def record(entry):
            self.records.append(entry)
            if len(self.records) - 1 == die_at_record:
                raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(training_state, "write_checkpoint", write)
            self.summary = train(
                self.network, self.phases, self.data.train, on_record=record, **self.arguments
            )
        return self


@pytest.fixture(params=["float32", "bfloat16"])
def precision(request):
    return request.param


def test_killed_and_resumed_it_ends_with_the_same_bits(
    precision, make_phases, loop_alone, space, data, tmp_path, monkeypatch, supernet, snapshot, same
):
    def start(path, seed=0):
        return Run(supernet(space, seed), make_phases(space), data, path, precision=precision)

    whole = start(tmp_path / "whole").go(monkeypatch)
    number = len(whole.files)
    assert number >= 5
    deaths = [{"die_at_write": k, "after": after} for k in range(number) for after in (0, 1)]
    deaths += [{"die_at_record": k} for k in range(len(whole.records))]
    if precision == "bfloat16":
        deaths = deaths[3:4]
    elif not loop_alone:
        deaths = deaths[1::3]  # what they add to the loop is state
    for index, death in enumerate(deaths):
        path = tmp_path / f"killed{index}"
        first = start(path)
        with pytest.raises(KilledError):
            first.go(monkeypatch, **death)
        # What goes on knows nothing but its arguments and the file.
        began = path.exists()
        seed = 99 if began else 0
        second = start(path, seed).go(monkeypatch)
        assert same(snapshot(second.network), snapshot(whole.network))
        # Momentum, samplers, learners and counts are in the files, byte for byte.
        assert second.files == whole.files[number - len(second.files) :]
        if began:
            assert len(second.files) < number
        assert second.summary == whole.summary
        assert second.records == whole.records[len(whole.records) - len(second.records) :]
        for a, b in zip(second.phases, whole.phases, strict=True):
            assert a.sampler.state_dict() == b.sampler.state_dict()
            if a.learner:
                states = [to_jsonable(one.learner.state_dict(), "") for one in (a, b)]
                assert states[0] == states[1]


def test_momentum_is_in_the_file_of_a_phase_that_is_not_over(
    space, data, tmp_path, monkeypatch, supernet, phase, uniform
):
    run = Run(supernet(space), [phase(uniform(space), 9)], data, tmp_path / "c").go(monkeypatch)
    names = []
    for content in run.files:
        (tmp_path / "d").write_bytes(content)
        names.append(
            [name for name in read_checkpoint(tmp_path / "d").tensors if "momentum_buffer" in name]
        )
    assert all(names[:-1])
    assert not names[-1]  # it does not outlive its phase


def test_a_finished_training_is_not_repeated(
    space, data, tmp_path, monkeypatch, supernet, phase, uniform, snapshot, same
):
    whole, again = (
        Run(supernet(space, seed), [phase(uniform(space), 9)], data, tmp_path / "c").go(monkeypatch)
        for seed in (0, 9)
    )
    assert again.files == again.records == []
    assert same(snapshot(again.network), snapshot(whole.network))
    assert again.summary == whole.summary
    assert not again.network.training


def test_before_is_called_once_a_phase_also_after_a_resume(
    space, data, tmp_path, supernet, phase, uniform
):
    calls = []

    def phases(die_at=None):
        def before(name):
            def call(network):
                calls.append(name)

            return call

        def forward(network, images, row):
            steps[0] += 1
            if steps[0] == die_at:
                raise KilledError
            return network(images, row)

        steps = [0]
        return [
            phase(uniform(space), 4, name=name, before=before(name), forward=forward)
            for name in ("a", "b")
        ]

    def go(die_at, path):
        calls.clear()
        train(
            supernet(space),
            phases(die_at),
            data.train,
            seed=0,
            device=CPU,
            checkpoint=path,
            checkpoint_every=2,
        )

    go(None, tmp_path / "whole")
    assert calls == ["a", "b"]
    # Step 8 is behind a checkpoint of phase b: its `before` is in the weights already.
    for die_at, first, rest in ((3, ["a"], ["b"]), (6, ["a", "b"], ["b"]), (8, ["a", "b"], [])):
        path = tmp_path / str(die_at)
        with pytest.raises(KilledError):
            go(die_at, path)
        assert calls == first
        go(None, path)
        assert calls == rest
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()


# --- checkpoints kept and refused -------------------------------------------------------------


@pytest.fixture
def saved_run(space, data, supernet, phase, uniform):
    """A function that trains with a checkpoint at a path; what it is told to change is changed."""

    def run(path, **changes):
        arguments = {"seed": 0, "device": CPU, "checkpoint": path, "checkpoint_every": 2}
        network = changes.pop("network", None) or supernet(space)
        phases = changes.pop("phases", None) or [phase(uniform(space), 5)]
        return train(network, phases, data.train, **{**arguments, **changes})

    return run


class Other(Uniform):
    pass


def other_join(network, images, rows):
    pass


@pytest.mark.parametrize(
    "name",
    [
        "steps",
        "name",
        "sampler",
        "learner",
        "join",
        "batch",
        "optimiser",
        "seed",
        "channels_last",
        "number",
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    saved_run, space, tmp_path, name, phase, uniform, learner_class
):
    path = tmp_path / "c"
    saved_run(path)
    before = path.read_bytes()
    sampler = uniform(space)
    changes, match = {
        "steps": ({"phases": [phase(sampler, 6)]}, r"steps is 5, this one's is 6"),
        "name": ({"phases": [phase(sampler, 5, name="x")]}, r"name is 'supernet'"),
        "sampler": (
            {"phases": [phase(Other(space, rng=np.random.default_rng(0)), 5)]},
            "sampler is 'Uniform', this one's is 'Other'",
        ),
        "learner": (
            {"phases": [phase(sampler, 5, learner=learner_class())]},
            "learner is None, this one's is 'Learner'",
        ),
        "join": (
            {"phases": [phase(sampler, 5, join=other_join)]},
            "join is None, this one's is 'other_join'",
        ),
        "batch": ({"phases": [phase(sampler, 5, batch_size=4)]}, "batch_size is 8"),
        "optimiser": (
            {"phases": [phase(sampler, 5, Optimiser("adamw", lr=0.1))]},
            r"optimiser\.kind is 'sgd'",
        ),
        "seed": ({"seed": 1}, "seed is 0, this one's is 1"),
        "channels_last": ({"channels_last": False}, "channels_last is True"),
        "number": ({"phases": [phase(sampler, 5), phase(sampler, 5)]}, "phases is 1"),
    }[name]
    with pytest.raises(InputError, match=match):
        saved_run(path, **changes)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(saved_run, space, tmp_path, supernet):
    path = tmp_path / "c"
    saved_run(path)
    with pytest.raises(InputError, match="another network"):
        saved_run(path, network=supernet(space, affine=False))


@pytest.mark.parametrize("content", ["empty", "half", "all but a byte", "foreign", "pickle"])
def test_a_file_that_is_no_checkpoint_is_refused_and_kept(saved_run, tmp_path, content):
    path, trap = tmp_path / "c", tmp_path / "trap"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    saved_run(path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "half": whole[: len(whole) // 2],
            "all but a byte": whole[:-1],
            "foreign": safetensors.torch.save({"x": torch.ones(1)}),
            "pickle": pickle.dumps(Bomb()),
        }[content]
    )
    before = path.read_bytes()
    with pytest.raises(InputError, match="remove it to begin anew"):
        saved_run(path)
    assert path.read_bytes() == before
    assert not trap.exists()


def test_a_full_disk_leaves_the_checkpoint_before(
    saved_run, space, tmp_path, monkeypatch, supernet
):
    path = tmp_path / "c"
    whole = tmp_path / "whole"
    saved_run(whole)
    real, calls = os.fsync, []

    def fsync(file):
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            saved_run(path)
    assert read_checkpoint(path).state["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "whole"]
    # There is room again: it goes on.
    saved_run(path, network=supernet(space, 5))
    assert path.read_bytes() == whole.read_bytes()
