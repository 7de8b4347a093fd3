import json

import numpy as np
import pytest

from nas_search import Progressive, Random, largest, search, specialise
from nas_spaces import FeasibleSet, InputError, Limit, Table, Term, published
from nas_spaces.testing import check_searcher


class _Rugged:
    """An error in coarse steps, so that options tie, that does not add up over choices."""

    name, unit = "error", "1"

    def __init__(self, space, seed=0, steps=12):
        rng = np.random.default_rng(seed)
        self.space = space
        self.single = rng.random(space.mask.shape)
        self.pairs = rng.random((space.num_choices, *space.mask.shape[1:] * 2))
        self.steps = steps

    def __call__(self, archs):
        rows = self.space.canonical(archs)
        columns = np.arange(rows.shape[1])
        values = self.single[columns, rows].mean(axis=1)
        values += self.pairs[columns[1:], rows[:, :-1], rows[:, 1:]].mean(axis=1)
        return np.round(values / 2 * self.steps) / self.steps


def _constant_cost(space):
    return Table(space, "nothing", "1", [], constant=1)


def _restricted(space):
    alive = space.mask.copy()
    alive[0, -1] = alive[2, 0] = alive[-1, :-1] = False
    return space.restrict(alive)


def _run(searcher, error):
    """Sweep to the end; return the rows asked for."""
    asked = []
    while len(rows := searcher.ask()):
        asked.append(rows)
        searcher.tell(rows, error(rows)[:, None])
    return asked


def _transcribed(space, error, cost, suffixes, order):
    """The sweep as it is written down, measuring every option behind every suffix."""
    best = {}
    losses = np.full(space.mask.shape, np.nan)
    for column in order:
        seen = []
        for option in np.flatnonzero(space.mask[column]):
            rows = np.array(suffixes)
            for earlier, chosen in best.items():
                rows[:, earlier] = chosen
            rows[:, column] = option
            seen.append((error(rows).mean(), cost(rows).sum(), option))
        best[column] = min(seen)[2]
        for value, _, option in seen:
            losses[column, option] = value - min(seen)[0]
    return [best[column] for column in range(space.num_choices)], losses


@pytest.mark.parametrize("name", ["nas-bench-macro", "nas-bench-201-reduce-3"])
@pytest.mark.parametrize("restricted", [False, True])
def test_it_does_what_the_protocol_promises(name, restricted, macs):
    whole = published.load(name)
    space = _restricted(whole) if restricted else whole
    cost = macs(whole)
    check_searcher(lambda rng: Progressive(space, cost=cost), space, seeded=False)
    check_searcher(
        lambda rng: Progressive(space, cost=cost, suffix=space.sample(3, rng=rng)), space
    )


@pytest.mark.parametrize("name", ["nas-bench-macro", "nas-bench-201-reduce-3", "spos-shufflenet"])
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("averaged", [0, 1, 4])
@pytest.mark.parametrize("backwards", [False, True])
def test_it_is_the_sweep_as_written(name, restricted, averaged, backwards, macs):
    whole = published.load(name)
    space = _restricted(whole) if restricted else whole
    cost = macs(whole)
    ties = 0
    for seed in range(3):
        error = _Rugged(space, seed)
        rng = np.random.default_rng(seed)
        suffix = space.sample(averaged, rng=rng) if averaged else None
        order = list(range(space.num_choices))[:: -1 if backwards else 1]
        searcher = Progressive(space, cost=cost, suffix=suffix, order=order)
        asked = np.concatenate(_run(searcher, error))
        table = searcher.table()
        suffixes = largest(space, cost)[None] if suffix is None else suffix
        start, losses = _transcribed(space, error, cost, suffixes, order)
        np.testing.assert_array_equal(table.start, start)
        np.testing.assert_allclose(table.losses, losses, atol=1e-12)
        assert table.base_error == error(table.start[None])[0]
        ties += int((losses == 0).sum() - space.num_choices)
        assert len(asked) <= searcher.budget
        assert FeasibleSet(space).contains(asked).all()
        assert len(np.unique(space.canonical(asked), axis=0)) == len(asked)
    assert averaged > 1 or ties > 0


def test_a_network_that_recurs_is_measured_once(macs):
    space = published.load("ponas-19")
    rng = np.random.default_rng(0)
    weights = rng.random(space.mask.shape)
    searcher = Progressive(space, cost=macs(space))
    asked = _run(searcher, lambda rows: weights[np.arange(19), rows].mean(axis=1))
    # 19 x 12 rows, of which the winner of each choice but the last comes back with the next one.
    assert [len(rows) for rows in asked] == [12] + [11] * 18
    assert sum(map(len, asked)) == searcher.budget == 19 * 12 - 18


