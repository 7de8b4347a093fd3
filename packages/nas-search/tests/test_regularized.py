import json

import numpy as np
import pytest

from nas_search import RegularizedEvolution, search
from nas_spaces import FeasibleSet, InputError, Limit, published
from nas_spaces.testing import check_searcher


def small(space, rng, **settings):
    return RegularizedEvolution(space, rng=rng, population=10, sample=3, **settings)


@pytest.mark.parametrize("upper", [None, 35e6])
def test_it_does_what_the_protocol_promises(macro, macs, upper):
    limits = [] if upper is None else [Limit(macs(macro), upper=upper)]
    feasible = FeasibleSet(macro, limits)
    check_searcher(lambda rng: small(macro, rng, feasible=feasible), macro, feasible)


def test_a_child_differs_in_one_gene_from_the_best_of_a_sample(spos):
    searcher = RegularizedEvolution(spos, rng=np.random.default_rng(0), population=20, sample=20)
    archs = searcher.ask()
    assert archs.shape == (20, 20)
    searcher.tell(archs, np.arange(20.0)[::-1, None])
    for _ in range(30):
        child = searcher.ask()
        assert (child != archs[19]).sum(axis=1).tolist() == [1]


def test_the_oldest_dies(macro):
    searcher = small(macro, np.random.default_rng(0))
    archs = searcher.ask()
    searcher.tell(archs, np.zeros((10, 1)))
    child = searcher.ask()
    searcher.tell(child, [[1.0]])
    rows = searcher.state_dict()["rows"]
    np.testing.assert_array_equal(rows, np.concatenate([archs[1:], child]))


def test_later_columns_break_ties(spos):
    searcher = RegularizedEvolution(spos, rng=np.random.default_rng(0), population=5, sample=5)
    archs = searcher.ask()
    searcher.tell(archs, [[1.0, 3.0], [0.5, 3.0], [0.5, 2.0], [0.5, 4.0], [0.7, 0.0]])
    child = searcher.ask()
    assert (child != archs[2]).sum() == 1


def test_it_finds_the_optimum_of_a_sum(macro, additive_error):
    error = additive_error(macro, 0)
    best = float(error.additive()[1].min(axis=1).sum() + error.additive()[0])
    searcher = RegularizedEvolution(macro, rng=np.random.default_rng(0), population=20, sample=8)
    found = search(searcher, [error], space=macro, budget=250)
    assert found.history.column("error").min() == pytest.approx(best)


def test_a_space_is_searched_to_its_end(additive_error):
    space = published.load("nas-bench-201-reduce-3")
    everything = FeasibleSet(space).sample(20_000, rng=np.random.default_rng(0))
    searcher = small(space, np.random.default_rng(0))
    found = search(searcher, [additive_error(space, 0)], space=space, budget=999)
    assert found.stopped == "exhausted"
    assert len(found.history) == len(np.unique(space.canonical(everything), axis=0))


def test_a_search_that_was_killed_ends_with_the_same_bits(macro, additive_error):
    error, states = additive_error(macro, 0), []
    whole = search(
        small(macro, np.random.default_rng(0), batch=3),
        [error],
        space=macro,
        budget=60,
        checkpoint=lambda state: states.append(json.dumps(state)),
    )
    resumed = search(
        small(macro, np.random.default_rng(7), batch=3),
        [error],
        space=macro,
        budget=60,
        resume=json.loads(states[len(states) // 2]),
    )
    assert resumed.history.to_csv() == whole.history.to_csv()


def test_bad_input_is_refused(macro):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="sample=30 is more than population=10"):
        RegularizedEvolution(macro, rng=rng, population=10, sample=30)
    with pytest.raises(InputError, match="batch=0"):
        small(macro, rng, batch=0)
    fixed = macro.restrict(np.eye(3, dtype=bool)[[0] * 8])
    with pytest.raises(InputError, match="nothing can be mutated"):
        small(fixed, rng)
    larger = RegularizedEvolution(macro, rng=rng)
    archs = larger.ask()
    larger.tell(archs, np.zeros((100, 1)))
    with pytest.raises(InputError, match="population=10 holds fewer"):
        small(macro, rng).load_state_dict(larger.state_dict())
