import numpy as np
import pytest

from nas_search import Evolution, Random, search
from nas_spaces import FeasibleSet, InputError, Limit, published
from nas_spaces.testing import check_searcher


@pytest.mark.parametrize("upper", [None, 45e6, 30e6])
def test_it_does_what_the_protocol_promises(macro, macs, upper):
    limits = [] if upper is None else [Limit(macs(macro), upper=upper)]
    feasible = FeasibleSet(macro, limits)
    check_searcher(lambda rng: Random(macro, rng=rng, feasible=feasible), macro, feasible)


def test_rows_are_feasible_canonical_and_never_come_twice(macro, macs):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=50e6)])
    searcher = Random(macro, rng=np.random.default_rng(0), feasible=feasible, batch=64)
    rows = np.concatenate([searcher.ask() for _ in range(10)])
    assert rows.shape == (640, 8)
    assert rows.dtype == np.int64
    assert feasible.contains(rows).all()
    np.testing.assert_array_equal(rows, macro.canonical(rows))
    assert len(np.unique(rows, axis=0)) == 640


def test_told_rows_are_not_proposed(macro, macs):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=32e6)])
    everything = Random(macro, rng=np.random.default_rng(0), feasible=feasible, batch=9999).ask()
    searcher = Random(macro, rng=np.random.default_rng(1), feasible=feasible, batch=9999)
    searcher.tell(everything[3:], np.zeros((len(everything) - 3, 1)))
    assert {*map(tuple, searcher.ask())} == {*map(tuple, everything[:3])}
    assert searcher.ask().shape == (0, 8)


@pytest.mark.parametrize("kind", [Random, Evolution])
def test_isomorphic_cells_come_once(kind, additive_error):
    space = published.load("nas-bench-201-reduce-3")
    everything = FeasibleSet(space).sample(20_000, rng=np.random.default_rng(0))
    networks = np.unique(space.canonical(everything), axis=0)
    assert len(networks) < len(np.unique(everything, axis=0)) == 3**6
    searcher = kind(space, rng=np.random.default_rng(1))
    found = search(searcher, [additive_error(space, 0)], space=space, budget=3**6)
    assert found.stopped == "exhausted"
    np.testing.assert_array_equal(np.unique(found.history.archs, axis=0), networks)
    assert len(found.history) == len(networks)


def test_foreign_rows_need_not_be_canonical_or_feasible(macro, macs):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=32e6)])
    searcher = Random(macro, rng=np.random.default_rng(1), feasible=feasible, batch=9999)
    searcher.tell([[0, 0, 0, 0, 1, 0, 0, 0], [2] * 8], [[1.0], [2.0]])
    assert [0, 0, 0, 1, 0, 0, 0, 0] not in searcher.ask().tolist()


def test_seeds_decide(macro):
    def rows(seed):
        return Random(macro, rng=np.random.default_rng(seed)).ask().tolist()

    assert rows(0) == rows(0) != rows(1)


def test_state_is_whole(macro):
    searcher = Random(macro, rng=np.random.default_rng(0))
    searcher.ask()
    state = searcher.state_dict()
    other = Random(macro, rng=np.random.default_rng(5))
    other.load_state_dict(state)
    for _ in range(3):
        np.testing.assert_array_equal(other.ask(), searcher.ask())
    # What was saved does not move with the searcher.
    other.load_state_dict(state)
    assert len(other.state_dict()["visited"]) == 50


def test_bad_input_is_refused(macro, spos):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="batch=0"):
        Random(macro, rng=rng, batch=0)
    with pytest.raises(InputError, match="spos-shufflenet"):
        Random(macro, rng=rng, feasible=FeasibleSet(spos))
    with pytest.raises(InputError, match="no state of Random"):
        Random(macro, rng=rng).load_state_dict({})
    with pytest.raises(InputError, match="finite"):
        Random(macro, rng=rng).tell([[0] * 8], [[np.nan]])
