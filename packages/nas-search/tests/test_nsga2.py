import numpy as np
import pytest

from nas_search import NSGA2, Random, crowding, fronts, hypervolume, non_dominated, search
from nas_spaces import FeasibleSet, InputError, Limit
from nas_spaces.testing import check_searcher


def run(searcher, measure, generations):
    """Return the rows of each generation."""
    populations = []
    for _ in range(generations):
        archs = searcher.ask()
        searcher.tell(archs, measure(archs))
        populations.append(archs)
    return populations


@pytest.fixture
def both(additive_error, macs):
    """Two objectives that disagree: a random additive error, and multiply-adds."""

    def build(space, seed=0):
        error, cost = additive_error(space, seed), macs(space)
        return lambda archs: np.stack([error(archs), cost(archs)], axis=1)

    return build


class Favourites:
    """A mutator that learns: it sets one gene to the option whose errors were least so far."""

    def __init__(self, space):
        self.space = space
        self.sums = np.zeros((2, *space.mask.shape))
        self.parents = []

    def __call__(self, parents, *, rng):
        self.parents.append(parents)
        means = self.sums[0] / np.maximum(self.sums[1], 1) + 9 * (self.sums[1] == 0)
        columns = rng.integers(self.space.num_choices, size=len(parents))
        mutants = parents.copy()
        mutants[np.arange(len(parents)), columns] = means.argmin(axis=1)[columns]
        return mutants

    def tell(self, archs, values):
        for arch, error in zip(archs, values[:, 0], strict=True):
            self.sums[:, np.arange(len(arch)), arch] += [[error], [1]]

    def state_dict(self):
        return {"sums": self.sums.copy()}

    def load_state_dict(self, state):
        self.sums = np.array(state["sums"])


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("upper", [None, 45e6, 30e6])
def test_it_does_what_the_protocol_promises(macro, macs, upper, objectives):
    limits = [] if upper is None else [Limit(macs(macro), upper=upper)]
    feasible = FeasibleSet(macro, limits)

    def make(rng):
        return NSGA2(macro, rng=rng, feasible=feasible)

    check_searcher(make, macro, feasible, objectives=objectives)


def test_it_does_so_with_a_mutator(macro):
    def make(rng):
        return NSGA2(macro, rng=rng, mutator=Favourites(macro))

    check_searcher(make, macro, objectives=2)


@pytest.mark.parametrize("upper", [45e6, 60e6, 80e6])
def test_rows_are_feasible_canonical_and_never_come_twice(macro, macs, both, upper):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=upper)])
    searcher = NSGA2(macro, rng=np.random.default_rng(0), feasible=feasible)
    rows = np.concatenate(run(searcher, both(macro), 8))
    assert rows.shape == (512, 8)
    assert rows.dtype == np.int64
    assert feasible.contains(rows).all()
    np.testing.assert_array_equal(rows, macro.canonical(rows))
    assert len(np.unique(rows, axis=0)) == 512


def test_children_that_miss_a_tight_limit_are_repaired(spos, macs):
    def best(mutation):
        feasible = FeasibleSet(spos, [Limit(macs(spos), lower=299e6, upper=300e6)])
        found = []
        for seed in range(2):
            rng = np.random.default_rng(seed)
            searcher = NSGA2(spos, rng=rng, feasible=feasible, mutation=mutation)
            rows = run(searcher, lambda archs: (archs != 1).mean(axis=1, keepdims=True), 7)
            assert feasible.contains(np.concatenate(rows)).all()
            found.append((np.concatenate(rows) != 1).mean(axis=1).min())
        return np.mean(found)

    # As many random rows come to 0.45.
    assert max(best(0.8), best(0.0)) < 0.35


