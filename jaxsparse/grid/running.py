"""Running a grid: a finished cell is on disk before the next one starts, so a killed grid resumes where it was."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxsparse import data, records, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Run
from jaxsparse.files import Unwritable
from jaxsparse.grid import checkpoint, streaming, thinning
from jaxsparse.grid.checkpoint import Kept, Reached
from jaxsparse.grid.claims import Claims
from jaxsparse.grid.declaration import Cell, Declaration
from jaxsparse.grid.devices import cores, writes
from jaxsparse.grid.engine import ONE_DEVICE_EACH, Compiled, Engine, Placement
from jaxsparse.grid.recording import failure, recorded
from jaxsparse.grid.sharing import Shared, told_by
from jaxsparse.records import FINISHED
from jaxsparse.train import Row, State

Outcomes = Iterator[tuple[State, Row]]
"""State and measurements of cells after every interval of their training."""

WAIT_SECONDS = 1.0
"""Between two looks at what other processes train."""


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
    measured: tuple[Measured, ...] = ()
    """what has just been measured"""


@dataclass(frozen=True)
class Measured:
    """Cells that are trained side by side, at the end of an interval."""

    cells: tuple[Cell, ...]
    points: int
    """intervals so far"""
    row: Row
    """arrays with a leading axis of cells, which may be longer"""


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

    @property
    def path(self) -> Path:
        """The cell's folder."""
        return self.folder / self.cell.name


Trainer = Callable[[Sequence[Job], Progress, Claims | None], Iterator[Progress]]
"""Who trains what is not there yet and claims it: `train_here`, or `ray_engine.train_on_cluster`."""


def train_here(
    jobs: Sequence[Job], progress: Progress, claims: Claims | None = None, placement: Placement = ONE_DEVICE_EACH
) -> Iterator[Progress]:
    """Trains cells on the devices of this process.

    Args:
      jobs: that are not done yet; those of one network next to each other.
      progress: so far.
      claims: decide which of them this process trains; all, where there are none.
      placement: of the cells on the devices.
    """
    units = Shared(_units(jobs, placement, claims))

    def work() -> Iterator[_Told]:
        for unit in units:
            yield from _train_together(unit, claims)

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
            measured=told.measured,
        )
        yield progress


def run(
    declaration: Declaration, folder: Path, trainer: Trainer = train_here, grows: bool = True
) -> Generator[Progress, None, None]:
    """Trains every cell of a grid that is not finished yet; see `train`.

    Args:
      declaration: what the grid is made of.
      folder: new, empty, or that of the same grid started earlier; finished cells appear in `folder/cells`.
      trainer: who trains them.
      grows: whether the folder may hold a grid of fewer or other optimizers, regularizers, strengths and seeds.

    Raises:
      InvalidInput: where the folder can't be written to or holds another grid.
    """
    if writes():
        declaration.write(folder, grows)
    yield from train(declaration.cells(), folder / "cells", trainer)


def train(cells: Sequence[Cell], folder: Path, trainer: Trainer = train_here) -> Iterator[Progress]:
    """`train_all` of cells that go into one folder."""
    yield from train_all([Job(cell, folder) for cell in cells], trainer)


def train_all(jobs: Sequence[Job], trainer: Trainer = train_here) -> Iterator[Progress]:
    """Trains the cells that are not in their folders yet, as a generator that tells how it goes.

    A cell that fails is recorded with its error, one whose loss is no longer finite as diverged, and the others go on.
    Several processes may share folders: each cell is trained by the one that claims it first, and whoever finds nothing
    more to claim waits for the others to end, and takes over from those that die. What is there but not whole is put
    aside.

    Args:
      jobs: cells with names of their own in each folder; those of one run next to each other. Folders are made if they
        are missing.
      trainer: who trains them.

    Yields:
      The progress after every interval, after cells were written, and every now and then while others train.

    Raises:
      InvalidInput: where a finished cell of the same name is of other settings, with the differences; where something
        can't be written.
    """
    folders = list(dict.fromkeys(job.folder for job in jobs))
    if writes():
        for folder in folders:
            records.writable(folder)
            records.clear_partial(folder)
    with Claims() as claims:
        if writes():
            for folder in folders:
                _put_strays_aside(folder, {job.cell.name for job in jobs if job.folder == folder})
        before = {job.path: _stamp(job.path) for job in jobs}
        pending = _pending(jobs, claims)
        for folder in folders if writes() else ():
            ended = {job.cell.name for job in jobs if job.folder == folder} - {job.cell.name for job in pending}
            checkpoint.clear(folder, ended)
        progress = Progress(len(jobs), len(jobs) - len(pending), (), 0.0, 0.0, 0.0, ())
        yield progress
        if jax.process_count() > 1:
            if pending:
                yield from trainer(pending, progress, None)
            return
        while pending:
            taken = {folder: claims.others(folder) for folder in folders}
            free = [job for job in pending if job.cell.name not in taken[job.folder]]
            if free:
                for step in trainer(free, progress, claims):
                    progress = step
                    yield step
            else:
                time.sleep(WAIT_SECONDS)
            pending = [job for job in pending if _stamp(job.path) in (None, before[job.path])]
            done = len(jobs) - len(pending)
            progress = replace(progress, finished=done, current=(), share=0.0, ended=(), measured=())
            yield progress


