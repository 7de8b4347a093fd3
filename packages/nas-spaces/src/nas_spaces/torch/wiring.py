"""How values travel between blocks, for stand-alone networks and supernets alike."""

from collections.abc import Callable

from attrs import frozen
from torch import Tensor

from nas_spaces.space import SearchSpace

__all__ = ["Values", "Wiring"]

Values = dict[int, Tensor]
"""Outputs that later blocks still need, by the index of their block; -1 is the image."""


@frozen(eq=False)
class Wiring:
    """``sources[i]``: the blocks that block ``i`` sums. ``keeps[i]``: what is needed after it."""

    sources: tuple[tuple[int, ...], ...]
    keeps: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, space: SearchSpace) -> "Wiring":
        """Return the wiring of a space."""
        sources = tuple(plan.sources for plan in space.plan)
        keeps = []
        for index in range(len(sources)):
            later = {source for others in sources[index + 1 :] for source in others}
            keeps.append(frozenset(s for s in later if s <= index))
        # The last block's output is the network's.
        keeps[-1] = frozenset({len(sources) - 1})
        return cls(sources, tuple(keeps))

    def advance(self, values: Values, index: int, run: Callable[[Tensor], Tensor]) -> Values:
        """Return the values after block ``index``; ``values`` itself is left as it is."""
        first, *others = (values[source] for source in self.sources[index])
        for other in others:
            first = first + other
        output = run(first)
        after = {key: value for key, value in values.items() if key in self.keeps[index]}
        if index in self.keeps[index]:
            after[index] = output
        return after

    def output(self, values: Values) -> Tensor:
        """Return the network's output."""
        return values[len(self.sources) - 1]
