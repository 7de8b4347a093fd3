"""Error of many architectures of one supernet, shared prefixes computed once.

The statistics of a block's norms depend on nothing behind the block. A population is therefore
walked as a tree of equal block prefixes, depth first: at a node the block's norms are
recalibrated on fixed training batches, then the fixed evaluation batches pass, and both sets of
activations go down to all children. In float32 on a CPU every error equals that of its
architecture evaluated alone, to the last bit.

What the rows of one call share is kept for the next one, which in a sweep over the layers (PONAS)
begins with the same blocks and one more.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from attrs import define, field, frozen
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nas_spaces import InputError
from nas_spaces.torch import Norms, Supernet
from nas_spaces.torch.wiring import Values

__all__ = ["Kept", "SupernetError", "evaluate"]

# Activations that may wait at the nodes above the one that is computed.
DEFAULT_MEMORY = 4 * 2**30
# In place of a number of wrong answers.
NOT_FINITE = -1


@define(eq=False)
class Kept:
    """The values behind the blocks that all rows of an evaluation shared, for the next one.

    ``prefix``: which layer each of these blocks used. ``recalibrated``, ``evaluated``: the values
    behind them, one a batch. ``weights``: what they were computed with; they are of no use where
    that has changed (a change through ``Tensor.data``, which torch does not count, is not seen).
    Only good for the same supernet, batches, ``fold`` and ``channels_last``.
    """

    prefix: tuple[int, ...] = ()
    recalibrated: list[Values] = field(factory=list, repr=False)
    evaluated: list[Values] = field(factory=list, repr=False)
    weights: tuple[tuple[int, int], ...] = ()

    def forget(self) -> None:
        """Keep nothing."""
        self.prefix, self.recalibrated, self.evaluated, self.weights = (), [], [], ()


@frozen(eq=False)
class SupernetError:
    """Metric: the share of wrong answers of each architecture with the supernet's weights.

    Args:
        supernet: the trained supernet; it is not changed.
        recalibration: training images ``[b, c, h, w]``, one tensor a batch, the same for every
            architecture; they may wait in host memory. Empty: the supernet's own norm
            statistics are used.
        batches: held-out images ``[b, c, h, w]`` with labels ``[b]``.
        fold: merge norms into convolutions before the evaluation batches: faster, errors can
            differ by rounding.
        channels_last: memory format of activations.
        memory: bytes of activations that may wait; beyond it prefixes are computed again.
        on_progress: called with the number of architectures finished.
    """

    supernet: Supernet
    recalibration: Sequence[Tensor]
    batches: Sequence[tuple[Tensor, Tensor]]
    fold: bool = False
    channels_last: bool = True
    memory: int = DEFAULT_MEMORY
    on_progress: Callable[[int], None] | None = None
    _kept: Kept = field(factory=Kept, init=False, repr=False)

    @property
    def name(self) -> str:
        """``"error"``."""
        return "error"

    @property
    def unit(self) -> str:
        """A share, in [0, 1]."""
        return "1"

    def __call__(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return errors ``[n]`` of architectures ``[n, d]``."""
        return evaluate(
            self.supernet,
            archs,
            recalibration=self.recalibration,
            batches=self.batches,
            fold=self.fold,
            channels_last=self.channels_last,
            memory=self.memory,
            on_progress=self.on_progress,
            kept=self._kept,
        )


