"""Every published space goes the whole way at its own resolution: train, evaluate."""

import numpy as np
import pytest
import torch

from nas_samplers import Optimiser, Phase, SupernetError, train
from nas_spaces import published
from nas_spaces.torch import Supernet


class Batch:
    """One batch of images again and again."""

    def __init__(self, images, labels):
        self.batch = (images, labels)

    def __len__(self):
        return len(self.batch[0])

    def training_batches(self, *, batch_size, seed, first_step=0):
        while True:
            yield tuple(x[:batch_size] for x in self.batch)


# Of the FP-NAS-L spaces, which differ in numbers only, the smallest; the largest takes 6 GB here.
SPACES = sorted(set(published.SPACES) - {"fp-nas-l1", "fp-nas-l2"})


class Last:
    """The last option of every choice: in a cell it leads from the image to the classifier."""

    def __init__(self, space):
        self.row = np.array([space.num_options], dtype=np.int64) - 1

    def ask(self):
        return self.row

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize("name", SPACES)
def test_a_supernet_trains_a_step_and_evaluates(name):
    space = published.load(name)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, *space.input_shape, generator=generator)
    labels = torch.tensor([0, 1, 0, 1])
    supernet = Supernet(space, generator=generator)
    before = [parameter.detach().clone() for parameter in supernet.parameters()]
    phase = Phase("supernet", Last(space), 1, Optimiser(lr=0.01), batch_size=2)
    batch = Batch(images, labels)
    summary = train(supernet, [phase], batch, seed=0, device=torch.device("cpu"))
    assert summary.steps == 1
    moved = sum(
        not torch.equal(old, new) for old, new in zip(before, supernet.parameters(), strict=True)
    )
    assert moved > 10
    error = SupernetError(supernet, recalibration=[images], batches=[(images, labels)])
    values = error(space.sample(2, rng=np.random.default_rng(1)))
    assert values.shape == (2,)
    assert ((values >= 0) & (values <= 1)).all()
