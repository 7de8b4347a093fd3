import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nas_samplers import (
    ExpectationFair,
    Optimiser,
    Phase,
    StrictFair,
    Uniform,
    mean_rows,
    sum_rows,
    train,
)
from nas_spaces import Block, Choice, InputError, SearchSpace, published
from nas_spaces.layers import Classifier, Conv
from nas_spaces.testing import check_sampler
from nas_spaces.torch import Supernet

CPU = torch.device("cpu")
COLUMNS = 50
GROUPS = 20_000  # blocks that are counted, each from its own paths
PURE = Optimiser(lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")


def convolutions(*sizes):
    """Return a space of one block of so many kernels a number, between a shared stem and head."""
    return SearchSpace(
        "convolutions",
        (3, 8, 8),
        [Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)],
        [
            Block("stem", [Conv(8)]),
            *(
                Block(f"b{i}", [Conv(8, 2 * o + 1) for o in range(n)], (f"c{i}",))
                for i, n in enumerate(sizes)
            ),
            Block("head", [Classifier(10)]),
        ],
    )


def strict(space, seed=0):
    return StrictFair(space, rng=np.random.default_rng(seed))


def count(sampler, steps=1):
    """Return int ``[d, k]``: how often each option was drawn."""
    rows = np.concatenate([sampler.ask() for _ in range(steps)])
    options = max(sampler.space.num_options, default=0)
    return np.array([np.bincount(column, minlength=options) for column in rows.T])


def chi_square(counts):
    """Return how many standard deviations the statistic is above its mean."""
    expected = counts.sum() / counts.size
    free = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - free) / (2 * free) ** 0.5


# --- the rules of samplers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(published.SPACES))
def test_they_keep_the_rules_of_samplers(name):
    space = published.load(name)
    check_sampler(lambda rng: StrictFair(space, rng=rng), space)
    check_sampler(lambda rng: ExpectationFair(space, k=3, rng=rng), space)


def test_restricted_spaces_train_live_options_only():
    alive = np.ones((3, 4), dtype=bool)
    alive[0, 1] = alive[1, :3] = False
    alive[2, [0, 2]] = False
    space = convolutions(4, 4, 4).restrict(alive)
    for make in (StrictFair, lambda s, rng: ExpectationFair(s, k=3, rng=rng)):
        check_sampler(lambda rng, make=make: make(space, rng=rng), space)
    assert strict(space).ask().shape == (3, 3)
    counts = count(strict(space), steps=4)
    assert counts[0].tolist() == [4, 0, 4, 4]
    assert counts[1].tolist() == [0, 0, 0, 12]
    assert counts[2, [0, 2]].tolist() == [0, 0]
    assert counts[2].sum() == 12
    drawn = count(ExpectationFair(space, k=500, rng=np.random.default_rng(0)))
    assert np.array_equal(drawn > 0, alive)


def test_spaces_without_a_choice_to_make():
    fixed = convolutions(3, 2).fix([2, 0])
    assert strict(fixed).ask().shape == (1, 0)
    assert strict(fixed).uneven == ()
    assert strict(convolutions(1, 1)).ask().tolist() == [[0, 0]]


def test_states_are_json_and_go_on_with_the_same_rows():
    space = convolutions(5, 3, 2)
    for make in (StrictFair, lambda s, rng: ExpectationFair(s, k=4, rng=rng)):
        original = make(space, rng=np.random.default_rng(0))
        for _ in range(7):
            original.ask()
        state = json.loads(json.dumps(original.state_dict()))
        before = [original.ask() for _ in range(20)]
        for _ in range(2):  # the state that was handed out does not move on
            restored = make(space, rng=np.random.default_rng(1))
            restored.load_state_dict(state)
            np.testing.assert_array_equal(before, [restored.ask() for _ in range(20)])


def test_wrong_numbers_of_rows():
    space, rng = convolutions(3), np.random.default_rng(0)
    with pytest.raises(InputError, match="k=0 must be at least 1; a step trains at least one"):
        ExpectationFair(space, k=0, rng=rng)
    state = ExpectationFair(space, k=3, rng=rng).state_dict()
    with pytest.raises(InputError, match="state is of k=3 rows a step; this sampler has k=6"):
        ExpectationFair(space, k=6, rng=rng).load_state_dict(state)


# --- strict fairness ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fairnas-19", "spos-shufflenet", "nas-bench-macro", "ponas-19"])
def test_every_candidate_exactly_once_a_step(name):
    space = published.load(name)
    [m] = set(space.num_options)
    sampler = strict(space)
    total = np.zeros((space.num_choices, m), dtype=int)
    for step in range(1, 31):
        rows = sampler.ask()
        assert rows.shape == (m, space.num_choices)
        assert np.array_equal(np.sort(rows, axis=0).T, np.tile(np.arange(m), (len(total), 1)))
        for row in rows:
            total[np.arange(len(row)), row] += 1
        assert (total == step).all()
        assert (total.var(axis=1) == 0).all()
    assert sampler.uneven == ()


