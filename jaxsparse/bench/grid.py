"""`jaxsparse bench grid`: how much of a grid's wall time is pure training steps.

The rest is compiling, measuring sparsity, writing records, and devices that wait for each other. It trains real cells
of Adam with L2 into a temporary folder, nothing being compiled before, and times the same compiled steps alone before
and after. How long a cell takes decides the share of compiling; here it is about `CELL_SECONDS`, measured 25 times.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax

from jaxsparse import grid as grids
from jaxsparse import records
from jaxsparse.bench import arguments
from jaxsparse.bench.timing import Work, cell_seconds
from jaxsparse.config import require
from jaxsparse.data import describe
from jaxsparse.train import steps_per_epoch

CELL_SECONDS = 5.0
"""Of a cell's pure steps, about."""
POINTS = 25
"""Measurements of a cell."""


def grid(work: Work, cells: int | None = None, rounds: int = 3) -> dict[str, object]:
    """Trains a grid and times its steps alone.

    Args:
      work: what is trained.
      cells: of the grid; four a device where not given.
      rounds: measurements of the steps alone, before and after; their median counts.

    Returns:
      `wall_seconds` of the grid, `compile_seconds` of these, `step_seconds` of pure steps, and `overhead`, the wall
      time over that of the steps; `overhead_of_a_long_grid`: the same without compiling, which is done once.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, None)
    grids.use_every_core()
    devices = jax.device_count()
    cells = 4 * devices if cells is None else cells
    require(cells >= devices, "cells", cells, f"at least the {devices} devices")
    run = work.run()
    steps = steps_per_epoch(run, describe(run.data))
    measure, _ = cell_seconds(run, devices)
    alone = [measure() for _ in range(rounds)]
    interval = max(1, round(CELL_SECONDS / (POINTS * alone[0] * devices * steps)))
    run = replace(run, epochs=POINTS * interval, measure_every=interval)
    constants = {"b1": 0.9, "b2": 0.99, "eps": 1e-8}
    declaration = grids.Declaration(run, ("adam",), ("l2",), (1e-4,), tuple(range(cells)), 1e-3, constants)
    jax.clear_caches()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        *_, last = grids.run(declaration, Path(folder) / "grid")
        wall = time.perf_counter() - started
        ended = records.finished(Path(folder) / "grid" / "cells")
    alone += [measure() for _ in range(rounds)]
    pure = statistics.median(alone) * run.epochs * steps * -(-cells // devices) * devices
    return {
        "cells": cells,
        "cells_done": sum(status == "done" for status in ended.values()),
        "steps_of_a_cell": run.epochs * steps,
        "wall_seconds": wall,
        "compile_seconds": last.compiling,
        "step_seconds": pure,
        "overhead": wall / pure,
        "overhead_of_a_long_grid": (wall - last.compiling) / pure,
    }