def _network(run: Run) -> Run:
    """What cells share that differ in the update rule only, as far as an engine is concerned."""
    return replace(run, optimizer="adam", regularizer="none", convention="torch", nesterov=False)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tells what is there from what comes in its place; None where nothing is there."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_ctime_ns


def _put_strays_aside(folder: Path, names: set[str]) -> None:
    """Puts runs aside that are none of the cells, and not what they are called, as those of a renamed folder."""
    for path in sorted(folder.glob(f"*/{records.DESCRIPTION}")):
        run = path.parent
        if run.name in names or records.is_put_away(run, folder):
            continue
        try:
            called = records.describe(run).get("cell", run.name)
        except InvalidInput as error:
            records.put_aside(run, str(error), "left out")
        else:
            if called != run.name:
                records.put_aside(run, f"it holds {called}", "left out")


def _pending(jobs: Sequence[Job], claims: Claims) -> list[Job]:
    """Those that are not done yet; of several processes that train together, according to the first, which then has
    claimed them."""
    together = jax.process_count() > 1
    left = np.array([writes() and not _is_done(job, claims) for job in jobs], bool)
    if together:
        left &= [pending and claims.take(job.folder, job.cell.name) for job, pending in zip(jobs, left, strict=True)]
        left = multihost_utils.broadcast_one_to_all(left)
    return [job for job, pending in zip(jobs, left, strict=True) if pending]


def _is_done(job: Job, claims: Claims) -> bool:
    """Whether a cell is there, whole; what is there but not whole is put aside.

    Raises:
      InvalidInput: where a cell of other settings is there.
    """
    try:
        described = records.check(job.path)
    except InvalidInput as error:
        if os.path.lexists(job.path) and claims.take(job.folder, job.cell.name):
            if not records.is_finished(job.path):  # another process may just have put it there
                records.put_aside(job.path, str(error))
            claims.release(job.folder, job.cell.name)
        return records.is_finished(job.path)
    if described["status"] not in FINISHED:
        return False
    differing = job.cell.differs_from(described)
    if differing:
        raise InvalidInput(f"out must be a folder with the same settings, {job.path} differs: {'; '.join(differing)}")
    return True


@dataclass(frozen=True)
class _Begun:
    """A training that goes on from where it was."""

    outcomes: Outcomes
    rows: int = 0
    """intervals that were trained before; their rows come first"""
    seconds: float = 0.0
    """that these took"""


@dataclass(frozen=True)
class _Unit:
    """Cells that are trained side by side, by one thread."""

    cells: tuple[Cell, ...]
    folder: Path
    begin: Callable[[], _Begun]
    kept: bool = False
    """whether checkpoints are written here"""


@dataclass(frozen=True)
class _Told:
    """Of the training of a unit."""

    unit: _Unit
    share: float
    """that is done, 0..1"""
    ended: tuple[records.Record, ...] = ()
    measured: tuple[Measured, ...] = ()


def _alone(run: Run) -> Callable[[Cell, Path], Outcomes] | None:
    """What trains the cells of a run one by one; none where an engine does it."""
    if run.shrink_every:  # their shapes are their own
        return lambda cell, folder: thinning.train(cell)
    return None if data.describe(run.data).fits else streaming.train


def _claimed(jobs: Iterable[Job], claims: Claims | None) -> Iterator[Cell]:
    """The cells that this process gets, each claimed when it is asked for."""
    for job in jobs:
        if claims is None:
            yield job.cell
        elif claims.take(job.folder, job.cell.name):
            if records.is_finished(job.path):
                claims.release(job.folder, job.cell.name)
            else:
                yield job.cell


