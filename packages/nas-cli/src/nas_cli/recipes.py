"""What each method does by default: the settings of its paper, one literal entry a method.

Times are in epochs of the training images, so that they mean the same for every data set. What is
different for smaller images is in `nas_cli.scales`.
"""

from typing import Any

__all__ = ["BITS_LIMIT", "CHANNELS_LIMIT", "JOINT_LIMIT", "RECIPES"]

# What SPOS does with a supernet, and with its winner. Methods whose sources have no settings of
# their own for a stage take them from here, so that they can be compared.
SPOS_TRAIN: dict[str, Any] = {
    "epochs": 120,  # 150,000 iterations of ImageNet
    "batch_size": 1024,
    "optimiser": "sgd",
    "lr": 0.5,
    "momentum": 0.9,
    "weight_decay": 4e-5,
    "schedule": "linear",
    "label_smoothing": 0.1,
}
SPOS_EVALUATION: dict[str, Any] = {
    "recalibration_images": 20_000,
    "recalibration_batch": 200,
    "evaluation_images": 0,  # all held-out images
    "evaluation_batch": 200,
}
SPOS_SEARCH: dict[str, Any] = {
    "searcher": "evolution",
    "population": 50,
    "parents": 10,
    "crossover": 25,
    "mutation": 25,
    "mutation_probability": 0.1,
    "generations": 20,
    **SPOS_EVALUATION,
}
SPOS_RETRAIN: dict[str, Any] = {**SPOS_TRAIN, "epochs": 240}  # 300,000 iterations

# Yan et al., "FP-NAS: Fast Probabilistic Neural Architecture Search", CVPR 2021, section 4.1: 315
# epochs, the first 45 of weights alone; half of the images for the weights, half for the
# distribution; SGD at 0.8 with a cosine for the weights. Its batch, momentum and decay are ours.
FP_NAS_TRAIN: dict[str, Any] = {
    "epochs": 315,
    "batch_size": 256,
    "optimiser": "sgd",
    "lr": 0.8,
    "momentum": 0.9,
    "weight_decay": 4e-5,
    "schedule": "cosine",
    "label_smoothing": 0.0,
}

# Clipping levels are pulled down as weights are; PACT's authors do the same.
SPOS_BITS: dict[str, Any] = {
    "baselines": 2,
    "references": ("2w2a", "3w3a", "4w4a"),
    "supernet": {"sampler": "auto", "scheme": "kaiming"},
    "train": {**SPOS_TRAIN, "level_decay": 4e-5},
    "search": SPOS_SEARCH,
    "retrain": {**SPOS_RETRAIN, "level_decay": 4e-5},
}
# What 3 bits everywhere have: of 4 and half as many channels again, and of kernels of 5 besides.
BITS_LIMIT, JOINT_LIMIT = ("bitops<=38%",), ("bitops<=14%",)
CHANNELS_LIMIT = ("macs<=64%",)  # about what blocks have with their usual channels, of 1.6

