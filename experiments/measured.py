"""What trainings ended with, a row each: the figures that tables and claims are computed from.

The rows are read from the records of the trainings, or from a CSV file that was made of them: `measured/` has those
that the README shows, so that its claims can be followed without training anything.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from flax import nnx

from experiments.papers import Setting
from experiments.scales import Scale
from experiments.studies import place
from jaxsparse import data, export, layers, models, records, selectivity
from jaxsparse.config import Thresholds
from jaxsparse.grid import Cell

LOOSE = Thresholds(scale=1e-2, activation=1e-4)
"""The second pair of thresholds of Mehta et al. 2019, section 2.1."""
SELECTIVITY = "selectivity.parquet"
DECAY = "decay"
"""Folder of `jaxsparse decay` among those of the trainings."""

NUMBERS = (
    *("epochs", "steps", "train_loss", "test_loss", "test_error", "test_error_silenced"),
    *("sparsity_scale", "sparsity_activation", "sparsity_scale_loose", "sparsity_activation_loose"),
    *("units", "dead_units", "conv_params", "conv_params_pruned"),
)
"""Columns that hold a number: errors, sparsities and `conv_params_pruned` in percent."""
LISTS = (
    *("layer_units", "layer_dead", "layer_beta_positive", "layer_gamma_negative"),
    *("layer_universality", "layer_universality_alive", "layer_universality_zero", "layer_active_over_half"),
    *("unit_dead", "unit_universality"),
)
"""Columns that hold a number per layer (in percent, but for the units), or per unit of all layers."""
COLUMNS = ("place", "status", "seconds", *NUMBERS, *LISTS)


_dataset = lru_cache(maxsize=2)(data.load)


@partial(jax.jit, static_argnames=("graph", "only", "activation"))
def _observed(
    graph: Any, state: Any, dataset: data.Dataset, only: str, activation: layers.Activation
) -> dict[str, Any]:
    return selectivity.observe(nnx.merge(graph, state), dataset, only, activation)


def selectivities(folder: Path) -> dict[str, list[np.ndarray]]:
    """Universality and active share of the units of each layer of a run; measured and kept there where missing."""
    path = folder / SELECTIVITY
    if not path.exists():
        run = records.run_of(records.describe(folder))
        graph, state = nnx.split(export.load(folder))
        found = _observed(graph, state, _dataset(run.data), models.features_of(run.model), models.activation_of(run))
        table = pa.table(
            {
                "layer": list(found),
                "universality": [np.asarray(layer.universality).tolist() for layer in found.values()],
                "active": [np.asarray(layer.active).tolist() for layer in found.values()],
            }
        )
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink)
        records.write_bytes(path, sink.getvalue().to_pybytes())
    read = pyarrow.parquet.read_table(path)
    return {name: [np.asarray(values) for values in read[name].to_pylist()] for name in ("universality", "active")}


def _percent(masks: Iterable[np.ndarray]) -> list[float]:
    return [100.0 * float(np.mean(mask)) if len(mask) else float("nan") for mask in masks]


def _pruned(kernels: Sequence[tuple[int, ...]], dead: Sequence[np.ndarray]) -> tuple[int, float]:
    """Weights of the convolutions, and the percentage that goes with dead channels, be they read or written."""
    sizes = [int(np.prod(shape)) for shape in kernels]
    alive_in = [1.0, *(1 - np.mean(mask) for mask in dead[:-1])]
    kept = [size * (1 - np.mean(mask)) * before for size, mask, before in zip(sizes, dead, alive_in, strict=True)]
    return sum(sizes), 100.0 * (1 - float(sum(kept)) / sum(sizes))


def row(folder: Path, place: str) -> dict[str, Any]:
    """The figures of a run that ended: `COLUMNS`."""
    described = records.describe(folder)
    common = {"place": place, "status": described["status"], "seconds": described["seconds"]}
    last = pyarrow.parquet.read_table(folder / "history.parquet").to_pylist()[-1]
    if described["status"] == "failed":
        return common
    ends = np.cumsum(last["layer_units"])[:-1]
    gamma, beta, activation = (np.split(np.asarray(last[name]), ends) for name in ("gamma", "beta", "activation"))
    run = records.run_of(described)
    dead = [np.abs(layer) < run.thresholds.scale for layer in gamma]
    seen = selectivities(folder)
    shapes = {name: value.shape for name, value in records.weights(folder).items()}
    kernels = [shapes[f"{layer}/linear/kernel"] for layer in last["layers"]]
    weights, pruned = _pruned(kernels, dead)
    every = np.concatenate(dead)
    universality = seen["universality"]
    return {
        **common,
        **{name: last[name] for name in NUMBERS if name in last},
        "sparsity_scale_loose": _percent([np.abs(np.concatenate(gamma)) < LOOSE.scale])[0],
        "sparsity_activation_loose": _percent([np.concatenate(activation) <= LOOSE.activation])[0],
        "units": len(every),
        "dead_units": int(every.sum()),
        "conv_params": weights,
        "conv_params_pruned": pruned,
        "layer_units": last["layer_units"],
        "layer_dead": _percent(dead),
        "layer_beta_positive": _percent(layer > 0 for layer in beta),
        "layer_gamma_negative": _percent(layer < 0 for layer in gamma),
        "layer_universality": [float(np.mean(layer)) for layer in universality],
        "layer_universality_alive": [
            float(np.mean(layer[~mask])) if (~mask).any() else float("nan")
            for layer, mask in zip(universality, dead, strict=True)
        ],
        "layer_universality_zero": _percent(layer == 0 for layer in universality),
        "layer_active_over_half": _percent(layer > 50 for layer in seen["active"]),
        "unit_dead": [int(flag) for flag in every],
        "unit_universality": [float(value) for value in np.concatenate(universality)],
    }


@dataclass(frozen=True)
class Measured:
    """Figures of trainings at one scale, by the place of each."""

    scale: Scale
    rows: dict[str, dict[str, Any]]
    weights: Sequence[Mapping[str, Any]] = ()
    """outcomes of single weights, as in `decay-outcomes.parquet` of `jaxsparse decay`; they have no scale"""

    def runs(self, setting: Setting) -> list[dict[str, Any]]:
        """Those of a setting, one a seed; none where they are not all there or one did not end well."""
        found = [self.rows.get(place(cell), {}) for cell in self.scale.cells(setting)]
        return found if all(run.get("status") == "done" for run in found) else []

    def values(self, setting: Setting, metric: str) -> np.ndarray:
        """A figure of a setting, one a seed."""
        return np.asarray([run[metric] for run in self.runs(setting)], float)


def from_records(scale: Scale, root: Path, cells: Iterable[Cell]) -> Measured:
    """The figures of those of the cells that have ended."""
    places = dict.fromkeys(place(cell) for cell in cells)
    rows = {name: row(root / name, name) for name in places if (root / name / "run.json").exists()}
    simulated = root / DECAY / "decay-outcomes.parquet"
    return Measured(scale, rows, pyarrow.parquet.read_table(simulated).to_pylist() if simulated.exists() else ())


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


def to_csv(measured: Measured, folder: Path) -> None:
    """Writes the figures of the trainings as `SCALE.csv`, and of single weights as `SCALE-decay.csv`."""
    rows = [row for _, row in sorted(measured.rows.items())]
    records.write_text(folder / f"{measured.scale.name}.csv", _csv(COLUMNS, rows))
    if measured.weights:
        wanted = ("optimizer", "regularizer", "strength", "seed", "steps_to_0.001", "final", "amplitude")
        records.write_text(folder / f"{measured.scale.name}-decay.csv", _csv(wanted, measured.weights))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def from_csv(scale: Scale, folder: Path) -> Measured:
    """What `to_csv` wrote; nothing where it did not."""
    found: dict[str, dict[str, Any]] = {}
    for read in _read(folder / f"{scale.name}.csv"):
        numbers = {name: float(read[name]) for name in ("seconds", *NUMBERS) if read[name]}
        lists = {name: [float(value) for value in read[name].split()] for name in LISTS if read[name]}
        found[read["place"]] = {"place": read["place"], "status": read["status"], **numbers, **lists}
    names = ("optimizer", "regularizer")
    weights = [
        {name: value if name in names else float(value) if value else None for name, value in read.items()}
        for read in _read(folder / f"{scale.name}-decay.csv")
    ]
    return Measured(scale, found, weights)


def provenance(root: Path, places: Iterable[str], command: str) -> str:
    """The command that made the figures and the devices and versions they were made with, as JSON."""
    found = {json.dumps(records.describe(root / name)["versions"], sort_keys=True) for name in places}
    return json.dumps({"command": command, "made_with": [json.loads(one) for one in sorted(found)]}, indent=1)
