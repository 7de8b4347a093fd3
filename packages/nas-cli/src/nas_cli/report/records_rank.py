"""What the files of a ranking say, as the report reads them."""

from typing import Any

from attrs import field, frozen

from nas_spaces import History

__all__ = [
    "Agreement",
    "ChannelMaps",
    "LeftOut",
    "Rank",
    "RankResult",
    "Similarity",
    "SimilarityBlock",
]


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
