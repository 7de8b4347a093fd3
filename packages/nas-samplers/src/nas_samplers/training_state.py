"""How far a training is: what its checkpoint holds, and what is left of it at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import asdict, frozen
from numpy.typing import NDArray
from torch import nn

from nas_samplers.checkpoint import (
    OPTIMISER,
    Checkpoint,
    optimiser_tensors,
    take_prefixed,
    write_checkpoint,
)
from nas_samplers.phase import Phase
from nas_samplers.settings import named
from nas_spaces import InputError

__all__ = ["Summary", "TrainingState"]


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


class TrainingState:
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
    ) -> "TrainingState":
        """Return the state before the first step.

        Raises:
            InputError: there are no phases.
        """
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
                **{
                    f"optimiser.{key}": value
                    for key, value in asdict(phase.optimiser).items()
                    # Without it nothing is as it was not before there was one.
                    if key != "level_decay" or value
                },
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
        """Return what was done so far."""
        return Summary(self.total, self.loss, tuple(tuple(row) for row in self.counts.tolist()))

    def write(
        self,
        path: Path,
        network: nn.Module,
        optimiser: torch.optim.Optimizer | None,
        phases: Sequence[Phase],
    ) -> None:
        """Write all of a training to a file; without ``optimiser`` the next phase begins."""
        tensors = {f"network.{name}": x for name, x in network.state_dict().items()}
        if optimiser is not None:
            own = optimiser_tensors(network, optimiser)
            tensors.update({f"{OPTIMISER}{name}": x for name, x in own.items()})
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
        """Take back what `write` wrote, of the network, samplers and learners as well.

        The optimiser's is left to whoever builds the optimiser.

        Raises:
            InputError: the checkpoint of another training, or of another network.
        """
        theirs = saved.state.get("training", {})
        for key in dict.fromkeys([*self.training, *theirs]):
            if theirs.get(key) != self.training.get(key):
                raise InputError(
                    f"{path} is of another training: its {key} is {theirs.get(key)!r}, this "
                    f"one's is {self.training.get(key)!r}; resume with the same arguments, or "
                    "remove the file to begin anew"
                )
        try:
            network.load_state_dict(take_prefixed(saved.tensors, "network."))
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
