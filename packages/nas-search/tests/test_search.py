import json

import numpy as np
import pytest

from nas_search import Evolution, Random, best, search
from nas_spaces import FeasibleSet, History, InputError, Limit


class Recorded:
    """A metric that remembers what it was called with."""

    def __init__(self, metric):
        self.metric, self.name, self.unit = metric, metric.name, metric.unit
        self.calls = []

    def __call__(self, archs):
        self.calls.append(np.array(archs))
        return self.metric(archs)


class Scripted:
    """A searcher that proposes given rows and remembers what it is told."""

    def __init__(self, *populations):
        self.populations = [np.array(rows) for rows in populations]
        self.told = []
        self.asked = 0

    def ask(self):
        self.asked += 1
        if len(self.populations) > 1:
            return self.populations.pop(0)
        return self.populations[0]

    def tell(self, archs, values):
        self.told.append((np.array(archs), np.array(values)))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def rows(*firsts):
    """Rows of nas-bench-macro that are all different networks."""
    return [[first % 3, first // 3 % 3, *[2] * 6] for first in firsts]


def test_history_has_what_was_measured_in_order(macro, macs, additive_error):
    error, cost = Recorded(additive_error(macro, 0)), macs(macro)
    result = search(
        Evolution(macro, rng=np.random.default_rng(0)),
        [error],
        space=macro,
        budget=120,
        record=[cost],
    )
    history = result.history
    assert result.stopped == "budget"
    assert history.names == ("generation", "error", "macs")
    assert history.units == ("1", "1", "multiply-adds")
    assert [len(call) for call in error.calls] == [50, 50, 20]
    np.testing.assert_array_equal(history.archs, np.concatenate(error.calls))
    np.testing.assert_array_equal(history.column("error"), error.metric(history.archs))
    np.testing.assert_array_equal(history.column("macs"), cost(history.archs))
    np.testing.assert_array_equal(history.column("generation"), np.repeat([0, 1, 2], [50, 50, 20]))


def test_objectives_are_told_and_recorded_metrics_are_not(macro, macs, additive_error):
    error, cost, other = additive_error(macro, 0), macs(macro), Recorded(additive_error(macro, 1))
    other.name = "other"
    searcher = Scripted(rows(0, 1, 2))
    search(searcher, [error, cost], space=macro, budget=3, record=[other])
    ((archs, values),) = searcher.told
    assert archs.tolist() == rows(0, 1, 2)
    np.testing.assert_array_equal(values, np.column_stack([error(archs), cost(archs)]))


def test_known_networks_are_answered_from_the_history_and_cost_nothing(macro, additive_error):
    error = Recorded(additive_error(macro, 0))
    searcher = Scripted(rows(0, 1, 1), rows(1, 2, 0), rows(3, 4))
    result = search(searcher, [error], space=macro, budget=5)
    assert [call.tolist() for call in error.calls] == [rows(0, 1), rows(2), rows(3, 4)]
    assert len(result.history) == 5
    archs, values = searcher.told[1]
    assert archs.tolist() == rows(1, 2, 0)
    np.testing.assert_array_equal(values[:, 0], error.metric(archs))


def test_a_network_is_measured_once_as_its_canonical_row(macro, additive_error):
    error = Recorded(additive_error(macro, 0))
    moved, canonical = [0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]
    assert error.metric([moved]) != error.metric([canonical])
    searcher = Scripted([moved], [canonical], rows(0))
    result = search(searcher, [error], space=macro, budget=2)
    assert [call.tolist() for call in error.calls] == [[canonical], rows(0)]
    assert result.history.archs.tolist() == [canonical, *rows(0)]
    # The searcher is told the rows that it proposed.
    assert [archs.tolist() for archs, _ in searcher.told] == [[moved], [canonical], rows(0)]
    assert searcher.told[0][1].tolist() == searcher.told[1][1].tolist()


def test_rows_beyond_the_budget_are_neither_measured_nor_told(macro, additive_error):
    error = Recorded(additive_error(macro, 0))
    searcher = Scripted(rows(0, 1), rows(2, 0, 3, 4, 1))
    result = search(searcher, [error], space=macro, budget=3)
    assert (len(result.history), result.stopped) == (3, "budget")
    assert error.calls[1].tolist() == rows(2)
    assert searcher.told[1][0].tolist() == rows(2, 0, 1)


def test_an_exhausted_searcher_stops_the_search(macro, macs, additive_error):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=32e6)])
    for kind in (Random, Evolution):
        searcher = kind(macro, rng=np.random.default_rng(0), feasible=feasible)
        result = search(
            searcher, [additive_error(macro, 0)], space=macro, budget=10**6, feasible=feasible
        )
        assert result.stopped == "exhausted"
        assert 0 < len(result.history) <= feasible.count()
        assert feasible.contains(result.history.archs).all()


