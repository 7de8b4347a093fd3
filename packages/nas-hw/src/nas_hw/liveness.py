"""What is alive beside each block while a network answers, as look-ups of the choices."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce

import numpy as np
from attrs import define

from nas_hw.operations import LayerMemory, size_of
from nas_spaces import InputError, SearchSpace, Term

__all__ = ["Liveness"]

# Entries of one look-up (8 bytes each); more would be a table that nobody wants to wait for.
TERM_ENTRIES = 2**22

NEVER = Term((), np.int64(0))
ALWAYS = Term((), np.int64(1))

# A block's output, or the sum that enters a block; -1 is the image.
Place = tuple[str, int]


@define
class Liveness:
    """Works out what is alive beside each block; quantities are terms over the choices.

    ``lies[v][p]``: 1 where the output of block ``v`` lies at the place ``p``. ``sizes[p]``: the
    bytes of what lies there.
    """

    space: SearchSpace
    layers: Sequence[Sequence[LayerMemory]]

    def terms(self) -> list[Term]:
        """Return, for each operation between blocks and each block, what is alive at its peak."""
        plans = self.space.plan
        lies: dict[int, dict[Place, Term]] = {}
        sizes: dict[Place, Term] = {}
        terms = []
        lies[-1] = {("block", -1): ALWAYS}
        sizes["block", -1] = Term((), np.int64(size_of(self.space.input_shape)))
        for index, plan in enumerate(plans):
            present = [v for v in lies if any(v in p.sources for p in plans[index:])]
            if len(present) == 1:
                # Nothing else is alive, so it does not matter where it came to lie.
                lies = {present[0]: {("block", present[0]): ALWAYS}}
                sizes = {("block", present[0]): self._entering(index)}
            lies = {v: lies[v] for v in present}
            places = {place for v in present for place in lies[v]}
            sizes = {place: sizes[place] for place in places}
            used = {v: self._used(v, index) for v in present}
            kept = {
                place: _any(_both(lies[v][place], used[v]) for v in present if place in lies[v])
                for place in places
            }
            held = _sum(_both(sizes[place], kept[place]) for place in places)
            own = self._of(index, lambda one: one.peak)
            if len(plan.sources) > 1:
                terms += self._sums(index, lies, sizes, kept)
                entering = {("sum", index): ALWAYS}
                sizes["sum", index] = self._entering(index)
            else:
                entering = lies[plan.sources[0]]
                needed = _any(_both(entering[p], kept[p]) for p in entering)
                if not _is_zero(needed):
                    more = self._of(index, lambda one: one.peak_kept - one.peak)
                    own = _sum([own, _both(needed, more)])
                    # The layer counts its input itself.
                    counted = _both(self._entering(index), needed)
                    held = _combine(np.subtract, held, counted)
            terms.append(_sum([own, held]))
            passes = self._of(index, lambda one: one.passes)
            lies[index] = {p: _both(passes, flag) for p, flag in entering.items()}
            lies[index]["block", index] = _combine(np.subtract, ALWAYS, passes)
            lies[index] = {p: flag for p, flag in lies[index].items() if not _is_zero(flag)}
            sizes["block", index] = self._leaving(index)
        return terms

    def _sums(
        self,
        index: int,
        lies: dict[int, dict[Place, Term]],
        sizes: dict[Place, Term],
        kept: dict[Place, Term],
    ) -> list[Term]:
        """Return what is alive at each of the sums of two that make a block's input."""
        sources = self.space.plan[index].sources
        size = self._entering(index)
        terms = []
        for step in range(1, len(sources)):
            # The first sum reads two blocks; the others read the sum before, and one block.
            needed = sources[0 if step == 1 else step :]
            alive = [size] if step == 1 else [size, size]
            for place, flag in kept.items():
                here = _any([flag, *(lies[v][place] for v in needed if place in lies[v])])
                alive.append(_both(sizes[place], here))
            terms.append(_sum(alive))
        return terms

    def _used(self, value: int, index: int) -> Term:
        """Return 1 where the memory of a block's output is read behind block ``index``."""
        plans = self.space.plan
        if value == len(plans) - 1:
            return ALWAYS
        flags = []
        for reader in range(max(index, value) + 1, len(plans)):
            if value in plans[reader].sources:
                if len(plans[reader].sources) > 1:
                    return ALWAYS
                flags.append(self._of(reader, lambda one: one.reads))
                passes = self._of(reader, lambda one: one.passes)
                if not _is_zero(passes):
                    flags.append(_both(passes, self._used(reader, reader)))
        return _any(flags)

    def _of(self, index: int, pick: Callable[[LayerMemory], int]) -> Term:
        """Return a quantity of a block's layers."""
        plan = self.space.plan[index]
        values = np.array([pick(one) for one in self.layers[index]], dtype=np.int64)
        return Term(plan.columns, values.reshape(plan.sizes)).simplified()

    def _entering(self, index: int) -> Term:
        plan = self.space.plan[index]
        sizes = np.array([size_of(shape) for shape in plan.in_shapes])
        return Term(plan.columns, sizes.reshape(plan.sizes)).simplified()

    def _leaving(self, index: int) -> Term:
        plan = self.space.plan[index]
        sizes = np.array([size_of(shape) for shape in plan.out_shapes])
        return Term(plan.columns, sizes.reshape(plan.sizes)).simplified()


def _is_zero(term: Term) -> bool:
    return not term.values.any()


def _combine(operation: np.ufunc, first: Term, second: Term) -> Term:
    """Return ``operation`` of two terms, as a term over the columns of both that it depends on."""
    columns = sorted({*first.columns, *second.columns})
    left, right = first.spread(columns), second.spread(columns)
    entries = math.prod(np.broadcast_shapes(left.shape, right.shape))
    if entries > TERM_ENTRIES:
        raise InputError(
            f"peak memory: what is alive at one operation depends on {len(columns)} choices "
            f"together, {entries:,} combinations; at most {TERM_ENTRIES:,} are tabulated. Let "
            "fewer blocks with identities lie between a block and a later one that reads it"
        )
    return Term(columns, operation(left, right)).simplified()


def _both(first: Term, second: Term) -> Term:
    """Return the product: of flags, whether both are 1; of a size and a flag, the size or 0."""
    for one, other in ((first, second), (second, first)):
        if one is NEVER:
            return NEVER
        if one is ALWAYS:
            return other
    return _combine(np.multiply, first, second)


def _any(flags: Iterable[Term]) -> Term:
    """Return 1 where one of ``flags`` is."""
    return reduce(partial(_combine, np.maximum), flags, NEVER)


def _sum(terms: Iterable[Term]) -> Term:
    return reduce(partial(_combine, np.add), terms, NEVER)
