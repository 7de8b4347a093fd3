import io
import re

import pytest
from rich.console import Console

from nas_cli import progress


def console(**options):
    return Console(file=io.StringIO(), width=80, **options)


def test_without_a_terminal_there_are_few_lines(monkeypatch):
    # The clock: the stage begins at 0, the first news comes at 10, every other 10 s later.
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = console(force_terminal=False)
    with progress.stage(out, "supernet", 1000, "steps") as update:
        for done in range(600, 1001, 100):
            update(done, f"loss {done}")
    assert out.file.getvalue().splitlines() == [
        "supernet: 1,000 steps",
        # What was done before the first news is no measure of the speed: 100 steps in 10 s.
        "  700 of 1,000 steps, about 30 s left, loss 700",
        "  900 of 1,000 steps, about 10 s left, loss 900",
        "  done in 60.0 s, loss 1000",
    ]


def test_without_a_word_a_line_ends_with_the_time(monkeypatch):
    clock = iter(range(0, 1000, 100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = console(force_terminal=False)
    with progress.stage(out, "search", 4, "architectures") as update:
        update(1, "")
        update(2, "")
    assert out.file.getvalue().splitlines() == [
        "search: 4 architectures",
        "  2 of 4 architectures, about 200 s left",
        "  done in 300.0 s",
    ]


@pytest.mark.parametrize("title", ["supernet", "retrain random-5 (6 of 6)"])
def test_a_bar_fits_80_columns(title):
    out = console(force_terminal=True)
    with progress.stage(out, title, 20_000, "steps") as update:
        update(13_000, "loss 2.345")
    shown = re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", out.file.getvalue())
    last = [line for line in re.split(r"[\r\n]", shown) if line.strip()][-1]
    assert last.startswith(title)
    assert len(last) <= 80
    assert "13000/13000" in last
    assert "took" in last
    assert "loss 2.345" in last
    assert "…" not in last


def test_markup_in_names_is_shown_as_it_is():
    out = console(force_terminal=True)
    with progress.stage(out, "search [red]", 2, "architectures"):
        pass
    assert "[red]" in out.file.getvalue()


def test_an_error_passes_through():
    with pytest.raises(ZeroDivisionError), progress.stage(console(), "a", 1, "b"):
        raise ZeroDivisionError
