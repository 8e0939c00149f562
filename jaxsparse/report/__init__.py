"""What a person sees of a grid: the table in the terminal, figures, and the report page. Reads records, never trains.

matplotlib and jinja2 are imported when a report is written, so that the command line starts without them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from csv import DictWriter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxsparse import records
from jaxsparse.report import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["print_results", "table", "write"]


def print_results(folder: Path, csv: bool = False) -> None:
    """Prints what every cell below a folder ended with: a table per grid, or all cells as CSV.

    Raises:
      InvalidInput: where there is no run.
    """
    if csv:
        found = records.results(folder)
        columns = [name for name in found.column_names if name != "cell"]
        writer = DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _plain(value) for name, value in row.items()} for row in found.to_pylist())
        return
    console = table.console()
    grids = sorted(path.parent for path in folder.rglob("grid.json")) or [folder]
    for grid in grids:
        if len(grids) > 1:
            console.print(str(grid), style="bold", markup=False, highlight=False)
        console.print(table.terminal(table.summarize(grid)))


def _plain(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula: folders may come from anybody."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def write(folder: Path, command: str, more: Sequence[Callable[[Path], Figure]] = ()) -> Path:
    """Draws the figures of a grid and writes its report page.

    Args:
      folder: of a grid; gets `figures/*.svg`, `figures/*.png` and `report.html`, each replaced as a whole.
      command: that repeats the grid, for the page.
      more: figures beside those that every grid has, from its folder.

    Returns:
      The page's path.

    Raises:
      InvalidInput: where there is no run.
    """
    from jaxsparse.report import gallery, page

    summary = table.summarize(folder)
    grid = page.Grid.read(folder)
    pictures = list(gallery.draw(gallery.Shown(folder, summary, grid.run.thresholds, grid.time), more))
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for picture in pictures:
        if picture.svg is not None and picture.png is not None:
            records.write_text(figures / f"{picture.name}.svg", picture.svg)
            records.write_bytes(figures / f"{picture.name}.png", picture.png)
    target = folder / "report.html"
    records.write_text(target, page.render(grid, summary, pictures, command, datetime.now().astimezone()))
    return target
