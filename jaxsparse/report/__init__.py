"""What a person sees of a grid: the table in the terminal, the figures, and the report page. Reads records, never trains.

matplotlib and jinja2 are imported when a report is written, so that the command line starts without them.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import pyarrow.csv
from rich.console import Console

from jaxsparse import records
from jaxsparse.report import table

__all__ = ["print_results", "table", "write"]


def print_results(folder: Path, csv: bool = False) -> None:
    """Prints what every cell below a folder ended with: a table per grid, or all cells as CSV.

    Raises:
      InvalidInput: where there is no run.
    """
    if csv:
        pyarrow.csv.write_csv(records.results(folder).select(records.COLUMNS), sys.stdout.buffer)
        return
    console = Console()
    grids = sorted(path.parent for path in folder.rglob("grid.json")) or [folder]
    for grid in grids:
        if len(grids) > 1:
            console.print(str(grid), style="bold", markup=False, highlight=False)
        console.print(table.terminal(table.summarize(grid)))


def write(folder: Path, command: str) -> Path:
    """Draws the figures of a grid and writes its report page.

    Args:
      folder: of a grid; gets `figures/*.svg`, `figures/*.png` and `report.html`, each replaced as a whole.
      command: that repeats the grid, for the page.

    Returns:
      The page's path.

    Raises:
      InvalidInput: where there is no run.
    """
    from jaxsparse.report import gallery, page

    summary = table.summarize(folder)
    grid = page.Grid.read(folder)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    drawn = []
    for figure in gallery.draw(folder, summary, grid.run.thresholds):
        drawn.append(figure.drawn)
    target = folder / "report.html"
    records.write_text(target, page.render(grid, summary, drawn, command, datetime.now().astimezone()))
    return target
