"""Quantisers of activations and weights, with the gradients that train through them.

`torch.round` rounds halves to even; so do the levels here. What comes in less than single precision
is quantised in single precision and returned in its own, as norms do: in ``bfloat16`` itself one
activation in a hundred would come to another level of 4 bits, and one in twelve of 8. Its eight
digits tell the levels of up to 8 bits apart.
"""

import re
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas_spaces.checks import check_bits
from nas_spaces.errors import InputError

__all__ = [
    "FIRST_ALPHA",
    "SMALLEST_ALPHA",
    "SMALLEST_WEIGHT",
    "Pact",
    "dorefa",
    "is_level",
    "pact",
    "restart_levels",
]

FIRST_ALPHA = 3.0
"""Where clipping levels start: what lets three standard deviations of normalised inputs pass.

Choi et al. (2018) advise 6 to 10. From there a level is moved by its decay alone, as next to
nothing is clipped, and a short training ends before it has come to where it belongs; a long one
forgets where it began.
"""

SMALLEST_ALPHA = 1e-3
"""The least clipping level: one that is smaller, or not positive, is used as this."""

SMALLEST_WEIGHT = 1e-8
"""A kernel whose weights are all smaller is used as zeros, where it has two bits or more."""

LEVEL = re.compile(r"alpha_\d+")


def pact(x: Tensor, alpha: Tensor, bits: int) -> Tensor:
    """Return activations clipped to ``[0, alpha]``, on ``2^bits`` levels (Choi et al., PACT, 2018).

    ``round(y * (2^bits - 1) / alpha) * alpha / (2^bits - 1)`` with ``y`` the clipped ``x``. The
    gradient passes the rounding as if it were not there: for ``x`` it is 1 on
    ``0 <= x < alpha`` and 0 elsewhere, for ``alpha`` 1 where ``x >= alpha``. A level below
    `SMALLEST_ALPHA` is used as that and gets no gradient, see `restart_levels`.

    Args:
        x: activations of any shape.
        alpha: clipping level, one number (no dimension), or several that broadcast to ``x``.
        bits: 1 to 16.

    Raises:
        InputError: other bits.
    """
    steps = (1 << check_bits("bits", bits)) - 1
    precise = _precise(x)
    alpha = alpha.to(precise.dtype).clamp(min=SMALLEST_ALPHA)
    if not (_tracing() or torch.compiler.is_exporting()):
        return cast(Tensor, _Pact.apply(x, alpha, steps))
    # An exported program keeps operations, not the gradients of a function of one's own.
    # Written so that what is not a number stays so.
    clipped = torch.where(precise < 0, 0.0, torch.where(precise >= alpha, alpha, precise))
    level = alpha.detach()
    rounded = torch.round(clipped.detach() * steps / level) * level / steps
    return _straight_through(rounded, clipped).to(x.dtype)


