import numpy as np
import pytest

from nas_search import Evolution, search
from nas_search.evolution import cross, mutate
from nas_spaces import FeasibleSet, InputError, Limit
from nas_spaces.testing import check_searcher


def run(searcher, error, generations):
    """Return the rows of each generation."""
    populations = []
    for _ in range(generations):
        archs = searcher.ask()
        searcher.tell(archs, error(archs)[:, None])
        populations.append(archs)
    return populations


@pytest.mark.parametrize("upper", [None, 45e6, 30e6])
def test_it_does_what_the_protocol_promises(macro, macs, upper):
    limits = [] if upper is None else [Limit(macs(macro), upper=upper)]
    feasible = FeasibleSet(macro, limits)
    check_searcher(lambda rng: Evolution(macro, rng=rng, feasible=feasible), macro, feasible)


@pytest.mark.parametrize("upper", [45e6, 60e6, 80e6])
def test_rows_are_feasible_canonical_and_never_come_twice(macro, macs, additive_error, upper):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=upper)])
    searcher = Evolution(macro, rng=np.random.default_rng(0), feasible=feasible)
    rows = np.concatenate(run(searcher, additive_error(macro, 0), 10))
    assert rows.shape == (500, 8)
    assert rows.dtype == np.int64
    assert feasible.contains(rows).all()
    np.testing.assert_array_equal(rows, macro.canonical(rows))
    assert len(np.unique(rows, axis=0)) == 500


def test_rows_stay_in_a_window_with_several_limits(spos, macs, additive_error):
    cost, other = macs(spos), additive_error(spos, 7)
    feasible = FeasibleSet(
        spos, [Limit(cost, lower=300e6, upper=310e6), Limit(other, lower=0.4, upper=0.6)]
    )
    searcher = Evolution(spos, rng=np.random.default_rng(0), feasible=feasible)
    rows = np.concatenate(run(searcher, additive_error(spos, 0), 8))
    assert len(rows) == 400
    assert cost(rows).min() >= 300e6
    assert cost(rows).max() <= 310e6
    assert feasible.contains(rows).all()


def test_children_that_miss_a_tight_limit_are_repaired(spos, macs):
    # The error rewards one option a gene; hardly a child of feasible parents is in the window.
    def best(own_children):
        feasible = FeasibleSet(spos, [Limit(macs(spos), lower=299e6, upper=300e6)])
        children = {} if own_children else {"crossover": 0, "mutation": 0}
        found = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            searcher = Evolution(spos, rng=rng, feasible=feasible, **children)
            populations = run(searcher, lambda rows: (rows != 1).mean(axis=1), 8)
            assert feasible.contains(np.concatenate(populations)).all()
            found.append((np.concatenate(populations) != 1).mean(axis=1).min())
        return np.mean(found)

    assert best(own_children=True) < best(own_children=False) - 0.1


def test_dropped_options_stay_dropped(macro, additive_error):
    alive = macro.mask.copy()
    alive[2, 0] = alive[4, 0] = alive[5, 2] = False
    space = macro.restrict(alive)
    searcher = Evolution(space, rng=np.random.default_rng(0))
    rows = np.concatenate(run(searcher, additive_error(macro, 0), 10))
    assert FeasibleSet(space).contains(rows).all()
    # Distinct networks, though their canonical rows may use what was dropped.
    assert len(np.unique(space.canonical(rows), axis=0)) == len(rows) == 500


def test_seeds_decide(macro, additive_error):
    def rows(seed):
        searcher = Evolution(macro, rng=np.random.default_rng(seed))
        return np.concatenate(run(searcher, additive_error(macro, 0), 4)).tolist()

    assert rows(0) == rows(0) != rows(1)


def test_genes_of_crossover_come_from_the_two_parents():
    rng = np.random.default_rng(0)
    parents = np.array([[0] * 6, [1] * 6, [2] * 6])
    children = cross(parents, 3000, rng=rng)
    assert children.shape == (3000, 6)
    # At most two different parents a child, each pair as likely: 1/3 of one parent twice.
    assert max(len(set(child)) for child in children.tolist()) == 2
    # From one parent alone: twice the same, 1/3, or one of two in all six genes, 2/3 * 2/2^6.
    same = (children == children[:, :1]).all(axis=1).mean()
    assert same == pytest.approx(1 / 3 + 2 / 3 / 32, abs=0.04)


def test_crossover_takes_each_parent_with_probability_one_half():
    children = cross(np.array([[0] * 10, [1] * 10]), 4000, rng=np.random.default_rng(0))
    mixed = children[(children != children[:, :1]).any(axis=1)]
    np.testing.assert_allclose(mixed.mean(axis=0), 0.5, atol=0.05)


