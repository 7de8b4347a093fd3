"""What the files of a training say, as the report reads them."""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

__all__ = [
    "AlphasRecord",
    "Curve",
    "Drop",
    "InheritedRecord",
    "LearnedDistribution",
    "PhaseSteps",
    "Training",
]

Floats = NDArray[np.float64]


@frozen(eq=False)
class Curve:
    """What one training logged, in the order of its steps.

    ``step``, ``epoch``, ``loss``, ``lr``: float64 ``[n]``. ``steps``: how many it was to take.
    ``phase``: the name of each one's phase ``[n]``; steps count through all phases.
    """

    step: Floats
    epoch: Floats
    loss: Floats
    lr: Floats
    steps: int
    phase: tuple[str, ...]


@frozen
class PhaseSteps:
    """How many steps one phase of the training took."""

    name: str
    steps: int


@frozen
class InheritedRecord:
    """How many tensors of the supernet took weights of the largest network, and kept their own."""

    copied: int
    kept: int


@frozen
class Training:
    """``train/summary.json``.

    ``path_counts[i][j]``: how often option j of choice i was drawn. ``uneven``: choices in which a
    strictly fair training was fair in the mean only.
    """

    steps: int
    path_counts: tuple[tuple[int, ...], ...]
    seconds: float
    device: str
    uneven: tuple[str, ...] = ()
    phases: tuple[PhaseSteps, ...] = ()
    inherited: InheritedRecord | None = None


@frozen
class Drop:
    """From ``step`` on, ``option`` of ``choice`` was neither trained nor counted."""

    step: int
    choice: int
    option: int


@frozen(eq=False)
class AlphasRecord:
    """``train/alphas.json``, architecture parameters over time.

    ``steps``: int64 ``[t]``. ``probabilities``: float64 ``[t, d, k]``, softmax over the live
    options, 0 where an option is not live, nan where a choice has no such option. ``alive``: bool
    ``[t, d, k]``. ``counts``: int64 ``[t, d, k]``, how often an option was drawn for training.
    """

    steps: NDArray[np.int64]
    probabilities: Floats
    alive: NDArray[np.bool_]
    counts: NDArray[np.int64]
    dropped: tuple[Drop, ...]


@frozen(eq=False)
class LearnedDistribution:
    """``train/distribution.json``, a distribution over architectures in time.

    ``steps``, ``rows``: int64 ``[t]``, training steps until then, and paths of the last one.
    ``entropy`` [nats]: float64 ``[t]``. ``costs``: float64 ``[t]``, the expected one of a draw, nan
    where it is not known; its name is ``cost`` and what it was to keep to ``target``, None where no
    cost counted. ``joined``: the step behind which groups are joint, 0 where they always were, None
    where they never are. ``sampled``: paths drawn in all. ``marginals``: ``[d][k]``, at the end.
    ``parameters``: numbers that are learnt, at the end. ``mode``: the most probable row;
    ``mode_cost``: what it costs, None where no cost counted or where it was not written.
    """

    steps: NDArray[np.int64]
    rows: NDArray[np.int64]
    entropy: Floats
    costs: Floats
    cost: str | None
    target: float | None
    joined: int | None
    sampled: int
    marginals: tuple[tuple[float, ...], ...]
    parameters: int
    mode: tuple[int, ...]
    mode_cost: float | None

    @property
    def costed(self) -> bool:
        """Whether an expected cost is known."""
        return self.cost is not None and bool(np.isfinite(self.costs).any())