def _units(jobs: Sequence[Job], placement: Placement, claims: Claims | None) -> Iterator[_Unit]:
    """What is to be trained, in this order. A network is compiled when its turn comes, while others may still train."""
    for _, members in itertools.groupby(jobs, lambda job: (_network(job.cell.run), job.folder)):
        alike = list(members)
        alone, folder = _alone(alike[0].cell.run), alike[0].folder
        if alone is not None:
            for cell in _claimed(alike, claims):
                yield _Unit((cell,), folder, partial(_begin_alone, alone, cell, folder))
            continue
        if claims is not None:
            taken = claims.others(folder)
            alike = [job for job in alike if job.cell.name not in taken and not records.is_finished(job.path)]
        if not alike:  # others were faster
            continue
        engine = placement.engine(alike[0].cell.run, len(alike))
        groups = [tuple(group) for _, group in itertools.groupby(alike, lambda job: job.cell.run)]
        with ThreadPoolExecutor(cores()) as pool:  # XLA compiles outside of Python's lock
            compiling = [pool.submit(engine.compile, [job.cell for job in group]) for group in groups]
        for group, compiled in zip(groups, compiling, strict=True):
            for chunk in _chunks(_claimed(group, claims), engine.together(len(group))):
                for cells in _at_one_epoch(chunk, folder):
                    begin = partial(_begin_compiled, engine, compiled, cells, folder)
                    yield _Unit(cells, folder, begin, kept=jax.process_count() == 1)


def _at_one_epoch(cells: tuple[Cell, ...], folder: Path) -> Iterator[tuple[Cell, ...]]:
    """The cells, those apart whose trainings came to another epoch before."""
    reached = {cell.name: checkpoint.latest(folder, cell.name) for cell in cells}
    for epoch in dict.fromkeys(reached.values()):
        yield tuple(cell for cell in cells if reached[cell.name] == epoch)


def _begin_alone(alone: Callable[[Cell, Path], Outcomes], cell: Cell, folder: Path) -> _Begun:
    return _Begun(alone(cell, folder))


def _begin_compiled(engine: Engine, compiled: Future[Compiled], cells: tuple[Cell, ...], folder: Path) -> _Begun:
    done = compiled.result()
    found = [checkpoint.load(folder, cell, lambda: done.shapes) for cell in cells]
    kept = [one for one in found if one is not None]
    if len(kept) < len(cells) or len({len(one.reached.losses) for one in kept}) > 1:
        return _Begun(engine.train(done, cells))
    outcomes = engine.train(done, cells, [one.reached for one in kept])
    return _Begun(outcomes, len(kept[0].reached.rows), max(one.seconds for one in kept))


def _train_together(unit: _Unit, claims: Claims | None) -> Iterator[_Told]:
    """Trains cells side by side to their end, and writes what came out."""
    yield _Told(unit, 0.0)
    started, rows, variables, pace, points = time.perf_counter(), [], None, checkpoint.Pace(), unit.cells[0].run.points
    try:
        begun = unit.begin()
        for state, row in begun.outcomes:
            rows.append(row)
            variables = state.evaluated, state.bounds, state.stats
            if unit.kept and begun.rows < len(rows) < points and pace.is_due():
                seconds = begun.seconds + time.perf_counter() - started
                pace.keep(partial(_keep, unit, state, tuple(rows), seconds))
            yield _Told(unit, len(rows) / points, measured=(Measured(unit.cells, len(rows), row),))
        outcome = jax.device_get((variables, jax.tree.map(_stack, *rows)))
        seconds = begun.seconds + time.perf_counter() - started
        ends = [recorded(cell, _entry(outcome, index), seconds) for index, cell in enumerate(unit.cells)]
    except Unwritable:
        raise
    except Exception as error:  # whatever it was, the other cells go on
        seconds, message = time.perf_counter() - started, f"{type(error).__name__}: {error}"
        ends = [failure(cell, seconds, message) for cell in unit.cells]
    if writes():
        for end in ends:
            _write(end, unit.folder, claims)
    yield _Told(unit, 1.0, tuple(ends))


def _keep(unit: _Unit, state: State, rows: tuple[Row, ...], seconds: float) -> None:
    """Writes down what cells have come to."""
    held = jax.device_get((state, rows))
    for index, cell in enumerate(unit.cells):
        own, seen = _entry(held, index)
        reached = Reached(own, np.concatenate([row.train_loss for row in seen]), seen)
        checkpoint.save(unit.folder, cell, Kept(reached, None, seconds))


def _write(end: records.Record, folder: Path, claims: Claims | None) -> None:
    """Writes a record, unless another process has taken the cell over from this one."""
    if claims is None or claims.holds(folder, end.name):
        records.write(end, folder)
        if end.status in FINISHED:
            checkpoint.clear(folder, {end.name})
    if claims is not None:
        claims.release(folder, end.name)
