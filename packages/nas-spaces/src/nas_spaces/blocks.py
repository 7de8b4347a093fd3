"""Choices, blocks that read them, and what is worked out about blocks: shapes and sources."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from attrs import field, frozen, has
from attrs import fields as fields_of

from nas_spaces.errors import InputError, nearest
from nas_spaces.layers import Layer
from nas_spaces.primitives import Shape, output_shape

__all__ = ["Block", "BlockPlan", "Choice", "plan_blocks"]

Option = bool | int | float | str | tuple[object, ...]


def _options(options: Iterable[Option]) -> tuple[Option, ...]:
    # Numbers of numpy, as np.arange gives them, are no JSON values.
    return tuple(one.item() if isinstance(one, np.generic) else one for one in options)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _names_or_none(names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _layers(layers: Sequence[Layer]) -> Sequence[Layer]:
    # A list becomes a tuple; a sequence that computes its layers on demand stays what it is.
    return tuple(layers) if isinstance(layers, list) else layers


@frozen
class Choice:
    """One column of an architecture.

    ``name``: unique in its space. ``options``: what each index stands for. ``group``: a label
    that ties choices together for whoever treats them jointly; None for a choice of its own.
    """

    name: str
    options: tuple[Option, ...] = field(converter=_options)
    group: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self.options:
            raise InputError(f"choice {self.name!r} has no options; give at least one")


@frozen
class Block:
    """A position in the network.

    ``reads``: names of the choices that decide its layer. ``layers[i]``: the layer for the i-th
    combination of their options in C-order (the last choice varies fastest); any sequence, so
    that it may be computed on demand. A layer is told the shape of its input, so a block need not
    read a width that a block before it has chosen. ``inputs``: names of the blocks whose outputs
    are summed to make its input; None means the block before. ``shares``: layer fields in which
    candidates of this block may differ and still share one weight tensor, smaller sizes being
    slices of the largest; candidates that differ in any other field own their weights.
    """

    name: str
    layers: Sequence[Layer] = field(converter=_layers)
    reads: tuple[str, ...] = field(default=(), converter=_names)
    inputs: tuple[str, ...] | None = field(default=None, converter=_names_or_none)
    shares: tuple[str, ...] = field(default=(), converter=_names)

    def __attrs_post_init__(self) -> None:
        if not self.name or "." in self.name:
            raise InputError(f"block name {self.name!r} must be non-empty and hold no dot")
        twice = sorted({name for name in self.reads if self.reads.count(name) > 1})
        if twice:
            raise InputError(f"block {self.name!r} reads a choice twice: {', '.join(twice)}")
        if self.inputs == ():
            raise InputError(f"block {self.name!r} has no inputs; name at least one, or pass None")
        if self.shares:
            kinds = {type(layer) for layer in self.layers}
            known = {one.name for kind in kinds if has(kind) for one in fields_of(kind)}
            for name in self.shares:
                if name not in known:
                    raise InputError(
                        f"block {self.name!r} shares {name!r}, which none of its layers has: "
                        f"{nearest(name, known)}"
                    )


@frozen
class BlockPlan:
    """What a space works out about a block.

    ``columns``: the columns that decide what it is: those that it reads, and behind them those
    that only the shape of its input depends on. ``sizes``: their numbers of options. ``reads``:
    number of columns that it reads. ``extra``: number of combinations of those behind them.
    ``sources``: indices of the blocks that feed it, -1 for the space's input. ``in_shapes``,
    ``out_shapes``: one a combination. ``varying``: the columns that its output shape depends on.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    reads: int
    extra: int
    sources: tuple[int, ...]
    in_shapes: tuple[Shape, ...]
    out_shapes: tuple[Shape, ...]
    varying: tuple[int, ...]

    @property
    def combinations(self) -> int:
        """Number of combinations of the options of ``columns``, in C-order."""
        return math.prod(self.sizes)


