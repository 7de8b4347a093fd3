import numpy as np
import pytest

from nas_search import Listed, search
from nas_spaces import FeasibleSet, InputError, Limit, published
from nas_spaces.testing import check_searcher

ROWS = [[0] * 8, [2, 1, 0, 1, 1, 1, 1, 1], [1] * 8]


def test_it_does_what_the_protocol_promises(macro, macs):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=45e6)])
    rows = feasible.sample(40, rng=np.random.default_rng(0))
    check_searcher(
        lambda _: Listed(macro, rows, feasible=feasible, batch=7), macro, feasible, seeded=False
    )


def test_rows_come_in_their_order_and_each_network_once(additive_error):
    space = published.load("nas-bench-201-reduce-3")
    rows = space.sample(300, rng=np.random.default_rng(0))
    networks = np.unique(space.canonical(rows), axis=0)
    assert len(networks) < len(rows)
    found = search(
        Listed(space, rows, batch=20), [additive_error(space, 0)], space=space, budget=300
    )
    assert found.stopped == "exhausted"
    assert len(found.history) == len(networks)
    seen = [tuple(row) for row in space.canonical(rows)]
    first = [*dict.fromkeys(seen)]
    assert [tuple(row) for row in space.canonical(found.history.archs)] == first


def test_what_was_told_is_not_proposed_again(macro):
    searcher = Listed(macro, ROWS, batch=2)
    assert searcher.ask().tolist() == ROWS[:2] == searcher.ask().tolist()
    searcher.tell([ROWS[1]], [[0.5]])
    assert searcher.ask().tolist() == [ROWS[0], ROWS[2]]
    again = Listed(macro, ROWS, batch=2)
    again.load_state_dict(searcher.state_dict())
    assert again.ask().tolist() == [ROWS[0], ROWS[2]]
    again.tell(ROWS, [[0.5]] * 3)
    assert again.ask().shape == (0, 8)


def test_bad_input(macro, macs):
    with pytest.raises(InputError, match="rows is empty"):
        Listed(macro, np.zeros((0, 8), dtype=np.int64))
    with pytest.raises(InputError, match="batch=0 must be an integer at least 1"):
        Listed(macro, ROWS, batch=0)
    with pytest.raises(InputError):
        Listed(macro, [[3] * 8])
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=15e6)])
    with pytest.raises(InputError, match="2,1,0,1,1,1,1,1 is not within the limits macs"):
        Listed(macro, ROWS, feasible=feasible)
    state = Listed(macro, ROWS).state_dict()
    with pytest.raises(InputError, match="another list"):
        Listed(macro, ROWS[:2]).load_state_dict(state)
    with pytest.raises(InputError, match="Listed"):
        Listed(macro, ROWS).load_state_dict({"row": ROWS[0]})
