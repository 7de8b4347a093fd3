"""Memory and time of a training step of each method on one space: SPOS, table 7.

    python experiments/betanas/steps.py

Every method trains NAS-Bench-Macro's supernet on the same random images; rounds run all methods
one after the other, so that whatever else the machine does meets all of them. Memory is counted,
not sampled: the largest sum of bytes that are alive for a backward pass at any time, and the bytes
of all weights, gradients and momenta after a step. steps.json is replaced.
"""

import argparse
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import common

from nas_samplers import (
    Alphas,
    BinaryGates,
    Cooling,
    Gumbel,
    Mixture,
    Optimiser,
    PathDropout,
    Phase,
    RelaxedLearner,
    StrictFair,
    Uniform,
    run_network,
    train,
)
from nas_spaces import published
from nas_spaces.torch import Network, Supernet

HERE = Path(__file__).parent
PIXELS, BATCH, STEPS = 32, 64, 6
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class RandomImages:
    """Random images and labels, on the device."""

    def __len__(self) -> int:
        return BATCH

    def training_batches(self, *, batch_size: int, seed: int, first_step: int = 0):  # noqa: ANN201
        """Yield the same batch without end."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch_size, 3, PIXELS, PIXELS, generator=generator).to(DEVICE)
        labels = torch.randint(10, (batch_size,), generator=generator).to(DEVICE)
        while True:
            yield images, labels


class Alive:
    """Counts the bytes that are kept for backward passes, and the most of them at any time."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.weights = {x.untyped_storage().data_ptr() for x in network.state_dict().values()}
        self.users: Counter[int] = Counter()
        self.now = self.most = 0

    def pack(self, x: torch.Tensor) -> "Holder":
        """Count a tensor that is kept; tensors that share memory count once."""
        storage = x.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        holder = Holder(x)
        if place not in self.weights:
            self.users[place] += 1
            if self.users[place] == 1:
                self.now += size
                self.most = max(self.most, self.now)
            weakref.finalize(holder, self._release, place, size)
        return holder

    def _release(self, place: int, size: int) -> None:
        self.users[place] -= 1
        if self.users[place] == 0:
            self.now -= size


class Holder:
    """Something that is gone when the backward pass does not need its tensor any more."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x


def phases() -> dict[str, Callable[[], tuple[torch.nn.Module, Phase]]]:
    """Return, for each method, what makes a network and a phase of a few steps."""
    space = published.load("nas-bench-macro", resolution=PIXELS)
    rng = np.random.default_rng

    def supernet() -> Supernet:
        return Supernet(space, generator=torch.Generator().manual_seed(0))

    def phase(sampler, **more) -> Phase:  # noqa: ANN001, ANN003
        options = {"optimiser": Optimiser(lr=0.01), "batch_size": BATCH, **more}
        return Phase("steps", sampler, steps=STEPS, **options)

    def alone() -> tuple[torch.nn.Module, Phase]:
        fixed = space.fix([2] * 8)
        network = Network(fixed, generator=torch.Generator().manual_seed(0))
        return network, phase(Uniform(fixed, rng=rng(0)), forward=run_network)

    def single() -> tuple[torch.nn.Module, Phase]:
        return supernet(), phase(Uniform(space, rng=rng(0)))

    def strict() -> tuple[torch.nn.Module, Phase]:
        return supernet(), phase(StrictFair(space, rng=rng(0)))

    def dropout() -> tuple[torch.nn.Module, Phase]:
        sampler = PathDropout(space, rng=rng(0), rate=0.3, ramp=0)
        return supernet(), phase(sampler, join=sampler.join)

    def mixture(learns: bool) -> tuple[torch.nn.Module, Phase]:
        sampler = Mixture(Alphas(space))
        learner = RelaxedLearner(sampler) if learns else None
        return supernet(), phase(sampler, join=sampler.join, learner=learner)

    def gumbel(learns: bool) -> tuple[torch.nn.Module, Phase]:
        sampler = Gumbel(Alphas(space), rng=rng(0), temperature=Cooling(100))
        learner = RelaxedLearner(sampler) if learns else None
        return supernet(), phase(sampler, join=sampler.join, learner=learner)

    def gates(variant) -> tuple[torch.nn.Module, Phase]:  # noqa: ANN001
        learner = BinaryGates(Alphas(space), rng=rng(0), variant=variant)
        return supernet(), phase(Uniform(space, rng=rng(0)), learner=learner)

    return {
        "largest network alone": alone,
        "single path (SPOS)": single,
        "strict-fair, 3 paths (FairNAS)": strict,
        "path dropout, r = 0.3 (One-Shot)": dropout,
        "mixture (DARTS), weights": lambda: mixture(False),
        "mixture (DARTS), weights and alphas": lambda: mixture(True),
        "Gumbel (FBNet), weights": lambda: gumbel(False),
        "Gumbel (FBNet), weights and alphas": lambda: gumbel(True),
        "single path and two-path gates (ProxylessNAS)": lambda: gates("two-path"),
        "single path and gates of all candidates (BetaNAS)": lambda: gates("all"),
    }


def measure(rounds: int) -> list[common.Record]:
    """Return time and memory of each method."""
    images, seconds, memory = RandomImages(), {name: [] for name in phases()}, {}
    for number in range(rounds + 1):
        for name, make in phases().items():
            network, phase = make()
            begun = time.perf_counter()
            train(network, [phase], images, held_out=images, seed=0, device=DEVICE, log_every=STEPS)
            if number:  # the first round warms up
                seconds[name].append((time.perf_counter() - begun) / STEPS)
    for name, make in phases().items():
        network, phase = make()
        alive = Alive(network)
        with torch.autograd.graph.saved_tensors_hooks(alive.pack, lambda holder: holder.x):
            train(network, [phase], images, held_out=images, seed=0, device=DEVICE, log_every=STEPS)
        weights = sum(x.nbytes for x in network.parameters())
        memory[name] = {"activation_bytes": alive.most, "weight_bytes": weights}
    base = np.array(seconds["single path (SPOS)"])
    return [
        {
            "method": name,
            "seconds": float(np.median(times)),
            "ratio": float(np.median(np.array(times) / base)),
            **memory[name],
        }
        for name, times in seconds.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        **common.stamp(),
        "space": f"nas-bench-macro, {PIXELS} px, batch {BATCH}",
        "methods": measure(given.rounds),
    }
    common.write(HERE / "steps.json", found)
    rows = [
        [
            one["method"],
            f"{one['ratio']:.2f}",
            f"{1000 * one['seconds']:.0f}",
            f"{one['activation_bytes'] / 2**20:.0f}",
            f"{one['weight_bytes'] / 2**20:.1f}",
        ]
        for one in found["methods"]
    ]
    head = ("method", "time / single path", "ms", "activations [MiB]", "weights [MiB]")
    note = f"{found['space']}; {found['device']}; medians of {given.rounds} interleaved rounds."
    common.publish(HERE, f"{common.table(head, rows)}\n\n{note}", "steps")
