"""What a method does at the scale of its images, where a paper's settings would not do.

`SCALES` holds what is different for smaller images, `ADAPTED` what of that a method needs
otherwise, `OF_SPACE` what only holds in the space that it then searches by default.
"""

from typing import Any

from nas_cli.recipes import BITS_LIMIT, CHANNELS_LIMIT, JOINT_LIMIT, RECIPES
from nas_cli.typed import merge

__all__ = [
    "ADAPTED",
    "DEFAULT_SPACES",
    "OF_SPACE",
    "SCALES",
    "default_recalibration",
    "default_space",
    "defaults",
    "scale_of",
]

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

# Trained alone on digits with 2 and 4 bits everywhere, errors are 1.4 and 1.2 % with a decay of
# 0.001, 2.0 and 0.9 % without, 2.2 and 1.9 % with 0.01 (three seeds). It acts by rate x steps:
# longer trainings take less of it.
DIGITS_BITS: dict[str, Any] = {
    "baselines": 2,
    "search": {"generations": 5},
    "train": {"level_decay": 0.001},
    "retrain": {"level_decay": 0.001},
}
SMALL_BITS: dict[str, Any] = {
    "train": {"level_decay": 5e-4},
    "retrain": {"level_decay": 5e-4},
}
# 719 images are few for shared widths: most of the training is warm-up, of one path a step. FP-NAS
# has a mode of 9.3 % supernet error where the best of 50 random ones has 10.7 % and their median
# 17 % (one seed). At a temperature of 0.2 and half the rate the distribution is far from certain at
# the end (9.6 of 17.6 nats, 11.8 %).
DIGITS_DISTRIBUTION: dict[str, Any] = {
    "space": "digits-fp-nas",
    "images": {"held_out": 0.5},
    "train": {"epochs": 80, "label_smoothing": 0.0},
    "distribution": {"warmup": 0.7, "warmup_rows": 1, "lr": 0.1, "temperature": 0.05},
    "search": {"generations": 1},
}
# The scale's own space has a single choice a block and 8.8 nats: by the paper's rows a nat a step
# has the fewest from the first on, and nothing can be joined. This one has the paper's variables.
SMALL_DISTRIBUTION: dict[str, Any] = {"space": "digits-fp-nas", "images": {"held_out": 0.5}}
ADAPTED: dict[tuple[str, str], dict[str, Any]] = {
    ("spos-channels", "digits"): {
        "space": "digits-mobile+channels",
        "limits": CHANNELS_LIMIT,
        "baselines": 3,
    },
    ("spos-channels", "small"): {
        "space": "nas-bench-macro+channels",
        "limits": CHANNELS_LIMIT,
    },
    ("spos-channels", "large"): {"space": "spos-shufflenet+channels"},
    ("spos-bits", "digits"): {
        "space": "digits-resnet@0,0,0,0,0,0+bits+channels=0.5,1,1.5",
        "limits": BITS_LIMIT,
        **DIGITS_BITS,
    },
    ("spos-bits", "small"): {
        "space": "resnet20+bits+channels=0.5,1,1.5",
        "limits": BITS_LIMIT,
        **SMALL_BITS,
    },
    ("spos-bits", "large"): {"space": "resnet18-quant"},
    ("spos-joint", "digits"): {
        "space": "digits-resnet+bits+channels=0.5,1,1.5",
        "limits": JOINT_LIMIT,
        **DIGITS_BITS,
    },
    ("spos-joint", "small"): {
        "space": "resnet20-blocks+bits+channels=0.5,1,1.5",
        "limits": JOINT_LIMIT,
        **SMALL_BITS,
    },
    ("spos-joint", "large"): {"space": "resnet18-blocks+bits+channels=0.5,1,1.5"},
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
    # Together as many epochs as SPOS has.
    ("ponas", "digits"): {
        "meta": {
            "epochs": 15,
            "batch_size": 64,
            "lr": 0.1,
            "schedule": "cosine",
            "warmup": 0.05,
            "clip": 5.0,
        },
        "train": {"epochs": 45, "lr": 0.2},
    },
    ("ponas", "small"): {
        "meta": {
            "epochs": 40,
            "batch_size": 128,
            "lr": 0.05,
            "schedule": "cosine",
            "warmup": 0.02,
            "clip": 5.0,
        },
        "train": {"epochs": 60},
    },
    ("ponas", "large"): {"space": "ponas-19"},
    # A step runs nearly all candidates, here and for gumbel and darts: a quarter of the epochs.
    ("oneshot", "digits"): {"train": {"epochs": 15}},
    ("oneshot", "small"): {"train": {"epochs": 40}},
    # Steps are few, so that parameters take longer ones: 404 updates of 0.01. With 0.02 and twice
    # the cost every block that may be an identity became one within 100 updates; with 0.01 and less
    # than half the cost no identity was left. So: 371k multiply-adds of 606k, 2.4 % supernet error
    # where the best of 100 random ones has 2.8 %, 98.9 % on the test images (one seed). Random
    # search beside it tells where the one architecture stands; it needs no more than that.
    ("betanas", "digits"): {
        "alphas": {"every": 2, "lr": 0.01, "cost_weight": 0.05, "drop_below": 0.3},
        "search": {"generations": 2},
    },
    ("betanas", "large"): {"space": "betanas"},
    # What is likely is trained more, and what is trained more becomes likely: identities lead.
    ("proxyless", "digits"): {
        "alphas": {"every": 2, "lr": 0.02, "cost_weight": 0.02},
        "search": {"generations": 2},
    },
    ("proxyless", "large"): {"space": "mobilenet-21-mobile"},
    # Cooled by 0.045 an epoch, gates are soft to the end and the winner alone has an error of 45 %
    # with the supernet's weights; by 0.2, of 4.5 %. Both do 98.6 % or more from scratch.
    ("gumbel", "digits"): {
        "train": {"epochs": 15},
        "alphas": {"every": 1, "lr": 0.02, "temperature_decay": 0.2},
        "search": {"generations": 2},
    },
    # In fewer epochs the temperature falls as far as in 90, to 0.09.
    ("gumbel", "small"): {"train": {"epochs": 40}, "alphas": {"temperature_decay": 0.1}},
    ("gumbel", "large"): {"space": "mobilenet-21"},
    # At 3e-4 the parameters hardly leave 0 in 270 updates. Weights that are trained as a mixture
    # say little of a single path (35 % error of the winner), which is DARTS and not the budget.
    ("darts", "digits"): {
        "train": {"epochs": 15},
        "alphas": {"lr": 0.02},
        "search": {"generations": 2},
    },
    ("darts", "small"): {"train": {"epochs": 40}},
    ("darts", "large"): {"space": "mobilenet-21"},
    # 60 candidates for 3 epochs, then the best four for 20.
    ("fnas", "digits"): {
        "supernet": {"scheme": "kaiming"},
        "train": {"epochs": 3, "batch_size": 32, "lr": 0.1, "checkpoint_every": 1000},
        "search": {"population": 10, "generations": 6},
        "candidates": {"finalists": 4},
        # Accuracies differ by a point; half the cost would be worth five.
        "reward": {"hard": True},
    },
    ("fnas", "small"): {
        "supernet": {"scheme": "kaiming"},
        "train": {"epochs": 5},
        "search": {"population": 10, "generations": 30},
        "reward": {"hard": True},
    },
    ("fnas", "large"): {"space": "mnasnet"},
    ("fpnas", "digits"): {
        **DIGITS_DISTRIBUTION,
        "distribution": {
            **DIGITS_DISTRIBUTION["distribution"],
            "join_after": 0.8,
        },
    },
    ("fpnas", "small"): SMALL_DISTRIBUTION,
    ("fpnas", "large"): {"space": "fbnetv2-f"},
    ("parsec", "digits"): {
        **DIGITS_DISTRIBUTION,
        "distribution": {**DIGITS_DISTRIBUTION["distribution"], "rows": 6},
    },
    ("parsec", "small"): SMALL_DISTRIBUTION,
    ("parsec", "large"): {"space": "fbnetv2-f"},
}
"""(method, scale) -> what differs from the scale's settings."""

OF_SPACE: dict[tuple[str, str], dict[str, Any]] = {
    # Of 17.6 nats 6 at the beginning, as parsec has.
    ("fpnas", "digits"): {"distribution": {"rows_per_nat": 0.35}},
    ("fpnas", "small"): {
        "resolution": 32,
        "distribution": {"rows_per_nat": 0.8},  # 14 at the beginning
    },
    ("parsec", "small"): {"resolution": 32},
}
"""(method, scale) -> what differs besides in the space of `ADAPTED`, named or not.

A resolution in it is of the same scale.
"""

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


def default_space(method: str, scale: str) -> str:
    """Return the space that a method searches at a scale where none is named.

    >>> default_space("spos", "digits"), default_space("fpnas", "small")
    ('digits-mobile', 'digits-fp-nas')
    """
    space: str = defaults(method, scale).get("space", DEFAULT_SPACES[scale])
    return space


def default_recalibration(scale: str) -> int:
    """Return on how many images SPOS recalibrates norms at a scale.

    >>> default_recalibration("digits"), default_recalibration("large")
    (512, 20000)
    """
    images: int = merge(RECIPES["spos"], SCALES[scale])["search"]["recalibration_images"]
    return images


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
