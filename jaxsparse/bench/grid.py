"""`jaxsparse bench grid`: how much of a grid's wall time is pure training steps.

The rest is compiling, measuring sparsity, writing records, and devices that have nothing left to do. It trains real
cells into a temporary folder, nothing being compiled before, and times the same compiled steps alone before and after.
How long a cell takes decides the share of compiling; each is measured 25 times.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax

from jaxsparse import grid as grids
from jaxsparse import records
from jaxsparse.bench import arguments
from jaxsparse.bench.timing import STRENGTH, Work, cell_seconds
from jaxsparse.checks import require
from jaxsparse.data import describe
from jaxsparse.train import steps_per_epoch

POINTS = 25
"""Measurements of a cell."""


def grid(
    work: Work,
    optimizers: Sequence[str] = ("adam",),
    regularizers: Sequence[str] = ("l2",),
    seeds: int | None = None,
    seconds: float = 5.0,
    rounds: int = 3,
) -> dict[str, object]:
    """Trains a grid and times its steps alone.

    Args:
      work: what is trained.
      optimizers: of the grid.
      regularizers: of the grid.
      seeds: cells of each combination; as many as make four a device where not given.
      seconds: that the pure steps of a cell should take, about.
      rounds: measurements of the steps alone, before and after; their median counts.

    Returns:
      `wall_seconds` of the grid, `compile_seconds` of these, `step_seconds` of pure steps, and `overhead`, the wall
      time over that of the steps; `overhead_of_a_long_grid`: the same without compiling, which is done once.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, None)
    require(seconds > 0, "seconds", seconds, "a number > 0")
    require(seeds is None or seeds >= 1, "seeds", seeds, "a whole number >= 1")
    grids.use_every_core()
    devices = jax.device_count()
    combinations = len(optimizers) * len(regularizers)
    run = work.run()
    steps = steps_per_epoch(run, describe(run.data))
    seeds = -(-4 * devices // max(combinations, 1)) if seeds is None else seeds
    busy = seeds * combinations >= devices or not combinations  # without any, the declaration says what is missing
    require(busy, "seeds", seeds, f"enough for the {devices} devices")

    def declared(epochs: int) -> grids.Declaration:
        timed = replace(run, epochs=epochs, measure_every=epochs // POINTS)
        return grids.Declaration(timed, tuple(optimizers), tuple(regularizers), (STRENGTH,), tuple(range(seeds)))

    cells = Counter(cell.run for cell in declared(POINTS).cells())
    alone = {replace(program, epochs=run.epochs, measure_every=run.measure_every): n for program, n in cells.items()}
    measures = {program: cell_seconds(program, devices)[0] for program in alone}
    before = {program: [measure() for _ in range(rounds)] for program, measure in measures.items()}
    step = statistics.median(each for taken in before.values() for each in taken)
    declaration = declared(POINTS * max(1, round(seconds / (POINTS * step * devices * steps))))
    jax.clear_caches()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        *_, last = grids.run(declaration, Path(folder) / "grid")
        wall = time.perf_counter() - started
        ended = records.finished(Path(folder) / "grid" / "cells")
    after = {program: [measure() for _ in range(rounds)] for program, measure in measures.items()}
    each = {program: statistics.median(before[program] + after[program]) for program in alone}
    pure = declaration.run.epochs * steps * sum(count * each[program] for program, count in alone.items())
    return {
        "cells": sum(cells.values()),
        "cells_done": sum(status == "done" for status in ended.values()),
        "steps_of_a_cell": declaration.run.epochs * steps,
        "wall_seconds": wall,
        "compile_seconds": last.compiling,
        "step_seconds": pure,
        "overhead": wall / pure,
        "overhead_of_a_long_grid": (wall - last.compiling) / pure,
    }
