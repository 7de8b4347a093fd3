"""What a run's files say, as the report reads them; a file may hold more than is named here."""

from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nas_search import CandidateTable
from nas_spaces import History, SearchSpace

__all__ = [
    "Agreement",
    "AlphasRecord",
    "CandidateRecord",
    "ChannelMaps",
    "Comparison",
    "ConfigRecord",
    "Curve",
    "Drop",
    "Failure",
    "Finalist",
    "InheritedRecord",
    "LeftOut",
    "PhaseSteps",
    "PoolUse",
    "Rank",
    "RankResult",
    "Replacement",
    "Retraining",
    "RunData",
    "Search",
    "SearchResult",
    "SearchSettings",
    "Similarity",
    "SimilarityBlock",
    "Supernet",
    "Training",
]

Floats = NDArray[np.float64]


@frozen
class Supernet:
    """What the report names of the settings of a supernet. ``sampler``: what drew its paths."""

    sampler: str | None = None


@frozen
class SearchSettings:
    """What the report names of how a run searches. ``evaluation``: what judges architectures."""

    evaluation: str = "supernet"


@frozen
class ConfigRecord:
    """What the report names of ``config.toml``."""

    method: str
    space: str
    data: str
    blocks: Any = None
    limits: tuple[str, ...] = ()
    supernet: Supernet = Supernet()
    search: SearchSettings = SearchSettings()
    seed: int | None = None
    device: str | None = None


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


@frozen
class Samples:
    """Draws from what the training learned, evaluated beside the most probable architecture.

    ``evaluated``: distinct ones that are not the winner. ``better``: how many of them have a
    smaller error. ``errors``: smallest and largest one. ``drawn``: how many draws there were, None
    where that was not written. ``winner``: how many of them are the winner.
    """

    evaluated: int
    better: int
    errors: tuple[float, ...] = ()
    drawn: int | None = None
    winner: int = 0


@frozen
class Replacement:
    """One step from a candidate table's start towards the limits.

    ``loss``: what it adds to the predicted error. ``costs``: of the network behind the step.
    """

    choice: int
    before: int
    after: int
    loss: float
    costs: dict[str, float] = field(factory=dict)


@frozen
class PoolUse:
    """What candidates had of the pool of trained blocks.

    ``blocks``: in the pool at the end. ``hits``: blocks that began from it, of ``looked_up``.
    ``verdict``: whether that helped, None where it was not asked. ``used``: to the end.
    """

    blocks: int
    hits: int
    looked_up: int
    verdict: str | None = None
    used: bool = True


@frozen
class Finalist:
    """One of the best by reward, trained as long as a winner is. Errors in [0, 1]."""

    architecture: tuple[int, ...]
    error_in_search: float
    reward_in_search: float
    error: float
    reward: float


@frozen
class Failure:
    """An architecture that could not be trained."""

    architecture: tuple[int, ...]
    why: str


@frozen
class SearchResult:
    """``searches/NAME/result.json``.

    ``values``: the winner's error in [0, 1], macs, params. What came from a candidate table has
    the ``path`` of replacements to it, its ``predicted_error``, the measured ``start_error`` of
    where the path begins, and the ``method``. Where nothing was evaluated there is no error, and
    ``table`` names the search whose table it was.

    Where architectures were trained alone (``evaluation``), for so many ``epochs``: the ``pool``,
    the ``finalists``, whether they are near a target that was set (``near_target``), and what
    ``failed``. ``counts``: where the rewards of a learning search came from, see
    `nas_search.rl.Counts`. ``samples``: of a most probable architecture, where some were drawn;
    ``proven``: whether it is certain that none within the limits is more probable.
    """

    name: str
    limits: tuple[str, ...]
    winner: tuple[int, ...]
    values: dict[str, float]
    evaluated: int
    feasible: int | None = None
    random_best_error: float | None = None
    stopped: str = "budget"
    path: tuple[Replacement, ...] = ()
    predicted_error: float | None = None
    start_error: float | None = None
    method: str | None = None
    table: str | None = None
    evaluation: str = "supernet"
    epochs: float | None = None
    counts: dict[str, int] = field(factory=dict)
    pool: PoolUse | None = None
    finalists: tuple[Finalist, ...] = ()
    near_target: bool | None = None
    samples: Samples | None = None
    proven: bool = True
    failed: tuple[Failure, ...] = ()

    @property
    def error(self) -> float | None:
        """The winner's measured error in [0, 1], None where it was not evaluated."""
        return self.values.get("error")

    @property
    def macs(self) -> float:
        """The winner's multiply-adds."""
        return self.values["macs"]

    @property
    def params(self) -> float:
        """The winner's parameters."""
        return self.values["params"]

    @property
    def others(self) -> dict[str, float]:
        """What else was recorded of the winner, by name."""
        shown = ("error", "macs", "params")
        return {name: value for name, value in self.values.items() if name not in shown}


@frozen
class CandidateRecord:
    """One network that was trained from scratch. ``top1`` [%] on ``test_images`` images.

    ``architecture``: its row; None for a network that is not in the space. ``costs``: those other
    than macs and params that the search had limits on, by name.
    """

    name: str
    architecture: tuple[int, ...] | None
    top1: float
    test_images: int
    macs: int
    params: int
    supernet_error: float | None = None
    costs: dict[str, int] = field(factory=dict)


