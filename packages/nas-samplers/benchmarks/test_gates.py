"""A step of the architecture parameters against a step of the weights: time, and memory by count.

Time: the median of paired ratios, each pair run one after the other on the same images.
Memory: bytes of all tensors alive at once, counted as operations make and free them (weights and
images left out). The learner of binary gates should need one path and one candidate; the mixture
of DARTS, with the same candidates, needs all of them.
"""

import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from nas_samplers import Alphas, BinaryGates, Mixture, RelaxedLearner, load_data
from nas_samplers.binary_gates import gate_gradients
from nas_spaces import published
from nas_spaces.torch import Supernet

ROUNDS, WARM_UP = 15, 2
CASES = {"mobilenet-21": (32, 16), "nas-bench-macro": (32, 16)}  # pixels, images a step


pytestmark = pytest.mark.usefixtures("one_thread")


def setting(name):
    resolution, batch = CASES[name]
    space = published.load(name, resolution=resolution, classes=10)
    data = load_data("synthetic", resolution=resolution, device="cpu", seed=0)
    images, labels = next(data.train.training_batches(batch_size=batch, seed=0))
    network = Supernet(space, generator=torch.Generator().manual_seed(0)).train()
    return space, network, images, labels


@pytest.mark.parametrize("name", list(CASES))
def test_memory_is_that_of_one_path_and_one_candidate(name, peak):
    space, network, images, labels = setting(name)
    rng = np.random.default_rng(0)
    # Of every block the candidate with the most weights: the largest path.
    sizes = Alphas(space).values
    for index, plan in enumerate(space.plan):
        for option in range(plan.combinations if plan.columns else 0):
            weights = sum(p.numel() for p in network.layer(index, option).parameters())
            sizes[plan.columns[0], option] = weights
    row = sizes.argmax(axis=1)

    def weight_step():
        loss = F.cross_entropy(network(images, row), labels)
        torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)

    def path_alone():
        gate_gradients(network, images, labels, row, np.eye(sizes.shape[1], dtype=bool)[row])

    def learner():
        gate_gradients(network, images, labels, row, space.mask)

    def mixture():
        relaxed = RelaxedLearner(Mixture(Alphas(space)))
        relaxed.learn(network, space.sample(1, rng=rng), images, labels)

    def one_candidate():
        """The most that any candidate makes while it runs alone, without a graph."""
        trace = network.trace(images, row)
        most = 0
        with torch.no_grad():
            for index, plan in enumerate(space.plan):
                for option in range(plan.combinations if plan.columns else 0):
                    entering = trace.inputs[index].detach()
                    run = lambda i=index, o=option, x=entering: network.candidate(x, i, o)  # noqa: E731
                    most = max(most, peak(run))
        return most

    candidate = one_candidate()
    found = {run.__name__: peak(run) for run in (weight_step, path_alone, learner, mixture)}
    print(f"\n{name}: peak of tensors alive, MiB")
    for what, size in {**found, "largest candidate": candidate}.items():
        print(f"  {what:18s} {size / 2**20:8.2f}   {size / found['weight_step']:.2f}")
    assert found["learner"] <= found["path_alone"] + candidate
    assert found["learner"] < 0.7 * found["mixture"]


@pytest.mark.parametrize("name", list(CASES))
def test_time_against_a_weight_step(name):
    space, network, images, labels = setting(name)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9)
    rng = np.random.default_rng(0)

    def weights():
        row = space.sample(1, rng=rng)[0]
        F.cross_entropy(network(images, row), labels).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def learner_step(learner):
        return lambda: learner.learn(network, space.sample(1, rng=rng), images, labels)

    steps = {
        "all": learner_step(BinaryGates(Alphas(space), rng=rng)),
        "two-path": learner_step(BinaryGates(Alphas(space), rng=rng, variant="two-path")),
        "mixture (DARTS)": learner_step(RelaxedLearner(Mixture(Alphas(space)))),
    }

    def timed(run):
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    print(f"\n{name}: learner step / weight step of one path")
    for what, run in steps.items():
        ratios = [timed(run) / timed(weights) for _ in range(ROUNDS + WARM_UP)][WARM_UP:]
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        print(f"  {what:16s} {middle:.2f} ({low:.2f} to {high:.2f})")