def test_rows_asked_for_share_what_is_settled_and_the_suffix(spos, macs):
    suffix = np.array([1, 2] * 10)
    searcher = Progressive(spos, cost=macs(spos), suffix=suffix)
    error = _Rugged(spos)
    choice = 0
    while len(rows := searcher.ask()):
        with pytest.raises(InputError, match=f"has settled {choice} of 20 choices"):
            searcher.table()
        assert (rows[:, choice + 1 :] == suffix[choice + 1 :]).all()
        assert (rows[:, :choice] == rows[0, :choice]).all()
        searcher.tell(rows, error(rows)[:, None])
        choice += 1
    assert searcher.done
    assert choice == 20


def test_errors_that_add_up_are_recovered(spos, macs, additive_error):
    error = additive_error(spos, 3)
    searcher = Progressive(spos, cost=macs(spos), suffix=[3] * 20)
    _run(searcher, error)
    table = searcher.table()
    archs = spos.sample(200, rng=np.random.default_rng(0))
    np.testing.assert_allclose(table.predict(archs), error(archs), rtol=1e-12)
    assert error(table.start[None])[0] == min(table.predict(archs).min(), table.base_error)


def test_of_equal_errors_the_cheaper_option_wins_and_then_the_first(spos, macs):
    def flat(rows):
        return np.full(len(rows), 0.5)

    table = Term((0,), np.array([3, 1, 1, 2]))
    for cost, start in [
        (Table(spos, "cost", "1", [table]), [1] + [0] * 19),
        (_constant_cost(spos), [0] * 20),
    ]:
        searcher = Progressive(spos, cost=cost, suffix=[3] * 20)
        _run(searcher, flat)
        assert searcher.table().start.tolist() == start


def test_known_rows_are_answered_from_what_was_told(macro, macs):
    error = _Rugged(macro)
    plain = Progressive(macro, cost=macs(macro))
    _run(plain, error)
    everything = Random(macro, rng=np.random.default_rng(0), batch=9999).ask()
    # All of them; and some, in part under another row of the same network.
    knowing = Progressive(macro, cost=macs(macro))
    knowing.tell(everything, error(everything)[:, None])
    assert knowing.done
    assert knowing.ask().shape == (0, 8)
    partly = Progressive(macro, cost=macs(macro))
    foreign = macro.sample(800, rng=np.random.default_rng(1))
    partly.tell(foreign, error(foreign)[:, None])
    known = set(map(bytes, macro.canonical(foreign)))
    asked = np.concatenate(_run(partly, error))
    assert not known & set(map(bytes, macro.canonical(asked)))
    for searcher in (knowing, partly):
        assert searcher.table().to_json() == plain.table().to_json()


def test_the_first_value_of_a_network_counts(macro, macs):
    searcher = Progressive(macro, cost=macs(macro))
    rows = searcher.ask()
    searcher.tell(rows[:1], [[0.25, 7.0]])
    searcher.tell(rows[:1], [[0.75, 7.0]])
    searcher.tell(rows[1:], np.full((len(rows) - 1, 2), 0.5))
    # Of the other choices any value will do.
    _run(searcher, lambda rows: np.full(len(rows), 0.5))
    assert sorted(searcher.table().losses[0]) == [0, 0.25, 0.25]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_killed_sweep_ends_with_the_same_bits(macro, macs, rows):
    error, cost = _Rugged(macro), macs(macro)
    suffixes = macro.sample(rows, rng=np.random.default_rng(0))

    def make(seed=0):
        # The suffix of the state counts, whatever a new one was made with.
        suffix = suffixes if seed == 0 else macro.sample(2, rng=np.random.default_rng(seed))
        return Progressive(macro, cost=cost, suffix=suffix)

    states = []
    whole = make()
    done = search(
        whole,
        [error],
        space=macro,
        budget=whole.budget,
        record=[cost],
        checkpoint=lambda state: states.append(json.dumps(state)),
    )
    assert whole.done
    assert len(states) >= 6  # choices whose rows are all known take no step
    for state in states:
        again = make(seed=5)
        resumed = search(
            again,
            [error],
            space=macro,
            budget=whole.budget,
            record=[cost],
            resume=json.loads(state),
        )
        assert again.table().to_json() == whole.table().to_json()
        assert resumed.history.to_csv() == done.history.to_csv()


def test_rows_lost_on_the_way_are_proposed_again(spos, macs):
    error, cost = _Rugged(spos), macs(spos)
    whole = Progressive(spos, cost=cost)
    _run(whole, error)
    # A budget cuts the fourth choice in two.
    states = []
    cut = Progressive(spos, cost=cost)
    search(cut, [error], space=spos, budget=12, checkpoint=states.append)
    with pytest.raises(InputError, match="settled 3 of 20 choices and waits for 1 rows"):
        cut.table()
    again = Progressive(spos, cost=cost)
    result = search(again, [error], space=spos, budget=again.budget, resume=states[-1])
    assert len(result.history) == again.budget
    assert again.table().to_json() == whole.table().to_json()


