"""What the figures draw beyond the table, read from a grid's records: how sparsity and scales went during training.

Cells that failed or diverged are left out everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jaxsparse import records
from jaxsparse.criteria import CRITERIA
from jaxsparse.report.table import Column, Estimate, Summary, column_of

Key = tuple[str, Column]
"""An entry of the table: optimizer and column."""

MAGNITUDES: Mapping[str, str] = {criterion.name: criterion.column for criterion in CRITERIA}
"""The column of a history that a criterion looks at."""


@dataclass(frozen=True)
class Course:
    """Percent of dead units over training; arrays are `[points]`."""

    epochs: np.ndarray
    mean: np.ndarray
    """over seeds"""
    deviation: np.ndarray
    """sample standard deviation over seeds; 0 where there is one seed"""


@dataclass(frozen=True)
class Evolution:
    """Scale and shift of every hidden unit over training, the units of all seeds side by side."""

    label: str
    """`Adam + L2 1e-3`"""
    seeds: int
    epochs: np.ndarray
    """`[points]`"""
    gamma: np.ndarray
    """`[points, units of all seeds]`"""
    beta: np.ndarray
    """`[points, units of all seeds]`"""


def _done(table: pa.Table) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["status"] == "done"]


def _estimate(values: list[float]) -> tuple[float, float]:
    estimate = Estimate.of(values)
    return (float("nan"), 0.0) if estimate is None else (estimate.mean, estimate.deviation or 0.0)


def courses(folder: Path, criterion: str = "scale") -> dict[Key, Course]:
    """Sparsity by a criterion over training of every optimizer under every regularizer that has a finished cell.

    An epoch's mean is over the seeds that were measured there.
    """
    sparsity = f"sparsity_{criterion}"
    rows = _done(records.history(folder, ("optimizer", "regularizer", "strength", "status", sparsity)))
    measured: dict[Key, dict[int, list[float]]] = {}
    for row in rows:
        by_epoch = measured.setdefault((row["optimizer"], column_of(row)), {})
        by_epoch.setdefault(row["epochs"], []).append(row[sparsity])

    def course(by_epoch: Mapping[int, list[float]]) -> Course:
        epochs = sorted(by_epoch)
        mean, deviation = np.transpose([_estimate(by_epoch[epoch]) for epoch in epochs])
        return Course(np.asarray(epochs), mean, deviation)

    return {key: course(by_epoch) for key, by_epoch in measured.items()}


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A list column with lists of equal length as `[rows, length]`."""
    return np.stack(column.to_numpy())


def evolution(folder: Path, summary: Summary, key: Key) -> Evolution | None:
    """Scales and shifts over training of an optimizer under a regularizer; none where no cell of it is done."""
    entry = summary.find(*key)
    if entry is None or not entry.done:
        return None
    cells = [row["cell"] for row in _done(records.results(folder)) if (row["optimizer"], column_of(row)) == key]
    tables = [records.history(folder / "cells" / cell, ("gamma", "beta")) for cell in cells]
    gamma, beta = (np.concatenate([_matrix(table[name]) for table in tables], axis=1) for name in ("gamma", "beta"))
    return Evolution(entry.label, len(cells), tables[0]["epochs"].to_numpy(), gamma, beta)


def adam_beside_sgd(folder: Path, summary: Summary) -> tuple[Evolution, Evolution] | None:
    """Adam and SGD under the strongest coupled L2 with which both have a finished cell; none where there is no such, or
    where the networks have no scales."""
    if summary.criterion != "scale":
        return None
    columns = [column for column in summary.layout.columns if column.regularizer == "l2"]
    for column in sorted(columns, key=lambda column: -column.strength):
        adam, sgd = (evolution(folder, summary, (name, column)) for name in ("adam", "sgd"))
        if adam is not None and sgd is not None:
            return adam, sgd
    return None


@dataclass(frozen=True)
class Layers:
    """Percent of dead units per layer at the end of training; arrays are `[layers]`."""

    names: tuple[str, ...]
    mean: Mapping[Key, np.ndarray]
    """over seeds"""


def layers(folder: Path, threshold: float, criterion: str = "scale") -> Layers | None:
    """Sparsity of each layer by scale or norm; none where networks have one layer or no cell is done."""
    ended = _done(records.results(folder))
    if not ended:
        return None
    first = records.history(folder / "cells" / ended[0]["cell"], ("layers", "layer_units"))
    names, sizes = first["layers"][0].as_py(), first["layer_units"][0].as_py()
    if len(names) < 2:
        return None
    last = {row["cell"]: row["epochs"] for row in ended}
    magnitude = MAGNITUDES[criterion]
    table = records.history(folder, ("optimizer", "regularizer", "strength", magnitude))
    places = zip(table["cell"].to_pylist(), table["epochs"].to_pylist(), strict=True)
    table = table.filter(pa.array([last.get(cell) == epochs for cell, epochs in places]))
    dead = np.abs(_matrix(table[magnitude])) < threshold
    percent = 100 * np.stack([part.mean(1) for part in np.split(dead, np.cumsum(sizes)[:-1], axis=1)], axis=1)
    keys = [(row["optimizer"], column_of(row)) for row in table.drop_columns(magnitude).to_pylist()]
    mean = {key: percent[[other == key for other in keys]].mean(0) for key in dict.fromkeys(keys)}
    return Layers(tuple(names), mean)