class _Pact(torch.autograd.Function):
    """Values and gradients of `pact` for an ``alpha`` above 0, computed in place.

    Boolean masks are slow on CPUs; comparisons in place give masks of zeros and ones.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: Tensor, steps: int) -> Tensor:
        # All of these keep what is not a number.
        clipped = _precise(x).clamp(min=0.0).clamp_(max=alpha)
        return clipped.mul_(steps).div_(alpha).round_().mul_(alpha).div_(steps).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        x, alpha, _ = inputs
        ctx.save_for_backward(x, alpha)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, alpha = (one.detach() for one in ctx.saved_tensors)
        precise = _precise(x)
        above = precise.clone().ge_(alpha)
        within = precise.clone().ge_(0).sub_(above)
        above.mul_(gradient)
        return within.mul_(gradient).to(x.dtype), above.sum_to_size(alpha.shape), None


def dorefa(weight: Tensor, bits: int) -> Tensor:
    """Return weights in ``[-1, 1]`` on ``2^bits`` levels (Zhou et al., DoReFa-Net, 2016, eq. 9).

    ``2 * round(u * (2^bits - 1)) / (2^bits - 1) - 1`` with
    ``u = tanh(w) / (2 * max|tanh(w)|) + 1/2``. The gradient passes the rounding as if it were not
    there and goes through the hyperbolic tangent; the maximum is a constant to it. One bit is
    another formula (eq. 7-8): ``sign(w) * mean|w|`` with ``sign(0) = 1``, for otherwise a third
    value would appear; its gradient is that of ``w``. Weights that are all smaller than
    `SMALLEST_WEIGHT`, such as those of a pruned kernel, are used as zeros and get no gradient: it
    would be larger than all others by as much as they are smaller.

    Args:
        weight: the weights in use; maximum and mean are theirs.
        bits: 1 to 16.

    Raises:
        InputError: other bits.
    """
    bits, dtype = check_bits("bits", bits), weight.dtype
    # Slices and other memory formats would be reduced in another order, to other bits.
    weight = _precise(weight.contiguous())
    fixed = weight.detach()
    if bits == 1:
        size = fixed.abs().mean()
        return _straight_through(torch.where(fixed < 0, -size, size), weight).to(dtype)
    squashed = torch.tanh(weight)
    largest = squashed.detach().abs().max()
    largest = torch.where(largest < SMALLEST_WEIGHT, torch.inf, largest)
    steps = (1 << bits) - 1
    scaled = (squashed / (2 * largest) + 0.5) * steps
    rounded = _straight_through(scaled.detach().round(), scaled)
    return (2 * rounded / steps - 1).to(dtype)


def _precise(x: Tensor) -> Tensor:
    """Return ``x`` in single precision, or as it is in more."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _tracing() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _straight_through(value: Tensor, source: Tensor) -> Tensor:
    """Return ``value``, to the bit, with the gradient of ``source``."""
    # `torch.jit.trace` compares what it has traced with what is traced without gradients.
    if not (source.requires_grad or _tracing()):
        return value
    return value + (source - source.detach())


def is_level(name: str) -> bool:
    """Whether the name of a tensor in a ``state_dict`` is that of a clipping level of `Pact`.

    >>> is_level("blocks.stage1_0.quantise1.alpha_4"), is_level("blocks.stem.conv.weight")
    (True, False)
    """
    return LEVEL.fullmatch(name.rpartition(".")[2]) is not None


@torch.no_grad()
def restart_levels(levels: Iterable[Tensor]) -> list[Tensor]:
    """Set clipping levels that have fallen to `SMALLEST_ALPHA` or below to `FIRST_ALPHA`.

    To be called after each step of an optimiser. What such a quantiser returns is next to nothing,
    which the norms behind it scale up, and with it the gradients: steps that follow them end at
    levels of any size. The level starts again instead (neither Choi et al. nor Guo et al. say what
    becomes of it).

    Args:
        levels: changed in place; one number each.

    Returns:
        For each level, bool of its shape: whether it was set.

    >>> levels = [torch.tensor([-3.0]), torch.tensor([2.0])]
    >>> restart_levels(levels)
    [tensor([True]), tensor([False])]
    >>> levels
    [tensor([3.]), tensor([2.])]
    """
    fallen = []
    for level in levels:
        below = level <= SMALLEST_ALPHA
        level.masked_fill_(below, FIRST_ALPHA)
        fallen.append(below)
    return fallen


class Pact(nn.Module):
    """Clipping levels of one quantiser: a parameter ``alpha_BITS`` ``[1]`` for each width.

    A loop that trains them calls `restart_levels` after each step.

    Args:
        widths: the numbers of bits that will be asked for, each 1 to 16.

    Raises:
        InputError: other bits.
    """

    def __init__(self, widths: Iterable[int]) -> None:
        super().__init__()
        self.widths = tuple(sorted({check_bits("widths", bits) for bits in widths}))
        for bits in self.widths:
            # One dimension: tools that keep optimisers' states take bare numbers for counters.
            self.register_parameter(f"alpha_{bits}", nn.Parameter(torch.empty(1)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set all levels to `FIRST_ALPHA`."""
        for alpha in self.parameters():
            alpha.fill_(FIRST_ALPHA)

    def forward(self, x: Tensor, bits: int) -> Tensor:
        """Return ``x`` quantised to ``bits`` bits, see `pact`.

        Raises:
            InputError: bits that are none of its widths.
        """
        bits = check_bits("bits", bits)
        if bits not in self.widths:
            raise InputError(f"bits={bits!r}: this quantiser has levels for {self.widths}")
        # Not `get_parameter`: replicas and functional calls put tensors in parameters' places.
        return pact(x, getattr(self, f"alpha_{bits}").squeeze(), bits)
