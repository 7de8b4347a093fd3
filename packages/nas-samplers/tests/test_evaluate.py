import copy
import importlib

import numpy as np
import pytest
import torch
from torch import nn

from nas_samplers import Optimiser, Phase, SupernetError, Uniform, evaluate, load_data, train
from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, Identity, MBConv, Pool, Zero
from nas_spaces.testing import check_metric
from nas_spaces.torch import Supernet

CPU = torch.device("cpu")
# The package's name for it is the function.
evaluate_module = importlib.import_module("nas_samplers.evaluate")


def branches():
    """Values that are needed long after they were made, and candidates that pass them on."""
    names = ("conv", "identity", "zero", "pool")
    options = [Conv(8, 3), Identity(), Zero(), Pool("average")]
    return SearchSpace(
        "branches",
        (3, 8, 8),
        [Choice(name, names) for name in "abc"],
        [
            Block("stem", [Conv(8)]),
            Block("a", list(options), ("a",)),
            Block("b", list(options), ("b",), inputs=("stem",)),
            Block("c", list(options), ("c",), inputs=("a", "b")),
            Block("sum", [MBConv(16, 3, 2, expand=2)], inputs=("stem", "c")),
            Block("head", [Classifier(10)]),
        ],
    )


def widths():
    """Weights shared between widths; blocks read the width before them."""
    wide = (8, 16)
    return SearchSpace(
        "widths",
        (3, 8, 8),
        [Choice("w0", wide), Choice("w1", wide)],
        [
            Block("a", [Conv(w) for w in wide], ("w0",), shares=("out",)),
            Block(
                "b",
                [MBConv(w1, 3, 2, expand=2) for _ in wide for w1 in wide],
                ("w0", "w1"),
                shares=("out",),
            ),
            Block("head", [Classifier(10) for _ in wide], ("w1",), shares=("classes",)),
        ],
    )


SPACES = {
    "branches": branches,
    "widths": widths,
    "digits-mobile": lambda: published.load("digits-mobile", in_channels=3),
    "nas-bench-macro": lambda: published.load("nas-bench-macro", resolution=8),
    "spos-shufflenet": lambda: published.load("spos-shufflenet", resolution=32, classes=10),
}


class Case:
    """A supernet that was trained a little, so that it gives different answers, and batches."""

    def __init__(self, name):
        self.space = SPACES[name]()
        spos = name == "spos-shufflenet"
        generator = torch.Generator().manual_seed(0)
        self.supernet = Supernet(self.space, generator=generator, affine=not spos)
        data = load_data("synthetic", resolution=self.space.input_shape[1], device=CPU, seed=0)
        sampler = Uniform(self.space, rng=np.random.default_rng(0))
        steps = Phase("train", sampler, 16, Optimiser(lr=0.1), 16)
        train(self.supernet, [steps], data.train, seed=0, device=CPU, channels_last=False)
        images = [x for x, _ in data.train.fixed_batches(30, count=1)]
        self.recalibration = list(images[0].split([8, 13, 9]))  # unequal, and so with weight
        x, y = next(iter(data.held_out.fixed_batches(36, count=1)))
        self.batches = list(zip(x.split([20, 5, 11]), y.split([20, 5, 11]), strict=True))
        # Rows with many, few and no common blocks, one of them twice.
        rng = np.random.default_rng(1)
        parent = self.space.sample(1, rng=rng)
        mutants = np.where(
            rng.random((4, self.space.num_choices)) < 0.2, self.space.sample(4, rng=rng), parent
        )
        self.archs = np.concatenate([parent, mutants, self.space.sample(2, rng=rng), parent])

    def evaluate(self, archs=None, **options):
        return evaluate(
            self.supernet,
            self.archs if archs is None else archs,
            **{"recalibration": self.recalibration, "batches": self.batches, **options},
        )


@pytest.fixture(scope="module", params=list(SPACES))
def case(request):
    return Case(request.param)


@pytest.fixture(scope="module")
def branched():
    return Case("branches")


