import numpy as np
import pytest
from attrs import frozen
from numpy.typing import NDArray

from nas_samplers.past import Past


@frozen(eq=False)
class Moment:
    step: int
    values: NDArray[np.float64]
    cost: float | None = None


def moment(step):
    return Moment(step, np.full(2, step / 2), cost=None if step % 2 else step)


def past(updates):
    made = Past(moment(0))
    for step in range(1, updates + 1):
        made.update(lambda step=step: moment(step))
    return made


@pytest.mark.parametrize("updates, every", [(0, 1), (199, 1), (200, 2), (399, 2), (400, 4)])
def test_beyond_two_hundred_every_second_moment_goes(updates, every):
    steps = [one.step for one in past(updates).moments]
    assert steps == list(range(0, updates + 1, every))


def test_moments_that_are_too_close_are_not_computed():
    made, computed = past(200), []
    for step in range(201, 211):
        made.update(lambda step=step: computed.append(step) or moment(step))
    assert computed == [202, 204, 206, 208, 210]


@pytest.mark.parametrize("updates", [0, 7, 301])
def test_a_state_comes_back_and_goes_on(updates):
    one, other = past(updates), Past(moment(9))
    other.load_state_dict(one.state_dict("past"), "past")
    for each in (one, other):
        each.update(lambda: moment(updates + 1))
    state, again = (each.state_dict("past") for each in (one, other))
    np.testing.assert_array_equal(again["past"].pop("values"), state["past"].pop("values"))
    assert again == state


def test_states_may_lack_what_has_a_default():
    state = past(3).state_dict("past")
    del state["past"]["cost"]
    made = past(0)
    made.load_state_dict(state, "past")
    assert [one.step for one in made.moments] == [0, 1, 2, 3]
    assert [one.cost for one in made.moments] == [None] * 4
