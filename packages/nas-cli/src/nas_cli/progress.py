"""What a person sees while a stage runs: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Update", "stage"]

Update = Callable[[int, str], None]
"""(done, note): how far the stage is now, and a word on how it goes."""

# Without a terminal: at most one line in so many seconds.
LINE_EVERY = 15.0


@contextlib.contextmanager
def stage(console: Console, title: str, total: int, unit: str) -> Iterator[Update]:
    """Show the progress of one stage of ``total`` units."""
    begun = time.monotonic()
    if console.is_terminal:
        progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            expand=True,
        )
        with progress:
            task = progress.add_task(title, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)
        return
    console.print(f"{title}: {total:,} {unit}")
    last = begun

    def line(done: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY and done < total:
            last = now
            left = (now - begun) / max(done, 1) * (total - done)
            console.print(f"  {done:,}/{total:,} {unit}, about {left:,.0f} s left, {note}")

    yield line
    console.print(f"  done in {time.monotonic() - begun:,.1f} s")
