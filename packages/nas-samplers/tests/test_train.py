import errno
import importlib
import itertools
import math
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from attrs import evolve, frozen
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nas_samplers import (
    Alphas,
    Balanced,
    BelowMean,
    BinaryGates,
    Cooling,
    Distribution,
    DivergedError,
    EntropyRows,
    EntropySampler,
    Gumbel,
    Mixture,
    Optimiser,
    PathDropout,
    Phase,
    PosteriorLearner,
    RelaxedLearner,
    Uniform,
    Weighted,
    load_data,
    mean_rows,
    posterior_rows,
    sum_rows,
    train,
    training_state,
)
from nas_samplers.checkpoint import read_checkpoint
from nas_spaces import Block, Choice, InputError, SearchSpace, derive_seed, published
from nas_spaces.jsonable import to_jsonable
from nas_spaces.layers import BasicBlock, Classifier, Conv
from nas_spaces.primitives import INPUT, GraphBuilder
from nas_spaces.torch import Supernet
from nas_spaces.torch.quantise import SMALLEST_ALPHA, Pact
from nas_spaces.vary import with_bits

CPU = torch.device("cpu")
# The package's name for it is the function.
train_module = importlib.import_module("nas_samplers.train")


def supernet(space, seed=0, **options):
    return Supernet(space, generator=torch.Generator().manual_seed(seed), **options)


def snapshot(module):
    return {name: x.detach().clone() for name, x in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def uniform(space, seed=0):
    return Uniform(space, rng=np.random.default_rng(seed))


def phase(sampler, steps=6, optimiser=None, batch_size=8, name="supernet", **options):
    return Phase(name, sampler, steps, optimiser or Optimiser(lr=0.1), batch_size, **options)


# A learner that does all that can go wrong: it draws random numbers, leaves gradients behind, and
# its state holds an array.
class Learner:
    def __init__(self):
        self.weights = np.zeros(3)
        self.calls = []

    def learn(self, network, archs, images, labels):
        self.calls.append((archs.copy(), images.clone(), labels.clone()))
        F.cross_entropy(network(images, archs[0]), labels).backward()
        self.weights = self.weights * 0.5 + torch.rand(3).numpy()
        return {"learned": float(self.weights.sum())}

    def state_dict(self):
        return {"weights": self.weights}

    def load_state_dict(self, state):
        self.weights = state["weights"].copy()


# --- the same seed, the same bits -------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_one_others(space, data):
    states, losses = [], []
    for seed, global_seed in ((0, 1), (0, 2), (5, 1)):
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002 (nobody may use it)
        network = supernet(space)
        summary = train(network, [phase(uniform(space))], data.train, seed=seed, device=CPU)
        states.append(snapshot(network))
        losses.append(summary.loss)
    assert same(states[0], states[1])
    assert losses[0] == losses[1]
    assert not same(states[0], states[2])


def test_torchs_own_generator_is_put_back(space, data):
    network = supernet(space)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    options = {"learner": Learner(), "learn_every": 2}
    phases = [phase(uniform(space), **options)]
    train(network, phases, data.train, held_out=data.held_out, seed=0, device=CPU)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "seeded"), [("cuda", 1), ("cuda:0", 0)])
def test_the_generator_of_the_device_in_use_is_seeded(monkeypatch, name, seeded):
    generators = (torch.Generator().manual_seed(3), torch.Generator().manual_seed(4))
    monkeypatch.setattr(torch.cuda, "default_generators", generators)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    before = [generator.initial_seed() for generator in generators]
    with train_module._seeded(7, torch.device(name)):
        inside = [generator.initial_seed() for generator in generators]
    before[seeded] = 7
    assert inside == before


def test_it_learns(space, data):
    network = supernet(space)
    losses = []
    train(
        network,
        [phase(uniform(space), 150, Optimiser(lr=0.2), 32)],
        data.train,
        seed=0,
        device=CPU,
        log_every=10,
        on_record=lambda record: losses.append(record["loss"]),
    )
    assert losses[0] > 2.0  # ten classes: log 10 = 2.3
    assert losses[-1] < 1.6
    assert not network.training


# --- killed and resumed -----------------------------------------------------------------------


class KilledError(Exception):
    pass


def plain_sgd(space):
    return [phase(uniform(space), 9)]


def plain_adamw(space):
    optimiser = Optimiser("adamw", lr=0.01, weight_decay=0.1, schedule="cosine", warmup=0.3)
    return [phase(uniform(space), 9, evolve(optimiser, clip=1.0), label_smoothing=0.1)]