def test_children_of_crossover_only_have_genes_of_the_best(spos, additive_error):
    error = additive_error(spos, 0)
    searcher = Evolution(
        spos, rng=np.random.default_rng(0), population=40, parents=3, crossover=20, mutation=0
    )
    (first,) = run(searcher, error, 1)
    best = first[np.argsort(error(first), kind="stable")[:3]]
    children = searcher.ask()[:20]
    assert (children[:, None] == best).any(axis=1).all()


@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
def test_a_gene_changes_with_p_times_one_minus_one_over_c(spos, probability):
    parents = spos.sample(1, rng=np.random.default_rng(1))
    n = 20_000
    mutants = mutate(parents, n, spos, probability, rng=np.random.default_rng(0))
    rate = probability * (1 - 1 / 4)
    error = np.sqrt(rate * (1 - rate) / n)
    np.testing.assert_allclose((mutants != parents).mean(axis=0), rate, atol=5 * error)


def test_mutants_use_live_options_only(macro):
    alive = macro.mask.copy()
    alive[:, 1] = False
    space = macro.restrict(alive)
    mutants = mutate(np.zeros((1, 8), dtype=int), 500, space, 1.0, rng=np.random.default_rng(0))
    assert set(mutants.ravel().tolist()) == {0, 2}


def test_the_best_of_everything_told_are_the_parents(spos, additive_error):
    error = additive_error(spos, 0)
    searcher = Evolution(spos, rng=np.random.default_rng(0), parents=7)
    rows = np.concatenate(run(searcher, error, 6))
    order = np.argsort(error(rows), kind="stable")[:7]
    state = searcher.state_dict()
    np.testing.assert_array_equal(state["best"], rows[order])
    np.testing.assert_array_equal(state["best_values"][:, 0], error(rows)[order])


def test_later_columns_break_ties_then_the_order_of_telling(spos):
    searcher = Evolution(spos, rng=np.random.default_rng(0), parents=4)
    archs = np.repeat(np.arange(4)[:, None], 20, axis=1)
    searcher.tell(archs[:2], [[0.5, 3.0], [0.5, 1.0]])
    searcher.tell(archs[2:], [[0.2, 9.0], [0.5, 1.0]])
    assert searcher.state_dict()["best"][:, 0].tolist() == [2, 1, 3, 0]


def test_a_network_told_again_keeps_its_first_values(macro):
    searcher = Evolution(macro, rng=np.random.default_rng(0))
    searcher.tell([[0, 0, 0, 1, 0, 0, 0, 0], [1] * 8], [[0.5], [0.6]])
    searcher.tell([[0, 0, 0, 0, 1, 0, 0, 0]], [[0.1]])
    assert searcher.state_dict()["best_values"].tolist() == [[0.5], [0.6]]


def test_foreign_rows_become_parents(spos):
    searcher = Evolution(spos, rng=np.random.default_rng(0), parents=1, crossover=0, mutation=50)
    searcher.tell([[3] * 20], [[0.0]])
    children = searcher.ask()
    assert len(children) == 50
    # Mutants change 20 * 0.075 genes on average; random rows would change 15.
    assert (children != 3).sum(axis=1).mean() < 4
    assert [3] * 20 not in children.tolist()


def test_infeasible_foreign_rows_do_not(spos, macs):
    feasible = FeasibleSet(spos, [Limit(macs(spos), upper=300e6)])
    searcher = Evolution(spos, rng=np.random.default_rng(0), feasible=feasible)
    searcher.tell([[3] * 20], [[0.0]])
    assert len(searcher.state_dict()["best"]) == 0
    assert feasible.contains(searcher.ask()).all()


def test_replaying_a_history_gives_the_same_parents(spos, additive_error):
    error = additive_error(spos, 0)
    searcher = Evolution(spos, rng=np.random.default_rng(0))
    rows = np.concatenate(run(searcher, error, 5))
    replayed = Evolution(spos, rng=np.random.default_rng(9))
    replayed.tell(rows, error(rows)[:, None])
    np.testing.assert_array_equal(replayed.state_dict()["best"], searcher.state_dict()["best"])
    assert not {*map(tuple, replayed.ask())} & {*map(tuple, rows)}


