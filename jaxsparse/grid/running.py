"""Running a grid: a finished cell is on disk before the next one starts, so a killed grid resumes where it was."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

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
from jaxsparse.grid.sharing import Shared, told_by
from jaxsparse.train import Row, State

Outcomes = Iterator[tuple[State, Row]]
"""State and measurements of cells after every interval of their training."""

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
    """seconds so far in which cells were trained"""
    compiling: float
    """seconds so far in which nothing was trained yet"""
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


class Job(NamedTuple):
    """What is to be trained, and where it goes."""

    cell: Cell
    folder: Path
    """in which the cell's folder appears"""


Trainer = Callable[[Sequence[Job], Progress], Iterator[Progress]]
"""Who trains what is not there yet: `train_here`, or `ray_engine.train_on_cluster`."""


def train_here(jobs: Sequence[Job], progress: Progress, placement: Placement = ONE_DEVICE_EACH) -> Iterator[Progress]:
    """Trains cells on the devices of this process.

    Args:
      jobs: that are not done yet; those of one network next to each other.
      progress: so far.
      placement: of the cells on the devices.
    """
    units = Shared(_units(jobs, placement))

    def work() -> Iterator[_Told]:
        for unit in units:
            yield from _train_together(unit)

    resident = all(data.describe(run.data).fits for run in {job.cell.run for job in jobs})
    threads = min(placement.threads if resident else 1, len(jobs))  # a stream has processes of its own
    going: dict[str, _Told] = {}
    before = time.perf_counter()
    for told in told_by([work] * threads):
        now = time.perf_counter()
        spent, before = now - before, now
        name = str(told.unit.folder / told.unit.cells[0].name)
        progress = replace(
            progress,
            training=progress.training + (spent if going else 0.0),
            compiling=progress.compiling + (0.0 if going else spent),
        )
        going[name] = told
        if told.ended:
            del going[name]
        current = tuple(cell for one in going.values() for cell in one.unit.cells)
        progress = replace(
            progress,
            finished=progress.finished + len(told.ended),
            current=current,
            share=sum(one.share * len(one.unit.cells) for one in going.values()) / max(len(current), 1),
            ended=told.ended,
        )
        yield progress


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
    """`train_all` of cells that go into one folder."""
    yield from train_all([Job(cell, folder) for cell in cells], trainer)


def train_all(jobs: Sequence[Job], trainer: Trainer = train_here) -> Iterator[Progress]:
    """Trains the cells that are not in their folders yet, as a generator that tells how it goes.

    A cell that fails is recorded with its error, one whose loss is no longer finite as diverged, and the others go on.

    Args:
      jobs: cells with names of their own in each folder; those of one run next to each other. Folders are made if they
        are missing.
      trainer: who trains them.

    Yields:
      The progress after every interval, and after cells were written.
    """
    for folder in dict.fromkeys(job.folder for job in jobs):
        if writes():
            folder.mkdir(parents=True, exist_ok=True)
            records.clear_partial(folder)
            checkpoint.clear(folder, _ended(folder))
    pending = _pending(jobs)
    progress = Progress(len(jobs), len(jobs) - len(pending), (), 0.0, 0.0, 0.0, ())
    yield progress
    if pending:
        yield from trainer(pending, progress)


def _network(run: Run) -> Run:
    """What cells share that differ in the update rule only, as far as an engine is concerned."""
    return replace(run, optimizer="adam", regularizer="none", convention="torch", nesterov=False)


def _ended(folder: Path) -> set[str]:
    return {name for name, status in records.finished(folder).items() if status in FINISHED}


def _pending(jobs: Sequence[Job]) -> list[Job]:
    """Those that are not done yet; of several processes that train together, according to the first."""
    ended = {folder: _ended(folder) for folder in dict.fromkeys(job.folder for job in jobs)}
    left = np.array([job.cell.name not in ended[job.folder] for job in jobs], bool)
    if jax.process_count() > 1:
        left = multihost_utils.broadcast_one_to_all(left)
    return [job for job, pending in zip(jobs, left, strict=True) if pending]


@dataclass(frozen=True)
class _Unit:
    """Cells that are trained side by side, by one thread."""

    cells: tuple[Cell, ...]
    folder: Path
    train: Callable[[], Outcomes]


@dataclass(frozen=True)
class _Told:
    """Of the training of a unit."""

    unit: _Unit
    share: float
    """that is done, 0..1"""
    ended: tuple[records.Record, ...] = ()


def _alone(run: Run) -> Callable[[Cell, Path], Outcomes] | None:
    """What trains the cells of a run one by one; none where an engine does it."""
    if run.shrink_every:  # their shapes are their own
        return lambda cell, folder: thinning.train(cell)
    return None if data.describe(run.data).fits else streaming.train


def _units(jobs: Sequence[Job], placement: Placement) -> Iterator[_Unit]:
    """What is to be trained, in this order. A network is compiled when its turn comes, while others may still train."""
    for _, members in itertools.groupby(jobs, lambda job: (_network(job.cell.run), job.folder)):
        alike = list(members)
        alone, folder = _alone(alike[0].cell.run), alike[0].folder
        if alone is not None:
            for cell, _ in alike:
                yield _Unit((cell,), folder, partial(alone, cell, folder))
            continue
        engine = placement.engine(alike[0].cell.run, len(alike))
        groups = [tuple(group) for _, group in itertools.groupby((job.cell for job in alike), lambda cell: cell.run)]
        with ThreadPoolExecutor(cores()) as pool:  # XLA compiles outside of Python's lock
            compiling = [pool.submit(engine.compile, group) for group in groups]
        for group, compiled in zip(groups, compiling, strict=True):
            for cells in _chunks(group, engine.together(len(group))):
                yield _Unit(cells, folder, partial(_train_compiled, engine, compiled, cells))


def _train_compiled(engine: Engine, compiled: Future[Compiled], cells: tuple[Cell, ...]) -> Outcomes:
    return engine.train(compiled.result(), cells)


def _train_together(unit: _Unit) -> Iterator[_Told]:
    """Trains cells side by side to their end, and writes what came out."""
    yield _Told(unit, 0.0)
    started, rows, variables = time.perf_counter(), [], None
    try:
        for state, row in unit.train():
            rows.append(row)
            variables = state.params, state.bounds, state.stats
            yield _Told(unit, len(rows) / unit.cells[0].run.points)
        outcome = jax.device_get((variables, jax.tree.map(_stack, *rows)))
        seconds = time.perf_counter() - started
        ends = [recorded(cell, _entry(outcome, index), seconds) for index, cell in enumerate(unit.cells)]
    except Exception as error:  # whatever it was, the other cells go on
        seconds, message = time.perf_counter() - started, f"{type(error).__name__}: {error}"
        ends = [failure(cell, seconds, message) for cell in unit.cells]
    if writes():
        for end in ends:
            records.write(end, unit.folder)
        checkpoint.clear(unit.folder, {end.name for end in ends if end.status in FINISHED})
    yield _Told(unit, 1.0, tuple(ends))
