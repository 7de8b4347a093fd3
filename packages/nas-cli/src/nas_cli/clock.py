"""How long a stage takes, over all processes that worked on it."""

import json
import time

from nas_cli.run import Run
from nas_spaces import InputError

__all__ = ["Clock"]


class Clock:
    """Seconds of one stage.

    They are kept in the run's events: states of a run that was killed and gone on with hold no time
    and are those of one that was not. What a killed process did behind what it had saved counts for
    nothing, since it is done again.

    Args:
        run: whose events they are.
        stage: its name there.

    Raises:
        InputError: a line of the events is damaged.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from types import SimpleNamespace
    >>> run = SimpleNamespace(path=Path(mkdtemp()))
    >>> line = '{"event": "saved", "stage": "search/main", "seconds": 100.0}'
    >>> written = (run.path / "events.jsonl").write_text(line)
    >>> Clock(run, "search/main").seconds() >= 100
    True
    """

    def __init__(self, run: Run, stage: str) -> None:
        self.run = run
        self.stage = stage
        self._at: dict[int, float] = {}
        self._earlier = 0.0
        path = run.path / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                event = json.loads(line)
                if event.get("stage") != stage or "seconds" not in event:
                    continue
                self._earlier = float(event["seconds"])
                if "step" in event:
                    self._at[int(event["step"])] = self._earlier  # of a repeated one the last
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(f"{path}, line {number} is malformed: {error!r}") from error
        self._begun = time.monotonic()

    def go_on(self, *, before: int) -> None:
        """Count from the last step that was recorded before a step on."""
        steps = [step for step in self._at if step < before]
        self._earlier = self._at[max(steps)] if steps else 0.0

    def seconds(self) -> float:
        """Return the time [s] so far."""
        return round(self._earlier + time.monotonic() - self._begun, 3)

    def save(self) -> None:
        """Keep the time so far: what is done has just been saved."""
        self.run.event({"event": "saved", "stage": self.stage, "seconds": self.seconds()})
