import itertools
import json
import math

import numpy as np
import pytest

from nas_samplers import Distribution
from nas_spaces import Block, Choice, InputError, SearchSpace, Table, published
from nas_spaces.jsonable import from_jsonable, to_jsonable
from nas_spaces.layers import Classifier, Identity
from nas_spaces.table import Term


def rng(seed=0):
    return np.random.default_rng(seed)


def every_row(space):
    return np.array(list(itertools.product(*map(range, space.num_options))))


def spread(distribution, seed=0, std=1.0):
    """Give live logits random values."""
    count = int(distribution.alive.sum())
    distribution.values[distribution.alive] = rng(seed).normal(0.0, std, size=count)
    return distribution


@pytest.fixture
def space(grouped):
    return grouped((3, 2), (4,), (2, 3))


FORMS = pytest.mark.parametrize("joint", [False, True])


# --- what it is -----------------------------------------------------------------------------------


@FORMS
def test_all_agree_with_the_enumeration(space, joint):
    one = spread(Distribution(space, joint=joint))
    rows = every_row(space)
    chances = np.exp(one.log_probability(rows))
    assert chances.sum() == pytest.approx(1.0, abs=1e-12)
    assert one.entropy() == pytest.approx(-(chances * np.log(chances)).sum(), rel=1e-12)
    np.testing.assert_array_equal(one.mode(), rows[chances.argmax()])
    for column, size in enumerate(space.num_options):
        expected = [chances[rows[:, column] == option].sum() for option in range(size)]
        np.testing.assert_allclose(one.marginals()[column, :size], expected, rtol=1e-12)
        assert (one.marginals()[column, size:] == 0).all()
    np.testing.assert_array_equal(one.rows_of(one.places(rows)), rows)


@FORMS
def test_rows_are_drawn_by_their_probabilities(space, joint):
    one = spread(Distribution(space, joint=joint))
    rows = every_row(space)
    found, counts = np.unique(one.sample(40_000, rng=rng(1)), axis=0, return_counts=True)
    expected = 40_000 * np.exp(one.log_probability(rows))
    seen = dict(zip(map(tuple, found.tolist()), counts.tolist(), strict=True))
    observed = np.array([seen.get(tuple(row), 0) for row in rows.tolist()])
    # Chi-squared of 143 degrees of freedom: above 210 with a probability of 2e-4.
    assert ((observed - expected) ** 2 / expected).sum() < 210


def test_joint_groups_can_say_what_factorised_ones_cannot(grouped):
    one = Distribution(grouped((2, 2)), joint=True)
    one.values[0] = [9.0, -9.0, -9.0, 9.0]
    rows = one.sample(200, rng=rng())
    assert (rows[:, 0] == rows[:, 1]).all()
    assert set(rows[:, 0]) == {0, 1}
    np.testing.assert_allclose(one.marginals(), 0.5)


def test_parameters_and_entropy_of_fbnetv2_f():
    space = published.load("fbnetv2-f", resolution=32)
    one = Distribution(space)
    assert one.parameters["group10"] == 23
    # The known answer is that of 2.70e24 rows.
    assert one.entropy() == pytest.approx(56.25366304594702, abs=1e-5)
    assert one.entropy() == pytest.approx(math.log(space.size), rel=1e-12)
    one.join()
    assert one.parameters["group10"] == 720
    sizes = [24, 216, 216, 288, 288, 360, 360, 432, 720, 720]
    assert list(one.parameters.values()) == sizes
    assert one.entropy() == pytest.approx(math.log(space.size), rel=1e-12)


def test_a_choice_without_a_group_is_one_of_its_own():
    choices = [Choice("x", (0, 1), group="y"), Choice("y", (0, 1)), Choice("z", (0, 1), group="y")]
    blocks = [Block(c.name, [Identity()] * 2, (c.name,)) for c in choices]
    space = SearchSpace("odd", (3, 8, 8), choices, [*blocks, Block("head", [Classifier(2)])])
    one = Distribution(space, joint=True)
    # Choices of a group need not be neighbours.
    assert [factor.columns for factor in one.factors] == [(0, 2), (1,)]
    assert list(one.parameters.values()) == [4, 2]
    spread(one)
    rows = every_row(space)
    assert np.exp(one.log_probability(rows)).sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(one.rows_of(one.places(rows)), rows)


