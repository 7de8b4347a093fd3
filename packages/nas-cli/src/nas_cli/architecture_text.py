"""An architecture as a person reads it: the options that its row stands for, by name."""

import re
import textwrap
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_cli.space_names import bits_text
from nas_spaces import Choice, SearchSpace

__all__ = ["option_lines", "option_name", "options_of"]

WIDTH = 88
BITS = "bits"


def option_name(choice: Choice, option: int) -> str:
    """Return an option's name as the space has it, bits of a block as people write them.

    >>> option_name(Choice("first_bits", ((1, 2), (4, 4))), 0), option_name(Choice("k", (3.0,)), 0)
    ('1w2a', '3')
    """
    match choice.options[option]:
        case (int(weights), int(activations)) if choice.name.endswith(f"_{BITS}"):
            return bits_text(weights, activations)
        case float(value):
            return f"{value:g}"
        case value:
            return str(value)


def options_of(space: SearchSpace, arch: ArrayLike) -> dict[str, str]:
    """Return the names of an architecture's options by that of their choice.

    Choices that say nothing of it are left out, such as the channels and bits of an identity.

    Args:
        space: the space.
        arch: a row int ``[d]``.

    >>> from nas_spaces import published
    >>> from nas_spaces.vary import with_bits
    >>> options = options_of(with_bits(published.load("resnet20-blocks")), [2, 0] + [0] * 16)
    >>> list(options.items())[:3]
    [('stage1_0', 'identity'), ('stage1_1', 'k3'), ('stage1_1_bits', '1w2a')]
    """
    row = space.check(np.asarray(arch)[None])[0]
    return {
        choice.name: option_name(choice, int(row[column]))
        for column, choice in enumerate(space.choices)
        if _matters(space, row, column)
    }


def _matters(space: SearchSpace, row: NDArray[np.int64], column: int) -> bool:
    """Return whether another option of a choice would make another network of a row."""
    size = space.num_options[column]
    if size == 1:
        # What one option was added for: a block's layer may lack it, as an identity lacks bits.
        name = space.choices[column].name
        layers = zip(space.blocks, space.layers(row), strict=True)
        return any(
            not block.shares or any(hasattr(placed.layer, field) for field in block.shares)
            for block, placed in layers
            if name in block.reads
        )
    others = np.tile(row, (size, 1))
    others[:, column] = range(size)
    [own], combinations = space.combinations(row[None]), space.combinations(others)
    return any(
        space.layer(block, other) != space.layer(block, int(own[block]))
        for block in np.flatnonzero((combinations != own).any(axis=0)).tolist()
        for other in combinations[:, block].tolist()
    )


def option_lines(options: Mapping[str, str]) -> list[str]:
    """Return the options of `options_of` as lines, those of a stage beside each other.

    >>> option_lines({"stage1_0": "k3", "stage1_1": "k5", "stage2_0": "k3"})
    ['stage1: k3, k5; stage2: k3']
    >>> option_lines({"stage1_0_bits": "1w2a", "stage1_0_scale": "0.5", "kernel": "3"})
    ['stage1: 1w2a scale 0.5; kernel: 3']
    """
    blocks: dict[str, list[str]] = {}
    for choice, option in options.items():
        of_block = re.fullmatch(r"(.+)_([a-z]+)", choice)
        block, what = of_block.groups() if of_block else (choice, "")
        blocks.setdefault(block, []).append(option if what in ("", BITS) else f"{what} {option}")
    stages: dict[str, list[str]] = {}
    for block, own in blocks.items():
        stages.setdefault(re.sub(r"_\d+$", "", block), []).append(" ".join(own))
    lines: list[str] = []
    for stage, parts in stages.items():
        part = f"{stage}: {', '.join(parts)}"
        if lines and len(lines[-1]) + len("; ") + len(part) <= WIDTH:
            lines[-1] += f"; {part}"
        else:
            lines += textwrap.wrap(part, WIDTH, subsequent_indent="  ")
    return lines
