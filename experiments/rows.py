"""The figures of one training: a row, read from its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.findings import read_rows, write_rows
from jaxsparse import data, export, models, records, selectivity
from jaxsparse.criteria import Thresholds

LOOSE = Thresholds(scale=1e-2, activation=1e-4)
"""The second pair of thresholds of Mehta et al. 2019, section 2.1."""
NORM_THRESHOLDS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SELECTIVITY = "selectivity.parquet"
ACTIVITY = ("universality", "active")
"""Columns of `SELECTIVITY`, numbers for the units of a layer."""

NUMBERS = (
    *("epochs", "steps", "train_loss", "test_loss", "test_error", "test_error_silenced"),
    *("sparsity_scale", "sparsity_activation", "sparsity_scale_loose", "sparsity_activation_loose"),
    *("sparsity_norm", "units", "dead_units", "conv_params", "conv_params_pruned"),
    *("test_error_top5", "test_error_top5_silenced"),
)
"""Columns that hold a number: errors, sparsities and `conv_params_pruned` in percent."""
LISTS = (
    *("layer_units", "layer_dead", "layer_beta_positive", "layer_gamma_negative"),
    *("layer_universality", "layer_universality_alive", "layer_universality_zero", "layer_active_over_half"),
    *("unit_dead", "unit_universality", "layer_dead_by_norm", "norm_below", "norm_deciles"),
)
"""Columns that hold a number per layer (in percent, but for the units), or per unit of all layers; `norm_below` is in
percent of all units, for each of `NORM_THRESHOLDS`, and `norm_deciles` goes from the smallest norm to the largest."""
COLUMNS = ("place", "status", "seconds", *NUMBERS, *LISTS)


_opened = lru_cache(maxsize=2)(data.opened)


def _observe(graph: Any, state: Any, dataset: data.Dataset | data.Stream, only: str) -> dict[str, Any]:
    return selectivity.observe(nnx.merge(graph, state), dataset, only)


_observe_on_device = jax.jit(_observe, static_argnames=("graph", "only"))


def selectivities(folder: Path) -> dict[str, list[np.ndarray]]:
    """Universality and active share of the units of each layer of a run; measured and kept there where missing."""
    path = folder / SELECTIVITY
    if not path.exists():
        run = records.run_of(records.describe(folder))
        graph, state = nnx.split(export.load(folder))
        dataset = _opened(run.data, run.pixels)
        observe = _observe_on_device if dataset.description.fits else _observe
        found = observe(graph, state, dataset, models.features_of(run.model))
        rows = [
            {"layer": name, **{column: np.asarray(getattr(layer, column)).tolist() for column in ACTIVITY}}
            for name, layer in found.items()
        ]
        write_rows(path, rows)
    read = read_rows(path)
    return {column: [np.asarray(layer[column]) for layer in read] for column in ACTIVITY}


def _percent(masks: Iterable[np.ndarray]) -> list[float]:
    return [100.0 * float(np.mean(mask)) if len(mask) else float("nan") for mask in masks]


def _pruned(kernels: Sequence[tuple[int, ...]], dead: Sequence[np.ndarray]) -> tuple[int, float]:
    """Weights of the layers, and the percentage that goes with dead units, be they read or written."""
    sizes = [int(np.prod(shape)) for shape in kernels]
    alive_in = [1.0, *(1 - np.mean(mask) for mask in dead[:-1])]
    kept = [size * (1 - np.mean(mask)) * before for size, mask, before in zip(sizes, dead, alive_in, strict=True)]
    return sum(sizes), 100.0 * (1 - float(sum(kept)) / sum(sizes))


def row(folder: Path, place: str) -> dict[str, Any]:
    """The figures of a run that ended: `COLUMNS`."""
    described = records.describe(folder)
    common = {"place": place, "status": described["status"], "seconds": described["seconds"]}
    history = records.epochs_of(folder)
    (last,) = history.slice(len(history) - 1).to_pylist()
    if described["status"] == "failed":
        return common
    run = records.run_of(described)
    shapes = {name: value.shape for name, value in records.weights(folder).items()}
    paths = [name if f"{name}/kernel" in shapes else f"{name}/linear" for name in last["layers"]]
    kernels = [shapes[f"{path}/kernel"] for path in paths]
    found = {
        **common,
        **{name: last[name] for name in NUMBERS if name in last},
        "sparsity_activation_loose": _percent([np.asarray(last["activation"]) <= LOOSE.activation])[0],
        "layer_units": last["layer_units"],
        **_norms(np.asarray(last["norm"]), last["layer_units"], run.thresholds.norm),
    }
    normalised = not np.isnan(last["gamma"]).all()
    return {**found, **(_filters(folder, last, kernels, run.thresholds.scale) if normalised else {})}


def _norms(norm: np.ndarray, units: Sequence[int], threshold: float) -> dict[str, Any]:
    """How the L2 norms of the units' incoming weights are distributed."""
    return {
        "layer_dead_by_norm": _percent(layer < threshold for layer in np.split(norm, np.cumsum(units)[:-1])),
        "norm_below": _percent(norm < bound for bound in NORM_THRESHOLDS),
        "norm_deciles": np.percentile(norm, range(0, 101, 10)).tolist(),
    }


def _filters(
    folder: Path, last: Mapping[str, Any], kernels: Sequence[tuple[int, ...]], threshold: float
) -> dict[str, Any]:
    """What Mehta et al. 2019 look at: filters that are dead by scale, and universality; the signs of the gammas are
    those of live filters."""
    ends = np.cumsum(last["layer_units"])[:-1]
    gamma, beta = (np.split(np.asarray(last[name]), ends) for name in ("gamma", "beta"))
    dead = [np.abs(layer) < threshold for layer in gamma]
    seen = selectivities(folder)
    weights, pruned = _pruned(kernels, dead)
    every = np.concatenate(dead)
    universality = seen["universality"]
    return {
        "sparsity_scale_loose": _percent([np.abs(np.concatenate(gamma)) < LOOSE.scale])[0],
        "units": len(every),
        "dead_units": int(every.sum()),
        "conv_params": weights,
        "conv_params_pruned": pruned,
        "layer_dead": _percent(dead),
        "layer_beta_positive": _percent(layer > 0 for layer in beta),
        "layer_gamma_negative": _percent(layer[~mask] < 0 for layer, mask in zip(gamma, dead, strict=True)),
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
