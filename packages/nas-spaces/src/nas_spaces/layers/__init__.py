"""Layer records: what a block can be, as frozen data.

A layer says what it does to a shape by its ``graph`` method, once; shapes, costs, torch modules,
weight sharing and JSON follow from that. To add a layer, write a frozen class with a ``graph``
method in one of these modules and name it in `LAYERS`.
"""

from nas_spaces.layers.basic import Classifier, Conv, Identity, Pool, Skip, Zero
from nas_spaces.layers.fbnet import FBNetBlock, PooledConv, SplitMBConv
from nas_spaces.layers.layer import Layer, Quantisable, Scalable
from nas_spaces.layers.mobile import HiddenClassifier, MBConv, SqueezeExcite
from nas_spaces.layers.nas_bench_201 import NormRelu, ReluConvNorm, ResidualDown
from nas_spaces.layers.residual import BasicBlock
from nas_spaces.layers.shuffle import ShuffleUnit

__all__ = [
    "LAYERS",
    "BasicBlock",
    "Classifier",
    "Conv",
    "FBNetBlock",
    "HiddenClassifier",
    "Identity",
    "Layer",
    "MBConv",
    "NormRelu",
    "Pool",
    "PooledConv",
    "Quantisable",
    "ReluConvNorm",
    "ResidualDown",
    "Scalable",
    "ShuffleUnit",
    "Skip",
    "SplitMBConv",
    "SqueezeExcite",
    "Zero",
]

LAYERS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        BasicBlock,
        Classifier,
        Conv,
        FBNetBlock,
        HiddenClassifier,
        Identity,
        MBConv,
        NormRelu,
        Pool,
        PooledConv,
        ReluConvNorm,
        ResidualDown,
        ShuffleUnit,
        Skip,
        SplitMBConv,
        Zero,
    )
}
"""The layer records that JSON can name."""
