"""What an architecture costs, counted from its primitives."""

from nas_hw.conventions import find_convention, macs_of, params_of
from nas_spaces import SearchSpace, Table
from nas_spaces.primitives import Convolution, Primitive
from nas_spaces.table import Cost

__all__ = [
    "bitops",
    "bitops_cost",
    "bitops_of",
    "macs",
    "macs_cost",
    "macs_of",
    "params",
    "params_cost",
    "params_of",
]


def bitops_of(primitive: Primitive) -> int:
    """Return the bit operations of one primitive for one image.

    Multiply-adds x bits of the weights x bits of the input, of convolutions where both are
    quantised; what is in full precision counts nothing. This is the convention of the tables of
    SPOS (Guo et al., ECCV 2020), whose "G" is 2^30: divide by that to compare.
    """
    if isinstance(primitive, Convolution) and primitive.weight_bits and primitive.input_bits:
        return macs_of(primitive) * primitive.weight_bits * primitive.input_bits
    return 0


def macs_cost(convention: str = "standard") -> Cost:
    """Return the cost that `macs` tabulates."""
    counting = find_convention(convention)
    return Cost.of_primitives(_name("macs", convention), "multiply-adds", counting.macs)


def params_cost(convention: str = "standard") -> Cost:
    """Return the cost that `params` tabulates."""
    counting = find_convention(convention)
    return Cost.of_primitives(_name("params", convention), "parameters", counting.params)


def bitops_cost() -> Cost:
    """Return the cost that `bitops` tabulates."""
    return Cost.of_primitives("bitops", "bit operations", bitops_of)


def _name(what: str, convention: str) -> str:
    return what if convention == "standard" else f"{what}-{convention}"


def macs(space: SearchSpace, convention: str = "standard") -> Table:
    """Return multiply-adds for one image as a table of ``space``.

    Args:
        space: the space to tabulate.
        convention: one of `CONVENTIONS`; another than the standard one is named in the table's
            name, ``"macs-conv-only"``.

    Raises:
        InputError: an unknown convention.

    >>> from nas_spaces import published
    >>> space, arch = published.architecture("spos-readme")
    >>> macs(space)([arch])
    array([322918720])
    >>> macs(space, "mobile-vision").name
    'macs-mobile-vision'
    """
    (table,) = Table.many(space, [macs_cost(convention)])
    return table


def params(space: SearchSpace, convention: str = "standard") -> Table:
    """Return trainable parameters of the stand-alone network as a table of ``space``.

    Args:
        space: the space to tabulate.
        convention: one of `CONVENTIONS`; another than the standard one is named in the table's
            name, ``"params-mobile-vision"``.

    Raises:
        InputError: an unknown convention.

    >>> from nas_spaces import published
    >>> space, arch = published.architecture("spos-readme")
    >>> params(space)([arch])
    array([3558464])
    """
    (table,) = Table.many(space, [params_cost(convention)])
    return table


def bitops(space: SearchSpace) -> Table:
    """Return bit operations of the quantised convolutions for one image as a table of ``space``.

    See `bitops_of` for what counts. Rows that differ may cost the same: weights of 2 bits with
    activations of 2 are equal to weights of 1 bit with activations of 4.

    >>> from nas_spaces import published
    >>> space = published.load("resnet18-quant")
    >>> bitops(space)([[1, 1] * 8])  # 2 bits everywhere, the usual width
    array([6782189568])
    """
    (table,) = Table.many(space, [bitops_cost()])
    return table
