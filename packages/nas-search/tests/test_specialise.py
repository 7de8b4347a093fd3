import itertools
import sys

import numpy as np
import pytest

from nas_search import CandidateTable, specialise
from nas_spaces import FeasibleSet, InputError, Limit, Table, Term, published


def _losses(space, rng, *, ties=False):
    """A random candidate table; with ``ties`` losses of few distinct values."""
    losses = rng.integers(0, 4, space.mask.shape) / 64 if ties else rng.random(space.mask.shape)
    losses = np.where(space.mask, losses, np.nan)
    losses -= np.nanmin(losses, axis=1, keepdims=True)
    return CandidateTable(space, losses, np.nanargmin(losses, axis=1), 0.1)


def _cost(space, rng, *, whole, name="cost"):
    terms = [
        Term((column,), rng.integers(0, 9, size) if whole else rng.random(size))
        for column, size in enumerate(space.num_options)
    ]
    return Table(space, name, "1", terms, constant=3)


def _restricted(space):
    alive = space.mask.copy()
    alive[0, 1] = alive[2, 0] = alive[4, 2] = False
    return space.restrict(alive)


def _everything(space):
    return np.array(list(itertools.product(*(np.flatnonzero(live) for live in space.mask))))


def _uppers(table, cost, n=7):
    """Limits from the least cost to that of the start."""
    low, _ = FeasibleSet(table.space).attainable(cost)
    return np.linspace(low, cost(table.start[None])[0], n)


def _transcribed(table, cost, upper, score):
    """Algorithm 1 with the filter, word by word; rows visited in order."""
    rows = [tuple(table.start.tolist())]
    while (now := cost([rows[-1]])[0]) > upper:
        moves = []
        for choice, live in enumerate(table.space.mask):
            for option in np.flatnonzero(live).tolist():
                row = (*rows[-1][:choice], option, *rows[-1][choice + 1 :])
                saving = now - cost([row])[0]
                if saving > 0:
                    loss = table.losses[choice, option] - table.losses[choice, rows[-1][choice]]
                    judged = loss if score == "loss" else loss / saving
                    moves.append((judged, -saving, choice, option, row))
        rows.append(min(moves)[-1])
    return rows


def _check_answer(table, answer, costs, limits):
    """Check that an answer is within the limits and that its path leads there."""
    row = table.start.copy()
    for step in answer.path:
        assert row[step.choice] == step.before != step.after
        row[step.choice] = step.after
        added = table.losses[step.choice, [step.after, step.before]]
        assert step.loss == added[0] - added[1]
        assert step.costs == tuple(cost(row[None])[0] for cost in costs)
    np.testing.assert_array_equal(answer.row, row)
    assert FeasibleSet(table.space, limits).contains(row[None]).all()
    assert answer.costs == tuple(cost(row[None])[0] for cost in costs)
    assert answer.loss == pytest.approx(sum(step.loss for step in answer.path))
    assert answer.loss == pytest.approx(table.predict(row[None])[0] - table.base_error)


