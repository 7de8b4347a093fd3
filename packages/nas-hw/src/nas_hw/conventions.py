"""What counts as a multiply-add and as a parameter, by the name of the convention.

The standard convention is this project's own and that of most papers. Published tables that count
otherwise have a convention here, so that their numbers can be compared with.
"""

from collections.abc import Callable

from attrs import frozen

from nas_spaces import InputError, nearest
from nas_spaces.primitives import Convolution, Linear, Norm, Pool, Primitive, Quantise

__all__ = ["CONVENTIONS", "Convention", "find_convention", "macs_of", "params_of", "weights_of"]


def weights_of(primitive: Primitive) -> int:
    """Return the elements of a convolution's or linear map's weight; 0 of everything else."""
    if isinstance(primitive, Convolution):
        per_output = primitive.in_channels // primitive.groups * primitive.kernel**2
        return primitive.out_channels * per_output
    if isinstance(primitive, Linear):
        return primitive.in_features * primitive.out_features
    return 0


def macs_of(primitive: Primitive) -> int:
    """Return the multiply-adds of one primitive for one image.

    Convolutions and linear maps count weight elements times output positions; biases, norms,
    activations, pooling and additions count nothing. Papers that say "FLOPs" mean this number.
    """
    _, height, width = primitive.shape
    return weights_of(primitive) * height * width


def params_of(primitive: Primitive) -> int:
    """Return the trainable elements of one primitive, norms and biases included.

    A quantiser of activations has one, its clipping level.
    """
    if isinstance(primitive, Convolution):
        return weights_of(primitive) + primitive.bias * primitive.out_channels
    if isinstance(primitive, Linear):
        return weights_of(primitive) + primitive.bias * primitive.out_features
    if isinstance(primitive, Norm):
        return 2 * primitive.channels
    if isinstance(primitive, Quantise):
        return 1
    return 0


def _macs_of_plain_convolutions(primitive: Primitive) -> int:
    plain = isinstance(primitive, Convolution) and not primitive.name.startswith("se_")
    return macs_of(primitive) if plain else 0


def _macs_and_pooled_elements(primitive: Primitive) -> int:
    if isinstance(primitive, Pool) and primitive.kind == "global":
        channels, height, width = primitive.in_shape
        return channels * height * width
    return macs_of(primitive)


def _macs_and_biases_of_linear_maps(primitive: Primitive) -> int:
    biased = isinstance(primitive, Linear) and primitive.bias
    return macs_of(primitive) + (primitive.shape[0] if biased else 0)


@frozen
class Convention:
    """A way to count.

    ``macs``, ``params``: what one primitive counts. ``macs_text``, ``params_text``: the same in
    words. ``used_by``: whose tables count so.
    """

    name: str
    macs: Callable[[Primitive], int]
    macs_text: str
    params: Callable[[Primitive], int]
    params_text: str
    used_by: str


_EVERYTHING = "all trainable elements, norms and biases included"

CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "standard",
            macs_of,
            "convolutions and linear maps: weight elements x output positions",
            params_of,
            _EVERYTHING,
            "this project, SPOS, FairNAS, ProxylessNAS, ShuffleNetV2, NAS-Bench-Macro, torchvision",
        ),
        Convention(
            "conv-only",
            _macs_of_plain_convolutions,
            "as standard, without linear maps and without squeeze-and-excitation, whose "
            "convolutions are named se_*",
            params_of,
            _EVERYTHING,
            "PONAS",
        ),
        Convention(
            "mobile-vision",
            _macs_and_pooled_elements,
            "as standard, and one for each input element of each global pooling",
            weights_of,
            "weights of convolutions and linear maps, without norms and biases",
            "mobile-vision's FBNet and FBNetV2 (its parameters: FBNetV2's annotations)",
        ),
        Convention(
            "nas-bench-201",
            _macs_and_biases_of_linear_maps,
            "as standard, and one for each bias of a linear map",
            params_of,
            _EVERYTHING,
            "NAS-Bench-201",
        ),
    )
}
"""Name -> convention."""


def find_convention(name: str) -> Convention:
    """Return the convention of that name.

    Raises:
        InputError: there is none.
    """
    if name not in CONVENTIONS:
        raise InputError(f"convention {name!r} is unknown: {nearest(name, CONVENTIONS)}")
    return CONVENTIONS[name]
