"""The one training loop: a method is a list of phases."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from attrs import asdict, field, frozen
from attrs.validators import ge, lt
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_samplers.checkpoint import (
    Checkpoint,
    load_optimiser,
    optimiser_tensors,
    read_checkpoint,
    write_checkpoint,
)
from nas_samplers.optimiser import Optimiser
from nas_samplers.settings import named
from nas_spaces import InputError, derive_seed, nearest
from nas_spaces.protocols import Learner, Sampler

__all__ = [
    "DivergedError",
    "Forward",
    "Images",
    "Join",
    "Phase",
    "Record",
    "Summary",
    "Weigh",
    "mean_rows",
    "sum_rows",
    "train",
]

Record = dict[str, Any]
Precision = Literal["float32", "bfloat16"]
Forward = Callable[[nn.Module, Tensor, NDArray[np.int64]], Tensor]
"""(network, images, row) -> logits."""
Join = Callable[[nn.Module, Tensor, NDArray[np.int64]], Tensor]
"""(network, images, rows ``[n, d]``) -> logits: one pass for all rows of a step."""
Weigh = Callable[[int], float]
"""Number of rows of a step -> what the gradient of each of them counts."""


class DivergedError(InputError):
    """The loss, a weight or what a learner records is no finite number any more."""


class Images(Protocol):
    """Training images; `nas_samplers.data` has the implementations."""

    def __len__(self) -> int: ...

    def training_batches(
        self, *, batch_size: int, seed: int, first_step: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``[b, c, h, w]`` and labels ``[b]`` without end, from a step on."""
        ...


def sum_rows(rows: int) -> float:
    """Every row counts 1: gradients are summed (FairNAS)."""
    return 1.0


def mean_rows(rows: int) -> float:
    """Every row counts 1 / rows: gradients are averaged."""
    return 1.0 / rows


def _run_path(network: nn.Module, images: Tensor, row: NDArray[np.int64]) -> Tensor:
    logits: Tensor = network(images, row)
    return logits


