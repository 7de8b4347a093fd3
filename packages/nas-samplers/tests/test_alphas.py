import json

import numpy as np
import pytest
import torch

from nas_samplers import Alphas, zero_options
from nas_samplers.alphas import draw_options, softmax_gradient
from nas_spaces import Block, Choice, FeasibleSet, InputError, SearchSpace, Table, Term, published
from nas_spaces.jsonable import from_jsonable, to_jsonable
from nas_spaces.layers import Classifier, Conv, Identity, Zero
from nas_spaces.primitives import Convolution

ALPHA = [0.5, -0.25, 0.1]
P = [0.46670381033369057, 0.22045527003842177, 0.3128409196278877]


@pytest.fixture
def one():
    """One choice of three."""
    candidates = [Conv(4), Conv(4, 5), Identity()]
    return SearchSpace(
        "one",
        (3, 8, 8),
        [Choice("a", ("k3", "k5", "skip"))],
        [Block("stem", [Conv(4)]), Block("a", candidates, ("a",)), Block("head", [Classifier(2)])],
    )


def table(space, rows, constant=0.0, name="latency"):
    terms = [Term((column,), values) for column, values in enumerate(rows)]
    return Table(space, name, "ms", terms, constant)


def convolutions(space):
    return Table.from_primitives(
        space, "channels", "1", lambda p: p.out_channels if isinstance(p, Convolution) else 0
    )


# --- probabilities ------------------------------------------------------------------------------


def test_probabilities_are_a_softmax_over_live_options(one):
    alphas = Alphas(one)
    alphas.values[0] = ALPHA
    np.testing.assert_allclose(alphas.probabilities(), [P], rtol=1e-14)
    np.testing.assert_allclose(alphas.log_probabilities(), [np.log(P)], rtol=1e-14)
    alphas.drop(0, 1)
    expected = np.exp([0.5, 0.1]) / np.exp([0.5, 0.1]).sum()
    np.testing.assert_allclose(alphas.probabilities()[0, [0, 2]], expected, rtol=1e-14)
    assert alphas.probabilities()[0, 1] == 0
    assert alphas.log_probabilities()[0, 1] == -np.inf


def test_large_alphas_do_not_overflow(one):
    alphas = Alphas(one)
    alphas.values[0] = [1e4, -1e4, 1e4]
    assert alphas.probabilities().tolist() == [[0.5, 0.0, 0.5]]


def test_ragged_and_restricted_spaces(space):
    mask = space.mask.copy()
    mask[0, 1] = False
    alphas = Alphas(space.restrict(mask), std=1.0, rng=np.random.default_rng(0))
    assert np.array_equal(alphas.alive, mask)
    assert np.array_equal(alphas.values != 0, mask)
    probabilities = alphas.probabilities()
    assert np.array_equal(probabilities > 0, mask)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_first_values_are_drawn_as_asked():
    space = published.load("spos-shufflenet")
    values = Alphas(space, std=1e-3, rng=np.random.default_rng(0)).values
    assert 0.8e-3 < values.std() < 1.2e-3
    assert not Alphas(space).values.any()
    again = Alphas(space, std=1e-3, rng=np.random.default_rng(0)).values
    assert np.array_equal(values, again)


def test_options_are_drawn_by_their_probabilities():
    rng = np.random.default_rng(0)
    chances = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.5, 1e-300]]))
    chances[1, 2] = -np.inf
    drawn = np.array([draw_options(chances, rng) for _ in range(20_000)])
    shares = np.bincount(drawn[:, 0], minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.015)
    assert set(drawn[:, 1]) == {0, 1}


# --- gradients ----------------------------------------------------------------------------------


def test_the_gate_gradient_of_the_known_answers():
    slopes = np.array([[-6.0, 12.0, -3.0]])
    expected = [-2.289983809287227, 2.886483102865847, -0.5964992935786199]
    np.testing.assert_allclose(softmax_gradient(np.array([P]), slopes), [expected], rtol=1e-12)


def test_the_expected_cost_of_the_known_answers(one):
    alphas = Alphas(one, cost=table(one, [[4.0, 2.0, 1.0]]))
    alphas.values[0] = ALPHA
    assert alphas.expected_cost() == pytest.approx(2.6205667010394933, rel=1e-14)
    expected = [0.6437867767260415, -0.13680719965451404, -0.5069795770715272]
    np.testing.assert_allclose(alphas.cost_gradient(), [expected], rtol=1e-12)