def plan_blocks(
    blocks: Sequence[Block], choices: Sequence[Choice], input_shape: Shape
) -> tuple[BlockPlan, ...]:
    """Return what each block reads and receives, in the order of the blocks.

    Raises:
        InputError: names that are not known, a number of layers that does not match the
            choices read, or shapes that do not fit.
    """
    column_of = {choice.name: i for i, choice in enumerate(choices)}
    index_of: dict[str, int] = {}
    plans: list[BlockPlan] = []
    for index, block in enumerate(blocks):
        for name in block.reads:
            if name not in column_of:
                raise InputError(
                    f"block {block.name!r} reads an unknown choice {name!r}: "
                    f"{nearest(name, column_of)}"
                )
        reads = tuple(column_of[name] for name in block.reads)
        sizes = tuple(len(choices[c].options) for c in reads)
        if len(block.layers) != math.prod(sizes):
            raise InputError(
                f"block {block.name!r} has {len(block.layers)} layers; the choices it reads "
                f"have {math.prod(sizes)} combinations"
            )
        if block.inputs is None:
            sources: tuple[int, ...] = (index - 1,)
        else:
            for name in block.inputs:
                if name not in index_of:
                    raise InputError(
                        f"block {block.name!r} has the input {name!r}, which is no block "
                        f"before it: {nearest(name, index_of)}"
                    )
            sources = tuple(index_of[name] for name in block.inputs)
        plans.append(_plan_block(block, reads, sources, plans, choices, input_shape))
        index_of[block.name] = index
    return tuple(plans)


def _plan_block(
    block: Block,
    reads: tuple[int, ...],
    sources: tuple[int, ...],
    plans: list[BlockPlan],
    choices: Sequence[Choice],
    input_shape: Shape,
) -> BlockPlan:
    """Work out the shapes that a block receives and gives, for each combination."""
    shaping = [column for s in sources if s >= 0 for column in plans[s].varying]
    columns = tuple(dict.fromkeys((*reads, *shaping)))
    sizes = tuple(len(choices[column].options) for column in columns)
    extra = math.prod(sizes[len(reads) :])
    incoming = [
        _spread_shapes(plans[source], columns, sizes) if source >= 0 else None for source in sources
    ]
    in_shapes: list[Shape] = []
    for combination in range(math.prod(sizes)):
        shapes = {input_shape if one is None else one[combination] for one in incoming}
        if len(shapes) != 1:
            raise InputError(
                f"block {block.name!r} sums inputs of different shapes {sorted(shapes)}"
            )
        in_shapes += shapes
    out_shapes: list[Shape] = []
    try:
        for index, layer in enumerate(block.layers):
            here = in_shapes[index * extra : (index + 1) * extra]
            given = {shape: _leaving(layer, shape) for shape in dict.fromkeys(here)}
            out_shapes += [given[shape] for shape in here]
    except InputError as error:
        raise InputError(f"block {block.name!r}: {error}") from error
    return BlockPlan(
        columns,
        sizes,
        len(reads),
        extra,
        sources,
        tuple(in_shapes),
        tuple(out_shapes),
        _varying(columns, sizes, out_shapes),
    )


def _leaving(layer: Layer, shape: Shape) -> Shape:
    """Return what leaves a layer; records that know it without their graph are asked."""
    output = getattr(layer, "output", None)
    if output is None:
        return output_shape(layer.graph(shape), shape)
    known: Shape = output(shape)
    return known


def _spread_shapes(
    plan: BlockPlan, columns: tuple[int, ...], sizes: tuple[int, ...]
) -> list[Shape]:
    """Return the output shape of a block for each combination of ``columns`` (of ``sizes``)."""
    shapes = list(dict.fromkeys(plan.out_shapes))
    numbers = {shape: i for i, shape in enumerate(shapes)}
    grid = np.array([numbers[shape] for shape in plan.out_shapes]).reshape(plan.sizes)
    kept = [column for column in columns if column in plan.varying]
    # Columns that do not matter are looked at in their first option.
    grid = grid[tuple(slice(None) if c in plan.varying else 0 for c in plan.columns)]
    order = [column for column in plan.columns if column in plan.varying]
    grid = grid.transpose([order.index(column) for column in kept])
    grid = grid.reshape([size if c in kept else 1 for c, size in zip(columns, sizes, strict=True)])
    return [shapes[number] for number in np.broadcast_to(grid, sizes).ravel().tolist()]


def _varying(
    columns: tuple[int, ...], sizes: tuple[int, ...], shapes: list[Shape]
) -> tuple[int, ...]:
    """Return the columns that ``shapes``, one a combination, depend on."""
    numbers = {shape: i for i, shape in enumerate(dict.fromkeys(shapes))}
    if len(numbers) == 1:
        return ()
    grid = np.array([numbers[shape] for shape in shapes]).reshape(sizes)
    return tuple(
        column
        for axis, column in enumerate(columns)
        if (grid != np.take(grid, [0], axis=axis)).any()
    )