def test_dropped_options_stay_dropped(macro, both):
    alive = macro.mask.copy()
    alive[2, 0] = alive[4, 0] = alive[5, 2] = False
    space = macro.restrict(alive)
    searcher = NSGA2(space, rng=np.random.default_rng(0), mutator=Favourites(space))
    rows = np.concatenate(run(searcher, both(macro), 8))
    assert FeasibleSet(space).contains(rows).all()
    assert len(np.unique(space.canonical(rows), axis=0)) == len(rows) == 512


def test_seeds_decide(macro, both):
    def rows(seed):
        searcher = NSGA2(macro, rng=np.random.default_rng(seed))
        return np.concatenate(run(searcher, both(macro), 4)).tolist()

    assert rows(0) == rows(0) != rows(1)


def survivors(values, n):
    """Return which rows Deb et al. keep: whole fronts, then the least crowded of the next."""
    ranks = fronts(values)
    kept = []
    for rank in range(ranks.max() + 1):
        front = np.flatnonzero(ranks == rank)
        if len(kept) + len(front) > n:
            distances = crowding(values[front], np.zeros(len(front), dtype=int))
            front = front[np.argsort(-distances, kind="stable")][: n - len(kept)]
        kept.extend(front.tolist())
    return kept


@pytest.mark.parametrize("population", [5, 20, 64])
def test_parents_and_children_survive_by_front_and_crowding(spos, both, population):
    measure = both(spos)
    searcher = NSGA2(spos, rng=np.random.default_rng(0), population=population)
    rows = np.zeros((0, 20), dtype=int)
    for _ in range(6):
        archs = searcher.ask()
        searcher.tell(archs, measure(archs))
        rows = np.concatenate([rows, archs])
        rows = rows[survivors(measure(rows), population)]
        state = searcher.state_dict()
        assert {*map(tuple, state["rows"])} == {*map(tuple, rows)}
        np.testing.assert_array_equal(state["values"], measure(state["rows"]))
        # Ties in later rounds are decided by this order.
        rows = state["rows"]


def test_one_objective_keeps_the_best_of_everything_told(spos, additive_error):
    error = additive_error(spos, 0)
    searcher = NSGA2(spos, rng=np.random.default_rng(0), population=7)
    rows = np.concatenate(run(searcher, lambda archs: error(archs)[:, None], 12))
    state = searcher.state_dict()
    np.testing.assert_array_equal(state["values"][:, 0], np.sort(error(rows))[:7])


def test_the_front_of_everything_told_is_kept_where_there_is_room(macro, both):
    measure = both(macro)
    searcher = NSGA2(macro, rng=np.random.default_rng(0), population=100)
    rows = np.concatenate(run(searcher, measure, 8))
    front = rows[non_dominated(measure(rows))]
    assert 5 < len(front) < 100
    assert {*map(tuple, front)} <= {*map(tuple, searcher.state_dict()["rows"])}


