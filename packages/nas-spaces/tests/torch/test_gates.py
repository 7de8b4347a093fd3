"""Mixtures by gates, and what a trace of one path says about the candidates that are not on it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv, Identity, Zero
from nas_spaces.torch import Norms, Supernet, check_gates


def gateable(space):
    return all(len(plan.columns) < 2 and not plan.varying for plan in space.plan)


def one_hot(space, arch, dtype=torch.float32):
    gates = torch.zeros(space.mask.shape, dtype=dtype)
    gates[range(space.num_choices), torch.as_tensor(arch)] = 1
    return gates


def statistics(supernet):
    return {name: x.detach().clone() for name, x in supernet.named_buffers()}


@pytest.fixture
def images(images):
    """Three of them: what is asked here does not need more."""
    return images[:3]


@pytest.fixture
def supernet(space):
    """Norms whose statistics and parameters are not trivial."""
    generator = torch.Generator().manual_seed(0)
    supernet = Supernet(space, generator=generator)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.num_features, generator=generator) / 4)
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 1)
    return supernet


def only_gateable(space):
    if not gateable(space):
        pytest.skip("its blocks read several choices or change shape")


@pytest.mark.parametrize("training", [False, True])
def test_one_open_gate_a_choice_is_the_row_to_the_bit(space, supernet, archs, images, training):
    only_gateable(space)
    supernet.train(training)
    before = {name: x.clone() for name, x in supernet.state_dict().items()}
    for arch in archs[1:3]:
        after = []
        for given in (arch, one_hot(space, arch), one_hot(space, arch, torch.float64)):
            supernet.load_state_dict(before)
            supernet.zero_grad(set_to_none=True)
            torch.manual_seed(0)  # of dropout
            logits = supernet(images, given)
            logits.square().mean().backward()
            moved = {n for n, p in supernet.named_parameters() if p.grad is not None}
            after.append((logits.detach(), moved, statistics(supernet)))
        for logits, moved, seen in after[1:]:
            assert logits.dtype == torch.float32
            assert torch.equal(logits, after[0][0])
            # Closed candidates are not run: no gradients, no statistics.
            assert moved == after[0][1]
            assert all(torch.equal(x, after[0][2][name]) for name, x in seen.items())


def mixed_by_hand(supernet, gates, images):
    """Logits of the mixture, and of each block what every candidate returns for its input."""
    space = supernet.space
    entering, each = {-1: images}, []
    for index, plan in enumerate(space.plan):
        x = sum(entering[source] for source in plan.sources)
        if not plan.columns:
            entering[index] = supernet.layer(index, 0)(x)
            each.append([entering[index]])
            continue
        (column,) = plan.columns
        outputs = [supernet.layer(index, j)(x) for j in range(plan.combinations)]
        entering[index] = sum(gates[column, j] * y for j, y in enumerate(outputs))
        each.append(outputs)
    return entering[len(space.plan) - 1], each, entering


OWN_WEIGHTS = ["digits-mobile", "nas-bench-macro", "branches"]


@pytest.mark.parametrize("space", OWN_WEIGHTS, indirect=True)
def test_a_mixture_is_the_weighted_sum_and_its_gate_gradients_inner_products(
    space, supernet, images
):
    supernet.double().eval()
    images = images.double()
    generator = torch.Generator().manual_seed(1)
    gates = torch.rand(space.mask.shape, generator=generator, dtype=torch.float64) - 0.3
    gates *= torch.as_tensor(space.mask)
    gates.requires_grad_()
    logits = supernet(images, gates)
    expected, each, values = mixed_by_hand(supernet, gates, images)
    assert torch.allclose(logits, expected, rtol=1e-10, atol=1e-12)
    (found,) = torch.autograd.grad(logits.square().mean(), gates)
    # Equation 4 of ProxylessNAS, summed over the blocks that read the choice.
    blocks = [i for i, plan in enumerate(space.plan) if plan.columns]
    arriving = torch.autograd.grad(expected.square().mean(), [values[i] for i in blocks])
    inner = torch.zeros_like(found)
    for index, gradient in zip(blocks, arriving, strict=True):
        for option, output in enumerate(each[index]):
            inner[space.plan[index].columns[0], option] += (gradient * output).sum()
    assert torch.allclose(found, inner, rtol=1e-8, atol=1e-12)
    assert found.count_nonzero() > space.num_choices


@pytest.mark.parametrize("space", OWN_WEIGHTS, indirect=True)
def test_trace_and_candidate_give_the_gate_gradients_of_all_candidates(
    space, supernet, archs, images
):
    supernet.double().eval()
    images = images.double()
    for arch in (archs[2], np.ones(space.num_choices, dtype=int)):
        # What is all but closed has a gradient too, and changes the rest by as little as that.
        gates = one_hot(space, arch, torch.float64)
        gates = torch.where(torch.as_tensor(space.mask), gates.clamp(min=1e-9), 0.0)
        gates.requires_grad_()
        (expected,) = torch.autograd.grad(supernet(images, gates).square().mean(), gates)

        trace = supernet.trace(images, arch)
        gradients = torch.autograd.grad(
            trace.logits.square().mean(), trace.outputs, materialize_grads=True
        )
        found = torch.zeros_like(expected)
        with torch.no_grad():
            for index, plan in enumerate(space.plan):
                for option in range(plan.combinations if plan.columns else 0):
                    output = supernet.candidate(trace.inputs[index], index, option)
                    found[plan.columns[0], option] += (gradients[index] * output).sum()
        assert found.count_nonzero() > 0
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_the_numbers_of_proxylessnas_equation_4():
    # Three candidates that return 1, -2 and 0.5, of which the second is active; L = (y - 1)^2.
    block = Block("op", [Classifier(1)] * 3, reads=("op",))
    space = SearchSpace("one-block", (1, 1, 1), [Choice("op", "abc")], [block])
    supernet = Supernet(space, generator=torch.Generator()).double()
    with torch.no_grad():
        for option, output in enumerate((1.0, -2.0, 0.5)):
            supernet.layer(0, option).linear.weight.zero_()
            supernet.layer(0, option).linear.bias.fill_(output)
    trace = supernet.trace(torch.ones(1, 1, 1, 1, dtype=torch.float64), [1])
    (gradient,) = torch.autograd.grad((trace.logits - 1).square().sum(), trace.outputs)
    by_gate = torch.stack(
        [(gradient * supernet.candidate(trace.inputs[0], 0, j)).sum() for j in range(3)]
    )
    assert by_gate.tolist() == [-6.0, 12.0, -3.0]
    # And through the softmax that the gates are drawn from.
    alpha = torch.tensor([0.5, -0.25, 0.1], dtype=torch.float64, requires_grad=True)
    (alpha.softmax(0) * by_gate.detach()).sum().backward()
    assert alpha.grad.tolist() == pytest.approx(
        [-2.289983809287227, 2.886483102865847, -0.5964992935786199], rel=1e-12
    )


@pytest.mark.parametrize("training", [False, True])
def test_a_trace_holds_what_an_independent_pass_computes(space, supernet, archs, images, training):
    supernet.train(training)
    before = {name: x.clone() for name, x in supernet.state_dict().items()}
    given = images.clone()
    for arch in archs[1:]:
        supernet.load_state_dict(before)
        torch.manual_seed(0)
        expected = supernet(images, arch)
        seen = statistics(supernet)
        supernet.load_state_dict(before)
        torch.manual_seed(0)
        trace = supernet.trace(images, arch)
        assert torch.equal(trace.logits, expected)
        assert trace.logits is trace.outputs[-1]
        assert all(torch.equal(x, seen[name]) for name, x in supernet.named_buffers())
        assert len(trace.inputs) == len(trace.outputs) == len(space.blocks)

        supernet.load_state_dict(before)
        network = supernet.inherit(arch)
        torch.manual_seed(0)
        entered, left = [], []

        def watch(module, args, result, entered=entered, left=left):
            # Copied at once: whatever is overwritten later would show.
            entered.append(args[0].detach().clone())
            left.append(result.detach().clone())

        for block in network.blocks.values():
            block.register_forward_hook(watch)
        network(images)
        for index, name in enumerate(network.blocks):
            assert torch.equal(trace.inputs[index], entered[index]), name
            assert torch.equal(trace.outputs[index], left[index]), name
        # Each is a tensor of its own, identities' too.
        assert len({id(x) for x in trace.outputs}) == len(trace.outputs)
    assert torch.equal(images, given)
    assert not images.requires_grad


def test_gradients_of_outputs_pass_blocks_and_frozen_weights(space, supernet, archs, images):
    supernet.eval()
    for arch in archs[1:3]:
        found = []
        for frozen in (False, True):
            supernet.requires_grad_(not frozen)
            trace = supernet.trace(images, arch)
            loss = trace.logits.square().mean()
            found.append(torch.autograd.grad(loss, trace.outputs, materialize_grads=True))
            assert all(p.grad is None for p in supernet.parameters())
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
        assert found[0][-1].count_nonzero() > 0
        with torch.no_grad():
            assert not any(x.requires_grad for x in supernet.trace(images, arch).outputs)


def test_the_gradient_of_an_identity_is_its_own_and_not_its_inputs():
    # The head sums the stem and an identity of it: each has half of what arrives at the stem.
    space = SearchSpace(
        "loop",
        (3, 4, 4),
        [],
        [
            Block("stem", [Conv(4)]),
            Block("skip", [Identity()]),
            Block("head", [Classifier(2)], inputs=("stem", "skip")),
        ],
    )
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0)).eval()
    trace = supernet.trace(torch.randn(2, 3, 4, 4), [])
    stem, skip, _ = torch.autograd.grad(trace.logits.square().sum(), trace.outputs)
    assert skip.count_nonzero() > 0
    assert torch.allclose(stem, 2 * skip)


def test_what_is_before_zeros_has_no_gradient():
    blocks = [Block("stem", [Conv(4)]), Block("zero", [Zero()]), Block("head", [Classifier(2)])]
    supernet = Supernet(SearchSpace("cut", (3, 4, 4), [], blocks), generator=torch.Generator())
    trace = supernet.trace(torch.ones(2, 3, 4, 4), [])
    stem, zero, _ = torch.autograd.grad(trace.logits.sum(), trace.outputs, materialize_grads=True)
    assert stem.count_nonzero() == 0
    weight = supernet.layer(2, 0).linear.weight
    assert torch.allclose(zero, (weight.sum(0) / 16).view(1, 4, 1, 1).expand_as(zero))


def test_norms_of_a_trace_use_the_batch_and_write_nothing(space, supernet, archs, images):
    supernet.eval()
    before = statistics(supernet)
    for arch in archs:
        norms = [Norms() for _ in space.blocks]
        for one in norms:
            one.recalibrate()
        trace = supernet.trace(images, arch, norms)
        assert all(torch.equal(x, before[name]) for name, x in supernet.named_buffers())
        # A training pass computes the same, but for dropout; it does write.
        network = supernet.inherit(arch).train()
        for module in network.modules():
            if type(module).__name__ == "LayerModule":
                module.train(
                    not any(type(s.primitive).__name__ == "Dropout" for s in module.program)
                )
        assert torch.allclose(trace.logits, network(images), rtol=1e-4, atol=1e-5)
        gradients = torch.autograd.grad(
            trace.logits.square().mean(), trace.outputs, materialize_grads=True
        )
        assert gradients[-1].count_nonzero() > 0
    with pytest.raises(
        InputError, match=rf"norms has 1 entries; .* has {len(space.blocks)} blocks"
    ):
        supernet.trace(images, archs[0], norms[:1])


def test_a_candidate_with_norms_of_its_own():
    space = published.load("digits-mobile")
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn((8, 12, 8, 8), generator=torch.Generator().manual_seed(1))
    before = statistics(supernet)
    for option in range(4):
        norms = Norms()
        norms.recalibrate()
        found = supernet.candidate(x, 2, option, norms)
        assert all(torch.equal(a, before[name]) for name, a in supernet.named_buffers())
        layer = supernet.layer(2, option)
        own = {name: a.clone() for name, a in layer.state_dict().items()}
        layer.train()
        expected = layer(x)
        layer.load_state_dict(own)
        layer.eval()
        assert torch.equal(found, expected)
    assert supernet.candidate(x, 2, 4) is x  # the identity


def test_choices_that_several_blocks_read():
    # Two blocks share the one choice, as the cells of NAS-Bench-201 do.
    layers = [Conv(4, 3), Identity()]
    space = SearchSpace(
        "twice",
        (4, 4, 4),
        [Choice("op", ("conv", "skip"))],
        [Block("a", layers, ("op",)), Block("b", layers, ("op",)), Block("head", [Classifier(2)])],
    )
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn((2, 4, 4, 4), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mixed = x
        for block in ("a", "b"):
            mixed = 0.25 * supernet.blocks[block]["0"](mixed) + 0.75 * mixed
        expected = supernet.layer(2, 0)(mixed)
        assert torch.allclose(supernet(x, torch.tensor([[0.25, 0.75]])), expected, atol=1e-6)


def test_gates_that_are_refused():
    space = published.load("digits-mobile")
    supernet = Supernet(space, generator=torch.Generator())
    images = torch.zeros(2, 1, 8, 8)
    gates = torch.ones(space.mask.shape) * torch.as_tensor(space.mask)
    assert supernet(images, gates).shape == (2, 10)
    with pytest.raises(InputError, match=r"gates has shape \(7, 5\); .* 8 choices of at most 5"):
        supernet(images, gates[1:])
    with pytest.raises(InputError, match=r"gates\[0, 4\] is 1.0; choice 'stage1_0' .* 0\.\.3"):
        supernet(images, torch.ones(8, 5))
    closed = gates.clone()
    closed[3] = 0
    with pytest.raises(InputError, match=r"gates\[3\] of choice 'stage2_1' are all 0"):
        supernet(images, closed)
    for wrong in (torch.nan, torch.inf):
        closed[3] = wrong
        with pytest.raises(InputError, match=r"gates\[3, 0\] is (nan|inf); gates are finite"):
            supernet(images, closed)
    # A tensor of integers is a row.
    supernet.eval()
    assert torch.equal(supernet(images, torch.zeros(8, dtype=int)), supernet(images, [0] * 8))


def test_spaces_that_cannot_be_gated(space, supernet, images):
    gates = torch.ones(space.mask.shape) * torch.as_tensor(space.mask)
    if gateable(space):
        check_gates(space)
        return
    with pytest.raises(InputError, match=r"gates cannot mix block 'first' .* different shapes"):
        check_gates(space)
    with pytest.raises(InputError, match="use a method without gates"):
        supernet(images, gates)


def test_a_block_of_two_choices_is_named_with_both():
    space = SearchSpace(
        "pair",
        (3, 4, 4),
        [Choice("kernel", (3, 5)), Choice("act", ("relu", "swish"))],
        [
            Block("stem", [Conv(4)]),
            Block(
                "body",
                [Conv(4, k, activation=a) for k in (3, 5) for a in ("relu", "swish")],
                ("kernel", "act"),
            ),
            Block("head", [Classifier(2)]),
        ],
    )
    with pytest.raises(InputError, match=r"block 'body' .* depends on 2 choices, 'kernel', 'act'"):
        check_gates(space)


def test_a_path_alone_is_in_the_graph_of_a_trace():
    """As many values are kept for the backward pass as by `forward`: the memory of one path."""
    space = published.load("digits-mobile")
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    images = torch.rand(2, 1, 8, 8)
    arch = [3] * 8
    kept = []
    for run in (supernet, supernet.trace):
        sizes = []

        def pack(x, sizes=sizes):
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            run(images, arch)
        kept.append(sum(sizes))
    assert kept[0] == kept[1] > 0


def test_gates_train_with_the_loss_of_a_batch():
    space = published.load("digits-mobile")
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    alphas = torch.zeros(space.mask.shape, requires_grad=True)
    hidden = torch.as_tensor(~space.mask)
    gates = alphas.masked_fill(hidden, -torch.inf).softmax(1)
    labels = torch.arange(8)
    F.cross_entropy(supernet(torch.rand(8, 1, 8, 8), gates), labels).backward()
    assert alphas.grad.isfinite().all()
    assert (alphas.grad[~hidden] != 0).all()
    assert (alphas.grad[hidden] == 0).all()
