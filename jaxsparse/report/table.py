"""The table of a grid: an optimizer per row, a regularizer with its strength per column, means over seeds as entries.

    summary = summarize(folder)      # reads the records
    terminal(summary)                # rich.table.Table
    markdown(summary)                # for a README
                                     # HTML: page.html, from the same `Summary`

Cells that failed or diverged are counted and never enter a mean.
"""

from __future__ import annotations

import io
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxsparse import records
from jaxsparse.checks import require
from jaxsparse.criteria import DECIDING, primary
from jaxsparse.files import declared
from jaxsparse.grid import Declaration
from jaxsparse.rules import KNOWN

REGULARIZERS: Mapping[str, str] = {
    "none": "none",
    "l2": "L2",
    "wd": "WD",
    "wd-lr": "AdamW's WD",
    "wd-cautious": "cautious WD",
    "wd-to-start": "WD to the start",
    "spred": "L2 of factors",
    "bn-l1": "L1 of scales",
    "group-lasso": "group lasso",
    "proximal-group-lasso": "proximal group lasso",
}
"""How a form of regularizer is written in a text."""

WIDTH = 120
"""Columns of the output where there is no terminal that says how many it has."""

PLACEHOLDER = "·"
"""Of what is not known yet, or never will be."""


def number(value: float) -> str:
    """A strength or threshold as short as it gets: 1e-3, 0.5, 2e-12."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def percent(value: float) -> str:
    """A percentage without its sign, one decimal: 0, <0.1, 38.5."""
    if value == 0:
        return "0"
    return "<0.1" if 0 < value < 0.05 else f"{value:.1f}"


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds with the sample standard deviation, in percent."""

    mean: float
    deviation: float | None
    """none where there is one seed"""
    count: int
    """seeds"""

    @classmethod
    def of(cls, values: Iterable[float]) -> Estimate | None:
        """Of the finite values; none without any."""
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return None
        return cls(statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else None, len(finite))

    def __str__(self) -> str:
        if self.deviation is None or self.mean == 0:
            return percent(self.mean)
        return f"{percent(self.mean)} ± {self.deviation:.1f}"


@dataclass(frozen=True)
class Column:
    """A regularizer with its strength."""

    regularizer: str
    strength: float

    @property
    def form(self) -> str:
        """The regularizer as it is written in a text."""
        return REGULARIZERS.get(self.regularizer, self.regularizer)

    @property
    def label(self) -> str:
        """`L2 1e-3`"""
        return self.form if self.regularizer == "none" else f"{self.form} {number(self.strength)}"


@dataclass(frozen=True)
class Entry:
    """What became of the cells of one optimizer under one regularizer."""

    optimizer: str
    column: Column
    expected: int
    """cells that were declared"""
    done: int
    failed: int
    diverged: int
    test_error: Estimate | None
    """percent, of the cells that are done"""
    sparsity: Mapping[str, Estimate]
    """percent of dead units by criterion, of the cells that are done; without the criteria that do not apply"""

    @property
    def label(self) -> str:
        """`Adam + L2 1e-3`"""
        name = optimizer_label(self.optimizer)
        return name if self.column.regularizer == "none" else f"{name} + {self.column.label}"

    @property
    def dead(self) -> Estimate | None:
        """Percent of units that are dead by scale; in networks without scales, by norm."""
        return primary(self.sparsity)

    @property
    def ended(self) -> int:
        """Cells that ended, well or not."""
        return self.done + self.failed + self.diverged

    @property
    def notes(self) -> tuple[str, ...]:
        """How many cells are behind the entry, where they are not all of them."""
        if self.done == self.expected:
            return ()
        bad = [f"{count} {status}" for status, count in (("failed", self.failed), ("diverged", self.diverged)) if count]
        return (f"{self.done} of {self.expected} done", *bad)