def test_permutations_are_uniform_and_independent():
    sampler = strict(convolutions(3, 3, 3))
    steps = np.stack([sampler.ask() for _ in range(3600)])  # [n, m, d]
    # Each of the six orders of three options as a number.
    orders = (steps * np.array([9, 3, 1])[:, None]).sum(axis=1)
    orders = np.unique(orders, return_inverse=True)[1].reshape(orders.shape)
    assert orders.max() == 5
    for a in range(3):
        assert chi_square(np.bincount(orders[:, a])) < 5
        for b in range(a):
            assert chi_square(np.bincount(orders[:, a] * 6 + orders[:, b], minlength=36)) < 5
        assert chi_square(np.bincount(orders[:-1, a] * 6 + orders[1:, a], minlength=36)) < 5


def test_smaller_choices_are_filled_up_by_a_fresh_permutation():
    sizes = (6, 4, 3, 2, 1)
    sampler = strict(convolutions(*sizes))
    assert sampler.uneven == ("c1",)
    firsts, fills = [], []
    for _ in range(2400):
        rows = sampler.ask()
        assert rows.shape == (6, 5)
        for column, k in enumerate(sizes):
            for lap in range(0, 6, k):  # whole permutations, then the beginning of one
                part = rows[lap : lap + k, column]
                assert len(set(part.tolist())) == len(part)
        firsts.append(rows[:2, 1] @ [4, 1])
        fills.append(rows[4:, 1] @ [4, 1])
    # Two different ones of four: twelve beginnings, equally likely whatever came before.
    pairs, counts = np.unique(np.multiply(firsts, 16) + fills, return_counts=True)
    assert len(pairs) == 12 * 12
    assert chi_square(counts) < 5


