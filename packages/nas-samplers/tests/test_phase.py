import numpy as np
import pytest

from nas_samplers import Optimiser, Phase, Uniform
from nas_spaces import InputError


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 1},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"micro_batch": 1},
        {"learn_every": 0},
        {"learn_from": -1},
        {"steps": 2.5},
    ],
)
def test_phases_out_of_range(space, wrong):
    right = {
        "name": "supernet",
        "sampler": Uniform(space, rng=np.random.default_rng(0)),
        "steps": 6,
        "optimiser": Optimiser(),
        "batch_size": 8,
    }
    Phase(**right)
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=rf"^{name}={value} must be an? .*(at least|below) \d"):
        Phase(**{**right, **wrong})
