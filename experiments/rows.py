"""The figures of one training: a row, read from its record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from flax import nnx

from jaxsparse import data, export, layers, models, records, selectivity
from jaxsparse.config import Thresholds

LOOSE = Thresholds(scale=1e-2, activation=1e-4)
"""The second pair of thresholds of Mehta et al. 2019, section 2.1."""
SELECTIVITY = "selectivity.parquet"

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
