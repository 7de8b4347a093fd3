"""Search spaces as data: choices, blocks that read them, and rows of integers.

An architecture is a row of ``d`` integers, one option index a choice. A block reads some of the
choices and holds one layer for each combination of their options; everything about a network is
then a function of the row.
"""

import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces.blocks import Block, BlockPlan, Choice, plan_blocks
from nas_spaces.canonical import Canonical
from nas_spaces.errors import InputError
from nas_spaces.grids import combination_index
from nas_spaces.layers import Layer
from nas_spaces.notation import Notation, reads_as_row
from nas_spaces.primitives import Graph, Shape

__all__ = ["Block", "Choice", "PlacedLayer", "SearchSpace"]


@frozen
class PlacedLayer:
    """A layer of one architecture at its place.

    ``block``: the block's name. ``layer``: the record. ``in_shape``, ``out_shape``: (channels,
    height, width). ``graph``: its primitives.
    """

    block: str
    layer: Layer
    in_shape: Shape
    out_shape: Shape
    graph: Graph


def _shape(shape: Iterable[int]) -> Shape:
    sizes = tuple(shape)
    if len(sizes) != 3 or min(sizes) < 1:
        raise InputError(f"input_shape is {sizes}; give (channels, height, width), at least 1 each")
    return sizes


