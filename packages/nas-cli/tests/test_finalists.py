import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from nas_cli.config import resolve
from nas_cli.finalists import choose_finalist
from nas_cli.limits import METRICS
from nas_search.rl import Accuracy, WeightedProduct
from nas_spaces import History, published

SPACE = published.load("digits-mobile")
MACS = METRICS["macs"](SPACE)
# By their multiply-adds: two small networks, three about the middle, two large ones.
ROWS = SPACE.sample(200, rng=np.random.default_rng(0))
ROWS = ROWS[np.argsort(MACS(ROWS))][[0, 20, 90, 100, 110, 160, 199]]
COSTS = MACS(ROWS)
TARGET = float(COSTS[3])


class Trained:
    """In place of trainings: the error of each row is what it is here, in percent."""

    def __init__(self, errors):
        self.errors = errors
        self.asked = None

    def train_longer(self, archs, folder, on_progress):
        self.asked = archs.tolist()
        on_progress(float(len(archs)))
        return np.array([self.errors[tuple(arch)] for arch in self.asked])


@pytest.fixture
def choose(tmp_path):
    """Choose among `ROWS` by their errors in the search, and by those when trained longer."""

    def choose(errors, *, target=None, finalists=3, longer=None, hard=False, exponent=-0.07):
        given = {"method": "fnas", "data": "digits", "space": "digits-mobile"}
        given["candidates"] = {"finalists": finalists}
        if target is not None:
            given["reward"] = {"target": f"{target:.0f}"}
        said = []
        shop = SimpleNamespace(
            run=SimpleNamespace(config=resolve([given])),
            say=said.append,
            console=Console(quiet=True),
        )
        errors = np.array(errors, dtype=np.float64)
        history = History(("error",), ("1",), ROWS, errors[:, None])
        reward = Accuracy()
        if target is not None:
            reward = WeightedProduct(MACS, target, exponent=exponent, hard=hard)
        after = errors if longer is None else longer
        trained = Trained(dict(zip(map(tuple, ROWS.tolist()), after, strict=True)))
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        row, record = choose_finalist(shop, folder, history, reward, trained)
        assert json.loads((folder / "finalists.json").read_text()) == record
        assert [one["architecture"] for one in record["finalists"]] == trained.asked
        places = [ROWS.tolist().index(one) for one in trained.asked]
        return ROWS.tolist().index(row.tolist()), places, record["near_target"], said

    return choose


def off(index):
    return COSTS[index] / TARGET - 1


def test_without_a_target_the_best_by_reward_are_finalists(choose):
    errors = [0.1, 0.7, 0.3, 0.2, 0.6, 0.5, 0.4]
    assert choose(errors) == (0, [0, 3, 2], None, [])


def test_the_best_reward_of_the_longer_trainings_wins(choose):
    errors = [0.1, 0.7, 0.3, 0.2, 0.6, 0.5, 0.4]
    assert choose(errors, longer=[0.3, 0, 0.1, 0.2, 0, 0, 0])[:2] == (2, [0, 3, 2])


def test_none_far_from_a_target_is_a_finalist(choose):
    assert [abs(off(i)) <= 0.1 for i in range(7)] == [False, False, True, True, True, False, False]
    # The far ones are the best, in the search and after it.
    errors = [0.01, 0.02, 0.6, 0.5, 0.55, 0.02, 0.01]
    assert choose(errors, target=TARGET) == (3, [3, 4, 2], True, [])
    assert choose(errors, target=TARGET, finalists=7)[1] == [3, 4, 2]
    # What could not be trained in the search is no finalist, near as it is.
    errors[3:5] = 1, 1
    assert choose(errors, target=TARGET)[:2] == (2, [2])


def test_where_none_is_near_the_best_are_taken_and_it_is_said(choose):
    errors = [0.1, 0.2, 1, 1, 1, 0.3, 0.4]
    winner, places, near, said = choose(errors, target=TARGET)
    assert (winner, places, near) == (0, [0, 1, 5], False)
    [line] = said
    wanted = f"none of 4 architectures is near the target of {TARGET:,.0f} macs: the best by reward"
    assert line.startswith(wanted)


def test_below_a_hard_target_everything_is_near(choose):
    errors = [0.01, 0.02, 0.6, 0.5, 0.55, 0.02, 0.01]
    found = choose(errors, target=TARGET, hard=True, exponent=-1.0, finalists=7)
    assert found == (0, [0, 1, 3, 4, 2], True, [])


def test_where_no_network_could_be_trained_the_first_wins(choose):
    assert choose([1] * 7, target=TARGET)[2] is True
