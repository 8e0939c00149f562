"""What the record of a cell says: settings, history, and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsparse import criteria, data, models, records, shrinking, sparsity, thresholding, trees
from jaxsparse.config import Run
from jaxsparse.grid.declaration import Cell
from jaxsparse.train import Row, network, steps_per_epoch


def _settings(cell: Cell) -> dict[str, Any]:
    return {**cell.settings(), "data_verified": data.describe(cell.run.data).verified}


@lru_cache(maxsize=64)
def multiplications(run: Run) -> Mapping[str, float]:
    """Of a run's kernels that have a bound: each one's share of the multiplications of them all for one image."""
    model = nnx.eval_shape(lambda: network(run, jax.random.key(0)))
    example = data.describe(run.data).example
    names = thresholding.thresholding(run, model, example).names
    return thresholding.shares("flops", model, example, names)


def _bounds_history(run: Run, bounds: Mapping[str, Any], params: trees.Tree, rows: Row) -> dict[str, list[Any]]:
    """Bounds and zeros of every kernel that has a bound, and in percent what is zero of all their weights and of all
    multiplications with them; no columns where none has."""
    if not bounds:
        return {}
    seen: thresholding.Observation = rows.thresholded
    sizes = [trees.flatten(params)[name].size for name in bounds]
    return {
        "thresholded": [list(bounds)] * len(seen.bound),
        "thresholded_weights": [sizes] * len(seen.bound),
        "bound": seen.bound.tolist(),
        "bound_task_slope": seen.task_slope.tolist(),
        "weights_zero": seen.zero.tolist(),
        "sparsity_weights": np.average(seen.zero, axis=-1, weights=sizes).tolist(),
        "sparsity_flops": (seen.zero @ np.asarray([multiplications(run)[name] for name in bounds])).tolist(),
        "weight_histogram": seen.histogram.tolist(),
    }


def failure(cell: Cell, seconds: float, message: str) -> records.Record:
    """Record of a cell that raised an error."""
    counts = ("epochs", "steps", "params", "params_alive")
    errors = ("train_loss", "test_loss", "test_error", "test_error_silenced")
    errors += ("test_error_top5", "test_error_top5_silenced")
    measured = (*errors, *(f"sparsity_{name}" for name in criteria.names_of(cell.run.thresholds)))
    history = {**{name: [0] for name in counts}, **{name: [math.nan] for name in measured}}
    return records.Record(cell.name, cell.run, _settings(cell), "failed", message, seconds, history, {})


def recorded(cell: Cell, outcome: tuple[tuple[trees.Tree, ...], Row], seconds: float) -> records.Record:
    """Record of a trained cell from its parameters, bounds and statistics, and its rows stacked over `[points]`.

    Its weights are those that the forward pass sees: zero where they are below a bound.
    """
    run, ((params, bounds, stats), rows) = cell.run, outcome
    steps = steps_per_epoch(run, data.describe(run.data))
    epochs = [run.measure_every * (point + 1) for point in range(run.points)]
    seen: sparsity.Observation = rows.measured
    judged = [
        sparsity.judge(jax.tree.map(lambda a, p=point: a[p], seen.units), run.thresholds) for point in range(run.points)
    ]
    history = {
        "epochs": epochs,
        "steps": [steps * epoch for epoch in epochs],
        "train_loss": rows.train_loss[:, -1].tolist(),
        "train_loss_by_epoch": rows.train_loss.tolist(),
        "test_loss": rows.test_loss.tolist(),
        "test_error": rows.test_error.tolist(),
        "test_error_silenced": seen.test_error_silenced.tolist(),
        "test_error_top5": rows.test_error_top5.tolist(),
        "test_error_top5_silenced": seen.test_error_top5_silenced.tolist(),
        "params": [parameter_count(run, None)] * run.points,
        "params_alive": [parameters_alive(run, point) for point in judged],
        **sparsity.columns(judged),
        **_bounds_history(run, bounds, params, rows),
    }
    variables = thresholding.apply(params, bounds), stats
    named = {name: leaf for tree in variables for name, leaf in trees.flatten(tree).items()}
    weights = {name: np.asarray(leaf) for name, leaf in named.items() if name not in _drawn(run)}
    trouble = divergence(np.ravel(rows.train_loss), steps, weights)
    return records.Record(
        cell.name, run, _settings(cell), "diverged" if trouble else "done", trouble, seconds, history, weights
    )


def divergence(losses: np.ndarray, steps: int, weights: Mapping[str, np.ndarray]) -> str:
    """Since when a training is not finite; empty where it is.

    Args:
      losses: mean of each epoch `[epochs]`.
      steps: in an epoch.
      weights: at the end.
    """
    spoilt = np.flatnonzero(~np.isfinite(losses))
    if len(spoilt):
        epoch = int(spoilt[0])
        return f"the loss was not finite for the first time in epoch {epoch + 1}, steps {epoch * steps + 1} to " + str(
            (epoch + 1) * steps
        )
    names = [name for name, array in weights.items() if not np.isfinite(array).all()]
    return f"{names[0]} is not finite since the last step, {len(losses) * steps}" if names else ""


@lru_cache(maxsize=4096)
def parameter_count(run: Run, widths: tuple[int, ...] | None) -> int:
    """Parameters of a run's network, also when it is built with other widths."""

    def params() -> trees.Tree:
        return nnx.as_pure(nnx.state(network(run, jax.random.key(0), widths), nnx.Param))

    return trees.size(jax.eval_shape(params))


def parameters_alive(run: Run, found: sparsity.Sparsity) -> int:
    """Parameters of the network without the units that are dead by scale (without a scale: by norm): its size when
    built with the other units."""
    dead = found.primary
    if not models.is_known(run.model):
        return _counted(run)(dead)
    alive = tuple(int((~dead[name]).sum()) for name in found.units)
    return parameter_count(run, models.widths_alive(run, alive))


@lru_cache(maxsize=64)
def _counted(run: Run) -> Callable[[Mapping[str, np.ndarray]], int]:
    """From the dead units to the parameters without them, in a network of a person's own."""
    model = nnx.eval_shape(lambda: network(run, jax.random.key(0)))
    return shrinking.parameters_left(model, data.describe(run.data).example)


@lru_cache(maxsize=64)
def _drawn(run: Run) -> frozenset[str]:
    """Names of what a network draws random numbers with, which is no result of its training."""
    model = nnx.eval_shape(lambda: network(run, jax.random.key(0)))
    return frozenset(trees.flatten(nnx.state(model, nnx.RngState)))