def several_phases(space):
    def before(network):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.9)

    return [
        phase(uniform(space, 1), 5, name="first", micro_batch=4),
        phase(uniform(space, 2), 4, Optimiser("adamw", lr=0.01), 6, name="second", before=before),
        phase(uniform(space, 3), 3, name="third", before=before, weigh=mean_rows),
    ]


def with_learner(space):
    return [phase(uniform(space), 9, learner=Learner(), learn_every=2)]


def rng(seed):
    return np.random.default_rng(seed)


def betanas(space):
    alphas = Alphas(space)
    learner = BinaryGates(alphas, rng=rng(2), lr=0.01, drop=BelowMean(0.011), warmup=1)
    warm = phase(Balanced(alphas, rng=rng(1)), 3, name="warm-up")
    return [warm, phase(Balanced(alphas, rng=rng(1)), 6, learner=learner)]


def proxyless(space):
    alphas = Alphas(space, std=1e-3, rng=rng(0))
    learner = BinaryGates(alphas, rng=rng(2), variant="two-path", lr=0.5)
    options = {"learner": learner, "learn_every": 2, "learn_from": 3}
    return [phase(Weighted(alphas, rng=rng(1)), 9, **options)]


def darts(space):
    sampler = Mixture(Alphas(space, std=1e-3, rng=rng(0)))
    learner = RelaxedLearner(sampler, lr=0.1)
    return [phase(sampler, 9, join=sampler.join, learner=learner, learn_every=2)]


def fbnet(space):
    sampler = Gumbel(Alphas(space), rng=rng(1), temperature=Cooling(2))
    learner = RelaxedLearner(sampler, lr=0.1)
    return [phase(sampler, 9, join=sampler.join, learner=learner, learn_every=2)]


def one_shot(space):
    sampler = PathDropout(space, rng=rng(1), rate=0.5, ramp=6)
    return [phase(sampler, 9, join=sampler.join, micro_batch=4)]


def fp_nas(space):
    sampler = EntropySampler(Distribution(space), rng=rng(1), rows=EntropyRows(1.2), warmup=2)
    learner = PosteriorLearner(sampler, lr=0.2, joint_from=5, steps=9)
    options = {"weigh": posterior_rows(0.5), "micro_batch": 4, "learn_from": 2}
    return [phase(sampler, 9, learner=learner, **options)]


LOOP = [plain_sgd, plain_adamw, several_phases, with_learner]
METHODS = [*LOOP, betanas, proxyless, darts, fbnet, one_shot, fp_nas]


class Run:
    """One training; what it wrote, and what it recorded."""

    def __init__(self, make, space, data, path, *, precision="float32", seed=0):
        self.network = supernet(space, seed)
        self.phases = make(space)
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


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_and_resumed_it_ends_with_the_same_bits(
    make, precision, space, data, tmp_path, monkeypatch
):
    whole = Run(make, space, data, tmp_path / "whole", precision=precision).go(monkeypatch)
    number = len(whole.files)
    assert number >= 5
    deaths = [{"die_at_write": k, "after": after} for k in range(number) for after in (0, 1)]
    deaths += [{"die_at_record": k} for k in range(len(whole.records))]
    if precision == "bfloat16":
        deaths = deaths[3:4]
    elif make not in LOOP:
        deaths = deaths[1::3]  # what they add to the loop is state
    for index, death in enumerate(deaths):
        path = tmp_path / f"killed{index}"
        first = Run(make, space, data, path, precision=precision)
        with pytest.raises(KilledError):
            first.go(monkeypatch, **death)
        # What goes on knows nothing but its arguments and the file.
        began = path.exists()
        seed = 99 if began else 0
        second = Run(make, space, data, path, precision=precision, seed=seed).go(monkeypatch)
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


def test_momentum_is_in_the_file_of_a_phase_that_is_not_over(space, data, tmp_path, monkeypatch):
    run = Run(plain_sgd, space, data, tmp_path / "c").go(monkeypatch)
    names = []
    for content in run.files:
        (tmp_path / "d").write_bytes(content)
        names.append(
            [name for name in read_checkpoint(tmp_path / "d").tensors if "momentum_buffer" in name]
        )
    assert all(names[:-1])
    assert not names[-1]  # it does not outlive its phase


def test_a_finished_training_is_not_repeated(space, data, tmp_path, monkeypatch):
    path = tmp_path / "c"
    whole = Run(plain_sgd, space, data, path).go(monkeypatch)
    again = Run(plain_sgd, space, data, path, seed=9).go(monkeypatch)
    assert again.files == again.records == []
    assert same(snapshot(again.network), snapshot(whole.network))
    assert again.summary == whole.summary
    assert not again.network.training


def test_before_is_called_once_a_phase_also_after_a_resume(space, data, tmp_path):
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


# --- gradients --------------------------------------------------------------------------------