@frozen(eq=False)
class Phase:
    """One stretch of training.

    The rows of one ``sampler.ask()`` share one batch and one optimiser step.

    Args:
        name: for people and checkpoints.
        sampler: draws the rows.
        steps: optimiser steps.
        optimiser: how weights are updated; its state does not outlive the phase.
        batch_size: images of a step, at least 2 (norms need them).
        label_smoothing: of the cross-entropy.
        micro_batch: images that pass at once; gradients of the parts add up to the batch's.
            None passes the whole batch.
        weigh: what the gradient of each row counts.
        forward: how the network is called.
        join: one forward pass for all rows of a step, in place of ``forward`` once for each; its
            loss counts once, whatever ``weigh`` says. What mixes candidates needs it: the
            samplers of `nas_samplers.relaxed` and `nas_samplers.path_dropout` bring theirs.
        learner: updates the sampler's distribution from held-out images; what it records are
            finite numbers.
        learn_from: steps before the learner's first update.
        learn_every: steps between two updates by the learner.
        before: called with the network when the phase begins.
    """

    name: str
    sampler: Sampler
    steps: int = field(validator=ge(1))
    optimiser: Optimiser
    batch_size: int = field(validator=ge(2))
    label_smoothing: float = field(default=0.0, validator=[ge(0), lt(1)])
    micro_batch: int | None = None
    weigh: Weigh = sum_rows
    forward: Forward = _run_path
    join: Join | None = None
    learner: Learner | None = None
    learn_from: int = field(default=0, validator=ge(0))
    learn_every: int = field(default=1, validator=ge(1))
    before: Callable[[nn.Module], None] | None = None

    def __attrs_post_init__(self) -> None:
        if self.micro_batch is not None and self.micro_batch < 2:
            raise InputError(
                f"micro_batch={self.micro_batch} must be at least 2; norms need several images"
            )

    def learns(self, step: int) -> bool:
        """Whether the learner is called after so many steps."""
        if self.learner is None or step <= self.learn_from:
            return False
        return step % self.learn_every == 0

    def learned(self, step: int) -> int:
        """Return how often the learner has been called after so many steps."""
        return max(step // self.learn_every - self.learn_from // self.learn_every, 0)

    @property
    def parts(self) -> list[slice]:
        """Slices of a batch that pass at once, of nearly equal size."""
        count = math.ceil(self.batch_size / (self.micro_batch or self.batch_size))
        count = min(count, self.batch_size // 2)  # norms need two images
        edges = np.linspace(0, self.batch_size, count + 1).round().astype(int).tolist()
        return [slice(a, b) for a, b in itertools.pairwise(edges)]


@frozen
class Summary:
    """What a training did.

    ``steps``: optimiser steps. ``loss``: mean of the last logged stretch. ``path_counts``: int
    ``[d][k]``, how often each option of each choice was drawn (where a phase joins its rows: in how
    many steps); all rows are of the same length ``k``, which is one more than the largest option
    that was drawn of any choice.
    """

    steps: int
    loss: float
    path_counts: tuple[tuple[int, ...], ...]


def train(
    network: nn.Module,
    phases: Sequence[Phase],
    images: Images,
    *,
    seed: int,
    device: torch.device,
    held_out: Images | None = None,
    precision: Precision = "float32",
    channels_last: bool = True,
    checkpoint: Path | None = None,
    checkpoint_every: int = 500,
    log_every: int = 20,
    on_record: Callable[[Record], None] | None = None,
) -> Summary:
    """Train ``network`` through all ``phases``.

    A training that was killed and is called again with the same arguments goes on from its
    checkpoint and ends, on a CPU, with the same bits as one that was not.

    Args:
        network: supernet or stand-alone network; trained in place, moved to ``device``.
        phases: what to do, in order.
        images: training images.
        seed: of the order of images, augmentation and dropout.
        device: where to train.
        held_out: images for learners.
        precision: bfloat16 runs the forward pass under autocast.
        channels_last: keep activations and weights in that memory format.
        checkpoint: the file that holds the state; read if it exists.
        checkpoint_every: steps between two writes of it; it is also written at the end.
        log_every: steps between two records.
        on_record: receives ``{"phase", "step", "steps", "epoch", "loss", "lr"}``.

    Raises:
        DivergedError: loss, weights or what a learner records are not finite; the last good
            checkpoint stays.
        InputError: an argument out of range, or a checkpoint that is damaged or belongs to
            another training.
        OSError: the checkpoint cannot be written.
    """
    if precision not in get_args(Precision):
        hint = nearest(precision, get_args(Precision))
        raise InputError(f"precision={precision!r} is unknown: {hint}")
    for name, every in (("checkpoint_every", checkpoint_every), ("log_every", log_every)):
        if every < 1:
            raise InputError(f"{name}={every} must be at least 1 step")
    network.to(device)
    if channels_last:
        network.to(memory_format=torch.channels_last)
    network.train()
    state = _State.begin(phases, seed, precision, channels_last)
    saved = None
    if checkpoint is not None and checkpoint.exists():
        saved = read_checkpoint(checkpoint)
        state.restore(saved, network, phases, checkpoint)
    while state.phase < len(phases):
        phase = phases[state.phase]
        if state.step == 0 and phase.before is not None:
            phase.before(network)
        optimiser = phase.optimiser.build(network)
        if saved is not None:
            load_optimiser(network, optimiser, _strip(saved.tensors, "optimiser."))
            saved = None
        stream_seed = derive_seed(seed, state.phase)
        batches = images.training_batches(
            batch_size=phase.batch_size, seed=stream_seed, first_step=state.step
        )
        learning: Iterator[tuple[Tensor, Tensor]] | None = None
        if phase.learner is not None:
            if held_out is None:
                raise InputError(f"phase {phase.name!r} has a learner; pass held_out images")
            learning = held_out.training_batches(
                batch_size=phase.batch_size,
                seed=derive_seed(stream_seed, 1),
                first_step=phase.learned(state.step),
            )
        losses: list[Tensor] = []
        parts = phase.parts
        parameters = list(network.parameters())
        optimiser.zero_grad(set_to_none=True)  # what the network came with
        while state.step < phase.steps:
            rate = phase.optimiser.rate(state.step, phase.steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            rows = phase.sampler.ask()
            state.count(rows, once=phase.join is not None)
            batch, labels = next(batches)
            if channels_last:
                batch = batch.contiguous(memory_format=torch.channels_last)
            with _seeded(derive_seed(stream_seed, 2, state.step), device):
                losses.append(
                    _backward(network, phase, rows, batch, labels, parts, precision, device)
                )
            if phase.optimiser.clip is not None:
                # Walking the modules of a supernet at every step would take as long as the rest.
                active = [p for p in parameters if p.grad is not None]
                nn.utils.clip_grad_norm_(active, phase.optimiser.clip)
            optimiser.step()
            # None, not zero: a zero gradient would let decay and momentum move what was not used.
            optimiser.zero_grad(set_to_none=True)
            state.step += 1
            extra: Record = {}
            if learning is not None and phase.learns(state.step):
                assert phase.learner is not None
                with _seeded(derive_seed(stream_seed, 3, state.step), device):
                    extra = dict(phase.learner.learn(network, rows, *next(learning)))
                optimiser.zero_grad(set_to_none=True)  # what the learner left
                _check_learned(extra, losses, phase, state.step, checkpoint)
            last = state.step == phase.steps
            save = checkpoint is not None and (last or state.step % checkpoint_every == 0)
            if last or save or state.step % log_every == 0:
                state.loss = _mean_loss(losses, phase, state.step, checkpoint)
                losses.clear()
                if on_record is not None:
                    epoch = state.step * phase.batch_size / len(images)
                    on_record(
                        {
                            "phase": phase.name,
                            "step": state.step,
                            "steps": phase.steps,
                            "epoch": round(epoch, 3),
                            "loss": state.loss,
                            "lr": rate,
                            **extra,
                        }
                    )
            if last or save:
                _check_weights(network, phase, state.step, checkpoint)
            if save and not last:
                assert checkpoint is not None
                state.write(checkpoint, network, optimiser, phases)
        state.phase += 1
        state.step = 0
        if checkpoint is not None:
            # The next phase begins with a fresh optimiser.
            state.write(checkpoint, network, None, phases)
    network.eval()
    return state.summary()


def _backward(
    network: nn.Module,
    phase: Phase,
    rows: NDArray[np.int64],
    images: Tensor,
    labels: Tensor,
    parts: Sequence[slice],
    precision: str,
    device: torch.device,
) -> Tensor:
    """Accumulate the gradients of all passes and return their mean loss, detached."""
    passes: Sequence[Callable[[Tensor], Tensor]]
    if phase.join is None:
        passes = [partial(_pass, phase.forward, network, row) for row in rows]
        scale = phase.weigh(len(rows))
    else:
        passes, scale = [partial(_pass, phase.join, network, rows)], 1.0
    total = torch.zeros((), device=device)
    for run in passes:
        for part in parts:
            share = len(labels[part]) / len(labels)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = run(images[part])
            loss = F.cross_entropy(
                logits.float(), labels[part], label_smoothing=phase.label_smoothing
            )
            (loss * (share * scale)).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() * share
    return total / len(passes)


def _pass(
    forward: Forward | Join, network: nn.Module, rows: NDArray[np.int64], images: Tensor
) -> Tensor:
    return forward(network, images, rows)


def _mean_loss(losses: Sequence[Tensor], phase: Phase, step: int, checkpoint: Path | None) -> float:
    """Return the mean of the losses since the last call, having checked each of them.

    Losses stay on the device until here: reading each at once would stall a GPU.
    """
    values = torch.stack(list(losses)).cpu()
    finite = torch.isfinite(values)
    if not finite.all():
        first = step - len(values) + int((~finite).nonzero()[0]) + 1
        raise DivergedError(
            _diverged(
                f"the loss became {float(values[first - step - 1])}", first, phase, checkpoint
            )
        )
    return float(values.mean())


def _check_learned(
    record: Record, losses: Sequence[Tensor], phase: Phase, step: int, checkpoint: Path | None
) -> None:
    """Refuse what a learner records before samplers draw from what it has made of it."""
    for name, value in record.items():
        if not math.isfinite(value):
            _mean_loss(losses, phase, step, checkpoint)  # says so where it began there
            what = f"the learner's {name} became {value}"
            raise DivergedError(_diverged(what, step, phase, checkpoint))


def _diverged(what: str, step: int, phase: Phase, checkpoint: Path | None) -> str:
    kept = ""
    if checkpoint is not None and checkpoint.exists():
        kept = f"; the last good checkpoint stays in {checkpoint}"
    return (
        f"{what} at step {step} of phase {phase.name!r} (learning rate "
        f"{phase.optimiser.rate(step - 1, phase.steps):.4g}){kept}; lower the learning rate, "
        "lengthen the warm-up or clip the gradient"
    )


def _check_weights(network: nn.Module, phase: Phase, step: int, checkpoint: Path | None) -> None:
    bad = [
        name
        for name, x in network.state_dict().items()
        if x.is_floating_point() and not x.isfinite().all()
    ]
    if bad:
        what = f"{len(bad)} tensors ({bad[0]} first) are not finite"
        raise DivergedError(_diverged(what, step, phase, checkpoint))


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators (dropout draws from them), and put them back afterwards."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    before = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


class _State:
    """How far a training is, and its way to and from a checkpoint."""

    def __init__(self, training: dict[str, Any]) -> None:
        self.training = training
        self.phase = 0
        self.step = 0
        self.total = 0
        self.loss = float("nan")
        self.counts = np.zeros((0, 0), dtype=np.int64)

    @classmethod
    def begin(
        cls, phases: Sequence[Phase], seed: int, precision: str, channels_last: bool
    ) -> "_State":
        if not phases:
            raise InputError("phases is empty; give at least one phase")
        training: dict[str, Any] = {
            "seed": seed,
            "precision": precision,
            "channels_last": channels_last,
            "phases": len(phases),
        }
        for index, phase in enumerate(phases):
            numbers = {
                "name": phase.name,
                "sampler": type(phase.sampler).__name__,
                "learner": type(phase.learner).__name__ if phase.learner else None,
                "join": named(phase.join),
                "steps": phase.steps,
                "batch_size": phase.batch_size,
                "micro_batch": phase.micro_batch,
                "label_smoothing": phase.label_smoothing,
                # None as in checkpoints of before there was such a setting.
                "learn_from": phase.learn_from or None,
                "learn_every": phase.learn_every,
                **{f"optimiser.{key}": value for key, value in asdict(phase.optimiser).items()},
            }
            training.update({f"phases[{index}].{key}": x for key, x in numbers.items()})
        return cls(training)

    def count(self, rows: NDArray[np.int64], *, once: bool = False) -> None:
        """Count the options of ``rows`` int ``[n, d]``; ``once``: each at most once a column."""
        self.total += 1
        if not rows.size:
            return
        columns, options = rows.shape[1], int(rows.max()) + 1
        if self.counts.shape[0] != columns or self.counts.shape[1] < options:
            grown = np.zeros((columns, max(options, self.counts.shape[1])), dtype=np.int64)
            grown[: self.counts.shape[0], : self.counts.shape[1]] = self.counts
            self.counts = grown
        if once:
            used = np.zeros(self.counts.shape, dtype=bool)
            used[np.arange(columns), rows] = True
            self.counts += used
            return
        for row in rows:
            self.counts[np.arange(columns), row] += 1

    def summary(self) -> Summary:
        return Summary(self.total, self.loss, tuple(tuple(row) for row in self.counts.tolist()))

    def write(
        self,
        path: Path,
        network: nn.Module,
        optimiser: torch.optim.Optimizer | None,
        phases: Sequence[Phase],
    ) -> None:
        tensors = {f"network.{name}": x for name, x in network.state_dict().items()}
        if optimiser is not None:
            own = optimiser_tensors(network, optimiser)
            tensors.update({f"optimiser.{name}": x for name, x in own.items()})
        state = {
            "training": self.training,
            "phase": self.phase,
            "step": self.step,
            "total": self.total,
            "loss": self.loss,
            "counts": self.counts.tolist(),
            "samplers": [phase.sampler.state_dict() for phase in phases],
            "learners": [p.learner.state_dict() if p.learner else None for p in phases],
        }
        write_checkpoint(path, Checkpoint(tensors, state))

    def restore(
        self, saved: Checkpoint, network: nn.Module, phases: Sequence[Phase], path: Path
    ) -> None:
        theirs = saved.state.get("training", {})
        for key in dict.fromkeys([*self.training, *theirs]):
            if theirs.get(key) != self.training.get(key):
                raise InputError(
                    f"{path} is of another training: its {key} is {theirs.get(key)!r}, this "
                    f"one's is {self.training.get(key)!r}; resume with the same arguments, or "
                    "remove the file to begin anew"
                )
        try:
            network.load_state_dict(_strip(saved.tensors, "network."))
        except RuntimeError as error:
            raise InputError(
                f"{path} is of another network: {error}; remove it to begin anew"
            ) from error
        self.phase, self.step = saved.state["phase"], saved.state["step"]
        self.total, self.loss = saved.state["total"], saved.state["loss"]
        self.counts = np.array(saved.state["counts"], dtype=np.int64)
        for phase, sampler, learner in zip(
            phases, saved.state["samplers"], saved.state["learners"], strict=True
        ):
            phase.sampler.load_state_dict(sampler)
            if phase.learner is not None:
                phase.learner.load_state_dict(learner)
