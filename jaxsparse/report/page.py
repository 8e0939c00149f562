"""The report page of a grid: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from jaxsparse import data, models, records
from jaxsparse.checks import require
from jaxsparse.config import Run
from jaxsparse.criteria import thresholds_of
from jaxsparse.data import Description
from jaxsparse.report import reading, table
from jaxsparse.report.gallery import Picture
from jaxsparse.report.table import Summary

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
class Grid:
    """What the page tells of a grid beside the table and the figures."""

    run: Run
    """of the first cell"""
    description: Description | None
    """of the data set; none where it is not known here"""
    declaration: Mapping[str, Any] | None
    cells: Sequence[Mapping[str, Any]]
    """rows of `records.results`, with the `message` of a failure"""
    constants: Mapping[str, str]
    """learning rate at the start and constants by optimizer"""
    versions: Sequence[Mapping[str, str]]
    """different ones among the cells"""
    monitored: bool = False
    """whether the cells are loops of a person's own (`jaxsparse.Monitor`), which tells how many steps they had"""

    @property
    def dataset(self) -> str:
        """What the data set is called."""
        return str(self.cells[0]["dataset"])

    @property
    def model(self) -> str:
        """What the network is called."""
        return str(self.cells[0]["model"])

    @property
    def is_embedded(self) -> bool:
        """Whether it is a network and a data set of this package, of which papers have larger ones."""
        return models.is_known(self.run.model) and self.description is not None and self.dataset == self.run.data

    @property
    def time(self) -> str:
        """What the epochs of its histories are."""
        return "step" if self.monitored else "epoch"

    @classmethod
    def read(cls, folder: Path) -> Grid:
        """Of a grid's folder.

        Raises:
          InvalidInput: where its runs are not below `cells`.
        """
        whole, _ = records.runs(folder / "cells")
        described = {path.name: found for path, found in whole.items() if path.parent == folder / "cells"}
        rows = records.results(folder).to_pylist()
        require({row["cell"] for row in rows} <= described.keys(), "dir", str(folder), "the folder of a grid")
        cells = [{**row, "message": described[row["cell"]]["message"]} for row in rows]
        run = records.run_of(next(iter(described.values())))
        known = data.describe(run.data) if data.is_known(run.data) else None
        versions = {tuple(found["versions"].items()): found["versions"] for found in described.values()}
        constants = {found["run"]["optimizer"]: _start(found) for found in described.values()}
        monitored = any(found.get("monitored", False) for found in described.values())
        return cls(run, known, table.declaration_of(folder), cells, constants, list(versions.values()), monitored)

    @property
    def minutes(self) -> float:
        """Training time of all cells together, each on one device."""
        return sum(cell["seconds"] for cell in self.cells) / 60

    @property
    def settings(self) -> dict[str, str]:
        """What all cells share and what they vary, as names and values."""
        ours = models.is_known(self.run.model)
        widths = models.widths_of(self.run.model, self.run.width, self.run.widths) if ours else ()
        thresholds = thresholds_of(self.run.thresholds)
        told = {
            "widths": " ".join(map(str, widths)) or "the network's own",
            "thresholds": ", ".join(f"{by.name} {table.number(value)}" for by, value in thresholds.items()),
        }
        skipped = ("data", "optimizer", "regularizer", "width", "run", "learning_rate", "constants")
        skipped += ("data_fingerprint", "rules")
        if self.monitored:
            return {"thresholds": told["thresholds"]}
        skipped += () if ours else models.OWN_SETTINGS
        found = {**asdict(self.run), **(self.declaration or {})}
        return {name: told.get(name, _text(value)) for name, value in found.items() if name not in skipped}


def _text(value: object) -> str:
    """A setting for a reader."""
    if value is None:
        return "the network's own"  # a head; or what targets want, a loss
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(own)}" for name, own in value.items())
    return table.number(value) if isinstance(value, float) else str(value)


def _start(described: Mapping[str, Any]) -> str:
    """Learning rate and constants of a `run.json`: `1e-3 (b1 0.9, b2 0.99, eps 1e-8)`"""
    if described.get("monitored"):
        return "its own loop's"
    constants = ", ".join(f"{name} {table.number(value)}" for name, value in described["constants"].items())
    return table.number(described["learning_rate"]) + (f" ({constants})" if constants else "")


def cell_text(name: str, value: object) -> str:
    """An entry of the table of cells."""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return table.PLACEHOLDER
    return table.number(value) if name in ("strength", "learning_rate") else f"{value:.1f}"


def _unbroken(text: str) -> str:
    """The text with its quantities kept on one line each."""
    return text.replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")


def render(grid: Grid, summary: Summary, pictures: Sequence[Picture], command: str, written: datetime) -> str:
    """The page as HTML.

    Args:
      grid: its settings and cells.
      summary: its table.
      pictures: its figures.
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
        reading=_unbroken(" ".join(reading.sentences(summary))),
        pictures=pictures,
        columns=UNITS,
        command=command,
        written=f"{written:%Y-%m-%d %H:%M}",
    )