@frozen
class Plain:
    """A convolution without a norm: images do not see each other."""

    kernel: int

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.activation("act", build.convolution("conv", INPUT, 8, kernel=self.kernel), "relu")
        return build.graph


@frozen
class Head:
    def graph(self, shape):
        build = GraphBuilder(shape)
        build.linear("linear", build.pool("pool", INPUT, "global"), 10)
        return build.graph


@pytest.fixture(scope="module")
def normless():
    options = [Plain(1), Plain(3), Plain(5)]
    return SearchSpace(
        "normless",
        (3, 8, 8),
        [Choice("a", (1, 3, 5)), Choice("b", (1, 3, 5))],
        [
            Block("a", list(options), ("a",)),
            Block("b", list(options), ("b",)),
            Block("head", [Head()]),
        ],
    )


PURE = Optimiser(lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")


def one_step(space, data, rows_sampler, rows, **options):
    """Return the weights' change of one step: minus the gradient."""
    network = supernet(space, scheme="kaiming")
    before = snapshot(network)
    sampler = rows_sampler(rows)
    once = phase(sampler, 1, options.pop("optimiser", PURE), 16, **options)
    train(network, [once], data.train, seed=0, device=CPU, channels_last=False)
    after = network.state_dict()
    return {name: before[name] - after[name] for name, _ in network.named_parameters()}


def gradients(space, data, rows, weights, smoothing=0.0):
    """The same by hand."""
    network = supernet(space).train()
    stream = data.train.training_batches(batch_size=16, seed=derive_seed(0, 0))
    images, labels = next(stream)
    total = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for row, weight in zip(rows, weights, strict=True):
        loss = F.cross_entropy(network(images, row), labels, label_smoothing=smoothing)
        names, parameters = zip(*network.named_parameters(), strict=True)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            if gradient is not None:
                total[name] += weight * gradient
    return total


def close(a, b):
    assert a.keys() == b.keys()
    assert any(x.abs().max() > 1e-3 for x in a.values())
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)


ROWS = [[0, 1], [2, 1], [1, 0]]


@pytest.mark.parametrize(
    ("weigh", "weights"),
    [(sum_rows, [1, 1, 1]), (mean_rows, [1 / 3] * 3), (lambda n: 2 * n, [6] * 3)],
)
def test_rows_share_one_batch_and_one_step(normless, data, rows_sampler, weigh, weights):
    change = one_step(normless, data, rows_sampler, ROWS, weigh=weigh)
    close(change, gradients(normless, data, ROWS, weights))


def test_label_smoothing(normless, data, rows_sampler):
    change = one_step(normless, data, rows_sampler, ROWS[:1], label_smoothing=0.3)
    close(change, gradients(normless, data, ROWS[:1], [1], smoothing=0.3))


def join_mean(network, images, rows):
    """One pass of all that the rows name, in equal parts."""
    gates = torch.zeros(network.space.mask.shape)
    gates[np.arange(rows.shape[1]), rows] = 1.0
    return network(images, gates / gates.sum(1, keepdim=True))


@pytest.mark.parametrize("options", [{}, {"weigh": lambda n: 7 * n}, {"micro_batch": 5}])
def test_joined_rows_are_one_pass_that_counts_once(normless, data, rows_sampler, options):
    passes = []

    def join(network, images, rows):
        passes.append((len(images), rows.tolist()))
        return join_mean(network, images, rows)

    change = one_step(normless, data, rows_sampler, ROWS, join=join, **options)
    parts = [4, 4, 4, 4] if "micro_batch" in options else [16]
    assert sorted(passes) == sorted((size, ROWS) for size in parts)
    network = supernet(normless).train()
    stream = data.train.training_batches(batch_size=16, seed=derive_seed(0, 0))
    images, labels = next(stream)
    F.cross_entropy(join_mean(network, images, np.array(ROWS)), labels).backward()
    close(
        {name: x for name, x in change.items() if x.any()},
        {name: p.grad for name, p in network.named_parameters() if p.grad is not None},
    )