@FORMS
def test_dropped_options_have_no_probability(space, joint):
    alive = space.mask.copy()
    alive[0, 0] = alive[1, 1] = alive[4, 0] = alive[4, 2] = False
    space = space.restrict(alive)
    one = spread(Distribution(space, joint=joint))
    rows = every_row(space)
    live = alive[np.arange(5), rows].all(axis=1)
    chances = np.exp(one.log_probability(rows))
    assert (chances[~live] == 0).all()
    assert chances.sum() == pytest.approx(1.0)
    assert alive[np.arange(5), one.sample(2000, rng=rng())].all()
    assert alive[np.arange(5), one.mode()].all()
    assert ((one.marginals() > 0) == alive).all()
    live_sizes = [2, 1, 4, 2, 1]
    assert sum(one.parameters.values()) == (2 * 1 + 4 + 2 * 1 if joint else sum(live_sizes))
    one.values[:] = 0
    assert one.entropy() == pytest.approx(math.log(math.prod(live_sizes)))


@FORMS
def test_certainty_has_no_entropy_and_overflows_nothing(space, joint):
    one = Distribution(space, joint=joint)
    one.values[:, 1] = 1e5
    assert one.entropy() == 0.0
    assert np.isfinite(one.log_probability(every_row(space))).all()
    assert (one.sample(50, rng=rng()) == one.mode()).all()


# --- factorised to joint --------------------------------------------------------------------------


def test_joining_changes_no_probability(space):
    one = spread(Distribution(space), std=3.0)
    rows = every_row(space)
    before = one.log_probability(rows), one.marginals(), one.entropy(), one.mode()
    drawn = one.sample(100, rng=rng())
    one.join()
    assert one.joint
    np.testing.assert_allclose(one.log_probability(rows), before[0], rtol=1e-12)
    np.testing.assert_allclose(one.marginals(), before[1], rtol=1e-12)
    assert one.entropy() == pytest.approx(before[2], rel=1e-12)
    np.testing.assert_array_equal(one.mode(), before[3])
    assert one.values.shape == (3, 6)
    assert drawn.shape == one.sample(100, rng=rng()).shape
    values = one.values.copy()
    one.join()
    np.testing.assert_array_equal(one.values, values)


def test_joining_leaves_dropped_options_out(space):
    alive = space.mask.copy()
    alive[0, 0] = alive[4, 2] = False
    one = spread(Distribution(space.restrict(alive)))
    before = one.log_probability(every_row(space))
    one.join()
    np.testing.assert_allclose(one.log_probability(every_row(space)), before, rtol=1e-12)


def test_groups_that_are_too_large_are_refused_by_name(grouped):
    space = grouped((2, 2), (64, 64, 17))
    words = (
        r"group 'g1' of space 'grouped' has 69,632 combinations of its 3 choices; .* 65,536 .*stay"
    )
    with pytest.raises(InputError, match=words):
        Distribution(space, joint=True)
    one = Distribution(space)
    with pytest.raises(InputError, match=words):
        one.join()
    assert not one.joint
    assert one.sample(3, rng=rng()).shape == (3, 5)
    Distribution(grouped((64, 64, 16)), joint=True)


# --- derivatives, means ---------------------------------------------------------------------------


def test_the_exact_gradient_of_the_known_answers(grouped):
    one = Distribution(grouped((3,)))
    one.values[0] = [0.2, -0.1, 0.4]
    likelihood, cost = np.array([0.1, 0.5, 0.2]), np.array([0.2, 0.0, 0.5])
    chances = np.exp(one.log_probabilities()[0])
    rows = [[0], [1], [2]]
    posterior = chances * likelihood / (chances * likelihood).sum()
    np.testing.assert_allclose(
        one.score(rows, posterior),
        [[0.1976636667958379, -0.26819087684123794, 0.07052721004540002]],
        rtol=1e-12,
    )
    share = chances * cost / (chances * cost).sum()
    np.testing.assert_allclose(
        one.score(rows, -share),
        [[-0.09088457507391749, -0.25008877662170514, 0.3409733516956227]],
        rtol=1e-12,
    )


