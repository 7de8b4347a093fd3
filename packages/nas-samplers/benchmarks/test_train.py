"""A step of a supernet against the same step of the stand-alone network of its path, and a
strictly fair step of m paths against m steps of one path each.

Both of a pair are trained by the one training loop, in two threads that take turns, so that
whatever else the machine does meets both. Before each step that is timed against a network's the
supernet runs one of a random path and the network one of its own: a path's weights are as cold as
in a real training; the paths of a fair step are cold anyway.
The clock on the wall decides; the thread's, which stands still while another process has the core,
is printed beside it to tell a slow step from a busy machine.
"""

import threading
import time

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nas_samplers import Optimiser, Phase, StrictFair, load_data, run_network, train
from nas_spaces import published
from nas_spaces.torch import Supernet
from nas_spaces.vary import with_bits, with_scales

ROUNDS, FAIR_ROUNDS, WARM_UP = 60, 30, 5


def with_bits_and_channels(name, **options):
    return with_scales(with_bits(published.load(name, **options)), (0.5, 1, 1.5, 2))


# Pixels, images of a step, the largest ratio (sliced weights are copied, and their gradients as
# large as the largest) and what loads the space.
CASES = {
    "spos-shufflenet": (64, 16, 1.10, published.load),
    "nas-bench-macro": (32, 16, 1.10, published.load),
    "spos-shufflenet-channels": (64, 16, 1.15, published.load),
    "resnet18-quant": (64, 16, 1.15, published.load),
    "resnet20-blocks": (32, 32, 1.15, with_bits_and_channels),
}


class Turns:
    """Hands the machine from one player to the other."""

    def __init__(self):
        self.free = [threading.Semaphore(1), threading.Semaphore(0)]

    def wait(self, player):
        self.free[player].acquire()

    def finish(self, player):
        self.free[1 - player].release()


class Timed:
    """A sampler that gives a row of its own and the fixed one in turn, and times the latter."""

    def __init__(self, player, turns, others, fixed):
        self.player, self.turns, self.others, self.fixed = player, turns, others, fixed
        self.asked, self.seconds = 0, []

    def ask(self):
        now = np.array([time.perf_counter(), time.thread_time()])
        timed = self.asked % 2 == 0
        if timed and self.asked:
            self.seconds.append(now - self.begun)
        if timed:
            if self.asked:
                self.turns.finish(self.player)
            self.turns.wait(self.player)
            torch.set_num_threads(1)  # of this thread
        row = self.others() if timed else self.fixed
        self.asked += 1
        self.begun = np.array([time.perf_counter(), time.thread_time()])
        return row

    def state_dict(self):
        return {}


@pytest.mark.parametrize("name", list(CASES))
def test_supernet_step_against_static_step(name):
    resolution, batch, most, load = CASES[name]
    space = load(name, resolution=resolution, classes=10)
    images = load_data("synthetic", resolution=resolution, device="cpu", seed=0).train
    rng = np.random.default_rng(0)
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    arch = space.sample(1, rng=rng)
    network = supernet.inherit(arch[0])
    turns = Turns()
    players = [
        (supernet, Timed(0, turns, lambda: space.sample(1, rng=rng), arch), {}),
        (network, Timed(1, turns, lambda: arch, arch), {"forward": run_network}),
    ]

    stepped = {}  # thread -> parameters that each of its first steps touched

    def count(optimiser, args, kwargs):
        steps = stepped.setdefault(threading.current_thread(), [])
        if len(steps) < 2:  # the second one is of the fixed path
            parameters = [p for group in optimiser.param_groups for p in group["params"]]
            steps.append(sum(p.numel() for p in parameters if p.grad is not None))

    failures = []

    def play(network, sampler, options):
        phase = Phase(
            "step", sampler, 2 * (ROUNDS + WARM_UP) + 1, Optimiser(lr=0.01), batch, **options
        )
        try:
            train(network, [phase], images, seed=0, device=torch.device("cpu"), log_every=1000)
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            turns.finish(sampler.player)

    handle = register_optimizer_step_pre_hook(count)
    threads = [threading.Thread(target=play, args=player) for player in players]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.remove()
    assert not failures

    whole, path = (sum(p.numel() for p in m.parameters()) for m in (supernet, network))
    if not any(block.shares for block in space.blocks):
        assert [stepped[thread][1] for thread in threads] == [path, path]
    ours, theirs = (np.array(sampler.seconds[WARM_UP:]) for _, sampler, _ in players)
    assert ours.shape == theirs.shape == (ROUNDS, 2)
    low, ratio, high = np.percentile(ours / theirs, [25, 50, 75], axis=0)
    print(
        f"\n{space.name} {resolution} px, batch {batch}: "
        f"parameters stepped {stepped[threads[0]][1]:,} of {whole:,}, of the path {path:,}"
    )
    for i, clock in enumerate(("wall", "thread")):
        print(
            f"  {clock:6s} supernet {np.median(ours[:, i]) * 1e3:.1f} ms, static "
            f"{np.median(theirs[:, i]) * 1e3:.1f} ms; ratio {ratio[i]:.3f} "
            f"({low[i]:.3f} to {high[i]:.3f})"
        )
    assert ratio[0] <= most


