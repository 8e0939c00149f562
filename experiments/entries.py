"""An entry: what a table or figure of a paper needs trained, and the way to show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from experiments import papers, tables
from experiments.measured import Measured
from experiments.papers import Setting
from experiments.scales import Scale
from experiments.studies import place
from jaxsparse import records
from jaxsparse.grid import Cell
from jaxsparse.report import figures
from jaxsparse.report import table as style


@dataclass(frozen=True)
class Entry:
    """A table or figure of a paper, run again."""

    name: str
    title: str
    tables: tuple[str, ...] = ()
    """files in `papers/` that hold what is trained and what the paper found"""
    others: tuple[Setting, ...] = ()
    """what is trained besides"""
    draw: Callable[[Measured, Path], Figure] | None = None
    """from the figures of the trainings, and their folder"""

    def settings(self) -> list[Setting]:
        """What is trained."""
        found = [setting for table in self.tables for setting in papers.settings(table)]
        return list(dict.fromkeys([*found, *self.others]))

    def show(self, measured: Measured, root: Path) -> None:
        """Prints the table, and draws the figure into `root/figures`."""
        if self.tables:
            header, lines = tables.rows(measured, self.tables)
            style.console().print(
                tables.table(f"{self.name}: {self.title} ({measured.scale.name} scale)", header, lines)
            )
        if self.draw is not None:
            figure, path = self.draw(measured, root), root / "figures" / f"{self.name}.png"
            records.writable(path.parent)
            records.write_bytes(path, figures.png(figure))
            records.write_text(path.with_suffix(".svg"), figures.svg(figure))
            print(f"{self.name}: {self.title}: {path}")


def cells(entries: Sequence[Entry], scale: Scale) -> list[Cell]:
    """The trainings of several entries, each once."""
    settings = dict.fromkeys(setting for entry in entries for setting in entry.settings())
    return list({place(cell): cell for setting in settings for cell in scale.cells(setting)}.values())
