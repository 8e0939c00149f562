"""Trainings on disk: a folder for each network on each data set, in it a run for each cell.

Several tables share trainings: whoever comes first makes them, and nobody makes them twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from jaxsparse import grid
from jaxsparse.config import Run
from jaxsparse.grid import Cell, Start

SAME_IN_A_STUDY = ("optimizer", "regularizer", "convention", "nesterov")
"""Settings that the names of the cells tell."""
TOLD_OTHERWISE = ("data", "model", "measure_every", "milestones", "factor", "thresholds")
DEFAULTS = {field.name: field.default for field in fields(Run)}


def _said(value: object) -> str:
    return (
        ".".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def study(run: Run) -> str:
    """Name of the study that a run belongs to: data, network, and what differs from the defaults of `Run`."""
    differing = [
        f"{name.replace('_', '')}{_said(getattr(run, name))}"
        for name, default in DEFAULTS.items()
        if name not in (*SAME_IN_A_STUDY, *TOLD_OTHERWISE) and getattr(run, name) != default
    ]
    return "-".join([run.data, run.model, *differing])


def place(cell: Cell) -> str:
    """Path of a cell below the folder of all studies."""
    return f"{study(cell.run)}/{cell.name}"


def train(cells: Sequence[Cell], root: Path) -> Iterator[grid.Progress]:
    """Trains what is not there yet, study after study, and tells how it goes; what starts from the weights of others,
    whose places its `start` names, after them."""
    names = {name: number for number, name in enumerate(dict.fromkeys(study(cell.run) for cell in cells))}
    runs = {run: number for number, run in enumerate(dict.fromkeys(cell.run for cell in cells))}
    ordered = sorted(cells, key=lambda cell: (names[study(cell.run)], runs[cell.run]))
    first = [cell for cell in ordered if cell.start is None]
    then = [replace(cell, start=Start(root / cell.start.path)) for cell in ordered if cell.start is not None]
    for before, some in ((0, first), (len(first), then)):
        for progress in grid.train_all([grid.Job(cell, root / study(cell.run)) for cell in some]):
            yield replace(progress, finished=before + progress.finished, cells=len(cells))
