"""The one training loop: a method is a list of phases."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_samplers.checkpoint import OPTIMISER, load_optimiser, read_checkpoint, take_prefixed
from nas_samplers.images import Images
from nas_samplers.phase import Forward, Join, Phase
from nas_samplers.row_weights import GradientSum, RowWeights
from nas_samplers.training_state import Summary, TrainingState
from nas_samplers.validators import check_number
from nas_spaces import InputError, derive_seed, nearest
from nas_spaces.torch.finite import not_finite

__all__ = ["DivergedError", "Precision", "Record", "train"]

Record = dict[str, Any]
Precision = Literal["float32", "bfloat16"]


class DivergedError(InputError):
    """The loss, a weight or what a learner records is no finite number any more."""


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
        InputError: an argument out of range, weights that are not finite before a phase, or a
            checkpoint that is damaged or belongs to another training.
        OSError: the checkpoint cannot be written.
    """
    if precision not in get_args(Precision):
        hint = nearest(precision, get_args(Precision))
        raise InputError(f"precision={precision!r} is unknown: {hint}")
    for name, every in (("checkpoint_every", checkpoint_every), ("log_every", log_every)):
        check_number(name, every, least=1, whole=True)
    network.to(device)
    if channels_last:
        network.to(memory_format=torch.channels_last)
    network.train()
    state = TrainingState.begin(phases, seed, precision, channels_last)
    saved = None
    if checkpoint is not None and checkpoint.exists():
        saved = read_checkpoint(checkpoint)
        state.restore(saved, network, phases, checkpoint)
    while state.phase < len(phases):
        phase = phases[state.phase]
        if state.step == 0 and phase.before is not None:
            phase.before(network)
        _check_start(network, phase)
        optimiser = phase.optimiser.build(network)
        if saved is not None:
            load_optimiser(network, optimiser, take_prefixed(saved.tensors, OPTIMISER))
            saved = None
        stream_seed = derive_seed(seed, state.phase)
        batches = images.training_batches(
            batch_size=phase.batch_size, seed=stream_seed, first_step=state.step
        )
        learning: Iterator[tuple[Tensor, Tensor]] | None = None
        if phase.learner is not None:
            if held_out is None:
                raise InputError(f"phase {phase.name!r} has a learner; pass held_out images")
            _check_learner(phase)
            learning = held_out.training_batches(
                batch_size=phase.batch_size,
                seed=derive_seed(stream_seed, 1),
                first_step=phase.learned(state.step),
            )
        # Learners that know no parts are as good where there are none.
        told = {} if phase.micro_batch is None else {"micro_batch": phase.micro_batch}
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
                    _backward(
                        network, parameters, phase, rows, batch, labels, parts, precision, device
                    )
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
                    extra = dict(phase.learner.learn(network, rows, *next(learning), **told))
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
    parameters: Sequence[nn.Parameter],
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
    weights: float | RowWeights
    if phase.join is None:
        passes = [partial(_pass, phase.forward, network, row) for row in rows]
        weights = phase.weigh(len(rows))
    else:
        passes, weights = [partial(_pass, phase.join, network, rows)], 1.0
    # Weights that are known beforehand scale the losses; others wait for the loss of each row.
    scale, gathered = 1.0, None
    if isinstance(weights, RowWeights):
        gathered = GradientSum(parameters, weights)
    else:
        scale = weights
    total = torch.zeros((), device=device)
    for run in passes:
        own = None if gathered is None else torch.zeros_like(total)
        for part in parts:
            share = len(labels[part]) / len(labels)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = run(images[part])
            loss = F.cross_entropy(
                logits.float(), labels[part], label_smoothing=phase.label_smoothing
            )
            (loss * (share * scale)).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() * share
            if own is not None:
                own += loss.detach() * share
        if gathered is not None and own is not None:
            gathered.add(own)
    if gathered is not None:
        gathered.finish()
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


def _check_learner(phase: Phase) -> None:
    """Refuse a learner that cannot be told that a batch has to pass in parts."""
    if phase.micro_batch is None or phase.learner is None:
        return
    takes = inspect.signature(phase.learner.learn).parameters
    if "micro_batch" not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        raise InputError(
            f"phase {phase.name!r} has micro_batch={phase.micro_batch}, and learn() of its "
            f"{type(phase.learner).__name__} takes no micro_batch; give it that keyword, or the "
            "phase none"
        )


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


def _check_start(network: nn.Module, phase: Phase) -> None:
    """Refuse weights with which no loss would be finite, whatever the learning rate."""
    bad = not_finite(network.state_dict())
    if bad:
        raise InputError(
            f"phase {phase.name!r} cannot begin: {len(bad)} tensors of the network ({bad[0]} "
            "first) are not finite; start from other weights"
        )


def _check_weights(network: nn.Module, phase: Phase, step: int, checkpoint: Path | None) -> None:
    bad = not_finite(network.state_dict())
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
