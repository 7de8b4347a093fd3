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
    with (_bar if console.is_terminal else _lines)(console, title, total, unit) as update:
        yield update


@contextlib.contextmanager
def _bar(console: Console, title: str, total: int, unit: str) -> Iterator[Update]:
    progress = Progress(
        TextColumn("{task.description:<25}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[word]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        expand=True,
    )
    with progress:
        task = progress.add_task(title, total=total, word="left", note="")
        yield lambda done, note: progress.update(task, completed=done, note=note)
        # A search may end early, with everything seen.
        done = progress.tasks[0].completed
        progress.update(task, total=done or total, word="took")


@contextlib.contextmanager
def _lines(console: Console, title: str, total: int, unit: str) -> Iterator[Update]:
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{title}: {total:,} {unit}")
    begun = last = time.monotonic()
    word = ""
    # A resumed stage has done something before; what is left takes as long as what is new.
    first: tuple[float, int] | None = None

    def update(done: int, note: str) -> None:
        nonlocal last, word, first
        word = note
        now = time.monotonic()
        if first is None:
            first = (now, done)
        elif now - last >= LINE_EVERY and done > first[1] and done < total:
            last = now
            left = (now - first[0]) / (done - first[1]) * (total - done)
            say(
                f"  {done:,} of {total:,} {unit}, about {left:,.0f} s left"
                + (f", {note}" if note else "")
            )

    yield update
    say(f"  done in {time.monotonic() - begun:,.1f} s" + (f", {word}" if word else ""))
