"""Spaces with further choices: the channels inside each block, the bits of its convolutions.

What Guo et al. search beside blocks ("Single Path One-Shot NAS with Uniform Sampling", ECCV 2020,
sections 3.4 and 4.3), for any space whose layers can be scaled or quantised: on top of a network,
``with_scales(space.fix(row))``, or together with what the space already leaves open.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import attrs
import numpy as np
from attrs import evolve
from numpy.typing import ArrayLike, NDArray

from nas_spaces.blocks import Choice, Option
from nas_spaces.checks import check_bits, check_scale
from nas_spaces.errors import InputError
from nas_spaces.layers import Layer, Quantisable, Scalable
from nas_spaces.primitives import Graph
from nas_spaces.space import SearchSpace

__all__ = ["BITS", "SCALES", "uniform_bits", "usual_channels", "with_bits", "with_scales"]

# What the names of these choices end in.
SCALE = "scale"

T = TypeVar("T", bound=Option)

SCALES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
"""SPOS's scales of a block's middle channels (section 4.1)."""

BITS = ((1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4))
"""SPOS's bits of weights and of activations (section 4.3)."""


def with_scales(
    space: SearchSpace, scales: Iterable[float] = SCALES, *, name: str | None = None
) -> SearchSpace:
    """Return ``space`` with a choice of the channels inside each block that has some.

    Block ``b`` gets a choice ``b_scale``, behind those that it reads. What enters and leaves a
    block stays as it is. The scales of a candidate share its weights: narrower ones use the first
    channels. Candidates without channels of their own, such as identities, are what they are.

    Args:
        space: what is varied; dropped options stay dropped.
        scales: factors on the channels inside, each above 0.
        name: of the new space; the old one's and "-channels" where left out.

    Raises:
        InputError: no scales, one that is not above 0 or above `nas_spaces.checks.MOST_SCALE`, one
            by which a layer has no channel, two that are one everywhere, none that changes
            anything, or a space without such layers.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> with_scales(space.fix([2] * 8)).size == 8**8, with_scales(space).size == (3 * 8) ** 8
    (True, True)
    """
    if not isinstance(scales, Iterable):
        raise InputError(f"scales={scales!r} must be several, such as (0.5, 1.0)")
    options = [check_scale("scale", scale) for scale in scales]

    def change(layer: Layer, scale: float) -> Layer:
        return layer.scaled(scale) if isinstance(layer, Scalable) else layer

    varied = _vary(space, SCALE, options, change, name or f"{space.name}-channels")
    if varied is None:
        if options == [1] and any(isinstance(x, Scalable) for b in space.blocks for x in b.layers):
            raise InputError("scales: 1 alone changes nothing; give others too, such as (0.5, 1)")
        raise InputError(
            f"space {space.name!r} has no layer inside which scales {tuple(options)} change "
            "channels; that takes a layer with a method scaled(scale), as MBConv, ShuffleUnit and "
            "BasicBlock have"
        )
    _check_distinct(varied, space, options)
    return varied


def with_bits(
    space: SearchSpace,
    bits: Iterable[tuple[int, int]] = BITS,
    *,
    name: str | None = None,
) -> SearchSpace:
    """Return ``space`` with a choice of the bits of each block that can be quantised.

    Block ``b`` gets a choice ``b_bits``, behind those that it reads. All bits of a candidate use
    its weights in full precision; each number of activation bits has a clipping level of its own.

    Args:
        space: what is varied; dropped options stay dropped.
        bits: pairs of the bits of weights and of activations, each 1 to 16.
        name: of the new space; the old one's and "-bits" where left out.

    Raises:
        InputError: no bits, no pairs, bits out of range, or a space without layers that can be
            quantised.

    >>> from nas_spaces import published
    >>> with_bits(published.load("resnet18")).size == 6**8
    True
    """
    if not isinstance(bits, Iterable):
        raise InputError(f"bits={bits!r} must be pairs, such as ((2, 2), (4, 4))")
    options = [_pair(one) for one in bits]

    def change(layer: Layer, pair: tuple[int, int]) -> Layer:
        return layer.quantised(*pair) if isinstance(layer, Quantisable) else layer

    varied = _vary(space, "bits", options, change, name or f"{space.name}-bits")
    if varied is None:
        raise _not_quantisable(space)
    return varied


