"""Running a grid: a finished cell is on disk before the next one starts, so a killed grid resumes where it was."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxsparse import data, records, trees
from jaxsparse.config import Run
from jaxsparse.grid import checkpoint, streaming, thinning
from jaxsparse.grid.declaration import Cell, Declaration
from jaxsparse.grid.devices import cores, writes
from jaxsparse.grid.engine import ONE_DEVICE_EACH, Compiled, Engine, Placement
from jaxsparse.grid.recording import failure, recorded
from jaxsparse.train import Row, State

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


def _chunks(cells: Iterable[Cell], size: int) -> Iterator[tuple[Cell, ...]]:
    iterator = iter(cells)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk


def train_here(
    cells: Sequence[Cell], folder: Path, progress: Progress, placement: Placement = ONE_DEVICE_EACH
) -> Iterator[Progress]:
    """Trains cells on the devices of this process.

    Args:
      cells: that are not in the folder yet; those of one network next to each other.
      folder: where finished cells appear.
      progress: so far.
      placement: of the cells on the devices.
    """
    for _, alike in itertools.groupby(cells, lambda cell: _network(cell.run)):
        for step in _train_alike(list(alike), folder, placement, replace(progress, current=(), ended=())):
            progress = step
            yield step


Trainer = Callable[[Sequence[Cell], Path, Progress], Iterator[Progress]]
"""Who trains what is not there yet: `train_here`, or `ray_engine.train_on_cluster`."""


def run(declaration: Declaration, folder: Path, trainer: Trainer = train_here) -> Iterator[Progress]:
    """Trains every cell of a grid that is not finished yet; see `train`.

    Args:
      declaration: what the grid is made of.
      folder: new, empty, or that of the same grid started earlier; finished cells appear in `folder/cells`.
      trainer: who trains them.

    Raises:
      InvalidInput: where the folder can't be written to or holds another grid.
    """
    if writes():
        declaration.write(folder)
    yield from train(declaration.cells(), folder / "cells", trainer)


def train(cells: Sequence[Cell], folder: Path, trainer: Trainer = train_here) -> Iterator[Progress]:
    """Trains the cells that are not in the folder yet, as a generator that tells how it goes.

    A cell that fails is recorded with its error, one whose loss is no longer finite as diverged, and the others go on.

    Args:
      cells: with names of their own; those of one run next to each other.
      folder: where finished cells appear; made if it is missing.
      trainer: who trains them.

    Yields:
      The progress after every interval, and after cells were written.
    """
    if writes():
        folder.mkdir(parents=True, exist_ok=True)
        records.clear_partial(folder)
        checkpoint.clear(folder, _ended(folder))
    pending = _pending(cells, folder)
    progress = Progress(len(cells), len(cells) - len(pending), (), 0.0, 0.0, 0.0, ())
    yield progress
    yield from trainer(pending, folder, progress)


def _network(run: Run) -> Run:
    """What cells share that differ in the update rule only, as far as an engine is concerned."""
    return replace(run, optimizer="adam", regularizer="none", convention="torch", nesterov=False)


def _ended(folder: Path) -> set[str]:
    return {name for name, status in records.finished(folder).items() if status in FINISHED}


def _pending(cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """Cells that are not in the folder yet; of several processes that train together, in that of the first."""
    ended = _ended(folder)
    left = np.array([cell.name not in ended for cell in cells], bool)
    if jax.process_count() > 1:
        left = multihost_utils.broadcast_one_to_all(left)
    return [cell for cell, pending in zip(cells, left, strict=True) if pending]


def _alone(run: Run, folder: Path) -> Callable[[Cell], Iterator[tuple[State, Row]]] | None:
    """What trains the cells of a run one after another; none where an engine trains them side by side."""
    if run.shrink_every:  # their shapes are their own
        return thinning.train
    return None if data.describe(run.data).fits else partial(streaming.train, folder=folder)


def _train_alike(cells: list[Cell], folder: Path, placement: Placement, progress: Progress) -> Iterator[Progress]:
    """Trains cells of one network on one data set."""
    started = time.perf_counter()
    if (alone := _alone(cells[0].run, folder)) is not None:
        for cell in cells:
            for step in _train_together((cell,), partial(alone, cell), folder, progress):
                progress = step
                yield step
            checkpoint.clear(folder, _ended(folder))
        return
    engine = placement.engine(cells[0].run, len(cells))
    groups = [tuple(members) for _, members in itertools.groupby(cells, lambda cell: cell.run)]
    with ThreadPoolExecutor(cores()) as pool:  # XLA compiles outside of Python's lock
        compiling = [pool.submit(engine.compile, group) for group in groups]
        wait(compiling)
    progress = replace(progress, compiling=progress.compiling + time.perf_counter() - started)
    for group, compiled in zip(groups, compiling, strict=True):
        for together in _chunks(group, engine.together(len(group))):
            intervals = partial(_train_compiled, engine, compiled, together)
            for step in _train_together(together, intervals, folder, progress):
                progress = step
                yield step


def _train_compiled(engine: Engine, compiled: Future[Compiled], cells: tuple[Cell, ...]) -> Iterator[tuple[State, Row]]:
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
            variables = state.params, state.bounds, state.stats
            yield replace(progress, share=len(rows) / cells[0].run.points)
        outcome = jax.device_get((variables, jax.tree.map(_stack, *rows)))
        seconds = time.perf_counter() - started
        ends = [recorded(cell, _entry(outcome, index), seconds) for index, cell in enumerate(cells)]
    except Exception as error:  # whatever it was, the other cells go on
        seconds, message = time.perf_counter() - started, f"{type(error).__name__}: {error}"
        ends = [failure(cell, seconds, message) for cell in cells]
    if writes():
        for end in ends:
            records.write(end, folder)
    done, training = progress.finished + len(ends), progress.training + seconds
    yield replace(progress, finished=done, current=(), training=training, ended=tuple(ends))
