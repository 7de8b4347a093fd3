"""How long a stage takes, over all processes that worked on it."""

import math
import time

from nas_cli.events import read_events
from nas_cli.run import Run

__all__ = ["Clock"]


class Clock:
    """Seconds of one stage.

    They are kept in the run's events: states of a run that was killed and gone on with hold no time
    and are those of one that was not. What a killed process did behind what it had saved counts for
    nothing, since it is done again. So does the beginning of an architecture that it was training
    alone, though that is not. Lines of the events that cannot be read are left out: a run does not
    stop for its time.

    Args:
        run: whose events they are.
        stage: its name there.
        goes_on: whether something is left of what earlier processes did; if not, it is done anew,
            and its time begins at 0.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from types import SimpleNamespace
    >>> run = SimpleNamespace(path=Path(mkdtemp()))
    >>> line = '{"event": "saved", "stage": "search/main", "seconds": 100.0}'
    >>> written = (run.path / "events.jsonl").write_text(line + chr(10))
    >>> Clock(run, "search/main", goes_on=True).seconds() >= 100
    True
    >>> Clock(run, "search/main", goes_on=False).seconds() < 100
    True
    """

    def __init__(self, run: Run, stage: str, *, goes_on: bool) -> None:
        self.run = run
        self.stage = stage
        self._earlier = 0.0
        # Of each recorded step, until it is known at which this process began.
        self._steps: dict[int, float] | None = None
        if goes_on:
            self._read()
        self._begun = time.monotonic()

    def _read(self) -> None:
        steps: dict[int, float] = {}
        for _, event in read_events(self.run.path / "events.jsonl", strict=False):
            seconds, step = event.get("seconds"), event.get("step")
            if event.get("stage") != self.stage or not isinstance(seconds, int | float):
                continue
            if math.isfinite(seconds):
                self._earlier = float(seconds)
                if isinstance(step, int):
                    steps[step] = self._earlier  # of a repeated one the last
        self._steps = steps

    def seconds(self) -> float:
        """Return the time [s] so far."""
        return round(self._earlier + time.monotonic() - self._begun, 3)

    def at(self, step: int) -> float:
        """Return the time [s] at a step of a training, which is about to be recorded.

        A step is recorded with every checkpoint, and by every process at the same steps: the one
        before the first of this process is that of the checkpoint it began with.
        """
        if self._steps is not None:
            before = [known for known in self._steps if known < step]
            self._earlier = self._steps[max(before)] if before else 0.0
            self._steps = None
        return self.seconds()

    def save(self) -> None:
        """Keep the time so far: what is done has just been saved."""
        self.run.event({"event": "saved", "stage": self.stage, "seconds": self.seconds()})