def test_the_cost_gradient_is_that_of_autograd(space):
    alphas = Alphas(
        space, std=1.0, rng=np.random.default_rng(1), cost=table(space, [[3, 1, 0]] * 2 + [[9, 4]])
    )
    alphas.drop(1, 0)
    values = torch.tensor(alphas.values, requires_grad=True)
    logits = torch.where(torch.tensor(alphas.alive), values, -torch.inf)
    costs = torch.tensor([[3, 1, 0], [3, 1, 0], [9, 4, 0]], dtype=torch.float64)
    expected = (logits.softmax(1) * costs).sum()
    (gradient,) = torch.autograd.grad(expected, values)
    assert alphas.expected_cost() == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(alphas.cost_gradient(), gradient.numpy(), atol=1e-14)
    assert not alphas.cost_gradient()[~alphas.alive].any()


def test_the_expected_cost_is_the_mean_over_architectures(space):
    cost = convolutions(space)
    alphas = Alphas(space, std=1.0, rng=np.random.default_rng(1), cost=cost)
    rows = np.array(list(np.ndindex(*space.num_options)))
    chances = alphas.probabilities()[np.arange(3), rows].prod(axis=1)
    assert chances.sum() == pytest.approx(1)
    # The stem is in it as well.
    assert alphas.expected_cost() == pytest.approx(float(chances @ cost(rows)), rel=1e-12)


# --- dropping, counting -------------------------------------------------------------------------


def test_the_last_live_option_cannot_be_dropped(one):
    alphas = Alphas(one)
    alphas.drop(0, 2)
    alphas.count(np.array([[1]]))
    alphas.drop(0, 0)
    with pytest.raises(InputError, match="last live one of choice 'a'"):
        alphas.drop(0, 1)
    for choice, option in ((0, 2), (0, 3), (1, 0), (-1, 0)):
        with pytest.raises(InputError, match="is not alive"):
            alphas.drop(choice, option)
    assert alphas.alive.tolist() == [[False, True, False]]
    assert [(one.step, one.choice, one.option) for one in alphas.dropped] == [(0, 0, 2), (1, 0, 0)]


def test_every_option_of_a_step_is_counted_once(space):
    alphas = Alphas(space)
    alphas.count(np.array([[0, 2, 1]]))
    alphas.count(np.array([[0, 2, 1], [1, 2, 0], [2, 2, 1]]))
    assert alphas.counts.tolist() == [[2, 1, 1], [0, 0, 2], [1, 2, 0]]
    assert alphas.steps == 2


# --- the past -----------------------------------------------------------------------------------


def test_snapshots_stay_few_and_evenly_spaced(one):
    alphas = Alphas(one)
    for update in range(1, 2001):
        alphas.count(np.array([[0]]))
        alphas.values[0, 0] = update
        alphas.snapshot()
        assert len(alphas.snapshots) <= 200
    values = [moment.values[0, 0] for moment in alphas.snapshots]
    assert values[0] == 0
    assert len(set(np.diff(values))) == 1
    assert len(values) >= 100
    assert [moment.step for moment in alphas.snapshots] == values
    record = alphas.to_record()
    assert record["steps"][-1] == 2000
    assert record["alphas"][-1] == [[2000.0, 0.0, 0.0]]


def test_the_record_is_json_and_ends_with_the_present(space):
    alphas = Alphas(space)
    alphas.count(np.array([[0, 1, 1]]))
    alphas.values[2] = [1.0, -1.0, 0.0]
    alphas.drop(0, 2)
    alphas.snapshot()
    record = json.loads(json.dumps(alphas.to_record()))
    assert record == {
        "choices": ["a", "b", "c"],
        "options": [["k3", "k5", "skip"], ["k3", "k5", "skip"], ["k1", "k3"]],
        "steps": [0, 1],
        "alphas": [
            [[0, 0, 0], [0, 0, 0], [0, 0, None]],
            [[0, 0, 0], [0, 0, 0], [1, -1, None]],
        ],
        "alive": [
            [[True] * 3, [True] * 3, [True, True, None]],
            [[True, True, False], [True] * 3, [True, True, None]],
        ],
        "counts": [
            [[0, 0, 0], [0, 0, 0], [0, 0, None]],
            [[1, 0, 0], [0, 1, 0], [0, 1, None]],
        ],
        "dropped": [{"step": 1, "choice": 0, "option": 2}],
    }
    # Once more without a snapshot in between.
    alphas.values[2, 0] = 2.0
    assert len(alphas.to_record()["steps"]) == 3