@FORMS
def test_the_score_is_the_derivative_by_differences(space, joint):
    one = spread(Distribution(space, joint=joint))
    rows, weights = one.sample(7, rng=rng(3)), rng(4).normal(size=7)
    score = one.score(rows, weights)
    assert (score[~one.alive] == 0).all()
    for place in zip(*np.nonzero(one.alive), strict=True):
        ends = []
        for step in (1e-5, -2e-5):
            one.values[place] += step
            ends.append(-(weights * one.log_probability(rows)).sum())
        one.values[place] += 1e-5
        assert score[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-6)


@FORMS
def test_the_expected_cost_is_the_mean_over_all_rows(space, joint):
    one = spread(Distribution(space, joint=joint))
    draw = rng(5)
    terms = [
        Term(columns, draw.normal(size=[space.num_options[c] for c in columns]))
        for columns in [(0,), (2, 1), (4, 0, 3), (), (3, 4)]
    ]
    table = Table(space, "cost", "1", terms, constant=2.5)
    rows = every_row(space)
    mean = (np.exp(one.log_probability(rows)) * table(rows)).sum()
    assert one.expected(table) == pytest.approx(mean, rel=1e-12)
    with pytest.raises(InputError, match="maximum over the blocks"):
        one.expected(Table(space, "cost", "1", terms, reduce="max"))


# --- the past, and state --------------------------------------------------------------------------


def used(one, steps, seed):
    draw = rng(seed)
    for _ in range(steps):
        one.count(one.sample(int(draw.integers(1, 4)), rng=draw))
        one.values[one.alive] += draw.normal(0, 0.1, size=int(one.alive.sum()))
        one.snapshot()
    return one


@FORMS
def test_the_state_is_whole_also_across_the_switch(space, joint):
    one = used(Distribution(space), 130, 0)
    if joint:
        one.join()
    used(one, 130, 1)
    other = used(Distribution(space), 3, 2)
    other.load_state_dict(from_jsonable(json.loads(json.dumps(to_jsonable(one.state_dict(), "")))))
    ends = [used(each, 20, 3) for each in (one, other)]
    assert to_jsonable(ends[0].state_dict(), "") == to_jsonable(ends[1].state_dict(), "")
    assert ends[0].to_record() == ends[1].to_record()
    np.testing.assert_array_equal(ends[0].sample(5, rng=rng()), ends[1].sample(5, rng=rng()))
    # A state is a copy.
    saved = one.state_dict()
    one.values += 1
    assert not np.array_equal(saved["values"], one.values)


def test_the_record_is_json_and_ends_with_the_present(space):
    one = used(Distribution(space), 5, 0)
    one.join()
    used(one, 4, 1)
    one.values[:, 0] += 1
    record = json.loads(json.dumps(one.to_record()))
    assert record["steps"] == [0, *range(1, 10), 9]
    assert record["joint"] == [False] * 6 + [True] * 5
    assert record["sampled"][-1] == one.sampled == sum(record["rows"][1:-1])
    assert record["entropy"][0] == pytest.approx(math.log(144))
    assert record["entropy"][-1] == one.entropy()
    assert record["mode"] == one.mode().tolist()
    assert record["groups"] == {"g0": [0, 1], "g1": [2], "g2": [3, 4]}
    shapes = [[len(row) for row in moment] for moment in record["marginals"]]
    assert shapes == [[3, 2, 4, 2, 3]] * 11
    again = used(Distribution(space), 2, 0).to_record()
    assert again["steps"] == [0, 1, 2]


