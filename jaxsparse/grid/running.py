"""Running a grid: a finished cell is on disk before the next one starts, so a killed grid resumes where it was."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsparse import data, models, records, sparsity, trees
from jaxsparse.config import Run
from jaxsparse.grid import thinning
from jaxsparse.grid.declaration import Cell, Declaration
from jaxsparse.grid.engine import Engine, cores
from jaxsparse.train import Row, State, network, steps_per_epoch

FINISHED = ("done", "diverged")
"""Status of cells that a resumed grid leaves alone; failed ones are tried again."""


@dataclass(frozen=True)
class Progress:
    """What a grid tells while it runs."""

    cells: int
    """cells of the grid"""
    finished: int
    """cells on disk, those of earlier starts included"""
    current: tuple[Cell, ...]
    """cells being trained"""
    share: float
    """of the current cells' training that is done, 0..1"""
    training: float
    """seconds spent in compiled training so far"""
    compiling: float
    """seconds spent tracing and compiling so far"""
    ended: tuple[records.Record, ...]
    """what has just been written"""


def _stack(*values: np.ndarray) -> np.ndarray:
    """Rows `[cells, ..]` of successive intervals to `[cells, points, ..]`."""
    return np.stack(values, axis=1)


def _entry(tree: trees.Tree, index: int) -> trees.Tree:
    return jax.tree.map(lambda a: a[index], tree)


def _settings(cell: Cell) -> dict[str, Any]:
    return {
        "regularizer": cell.regularizer,
        "strength": float(cell.hyper.strength),
        "seed": cell.seed,
        "learning_rate": float(cell.hyper.learning_rate),
        "constants": {name: float(value) for name, value in cell.hyper.constants.items()},
        "data_verified": data.describe(cell.run.data).verified,
    }


def _magnitudes(units: sparsity.Units, name: str, points: int) -> np.ndarray:
    """One of the magnitudes `[points, units]`; nan where a layer has no such parameter."""
    found = getattr(units, name)
    return np.full((points, len(units)), np.nan, np.float32) if found is None else found


def _failure(cell: Cell, seconds: float, message: str) -> records.Record:
    """Record of a cell that raised an error."""
    counts = ("epochs", "steps", "params", "params_alive")
    errors = ("train_loss", "test_loss", "test_error", "test_error_silenced")
    measured = (*errors, *(f"sparsity_{criterion}" for criterion in sparsity.CRITERIA))
    history = {**{name: [0] for name in counts}, **{name: [math.nan] for name in measured}}
    return records.Record(cell.name, cell.run, _settings(cell), "failed", message, seconds, history, {})


def _record(cell: Cell, outcome: tuple[tuple[trees.Tree, trees.Tree], Row], seconds: float) -> records.Record:
    """Record of a trained cell from its parameters and statistics, and its rows stacked over `[points]`."""
    run, (variables, rows) = cell.run, outcome
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
        **{f"sparsity_{by}": [point.percent(by) for point in judged] for by in sparsity.CRITERIA},
        "params": [parameter_count(run, None)] * run.points,
        "params_alive": [parameters_alive(run, point) for point in judged],
        "layers": [list(seen.units)] * run.points,
        "layer_units": [[len(layer) for layer in seen.units.values()]] * run.points,
        **{
            name: list(np.concatenate([_magnitudes(layer, name, run.points) for layer in seen.units.values()], axis=-1))
            for name in ("gamma", "beta", "activation", "norm")
        },
    }
    finite = bool(np.isfinite(rows.train_loss).all())
    weights = {name: np.asarray(leaf) for tree in variables for name, leaf in trees.flatten(tree).items()}
    return records.Record(
        cell.name, run, _settings(cell), "done" if finite else "diverged", "", seconds, history, weights
    )


@lru_cache(maxsize=4096)
def parameter_count(run: Run, widths: tuple[int, ...] | None) -> int:
    """Parameters of a run's network, also when it is built with other widths."""

    def params() -> trees.Tree:
        return nnx.as_pure(nnx.state(network(run, jax.random.key(0), widths), nnx.Param))

    return trees.size(jax.eval_shape(params))


def parameters_alive(run: Run, found: sparsity.Sparsity) -> int:
    """Parameters of the network without the units that are dead by scale (without a scale: by norm): its size when
    built with the other units."""
    dead = {**found.dead["norm"], **found.dead["scale"]}
    alive = tuple(int((~dead[name]).sum()) for name in found.units)
    return parameter_count(run, models.widths_alive(run, alive))