def test_the_state_is_whole(space):
    def use(alphas, rng):
        for _ in range(150):
            alphas.count(space.sample(1, rng=rng))
            alphas.values[alphas.alive] += rng.normal(size=int(alphas.alive.sum()))
            alphas.snapshot()
        return alphas

    rng = np.random.default_rng(0)
    alphas = use(Alphas(space, cost=convolutions(space)), rng)
    alphas.drop(0, 1)
    use(alphas, rng)
    other = Alphas(space, cost=convolutions(space), std=1.0, rng=np.random.default_rng(5))
    other.load_state_dict(
        from_jsonable(json.loads(json.dumps(to_jsonable(alphas.state_dict(), ""))))
    )
    ends = [use(one, np.random.default_rng(7)) for one in (alphas, other)]
    assert ends[0].to_record() == ends[1].to_record()
    assert to_jsonable(ends[0].state_dict(), "") == to_jsonable(ends[1].state_dict(), "")
    # A state is a copy.
    saved = alphas.state_dict()
    alphas.values += 1
    alphas.count(np.array([[0, 0, 0]]))
    assert not np.array_equal(saved["values"], alphas.values)
    assert not np.array_equal(saved["counts"], alphas.counts)


# --- refusals -----------------------------------------------------------------------------------


def test_what_cannot_be(one, space):
    with pytest.raises(InputError, match="no choices"):
        Alphas(one.fix([0]))
    with pytest.raises(InputError, match=r"std=0\.1 needs an rng"):
        Alphas(one, std=0.1)
    with pytest.raises(InputError, match="std=-1"):
        Alphas(one, std=-1)
    with pytest.raises(InputError, match="table of space 'tiny'"):
        Alphas(one, cost=convolutions(space))
    small, large = (published.load("nas-bench-macro", resolution=size) for size in (8, 32))
    with pytest.raises(InputError, match=r"images \(3, 32, 32\), not of .* \(3, 8, 8\)"):
        Alphas(small, cost=convolutions(large))
    largest = Table(one, "memory", "bytes", [Term((0,), [1, 2, 3])], reduce="max")
    with pytest.raises(InputError, match="maximum"):
        Alphas(one, cost=largest)
    with pytest.raises(InputError, match="alphas have no cost"):
        Alphas(one).expected_cost()
    with pytest.raises(InputError, match="choices is"):
        Alphas(one).load_state_dict(Alphas(space).state_dict())
    fewer = one.restrict(np.array([[True, False, True]]))
    dropped = Alphas(one)
    dropped.drop(0, 1)
    with pytest.raises(
        InputError, match=r"began with \[3\] live options, those of 'one' with \[2\]"
    ):
        Alphas(fewer).load_state_dict(dropped.state_dict())
    Alphas(one).load_state_dict(dropped.state_dict())
    with pytest.raises(InputError, match="cost is 'latency', this one's is None"):
        Alphas(one).load_state_dict(Alphas(one, cost=table(one, [[1, 2, 3]])).state_dict())


# --- options that let nothing through -------------------------------------------------------------


def test_darts_ends_without_none():
    space = published.load("nas-bench-201")
    zero = zero_options(space)
    names = [choice.options[0] for choice in space.choices]
    assert names == ["none"] * 6
    assert zero.tolist() == [[True, False, False, False, False]] * 6
    alphas = Alphas(space)
    alphas.values[:, 0] = 5.0
    alphas.values[:, 3] = 1.0
    feasible = FeasibleSet(space)
    assert feasible.most_probable(alphas.log_probabilities()).tolist() == [0] * 6
    without = alphas.log_probabilities(exclude=zero)
    assert feasible.most_probable(without).tolist() == [3] * 6
    np.testing.assert_allclose(np.exp(without).sum(axis=1), 1)
    with pytest.raises(InputError, match="exclude leaves choice"):
        alphas.log_probabilities(exclude=np.ones_like(zero))


def test_an_option_that_is_zero_in_one_block_only_is_not_zero():
    space = SearchSpace(
        "two",
        (3, 8, 8),
        [Choice("a", (0, 1)), Choice("b", (0, 1))],
        [
            Block("stem", [Conv(4)]),
            Block("x", [Zero(), Identity()], ("a",)),
            Block("y", [Identity(), Zero()], ("a",)),
            Block("z", [Conv(4), Zero()], ("b",)),
            Block("head", [Classifier(2)]),
        ],
    )
    assert zero_options(space).tolist() == [[False, False], [False, True]]
