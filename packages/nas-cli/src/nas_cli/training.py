"""Settings -> a training, and the one training loop as a person and a run's events see it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas_cli.clock import Clock
from nas_cli.progress import stage
from nas_cli.settings import TrainConfig
from nas_cli.workshop import Workshop
from nas_samplers import DivergedError, Optimiser, Phase, Summary, Training, train
from nas_samplers.images import Images
from nas_samplers.train import Precision
from nas_spaces import Sampler

__all__ = [
    "DIVERGED",
    "fit",
    "optimiser_of",
    "phase",
    "precision_of",
    "steps_of",
    "training_of",
]

# Stands beside the checkpoint of a training whose loss became no number.
DIVERGED = "diverged"


def steps_of(config: TrainConfig, images: Images) -> int:
    """Return the optimiser steps of a training, at least 1."""
    return max(round(config.epochs * len(images) / config.batch_size), 1)


def optimiser_of(config: TrainConfig) -> Optimiser:
    """Return the optimiser that settings describe.

    Raises:
        InputError: a number out of range.
    """
    return Optimiser(
        kind=config.optimiser,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        schedule=config.schedule,
        warmup=config.warmup,
        level_decay=config.level_decay,
        clip=config.clip,
    )


def phase(name: str, config: TrainConfig, sampler: Sampler, images: Images) -> Phase:
    """Return the training that settings describe.

    Raises:
        InputError: settings that do not fit together.
    """
    return Phase(
        name,
        sampler,
        steps=steps_of(config, images),
        optimiser=optimiser_of(config),
        batch_size=config.batch_size,
        micro_batch=config.micro_batch,
        label_smoothing=config.label_smoothing,
    )


def precision_of(config: TrainConfig, device: torch.device) -> Precision:
    """Return the precision that settings mean on a device."""
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if device.type == "cuda" else "float32"


def training_of(config: TrainConfig, device: torch.device) -> Training:
    """Return the training of a network alone that settings describe.

    Raises:
        InputError: settings that do not fit together.
    """
    return Training(
        optimiser=optimiser_of(config),
        batch_size=config.batch_size,
        epochs=config.epochs,
        label_smoothing=config.label_smoothing,
        micro_batch=config.micro_batch,
        precision=precision_of(config, device),
        channels_last=config.channels_last,
    )


def fit(
    shop: Workshop,
    network: torch.nn.Module,
    phases: Sequence[Phase],
    images: Images,
    config: TrainConfig,
    *,
    seed: int,
    name: str,
    title: str,
    checkpoint: Path,
    held_out: Images | None = None,
) -> tuple[Summary, float]:
    """Run the one training loop with progress and events, from ``checkpoint`` on if it is there.

    Steps and epochs count on from phase to phase in what a person and the events are told.

    Args:
        shop: whose run it is.
        network: trained in place.
        phases: what to do, in order; their names differ.
        images: training images.
        config: what the last of `phases` was made of.
        seed: of the order of images and augmentation.
        name: of the stage in the events.
        title: of the stage for a person.
        checkpoint: the file that holds the state.
        held_out: images for learners.

    Returns:
        What the training did, and its time [s] in all processes that worked on it.
    """
    precision = precision_of(config, shop.device)
    clock = Clock(shop.run, name, goes_on=checkpoint.exists())
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        shop.say(f"{title}: goes on from its checkpoint")
    shop.run.event({"event": "stage", "stage": name, "status": "begun"})
    # Of each phase, the steps and epochs before it.
    before: dict[str, tuple[int, float]] = {}
    steps, epochs = 0, 0.0
    for one in phases:
        before[one.name] = (steps, epochs)
        steps, epochs = steps + one.steps, epochs + one.steps * one.batch_size / len(images)
    with stage(shop.console, title, steps, "steps") as update:

        def on_record(record: dict[str, Any]) -> None:
            steps_before, epochs_before = before[record["phase"]]
            done = steps_before + record["step"]
            epoch = round(epochs_before + record["epoch"], 3)
            counted = {**record, "step": done, "steps": steps, "epoch": epoch}
            counted["seconds"] = clock.at(done)
            shop.run.event({"event": "step", "stage": name, **counted})
            note = f"loss {record['loss']:.3f}"
            update(done, note if len(phases) == 1 else f"{record['phase']}, {note}")

        try:
            summary = train(
                network,
                phases,
                images,
                seed=seed,
                device=shop.device,
                held_out=held_out,
                precision=precision,
                channels_last=config.channels_last,
                checkpoint=checkpoint,
                checkpoint_every=config.checkpoint_every,
                on_record=on_record,
            )
        except DivergedError as error:
            (checkpoint.parent / DIVERGED).touch()
            if name == "train":
                # With several phases, the message before names the one that it was.
                keys = "train.lr" if len(phases) == 1 else "meta.lr or train.lr"
                cure = f"set {keys} in a new run by --set KEY=VALUE and another --out"
            else:
                cure = "go on by `nas retrain` with --set retrain.lr=VALUE"
            raise DivergedError(f"{error}: {cure}") from error
    seconds = clock.seconds()
    shop.run.event({"event": "stage", "stage": name, "status": "finished", "seconds": seconds})
    return summary, seconds
