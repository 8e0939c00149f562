"""`jaxsparse bench scale`: the same step on one device, two, four and eight.

    cells   as many cells as devices, one each: nothing is communicated, so the time of a step should stay
    split   one cell whose batch they share: gradients are summed over the devices in every step

On a CPU without eight cores the devices are simulated: more of them than cores share what there is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import jax

from jaxsparse import grid
from jaxsparse.bench import arguments
from jaxsparse.bench.timing import Work, cell_seconds
from jaxsparse.checks import require

DEVICES = (1, 2, 4, 8)


def scale(work: Work, rounds: int = 3) -> dict[str, object]:
    """Times the step on growing numbers of devices, in turn.

    Args:
      work: what is trained.
      rounds: measurements; medians are given.

    Returns:
      `devices`, `cores`; milliseconds of a step of all `cells`, the `efficiency` (that on one device over it), and
      milliseconds of a step of one cell that is `split`.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, None)
    require(work.batch % DEVICES[-1] == 0, "batch", work.batch, f"a multiple of {DEVICES[-1]}")
    grid.use_every_core(DEVICES[-1])
    devices = [count for count in DEVICES if count <= jax.device_count()]
    run = work.run()
    cells = [_milliseconds(cell_seconds(run, count)[0], count) for count in devices]
    split = [_milliseconds(cell_seconds(run, 1, devices_per_cell=count)[0], 1) for count in devices]
    times: list[list[float]] = [[] for _ in (*cells, *split)]
    for _ in range(rounds):
        for measure, kept in zip((*cells, *split), times, strict=True):
            kept.append(measure())
    medians = [statistics.median(kept) for kept in times]
    together = medians[: len(devices)]
    return {
        "devices": devices,
        "cores": grid.cores(),
        "cells_ms_per_step": together,
        "efficiency": [together[0] / each for each in together],
        "split_ms_per_step": medians[len(devices) :],
    }


def _milliseconds(measure: Callable[[], float], cells: int) -> Callable[[], float]:
    """Of a step of all cells, from the seconds for each."""
    return lambda: 1e3 * cells * measure()
