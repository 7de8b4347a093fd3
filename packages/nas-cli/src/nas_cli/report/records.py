"""What a run's files say, as the report reads them; a file may hold more than is named here."""

from typing import Any

from attrs import frozen

from nas_cli.report.records_rank import Rank
from nas_cli.report.records_search import Search
from nas_cli.report.records_training import AlphasRecord, Curve, LearnedDistribution, Training
from nas_spaces import SearchSpace

__all__ = [
    "ConfigRecord",
    "RunData",
    "SearchSettings",
    "Supernet",
]


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