@FORMS
def test_what_was_recorded_is_the_same_distribution(space, joint):
    one = spread(Distribution(space, joint=joint))
    record = json.loads(json.dumps(one.to_record()))
    again = Distribution.from_record(space, record)
    np.testing.assert_array_equal(again.values, one.values)
    alive = space.mask.copy()
    alive[0, 1] = False
    part = space.restrict(alive)
    dropped = json.loads(json.dumps(spread(Distribution(part, joint=joint)).to_record()))
    with pytest.raises(InputError, match="finite numbers for all live options"):
        Distribution.from_record(space, dropped)
    same = Distribution.from_record(part, dropped).marginals()
    np.testing.assert_array_equal(same, spread(Distribution(part, joint=joint)).marginals())
    # What is live there need not be live here.
    assert Distribution.from_record(part, record).marginals()[0, 1] == 0
    assert again.joint == joint
    np.testing.assert_array_equal(again.sample(50, rng=rng()), one.sample(50, rng=rng()))


@FORMS
@pytest.mark.parametrize(
    "change",
    [
        {"logits": [[0.0]]},
        {"logits": None},
        {"joint": []},
        {"choices": ["a"]},
        {"options": [["x"]]},
        {"logits": [[math.nan] * 3] * 3},
        {"groups": {"all": [0, 1, 2, 3, 4]}},
    ],
)
def test_records_that_cannot_be_read_are_refused(space, joint, change):
    record = Distribution(space, joint=joint).to_record()
    with pytest.raises(InputError, match="record"):
        Distribution.from_record(space, record | change)
    with pytest.raises(InputError, match="record"):
        Distribution.from_record(space, {k: v for k, v in record.items() if k not in change})


@FORMS
def test_log_marginals_are_those_of_the_marginals(space, joint):
    alive = space.mask.copy()
    alive[0, 1] = False
    one = spread(Distribution(space.restrict(alive), joint=joint))
    logs = one.log_marginals()
    np.testing.assert_allclose(np.exp(logs), one.marginals(), rtol=1e-12)
    assert logs[0, 1] == -math.inf
    if not joint:
        one.values[0, 0] = -2000.0  # too unlikely for a number, and not impossible
        assert -2100 < one.log_marginals()[0, 0] < -1900


def test_moments_remember_the_expected_cost(space):
    table = _cost(space)
    one = spread(Distribution(space))
    one.count(space.sample(3, rng=rng()))
    one.snapshot(table)
    one.values[0, 0] += 1.0
    record = json.loads(json.dumps(one.to_record(table)))
    before, then, now = record["costs"]
    assert before is None
    assert then != now == pytest.approx(one.expected(table))
    other = Distribution(space)
    other.load_state_dict(from_jsonable(json.loads(json.dumps(to_jsonable(one.state_dict(), "x")))))
    assert other.to_record(table) == one.to_record(table)


def _cost(space):
    values = np.arange(math.prod(space.num_options[:2]), dtype=np.float64)
    return Table(space, "cost", "points", [Term((0, 1), values.reshape(space.num_options[:2]))])


def test_moments_stay_few(space):
    one = used(Distribution(space), 900, 0)
    steps = [moment.step for moment in one.moments]
    assert 100 <= len(steps) <= 200
    assert steps[0] == 0
    assert set(np.diff(steps)) == {8}


def test_states_of_other_spaces_are_refused(space, grouped):
    state = Distribution(space).state_dict()
    with pytest.raises(InputError, match="another space: its options"):
        Distribution(grouped((3, 2), (4,), (2, 2))).load_state_dict(state)
    alive = space.mask.copy()
    alive[0, 0] = False
    with pytest.raises(InputError, match="another space: its live options"):
        Distribution(space.restrict(alive)).load_state_dict(state)
    other = grouped((3,), (2, 4), (2, 3))
    with pytest.raises(InputError, match="another space"):
        Distribution(other).load_state_dict(state)


@pytest.mark.parametrize("values", [np.zeros((5, 5)), np.full((5, 4), np.nan)])
def test_damaged_values_are_refused(space, values):
    one = Distribution(space)
    with pytest.raises(
        InputError, match=r"values of shape .*expected finite ones of shape \(5, 4\)"
    ):
        one.load_state_dict({**one.state_dict(), "values": values})
    assert one.entropy() == pytest.approx(math.log(144))


def test_what_cannot_be(space):
    with pytest.raises(InputError, match="no choices"):
        Distribution(space.fix([0] * 5))
    with pytest.raises(InputError, match="5 choices"):
        Distribution(space).log_probability([[0, 0]])