@pytest.fixture
def logits(monkeypatch):
    """Run an evaluation and return its errors and the logits of every row."""

    def run(case, archs=None, **options):
        found = {}
        finish = evaluate_module._Walk._finish

        def keep(walk, values, labels):
            kept.append(walk.supernet.wiring.output(values).clone())
            return (kept[-1].argmax(dim=1) != labels).sum()

        def collect(walk, rows, wrong):
            for row in rows.tolist():
                assert row not in found
                found[row] = kept[-len(walk.images) :]
            finish(walk, rows, wrong)

        kept = []
        with monkeypatch.context() as patch:
            patch.setattr(evaluate_module._Walk, "_wrong", keep)
            patch.setattr(evaluate_module._Walk, "_finish", collect)
            errors = case.evaluate(archs, **options)
        return errors, [found[row] for row in range(len(errors))]

    return run


@torch.no_grad()
def alone(case, arch, *, channels_last=True, recalibrate=True):
    """One architecture as the official code evaluates it; return its error and logits."""
    network = copy.deepcopy(case.supernet.inherit(arch))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if recalibrate:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        network.train()
        for x in case.recalibration:
            network(x.contiguous(memory_format=layout))
    network.eval()
    outputs = [network(x.contiguous(memory_format=layout)) for x, _ in case.batches]
    labels = torch.cat([y for _, y in case.batches])
    return (torch.cat(outputs).argmax(1) != labels).double().mean().item(), outputs


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("recalibrate", [True, False])
def test_every_row_is_evaluated_as_if_alone(case, logits, channels_last, recalibrate):
    options = {} if recalibrate else {"recalibration": []}
    errors, outputs = logits(case, channels_last=channels_last, **options)
    for arch, error, output in zip(case.archs, errors, outputs, strict=True):
        wanted, expected = alone(case, arch, channels_last=channels_last, recalibrate=recalibrate)
        assert equal(output, expected)
        assert error == pytest.approx(wanted, abs=1e-12)
    # The comparison says something: rows differ, and answers are neither constant nor right.
    assert len({outputs[i][0].numpy().tobytes() for i in range(len(outputs))}) >= 3
    if recalibrate:
        assert len(set(torch.cat(outputs[0]).argmax(1).tolist())) > 1
    assert 0 < errors.min() <= errors.max() <= 1


def test_the_supernet_itself_gives_the_same_as_the_official_loop(logits):
    case = Case("digits-mobile")
    _, outputs = logits(case)
    arch = case.archs[1]
    supernet = copy.deepcopy(case.supernet)
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        supernet.train()
        for x in case.recalibration:
            supernet(x.contiguous(memory_format=torch.channels_last), arch)
        supernet.eval()
        found = [
            supernet(x.contiguous(memory_format=torch.channels_last), arch) for x, _ in case.batches
        ]
    assert equal(found, outputs[1])


def test_memory_changes_the_way_and_not_the_bits(case, logits, monkeypatch):
    wanted = [output for _, output in (alone(case, arch) for arch in case.archs)]
    cuts = set()
    first_kept = evaluate_module._Walk._first_kept_depth

    def spy(walk, memory):
        cuts.add(first_kept(walk, memory))
        return first_kept(walk, memory)

    monkeypatch.setattr(evaluate_module._Walk, "_first_kept_depth", spy)
    # What waits behind each block, as the walk reckons it: all depths to cut at occur.
    depth = len(case.space.blocks)
    combinations = case.space.combinations(case.archs)
    images = sum(map(len, case.recalibration)) + sum(len(x) for x, _ in case.batches)
    sizes = [
        4 * images * max(np.prod(case.space.output_shape(i, c)) for c in set(combinations[:, i]))
        for i in range(depth)
    ]
    limits = [0, *np.cumsum(sizes[::-1]).tolist(), 1 << 60]
    if depth > 10:
        limits = [0, limits[3], limits[-6], limits[-2] - 1, limits[-2]]
    for memory in limits:
        _, outputs = logits(case, memory=int(memory))
        assert all(equal(a, b) for a, b in zip(outputs, wanted, strict=True))
    assert {0, 2, depth} <= cuts
    assert len(cuts) == depth or depth > 10


