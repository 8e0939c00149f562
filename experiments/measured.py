"""What trainings ended with: the figures that tables and claims are computed from.

They are read from the records of the trainings, or from CSV files that were made of them: `measured/` has those that
the documentation shows, so that its claims can be followed without training anything. Every training is a row of
`SCALE.csv`; what is found in other ways (`Findings`) has a file of its own.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments.findings import Findings
from experiments.papers import Setting
from experiments.rows import COLUMNS, LISTS, NUMBERS, row
from experiments.scales import Scale
from experiments.studies import place
from jaxsparse import records
from jaxsparse.grid import Cell


class NotRun(Exception):
    """A training that is needed is not there."""


@dataclass(frozen=True)
class Measured:
    """Figures of trainings at one scale, by the place of each."""

    scale: Scale
    rows: dict[str, dict[str, Any]]
    findings: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """by name"""

    def of(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        """The rows of trainings; none where they are not all there or one did not end well."""
        found = [self.rows.get(place(cell), {}) for cell in cells]
        return found if all(run.get("status") == "done" for run in found) else []

    def runs(self, setting: Setting) -> list[dict[str, Any]]:
        """The rows of a setting, one a seed; see `of`."""
        return self.of(self.scale.cells(setting))

    def values(self, setting: Setting, metric: str) -> np.ndarray:
        """A figure of a setting, one a seed; none where an older version did not measure it."""
        runs = self.runs(setting)
        return np.asarray([run[metric] for run in runs] if all(metric in run for run in runs) else [], float)

    def cost(self, cells: Sequence[Cell]) -> str:
        """How many trainings, and the hours that those took which were measured, each on a device of its own."""
        known = [self.rows[place(cell)]["seconds"] for cell in cells if "seconds" in self.rows.get(place(cell), {})]
        took = f", {sum(known) / 3600:.2f} device-hours for {len(known)}" if known else ""
        return f"{len(cells)} trainings{took}"


def from_records(scale: Scale, root: Path, cells: Iterable[Cell], findings: Iterable[Findings] = ()) -> Measured:
    """The figures of those of the cells that have ended, and what else was found."""
    places = dict.fromkeys(place(cell) for cell in cells)
    rows = {name: row(root / name, name) for name in places if (root / name / "run.json").exists()}
    return Measured(scale, rows, {one.name: one.read(root) for one in findings})


def _said(value: Any) -> str:
    """A number with four digits that count; a list with spaces between."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(_said, value)) if isinstance(value, list) else "" if value is None else str(value)


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_said(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


def to_csv(measured: Measured, folder: Path, findings: Iterable[Findings] = ()) -> None:
    """Writes the figures of the trainings as `SCALE.csv`, and what else was found as `SCALE-NAME.csv`."""
    rows = [row for _, row in sorted(measured.rows.items())]
    records.write_text(folder / f"{measured.scale.name}.csv", _csv(COLUMNS, rows))
    for one in findings:
        if found := measured.findings.get(one.name):
            records.write_text(folder / f"{measured.scale.name}-{one.name}.csv", _csv(one.columns, found))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(text: str) -> int | float:
    """Whole numbers stay whole, so that what is read and written again keeps its digits."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _value(text: str) -> int | float | str | None:
    """A number where it is one, nothing where it is empty."""
    try:
        return _number(text) if text else None
    except ValueError:
        return text


def from_csv(scale: Scale, folder: Path, findings: Iterable[Findings] = ()) -> Measured:
    """What `to_csv` wrote; nothing where it did not."""
    rows: dict[str, dict[str, Any]] = {}
    for read in _read(folder / f"{scale.name}.csv"):
        numbers = {name: _number(read[name]) for name in ("seconds", *NUMBERS) if read.get(name)}
        lists = {name: [_number(value) for value in read[name].split()] for name in LISTS if read.get(name)}
        rows[read["place"]] = {"place": read["place"], "status": read["status"], **numbers, **lists}
    found = {
        one.name: [
            {name: _value(text) for name, text in read.items()}
            for read in _read(folder / f"{scale.name}-{one.name}.csv")
        ]
        for one in findings
    }
    return Measured(scale, rows, found)


def united(kept: Measured, new: Measured, cells: Iterable[Cell]) -> Measured:
    """What was kept of these cells, with what is new in its place or beside it.

    Findings that name a training's `place` follow it; others are about all of them, and new ones replace those kept.
    """
    places = {place(cell) for cell in cells}
    rows = {name: row for name, row in kept.rows.items() if name in places} | new.rows
    found = {name: _joined(kept.findings[name], rows, places) for name, rows in new.findings.items()}
    return Measured(new.scale, rows, found)


def _joined(
    kept: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], places: set[str]
) -> list[Mapping[str, Any]]:
    """New findings, and kept ones of trainings that there is nothing new of."""
    fresh = {row.get("place") for row in new}
    return [*new, *(row for row in kept if row.get("place") not in fresh and row.get("place") in {None, *places})]


def made_with(root: Path, places: Iterable[str]) -> set[str]:
    """Devices and versions that trainings were made with, each as JSON."""
    return {json.dumps(records.describe(root / name)["versions"], sort_keys=True) for name in places}


def kept_with(folder: Path, scale: Scale) -> set[str]:
    """The same of the kept figures."""
    path = folder / f"{scale.name}.json"
    read = json.loads(path.read_text(encoding="utf-8"))["made_with"] if path.exists() else []
    return {json.dumps(one, sort_keys=True) for one in read}


def write_provenance(folder: Path, scale: Scale, command: str, made_with: Iterable[str]) -> None:
    """Writes how figures were made beside them, as JSON: the command, and devices and versions."""
    said = {"command": command, "made_with": [json.loads(one) for one in sorted(made_with)]}
    records.write_text(folder / f"{scale.name}.json", json.dumps(said, indent=1) + "\n")


def devices(folder: Path, scale: Scale) -> str:
    """What the kept figures of a scale were made with; `-` where there are none."""
    made = [json.loads(one) for one in sorted(kept_with(folder, scale))]
    return ", ".join(dict.fromkeys(f"{one['device']}, {one['machine']}" for one in made)) or "-"
