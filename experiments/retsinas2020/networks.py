"""What Retsinas et al. 2020 ask of a trained network: how its weights spread, and which of them are zero."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import erf, pi, sqrt
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import jaxsparse as js
from experiments.findings import Findings
from experiments.measured import Measured
from experiments.studies import place
from jaxsparse import data, export, records, sparsity
from jaxsparse.config import Run
from jaxsparse.grid import Cell
from jaxsparse.losses import evaluate
from jaxsparse.thresholding import BINS, METHODS, THRESHOLDED, Trained, shares
from jaxsparse.trees import flatten

FILE = "weights-zero.json"
TINY = 1e-3
"""Weights of a training without bounds count as zero below this, and the network is tested with them set to zero."""
SHRUNK_SEED = 0
"""Whose networks are made smaller."""
COLUMNS = (
    *("place", "params", "params_left", "sparsity_weights", "test_error", "test_error_zeroed"),
    *("filters", "filters_dead", "params_shrunk"),
    *("epochs", "errors", "zero_course", "bound_course"),
    *("layer_names", "layer_weights", "layer_zero", "layer_mode", "layer_distance", "histogram"),
    *("histogram_largest", "histogram_blocks", "sparsity_flops"),
    *("density", "density_flops", "slope", "slope_flops"),
)
"""`sparsity_weights`, errors and what has to do with zeros in percent; `.._course` over `epochs`, `layer_..` by layer;
`histogram`: percent of the weights between two of `thresholding.BINS`, `.._largest` of the layer with the most weights,
`.._blocks` of the last convolution of each block of a dense ResNet-50, one behind the other. Modes and distances: see
`_shape`; density and slope: see `_pulled`."""
BLOCKS = "outer/"
"""What the names of those convolutions begin with."""

_dataset = lru_cache(maxsize=2)(data.load)


def _shape(weights: np.ndarray) -> tuple[float, float]:
    """Of a layer's weights in standard deviations: the middle of the fullest interval of one deviation, in steps of a
    tenth over [-4, 4], and the largest distance of their distribution from the normal one (Kolmogorov).

    The interval is wide because layers are small: of a thousand normal weights the fullest of many narrow bins lies
    anywhere near zero.
    """
    scaled = np.sort(weights.ravel() / (weights.std() or 1.0))  # of a single weight there is no deviation
    ends = np.linspace(-4, 3, 71)
    counts = np.searchsorted(scaled, ends + 1) - np.searchsorted(scaled, ends)
    normal = np.asarray([0.5 * (1 + erf(x / sqrt(2))) for x in scaled])
    steps = np.arange(len(scaled) + 1) / len(scaled)
    distance = float(max(np.abs(normal - steps[1:]).max(), np.abs(normal - steps[:-1]).max()))
    return float(ends[counts.argmax()]) + 0.5, distance


def _histogram(kernels: Sequence[np.ndarray]) -> list[float]:
    scaled = np.concatenate([(kernel / (kernel.std() or 1.0)).ravel() for kernel in kernels])
    return (100 * np.histogram(scaled, BINS)[0] / len(scaled)).tolist()


def _dead(kernel: np.ndarray) -> np.ndarray:
    """Units without any incoming weight."""
    return np.asarray(np.all(kernel.reshape(-1, kernel.shape[-1]) == 0, axis=0))


def _shrunk(model: Any, zeroed: Mapping[str, np.ndarray], dataset: data.Dataset) -> int:
    """Parameters that are left when `js.shrink` takes out the units that weigh nothing."""
    merged = _with(model, zeroed)
    params = flatten(nnx.state(merged, nnx.Param))
    kernels = {layer.name: layer.of_role("weight") for layer in sparsity.layers(merged)}
    dead = {name: _dead(np.asarray(params[parts[0].name])) for name, parts in kernels.items() if parts}
    smaller, _ = js.shrink(merged, data.preprocess(dataset, dataset.test.images[:8]), dead)
    return js.trees.size(nnx.state(smaller, nnx.Param))


def _with(model: Any, changed: Mapping[str, np.ndarray]) -> Any:
    """The model with other parameters of some names."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params = nnx.as_pure(params)
    leaves = [changed.get(name, leaf) for name, leaf in flatten(params).items()]
    merged: Any = nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(params), leaves), rest, copy=True)
    merged.eval()
    return merged


def _pulled(model: Any, run: Run, history: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, float]:
    """What the sparsity loss pulled against, for each density L that it is about: L as if weights were Gaussian
    (equation 8, in percent), and the slope `-dCE / dL` of the task's loss along the bounds.

    The slope is that of the bounds' own gradients (equations 18 and 19), fitted over the layers: where bounds rest, the
    gradients `dCE / db_i` are minus the sum of the `dL / db_i`, each times its slope.

    Args:
      history: of the run, with bounds and `dCE / db_i` of its kernels.
      shape: of an image.
    """
    example, names = jax.ShapeDtypeStruct((1, *shape), np.float32), tuple(history["thresholded"][-1])
    b, task = (np.asarray(history[column][-1]) for column in ("bound", "bound_task_slope"))
    found: dict[str, float] = {}
    all_shares = [np.asarray(list(shares(name, model, example, names).values())) for name in run.density]
    by_bound = [-2 * own * np.exp(-(b**2) / 2) / sqrt(2 * pi) for own in all_shares]
    slopes = np.linalg.lstsq(-np.stack(by_bound, axis=1), task)[0]
    for name, own, slope in zip(run.density, all_shares, slopes, strict=True):
        suffix = "_flops" if name == "flops" else ""
        left = 1 - sum(share * erf(bound / sqrt(2)) for share, bound in zip(own, b, strict=True))
        found |= {f"density{suffix}": 100 * left, f"slope{suffix}": float(slope)}
    return found