@dataclass(frozen=True)
class Layout:
    """Rows and columns of the table, and how many seeds each entry should have."""

    optimizers: tuple[str, ...]
    columns: tuple[Column, ...]
    seeds: int

    @classmethod
    def declared(cls, declaration: Mapping[str, Any]) -> Layout:
        """Of a `grid.json`, in the declared order."""
        columns = [
            Column(regularizer, float(strength))
            for regularizer in declaration["regularizers"]
            for strength in ([0.0] if regularizer == "none" else declaration["strengths"])
        ]
        return cls(tuple(declaration["optimizers"]), tuple(columns), len(declaration["seeds"]))

    @classmethod
    def found(cls, rows: Sequence[Mapping[str, Any]]) -> Layout:
        """Of the cells that are there."""
        columns = sorted(
            {column_of(row) for row in rows}, key=lambda c: (c.regularizer != "none", c.regularizer, c.strength)
        )
        seeds = Counter((row["optimizer"], column_of(row)) for row in rows)
        return cls(tuple(dict.fromkeys(row["optimizer"] for row in rows)), tuple(columns), max(seeds.values()))


@dataclass(frozen=True)
class Summary:
    """The table: `entries` holds a row per optimizer, a column per regularizer and strength, in the layout's order."""

    layout: Layout
    entries: tuple[tuple[Entry, ...], ...]
    devices: tuple[str, ...] = ()
    """that its cells were trained on"""

    @property
    def flat(self) -> tuple[Entry, ...]:
        """Every entry, row by row."""
        return tuple(entry for row in self.entries for entry in row)

    @property
    def criterion(self) -> str:
        """What a unit is dead by: the first of the criteria that decide which all entries have."""
        every = [entry.sparsity for entry in self.flat if entry.sparsity]
        return next(by.name for by in DECIDING if by is DECIDING[-1] or all(by.name in found for found in every))

    @property
    def is_empty(self) -> bool:
        """Whether no cell has ended."""
        return not any(entry.ended for entry in self.flat)

    def __str__(self) -> str:
        """The table as it is printed in a terminal, without colours."""
        text = io.StringIO()
        Console(file=text, width=WIDTH).print(terminal(self))
        return text.getvalue()

    def _repr_markdown_(self) -> str:
        """The same, for notebooks."""
        return markdown(self)

    def find(self, optimizer: str, column: Column) -> Entry | None:
        """The entry of an optimizer under a regularizer."""
        return next((entry for entry in self.flat if (entry.optimizer, entry.column) == (optimizer, column)), None)


def optimizer_label(name: str) -> str:
    """An optimizer as it is written in a text."""
    rule = KNOWN.get(name)
    return name if rule is None else rule.label


def column_of(row: Mapping[str, Any]) -> Column:
    """The column that a row of `records.results` or `records.history` belongs to."""
    return Column(row["regularizer"], row["strength"])


def declaration_of(folder: Path) -> dict[str, Any] | None:
    """The `grid.json` of a grid's folder; none where there is none.

    Raises:
      InvalidInput: where it can't be read.
    """
    path = folder / "grid.json"
    if not path.exists():
        return None
    return declared(path, "dir")


SPARSITY, NO_CRITERION = "sparsity_", ("sparsity_weights", "sparsity_flops")
"""What columns of criteria begin with, and those that begin so but are of weights."""


def _entry(optimizer: str, column: Column, seeds: int, rows: Sequence[Mapping[str, Any]]) -> Entry:
    status = Counter(row["status"] for row in rows)
    done = [row for row in rows if row["status"] == "done"]
    names = [name for name in (rows[0] if rows else ()) if name.startswith(SPARSITY) and name not in NO_CRITERION]
    found = {name: Estimate.of(row[name] for row in done if row[name] is not None) for name in names}
    estimates = {name.removeprefix(SPARSITY): estimate for name, estimate in found.items()}
    return Entry(
        optimizer,
        column,
        expected=max(seeds, len(rows)),
        done=status["done"],
        failed=status["failed"],
        diverged=status["diverged"],
        test_error=Estimate.of(row["test_error"] for row in done),
        sparsity={criterion: estimate for criterion, estimate in estimates.items() if estimate is not None},
    )