def test_a_row_alone_and_in_any_order(case, logits):
    _, whole = logits(case)
    _, reverse = logits(case, case.archs[::-1])
    assert all(equal(a, b) for a, b in zip(whole, reverse[::-1], strict=True))
    for index in (0, 6):
        _, single = logits(case, case.archs[index : index + 1])
        assert equal(single[0], whole[index])
    _, twice = logits(case, np.repeat(case.archs[:1], 3, axis=0))
    assert all(equal(output, whole[0]) for output in twice)
    assert case.evaluate(np.zeros((0, case.space.num_choices), dtype=np.int64)).shape == (0,)


def test_the_supernet_is_not_changed(case):
    before = {name: x.clone() for name, x in case.supernet.state_dict().items()}
    images = [x.clone() for x in case.recalibration]
    for training in (True, False):
        case.supernet.train(training)
        for options in ({}, {"fold": True}, {"memory": 0}, {"recalibration": []}):
            case.evaluate(case.archs[:2], **options)
            assert case.supernet.training is training
    after = case.supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None and p.requires_grad for p in case.supernet.parameters())
    assert equal(images, case.recalibration)


def test_it_ends_in_the_old_mode_after_an_error_too(branched):
    branched.supernet.train()
    with pytest.raises(RuntimeError):
        branched.evaluate(recalibration=[torch.zeros(4, 5, 8, 8)])
    assert branched.supernet.training


@pytest.mark.parametrize("memory", [0, 1 << 40])
def test_folding_changes_little(case, logits, memory):
    errors, outputs = logits(case, memory=memory)
    folded, near = logits(case, fold=True, memory=memory)
    number = sum(len(y) for _, y in case.batches)
    assert np.abs(folded - errors).max() <= 1 / number + 1e-12
    scale = max(x.abs().max() for x in outputs[0])
    worst = max(
        (x - y).abs().max()
        for a, b in zip(outputs, near, strict=True)
        for x, y in zip(a, b, strict=True)
    )
    assert 0 < worst < 1e-3 * scale
    # With nothing to recalibrate there is nothing settled to fold.
    plain = logits(case, recalibration=[])[1]
    assert all(
        equal(a, b)
        for a, b in zip(logits(case, recalibration=[], fold=True)[1], plain, strict=True)
    )


def test_recalibration_matters(case, logits):
    _, own = logits(case, recalibration=[])
    _, few = logits(case, recalibration=case.recalibration[:1])
    _, all_of_them = logits(case)
    assert not equal(own[0], few[0])
    assert not equal(few[0], all_of_them[0])


def test_a_shared_prefix_is_computed_once(branched, monkeypatch):
    space, supernet = branched.space, branched.supernet
    archs = np.array([(a, b, c) for a in range(4) for b in range(2) for c in range(2)])
    calls = []
    advance = Supernet.advance

    def count(self, values, index, combination, norms=None):
        calls.append((index, combination))
        return advance(self, values, index, combination, norms)

    monkeypatch.setattr(Supernet, "advance", count)
    branched.evaluate(archs)
    batches = len(branched.recalibration) + len(branched.batches)
    nodes = 1 + 4 + 4 * 2 + 3 * 4 * 2 * 2  # stem; a; b; c, sum and head
    assert len(calls) == nodes * batches
    calls.clear()
    branched.evaluate(archs, memory=0)
    assert len(calls) == len(archs) * len(space.blocks) * batches
    assert supernet is branched.supernet


def blocks_run(monkeypatch, run):
    """How often ``run`` runs a block of a supernet."""
    ran = []
    advance = Supernet.advance

    def counted(self, values, index, *rest):
        ran.append(index)
        return advance(self, values, index, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Supernet, "advance", counted)
        run()
    return len(ran)