def _chunks(cells: Iterable[Cell], size: int) -> Iterator[tuple[Cell, ...]]:
    iterator = iter(cells)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk


def run(declaration: Declaration, folder: Path) -> Iterator[Progress]:
    """Trains every cell of a grid that is not finished yet; see `train`.

    Args:
      declaration: what the grid is made of.
      folder: new, empty, or that of the same grid started earlier; finished cells appear in `folder/cells`.

    Raises:
      InvalidInput: where the folder can't be written to or holds another grid.
    """
    declaration.write(folder)
    yield from train(declaration.cells(), folder / "cells")


def train(cells: Sequence[Cell], folder: Path) -> Iterator[Progress]:
    """Trains the cells that are not in the folder yet, as a generator that tells how it goes.

    A cell that fails is recorded with its error, one whose loss is no longer finite as diverged, and the others go on.

    Args:
      cells: with names of their own; those of one run next to each other.
      folder: where finished cells appear; made if it is missing.

    Yields:
      The progress after every interval, and after cells were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records.clear_partial(folder)
    ended = {name for name, status in records.finished(folder).items() if status in FINISHED}
    pending = [cell for cell in cells if cell.name not in ended]
    progress = Progress(len(cells), len(cells) - len(pending), (), 0.0, 0.0, 0.0, ())
    yield progress
    for _, alike in itertools.groupby(pending, lambda cell: _network(cell.run)):
        for step in _train_alike(list(alike), folder, replace(progress, current=(), ended=())):
            progress = step
            yield step


def _network(run: Run) -> Run:
    """What cells share that differ in the update rule only, as far as an engine is concerned."""
    return replace(run, optimizer="adam", regularizer="none", convention="torch", nesterov=False)


def _train_alike(cells: list[Cell], folder: Path, progress: Progress) -> Iterator[Progress]:
    """Trains cells of one network on one data set."""
    started = time.perf_counter()
    if cells[0].run.shrink_every:  # their shapes are their own
        for cell in cells:
            for step in _train_together((cell,), partial(thinning.train, cell), folder, progress):
                progress = step
                yield step
        return
    engine = Engine(cells[0].run, min(len(jax.devices()), len(cells)))
    groups = [tuple(members) for _, members in itertools.groupby(cells, lambda cell: cell.run)]
    with ThreadPoolExecutor(cores()) as pool:  # XLA compiles outside of Python's lock
        compiling = [pool.submit(engine.compile, group[0]) for group in groups]
        wait(compiling)
    progress = replace(progress, compiling=progress.compiling + time.perf_counter() - started)
    for group, compiled in zip(groups, compiling, strict=True):
        for together in _chunks(group, engine.mesh.size):
            intervals = partial(_train_compiled, engine, compiled, together)
            for step in _train_together(together, intervals, folder, progress):
                progress = step
                yield step


def _train_compiled(engine: Engine, compiled: Future[Any], cells: tuple[Cell, ...]) -> Iterator[tuple[State, Row]]:
    return engine.train(compiled.result(), cells)


def _train_together(
    cells: tuple[Cell, ...], train: Callable[[], Iterator[tuple[State, Row]]], folder: Path, progress: Progress
) -> Iterator[Progress]:
    """Trains cells side by side to their end, and writes what came out; `train` gives state and row after intervals."""
    progress = replace(progress, current=cells, share=0.0, ended=())
    yield progress
    started, rows, variables = time.perf_counter(), [], None
    try:
        for state, row in train():
            rows.append(row)
            variables = state.params, state.stats
            yield replace(progress, share=len(rows) / cells[0].run.points)
        outcome = jax.device_get((variables, jax.tree.map(_stack, *rows)))
        seconds = time.perf_counter() - started
        ends = [_record(cell, _entry(outcome, index), seconds) for index, cell in enumerate(cells)]
    except Exception as error:  # whatever it was, the other cells go on
        seconds, message = time.perf_counter() - started, f"{type(error).__name__}: {error}"
        ends = [_failure(cell, seconds, message) for cell in cells]
    for end in ends:
        records.write(end, folder)
    done, training = progress.finished + len(ends), progress.training + seconds
    yield replace(progress, finished=done, current=(), training=training, ended=tuple(ends))