def test_the_largest_architecture(macro, spos, macs, additive_error):
    assert largest(macro, macs(macro)).tolist() == [2] * 8
    restricted = _restricted(macro)
    assert largest(restricted, macs(macro)).tolist() == [1, *[2] * 7]
    for seed in range(3):
        floats = additive_error(spos, seed)
        options = [term.values.argmax() for term in floats.terms]
        assert largest(spos, floats).tolist() == options
    assert largest(spos, _constant_cost(spos)).tolist() == [0] * 20
    # Another cost decides between equals, and only between these.
    of_most = largest(spos, _constant_cost(spos), macs(spos)).tolist()
    assert of_most == largest(spos, macs(spos)).tolist() != [0] * 20
    assert largest(macro, macs(macro), _constant_cost(macro)).tolist() == [2] * 8


def test_bad_input_is_refused(macro, spos, macs):
    cost = macs(macro)
    with pytest.raises(InputError, match="table of space 'spos-shufflenet'"):
        Progressive(macro, cost=macs(spos))
    with pytest.raises(InputError, match=r"not of 'nas-bench-macro' for images \(3, 64, 64\)"):
        Progressive(published.load("nas-bench-macro", resolution=64), cost=cost)
    with pytest.raises(InputError, match="cost is a _Rugged"):
        Progressive(macro, cost=_Rugged(macro))
    with pytest.raises(InputError, match="no choice"):
        Progressive(macro.fix([0] * 8), cost=cost)
    with pytest.raises(InputError, match="suffix has no row"):
        Progressive(macro, cost=cost, suffix=np.zeros((0, 8), dtype=int))
    with pytest.raises(InputError, match="7 columns"):
        Progressive(macro, cost=cost, suffix=[0] * 7)
    with pytest.raises(InputError, match="no row of integers"):
        Progressive(macro, cost=cost, suffix=[[0] * 8, [0]])
    with pytest.raises(InputError, match="suffix 2,2,2,2,2,2,2,2 uses an option that was dropped"):
        Progressive(_restricted(macro), cost=cost, suffix=[2] * 8)
    with pytest.raises(InputError, match="suffix has no row"):
        Progressive(macro, cost=cost, suffix=[])
    with pytest.raises(InputError, match="then is a list; give a function that returns rows"):
        Progressive(macro, cost=cost, then=[])
    for order in ([0, 1], [0, 0, 2, 3, 4, 5, 6, 7], range(1, 9)):
        with pytest.raises(InputError, match=r"name each of the choices 0\.\.7"):
            Progressive(macro, cost=cost, order=order)
    searcher = Progressive(macro, cost=cost)
    with pytest.raises(InputError, match="no state of Progressive"):
        searcher.load_state_dict({})
    with pytest.raises(InputError, match="values has shape"):
        searcher.load_state_dict(searcher.state_dict() | {"errors": np.zeros(3)})
    with pytest.raises(InputError, match="finite"):
        searcher.tell([[0] * 8], [[np.nan]])


def test_rows_of_then_are_measured_at_the_end(macro, macs, additive_error):
    cost, error = macs(macro), additive_error(macro, 0)
    limit = Limit(cost, upper=0.5 * FeasibleSet(macro).attainable(cost)[1])
    searcher = Progressive(macro, cost=cost, then=lambda table: specialise(table, limit).row)
    plain = Progressive(macro, cost=cost)
    rows = np.concatenate(_run(searcher, error))
    swept = np.concatenate(_run(plain, error))
    (answer,) = macro.canonical(specialise(searcher.table(), limit).row[None])
    assert not (swept == answer).all(axis=1).any()
    assert rows.tolist() == [*swept.tolist(), answer.tolist()]
    assert searcher.table().losses.tolist() == plain.table().losses.tolist()
    # A sweep that was resumed at its end still asks for the row, and no longer once it was told.
    resumed = Progressive(macro, cost=cost, then=lambda table: specialise(table, limit).row)
    resumed.load_state_dict(plain.state_dict())
    assert resumed.ask().tolist() == [answer.tolist()]
    resumed.load_state_dict(searcher.state_dict())
    assert len(resumed.ask()) == 0


def test_a_row_of_then_that_was_swept_is_not_asked_for(macro, macs, additive_error):
    searcher = Progressive(macro, cost=macs(macro), then=lambda table: table.start)
    rows = np.concatenate(_run(searcher, additive_error(macro, 0)))
    assert len(rows) <= searcher.budget
    assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.parametrize("none", [[], np.zeros((0, 8), dtype=int)])
def test_then_may_return_no_rows(macro, macs, additive_error, none):
    searcher = Progressive(macro, cost=macs(macro), then=lambda _: none)
    rows = np.concatenate(_run(searcher, additive_error(macro, 0)))
    plain = Progressive(macro, cost=macs(macro))
    assert rows.tolist() == np.concatenate(_run(plain, additive_error(macro, 0))).tolist()
    assert searcher.done
    assert searcher.ask().shape == (0, 8)


def test_then_with_a_dropped_option_is_refused(macro, macs, additive_error):
    space = _restricted(macro)
    searcher = Progressive(space, cost=macs(macro), then=lambda _: [[0] * 8])
    with pytest.raises(InputError, match=r"then .* uses an option that was dropped"):
        _run(searcher, additive_error(macro, 0))
