"""The first stage: train the supernet. Its result file is written last and never again."""

from collections.abc import Callable
from pathlib import Path

import attrs
import torch

from nas_cli.run import write_json
from nas_cli.workshop import INITIAL, ORDER, PATHS, Workshop, fit, phase
from nas_samplers import (
    Constrained,
    ExpectationFair,
    Phase,
    StrictFair,
    Uniform,
    load_weights,
    mean_rows,
    sum_rows,
)
from nas_samplers.train import Weigh
from nas_spaces import InputError, Sampler
from nas_spaces.torch import Supernet

__all__ = ["check_train", "train_supernet", "trained_supernet"]


def check_train(shop: Workshop) -> None:
    """Refuse settings and weights that the training could not begin with.

    Raises:
        InputError: what is wrong, before anything is written.
    """
    config = shop.run.config
    if (shop.run.train / "summary.json").exists():
        return
    _phase(shop)
    if config.weights is not None and not _begun(shop):
        load_weights(_supernet(shop), Path(config.weights))


def _uniform(shop: Workshop) -> Sampler:
    return Uniform(shop.space, rng=shop.rng(PATHS))


def _strict_fair(shop: Workshop) -> Sampler:
    return StrictFair(shop.space, rng=shop.rng(PATHS))


def _expectation_fair(shop: Workshop) -> Sampler:
    # As many as a strictly fair step has: options that were dropped do not count.
    largest = int(shop.space.mask.sum(axis=1).max(initial=1))
    k = shop.run.config.supernet.paths or largest
    return ExpectationFair(shop.space, k=k, rng=shop.rng(PATHS))


def _constrained(shop: Workshop) -> Sampler:
    return Constrained(shop.ranges, rng=shop.rng(PATHS))


SAMPLERS: dict[str, Callable[[Workshop], Sampler]] = {
    "uniform": _uniform,
    "constrained": _constrained,
    "strict-fair": _strict_fair,
    "expectation-fair": _expectation_fair,
}
"""Setting ``supernet.sampler`` -> what draws the paths."""

REDUCTIONS: dict[str, Weigh] = {"sum": sum_rows, "mean": mean_rows}
"""Setting ``supernet.reduction`` -> what the gradient of each of a step's paths counts."""


def _phase(shop: Workshop) -> Phase:
    config = shop.run.config
    sampler = SAMPLERS[config.supernet.sampler](shop)
    return attrs.evolve(
        phase("supernet", config.train, sampler, shop.data.train),
        weigh=REDUCTIONS[config.supernet.reduction],
    )


def _within(shop: Workshop) -> str:
    """Return the ranges of a constrained training in words."""
    first, last = shop.ranges[0].limits[0], shop.ranges[-1].limits[0]
    if first.lower is None or last.upper is None:
        return str(first)
    metric = first.metric
    return (
        f"{first.lower:,.0f} to {last.upper:,.0f} {metric.unit} ({metric.name}), "
        f"{len(shop.ranges)} ranges equally often"
    )


def _begun(shop: Workshop) -> bool:
    """Whether the weights to start from are in a checkpoint already."""
    return (shop.run.train / "checkpoint.safetensors").exists()


def train_supernet(shop: Workshop) -> None:
    """Train the supernet, unless that is done."""
    run, config, images = shop.run, shop.run.config, shop.data.train
    result = run.train / "summary.json"
    if result.exists():
        shop.say("supernet: trained already")
        return
    supernet = _supernet(shop)
    if config.weights is not None and not _begun(shop):
        kept = load_weights(supernet, Path(config.weights))
        shop.say(f"supernet: starts from {config.weights}, {len(kept)} tensors are new")
    if config.supernet.sampler == "constrained":
        shop.say(f"supernet: trains paths of {_within(shop)}")
    summary, seconds = fit(
        shop,
        supernet,
        _phase(shop),
        images,
        config.train,
        seed=shop.seed(ORDER),
        name="train",
        title="supernet",
        checkpoint=_checkpoint(shop),
    )
    device = shop.device
    counts = [
        [*row[:size], *[0] * (size - len(row))]
        for row, size in zip(summary.path_counts, shop.space.num_options, strict=True)
    ]
    record = {
        "steps": summary.steps,
        "loss": summary.loss,
        "path_counts": counts,
        "seconds": seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
    write_json(result, record)


def trained_supernet(shop: Workshop) -> Supernet:
    """Return the trained supernet on the run's device.

    Raises:
        InputError: it has not been trained, or its file is damaged.
    """
    again = f"`nas train --resume --out {shop.run.path}`"
    if not (shop.run.train / "summary.json").exists():
        raise InputError(f"{shop.run.path} holds no trained supernet; {again} trains it")
    supernet = _supernet(shop).to(shop.device)
    try:
        # Of another network only the classifier may differ, and not even that here.
        fits = not load_weights(supernet, _checkpoint(shop))
    except InputError as error:
        raise InputError(f"{error}; remove {shop.run.train} and train again by {again}") from error
    if not fits:
        raise InputError(
            f"{_checkpoint(shop)} is of another network; remove {shop.run.train} and train again "
            f"by {again}"
        )
    if shop.run.config.train.channels_last:
        supernet.to(memory_format=torch.channels_last)
    return supernet.eval()


def _checkpoint(shop: Workshop) -> Path:
    return shop.run.train / "checkpoint.safetensors"


def _supernet(shop: Workshop) -> Supernet:
    """Return the supernet with its initial weights."""
    config = shop.run.config.supernet
    return Supernet(
        shop.space,
        generator=shop.torch_rng(INITIAL),
        affine=config.affine,
        scheme=config.scheme,
    )
