"""What a training, and each of its steps, does; the rest is in files test_train_*.py."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn

from nas_samplers import Optimiser, load_data, train, training_state
from nas_samplers.checkpoint import read_checkpoint
from nas_spaces import Block, InputError, SearchSpace, published
from nas_spaces.layers import Classifier

CPU = torch.device("cpu")
# The package's name for it is the function.
train_module = importlib.import_module("nas_samplers.train")


# --- the same seed, the same bits -------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_one_others(
    space, data, supernet, phase, uniform, snapshot, same
):
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


def test_torchs_own_generator_is_put_back(space, data, supernet, phase, uniform, learner_class):
    network = supernet(space)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    options = {"learner": learner_class(), "learn_every": 2}
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


def test_plain_modules_train_too(data, phase, uniform, snapshot, same):
    """Nothing in the loop needs a supernet, and dropout of torch's own is seeded as well."""
    empty = SearchSpace("none", (3, 8, 8), [], [Block("head", [Classifier(10)])])
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 10))
        torch.manual_seed(global_seed)
        plain = phase(uniform(empty), 4, forward=lambda network, images, row: network(images))
        train(module, [plain], data.train, seed=0, device=CPU)
        states.append(snapshot(module))
    assert same(*states)


def test_it_learns(space, data, supernet, phase, uniform):
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


# --- what a step touches ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits-mobile", "nas-bench-macro", "spos-shufflenet"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_step_touches_the_path_and_nothing_else(
    name, kind, rows_sampler, tmp_path, supernet, phase, snapshot
):
    resolution = {"digits-mobile": 8, "nas-bench-macro": 8, "spos-shufflenet": 32}[name]
    options = {"resolution": resolution, "classes": 10, "in_channels": 3}
    published_space = published.load(name, **options)
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
    kind, space, data, rows_sampler, tmp_path, monkeypatch, supernet, phase
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


# --- what is recorded and counted -------------------------------------------------------------


def test_the_rate_follows_the_schedule(space, data, supernet, phase, uniform):
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
def test_a_record_is_the_mean_since_the_one_before(
    space, data, log_every, supernet, phase, uniform
):
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


def test_path_counts(space, data, rows_sampler, supernet, phase):
    steps = [[[0, 1, 0]], [[2, 1, 1], [2, 2, 0]], [[0, 0, 1]]]
    sampler = rows_sampler(*steps)
    summary = train(supernet(space), [phase(sampler, 3)], data.train, seed=0, device=CPU)
    assert summary.path_counts == ((2, 0, 2), (1, 2, 1), (2, 2, 0))
    few = train(supernet(space), [phase(rows_sampler(*steps), 1)], data.train, seed=0, device=CPU)
    assert few.path_counts == ((1, 0), (0, 1), (1, 0))


# --- precision and memory format --------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [True, False])
def test_bfloat16_computes_roughly_the_same(space, data, channels_last, supernet, phase, uniform):
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


def test_channels_last_is_a_memory_format_only(space, data, supernet, phase, uniform, snapshot):
    networks = []
    for channels_last in (True, False):
        network = supernet(space)
        options = {"seed": 0, "device": CPU, "channels_last": channels_last}
        train(network, [phase(uniform(space), 2)], data.train, **options)
        networks.append(network)
    a, b = map(snapshot, networks)
    assert all(torch.allclose(a[n], b[n], rtol=1e-3, atol=1e-4) for n in a)


# --- what bad input gets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"precision": "bfloat"}, "precision='bfloat' is unknown: did you mean 'bfloat16'"),
        ({"checkpoint_every": 0}, "checkpoint_every=0 must be an integer at least 1"),
        ({"log_every": 0}, "log_every=0 must be an integer at least 1"),
    ],
)
def test_arguments_out_of_range(space, data, tmp_path, wrong, words, supernet, phase, uniform):
    arguments = {"seed": 0, "device": CPU, "checkpoint": tmp_path / "c", "checkpoint_every": 2}
    with pytest.raises(InputError, match=words):
        train(supernet(space), [phase(uniform(space), 5)], data.train, **{**arguments, **wrong})
    assert not (tmp_path / "c").exists()


def test_no_phases(space, data, supernet):
    with pytest.raises(InputError, match="at least one phase"):
        train(supernet(space), [], data.train, seed=0, device=CPU)
