import math

import numpy as np
import pytest

from nas_search import NSGA2, search
from nas_search.rl import Dominance, LearnedMutation, Policy, WeightedProduct
from nas_spaces import FeasibleSet, InputError, published
from nas_spaces.testing import check_searcher


def make(space, rng, **settings):
    policy = Policy(space, rng=rng, hidden=16, lr=1e-2)
    return NSGA2(space, rng=rng, population=16, mutator=LearnedMutation(policy, **settings))


def test_nsga2_with_it_does_what_the_protocol_promises(macro):
    check_searcher(lambda rng: make(macro, rng), macro, FeasibleSet(macro), objectives=2)


def test_every_mutant_has_its_genes_drawn_from_the_policy(macro):
    policy = Policy(macro, rng=np.random.default_rng(0))
    policy.controller.heads.data.zero_()
    policy.controller.biases.data[:, 1] = 100.0
    parents = np.zeros((400, 8), dtype=np.int64)
    mutants = LearnedMutation(policy)(parents, rng=np.random.default_rng(0))
    changed = (mutants != parents).sum(axis=1)
    assert set(np.unique(mutants)) == {0, 1}
    assert changed.min() == 1
    # 1/8 a gene, and one more where that leaves none: 1 + (7/8)^8 of 8 genes.
    assert changed.mean() == pytest.approx(1 + (7 / 8) ** 8, abs=0.2)


def test_it_learns_what_is_on_the_front(macro, additive_error):
    error = additive_error(macro, 0)
    searcher = make(macro, np.random.default_rng(0))
    policy = searcher.mutator.policy
    best = np.array([[int(np.argmin(row)) for row in error.additive()[1]]])
    before = policy.controller.log_probability(best)[0]
    search(searcher, [error], space=macro, budget=300)
    assert policy.controller.log_probability(best)[0] > before + 1


def test_dominance_counts_fronts():
    values = np.array([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    archs = np.zeros((4, 1), dtype=np.int64)
    assert Dominance()(archs, values).tolist() == [1.0, 1.0, 0.5, 0.0]
    assert Dominance()(archs[:1], values[:1]).tolist() == [1.0]


def test_rows_of_one_network_have_the_same_reward(macs):
    space = published.load("nas-bench-201")
    product, given = WeightedProduct(macs(space), target=50e6), []

    def reward(archs, values):
        given.append(product(archs, values))
        return given[-1]

    # Convolutions that no path from the input reaches count in the first only.
    archs = np.array([[0, 3, 3, 0, 3, 0], [0, 1, 1, 0, 1, 0]])
    values = np.full((2, 1), 0.25)
    searcher = make(space, np.random.default_rng(0), reward=reward)
    searcher.tell(archs, values)
    assert product(archs, values)[0] < 0.9 * product(archs, values)[1]
    assert given[0].tolist() == [product(archs, values)[1]] * 2


def test_a_policy_of_another_space_is_refused(macro):
    rng = np.random.default_rng(0)
    alive = macro.mask.copy()
    alive[0, 0] = False
    one, other = macro, macro.restrict(alive)
    for searched, of in ((one, other), (other, one)):
        mutator = LearnedMutation(Policy(of, rng=rng, hidden=4))
        with pytest.raises(InputError, match="mutator is of space 'nas-bench-macro' with other li"):
            NSGA2(searched, rng=rng, mutator=mutator)
    cells = published.load("nas-bench-201")
    with pytest.raises(InputError, match="mutator is of space 'nas-bench-201', the search of 'na"):
        NSGA2(macro, rng=rng, mutator=LearnedMutation(Policy(cells, rng=rng, hidden=4)))


def test_a_probability_out_of_range_is_refused(macro):
    policy = Policy(macro, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"probability=1\.5"):
        LearnedMutation(policy, probability=1.5)


class Broken:
    """A reward of ``shape``, whose last number is ``value``."""

    def __init__(self, shape, value):
        self.rewards = np.linspace(0, 1, math.prod(shape)).reshape(shape)
        self.rewards.flat[-1] = value

    def __call__(self, archs, values):
        return self.rewards


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        (
            (6,),
            np.nan,
            r"nan for architecture \[2, 2, 2, 2, 2, 2, 2, 2\]; expected a finite number",
        ),
        (
            (6,),
            np.inf,
            r"inf for architecture \[2, 2, 2, 2, 2, 2, 2, 2\]; expected a finite number",
        ),
        ((5,), 0.5, r"shape \(5,\) for 6 architectures; expected \(6,\), one number for each"),
        ((6, 1), 0.5, r"shape \(6, 1\) for 6 architectures"),
        ((), 0.5, r"shape \(\) for 6 architectures"),
    ],
)
def test_a_reward_that_is_no_finite_number_for_each_row_is_refused(macro, shape, value, message):
    policy = Policy(macro, rng=np.random.default_rng(0), hidden=4)
    mutation = LearnedMutation(policy, reward=Broken(shape, value))
    archs = np.array([[0] * 8] * 5 + [[2] * 8])
    before = mutation.state_dict()
    with pytest.raises(InputError, match=f"reward Broken returned {message}"):
        mutation.tell(archs, np.zeros((6, 2)))
    np.testing.assert_equal(mutation.state_dict(), before)
