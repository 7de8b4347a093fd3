"""BetaNAS: Fang et al., "BETANAS: BalancEd TrAining and selective drop for Neural Architecture
Search", 2019."""

from nas_spaces.layers import SqueezeExcite
from nas_spaces.published.mobilenet import MACRO_21, inverted_residuals, mobile_space
from nas_spaces.space import SearchSpace

__all__ = ["SPACES", "betanas"]

# The paper gives the ratio; what falls between two numbers of channels is rounded up.
SQUEEZE_EXCITE = SqueezeExcite(0.0625)


def betanas(
    *,
    classes: int = 1000,
    resolution: int = 224,
    in_channels: int = 3,
    se: bool = False,
    activation: str = "relu6",
    width: float = 1.0,
) -> SearchSpace:
    """Return BetaNAS's space: 21 choice blocks, 6^6 * 7^15 rows.

    Inverted residual blocks with kernel 3, 5, 7 and expansion 3, 6, and an identity where the
    input keeps its shape. The paper prints no table of widths, blocks and strides: they are those
    of `mobilenet_21`. Any resolution.

    Args:
        classes: number of logits.
        resolution: height and width of an image.
        in_channels: channels of an image.
        se: squeeze-and-excitation in every block, the fixed first one included, with 1/16 of the
            hidden channels.
        activation: of all blocks and convolutions; the paper also uses ``"swish"``.
        width: factor on all widths, which are rounded to multiples of 8 (1.4 in the paper); the
            last convolution does not become narrower.

    Raises:
        InputError: an unknown activation, or a width that is not positive.
    """
    squeeze = SQUEEZE_EXCITE if se else None
    return mobile_space(
        "betanas",
        (in_channels, resolution, resolution),
        classes,
        MACRO_21.scaled(width),
        inverted_residuals(activation=activation, se=squeeze),
        skip="identity",
        activation=activation,
        se=squeeze,
        dropout=0.2,
    )


SPACES = {"betanas": betanas}