def test_a_sweep_begins_where_the_call_before_it_forked(case, monkeypatch):
    metric = SupernetError(case.supernet, case.recalibration, case.batches)
    rows = np.zeros((0, case.space.num_choices), dtype=np.int64)
    parts = []
    last = np.array(case.space.num_options) - 1
    # The last columns fork late, so that there is much to share.
    for column in range(case.space.num_choices)[-3:]:
        options = case.space.num_options[column]
        part = np.tile(last, (options, 1))
        part[:, :column] = 0
        part[:, column] = np.arange(options)
        parts.append(part)
        rows = np.concatenate([rows, part])
    errors = []
    through = blocks_run(monkeypatch, lambda: errors.extend(metric(part) for part in parts))
    anew = blocks_run(
        monkeypatch,
        lambda: [_fresh(metric)(part) for part in parts],
    )
    alone = [
        evaluate(case.supernet, row[None], recalibration=case.recalibration, batches=case.batches)
        for row in rows
    ]
    np.testing.assert_array_equal(np.concatenate(errors), np.concatenate(alone))
    # Where the first block reads a choice there is nothing to share at the first fork.
    assert through < anew or case.space.blocks[0].reads


def _fresh(metric):
    return SupernetError(metric.supernet, metric.recalibration, metric.batches)


def test_what_was_kept_is_of_no_use_once_the_weights_have_changed(case):
    supernet = copy.deepcopy(case.supernet)
    metric = SupernetError(supernet, case.recalibration, case.batches)
    rows = np.zeros((2, case.space.num_choices), dtype=np.int64)
    rows[1, -1] = 1
    metric(rows)
    with torch.no_grad():
        # What lies before the fork: the blocks' values differ, and by no common factor.
        for parameter in supernet.blocks[case.space.blocks[0].name].parameters():
            parameter.neg_().add_(0.5)
    np.testing.assert_array_equal(metric(rows), _fresh(metric)(rows))


def test_rows_that_begin_otherwise_do_not_use_what_was_kept(case):
    metric = SupernetError(case.supernet, case.recalibration, case.batches)
    rows = np.zeros((2, case.space.num_choices), dtype=np.int64)
    rows[1, -1] = 1
    metric(rows)
    others = rows.copy()
    others[:, 0] = 1
    np.testing.assert_array_equal(metric(others), _fresh(metric)(others))
    np.testing.assert_array_equal(metric(rows[:1]), _fresh(metric)(rows[:1]))


def test_the_metric(case):
    told = []
    metric = SupernetError(case.supernet, case.recalibration, case.batches, on_progress=told.append)
    assert (metric.name, metric.unit) == ("error", "1")
    archs = case.archs[:3]
    np.testing.assert_array_equal(metric(archs), case.evaluate(archs))
    assert sum(told) == 3
    folded = SupernetError(
        case.supernet,
        case.recalibration,
        case.batches,
        fold=True,
        channels_last=False,
        memory=1 << 20,
    )
    options = {"fold": True, "channels_last": False, "memory": 1 << 20}
    np.testing.assert_array_equal(folded(archs), case.evaluate(archs, **options))


@pytest.mark.parametrize("name", ["branches", "widths", "digits-mobile"])
def test_the_metric_keeps_the_rules_of_metrics(name):
    case = Case(name)
    check_metric(SupernetError(case.supernet, case.recalibration, case.batches), case.space)


@pytest.mark.parametrize("memory", [0, 1 << 40])
def test_logits_that_are_not_finite_are_no_answers(branched, memory):
    broken = copy.deepcopy(branched)
    archs = np.array([[0, 0, 0], [1, 2, 0], [1, 2, 1]])
    with torch.no_grad():
        broken.supernet.layer(2, 0).conv.weight.fill_(float("nan"))
    assert np.isfinite(broken.evaluate(archs[1:], memory=memory)).all()
    with pytest.raises(InputError, match="not finite for architecture 0,0,0"):
        broken.evaluate(archs, memory=memory)


def test_what_is_refused(branched):
    alone = [branched.recalibration[0], branched.recalibration[1][:1]]
    with pytest.raises(InputError, match=r"recalibration\[1\] is a batch of 1; "):
        branched.evaluate(recalibration=alone)
    with pytest.raises(InputError, match="at least one batch"):
        branched.evaluate(batches=[])
    with pytest.raises(InputError, match="columns"):
        branched.evaluate([[0, 0]])
    with pytest.raises(InputError, match="options"):
        branched.evaluate([[0, 0, 9]])
