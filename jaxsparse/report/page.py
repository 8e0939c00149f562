"""The report page of a grid: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jaxsparse import data, records
from jaxsparse.config import Run
from jaxsparse.data import Description
from jaxsparse.report import reading, table
from jaxsparse.report.table import Summary

INK, PAPER = "#1c2126", "#fdfdfd"
"""Of text and background in `style.mplstyle`: the page's own colours take their place."""

UNITS: Mapping[str, str] = {
    "optimizer": "",
    "regularizer": "",
    "strength": "",
    "seed": "",
    "learning_rate": "at the start",
    "status": "",
    "epochs": "",
    "test_error": "%",
    "test_error_silenced": "%, dead units zeroed",
    "sparsity_scale": "%",
    "sparsity_activation": "%",
    "sparsity_norm": "%",
    "params": "",
    "params_alive": "without dead units",
    "seconds": "s",
}
"""Columns of the table of cells, with their units."""


@dataclass(frozen=True)
class Drawn:
    """A figure of the page."""

    name: str
    """of its files"""
    title: str
    caption: str
    svg: str | None
    """none: there was nothing to draw, and the caption says why"""

    @property
    def inline(self) -> Markup:
        """The figure as an element of the page, in the page's ink on its paper."""
        assert self.svg is not None
        element = self.svg[self.svg.index("<svg") :]
        return Markup(element.replace(INK, "currentColor").replace(PAPER, "var(--paper)"))  # matplotlib escapes texts


@dataclass(frozen=True)
class Grid:
    """What the page tells of a grid beside the table and the figures."""

    run: Run
    """of the first cell"""
    description: Description | None
    """of the data set; none where it is not known here"""
    declaration: Mapping[str, Any] | None
    cells: Sequence[Mapping[str, Any]]
    """rows of `records.results`, with the `message` of a failure"""
    versions: Sequence[Mapping[str, str]]
    """different ones among the cells"""

    @classmethod
    def read(cls, folder: Path) -> Grid:
        """Of a grid's folder."""
        described = {path.parent.name: records.describe(path.parent) for path in sorted(folder.glob("cells/*/run.json"))}
        cells = [{**row, "message": described[row["cell"]]["message"]} for row in records.results(folder).to_pylist()]
        run = records.run_of(next(iter(described.values())))
        known = data.describe(run.data) if run.data in data.names() else None
        versions = {tuple(found["versions"].items()): found["versions"] for found in described.values()}
        return cls(run, known, table.declaration_of(folder), cells, list(versions.values()))

    @property
    def minutes(self) -> float:
        """Training time of all cells together, each on one device."""
        return sum(cell["seconds"] for cell in self.cells) / 60

    @property
    def settings(self) -> dict[str, str]:
        """The declaration, or where there is none the first cell's run, as names and values."""
        declared = self.declaration or {"run": self.run.__dict__}
        varied = ("optimizer", "regularizer")
        static = {name: value for name, value in declared["run"].items() if name not in varied}
        return {name: _text(value) for name, value in {**static, **declared}.items() if name != "run"}


def _text(value: object) -> str:
    """A setting for a reader."""
    match value:
        case None | [] | () | "":
            return "default"
        case {}:
            return "default"
        case float():
            return table.number(value)
        case list() | tuple():
            return " ".join(map(_text, value))
        case Mapping():
            return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
        case _:
            return str(value)


def cell_text(name: str, value: object) -> str:
    """An entry of the table of cells."""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return table.PLACEHOLDER
    return table.number(value) if name in ("strength", "learning_rate") else f"{value:.1f}"


def render(grid: Grid, summary: Summary, figures: Sequence[Drawn], command: str, written: datetime) -> str:
    """The page as HTML.

    Args:
      grid: its settings and cells.
      summary: its table.
      figures: what was drawn.
      command: that repeats it.
      written: when.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        number=table.number, optimizer_label=table.optimizer_label, cell_text=cell_text, PLACEHOLDER=table.PLACEHOLDER
    )
    return environment.get_template("page.html").render(
        grid=grid,
        summary=summary,
        sentences=reading.sentences(summary),
        figures=figures,
        columns=UNITS,
        command=command,
        written=f"{written:%Y-%m-%d %H:%M}",
    )