def test_parents_win_tournaments_by_front_then_by_crowding(spos):
    # Four rows: fronts 0, 0, 0, 1; the second is the one between two ends.
    archs = np.repeat(np.arange(4)[:, None], 20, axis=1)
    values = [[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [3.0, 3.0]]
    seen = Favourites(spos)
    searcher = NSGA2(
        spos, rng=np.random.default_rng(0), mutation=1.0, mutator=seen, random_mutation=0.0
    )
    searcher.tell(archs, values)
    for _ in range(5):
        searcher.ask()
    parents = np.concatenate(seen.parents)[:, 0]
    share = np.bincount(parents, minlength=4) / len(parents)
    # Of 16 ordered pairs row 3 wins only against itself, row 1 against itself and row 3 in either
    # order, rows 0 and 2 share the other 12 evenly: either wins by chance between equals.
    np.testing.assert_allclose(share, [6 / 16, 3 / 16, 6 / 16, 1 / 16], atol=0.03)


def test_children_of_crossover_only_have_genes_of_two_parents(spos):
    searcher = NSGA2(spos, rng=np.random.default_rng(0), mutation=0.0)
    archs = np.repeat(np.arange(3)[:, None], 20, axis=1)
    searcher.tell(archs, [[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])
    children = searcher.ask()
    assert len(children) == 64
    assert max(len(set(child)) for child in children.tolist()) == 2
    assert children.max() == 2


@pytest.mark.parametrize(("probability", "rate"), [(None, 1 / 20), (0.4, 0.4)])
def test_mutants_change_one_gene_of_d_or_as_told(spos, probability, rate):
    searcher = NSGA2(
        spos, rng=np.random.default_rng(0), mutation=1.0, mutation_probability=probability
    )
    searcher.tell([[3] * 20], [[0.0, 0.0]])
    # One generation has no more than 60 mutants of one gene; a fresh one each time.
    changed = np.zeros(21)
    state = searcher.state_dict()
    for seed in range(20):
        state["rng"] = np.random.default_rng(seed).bit_generator.state
        searcher.load_state_dict(state)
        children = searcher.ask()
        changed += np.bincount((children != 3).sum(axis=1), minlength=21)
    # Of those that changed at all; a redrawn gene stays with 1/4. Repeats are left out, so that
    # there are more mutants of two genes than binomial numbers say.
    mean = (changed * np.arange(21)).sum() / changed.sum()
    binomial = 20 * rate * 0.75 / (1 - (1 - rate * 0.75) ** 20)
    assert binomial - 0.1 < mean < 1.2 * binomial


def test_the_shares_of_children(spos):
    # Crossed: 0s and 1s; random mutants: at least one other gene; the mutator's: one 3 each.
    class Threes(Favourites):
        def __call__(self, parents, *, rng):
            mutants = parents.copy()
            mutants[np.arange(len(parents)), rng.integers(20, size=len(parents))] = 3
            return mutants

    searcher = NSGA2(
        spos,
        rng=np.random.default_rng(0),
        population=50,
        mutation=0.8,
        mutator=Threes(spos),
        random_mutation=0.2,
    )
    parents = np.random.default_rng(1).integers(2, size=(40, 20))
    searcher.tell(parents, np.stack([np.arange(40), np.arange(40)[::-1]], axis=1))
    children = searcher.ask()
    assert len(children) == 50
    crossed, guided, mutated = np.split(children, [10, 42])
    assert crossed.max() == 1
    assert ((guided == 3).sum(axis=1) == 1).all()
    distance = (mutated[:, None] != parents).sum(axis=2).min(axis=1)
    assert distance.min() >= 1
    assert distance.mean() < 4


def test_without_a_mutator_all_mutants_are_random(spos, both):
    def rows(random_mutation):
        searcher = NSGA2(spos, rng=np.random.default_rng(0), random_mutation=random_mutation)
        return np.concatenate(run(searcher, both(spos), 3)).tolist()

    assert rows(0.0) == rows(0.2)


def test_foreign_rows_become_parents(spos):
    searcher = NSGA2(spos, rng=np.random.default_rng(0), mutation=1.0)
    searcher.tell([[3] * 20], [[0.0, 1.0]])
    children = searcher.ask()
    assert len(children) == 64
    assert (children != 3).sum(axis=1).mean() < 4  # random rows: 15
    assert [3] * 20 not in children.tolist()


def test_infeasible_foreign_rows_do_not(spos, macs):
    feasible = FeasibleSet(spos, [Limit(macs(spos), upper=300e6)])
    searcher = NSGA2(spos, rng=np.random.default_rng(0), feasible=feasible)
    searcher.tell([[3] * 20], [[0.0, 0.0]])
    assert len(searcher.state_dict()["rows"]) == 0
    assert feasible.contains(searcher.ask()).all()


def test_a_network_told_again_keeps_its_first_values(macro):
    searcher = NSGA2(macro, rng=np.random.default_rng(0))
    searcher.tell([[0, 0, 0, 1, 0, 0, 0, 0], [1] * 8], [[0.5, 2], [0.6, 1]])
    searcher.tell([[0, 0, 0, 0, 1, 0, 0, 0]], [[0.1, 0]])
    assert sorted(searcher.state_dict()["values"].tolist()) == [[0.5, 2], [0.6, 1]]


def test_replaying_a_history_gives_the_same_parents(macro, both):
    measure = both(macro)
    searcher = NSGA2(macro, rng=np.random.default_rng(0))
    populations = run(searcher, measure, 5)
    replayed = NSGA2(macro, rng=np.random.default_rng(9))
    for rows in populations:
        replayed.tell(rows, measure(rows))
    np.testing.assert_array_equal(replayed.state_dict()["rows"], searcher.state_dict()["rows"])
    told = {*map(tuple, np.concatenate(populations))}
    assert not {*map(tuple, replayed.ask())} & told


def test_a_small_space_is_exhausted(macro, macs, both):
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=36e6)])
    networks = np.unique(
        macro.canonical(feasible.sample(20_000, rng=np.random.default_rng(3))), axis=0
    )
    searcher = NSGA2(macro, rng=np.random.default_rng(0), feasible=feasible)
    populations = run(searcher, both(macro), len(networks) // 64 + 2)
    np.testing.assert_array_equal(np.unique(np.concatenate(populations), axis=0), networks)
    assert len(populations[-1]) == 0
    assert searcher.ask().shape == (0, 8)


def test_a_space_without_choices_has_one_row(macro):
    space = macro.fix([1] * 8)
    searcher = NSGA2(space, rng=np.random.default_rng(0))
    assert searcher.ask().shape == (1, 0)
    searcher.tell(np.zeros((1, 0), dtype=int), [[0.5, 1.0]])
    assert searcher.ask().shape == (0, 0)


def interacting_error(space, seed):
    """Return an error: larger blocks are better, and neighbours like each other or do not."""
    rng = np.random.default_rng(seed)
    gains = np.cumsum(rng.random((8, 3)), axis=1) * [0, 1, 1]
    pairs = 0.3 * rng.normal(size=(7, 3, 3))

    def error(archs):
        archs = space.canonical(archs)
        total = gains[np.arange(8), archs].sum(axis=1)
        total += pairs[np.arange(7), archs[:, :-1], archs[:, 1:]].sum(axis=1)
        return 0.1 + 0.3 / (1 + np.exp((total - 6) / 2))

    return error


def test_its_front_is_better_than_that_of_random_search(macro, macs):
    cost = macs(macro)
    every = np.stack(np.meshgrid(*[np.arange(3)] * 8, indexing="ij"), axis=-1).reshape(-1, 8)
    every = np.unique(macro.canonical(every), axis=0)
    shares = []
    for seed in range(6):
        error = interacting_error(macro, seed)
        reachable = np.stack([error(every), cost(every)], axis=1)
        low, high = reachable.min(axis=0), reachable.max(axis=0)
        best = hypervolume((reachable - low) / (high - low), (1.1, 1.1))

        def share(searcher, error=error, low=low, high=high, best=best):
            rows = np.concatenate(
                run(searcher, lambda archs: np.stack([error(archs), cost(archs)], axis=1), 8)
            )
            assert len(rows) == 512  # of 3,969 networks
            values = np.stack([error(rows), cost(rows)], axis=1)
            return hypervolume((values - low) / (high - low), (1.1, 1.1)) / best

        shares.append(
            [
                share(NSGA2(macro, rng=np.random.default_rng(seed))),
                share(Random(macro, rng=np.random.default_rng(seed), batch=64)),
            ]
        )
    ours, random = np.array(shares).T
    assert (ours > random + 0.015).all()
    assert ours.mean() > random.mean() + 0.035
    assert ours.mean() > 0.98


def test_the_driver_runs_it_on_three_objectives(macro, macs, additive_error):
    class Named:
        unit = "1"

        def __init__(self, name, seed):
            self.name = name
            self.error = additive_error(macro, seed)

        def __call__(self, archs):
            return self.error(archs)

    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=60e6)])
    objectives = [Named("error", 0), Named("other", 1), macs(macro)]
    saved = []

    def searcher(seed):
        return NSGA2(macro, rng=np.random.default_rng(seed), feasible=feasible)

    options = {"space": macro, "feasible": feasible, "budget": 300}
    result = search(searcher(0), objectives, checkpoint=saved.append, **options)
    assert len(result.history) == 300
    again = search(searcher(9), objectives, resume=saved[1], **options)
    np.testing.assert_array_equal(again.history.archs, result.history.archs)