def evaluate(
    supernet: Supernet,
    archs: ArrayLike,
    *,
    recalibration: Sequence[Tensor],
    batches: Sequence[tuple[Tensor, Tensor]],
    fold: bool = False,
    channels_last: bool = True,
    memory: int = DEFAULT_MEMORY,
    on_progress: Callable[[int], None] | None = None,
    kept: Kept | None = None,
) -> NDArray[np.float64]:
    """Return the supernet error ``[n]`` of architectures ``[n, d]``; see `SupernetError`.

    ``kept``: what an earlier call with the same arguments, rows apart, left there is used, and
    replaced by what this one leaves.

    Raises:
        InputError: rows that do not belong to the space, no evaluation batches, a recalibration
            batch of one image, or logits that are not finite.
    """
    if not batches:
        raise InputError("batches is empty; give at least one batch of held-out images")
    for index, x in enumerate(recalibration):
        if len(x) < 2:
            raise InputError(
                f"recalibration[{index}] is a batch of {len(x)}; norms need at least 2 images"
            )
    archs = supernet.space.check(archs)
    combinations = supernet.space.combinations(archs)
    errors = np.full(len(combinations), np.nan)
    walk = _Walk(
        supernet,
        archs,
        combinations,
        list(recalibration),
        [x for x, _ in batches],
        [labels for _, labels in batches],
        fold,
        torch.channels_last if channels_last else torch.contiguous_format,
        errors,
        on_progress,
        Kept() if kept is None else kept,
    )
    training = supernet.training
    supernet.eval()
    try:
        with torch.inference_mode():
            walk.run(memory)
    finally:
        supernet.train(training)
    return errors