def test_the_loss_of_joined_rows_is_that_of_their_pass(normless, data, rows_sampler):
    losses = []
    for join in (None, join_mean):
        once = phase(rows_sampler(ROWS[:1] * 3), 1, PURE, 16, join=join)
        summary = train(supernet(normless), [once], data.train, seed=0, device=CPU)
        losses.append(summary.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("micro_batch", [2, 3, 5, 8, 15, 16, 100])
def test_micro_batches_add_up_to_the_batch(normless, data, rows_sampler, micro_batch):
    change = one_step(normless, data, rows_sampler, ROWS, micro_batch=micro_batch)
    close(change, gradients(normless, data, ROWS, [1] * 3))


def test_clipping_bounds_the_step(normless, data, rows_sampler):
    def norm(change):
        return torch.cat([x.flatten() for x in change.values()]).norm().item()

    free = one_step(normless, data, rows_sampler, ROWS)
    clip = norm(free) / 3
    clipped = one_step(normless, data, rows_sampler, ROWS, optimiser=evolve(PURE, clip=clip))
    assert norm(clipped) == pytest.approx(clip, rel=1e-3)
    close(clipped, {name: x / 3 for name, x in free.items()})
    loose = one_step(normless, data, rows_sampler, ROWS, optimiser=evolve(PURE, clip=1e6))
    close(loose, free)


def test_gradients_that_the_network_came_with_count_nothing(normless, data, rows_sampler):
    once = phase(rows_sampler(ROWS), 1, PURE, 16)
    states = []
    for stale in (False, True):
        network = supernet(normless)
        if stale:
            for parameter in network.parameters():
                parameter.grad = torch.ones_like(parameter)
        train(network, [once], data.train, seed=0, device=CPU)
        states.append(snapshot(network))
    assert same(*states)


def test_the_rate_follows_the_schedule(space, data):
    optimiser = Optimiser(lr=0.3, schedule="cosine", warmup=0.25)
    records = []
    phases = [phase(uniform(space), 8, optimiser, name=name) for name in ("a", "b")]
    options = {"log_every": 1, "on_record": records.append}
    summary = train(supernet(space), phases, data.train, seed=0, device=CPU, **options)
    # A phase begins anew.
    assert [r["lr"] for r in records] == [optimiser.rate(step, 8) for step in range(8)] * 2
    assert [(r["phase"], r["step"], r["steps"]) for r in records] == [
        (name, step, 8) for name in ("a", "b") for step in range(1, 9)
    ]
    assert records[-1]["epoch"] == round(8 * 8 / len(data.train), 3)
    assert summary.steps == 16
    assert summary.loss == records[-1]["loss"]


@pytest.mark.parametrize("log_every", [1, 3, 4, 100])
def test_a_record_is_the_mean_since_the_one_before(space, data, log_every):
    def losses(every):
        records = []
        train(
            supernet(space),
            [phase(uniform(space), 8)],
            data.train,
            seed=0,
            device=CPU,
            log_every=every,
            on_record=records.append,
        )
        return records

    single = [r["loss"] for r in losses(1)]
    records = losses(log_every)
    assert [r["step"] for r in records] == sorted({*range(log_every, 9, log_every), 8})
    begun = 0
    for record in records:
        assert record["loss"] == pytest.approx(np.mean(single[begun : record["step"]]))
        begun = record["step"]


# --- what a step touches ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits-mobile", "nas-bench-macro", "spos-shufflenet"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_step_touches_the_path_and_nothing_else(name, kind, rows_sampler, tmp_path):
    resolution = {"digits-mobile": 8, "nas-bench-macro": 8, "spos-shufflenet": 32}[name]
    options = {"resolution": resolution, "classes": 10, "in_channels": 3}
    published_space = published.load(name, **options)
    from nas_samplers import load_data

    images = load_data("synthetic", resolution=resolution, device=CPU, seed=0).train
    arch = published_space.sample(1, rng=np.random.default_rng(0))
    network = supernet(published_space, affine=name != "spos-shufflenet")
    before = snapshot(network)
    path = tmp_path / "c"
    state = []

    class Spy:
        def ask(self):
            if path.exists():
                state.append(read_checkpoint(path))
            return arch

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    optimiser = Optimiser(kind, lr=0.1, weight_decay=0.1, clip=1.0)
    steps = phase(Spy(), 3, optimiser, 4)
    saved = {"checkpoint": path, "checkpoint_every": 1}
    train(network, [steps], images, seed=0, device=CPU, **saved)

    on_path = {
        f"blocks.{block.name}.{owner}.{tensor}"
        for block, combination in zip(
            published_space.blocks, network.combinations(arch[0]), strict=True
        )
        for owner in [str(combination)]
        for tensor, _ in network.blocks[block.name][owner].named_parameters()
    }
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    if name != "spos-shufflenet":  # whose supernet has no scales and shifts
        assert sum(sizes[n] for n in on_path) == sum(
            p.numel() for p in network.inherit(arch[0]).parameters()
        )
    moment = "momentum_buffer" if kind == "sgd" else "exp_avg"
    assert len(state) == 2  # there is no file at the first step
    for checkpoint in state:
        touched = {
            key.removeprefix("optimiser.").split("|")[0]: x.numel()
            for key, x in checkpoint.tensors.items()
            if key.startswith("optimiser.") and key.endswith(f"|{moment}")
        }
        assert touched == {n: sizes[n] for n in on_path}
    after = network.state_dict()
    moved = {n for n in sizes if not torch.equal(before[n], after[n])}
    assert moved <= on_path
    assert len(moved) > 0.9 * len(on_path)
    # Statistics of norms as well.
    buffers = set(before) - set(sizes)
    blocks = {n.rsplit(".", 2)[0] for n in on_path}
    assert all(
        torch.equal(before[n], after[n]) for n in buffers if n.rsplit(".", 2)[0] not in blocks
    )


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_path_trained_before_does_not_move_by_a_bit(
    kind, space, data, rows_sampler, tmp_path, monkeypatch
):
    """Its momentum and decay would move it, if its gradients were zero instead of absent."""
    files, real = [], training_state.write_checkpoint

    def write(path, checkpoint):
        real(path, checkpoint)
        files.append(read_checkpoint(path).tensors)

    monkeypatch.setattr(training_state, "write_checkpoint", write)
    before, path = [[0, 0, 0]], [[1, 1, 1]]
    sampler = rows_sampler(before, before, before, *[path] * 5)
    steps = phase(sampler, 8, Optimiser(kind, lr=0.1, weight_decay=0.1))
    saved = {"checkpoint": tmp_path / "c", "checkpoint_every": 1}
    train(supernet(space), [steps], data.train, seed=0, device=CPU, **saved)
    then, later = files[2], files[6]  # the last file is of a phase that is over
    prefixes = [f"{what}.blocks.{b}.0." for what in ("network", "optimiser") for b in "abc"]
    trained = [name for name in then if name.startswith(tuple(prefixes))]
    assert len(trained) > 20
    assert any(name.startswith("optimiser") for name in trained)
    assert all(torch.equal(then[name], later[name]) for name in trained)
    assert not torch.equal(files[1][trained[0]], then[trained[0]])  # it did move before


@pytest.mark.parametrize("make", [darts, fbnet, betanas, fp_nas])
def test_weights_that_diverge_under_a_learner_are_said_to_diverge(space, data, make):
    *_, last = make(space)
    wild = evolve(last, optimiser=Optimiser("sgd", lr=1e30))
    with pytest.raises(DivergedError, match=r"became \S+ at step \d .* lower the learning rate"):
        train(supernet(space), [wild], data.train, seed=0, device=CPU, held_out=data.held_out)


def test_what_a_learner_records_is_finite(space, data, tmp_path):
    class Odd(Learner):
        def learn(self, *args):
            return {**super().learn(*args), "odd": 1.0 if len(self.calls) < 3 else math.inf}

    path = tmp_path / "c"
    odd = phase(uniform(space), 6, name="main", learner=Odd())
    files = {"checkpoint": path, "checkpoint_every": 1, "log_every": 100}
    with pytest.raises(DivergedError, match="the learner's odd became inf at step 3 of phase"):
        train(
            supernet(space), [odd], data.train, held_out=data.held_out, seed=0, device=CPU, **files
        )
    assert read_checkpoint(path).state["step"] == 2


def test_path_counts(space, data, rows_sampler):
    steps = [[[0, 1, 0]], [[2, 1, 1], [2, 2, 0]], [[0, 0, 1]]]
    sampler = rows_sampler(*steps)
    summary = train(supernet(space), [phase(sampler, 3)], data.train, seed=0, device=CPU)
    assert summary.path_counts == ((2, 0, 2), (1, 2, 1), (2, 2, 0))
    few = train(supernet(space), [phase(rows_sampler(*steps), 1)], data.train, seed=0, device=CPU)
    assert few.path_counts == ((1, 0), (0, 1), (1, 0))


def test_options_of_joined_rows_are_counted_once_a_step(space, data, rows_sampler):
    steps = [[[0, 1, 0], [0, 2, 1], [2, 1, 1]], [[1, 1, 0]]]
    joined = phase(rows_sampler(*steps), 2, join=join_mean)
    summary = train(supernet(space), [joined], data.train, seed=0, device=CPU)
    assert summary.path_counts == ((1, 1, 1), (0, 2, 1), (2, 1, 0))


# --- learners ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "steps"), [(0, [2, 4, 6]), (1, [2, 4, 6]), (2, [4, 6]), (9, [])])
def test_a_learner_may_begin_later(space, data, first, steps):
    learner, records = Learner(), []
    later = phase(uniform(space), 7, learner=learner, learn_every=2, learn_from=first)
    options = {"held_out": data.held_out, "log_every": 1, "on_record": records.append}
    train(supernet(space), [later], data.train, seed=0, device=CPU, **options)
    assert [r["step"] for r in records if "learned" in r] == steps
    assert len(learner.calls) == len(steps) == later.learned(7)


def test_a_learner_gets_held_out_batches_at_its_steps(space, data, rows_sampler):
    learner, records = Learner(), []
    rows = [[[0, 0, 0]], [[1, 1, 1]], [[2, 2, 0]], [[0, 2, 1]]]
    steps = phase(rows_sampler(*rows), 7, learner=learner, learn_every=3)
    options = {"held_out": data.held_out, "log_every": 1, "on_record": records.append}
    train(supernet(space), [steps], data.train, seed=0, device=CPU, **options)
    assert [archs.tolist() for archs, _, _ in learner.calls] == [rows[2], rows[1]]
    assert [r["step"] for r in records if "learned" in r] == [3, 6]
    whole, labels = next(data.held_out.fixed_batches(len(data.held_out)))
    assert len(whole) == len(data.held_out)
    for _, images, given in learner.calls:
        assert images.shape == (8, 3, 8, 8)
        assert set(given.tolist()) <= set(labels.tolist())
    first, second = (images for _, images, _ in learner.calls)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("make", [betanas, proxyless, darts, fbnet])
def test_what_a_learner_passes_at_once_fits_micro_batches(space, data, make, monkeypatch):
    sizes, real = [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda x, *args: sizes.append(len(x)) or real(x, *args))
    largest = []
    for micro_batch in (None, 3):
        sizes.clear()
        *_, last = make(space)
        once = evolve(last, steps=2, learn_from=0, learn_every=2, micro_batch=micro_batch)
        before = last.learner.alphas.values.copy()
        train(supernet(space), [once], data.train, held_out=data.held_out, seed=0, device=CPU)
        assert (last.learner.alphas.values != before).any()
        largest.append(max(sizes))
    assert largest == [8, 3]


def test_a_learner_that_knows_no_parts_is_told_of_none(space, data):
    told = []

    class Curious(Learner):
        def learn(self, network, archs, images, labels, **options):
            told.append((len(images), options))
            return {}

    for micro_batch in (None, 4):
        curious = phase(uniform(space), 1, learner=Curious(), micro_batch=micro_batch)
        train(supernet(space), [curious], data.train, held_out=data.held_out, seed=0, device=CPU)
    assert told == [(8, {}), (8, {"micro_batch": 4})]


def test_gradients_that_a_learner_leaves_do_not_train_weights(space, data):
    class Quiet(Learner):
        def learn(self, network, archs, images, labels):
            return {}

    class Noisy(Learner):
        def learn(self, network, archs, images, labels):
            for parameter in network.parameters():
                parameter.grad = torch.ones_like(parameter)
            return {}

    states = []
    for learner in (Quiet(), Noisy()):
        network = supernet(space)
        phases = [phase(uniform(space), learner=learner)]
        train(network, phases, data.train, held_out=data.held_out, seed=0, device=CPU)
        states.append(snapshot(network))
    assert same(*states)


def test_a_learner_needs_held_out_images(space, data):
    with pytest.raises(InputError, match="held_out"):
        train(
            supernet(space),
            [phase(uniform(space), learner=Learner())],
            data.train,
            seed=0,
            device=CPU,
        )


# --- precision and memory format --------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [True, False])
def test_bfloat16_computes_roughly_the_same(space, data, channels_last):
    losses, dtypes = {}, set()

    def forward(network, images, row):
        logits = network(images, row)
        dtypes.add(logits.dtype)
        return logits

    for precision in ("float32", "bfloat16"):
        network = supernet(space)
        summary = train(
            network,
            [phase(uniform(space), forward=forward)],
            data.train,
            seed=0,
            device=CPU,
            precision=precision,
            channels_last=channels_last,
        )
        losses[precision] = summary.loss
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert dtypes == {torch.float32, torch.bfloat16}
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


def test_channels_last_is_a_memory_format_only(space, data):
    networks = []
    for channels_last in (True, False):
        network = supernet(space)
        options = {"seed": 0, "device": CPU, "channels_last": channels_last}
        train(network, [phase(uniform(space), 2)], data.train, **options)
        networks.append(network)
    a, b = map(snapshot, networks)
    assert all(torch.allclose(a[n], b[n], rtol=1e-3, atol=1e-4) for n in a)


# --- clipping levels of quantisers ------------------------------------------------------------


def levels_of(network):
    return [
        level
        for module in network.modules()
        if isinstance(module, Pact)
        for level in module.parameters()
    ]


@pytest.fixture(scope="module")
def quantised():
    """Two residual blocks of 2w2a and 4w4a, and 512 of sklearn's digits."""
    layers = [BasicBlock(8), BasicBlock(16, 2)]
    blocks = [Block(name, [layer]) for name, layer in zip("ab", layers, strict=True)]
    stem, head = Block("stem", [Conv(8)]), Block("head", [Classifier(10)])
    plain = SearchSpace("blocks", (1, 8, 8), (), [stem, *blocks, head])
    digits = load_data("digits", resolution=8, device=CPU, seed=0)
    return with_bits(plain, ((2, 2), (4, 4))), digits


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("start", [0.0, -3.0])
def test_levels_that_are_not_positive_train_as_those_at_the_start(quantised, kind, start):
    space, digits = quantised
    network, losses = supernet(space), []
    with torch.no_grad():
        for level in levels_of(network):
            level.fill_(start)
    optimiser = Optimiser(kind, lr=0.3 if kind == "sgd" else 0.02, schedule="constant")
    one = phase(uniform(space), 40, optimiser, batch_size=32)
    records = {"log_every": 1, "on_record": lambda record: losses.append(record["loss"])}
    train(network, [one], digits.train, seed=0, device=CPU, **records)
    assert np.mean(losses[-10:]) < 0.9 * losses[0]
    assert all(1 < level.item() < 16 for level in levels_of(network))
    # As if nothing had been wrong with them.
    other = supernet(space)
    one = phase(uniform(space), 40, optimiser, batch_size=32)
    train(other, [one], digits.train, seed=0, device=CPU)
    assert same(snapshot(network), snapshot(other))


def test_levels_that_fall_in_training_start_again(quantised):
    space, digits = quantised
    network, losses, levels = supernet(space), [], []

    def record(record):
        losses.append(record["loss"])
        levels.append([level.item() for level in levels_of(network)])

    # Each step of the decay alone would make them negative.
    optimiser = Optimiser(lr=0.2, level_decay=6.0, schedule="constant")
    one = phase(uniform(space), 60, optimiser, batch_size=32)
    train(network, [one], digits.train, seed=0, device=CPU, log_every=1, on_record=record)
    assert np.mean(losses[-10:]) < 0.8 * losses[0]
    assert np.min(levels) > SMALLEST_ALPHA
    assert np.max(levels) < 16


# --- what bad input gets ----------------------------------------------------------------------


def poisoned(step, value=float("nan")):
    """A forward pass whose logits are not finite at one step (from 1)."""
    calls = itertools.count(1)

    def forward(network, images, row):
        logits = network(images, row)
        return logits * value if next(calls) == step else logits

    return forward


@pytest.mark.parametrize("step", [1, 2, 5, 6, 8, 11])
def test_a_loss_that_is_not_finite_stops_with_its_step(space, data, tmp_path, step):
    path = tmp_path / "c"
    once = phase(uniform(space), 11, name="main", forward=poisoned(step))
    saved = {"checkpoint": path, "checkpoint_every": 4, "log_every": 100}
    with pytest.raises(DivergedError, match=f"nan at step {step} of phase 'main'") as caught:
        train(supernet(space), [once], data.train, seed=0, device=CPU, **saved)
    assert "learning rate" in str(caught.value)
    good = (step - 1) // 4 * 4
    assert path.exists() == (good > 0)
    assert (str(path) in str(caught.value)) == path.exists()
    if good:
        kept = read_checkpoint(path)
        assert kept.state["step"] == good
        assert all(x.isfinite().all() for x in kept.tensors.values())


def test_the_step_is_right_in_a_later_phase_and_without_a_checkpoint(space, data):
    phases = [
        phase(uniform(space), 3, name="a"),
        phase(uniform(space), 5, name="b", forward=poisoned(4, float("inf"))),
    ]
    with pytest.raises(DivergedError, match=r"loss became \S+ at step 4 of phase 'b'"):
        train(supernet(space), phases, data.train, seed=0, device=CPU, log_every=2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_before_the_training_are_named(quantised, tmp_path, value):
    space, digits = quantised
    network = supernet(space)

    def poison(network):
        with torch.no_grad():
            network.blocks["b"]["0"].quantise2.alpha_4.fill_(value)

    phases = [phase(uniform(space), 1), phase(uniform(space), 1, name="next", before=poison)]
    named = r"'next' cannot begin: 1 tensors of the network \(blocks.b.0.quantise2.alpha_4 first\)"
    with pytest.raises(InputError, match=named) as error:
        train(network, phases, digits.train, seed=0, device=CPU)
    assert "learning rate" not in str(error.value)
    with pytest.raises(InputError, match=r"phase 'supernet' cannot begin: 1 tensors"):
        train(network, phases[:1], digits.train, seed=0, device=CPU)


class Poison(Learner):
    """Makes a weight infinite at its n-th call: the loss before it was finite."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.count = 0

    def learn(self, network, archs, images, labels):
        self.count += 1
        if self.count == self.call:
            with torch.no_grad():
                network.blocks["head"]["0"].linear.bias[0] = float("inf")
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    # Without a file, weights are looked at in the last step; before it the next loss says it.
    ("step", "last", "saved"),
    [(4, 6, True), (6, 6, True), (3, 3, True), (6, 6, False), (3, 3, False)],
)
def test_weights_that_are_not_finite_reach_no_file(space, data, tmp_path, step, last, saved):
    path = tmp_path / "c"
    poison = phase(uniform(space), last, name="main", learner=Poison(step))
    phases = [poison, phase(uniform(space), 3, name="next")]
    files = {"checkpoint": path, "checkpoint_every": 2} if saved else {}
    with pytest.raises(
        DivergedError, match=rf"blocks\.head.*not finite at step {step} of phase 'main'"
    ):
        train(
            supernet(space),
            phases,
            data.train,
            held_out=data.held_out,
            seed=0,
            device=CPU,
            **files,
        )
    if saved:
        kept = read_checkpoint(path)
        assert kept.state["step"] == (step - 1) // 2 * 2
        assert all(x.isfinite().all() for x in kept.tensors.values())


def saved_run(space, data, path, **changes):
    arguments = {"seed": 0, "device": CPU, "checkpoint": path, "checkpoint_every": 2}
    network = changes.pop("network", None) or supernet(space)
    phases = changes.pop("phases", None) or [phase(uniform(space), 5)]
    return train(network, phases, data.train, **{**arguments, **changes})


class Other(Uniform):
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
def test_a_checkpoint_of_another_training_is_refused(space, data, tmp_path, name):
    path = tmp_path / "c"
    saved_run(space, data, path)
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
            {"phases": [phase(sampler, 5, learner=Learner())]},
            "learner is None, this one's is 'Learner'",
        ),
        "join": (
            {"phases": [phase(sampler, 5, join=join_mean)]},
            "join is None, this one's is 'join_mean'",
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
        saved_run(space, data, path, **changes)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(space, data, tmp_path):
    path = tmp_path / "c"
    saved_run(space, data, path)
    with pytest.raises(InputError, match="another network"):
        saved_run(space, data, path, network=supernet(space, affine=False))


@pytest.mark.parametrize("content", ["empty", "half", "all but a byte", "foreign", "pickle"])
def test_a_file_that_is_no_checkpoint_is_refused_and_kept(space, data, tmp_path, content):
    path, trap = tmp_path / "c", tmp_path / "trap"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    saved_run(space, data, path)
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
        saved_run(space, data, path)
    assert path.read_bytes() == before
    assert not trap.exists()


def test_a_full_disk_leaves_the_checkpoint_before(space, data, tmp_path, monkeypatch):
    path = tmp_path / "c"
    whole = tmp_path / "whole"
    saved_run(space, data, whole)
    real, calls = os.fsync, []

    def fsync(file):
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            saved_run(space, data, path)
    assert read_checkpoint(path).state["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "whole"]
    # There is room again: it goes on.
    saved_run(space, data, path, network=supernet(space, 5))
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"precision": "bfloat"}, "precision='bfloat' is unknown: did you mean 'bfloat16'"),
        ({"checkpoint_every": 0}, "checkpoint_every=0 must be at least 1"),
        ({"log_every": 0}, "log_every=0 must be at least 1"),
    ],
)
def test_arguments_out_of_range(space, data, tmp_path, wrong, words):
    with pytest.raises(InputError, match=words):
        saved_run(space, data, tmp_path / "c", **wrong)
    assert not (tmp_path / "c").exists()


def test_no_phases(space, data):
    with pytest.raises(InputError, match="at least one phase"):
        train(supernet(space), [], data.train, seed=0, device=CPU)


def test_plain_modules_train_too(data):
    """Nothing in the loop needs a supernet, and dropout of torch's own is seeded as well."""
    empty = SearchSpace("none", (3, 8, 8), [], [Block("head", [Head()])])
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 10))
        torch.manual_seed(global_seed)
        plain = phase(uniform(empty), 4, forward=lambda network, images, row: network(images))
        train(module, [plain], data.train, seed=0, device=CPU)
        states.append(snapshot(module))
    assert same(*states)


def test_a_learner_that_cannot_be_told_of_parts_is_refused(space, data):
    class Simple(Learner):
        def learn(self, network, archs, images, labels):
            return {}

    simple = phase(uniform(space), 1, learner=Simple(), micro_batch=4)
    with pytest.raises(InputError, match=r"learn\(\) of its Simple takes no micro_batch"):
        train(supernet(space), [simple], data.train, held_out=data.held_out, seed=0, device=CPU)
