"""The first stage: train the supernet. Its result file is written last and never again."""

from pathlib import Path

import torch

from nas_cli.phases import META, plan_training
from nas_cli.run import read_json, write_json
from nas_cli.training import fit
from nas_cli.workshop import INITIAL, ORDER, PATHS, Workshop
from nas_samplers import StrictFair, load_weights
from nas_spaces import InputError
from nas_spaces.torch import Inherited, Supernet

__all__ = ["check_train", "inherited_text", "train_supernet", "trained_supernet"]


def check_train(shop: Workshop) -> None:
    """Refuse settings and weights that the training could not begin with; say what it draws.

    Raises:
        InputError: what is wrong, before anything is written.
    """
    config = shop.run.config
    if config.search.evaluation == "standalone" or (shop.run.train / "summary.json").exists():
        return
    note = plan_training(shop, lambda _: None).draws.note
    if shop.run.checkpoint.exists():
        return
    if note is not None:
        shop.say(f"paths:    {note}")
    if config.weights is not None:
        load_weights(_supernet(shop), Path(config.weights))


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


def _uneven(shop: Workshop) -> tuple[str, ...]:
    """Return the choices in which strictly fair steps are fair in the mean only, and say so."""
    if shop.run.config.supernet.sampler != "strict-fair":
        return ()
    sampler = StrictFair(shop.space, rng=shop.rng(PATHS))
    if sampler.uneven:
        shop.say(
            f"supernet: strictly fair among {sampler.rows} options; of "
            f"{', '.join(sampler.uneven)} some are on more paths of a step than others, equally "
            "often in the mean"
        )
    return sampler.uneven


def inherited_text(found: Inherited) -> str:
    """Return in words what became of the tensors of a network that starts from weights."""
    words = f"{len(found.kept):,} tensors are new"
    if found.left:
        words += f", {len(found.left):,} clipping levels of bits that it does not have are left out"
    return words


def train_supernet(shop: Workshop) -> None:
    """Train the supernet, unless that is done or there is none."""
    run, config, images = shop.run, shop.run.config, shop.data.train
    if config.search.evaluation == "standalone":
        return
    result = run.train / "summary.json"
    if result.exists():
        shop.say("supernet: trained already")
        return
    supernet = _supernet(shop)
    if config.weights is not None and not shop.run.checkpoint.exists():
        found = load_weights(supernet, Path(config.weights))
        shop.say(f"supernet: starts from {config.weights}, {inherited_text(found)}")
    if config.supernet.sampler == "constrained":
        shop.say(f"supernet: trains paths of {_within(shop)}")
    uneven = _uneven(shop)
    known = run.train / "inherited.json"

    def inherited(found: Inherited) -> None:
        write_json(known, {"copied": found.copied, "kept": len(found.kept)})
        kept = f", {len(found.kept):,} keep their own values" if found.kept else ""
        shop.say(f"supernet: {found.copied:,} tensors inherit from the {META}{kept}")

    plan = plan_training(shop, inherited)
    title = "supernet" if len(plan.phases) == 1 else f"supernet, {META} first"
    summary, seconds = fit(
        shop,
        supernet,
        plan.phases,
        images,
        config.train,
        seed=shop.seed(ORDER),
        name="train",
        title=title,
        checkpoint=shop.run.checkpoint,
        held_out=shop.data.held_out,
    )
    if plan.draws.learned is not None:
        learned, of = plan.draws.learned
        write_json(run.train / learned, of())
    device = shop.device
    counts = [
        [*row[:size], *[0] * (size - len(row))]
        for row, size in zip(summary.path_counts, shop.space.num_options, strict=True)
    ]
    record = {
        "steps": summary.steps,
        "loss": summary.loss,
        "path_counts": counts,
        "uneven": list(uneven),
        "phases": [{"name": phase.name, "steps": phase.steps} for phase in plan.phases],
        **({"inherited": read_json(known, "copied", "kept")} if len(plan.phases) > 1 else {}),
        "seconds": seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
    write_json(result, record)


def trained_supernet(shop: Workshop) -> Supernet:
    """Return the trained supernet on the run's device.

    Raises:
        InputError: it has not been trained, or its file is damaged.
    """
    if shop.run.config.search.evaluation == "standalone":
        raise InputError(
            f"{shop.run.path} has no supernet: by search.evaluation=standalone each architecture "
            "is trained alone"
        )
    again = f"`nas train --resume --out {shop.run.path}`"
    if not (shop.run.train / "summary.json").exists():
        raise InputError(f"{shop.run.path} holds no trained supernet; {again} trains it")
    supernet = _supernet(shop).to(shop.device)
    try:
        # `load_weights` lets a classifier differ; of the run's own checkpoint nothing may.
        found = load_weights(supernet, shop.run.checkpoint)
    except InputError as error:
        raise InputError(f"{error}; remove {shop.run.train} and train again by {again}") from error
    if found.kept or found.left:
        raise InputError(
            f"{shop.run.checkpoint} is of another network; remove {shop.run.train} and train again "
            f"by {again}"
        )
    if shop.run.config.train.channels_last:
        supernet.to(memory_format=torch.channels_last)
    return supernet.eval()


def _supernet(shop: Workshop) -> Supernet:
    """Return the supernet with its initial weights."""
    config = shop.run.config.supernet
    return Supernet(
        shop.space,
        generator=shop.torch_rng(INITIAL),
        affine=config.affine,
        scheme=config.scheme,
    )