def summary_of(rows: Sequence[Mapping[str, Any]], layout: Layout) -> Summary:
    """The table of cells given as rows with the columns of `records.results`."""
    cells: dict[tuple[str, Column], list[Mapping[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["optimizer"], column_of(row)), []).append(row)
    entries = tuple(
        tuple(_entry(name, column, layout.seeds, cells.get((name, column), [])) for column in layout.columns)
        for name in layout.optimizers
    )
    devices = dict.fromkeys(row["device"] for row in rows if row.get("device"))
    return Summary(layout, entries, tuple(devices))


def empty(declaration: Declaration) -> Summary:
    """The table of a grid before its first cell ended."""
    return summary_of([], Layout.declared(declaration.declared))


def summarize(folder: Path) -> Summary:
    """The table of the grid in a folder.

    Raises:
      InvalidInput: where there is no run, or the runs differ in more than optimizer, regularizer, strength and seed.
    """
    rows = records.results(folder).to_pylist()
    kinds = {(row["dataset"], row["model"], row["convention"]) for row in rows}
    cells = {(row["optimizer"], column_of(row), row["seed"]) for row in rows}
    alike = len(kinds) == 1 and len(cells) == len(rows)
    require(alike, "dir", str(folder), "the folder of one grid: one data set, network and convention, each cell once")
    _require_one_origin(rows, folder)
    declaration = declaration_of(folder)
    return summary_of(rows, Layout.found(rows) if declaration is None else Layout.declared(declaration))


def _require_one_origin(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Raises `InvalidInput` for cells that share name and settings of their data, but not the images, or that other
    versions of the update rules trained; records of early versions do not tell the former, and have version 1."""
    images = {row["data_fingerprint"] for row in rows} - {None}
    rules = {1 if row["rules"] is None else int(row["rules"]) for row in rows}
    require(len(images) <= 1, "dir", str(folder), f"a grid of cells that had the same images of {rows[0]['dataset']}")
    require(len(rules) == 1, "dir", str(folder), "a grid of cells that one version of the update rules trained")


def _bar(value: float) -> str:
    """One character whose height is the percentage."""
    return " ▁▂▃▄▅▆▇█"[min(8, math.ceil(value / 12.5))]


def _terminal_sparsity(entry: Entry) -> Text:
    if entry.dead is None:
        return Text(PLACEHOLDER, "dim")
    if entry.dead.mean == 0:
        return Text("0", "dim")
    style = "bold reverse" if entry.dead.mean >= 10 else "bold"
    return Text.assemble((_bar(entry.dead.mean), "cyan"), " ", (str(entry.dead), style))


def _terminal_error(entry: Entry) -> Text:
    return Text(PLACEHOLDER, "dim") if entry.test_error is None else Text(str(entry.test_error))


def _terminal_notes(entry: Entry) -> Text:
    return Text("\n".join(entry.notes) if entry.ended else "", "dim yellow")


class _Console(Console):
    """One that leaves it to the command what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        raise


def console() -> Console:
    """Where the table is printed: as wide as the terminal, or where there is none (a log, a pipe), wide enough."""
    return _Console(width=None if sys.stdout.isatty() else WIDTH)


def terminal(summary: Summary) -> Table:
    """The table for a terminal 100 columns wide; entries without a finished cell show a dim placeholder."""
    meaning = next(by.meaning for by in DECIDING if by.name == summary.criterion)
    caption = f"dead: {meaning}; error: test set; mean ± sample deviation over seeds"
    caption += f"; trained on {', '.join(summary.devices)}" if summary.devices else ""
    table = Table(box=box.HORIZONTALS, caption=caption)
    table.add_column("optimizer", no_wrap=True)
    table.add_column("%", style="dim", no_wrap=True)
    for column in summary.layout.columns:
        table.add_column(Text(column.label), justify="right")
    for name, row in zip(summary.layout.optimizers, summary.entries, strict=True):
        partial = any(entry.ended and entry.notes for entry in row)
        table.add_row(Text(optimizer_label(name), "bold"), "dead", *map(_terminal_sparsity, row))
        table.add_row("", "error", *map(_terminal_error, row))
        if partial:
            table.add_row("", "cells", *map(_terminal_notes, row))
    return table


def _markdown_entry(entry: Entry) -> str:
    if entry.dead is None and entry.test_error is None:
        return ", ".join(entry.notes) or PLACEHOLDER
    dead = PLACEHOLDER if entry.dead is None else str(entry.dead) if entry.dead.mean == 0 else f"**{entry.dead}**"
    return f"{dead} ({entry.test_error})" + (f" [{', '.join(entry.notes)}]" if entry.notes else "")


def markdown(summary: Summary) -> str:
    """The table for a README: dead units, and in parentheses the test error, both in percent."""
    rows = [
        ["", *(column.label for column in summary.layout.columns)],
        ["---", *("---:" for _ in summary.layout.columns)],
        *(
            [optimizer_label(name), *map(_markdown_entry, row)]
            for name, row in zip(summary.layout.optimizers, summary.entries, strict=True)
        ),
    ]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