def uniform_bits(space: SearchSpace, arch: ArrayLike, bits: int | tuple[int, int]) -> SearchSpace:
    """Return an architecture with ``bits`` everywhere, kWkA in the field: a space with no choice.

    Every block that can be quantised has them, and the channels that it has unscaled (see
    `usual_channels`), as the networks have with which SPOS compares its own (table 6).

    Args:
        space: the space.
        arch: its blocks are those of this row int ``[d]``.
        bits: of weights and of activations, 1 to 16; a pair where they differ.

    Raises:
        InputError: a row of another space, bits out of range, a space without layers that can be
            quantised, or scales among which 1 is none.

    >>> from nas_spaces import published
    >>> network = uniform_bits(published.load("resnet18-quant"), [0] * 16, 3)
    >>> network.name, network.layers(())[2].layer.weight_bits
    ('resnet18-quant-3w3a', 3)
    >>> uniform_bits(published.load("resnet18-quant"), [0] * 16, (2, 4)).name
    'resnet18-quant-2w4a'
    """
    pair = _pair(bits if isinstance(bits, Iterable) else (bits, bits))
    network = space.fix(usual_channels(space, arch))
    blocks = []
    for block in network.blocks:
        (layer,) = block.layers
        quantised = layer.quantised(*pair) if isinstance(layer, Quantisable) else layer
        blocks.append(evolve(block, layers=(quantised,)))
    if not any(isinstance(block.layers[0], Quantisable) for block in network.blocks):
        raise _not_quantisable(space)
    return evolve(network, name="{}-{}w{}a".format(space.name, *pair), blocks=blocks)


def usual_channels(space: SearchSpace, arch: ArrayLike) -> NDArray[np.int64]:
    """Return the row int64 ``[d]`` of an architecture with the channels of its blocks unscaled.

    Choices of channels are those that `with_scales` adds, by their names: ``b_scale`` of block
    ``b``.

    Args:
        space: the space.
        arch: a row int ``[d]``; what is no choice of `with_scales` stays as it has it, scales
            that `SearchSpace.fix` has fixed too.

    Raises:
        InputError: a row of another space, or scales among which 1 is none.

    >>> from nas_spaces import published
    >>> usual_channels(published.load("resnet18-quant"), [3, 0] * 8)
    array([3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1])
    """
    row: NDArray[np.int64] = space.check(np.asarray(arch)[None])[0].copy()
    own = {name for block in space.blocks if block.shares for name in block.reads}
    own &= {f"{block.name}_{SCALE}" for block in space.blocks}
    for column, choice in enumerate(space.choices):
        if choice.name in own:
            if 1 not in choice.options:
                raise InputError(
                    f"choice {choice.name!r} has no option 1, the usual channels; it has "
                    f"{choice.options}"
                )
            row[column] = choice.options.index(1)
    return row


def _pair(bits: object) -> tuple[int, int]:
    """Return bits of weights and of activations as Python's numbers."""
    pair = tuple(bits) if isinstance(bits, Iterable) else (bits,)
    if len(pair) != 2:
        raise InputError(f"bits: {bits!r} must be a pair of whole numbers, weights and inputs")
    weights, inputs = pair
    return check_bits("bits: weights", weights), check_bits("bits: inputs", inputs)