RECIPES: dict[str, dict[str, Any]] = {
    # Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", 2020.
    "spos": {
        "limits": ("macs<=83%",),  # 330M of its largest network's 399M
        "baselines": 2,
        # Constrained where there is a limit: section 3.3 finds it slightly better than uniform.
        "supernet": {"sampler": "auto", "affine": False, "scheme": "spos"},
        "train": SPOS_TRAIN,
        "search": SPOS_SEARCH,
        "retrain": SPOS_RETRAIN,
    },
    # SPOS, sections 3.4 and 4.1: the channels inside the blocks that a search for blocks has found.
    "spos-channels": {
        "blocks": {"method": "spos"},
        "limits": CHANNELS_LIMIT,
        "baselines": 2,
        "references": ("channels",),
        "supernet": {"sampler": "auto", "affine": False, "scheme": "spos"},
        "train": SPOS_TRAIN,
        "search": SPOS_SEARCH,
        "retrain": SPOS_RETRAIN,
    },
    # SPOS, section 4.3: bits and channels of the blocks of a ResNet.
    "spos-bits": {"limits": BITS_LIMIT, **SPOS_BITS},
    # Blocks, channels and bits in one supernet, which no paper has done.
    "spos-joint": {"limits": JOINT_LIMIT, **SPOS_BITS},
    # Random search of a supernet of uniform single paths, with the budget of SPOS's evolution:
    # the baseline of Li and Talwalkar, "Random Search and Reproducibility for NAS", 2019, in
    # SPOS's setting (its figure 2).
    "random": {
        "limits": ("macs<=83%",),
        "baselines": 2,
        "supernet": {"sampler": "uniform", "affine": False, "scheme": "spos"},
        "train": SPOS_TRAIN,
        "search": {"searcher": "random", "population": 50, "generations": 20, **SPOS_EVALUATION},
        "retrain": SPOS_RETRAIN,
    },
    # Bender et al., "Understanding and Simplifying One-Shot Architecture Search", ICML 2018:
    # section 3.2, all candidates at once with path dropout, then random search. In SPOS's setting,
    # as its figure 1 compares the two.
    "oneshot": {
        "limits": ("macs<=83%",),
        "baselines": 2,
        "supernet": {
            "sampler": "path-dropout",
            "path_dropout": 0.05,
            "affine": False,
            "scheme": "spos",
        },
        "train": SPOS_TRAIN,
        "search": {"searcher": "random", "population": 50, "generations": 20, **SPOS_EVALUATION},
        "retrain": SPOS_RETRAIN,
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
        "retrain": SPOS_RETRAIN,
    },
    # Huang and Chu, "PONAS: Progressive One-shot Neural Architecture Search for Very Efficient
    # Deployment", 2020: the largest network first, which all candidates inherit; a few epochs of
    # single paths; then the table of candidates. How long and by which optimiser, the paper does
    # not say: the largest network as SPOS trains a supernet, the paths a quarter as long.
    "ponas": {
        "limits": ("macs<=68%",),  # 379M, what PONAS-C has
        "baselines": 2,
        "supernet": {"sampler": "uniform", "scheme": "kaiming"},
        "meta": SPOS_TRAIN,
        "train": {**SPOS_TRAIN, "epochs": 30, "lr": 0.1},
        "search": {"searcher": "progressive", **SPOS_EVALUATION},
        "retrain": SPOS_RETRAIN,
    },
    # Fang et al., "BETANAS: BalancEd TrAining and selective drop for Neural Architecture Search",
    # 2019. Section 3: uniform paths of what is left, parameters by binary gates, drops. The paper
    # does not give the weight of the cost, its threshold, nor how long it trains: they are ours.
    # AutoAugment, with which it retrains some of its networks, is not offered.
    "betanas": {
        "limits": ("macs<=55%",),  # 334M, about what the paper's mobile networks have
        "baselines": 2,
        "images": {"held_out": 0.04},  # 50,000 of ImageNet for the parameters, section 4.1
        "supernet": {"sampler": "balanced", "scheme": "kaiming"},
        "train": {**SPOS_TRAIN, "lr": 0.1, "schedule": "cosine"},
        "alphas": {
            "variant": "all",
            "every": 5,  # as ProxylessNAS
            "warmup": 0.25,
            "lr": 1e-3,
            "beta1": 0.0,
            "beta2": 0.999,
            "cost": "macs",
            "cost_term": "sum",
            "cost_weight": 0.1,
            "drop": "margin",
            "drop_below": 0.5,
        },
        "search": {"searcher": "most-probable", **SPOS_EVALUATION},
        "retrain": {
            "epochs": 350,
            "batch_size": 2048,
            "optimiser": "sgd",
            "lr": 1.4,
            "momentum": 0.9,
            "weight_decay": 2e-5,
            "schedule": "cosine",
            "label_smoothing": 0.1,
        },
    },
    # Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware",
    # ICLR 2019, with the authors' code where the paper is silent. They warm the weights up for 40
    # epochs at 0.05 and go on for 120 at 0.025 with Nesterov's momentum; here one cosine serves
    # both, with plain momentum.
    "proxyless": {
        "limits": ("macs<=47%",),  # Proxyless-Mobile's 320M of 693M
        "baselines": 2,
        "images": {"held_out": 0.04},  # 50,000 of ImageNet, section 4.2
        "supernet": {"sampler": "weighted", "scheme": "kaiming"},
        "train": {
            "epochs": 160,
            "batch_size": 256,
            "optimiser": "sgd",
            "lr": 0.05,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "schedule": "cosine",
            "label_smoothing": 0.1,
        },
        "alphas": {
            "std": 1e-3,
            "variant": "two-path",  # section 3.2
            "warmup": 0.25,
            "every": 5,
            "lr": 1e-3,
            "beta1": 0.0,
            "beta2": 0.999,
            "cost": "macs",
            "cost_term": "sum",
            "cost_weight": 0.1,
        },
        "search": {"searcher": "most-probable", **SPOS_EVALUATION},
        "retrain": {
            "epochs": 300,
            "batch_size": 256,
            "optimiser": "sgd",
            "lr": 0.05,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "schedule": "cosine",
            "label_smoothing": 0.1,
        },
    },
    # Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
    # Architecture Search", CVPR 2019, sections 3.3 and 4.1. The cost in the logarithm is of
    # multiply-adds, not of milliseconds, whose relative differences weigh less there (ln E is 19
    # for 300M, 3 for 25 ms). Retraining as for SPOS.
    "gumbel": {
        "limits": ("macs<=49%",),  # 297M; FBNet-B has 295M
        "baselines": 2,
        "images": {"held_out": 0.2},
        "supernet": {"sampler": "gumbel", "scheme": "kaiming"},
        "train": {
            "epochs": 90,
            "batch_size": 192,
            "optimiser": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "label_smoothing": 0.0,
        },
        "alphas": {
            "warmup": 0.11,  # 10 of 90 epochs
            "every": 4,  # an epoch of a fifth of the images after one of four fifths
            "lr": 0.01,
            "beta1": 0.9,
            "beta2": 0.999,
            "weight_decay": 5e-4,
            "cost": "macs",
            "cost_term": "product",
            "cost_weight": 0.2,
            "cost_power": 0.6,
            "temperature": 5.0,
            "temperature_decay": 0.045,
        },
        "search": {"searcher": "most-probable", **SPOS_EVALUATION},
        "retrain": SPOS_RETRAIN,
    },
    # Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, of first order (its
    # section 2.3, xi = 0) and on choice blocks in place of its cells. The rate falls to 0, not to
    # 0.001. No cost: limits are met at the end. Retraining as for SPOS.
    "darts": {
        "limits": ("macs<=55%",),
        "baselines": 2,
        "images": {"held_out": 0.5},
        "supernet": {"sampler": "mixture", "scheme": "kaiming"},
        "train": {
            "epochs": 50,
            "batch_size": 64,
            "optimiser": "sgd",
            "lr": 0.025,
            "momentum": 0.9,
            "weight_decay": 3e-4,
            "schedule": "cosine",
            "clip": 5.0,
            "label_smoothing": 0.0,
        },
        "alphas": {
            "std": 1e-3,
            "lr": 3e-4,
            "beta1": 0.5,
            "beta2": 0.999,
            "weight_decay": 1e-3,
            "cost_weight": 0.0,
        },
        "search": {"searcher": "most-probable", "exclude_zero": True, **SPOS_EVALUATION},
        "retrain": SPOS_RETRAIN,
    },
    # Yan et al., as above: rows in proportion to the entropy, factorised for 80 epochs, then joint.
    # Classes are 100 of ImageNet's (--set images.classes=100), as the search of the paper has them;
    # then the winner is to be trained on all of them. How the winner is trained there (RMSProp,
    # AutoAugment, weight averaging) is not offered: as for SPOS.
    "fpnas": {
        "limits": ("macs<=50%",),
        "baselines": 2,
        "images": {"held_out": 0.5},
        "supernet": {"sampler": "distribution", "reduction": "posterior", "scheme": "kaiming"},
        "train": FP_NAS_TRAIN,
        "distribution": {"warmup": 45 / 315, "join_after": 80 / 315},
        "search": {"searcher": "most-probable", "samples": 20, **SPOS_EVALUATION},
        "retrain": SPOS_RETRAIN,
    },
    # Casale et al., "Probabilistic Neural Architecture Search" (PARSEC), 2019, as FP-NAS compares
    # itself with it: joint from the beginning, a fixed number of rows.
    "parsec": {
        "limits": ("macs<=50%",),
        "baselines": 2,
        "images": {"held_out": 0.5},
        "supernet": {"sampler": "distribution", "reduction": "posterior", "scheme": "kaiming"},
        "train": FP_NAS_TRAIN,
        "distribution": {"warmup": 45 / 315, "joint": True, "rows": 14},
        "search": {"searcher": "most-probable", "samples": 20, **SPOS_EVALUATION},
        "retrain": SPOS_RETRAIN,
    },
    # Liu et al., "FNAS: Uncertainty-Aware Fast Neural Architecture Search", 2021. No supernet:
    # 8,000 candidates, each trained alone for 5 epochs by ``train``, from the pool of those before
    # it. The paper does not say how candidates and the ten best are trained: here as SPOS does it.
    # Policy, critic and buffer have the defaults of `nas_cli.ppo_settings`.
    "fnas": {
        "limits": ("macs<=60%",),
        "baselines": 2,
        "supernet": {"scheme": "kaiming"},
        "train": {**SPOS_TRAIN, "epochs": 5, "schedule": "cosine"},
        "search": {
            "evaluation": "standalone",
            "searcher": "ppo",
            "population": 50,
            "generations": 160,
            **SPOS_EVALUATION,
        },
        "retrain": SPOS_RETRAIN,
    },
}