def test_a_searcher_that_repeats_itself_does_not_loop_for_ever(macro, additive_error):
    searcher = Scripted(rows(0, 1))
    result = search(searcher, [additive_error(macro, 0)], space=macro, budget=5)
    assert (len(result.history), result.stopped) == (2, "exhausted")
    assert searcher.asked == 101


def test_infeasible_proposals_are_refused(macro, macs, additive_error):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=40e6)])
    message = r"architecture 2,2,2,2,2,2,2,2, which misses macs <= 40,000,000 .* with 1\d\d,\d+"
    with pytest.raises(InputError, match=message):
        search(
            Scripted([[0] * 8, [2] * 8]),
            [additive_error(macro, 0)],
            space=macro,
            budget=5,
            feasible=feasible,
        )
    alive = macro.mask.copy()
    alive[0, 0] = False
    with pytest.raises(InputError, match=r"0,0,0,0,0,0,0,0, which uses an option that was dropped"):
        search(
            Scripted([[0] * 8]), [additive_error(macro, 0)], space=macro.restrict(alive), budget=5
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(macro, value):
    class Broken:
        name, unit = "error", "1"

        def __call__(self, archs):
            return np.where(np.arange(len(archs)) == 1, value, 0.5)

    with pytest.raises(InputError, match=r"metric 'error' is -?(nan|inf) for architecture 1,0,2"):
        search(Scripted(rows(0, 1)), [Broken()], space=macro, budget=5)


def test_missing_values_are_refused(macro):
    class Broken:
        name, unit = "error", "1"

        def __call__(self, archs):
            return np.zeros((len(archs), 1))

    with pytest.raises(InputError, match=r"shape \(2, 1\) for 2 architectures; expected \(2,\)"):
        search(Scripted(rows(0, 1)), [Broken()], space=macro, budget=5)


def test_bad_settings_are_refused(macro, spos, macs, additive_error):
    error = additive_error(macro, 0)
    with pytest.raises(InputError, match="budget=0"):
        search(Scripted(rows(0)), [error], space=macro, budget=0)
    with pytest.raises(InputError, match="objectives is empty"):
        search(Scripted(rows(0)), [], space=macro, budget=1)
    with pytest.raises(InputError, match="names of their own"):
        search(Scripted(rows(0)), [error], space=macro, budget=1, record=[error])
    with pytest.raises(InputError, match="spos-shufflenet"):
        search(Scripted(rows(0)), [error], space=macro, budget=1, feasible=FeasibleSet(spos))


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox])
@pytest.mark.parametrize("kind", [Random, Evolution])
def test_a_search_that_stopped_goes_on_with_the_same_bits(macro, macs, additive_error, kind, bits):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=40e6)])
    metrics = {"objectives": [additive_error(macro, 0)], "record": [macs(macro)]}

    def go(seed, **options):
        searcher = kind(macro, rng=np.random.Generator(bits(seed)), feasible=feasible)
        return search(searcher, space=macro, feasible=feasible, budget=430, **metrics, **options)

    states, later = [], []
    whole = go(0, checkpoint=lambda state: states.append(json.dumps(state)))
    assert len(states) >= 7  # until nothing is left, or the budget is spent
    for done, text in enumerate(states, start=1):
        later.clear()
        # Another seed: all randomness comes out of the state.
        resumed = go(
            99, resume=json.loads(text), checkpoint=lambda state: later.append(json.dumps(state))
        )
        assert resumed.history.to_csv() == whole.history.to_csv()
        assert resumed.stopped == whole.stopped
        assert later == states[done:]


def test_a_resumed_search_measures_nothing_twice(macro, additive_error):
    error, states = Recorded(additive_error(macro, 0)), []

    def go(**options):
        searcher = Evolution(macro, rng=np.random.default_rng(0))
        return search(searcher, [error], space=macro, budget=150, **options)

    go(checkpoint=states.append)
    error.calls.clear()
    go(resume=states[1])
    assert [len(call) for call in error.calls] == [50]


