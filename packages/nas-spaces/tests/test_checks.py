import math
from fractions import Fraction

import numpy as np
import pytest

from nas_spaces import InputError
from nas_spaces.checks import MOST_BITS, check_bits, check_scale
from nas_spaces.layers import BasicBlock, MBConv, ShuffleUnit
from nas_spaces.layers.layer import scale_channels
from nas_spaces.primitives import INPUT, GraphBuilder

NO_BITS = [0, -1, MOST_BITS + 1, 32, 64, 2.5, 2.0, True, np.True_, math.nan, None, "2", (2,)]
NO_SCALES = [0, -0.5, math.nan, math.inf, True, None, "1", (0.5,), np.float32("nan"), 1j]


@pytest.mark.parametrize("bits", NO_BITS)
def test_what_is_no_number_of_bits(bits):
    with pytest.raises(InputError, match=r"^b=.* must be a whole number from 1 to 16; full prec"):
        check_bits("b", bits)
    for build in (
        lambda: GraphBuilder((4, 3, 3)).quantise("q", INPUT, bits),
        lambda: BasicBlock(4, 1, 1.0, bits, 2).graph((4, 3, 3)),
        lambda: BasicBlock(4, 1, 1.0, 2, bits).graph((4, 3, 3)),
    ):
        with pytest.raises(InputError, match=r"whole number from 1 to 16|, or neither for full"):
            build()


@pytest.mark.parametrize("bits", [1, 16, np.int64(4), np.uint8(3)])
def test_bits(bits):
    found = check_bits("b", bits)
    assert (found, type(found)) == (bits, int)
    build = GraphBuilder((4, 3, 3))
    build.convolution("c", build.quantise("q", INPUT, bits), 4, kernel=3, weight_bits=bits)
    quantise, convolution = build.graph
    numbers = (quantise.bits, convolution.weight_bits, convolution.input_bits)
    assert all(type(number) is int for number in numbers)


@pytest.mark.parametrize("scale", NO_SCALES)
def test_what_is_no_scale(scale):
    with pytest.raises(
        InputError, match=r"^s=.* must be a finite number above 0 and at most 100, such as 0.5"
    ):
        check_scale("s", scale)
    for build in (
        lambda: scale_channels(8, scale),
        lambda: BasicBlock(4, scale=scale).graph((4, 3, 3)),
        lambda: ShuffleUnit(8, 3, scale=scale).graph((8, 4, 4)),
        lambda: MBConv(4, 3, scale=scale),
    ):
        with pytest.raises(InputError, match=r"scale=.* must be a finite number above 0"):
            build()


@pytest.mark.parametrize("scale", [1, 0.2, np.float32(0.5), np.int64(2), Fraction(1, 2)])
def test_scales(scale):
    found = check_scale("s", scale)
    assert (found, type(found)) == (scale, float)