def _vary(
    space: SearchSpace,
    suffix: str,
    options: Sequence[T],
    change: Callable[[Layer, T], Layer],
    name: str,
) -> SearchSpace | None:
    """Return ``space`` with a choice of ``options`` for each block that ``change`` changes.

    None where it changes none.
    """
    if not options or len(set(options)) < len(options):
        raise InputError(f"{suffix}: {tuple(options)} must be at least one, and each once")
    read_by = Counter(name for block in space.blocks for name in block.reads)
    columns = {
        choice.name: (choice, tuple(live[: len(choice.options)].tolist()))
        for choice, live in zip(space.choices, space.mask, strict=True)
    }
    # Names in the order of the new columns; where the next one comes that follows none.
    order, at = list(columns), 0
    blocks = []
    for block in space.blocks:
        at = max((order.index(choice) + 1 for choice in block.reads), default=at)
        layers = [[change(layer, option) for option in options] for layer in block.layers]
        # In the order of the records' fields.
        varying = list(
            dict.fromkeys(
                field
                for layer, variants in zip(block.layers, layers, strict=True)
                for variant in variants
                for field in _differing(layer, variant)
            )
        )
        if not varying:
            blocks.append(block)
            continue
        # It belongs together with what this block alone reads.
        own = [columns[choice][0] for choice in block.reads if read_by[choice] == 1]
        group = next((choice.group for choice in own if choice.group), block.name) if own else None
        for choice in own:
            live = columns[choice.name][1]
            columns[choice.name] = (evolve(choice, group=choice.group or group), live)
        new = Choice(f"{block.name}_{suffix}", options, group=group)
        if new.name in columns:
            raise InputError(f"space {space.name!r} has a choice {new.name!r} already")
        while at < len(order) and order[at] not in read_by:
            at += 1  # what another block has put behind the same choice
        order.insert(at, new.name)
        columns[new.name] = (new, (True,) * len(options))
        blocks.append(
            evolve(
                block,
                layers=[variant for variants in layers for variant in variants],
                reads=(*block.reads, new.name),
                shares=(*block.shares, *(field for field in varying if field not in block.shares)),
            )
        )
    if len(order) == space.num_choices:
        return None
    varied = SearchSpace(
        name,
        space.input_shape,
        [columns[choice][0] for choice in order],
        blocks,
        alive=None if space.alive is None else tuple(columns[choice][1] for choice in order),
    )
    _check_graphs(varied, space)
    return varied


def _check_graphs(varied: SearchSpace, space: SearchSpace) -> None:
    """Refuse options that a layer cannot have: some know their shapes without their graphs."""
    for index, (block, before) in enumerate(zip(varied.blocks, space.blocks, strict=True)):
        if block != before:
            try:
                for combination in range(varied.plan[index].combinations):
                    varied.graph(index, combination)
            except InputError as error:
                raise InputError(f"block {block.name!r}: {error}") from error


def _check_distinct(varied: SearchSpace, space: SearchSpace, scales: Sequence[float]) -> None:
    """Refuse two scales of which every block makes the same: channels are rounded down."""
    changed = [
        index
        for index, (block, before) in enumerate(zip(varied.blocks, space.blocks, strict=True))
        if block != before
    ]

    def graphs(scale: float) -> Iterator[Graph]:
        option = scales.index(scale)
        for index in changed:
            plan = varied.plan[index]
            # The scale is the last choice that a block reads; behind it only shapes vary.
            for combination in range(plan.combinations):
                if combination // plan.extra % len(scales) == option:
                    yield varied.graph(index, combination)

    for one, other in itertools.pairwise(sorted(scales)):
        # Most differ in the first graph, and no other one is made.
        if all(a == b for a, b in zip(graphs(one), graphs(other), strict=True)):
            raise InputError(
                f"scales: {one:g} and {other:g} are the same channels in every block; leave one out"
            )


def _differing(layer: Layer, variant: Layer) -> list[str]:
    """Return the names of the fields in which two records of one class differ."""
    if layer == variant:
        return []
    fields = attrs.fields(type(layer))  # type: ignore[arg-type]  # layers are attrs records
    return [
        field.name for field in fields if getattr(layer, field.name) != getattr(variant, field.name)
    ]


def _not_quantisable(space: SearchSpace) -> InputError:
    return InputError(
        f"space {space.name!r} has no layer that can be quantised; that takes a layer with a "
        "method quantised(weight_bits, input_bits), as BasicBlock has"
    )