def test_idle_proposals_are_counted_across_a_resume(macro, additive_error):
    error, states = additive_error(macro, 0), []
    search(Scripted(rows(0, 1)), [error], space=macro, budget=5, checkpoint=states.append)
    searcher = Scripted(rows(0, 1))
    search(searcher, [error], space=macro, budget=5, resume=states[60])
    assert searcher.asked == 40


def test_a_larger_budget_goes_on(macro, additive_error):
    error, states = additive_error(macro, 0), []
    searcher = Random(macro, rng=np.random.default_rng(0))
    first = search(searcher, [error], space=macro, budget=100, checkpoint=states.append)
    more = search(
        Random(macro, rng=np.random.default_rng(1)),
        [error],
        space=macro,
        budget=200,
        resume=states[-1],
    )
    assert more.history.to_csv().startswith(first.history.to_csv())
    assert len(more.history) == 200


def test_states_of_another_search_are_refused(macro, macs, additive_error):
    error, states = additive_error(macro, 0), []

    def go(searcher, **options):
        return search(searcher, [error], space=macro, budget=60, **options)

    def random(**options):
        return Random(macro, rng=np.random.default_rng(0), **options)

    go(random(), checkpoint=states.append)
    state = states[-1]
    with pytest.raises(InputError, match="no state of a search: it has no format"):
        go(random(), resume={})
    with pytest.raises(InputError, match="format 7"):
        go(random(), resume={**state, "format": 7})
    with pytest.raises(InputError, match="by Random; this one is by Evolution"):
        go(Evolution(macro, rng=np.random.default_rng(0)), resume=state)
    with pytest.raises(InputError, match=r"columns .*'error'\).*this search has .*'macs'"):
        go(random(), resume=state, record=[macs(macro)])
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=40e6)])
    with pytest.raises(InputError, match="other limits"):
        go(random(feasible=feasible), resume=state, feasible=feasible)
    with pytest.raises(InputError, match="no history in CSV"):
        go(random(), resume={**state, "history": "error\n0.5\n"})
    with pytest.raises(InputError, match="no state of Random"):
        go(random(), resume={**state, "state": {}})


def test_states_of_any_json_values_and_arrays_come_back(macro, additive_error):
    state = {
        "array": np.array([[1.5, 2.5]], dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=bool),
        "number": np.float64(0.1),
        "nested": [{"a": (1, None, True, "x")}],
    }

    class Stateful(Scripted):
        def state_dict(self):
            return state

        def load_state_dict(self, state):
            self.loaded = state

    error, states = additive_error(macro, 0), []
    search(Stateful(rows(0)), [error], space=macro, budget=1, checkpoint=states.append)
    searcher = Stateful(rows(0))
    saved = json.loads(json.dumps(states[0]))
    search(searcher, [error], space=macro, budget=1, resume=saved)
    loaded = searcher.loaded
    assert loaded["array"].tolist() == [[1.5, 2.5]]
    assert loaded["array"].dtype == np.float32
    assert (loaded["empty"].shape, loaded["empty"].dtype) == ((0, 4), bool)
    assert loaded["number"] == 0.1
    assert loaded["nested"] == [{"a": [1, None, True, "x"]}]

    state["seen"] = [{1, 2}]
    with pytest.raises(InputError, match=r"state\['seen'\]\[0\] is a set"):
        search(Stateful(rows(0)), [error], space=macro, budget=1, checkpoint=states.append)


def test_best_compares_objectives_in_their_order_then_the_order_of_measuring(macro, macs):
    history = History.empty(8, ("error", "loss"), ("1", "nats")).append(
        [[2] * 8, [1] * 8, [0] * 8, [0] * 7 + [1]],
        [[0.1, 0.0], [0.2, 2.0], [0.2, 1.0], [0.2, 1.0]],
    )
    assert best(history, ["error", "loss"]) == 0
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=60e6)])
    assert best(history, ["error", "loss"], feasible=feasible) == 2
    assert best(history, ["error"], feasible=feasible) == 1
    with pytest.raises(InputError, match="no column 'latency'"):
        best(history, ["latency"])
    with pytest.raises(InputError, match="objectives is empty"):
        best(history, [])
    only = FeasibleSet(macro, [Limit(macs(macro), lower=100e6)])
    with pytest.raises(InputError, match="none of the 1 architectures"):
        best(History.empty(8, ("e",), ("1",)).append([[0] * 8], [[1.0]]), ["e"], feasible=only)