@pytest.mark.parametrize("stop", range(4))
@pytest.mark.parametrize("learned", [False, True])
def test_state_is_whole(macro, macs, both, stop, learned):
    measure = both(macro)
    feasible = FeasibleSet(macro, [Limit(macs(macro), upper=50e6)])

    def make(seed):
        mutator = Favourites(macro) if learned else None
        rng = np.random.default_rng(seed)
        return NSGA2(macro, rng=rng, feasible=feasible, mutator=mutator)

    searcher, other = make(0), make(9)
    run(searcher, measure, stop)
    asked = searcher.ask()  # proposed and not told is part of the state, too
    other.load_state_dict(searcher.state_dict())
    for one in (searcher, other):
        one.tell(asked, measure(asked))
    for a, b in zip(run(searcher, measure, 3), run(other, measure, 3), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"population": 0}, "population=0"),
        ({"mutation": -0.1}, "mutation=-0.1"),
        ({"mutation": 1.1}, "mutation=1.1"),
        ({"mutation": float("nan")}, "mutation=nan"),
        ({"random_mutation": 2}, "random_mutation=2"),
        ({"mutation_probability": 0.0}, "mutation_probability=0.0"),
        ({"mutation_probability": 1.5}, "mutation_probability=1.5"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(macro, options, match):
    with pytest.raises(InputError, match=match):
        NSGA2(macro, rng=np.random.default_rng(0), **options)


def test_the_set_of_another_space_is_refused(macro, spos):
    with pytest.raises(InputError, match="feasible is a set of space"):
        NSGA2(macro, rng=np.random.default_rng(0), feasible=FeasibleSet(spos))


def test_bad_tells_and_states_are_refused(macro):
    searcher = NSGA2(macro, rng=np.random.default_rng(0))
    searcher.tell([[0] * 8], [[0.5, 1.0]])
    with pytest.raises(InputError, match="1 columns; it had 2"):
        searcher.tell([[1] * 8], [[0.5]])
    with pytest.raises(InputError, match="finite"):
        searcher.tell([[1] * 8], [[0.5, np.nan]])
    with pytest.raises(InputError, match="no state of NSGA2"):
        searcher.load_state_dict({"rng": {}})
    state = searcher.state_dict()
    with pytest.raises(InputError, match="a row of values for each row"):
        searcher.load_state_dict({**state, "values": np.zeros((0, 2))})
    with pytest.raises(InputError, match="saved with one, this searcher has none"):
        searcher.load_state_dict({**state, "mutator": {}})
    other = NSGA2(macro, rng=np.random.default_rng(0), mutator=Favourites(macro))
    with pytest.raises(InputError, match="saved with none, this searcher has one"):
        other.load_state_dict(state)
    # A refused tell or state changes nothing.
    assert searcher.state_dict()["values"].tolist() == [[0.5, 1.0]]
    assert len(searcher.state_dict()["told"]) == 1


def test_a_mutator_with_rows_of_another_space_is_refused(macro):
    class Wrong(Favourites):
        def __call__(self, parents, *, rng):
            return parents[:, :-1]

    searcher = NSGA2(macro, rng=np.random.default_rng(0), mutator=Wrong(macro))
    searcher.tell([[0] * 8], [[0.5, 1.0]])
    with pytest.raises(InputError, match="8 choices"):
        searcher.ask()