@frozen
class Comparison:
    """Winner minus random architectures, all in percentage points of top-1.

    ``low``, ``high``: the interval at ``confidence``; None where the random ones give none.
    """

    difference: float
    confidence: float
    verdict: str
    low: float | None = None
    high: float | None = None


@frozen
class Retraining:
    """``searches/NAME/retrain/result.json``."""

    candidates: tuple[CandidateRecord, ...]
    comparison: Comparison | None = None

    @property
    def randoms(self) -> int:
        """How many random architectures there are."""
        return sum(one.name.startswith("random-") for one in self.candidates)

    @property
    def winner(self) -> CandidateRecord:
        """The candidate called ``winner``."""
        return next(one for one in self.candidates if one.name == "winner")


@frozen
class CriticRule:
    """How the critic of a search is asked: `CriticConfig` and `PolicyConfig` of `ppo_settings`."""

    members: int
    least: int
    pick: str
    resampled: int
    threshold: float | None = None


@frozen(eq=False)
class Search:
    """One search: its folder's name, what it found and all that it evaluated.

    ``searcher``: what proposed architectures, where it is known. ``critic``: None where it had
    none, or it is of an earlier version that did not say. ``history``: None where nothing
    was evaluated. ``random``: the baseline, None where there was none. ``table``: what a
    progressive sweep measured. ``retrain``: None where the winner has not been retrained.
    """

    folder: str
    result: SearchResult
    searcher: str | None
    critic: CriticRule | None
    history: History | None
    random: History | None
    table: CandidateTable | None
    retrain: Retraining | None


@frozen
class Agreement:
    """Kendall's tau-b with its interval; None where it is undefined, which then says why."""

    tau: float | None
    low: float | None = None
    high: float | None = None
    undefined: str | None = None


@frozen
class LeftOut:
    """How many architectures were left out, and some of them."""

    count: int = 0
    examples: tuple[Any, ...] = ()

    @property
    def named(self) -> str:
        """The examples as text."""
        return "; ".join(
            ",".join(map(str, one)) if isinstance(one, list | tuple) else str(one)
            for one in self.examples
        )


@frozen
class RankResult:
    """``ranks/NAME/result.json``: how well scores order the architectures by the truth.

    ``truth``: a file's name, ``"standalone"`` or ``"run"``; ``column``: of the file, or the other
    run. ``unknown``, ``missing``: of the file. ``repeated``: its lines that named an architecture
    again. ``failed``: networks that could not be trained. ``tau``, ``regret``, ``gap``: by what
    gave the score. ``regret``: for the best 1, 5, 10 by the score, in percentage points of top-1;
    ``gap``: supernet top-1 minus true top-1, the same. ``judged``: the score that searches use.
    """

    name: str
    truth: str
    architectures: int
    verdict: str
    column: str | None = None
    judged: str | None = None
    repeated: int = 0
    failed: int = 0
    unknown: LeftOut = LeftOut()
    missing: LeftOut = LeftOut()
    tau: dict[str, Agreement | None] = field(factory=dict)
    macs: Agreement | None = None
    params: Agreement | None = None
    ceiling: Agreement | None = None
    regret: dict[str, dict[str, float | None] | None] | None = None
    gap: dict[str, float | None] | None = None


@frozen
class SimilarityBlock:
    """Cosines ``[k][k]`` between what the candidates of one block give, mean over channels."""

    block: str
    options: tuple[str, ...]
    cosine: tuple[tuple[float | None, ...], ...]


@frozen
class ChannelMaps:
    """What each candidate of ``block`` gives on channel ``channel`` of one image, ``[h][w]``."""

    block: str
    options: tuple[str, ...]
    maps: tuple[tuple[tuple[float, ...], ...], ...]
    channel: int


@frozen
class Similarity:
    """``ranks/NAME/similarity.json``.

    ``path``: of the blocks around the one that is looked at. ``left_out``: blocks whose candidates
    cannot be compared.
    """

    images: int
    blocks: tuple[SimilarityBlock, ...]
    path: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    channel: ChannelMaps | None = None


@frozen(eq=False)
class Rank:
    """One trust report: its folder's name and what is there of it. ``values``: see `RankResult`."""

    folder: str
    result: RankResult | None
    values: History | None
    similarity: Similarity | None


@frozen(eq=False)
class RunData:
    """All that the report shows of a run.

    ``blocks``: what was searched before, None where nothing was. ``curves``: stage -> what it
    logged. ``seconds``: finished stage -> how long it took [s].
    ``train``: None where it has not finished. ``unfinished``: folders of searches that have no
    result yet; ``unfinished_ranks``: of trust reports.
    """

    name: str
    config: ConfigRecord
    config_text: str
    space: SearchSpace
    blocks: tuple[int, ...] | None
    curves: dict[str, Curve]
    seconds: dict[str, float]
    train: Training | None
    alphas: AlphasRecord | None
    distribution: LearnedDistribution | None
    searches: tuple[Search, ...]
    unfinished: tuple[str, ...]
    ranks: tuple[Rank, ...]
    unfinished_ranks: tuple[str, ...]

    @property
    def alone(self) -> bool:
        """Whether architectures are trained alone, so that there is no supernet."""
        return self.config.search.evaluation == "standalone"