class Portions:
    """A sampler of strictly fair rows, m a step or one a step, that times every m paths."""

    def __init__(self, player, turns, space, at_once):
        self.player, self.turns, self.at_once = player, turns, at_once
        self.sampler = StrictFair(space, rng=np.random.default_rng(0))
        self.waiting, self.begun, self.seconds = [], None, []

    def ask(self):
        if not self.waiting:
            now = np.array([time.perf_counter(), time.thread_time()])
            if self.begun is not None:
                self.seconds.append(now - self.begun)
                self.turns.finish(self.player)
            self.turns.wait(self.player)
            torch.set_num_threads(1)  # of this thread
            self.begun = np.array([time.perf_counter(), time.thread_time()])
            rows = self.sampler.ask()
            self.waiting = [rows] if self.at_once else list(rows[:, None])
        return self.waiting.pop(0)

    def state_dict(self):
        return {}


@pytest.mark.parametrize("name", ["spos-shufflenet", "nas-bench-macro"])
def test_strictly_fair_step_against_single_path_steps(name):
    resolution, batch, _, load = CASES[name]
    space = load(name, resolution=resolution, classes=10)
    images = load_data("synthetic", resolution=resolution, device="cpu", seed=0).train
    turns, passes, steps, failures = Turns(), {}, {}, []
    samplers = [Portions(player, turns, space, at_once=player == 0) for player in (0, 1)]
    m = samplers[0].sampler.rows
    portions = FAIR_ROUNDS + WARM_UP

    def tally(counts):
        thread = threading.current_thread()
        counts[thread] = counts.get(thread, 0) + 1

    def play(sampler):
        supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
        supernet.register_forward_pre_hook(lambda module, args: tally(passes))
        # One step more, which ends the last portion.
        number = portions * (1 if sampler.at_once else m) + 1
        phase = Phase("step", sampler, number, Optimiser(lr=0.01), batch)
        try:
            train(supernet, [phase], images, seed=0, device=torch.device("cpu"), log_every=1000)
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            turns.finish(sampler.player)

    handle = register_optimizer_step_pre_hook(lambda *args: tally(steps))
    threads = [threading.Thread(target=play, args=[sampler]) for sampler in samplers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.remove()
    assert not failures

    assert [steps[thread] for thread in threads] == [portions + 1, portions * m + 1]
    assert [passes[thread] for thread in threads] == [(portions + 1) * m, portions * m + 1]
    ours, theirs = (np.array(sampler.seconds[WARM_UP:]) for sampler in samplers)
    assert ours.shape == theirs.shape == (FAIR_ROUNDS, 2)
    low, ratio, high = np.percentile(ours / theirs, [25, 50, 75], axis=0)
    print(f"\n{name} {resolution} px, batch {batch}: {m} paths")
    for i, clock in enumerate(("wall", "thread")):
        print(
            f"  {clock:6s} one fair step {np.median(ours[:, i]) * 1e3:.1f} ms, {m} steps "
            f"{np.median(theirs[:, i]) * 1e3:.1f} ms; ratio {ratio[i]:.3f} "
            f"({low[i]:.3f} to {high[i]:.3f})"
        )
    assert ratio[0] <= 1.10