def of_network(folder: Path, seed: int) -> dict[str, Any]:
    """The figures of a training that ended: `COLUMNS` but the place."""
    described, model = records.describe(folder), export.load(folder)
    run = records.run_of(described)
    dataset = _dataset(run.data, run.pixels)
    history = records.epochs_of(folder).to_pydict()
    params = flatten(nnx.as_pure(nnx.state(model, nnx.Param)))
    chosen = jax.tree.leaves(THRESHOLDED[run.thresholded](nnx.as_pure(nnx.state(model, nnx.Param))))
    kernels = {name: np.asarray(leaf) for (name, leaf), flag in zip(params.items(), chosen, strict=True) if flag}
    method, bounded = METHODS[run.thresholding], "bound" in history
    largest = max(kernels.values(), key=lambda kernel: kernel.size)
    sizes = {name: kernel.size for name, kernel in kernels.items()}
    if bounded:
        weights = np.asarray([sizes[name] for name in history["thresholded"][-1]])
        histograms = np.asarray(history["weight_histogram"][-1])
        histogram, histogram_largest = np.average(histograms, axis=0, weights=weights), histograms[weights.argmax()]
    else:
        histogram, histogram_largest = (_histogram(some) for some in (list(kernels.values()), [largest]))
    adam = described["run"]["optimizer"] == "adam"
    zeroed = {
        name: np.where(np.abs(kernel) < (TINY if adam else 0), 0, kernel).astype(kernel.dtype)
        for name, kernel in kernels.items()
    }
    zeros = {name: float(np.sum(kernel == 0)) for name, kernel in zeroed.items()}
    dead = [_dead(kernel) for kernel in zeroed.values()]
    shapes = [_shape(kernel) for kernel in kernels.values()] if not bounded else []
    total, error = sum(leaf.size for leaf in params.values()), history["test_error"][-1]
    return {
        "params": total,
        "params_left": total - sum(zeros.values()),
        "sparsity_weights": 100 * sum(zeros.values()) / sum(sizes.values()),
        "test_error": error,
        "test_error_zeroed": float(evaluate(_with(model, zeroed), dataset, dataset.test)[1]) if adam else error,
        "filters": sum(map(len, dead)),
        "filters_dead": int(sum(mask.sum() for mask in dead)),
        "params_shrunk": _shrunk(model, zeroed, dataset) if seed == SHRUNK_SEED else None,
        "epochs": history["epochs"],
        "errors": history["test_error"],
        "zero_course": history.get("sparsity_weights", []),
        "bound_course": [float(np.average(each, weights=list(sizes.values()))) for each in history.get("bound", [])],
        "layer_names": " ".join(kernels),
        "layer_weights": list(sizes.values()),
        "layer_zero": [100 * zeros[name] / sizes[name] for name in kernels],
        "layer_mode": [mode for mode, _ in shapes],
        "layer_distance": [distance for _, distance in shapes],
        "histogram": list(histogram),
        "histogram_largest": list(histogram_largest),
        "histogram_blocks": [
            share
            for name, kernel in kernels.items()
            if run.model == "resnet-50" and not bounded and name.startswith(BLOCKS)
            for share in _histogram([kernel])
        ],
        "sparsity_flops": history["sparsity_flops"][-1] if bounded else 0.0,
        **(_pulled(model, run, history, dataset.description.shape) if isinstance(method, Trained) else {}),
    }


def follow(cells: Sequence[Cell], root: Path) -> None:
    """Looks at every trained network that was not looked at yet, and keeps what it found beside it."""
    for cell in cells:
        folder = root / place(cell)
        if (folder / "weights.safetensors").exists() and not (folder / FILE).exists():
            records.write_text(folder / FILE, json.dumps(of_network(folder, cell.seed)))


def _read(root: Path) -> list[dict[str, Any]]:
    paths = sorted(root.glob(f"*/*/{FILE}"))
    return [{"place": str(path.parent.relative_to(root)), **json.loads(path.read_text("utf-8"))} for path in paths]


NETWORKS = Findings("retsinas2020", COLUMNS, _read)


def networks(measured: Measured, cells: Sequence[Cell]) -> list[Mapping[str, Any]]:
    """What was found of trained networks, one a seed; none where not all were looked at."""
    by_place = {str(one["place"]): one for one in measured.findings.get(NETWORKS.name, ())}
    found = [by_place.get(place(cell)) for cell in cells]
    return [one for one in found if one is not None] if all(found) else []


def numbers(value: Any) -> np.ndarray:
    """A list of numbers, as it was found or as a CSV file has it."""
    return np.asarray(value.split() if isinstance(value, str) else np.atleast_1d([] if value is None else value), float)


def values(measured: Measured, cells: Sequence[Cell], metric: str) -> np.ndarray:
    """A figure of trained networks, one a seed; none where an older version did not look at it."""
    found = [one.get(metric) for one in networks(measured, cells)]
    return np.asarray([] if None in found else found, float)


def lists(measured: Measured, cells: Sequence[Cell], metric: str) -> np.ndarray:
    """A list of figures of trained networks, `[seeds, ..]`."""
    return np.asarray([numbers(one.get(metric)) for one in networks(measured, cells)])
