"""What the files of a search and of a retraining say, as the report reads them."""

from attrs import field, frozen

from nas_search import CandidateTable
from nas_spaces import History

__all__ = [
    "CandidateRecord",
    "Comparison",
    "CriticRule",
    "Failure",
    "Finalist",
    "PoolUse",
    "Replacement",
    "Retraining",
    "Samples",
    "Search",
    "SearchResult",
]


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

    @property
    def all_costs(self) -> dict[str, int]:
        """What it costs, by name: macs, params and what else was recorded."""
        return {"macs": self.macs, "params": self.params, **self.costs}


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
