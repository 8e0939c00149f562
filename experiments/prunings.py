"""Prunings of trained networks, kept beside them: each is made once, on whichever core is free, and none is lost.

ROOT/STUDY/CELL/prunings.parquet    a row for each pruning of this network
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from queue import Queue
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.findings import Findings, read_rows, write_rows
from experiments.measured import Measured, NotRun
from experiments.studies import place
from jaxsparse import data, export, models, pruning, records, sparsity, trees
from jaxsparse.commands.prune import methods_by_name
from jaxsparse.config import Run
from jaxsparse.grid import Cell
from jaxsparse.pruning.fine_tuning import Method
from jaxsparse.shrinking.costs import macs
from jaxsparse.train import network

FILE = "prunings.parquet"
COLUMNS = (
    *("place", "method", "amount", "tuning"),
    *("sparsity", "sparsity_convolutions", "accuracy_before", "accuracy_at_once", "accuracy"),
    *("parameters", "parameters_left", "macs", "macs_left", "widths_left"),
)
"""Sparsities (pruned share of all parameters, and of the convolutions' weights) and accuracies in percent. What is left
of parameters and multiplications in a network without the units that went is empty where none did."""
HANDCRAFTED = (0, 7, 8, 9, 10, 11, 12)
"""The convolutions of VGG-16 that Li et al. 2017 halve (table 2; Mehta et al. 2019, table 7)."""


@dataclass(frozen=True)
class Pruning:
    """One pruning of a trained network."""

    cell: Cell
    method: str
    """a name of `methods`"""
    amount: float
    """a fraction of what the method prunes, or for `implicit` the threshold"""
    tuning: str
    """a name of `TUNINGS`"""

    @property
    def asked(self) -> pruning.Below | float:
        """The amount, as the method takes it."""
        return pruning.Below(self.amount) if self.method == "implicit" else self.amount

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What tells it from others; see `name_of`."""
        return place(self.cell), self.method, f"{self.amount:.4g}", self.tuning


def name_of(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """The `Pruning.name` of a row, also of one that was read back from CSV, which holds four digits."""
    return row["place"], row["method"], f"{row['amount']:.4g}", row["tuning"]


def methods(run: Run, key: jax.Array) -> dict[str, Method]:
    """Those of `jaxsparse prune`, and variants of them that papers leave open."""
    features = models.features_of(run.model)
    units = pruning.below(features)

    def handcrafted(params: Any, amount: Any) -> Any:
        return pruning.filters(params, {f"{features}/{layer}": amount for layer in HANDCRAFTED}, prunable=units)

    return {
        **methods_by_name(features, key),
        "filters-globally": partial(pruning.filters, prunable=units, compare=pruning.globally),
        "magnitude-convolutions": partial(pruning.magnitude, prunable=units),
        "magnitude-by-filter": partial(pruning.magnitude, compare=pruning.by_filter),
        "handcrafted": handcrafted,
    }


TUNINGS = {
    "none": lambda run, settings: pruning.continued(run, settings, epochs=0),
    "own": pruning.continued,
    "batra2024": lambda run, settings: pruning.BATRA_2024,
}
"""Fine-tunings: none; as the training ended, for 20 epochs; that of Batra et al. 2024."""


_dataset = lru_cache(maxsize=4)(lambda name, pixels, device: jax.device_put(data.load(name, pixels), device))
_network = lru_cache(maxsize=4)(lambda folder, device: export.load(folder))


def _row(wanted: Pruning, root: Path, device: Any) -> dict[str, Any]:
    """Prunes, trains on and evaluates, on a device."""
    folder, cell = root / place(wanted.cell), wanted.cell
    described = records.describe(folder)
    run, seed = records.run_of(described), jax.random.key(cell.seed)
    dataset, model = _dataset(run.data, run.pixels, device), _network(folder, device)
    outcome = pruning.prune(
        model,
        run,
        dataset,
        jax.random.fold_in(seed, 3),
        methods(run, seed)[wanted.method],
        ((0, wanted.asked),),
        TUNINGS[wanted.tuning](run, described),
    )
    errors = outcome.test_error
    return {
        "place": place(cell),
        "method": wanted.method,
        "amount": wanted.amount,
        "tuning": wanted.tuning,
        "sparsity": 100 * pruning.share_pruned(outcome.masks),
        "sparsity_convolutions": 100 * pruning.share_pruned(outcome.masks, pruning.convolutions),
        "accuracy_before": 100 - errors[0],
        "accuracy_at_once": 100 - errors[1],
        "accuracy": 100 - errors[2],
        **left_of(run, model, outcome.masks),
    }


@lru_cache(maxsize=1024)
def size_of(run: Run, widths: tuple[int, ...] | None = None) -> tuple[int, int]:
    """Parameters, and multiplications for one image, of a run's network, also when built with other widths."""
    model = nnx.eval_shape(lambda: network(run, jax.random.key(0), widths))
    model.eval()
    image = jax.ShapeDtypeStruct((1, *data.describe(run.data).shape), np.float32)
    return trees.size(nnx.state(model, nnx.Param)), sum(macs(model, image).values())


def left_of(run: Run, model: Any, masks: trees.Tree) -> dict[str, Any]:
    """What is left of a network without the whole units that went; widths are those of the layers that count."""
    parameters, multiplications = size_of(run)
    common = {"parameters": parameters, "macs": multiplications}
    dead = pruning.dead_units(masks)
    if not dead:
        return {**common, "parameters_left": None, "macs_left": None, "widths_left": ""}
    units = {name: len(layer) for name, layer in sparsity.units(model, {}, models.features_of(run.model)).items()}
    left = tuple(count - int(np.sum(dead.get(name, 0))) for name, count in units.items())
    parameters, multiplications = size_of(run, models.widths_alive(run, left))
    widths = "-".join(map(str, left))
    return {**common, "parameters_left": parameters, "macs_left": multiplications, "widths_left": widths}


def make(wanted: Sequence[Pruning], root: Path) -> None:
    """Makes the prunings that are missing, one a device or core at a time; of networks that did not train well, none.

    Wherever one is made, the numbers are the same: each runs a program of its own.
    """
    made = {name: read_rows(root / name / FILE) for name in dict.fromkeys(place(one.cell) for one in wanted)}
    well = {name for name in made if records.describe(root / name)["status"] == "done"}
    done = {name_of(row) for rows in made.values() for row in rows}
    missing = [one for one in {one.name: one for one in wanted}.values() if one.name not in done]
    missing = [one for one in missing if place(one.cell) in well]
    there, devices = jax.devices(), Queue[Any]()
    for device in there[:1] * len(there) if jax.default_backend() == "cpu" else there:
        devices.put(device)  # cores share what is compiled for the first

    def one(wanted: Pruning) -> dict[str, Any]:
        device = devices.get()
        try:
            with jax.default_device(device):
                return _row(wanted, root, device)
        finally:
            devices.put(device)

    with ThreadPoolExecutor(devices.qsize()) as pool:
        for number, future in enumerate(as_completed([pool.submit(one, each) for each in missing]), start=1):
            row = future.result()
            rows = made[row["place"]]
            rows.append(row)
            write_rows(root / row["place"] / FILE, rows)
            if number % 20 == 0 or number == len(missing):
                print(f"{number} of {len(missing)} prunings", file=sys.stderr)


def _every_row(root: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(root.glob(f"*/*/{FILE}")) for row in read_rows(path)]


PRUNINGS = Findings("prunings", COLUMNS, _every_row)


def found(
    measured: Measured, cells: Sequence[Cell], method: str, amount: float, tuning: str
) -> list[Mapping[str, Any]]:
    """The rows of one kind of pruning of several networks, one each; none where they are not all there."""
    kind = method, f"{amount:.4g}", tuning
    rows = {row["place"]: row for row in measured.findings.get(PRUNINGS.name, ()) if name_of(row)[1:] == kind}
    chosen = [rows.get(place(cell)) for cell in cells]
    return [row for row in chosen if row is not None] if None not in chosen else []


def values(
    measured: Measured, cells: Sequence[Cell], method: str, amount: float, tuning: str, column: str = "accuracy"
) -> np.ndarray:
    """A figure of one kind of pruning over several networks.

    Raises:
      NotRun: where they are not all there.
    """
    rows = found(measured, cells, method, amount, tuning)
    if not rows:
        raise NotRun(f"{method} {amount:g} {tuning}")
    return np.asarray([row[column] for row in rows], float)