@frozen(eq=False)
class _Walk:
    """One pass over a population. ``archs``: int64 [n, d]; ``combinations``: int64 [n, blocks]."""

    supernet: Supernet
    archs: NDArray[np.int64]
    combinations: NDArray[np.int64]
    recalibration: list[Tensor]
    images: list[Tensor]
    labels: list[Tensor]
    fold: bool
    memory_format: torch.memory_format
    errors: NDArray[np.float64]
    on_progress: Callable[[int], None] | None
    kept: Kept

    def run(self, memory: int) -> None:
        """Evaluate all rows."""
        if not len(self.combinations):
            return
        cut = self._first_kept_depth(memory)
        if cut == 0:
            self._descend_from_kept()
            return
        # Rows with the same blocks before the cut share them; they are computed streaming,
        # batch by batch, so that only activations behind the cut wait in memory.
        prefixes, group = np.unique(self.combinations[:, :cut], axis=0, return_inverse=True)
        for index, prefix in enumerate(prefixes.tolist()):
            rows = np.flatnonzero(group.reshape(-1) == index)
            self._descend(cut, rows, *self._stream(prefix))

    def _descend_from_kept(self) -> None:
        """Evaluate all rows, from what an earlier walk kept where they begin as its rows did."""
        kept, rows = self.kept, np.arange(len(self.combinations))
        state = self.supernet.state_dict()
        weights = tuple((x.data_ptr(), x._version) for x in state.values())
        shared = _shared_depth(self.combinations)
        depth = len(kept.prefix)
        begin = tuple(self.combinations[0, :depth].tolist())
        if depth and depth <= shared and begin == kept.prefix and weights == kept.weights:
            recalibrated, evaluated = kept.recalibrated, kept.evaluated
        else:
            kept.forget()  # before anything new waits in memory
            depth, (recalibrated, evaluated) = 0, self._stream(())
        while depth < shared:
            combination = int(self.combinations[0, depth])
            recalibrated, evaluated = self._block(depth, combination, recalibrated, evaluated)
            depth += 1
        if depth:
            kept.prefix = tuple(self.combinations[0, :depth].tolist())
            kept.recalibrated, kept.evaluated, kept.weights = recalibrated, evaluated, weights
        self._descend(depth, rows, recalibrated, evaluated)

    def _first_kept_depth(self, memory: int) -> int:
        """Return the least depth from which on all waiting activations fit into ``memory``."""
        space = self.supernet.space
        images = sum(len(x) for x in (*self.recalibration, *self.images))
        waiting = 0
        for depth in reversed(range(len(space.blocks))):
            shapes = {
                space.output_shape(depth, int(c)) for c in np.unique(self.combinations[:, depth])
            }
            waiting += max(int(np.prod(shape)) for shape in shapes) * 4 * images
            if waiting > memory:
                # What leaves the prefix waits as well: a cut right behind this block keeps it.
                return min(depth + 2, len(space.blocks))
        return 0

    def _stream(self, prefix: Sequence[int]) -> tuple[list[Values], list[Values]]:
        """Return the values behind the blocks of ``prefix``, for both sets of batches."""
        norms = [Norms() for _ in prefix]
        use = norms if self.recalibration else [None] * len(prefix)
        recalibrated = []
        for x in self.recalibration:
            values: Values = {-1: self._place(x)}
            for depth, combination in enumerate(prefix):
                norms[depth].recalibrate()
                values = self.supernet.advance(values, depth, combination, norms[depth])
            recalibrated.append(values)
        for depth, combination in enumerate(prefix):
            self._settle(norms[depth], depth, combination)
        evaluated = []
        for x in self.images:
            values = {-1: self._place(x)}
            for depth, combination in enumerate(prefix):
                values = self.supernet.advance(values, depth, combination, use[depth])
            evaluated.append(values)
        return recalibrated, evaluated

    def _place(self, x: Tensor) -> Tensor:
        """Return a batch on the supernet's device, in the memory format that is asked for."""
        device = next(self.supernet.parameters()).device
        return x.to(device).contiguous(memory_format=self.memory_format)

    def _settle(self, norms: Norms, depth: int, combination: int) -> None:
        norms.settle()
        if self.fold and self.recalibration:
            self.supernet.fold(depth, combination, norms)

    def _descend(
        self,
        depth: int,
        rows: NDArray[np.int64],
        recalibrated: list[Values],
        evaluated: list[Values],
    ) -> None:
        """Evaluate ``rows``, which share all blocks before ``depth`` and hence these values."""
        while depth < self.combinations.shape[1]:
            children = np.unique(self.combinations[rows, depth])
            if len(children) > 1:
                for child in children.tolist():
                    behind = self._block(depth, child, recalibrated, evaluated)
                    chosen = rows[self.combinations[rows, depth] == child]
                    self._descend(depth + 1, chosen, *behind)
                return
            # Without a fork nothing has to wait here.
            recalibrated, evaluated = self._block(depth, int(children[0]), recalibrated, evaluated)
            depth += 1
        self._finish(rows, [self._wrong(v, y) for v, y in zip(evaluated, self.labels, strict=True)])

    def _block(
        self, depth: int, combination: int, recalibrated: list[Values], evaluated: list[Values]
    ) -> tuple[list[Values], list[Values]]:
        norms = Norms()
        behind = []
        for values in recalibrated:
            norms.recalibrate()
            behind.append(self.supernet.advance(values, depth, combination, norms))
        self._settle(norms, depth, combination)
        use = norms if recalibrated else None
        return behind, [self.supernet.advance(v, depth, combination, use) for v in evaluated]

    def _wrong(self, values: Values, labels: Tensor) -> Tensor:
        logits = self.supernet.wiring.output(values)
        wrong = (logits.argmax(dim=1) != labels.to(logits.device)).sum()
        # Argmax would take NaN for an answer. Only marked here: to read each batch would stall a
        # GPU.
        return torch.where(logits.isfinite().all(), wrong, NOT_FINITE)

    def _finish(self, rows: NDArray[np.int64], wrong: Sequence[Tensor]) -> None:
        total = sum(len(labels) for labels in self.labels)
        counts = torch.stack(list(wrong)).tolist()
        if NOT_FINITE in counts:
            raise InputError(
                "the supernet's logits are not finite for architecture "
                f"{self.supernet.space.format(self.archs[rows[0]])}; its training diverged, or the "
                "images are not finite: check both"
            )
        self.errors[rows] = sum(counts) / total
        if self.on_progress is not None:
            self.on_progress(len(rows))


def _shared_depth(combinations: NDArray[np.int64]) -> int:
    """Return how many blocks all of these rows share from the first one on."""
    forks = np.flatnonzero((combinations != combinations[0]).any(axis=0))
    return int(forks[0]) if len(forks) else combinations.shape[1]
