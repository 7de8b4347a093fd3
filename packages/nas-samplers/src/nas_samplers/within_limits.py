"""Drops that leave an architecture within limits."""

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nas_samplers.alphas import Alphas
from nas_samplers.drop_rules import DropRule
from nas_spaces import FeasibleSet, InputError

__all__ = ["WithinLimits"]


@frozen(eq=False)
class WithinLimits:
    """What a rule would drop, except where no feasible architecture would be left without it.

    A rule looks at one choice at a time, and a limit at all of them together: nothing keeps a rule
    from dropping every cheap option of a space. BetaNAS does not speak of it; this is ours. Of the
    options of a choice that may go, the one of the smallest alpha goes that leaves, with what goes
    in the choices before it, at least one feasible row. Where several tight limits make a row hard
    to find, an option may be kept that could have gone.

    Args:
        rule: what may go.
        feasible: the architectures of which one is to stay.

    >>> from nas_samplers.drop_rules import BelowMean
    >>> from nas_spaces import Limit, Table, published
    >>> space = published.load("nas-bench-macro")
    >>> size = Table.from_primitives(space, "size", "primitives", lambda primitive: 1)
    >>> low, _ = FeasibleSet(space).attainable(size)
    >>> alphas = Alphas(space)
    >>> alphas.values[:, 0] = -1.0
    >>> rule = WithinLimits(BelowMean(0.5), FeasibleSet(space, [Limit(size, upper=low + 20)]))
    >>> BelowMean(0.5)(alphas)[:, 0].sum().item(), rule(alphas)[:, 0].sum().item()
    (8, 2)
    """

    rule: DropRule
    # The whole set is no name for a saved state.
    feasible: FeasibleSet = field(repr=lambda feasible: str(list(map(str, feasible.limits))))
    # Options, as the bytes of their mask -> a feasible row of them. What is found must not depend
    # on what was asked before, or a resumed run, which remembers nothing, could drop others.
    _found: dict[bytes, NDArray[np.int64] | None] = field(factory=dict, init=False, repr=False)

    def __call__(self, alphas: Alphas) -> NDArray[np.bool_]:
        """Return bool ``[d, k]``, at most one option a choice."""
        wanted = self.rule(alphas) & alphas.alive
        going = np.zeros_like(wanted)
        if not wanted.any():
            return going
        left = alphas.alive.copy()
        row = self._find(left)
        for choice in np.flatnonzero(wanted.any(axis=1)).tolist():
            options = np.flatnonzero(wanted[choice])
            for option in options[alphas.values[choice, options].argsort(kind="stable")].tolist():
                without = left.copy()
                without[choice, option] = False
                # A row that does not use the option stays feasible without it.
                other = row if row is not None and row[choice] != option else self._find(without)
                if other is not None:
                    row, left = other, without
                    going[choice, option] = True
                    break
        return going

    def _find(self, options: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        """Return a feasible row int64 ``[d]`` of ``options [d, k]``, None where none was found."""
        key = options.tobytes()
        if key not in self._found:
            try:
                row = self.feasible.most_probable(np.where(options, 0.0, -np.inf))
            except InputError:
                row = None
            self._found[key] = row
        return self._found[key]
