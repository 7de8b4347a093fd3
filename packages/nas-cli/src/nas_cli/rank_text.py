"""What a ranking comes to, for a person."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from nas_cli.rank_result import TOPS

__all__ = ["show_rank"]

NO_REGRET = "where the truth is the same for all, choosing costs nothing: there is no regret"


def show_rank(found: Mapping[str, Any]) -> list[Any]:
    """Return what is to be printed of a ranking: a table, and sentences."""
    against = {
        "standalone": "trainings from scratch",
        "run": f"the supernet of {found['column']}",
    }.get(found["truth"], f"{found['truth']}, {found['column']}")
    table = Table(title=f"{found['architectures']:,} architectures against {against}")
    table.title_justify = "left"
    table.add_column("score", no_wrap=True)
    for heading in ("tau-b", "95 % interval", *(f"top {k}" for k in TOPS), "gap"):
        table.add_column(heading, justify="right", no_wrap=True)
    labels = {"recalibrated": "recalibrated", "own_norms": "own norms"}
    for key, label in labels.items():
        table.add_row(label, *_cells(found["tau"][key], found["regret"][key], found["gap"][key]))
    table.add_row("macs", *_cells(found["macs"], found["regret"]["macs"], None))
    table.add_row("params", *_cells(found["params"], None, None))
    if found["ceiling"] is not None:
        table.add_row("two trainings", *_cells(found["ceiling"], None, None))
    notes = "in points: what the best of the top k lacks; gap, one-shot minus truth"
    lines: list[Any] = [table, notes]
    if None in found["regret"].values():
        lines.append(NO_REGRET)
    for key, what in (("unknown", "are of no architecture of the run"), ("missing", "are not in")):
        count, examples = found[key]["count"], ", ".join(found[key]["examples"])
        if count:
            where = f" {found['truth']}" if key == "missing" else ""
            lines.append(f"{key}: {count:,} {what}{where}, like {examples}")
    if found["repeated"]:
        lines.append(f"repeated: {found['repeated']:,} lines, averaged with the first")
    if found["failed"]:
        lines.append(f"failed: {found['failed']} networks could not be trained and are left out")
    return [*lines, found["verdict"]]


def _cells(
    tau: Mapping[str, Any], regret: Mapping[str, float] | None, gap: float | None
) -> list[str]:
    cells = ["undefined", ""]
    if tau["tau"] is not None:
        cells = [f"{tau['tau']:.3f}", f"{tau['low']:.3f} to {tau['high']:.3f}"]
    cells += [""] * len(TOPS) if regret is None else [f"{regret[str(k)]:.2f}" for k in TOPS]
    return [*cells, "" if gap is None else f"{gap:+.2f}"]
