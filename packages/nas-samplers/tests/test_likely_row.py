import itertools

import numpy as np
import pytest

from nas_samplers import Distribution, likely_row
from nas_samplers.likely_row import _in_order
from nas_spaces import FeasibleSet, InputError, Limit, Table
from nas_spaces.table import Term


def table(space, seed=3):
    draw = np.random.default_rng(seed)
    terms = [
        Term((column,), draw.integers(0, 30, size=size))
        for column, size in enumerate(space.num_options)
    ]
    return Table(space, "macs", "MACs", terms)


def spread(distribution, seed, std=2.0):
    draw = np.random.default_rng(seed)
    distribution.values[distribution.alive] = draw.normal(
        0.0, std, size=int(distribution.alive.sum())
    )
    return distribution


def best(distribution, feasible):
    space = distribution.space
    rows = np.array(list(itertools.product(*map(range, space.num_options))))
    rows = rows[feasible.contains(rows)]
    return rows[distribution.log_probability(rows).argmax()]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("quantile", [0.02, 0.3, 1.0])
def test_it_is_the_most_probable_of_all_feasible_rows(grouped, joint, seed, quantile):
    space = grouped((3, 2), (4,), (2, 3))
    macs = table(space)
    rows = np.array(list(itertools.product(*map(range, space.num_options))))
    feasible = FeasibleSet(space, [Limit(macs, upper=float(np.quantile(macs(rows), quantile)))])
    one = spread(Distribution(space, joint=joint), seed)
    row, exact = likely_row(one, feasible)
    assert exact
    np.testing.assert_array_equal(row, best(one, feasible))
    if quantile == 1.0:
        np.testing.assert_array_equal(row, one.mode())


def test_rows_come_in_order_and_once(grouped):
    space = grouped((3, 2), (1,), (2, 3))
    alive = space.mask.copy()
    alive[4, 1] = False
    one = spread(Distribution(space.restrict(alive), joint=True), 0)
    rows = np.stack(list(_in_order(one)))
    assert len(rows) == len({tuple(row) for row in rows.tolist()}) == 6 * 4
    chances = one.log_probability(rows)
    assert (np.diff(chances) <= 1e-12).all()
    assert np.exp(chances).sum() == pytest.approx(1.0)


def test_where_feasible_rows_are_far_it_climbs_to_one(grouped):
    # 8^8 rows; the cheapest options are the least probable ones.
    space = grouped(*[(4, 2)] * 8)
    terms = [Term((c,), 10.0 * np.arange(n)) for c, n in enumerate(space.num_options)]
    macs = Table(space, "macs", "MACs", terms)
    feasible = FeasibleSet(space, [Limit(macs, upper=20.0)])
    one = spread(Distribution(space, joint=True), 0, std=0.1)
    one.values[:] += np.arange(8)
    row, exact = likely_row(one, feasible)
    assert not exact
    assert feasible.contains(row[None])[0]
    # No exchange of one group makes it better.
    places, logs = one.places(row[None])[0], one.log_probabilities()
    for factor, option in itertools.product(range(8), range(8)):
        other = places.copy()
        other[factor] = option
        if feasible.contains(one.rows_of(other[None]))[0]:
            assert logs[factor, option] <= logs[factor, places[factor]]
    assert one.log_probability(row[None]) > one.log_probability([[0] * 16])


@pytest.mark.parametrize("joint", [False, True])
def test_dropped_options_are_never_taken(grouped, joint):
    space = grouped((3, 2), (4,))
    alive = space.mask.copy()
    alive[0, 2] = alive[2, 1] = False
    space = space.restrict(alive)
    one = Distribution(space, joint=joint)
    one.values[:] = 5.0
    row, exact = likely_row(one, FeasibleSet(space))
    assert exact
    assert alive[np.arange(3), row].all()


def test_a_set_of_another_space_is_refused(grouped):
    with pytest.raises(InputError, match="build it from the same space"):
        likely_row(Distribution(grouped((3,))), FeasibleSet(grouped((2,))))
