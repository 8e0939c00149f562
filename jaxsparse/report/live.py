"""What a person sees while a grid trains: cells done, time left, and the table filling in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jaxsparse import grid
from jaxsparse.report import table

QUIET_SECONDS = 15.0
"""Between two lines where the output is no terminal."""


def seconds_left(progress: grid.Progress, started_with: int) -> float | None:
    """Estimate from the cells trained since the start; none before the first has got anywhere."""
    trained = progress.finished - started_with + progress.share * len(progress.current)
    if trained <= 0 or progress.training <= 0:
        return None
    return progress.training / trained * (progress.cells - started_with - trained)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02} left"


def follow(steps: Iterable[grid.Progress], declaration: grid.Declaration, folder: Path) -> None:
    """Runs a grid to its end, showing how it goes, and the final table."""
    console, unused = table.console(), grid.unused()
    if unused:
        console.print(f"warning: {unused}", style="yellow", markup=False, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
    )
    task = bar.add_task("compiling", total=None, left="")
    summary = table.empty(declaration)
    begun = told = time.monotonic()
    started_with: int | None = None
    here = 0
    last: grid.Progress | None = None
    # A notebook is no terminal: there rich wants ipywidgets, and warns where they are not installed.
    screen = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
    with screen or nullcontext():
        for last in steps:
            started_with = last.finished if started_with is None else started_with
            here += len(last.ended)
            left = _clock(seconds_left(last, started_with))
            names = " ".join(cell.name for cell in last.current) or "compiling"
            done = last.finished + last.share * len(last.current)
            bar.update(task, description=names, total=last.cells, completed=done, left=left)
            if screen is not None:
                if last.finished and (last.ended or summary.is_empty):
                    summary = table.summarize(folder)
                screen.update(Group(table.terminal(summary), bar))
            elif time.monotonic() - told > QUIET_SECONDS:
                told = time.monotonic()
                console.print(f"{last.finished} of {last.cells} cells  {left}", highlight=False)
    assert last is not None
    console.print(table.terminal(table.summarize(folder)))
    wall = time.monotonic() - begun
    share = f", {100 * last.training / wall:.0f} % of {wall:.0f} s" if last.training else ""
    times = f"training {last.training:.0f} s{share}; compiling {last.compiling:.0f} s"
    console.print(f"{last.finished} of {last.cells} cells, {here} trained here; {times}", highlight=False)
