"""A PPO update through the fused LSTM against one that steps an LSTM cell: at most half the time.

Batch 10, 20 decisions, 4 epochs, one thread. The two take turns, and the median of the ratios of
neighbours counts.
"""

from statistics import median
from time import perf_counter

import numpy as np
import pytest
import torch

from nas_search.rl import Controller, Experience, Policy
from nas_spaces import published

BATCH, PAIRS = 10, 20
ALLOWED_SHARE = 0.5


class CellByCell(Controller):
    """The same controller, whose replay calls an LSTM cell for each decision."""

    def log_probabilities(self, archs):
        weights = [*self.lstm.parameters()]  # input, hidden, and their biases: the cell's order
        hidden = cell = torch.zeros(len(archs), self.lstm.hidden_size)
        tokens = torch.zeros(len(archs), dtype=torch.int64)
        decisions = []
        for choice in range(self.space.num_choices):
            hidden, cell = torch.lstm_cell(self.embedding(tokens), (hidden, cell), *weights)
            logits = hidden @ self.heads[choice].T + self.biases[choice] + self.closed[choice]
            decisions.append(torch.log_softmax(logits, dim=1))
            tokens = archs[:, choice] + self.offsets[choice]
        return torch.stack(decisions, dim=1)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_update_against_a_loop_over_cells(benchmark):
    space = published.load("spos-shufflenet")  # 20 decisions
    fused = Policy(space, rng=np.random.default_rng(0))
    looped = Policy(space, rng=np.random.default_rng(0))
    looped.controller.__class__ = CellByCell
    archs, log_p = fused.controller.sample(BATCH, rng=np.random.default_rng(1))
    rows = torch.as_tensor(archs)
    torch.testing.assert_close(
        looped.controller.log_probabilities(rows), fused.controller.log_probabilities(rows)
    )
    learned = Experience(archs, log_p, np.linspace(0, 1, BATCH), np.ones(BATCH))

    def seconds(policy):
        begun = perf_counter()
        policy.update(learned)
        return perf_counter() - begun

    seconds(fused), seconds(looped)
    shares = [seconds(fused) / seconds(looped) for _ in range(PAIRS)]
    benchmark(fused.update, learned)
    benchmark.extra_info["share_of_a_loop_over_cells"] = median(shares)
    if benchmark.stats is not None:  # None under --benchmark-disable
        assert median(shares) <= ALLOWED_SHARE, sorted(shares)