def _choices(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    return tuple(choices)


def _blocks(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(blocks)


@frozen
class SearchSpace:
    """All networks that a set of choices can build.

    Args:
        name: what people call it.
        input_shape: (channels, height, width) of an image.
        choices: the columns of an architecture, ``d`` of them.
        blocks: the network's positions in order; the last one's output is the network's.
        alive: bool ``[d][k]``, False for options that were dropped (see `restrict`); each choice
            keeps at least one.
        notation: how a benchmark writes a row: text with one placeholder a choice, in order,
            ``{option}`` for an option's text or ``{index}`` for its number, such as
            ``"|{option}~0|+|{option}~0|{option}~1|"``. See `parse` and `notate`.

    Raises:
        InputError: names that are not unique or not known, a number of layers that does not
            match the choices read, shapes that do not fit, a choice without a live option, or a
            notation of other choices or by which a text could mean two rows.

    >>> from nas_spaces.layers import Classifier, Conv
    >>> space = SearchSpace(
    ...     "two-convs", (3, 8, 8),
    ...     choices=(Choice("kernel", (3, 5)),),
    ...     blocks=(
    ...         Block("conv", [Conv(8, 3), Conv(8, 5)], reads=("kernel",)),
    ...         Block("head", [Classifier(10)]),
    ...     ),
    ... )
    >>> space.num_choices, space.size
    (1, 2)
    >>> [placed.layer.kernel for placed in space.layers([1])[:1]]
    [5]
    """

    name: str
    input_shape: Shape = field(converter=_shape)
    choices: tuple[Choice, ...] = field(converter=_choices)
    blocks: tuple[Block, ...] = field(converter=_blocks)
    alive: tuple[tuple[bool, ...], ...] | None = field(default=None, kw_only=True)
    notation: str | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.blocks:
            raise InputError(f"space {self.name!r} has no blocks")
        for what, names in (
            ("choice", [c.name for c in self.choices]),
            ("block", [b.name for b in self.blocks]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise InputError(f"space {self.name!r} names a {what} twice: {', '.join(twice)}")
        if self.alive is not None and tuple(map(len, self.alive)) != self.num_options:
            raise InputError(
                f"space {self.name!r}: alive has {tuple(map(len, self.alive))} options; "
                f"its choices have {self.num_options}"
            )
        for choice, live in zip(self.choices, self.mask, strict=True):
            if not live.any():
                raise InputError(f"alive leaves choice {choice.name!r} no option")
        # Working these out checks the template, and names, numbers of layers and shapes.
        _ = self._notation, self.plan

    @property
    def num_choices(self) -> int:
        """``d``: columns of an architecture."""
        return len(self.choices)

    @property
    def num_options(self) -> tuple[int, ...]:
        """Options of each choice, dropped ones included."""
        return tuple(len(choice.options) for choice in self.choices)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Bool ``[d, k]``, ``k`` the largest number of options: True for options still alive."""
        mask = np.zeros((self.num_choices, max(self.num_options, default=0)), dtype=bool)
        for column, size in enumerate(self.num_options):
            mask[column, :size] = True if self.alive is None else self.alive[column]
        return mask

    @property
    def size(self) -> int:
        """Number of rows over live options (not of distinct networks, see `canonical`)."""
        return math.prod(int(row.sum()) for row in self.mask)

    @property
    def num_classes(self) -> int:
        """Channels of the network's output."""
        return self.output_shape(len(self.blocks) - 1, 0)[0]

    @cached_property
    def plan(self) -> tuple[BlockPlan, ...]:
        """What each block reads and receives, in the order of the blocks."""
        return plan_blocks(self.blocks, self.choices, self.input_shape)

    def layer(self, block: int, combination: int) -> Layer:
        """Return the record of a block (by index) for one combination of its choices."""
        return self.blocks[block].layers[combination // self.plan[block].extra]

    def graph(self, block: int, combination: int) -> Graph:
        """Return the primitives of a block (by index) for one combination of its choices."""
        return self.layer(block, combination).graph(self.plan[block].in_shapes[combination])

    def output_shape(self, block: int, combination: int) -> Shape:
        """Return what leaves a block (by index) for one combination of its choices."""
        return self.plan[block].out_shapes[combination]

    def check(self, archs: ArrayLike) -> NDArray[np.int64]:
        """Return ``archs`` as int64 ``[n, d]``.

        Raises:
            InputError: the wrong number of columns, no integers, or an option out of range.
        """
        try:
            rows = np.asarray(archs)
        except ValueError as error:
            raise InputError(f"archs is no array [n, {self.num_choices}]: {error}") from error
        if rows.ndim == 2 and rows.shape[1] == self.num_choices == 0:
            return rows.astype(np.int64)
        if rows.ndim != 2:
            raise InputError(
                f"archs has {rows.ndim} dimensions; expected [n, {self.num_choices}], one row an "
                "architecture"
            )
        if rows.shape[1] != self.num_choices:
            raise InputError(
                f"archs has {rows.shape[1]} columns; space {self.name!r} has "
                f"{self.num_choices} choices"
            )
        if rows.dtype.kind not in "iu":
            raise InputError(f"archs has dtype {rows.dtype}; architectures are integers")
        # Most rows are settled by their extremes, at a fifth of the time of comparing each column.
        if rows.size == 0 or (rows.min() >= 0 and rows.max() < min(self.num_options)):
            return rows.astype(np.int64, copy=False)
        wrong = (rows < 0) | (rows >= np.asarray(self.num_options))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            choice = self.choices[column]
            raise InputError(
                f"archs[{row}, {column}] is {rows[row, column]}; choice {choice.name!r} of space "
                f"{self.name!r} has options 0..{len(choice.options) - 1}"
            )
        return rows.astype(np.int64, copy=False)

    def parse(self, text: str) -> NDArray[np.int64]:
        """Return the architecture int64 ``[d]`` that a text stands for.

        Args:
            text: ``"2,1,0"`` or, digits only, ``"210"``; or in the space's `notation`.

        Raises:
            InputError: anything that is no integer, the wrong length, an option out of range, or
                a text that departs from the notation.
        """
        if self._notation is not None and not reads_as_row(text):
            return np.array(self._notation.read(text.strip()), dtype=np.int64)
        parts = text.replace(",", " ").split()
        if len(parts) == 1 and self.num_choices > 1 and parts[0].isdigit():
            parts = list(parts[0])
        try:
            row = [int(part) for part in parts]
        except ValueError as error:
            raise InputError(
                f"architecture {text!r} is no row of integers; write it as 2,1,0,..."
            ) from error
        if len(row) != self.num_choices:
            raise InputError(
                f"architecture {text!r} has {len(row)} columns; space {self.name!r} has "
                f"{self.num_choices} choices"
            )
        return self.check([row]).reshape(-1)

    def format(self, arch: ArrayLike) -> str:
        """Return the architecture ``[d]`` as ``"2,1,0"``; `parse` reads it."""
        return ",".join(str(int(option)) for option in np.asarray(arch))

    def notate(self, arch: ArrayLike) -> str:
        """Return the architecture ``[d]`` as its benchmark writes it; `parse` reads it.

        A space without a `notation` gives ``"2,1,0"``.

        >>> from nas_spaces import published
        >>> space, arch = published.architecture("nas-bench-macro-best")
        >>> space.notate(arch)
        '22212220'
        """
        row: list[int] = self.check(np.asarray(arch)[None])[0].tolist()
        return self.format(row) if self._notation is None else self._notation.write(row)

    @cached_property
    def _notation(self) -> Notation | None:
        if self.notation is None:
            return None
        names = [choice.name for choice in self.choices]
        return Notation.of(self.notation, names, [choice.options for choice in self.choices])

    def sample(self, n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``n`` architectures int64 ``[n, d]``, each live option equally likely."""
        archs = np.empty((n, self.num_choices), dtype=np.int64)
        for column, live in enumerate(self.mask):
            options = np.flatnonzero(live)
            archs[:, column] = options[rng.integers(len(options), size=n)]
        return archs

    def combinations(self, archs: ArrayLike) -> NDArray[np.int64]:
        """Return int64 ``[n, blocks]``: the combination that each block has in each row."""
        rows = self.check(archs)
        result = np.zeros((len(rows), len(self.blocks)), dtype=np.int64)
        for index, plan in enumerate(self.plan):
            result[:, index] = combination_index(rows, plan.columns, plan.sizes)
        return result

    def layers(self, arch: ArrayLike) -> list[PlacedLayer]:
        """Return the layers of one architecture ``[d]`` in order."""
        return [
            PlacedLayer(
                block.name,
                self.layer(index, combination),
                self.plan[index].in_shapes[combination],
                self.output_shape(index, combination),
                self.graph(index, combination),
            )
            for index, (block, combination) in enumerate(
                zip(self.blocks, self.combinations(np.asarray(arch)[None])[0].tolist(), strict=True)
            )
        ]

    def fix(self, arch: ArrayLike) -> "SearchSpace":
        """Return the network of one architecture ``[d]``: a space with no choice."""
        blocks = tuple(
            Block(block.name, (placed.layer,), inputs=block.inputs)
            for block, placed in zip(self.blocks, self.layers(arch), strict=True)
        )
        return SearchSpace(self.name, self.input_shape, (), blocks)

    def restrict(self, alive: ArrayLike) -> "SearchSpace":
        """Return a space with fewer live options and the same numbering.

        Args:
            alive: bool ``[d, k]``, True for what stays; what was dropped before stays dropped.

        Raises:
            InputError: a mask of another shape, or one that leaves a choice without options.
        """
        mask = np.asarray(alive, dtype=bool)
        if mask.shape != self.mask.shape:
            raise InputError(f"alive has shape {mask.shape}; expected {self.mask.shape}")
        mask = mask & self.mask
        rows = tuple(
            tuple(bool(x) for x in row[:size])
            for row, size in zip(mask, self.num_options, strict=True)
        )
        return evolve(self, alive=rows)

    def canonical(self, archs: ArrayLike) -> NDArray[np.int64]:
        """Return int64 ``[n, d]`` with rows that build the same network mapped to one of them.

        Options that change nothing become the first that is equal, identities move behind the
        other layers of a run of equal blocks, and isomorphic cells become the cheapest of them.
        A canonical row never has more weights; among cells it can have fewer, and fits a row in
        all but what `nas_spaces.canonical.Canonical` lists. It may use dropped options.
        """
        return self._canonical(self.check(archs))

    @cached_property
    def _canonical(self) -> Canonical:
        return Canonical.of(self.blocks, self.plan)
