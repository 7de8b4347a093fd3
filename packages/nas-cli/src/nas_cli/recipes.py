"""What each method does by default: one literal entry a method.

Times are in epochs of the training images, so that they mean the same for every data set. A
recipe holds the settings of the paper; `SCALES` holds what is different for smaller images, and
`ADAPTED` what of that a method needs otherwise.
"""

from typing import Any

__all__ = ["ADAPTED", "DEFAULT_SPACES", "RECIPES", "SCALES", "defaults", "scale_of"]

RECIPES: dict[str, dict[str, Any]] = {
    # Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", 2020.
    "spos": {
        "limits": ("macs<=83%",),  # 330M of its largest network's 399M
        "baselines": 2,
        # Constrained where there is a limit: section 3.3 finds it slightly better than uniform.
        "supernet": {"sampler": "auto", "affine": False, "scheme": "spos"},
        "train": {
            "epochs": 120,  # 150,000 iterations of ImageNet
            "batch_size": 1024,
            "optimiser": "sgd",
            "lr": 0.5,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "schedule": "linear",
            "label_smoothing": 0.1,
        },
        "search": {
            "searcher": "evolution",
            "population": 50,
            "parents": 10,
            "crossover": 25,
            "mutation": 25,
            "mutation_probability": 0.1,
            "generations": 20,
            "recalibration_images": 20_000,
            "recalibration_batch": 200,
            "evaluation_images": 0,  # all held-out images
            "evaluation_batch": 200,
        },
        "retrain": {
            "epochs": 240,  # 300,000 iterations
            "batch_size": 1024,
            "optimiser": "sgd",
            "lr": 0.5,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "schedule": "linear",
            "label_smoothing": 0.1,
        },
    },
    # Chu et al., "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture
    # Search", 2021. Retraining, for which the paper has no settings of its own, as for SPOS.
    "fairnas": {
        "limits": ("macs<=70%",),  # 388M, what FairNAS-A has
        "baselines": 2,
        # A step trains as many paths as a choice has options, on one batch.
        "supernet": {"sampler": "strict-fair", "reduction": "sum", "scheme": "kaiming"},
        "train": {
            "epochs": 150,
            "batch_size": 256,
            "optimiser": "sgd",
            "lr": 0.045,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "schedule": "cosine",
            "label_smoothing": 0.1,
        },
        "search": {
            "searcher": "nsga2",
            "objectives": ("error", "macs"),
            "population": 64,
            "crossover": 13,  # mutants are four fifths of the children
            "mutation": 51,
            "mutation_probability": 0.1,
            "generations": 200,
            "recalibration_images": 0,  # fair norms need none, the paper finds
            "recalibration_batch": 200,
            "evaluation_images": 0,
            "evaluation_batch": 200,
        },
        "retrain": {
            "epochs": 240,
            "batch_size": 1024,
            "optimiser": "sgd",
            "lr": 0.5,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "schedule": "linear",
            "label_smoothing": 0.1,
        },
    },
}

SCALES: dict[str, dict[str, Any]] = {
    # 1,149 training images of 8x8 pixels: a whole pipeline in about two minutes on two cores.
    "digits": {
        "limits": ("macs<=50%",),
        "baselines": 5,
        "threads": 1,  # sharing out 8x8 images costs more than it saves
        # Inverted residual blocks; SPOS's own scheme is for ShuffleNet units.
        "supernet": {"affine": True, "scheme": "zero-residual"},
        "images": {"held_out": 0.2},
        "train": {
            "epochs": 60,
            "batch_size": 64,
            "lr": 0.3,
            "schedule": "cosine",
            "warmup": 0.05,
            "clip": 5.0,
        },
        "search": {
            "generations": 10,
            "recalibration_images": 512,
            "recalibration_batch": 256,
            "evaluation_batch": 512,
        },
        "retrain": {
            "epochs": 20,
            "batch_size": 32,
            "lr": 0.1,
            "schedule": "cosine",
            "warmup": 0.05,
            "clip": 5.0,
        },
    },
    # CIFAR-like: tens of thousands of images of at most 64 pixels.
    "small": {
        "limits": ("macs<=50%",),
        "baselines": 3,
        "supernet": {"affine": True, "scheme": "zero-residual"},
        "images": {"held_out": 0.1},
        "train": {
            "epochs": 100,
            "batch_size": 128,
            "lr": 0.05,
            "schedule": "cosine",
            "warmup": 0.02,
            "clip": 5.0,
        },
        "search": {
            "recalibration_images": 2_000,
            "recalibration_batch": 500,
            "evaluation_batch": 500,
        },
        "retrain": {
            "epochs": 50,
            "batch_size": 128,
            "lr": 0.05,
            "schedule": "cosine",
            "warmup": 0.02,
            "clip": 5.0,
        },
    },
    # The paper's own scale.
    "large": {},
}

ADAPTED: dict[tuple[str, str], dict[str, Any]] = {
    ("fairnas", "digits"): {
        # 24 epochs are 120 of single paths. The mean of the paths' gradients at twice SPOS's rate
        # gave a supernet error of 0.035, their sum at half of it 0.062 (mean of 30 random
        # architectures, norms as they are, one seed).
        "supernet": {"reduction": "mean"},
        "train": {"epochs": 24, "lr": 0.6},
        "search": {"recalibration_images": 0},
    },
    ("fairnas", "small"): {
        "supernet": {"reduction": "mean"},
        "train": {"epochs": 40, "lr": 0.1},
        "search": {"recalibration_images": 0, "generations": 20},
    },
    ("fairnas", "large"): {"space": "fairnas-19"},
}
"""(method, scale) -> what differs from the scale's settings."""

DEFAULT_SPACES = {"digits": "digits-mobile", "small": "nas-bench-macro", "large": "spos-shufflenet"}
"""Space where none is named."""


def defaults(method: str, scale: str) -> dict[str, Any]:
    """Return what a method does at a scale where nothing else is said, over its recipe.

    >>> defaults("fairnas", "digits")["train"]["epochs"], defaults("spos", "large")
    (24, {})
    """
    merged: dict[str, Any] = dict(SCALES[scale])
    for key, value in ADAPTED.get((method, scale), {}).items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def scale_of(data: str, resolution: int | None) -> str:
    """Return which entry of `SCALES` fits a data source at a resolution (None: not known yet).

    >>> scale_of("digits", 8), scale_of("imagefolder:x", 32), scale_of("imagefolder:x", None)
    ('digits', 'small', 'large')
    """
    if data == "digits":
        return "digits"
    if data in ("cifar10", "cifar100", "synthetic"):
        return "small" if resolution is None or resolution <= 64 else "large"
    return "small" if resolution is not None and resolution <= 64 else "large"
