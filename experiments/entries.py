"""An entry: what a table or figure of a paper needs trained, and the way to show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from experiments.findings import Findings
from experiments.measured import Measured
from experiments.scales import Scale
from experiments.studies import place
from jaxsparse import records
from jaxsparse.grid import Cell
from jaxsparse.report import figures


@dataclass(frozen=True)
class Entry:
    """A table or figure of a paper, run again: `cells` are trained, `follow` goes on from them, `show` tells."""

    name: str
    title: str
    show: Callable[[Measured, Path], None]
    """prints a table, or draws a figure, from the figures of the trainings and the folder of them all"""
    cells: Callable[[Scale], Sequence[Cell]] = lambda scale: ()
    """what is trained"""
    follow: Callable[[Scale, Path], None] = lambda scale, root: None
    """computes from the trained networks what is missing of the findings, and keeps it in the folder"""
    findings: tuple[Findings, ...] = ()
    """where to read what `follow` kept"""
    on_mlp: bool = False
    """whether it is one of the scale `mlp` too, which has no convolutions"""
    figures_only: bool = False
    """whether it asks for the figures of its trainings alone, not for networks or histories"""


def save(figure: Figure, root: Path, paper: str, entry: str, title: str) -> None:
    """Writes a figure as `root/figures/PAPER/ENTRY.png` and `.svg`, and says so."""
    path = root / "figures" / paper / f"{entry}.png"
    records.writable(path.parent)
    records.write_bytes(path, figures.png(figure))
    records.write_text(path.with_suffix(".svg"), figures.svg(figure))
    print(f"{entry}: {title}: {path}")


def drawn(
    paper: str,
    name: str,
    title: str,
    draw: Callable[[Measured, Path], Figure],
    cells: Callable[[Scale], Sequence[Cell]] = lambda scale: (),
) -> Entry:
    """An entry that is a figure."""

    def show(measured: Measured, root: Path) -> None:
        save(draw(measured, root), root, paper, name, title)

    return Entry(name, title, show, cells)


def cells(entries: Sequence[Entry], scale: Scale) -> list[Cell]:
    """The trainings of several entries, each once."""
    return list({place(cell): cell for entry in entries for cell in entry.cells(scale)}.values())


def findings(entries: Sequence[Entry]) -> list[Findings]:
    """What several entries find besides, each once."""
    return list({one.name: one for entry in entries for one in entry.findings}.values())