def test_counts_of_smaller_choices():
    m, n, k = 6, 12, 4
    equal, odd = 40, 40
    space = convolutions(m, *[3] * equal, *[k] * odd)
    counts = []
    for seed in range(50):
        one = count(strict(space, seed), n)
        assert (one[0] == n).all()
        assert (one[1 : equal + 1, :3] == n * m // 3).all()
        counts.append(one[equal + 1 :, :k])
    counts = np.concatenate(counts)
    assert (counts.sum(axis=1) == n * m).all()
    rest = m % k
    expected = n * rest * (k - rest) / k**2
    # The sum of n draws of r of k, seen from the first option, is binomial.
    share = rest / k
    fourth = expected * (1 + 3 * (n - 2) * share * (1 - share))
    first = counts[:, 0] - n * m / k
    tolerance = 4 * ((fourth - expected**2) / len(first)) ** 0.5
    assert abs((first**2).mean() - expected) < tolerance < expected / 5


# --- fair in expectation only -------------------------------------------------------------------


def test_one_row_is_uniform_sampling():
    space = published.load("digits-mobile")
    one = ExpectationFair(space, k=1, rng=np.random.default_rng(3))
    uniform = Uniform(space, rng=np.random.default_rng(3))
    for _ in range(50):
        np.testing.assert_array_equal(one.ask(), uniform.ask())


def uniform_counts(m, n, k=None):
    """Return int ``[groups, m]``: counts of blocks of ``m`` options after ``n`` uniform paths."""
    space = convolutions(*[m] * COLUMNS)
    rng = np.random.default_rng(m * n)
    sampler = ExpectationFair(space, k=k, rng=rng) if k else Uniform(space, rng=rng)
    repeats = GROUPS // COLUMNS
    return np.concatenate([count(sampler, n // (k or 1)) for _ in range(repeats)])


# n! / ((n / m)!^m m^n)
EQUAL = {
    (2, 2): 0.5,
    (2, 4): 0.375,
    (2, 8): 0.2734375,
    (2, 20): 0.17619705200195354,
    (2, 200): 0.0563484790092559,
    (3, 3): 0.2222222222222223,
    (3, 6): 0.12345679012345699,
    (3, 12): 0.06520008806245667,
    (3, 30): 0.026960834761879132,
    (6, 6): 0.015432098765432107,
    (6, 12): 0.003438285893918611,
}


@pytest.mark.parametrize(("m", "n"), list(EQUAL))
def test_uniform_paths_are_rarely_fair(m, n):
    probability = EQUAL[m, n]
    counts = uniform_counts(m, n, k=n)
    found = (counts == n // m).all(axis=1).mean()
    tolerance = 4 * (probability * (1 - probability) / GROUPS) ** 0.5
    assert abs(found - probability) < tolerance < probability / 2
    # As many paths of strict fairness always are.
    fair = count(strict(convolutions(*[m] * COLUMNS)), n // m)
    assert (fair == n // m).all()


@pytest.mark.parametrize(
    ("m", "n", "k", "variance"),
    [
        (6, 6, 6, 0.8333333333333334),
        (6, 600, 120, 83.33333333333333),
        (4, 100, 100, 18.75),
        (3, 6, None, 6 * 2 / 9),
    ],
)
def test_the_variance_of_uniform_counts(m, n, k, variance):
    assert variance == pytest.approx(n * (m - 1) / m**2)
    counts = uniform_counts(m, n, k)
    assert len(counts) == GROUPS
    assert (counts.sum(axis=1) == n).all()
    # The spread within a block is n / m^2 of Pearson's statistic, whose variance is known.
    spread = n / m**2 * (2 * (m - 1) * (1 - 1 / n)) ** 0.5
    tolerance = 4 * spread / GROUPS**0.5
    assert abs(((counts - n / m) ** 2).mean() - variance) < tolerance < variance / 20


# --- a step -------------------------------------------------------------------------------------


def supernet(space):
    return Supernet(space, generator=torch.Generator().manual_seed(0), scheme="kaiming")


def run(network, data, sampler, steps=1, optimiser=PURE, **options):
    phase = Phase("supernet", sampler, steps, optimiser, 16, **options)
    return train(network, [phase], data.train, seed=0, device=CPU)


@contextmanager
def watched(network):
    """Record every forward pass's images, backward pass and optimiser step's gradients."""
    events, gradients = [], []

    def forward(module, args, logits):
        images, row = args
        events.append(("forward", images.clone(), row.tolist()))
        logits.register_hook(lambda gradient: events.append(("backward",)))

    def step(optimiser, args, kwargs):
        named = network.named_parameters()
        events.append(("step",))
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})

    handles = [network.register_forward_hook(forward), register_optimizer_step_pre_hook(step)]
    try:
        yield events, gradients
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("sizes", [(3, 3), (4, 2, 1)])
def test_m_forward_and_backward_passes_and_one_optimiser_step(sizes, data):
    space, m = convolutions(*sizes), max(sizes)
    network, sampler = supernet(space), strict(space)
    with watched(network) as (events, _):
        run(network, data, sampler, steps=5)
    assert [event[0] for event in events] == (["forward", "backward"] * m + ["step"]) * 5
    again = strict(space)
    passes = [event for event in events if event[0] == "forward"]
    for step in range(5):
        mine = passes[step * m : (step + 1) * m]
        assert [row for _, _, row in mine] == again.ask().tolist()
        assert all(torch.equal(images, mine[0][1]) for _, images, _ in mine)


@pytest.mark.parametrize(("weigh", "weight"), [(sum_rows, 1.0), (mean_rows, 1 / 3)])
def test_its_gradient_is_the_sum_or_mean_of_those_of_the_paths(weigh, weight, data, rows_sampler):
    space = convolutions(3, 3)
    rows = strict(space).ask()
    network = supernet(space)
    with watched(network) as (_, whole):
        run(network, data, strict(space), weigh=weigh)
    singles = []
    for row in rows:
        alone = supernet(space)
        with watched(alone) as (_, one):
            run(alone, data, rows_sampler([row]))
        singles += one
    [whole] = whole
    # All paths together touch every weight of the supernet.
    assert whole.keys() == {name for name, _ in network.named_parameters()}
    numbers = []
    for name, gradient in whole.items():
        parts = [one[name] for one in singles if name in one]
        numbers.append(len(parts))
        torch.testing.assert_close(gradient, sum(parts) * weight, rtol=1e-4, atol=1e-6)
        if weigh is sum_rows and len(parts) == 1:
            assert torch.equal(gradient, parts[0])
    # Stem and head are on all three paths, a candidate is on one.
    assert set(numbers) == {1, 3}
    shared = [name for name, number in zip(whole, numbers, strict=True) if number == 3]
    assert all(name.split(".")[1] in ("stem", "head") for name in shared)


def test_every_block_is_trained_n_times_in_n_steps(data):
    space = convolutions(3, 3)
    network = supernet(space)
    summary = run(network, data, strict(space), steps=7)
    assert summary.path_counts == ((7, 7, 7), (7, 7, 7))
    batches = {
        name: int(x) for name, x in network.named_buffers() if name.endswith("batches_tracked")
    }
    # Norms of the stem see the batch of each path.
    stem = {name for name in batches if ".stem." in name}
    assert stem
    assert {batches[name] for name in stem} == {21}
    assert {batches[name] for name in batches.keys() - stem} == {7}


def test_the_baseline_of_a_learning_rate_of_one_mth(data):
    space = convolutions(3, 3)
    weights = []
    for lr, weigh in ((0.3 / 3, sum_rows), (0.3, mean_rows), (0.3, sum_rows)):
        network = supernet(space)
        sampler = ExpectationFair(space, k=3, rng=np.random.default_rng(5))
        optimiser = Optimiser(lr=lr, momentum=0.9, weight_decay=0.0, schedule="cosine")
        run(network, data, sampler, 4, optimiser, weigh=weigh)
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-4)
    assert (weights[2] - weights[0]).abs().max() > 0.01