@pytest.mark.parametrize("score", ["loss", "loss/saving"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("restricted", [False, True])
def test_the_greedy_path_is_the_algorithm_as_written(macro, score, whole, restricted):
    space = _restricted(macro) if restricted else macro
    steps = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        table = _losses(space, rng, ties=seed % 2 == 0)
        cost = _cost(macro, rng, whole=whole)
        for upper in _uppers(table, cost):
            limit = Limit(cost, upper=upper)
            answer = specialise(table, limit, score=score)
            expected = _transcribed(table, cost, upper, score)
            assert answer.method == "greedy"
            assert len(answer.path) == len(expected) - 1 <= 8 * 2
            assert answer.row.tolist() == list(expected[-1])
            for step, row in zip(answer.path, expected[1:], strict=True):
                assert row[step.choice] == step.after
                assert step.costs == (cost([row])[0],)
            _check_answer(table, answer, [cost], [limit])
            steps += len(answer.path)
    assert steps > 50


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("restricted", [False, True])
def test_the_exact_answer_is_the_best_of_all_rows(macro, whole, restricted):
    space = _restricted(macro) if restricted else macro
    rows = _everything(space)
    better = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        table = _losses(space, rng, ties=seed == 0)
        cost = _cost(macro, rng, whole=whole)
        for upper in _uppers(table, cost, 5):
            limit = Limit(cost, upper=upper)
            exact = specialise(table, [limit], method="exact")
            assert exact.method == "exact"
            _check_answer(table, exact, [cost], [limit])
            least = table.predict(rows[cost(rows) <= upper]).min() - table.base_error
            assert exact.loss == pytest.approx(least, abs=1e-12)
            for score in ("loss", "loss/saving"):
                greedy = specialise(table, [limit], score=score)
                assert exact.loss <= greedy.loss + 1e-12
                better += exact.loss < greedy.loss - 1e-9
    assert better > 0  # the path is an approximation


def test_by_hand(macro):
    losses = np.full((8, 3), 0.5)
    losses[:, 2] = 0
    losses[0, 1], losses[1, 1], losses[1, 0] = 0.1, 0.2, 0.3
    table = CandidateTable(macro, losses, np.full(8, 2), 0.1)
    cost = Table(macro, "cost", "1", [Term((0,), [5, 4, 1]), Term((1,), [2, 3, 9])])
    # Choice 0 gets dearer by leaving option 2, so its least loss of 0.1 is no move.
    first = specialise(table, Limit(cost, upper=9))
    assert [(s.choice, s.before, s.after, s.loss) for s in first.path] == [(1, 2, 1, 0.2)]
    assert first.costs == (4,)
    second = specialise(table, Limit(cost, upper=3))
    assert [(s.choice, s.after) for s in second.path] == [(1, 1), (1, 0)]
    assert second.loss == pytest.approx(0.3)
    # 0.2 for a saving of 6 beats 0.3 for 7, and 0.29 for 6 does not.
    assert specialise(table, Limit(cost, upper=9), score="loss/saving").row[1] == 1
    losses[1, 1] = 0.29
    cheaper = CandidateTable(macro, losses, np.full(8, 2), 0.1)
    assert specialise(cheaper, Limit(cost, upper=9)).row[1] == 1
    assert specialise(cheaper, Limit(cost, upper=9), score="loss/saving").row[1] == 0


@pytest.mark.parametrize("method", ["greedy", "exact"])
def test_a_start_within_the_limits_is_the_answer(macro, macs, method):
    table = _losses(macro, np.random.default_rng(0), ties=True)
    cost = macs(macro)
    for limits in (Limit(cost, upper=cost(table.start[None])[0]), [], Limit(cost, upper=1e30)):
        answer = specialise(table, limits, method=method)
        np.testing.assert_array_equal(answer.row, table.start)
        assert (answer.path, answer.loss, answer.method) == ((), 0, method)


@pytest.mark.parametrize("method", ["greedy", "exact"])
def test_every_limit_that_can_be_met_is_met(macs, method):
    space = published.load("ponas-19")
    cost = macs(space)
    low, high = FeasibleSet(space).attainable(cost)
    table = _losses(space, np.random.default_rng(0))
    for upper in [low, low + 1, *np.linspace(low + 2, high, 6)]:
        answer = specialise(table, Limit(cost, upper=upper), method=method)
        assert answer.costs[0] <= upper
        assert len(answer.path) <= 19 * 11
        assert answer.method == method
    with pytest.raises(InputError, match=rf"attainable: {low:,} to {high:,} multiply-adds"):
        specialise(table, Limit(cost, upper=low - 1), method=method)


def test_large_integers_are_compared_exactly(macro):
    base = 2**60
    term = Term((0,), np.array([base, base + 1, base + 2]))
    cost = Table(macro, "cost", "1", [term])
    losses = np.zeros((8, 3))
    losses[0] = [0.2, 0.1, 0]
    table = CandidateTable(macro, losses, [2] + [0] * 7, 0.1)
    answer = specialise(table, Limit(cost, upper=base + 1))
    assert (answer.costs, len(answer.path)) == ((base + 1,), 1)


def _several(table, costs, uppers):
    """The rule for several limits, word by word; None where it gets stuck."""
    row = tuple(table.start.tolist())
    spans = [high - low for low, high in map(FeasibleSet(table.space).attainable, costs)]

    def over(arch):
        return [cost([arch])[0] - upper for cost, upper in zip(costs, uppers, strict=True)]

    def excess(arch):
        return sum(max(0, o) / span for o, span in zip(over(arch), spans, strict=True))

    while excess(row) > 0:
        moves = []
        missed = [o > 0 for o in over(row)]
        for choice, live in enumerate(table.space.mask):
            for option in np.flatnonzero(live).tolist():
                new = (*row[:choice], option, *row[choice + 1 :])
                if excess(new) < excess(row) - 1e-12:
                    parts = zip(over(row), over(new), spans, missed, strict=True)
                    saving = sum((a - b) / span for a, b, span, counts in parts if counts)
                    loss = table.losses[choice, option] - table.losses[choice, row[choice]]
                    moves.append((loss, -saving, choice, option, new))
        if not moves:
            return None
        row = min(moves)[-1]
    return list(row)


def test_several_limits_hold_together(macro):
    stuck = found = 0
    rows = _everything(macro)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        table = _losses(macro, rng)
        costs = [_cost(macro, rng, whole=True, name=f"cost {i}") for i in range(2)]
        if seed % 2:
            # Nearly opposites: what lowers the one raises the other.
            terms = [Term(t.columns, 8 - t.values + rng.integers(0, 3, 3)) for t in costs[0].terms]
            costs[1] = Table(macro, "cost 1", "1", terms)
        # The values of one row, so that both can be met.
        values = np.column_stack([cost(rows) for cost in costs])
        uppers = values[values.sum(axis=1).argmin()]
        limits = [Limit(cost, upper=up) for cost, up in zip(costs, uppers, strict=True)]
        answer = specialise(table, limits)
        exact = specialise(table, limits, method="exact")
        _check_answer(table, answer, costs, limits)
        inside = (values <= uppers).all(axis=1)
        least = table.predict(rows[inside]).min() - table.base_error
        assert exact.loss == pytest.approx(least, abs=1e-12)
        assert exact.loss <= answer.loss + 1e-12
        expected = _several(table, costs, uppers)
        if expected is None:
            stuck += 1
            assert answer.method == "exact"
            np.testing.assert_array_equal(answer.row, exact.row)
        else:
            assert answer.row.tolist() == expected
            found += len(answer.path) > 0
    assert found > 3
    assert stuck > 0


def test_a_maximum_is_met_although_no_single_step_lowers_it(macro):
    terms = [Term((column,), np.array([1, 2, 3])) for column in range(8)]
    peak = Table(macro, "peak", "1", terms, reduce="max")
    losses = np.tile([0.2, 0.1, 0.0], (8, 1))
    table = CandidateTable(macro, losses, np.full(8, 2), 0.1)
    answer = specialise(table, Limit(peak, upper=2))
    assert answer.method == "exact"
    assert answer.row.tolist() == [1] * 8
    assert [step.costs for step in answer.path] == [(3,)] * 7 + [(2,)]


def test_windows_are_met_exactly(macro):
    rng = np.random.default_rng(0)
    table = _losses(macro, rng)
    cost = _cost(macro, rng, whole=True)
    rows = _everything(macro)
    low, high = FeasibleSet(macro).attainable(cost)
    window = Limit(cost, lower=high - 3, upper=high - 2)
    answer = specialise(table, window, method="exact")
    _check_answer(table, answer, [cost], [window])
    inside = window.holds(rows)
    least = table.predict(rows[inside]).min() - table.base_error
    assert answer.loss == pytest.approx(least, abs=1e-12)
    with pytest.raises(InputError, match=r"lower end.*method='exact'"):
        specialise(table, Limit(cost, lower=low, upper=high))


def test_bad_input_is_refused(macro, spos, macs):
    table = _losses(macro, np.random.default_rng(0))
    limit = Limit(macs(macro), upper=40e6)
    with pytest.raises(InputError, match="score='saving'"):
        specialise(table, limit, score="saving")
    with pytest.raises(InputError, match="method='best'"):
        specialise(table, limit, method="best")
    with pytest.raises(InputError, match="metric 'macs' is a table of space 'spos-shuf"):
        specialise(table, Limit(macs(spos), upper=300e6))

    class Latency:
        name, unit = "latency", "ms"

        def __call__(self, archs):
            return np.zeros(len(archs))

    with pytest.raises(InputError, match="on a Latency"):
        specialise(table, Limit(Latency(), upper=1))
    # Each alone can be met, both together cannot.
    rising = Table(macro, "rising", "1", [Term((0,), [0, 1, 2])])
    falling = Table(macro, "falling", "1", [Term((0,), [2, 1, 0])])
    with pytest.raises(InputError, match="satisfies all of rising <= 0 1 and fall"):
        specialise(table, [Limit(rising, upper=0), Limit(falling, upper=0)])


def test_an_answer_says_whether_it_is_proven(macro, monkeypatch):
    rng = np.random.default_rng(0)
    table = _losses(macro, rng)
    first, second = (_cost(macro, rng, whole=False, name=name) for name in ("first", "second"))
    limits = [
        Limit(cost, upper=float(np.quantile(cost(_everything(macro)), 0.2)))
        for cost in (first, second)
    ]
    exact = specialise(table, limits, method="exact")
    assert exact.proven
    assert specialise(table, limits[0]).proven
    # As for costs that are no sums, where many rows have to be looked at.
    module = sys.modules[specialise.__module__]
    monkeypatch.setattr(module, "least_sum", lambda *_: None)
    monkeypatch.setattr("nas_spaces.feasible.SEARCH_BUDGET", 1)
    found = specialise(table, limits, method="exact")
    assert not found.proven
    assert all(limit.holds(found.row[None])[0] for limit in limits)
    assert found.loss >= exact.loss
