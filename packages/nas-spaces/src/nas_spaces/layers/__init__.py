"""Layer records: what a block can be, as frozen data.

A layer says what it does to a shape by its ``graph`` method, once; shapes, costs, torch modules,
weight sharing and JSON follow from that. To add a layer, write a frozen class with a ``graph``
method in one of these modules and name it in `LAYERS`.
"""

from nas_spaces.layers.basic import Classifier, Conv, Identity, Pool, Zero
from nas_spaces.layers.layer import Layer
from nas_spaces.layers.mobile import MBConv
from nas_spaces.layers.shuffle import ShuffleUnit

__all__ = [
    "LAYERS",
    "Classifier",
    "Conv",
    "Identity",
    "Layer",
    "MBConv",
    "Pool",
    "ShuffleUnit",
    "Zero",
]

LAYERS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Classifier,
        Conv,
        Identity,
        MBConv,
        Pool,
        ShuffleUnit,
        Zero,
    )
}
"""The layer records that JSON can name."""