def test_what_crossover_and_mutation_leave_is_random(spos, additive_error):
    error = additive_error(spos, 0)
    searcher = Evolution(
        spos, rng=np.random.default_rng(0), population=60, parents=2, crossover=0, mutation=10
    )
    run(searcher, error, 1)
    best = searcher.state_dict()["best"]
    children = searcher.ask()
    distance = (children[:, None] != best).sum(axis=2).min(axis=1)
    assert len(children) == 60
    assert distance[:10].max() <= 8
    assert distance[10:].mean() > 10


def test_a_small_space_is_exhausted(macro, macs, additive_error):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=36e6)])
    networks = np.unique(
        macro.canonical(feasible.sample(20_000, rng=np.random.default_rng(3))), axis=0
    )
    searcher = Evolution(macro, rng=np.random.default_rng(0), feasible=feasible)
    populations = run(searcher, additive_error(macro, 0), len(networks) // 50 + 2)
    np.testing.assert_array_equal(np.unique(np.concatenate(populations), axis=0), networks)
    assert len(populations[-1]) == 0
    assert searcher.ask().shape == (0, 8)


def test_a_limit_that_almost_nothing_satisfies(spos, macs, additive_error):
    cost = macs(spos)
    feasible = FeasibleSet(spos, [Limit(cost, upper=275e6)])
    assert feasible.count() / spos.size < 1e-6
    searcher = Evolution(spos, rng=np.random.default_rng(0), feasible=feasible)
    rows = np.concatenate(run(searcher, additive_error(spos, 0), 6))
    assert len(np.unique(rows, axis=0)) == 300
    assert cost(rows).max() <= 275e6

    least, _ = feasible.attainable(cost)
    only = FeasibleSet(spos, [Limit(cost, upper=least)])
    searcher = Evolution(spos, rng=np.random.default_rng(0), feasible=only)
    populations = run(searcher, additive_error(spos, 0), 3)
    assert [len(rows) for rows in populations] == [only.count(), 0, 0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("upper", [45e6, None])
def test_it_finds_the_optimum_of_an_exhaustive_search(macro, macs, additive_error, seed, upper):
    error = additive_error(macro, 100 + seed)
    limits = [] if upper is None else [Limit(macs(macro), upper=upper)]
    feasible = FeasibleSet(macro, limits)
    every = np.stack(np.meshgrid(*[np.arange(3)] * 8, indexing="ij"), axis=-1).reshape(-1, 8)
    every = macro.canonical(every)
    optimum = error(every[feasible.contains(every)]).min()
    searcher = Evolution(macro, rng=np.random.default_rng(seed), feasible=feasible)
    result = search(searcher, [error], space=macro, feasible=feasible, budget=600)
    assert len(result.history) == 600  # of 3,969 networks
    assert result.history.column("error").min() == optimum


@pytest.mark.parametrize("stop", range(5))
def test_state_is_whole(macro, macs, additive_error, stop):
    error = additive_error(macro, 0)
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=50e6)])
    searcher = Evolution(macro, rng=np.random.default_rng(0), feasible=feasible)
    run(searcher, error, stop)
    asked = searcher.ask()  # proposed and not told is part of the state, too
    other = Evolution(macro, rng=np.random.default_rng(9), feasible=feasible)
    other.load_state_dict(searcher.state_dict())
    for one in (searcher, other):
        one.tell(asked, error(asked)[:, None])
    for a, b in zip(run(searcher, error, 4), run(other, error, 4), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"population": 0, "crossover": 0, "mutation": 0}, "population=0"),
        ({"parents": 0}, "parents=0"),
        ({"crossover": -1}, "crossover=-1"),
        ({"mutation": -1}, "mutation=-1"),
        ({"population": 40}, "make 50 children; population=40"),
        ({"mutation_probability": 0.0}, "mutation_probability=0.0"),
        ({"mutation_probability": 1.5}, "mutation_probability=1.5"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(macro, options, match):
    with pytest.raises(InputError, match=match):
        Evolution(macro, rng=np.random.default_rng(0), **options)


def test_bad_tells_and_states_are_refused(macro):
    searcher = Evolution(macro, rng=np.random.default_rng(0))
    searcher.tell([[0] * 8], [[0.5, 1.0]])
    with pytest.raises(InputError, match="1 columns; it had 2"):
        searcher.tell([[1] * 8], [[0.5]])
    with pytest.raises(InputError, match="no state of Evolution"):
        searcher.load_state_dict({"rng": {}})
    state = searcher.state_dict()
    with pytest.raises(InputError, match="a row of values for each row"):
        searcher.load_state_dict({**state, "best_values": np.zeros((0, 2))})
    # A refused tell or state changes nothing.
    assert searcher.state_dict()["best_values"].tolist() == [[0.5, 1.0]]
    assert len(searcher.state_dict()["told"]) == 1
