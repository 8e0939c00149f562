"""`jaxsparse bench step`: the very training step that a grid runs, and an equivalent PyTorch loop beside it.

Time is wall time divided by steps and cells: what a step of one network costs when the machine is full. PyTorch is
timed eagerly and compiled, with both memory layouts; on a processor as one network on all threads and as one one-thread
process a core, each on a core of its own, and memory that it frees stays with it. Its best counts. All are measured in
turn, round after round, so that a machine that changes its speed changes it for all.

One epoch of CIFAR's size on an accelerator is

    jaxsparse bench step --model basicnet --batch 128 --images 50000 --precision bfloat16 --cells 1 --against torch
"""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import jax

from jaxsparse import grid, models
from jaxsparse.bench import arguments
from jaxsparse.bench.roofline import roofline
from jaxsparse.bench.timing import SECONDS, Work, cell_seconds
from jaxsparse.checks import require, require_choice
from jaxsparse.grid import processor
from jaxsparse.thresholding import METHODS

KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}
"""So that what PyTorch allocates anew in every step need not come from the system (glibc)."""


@contextlib.contextmanager
def _torch_workers(flags: list[str], processes: int) -> Iterator[Callable[[], float] | None]:
    """PyTorch loops in processes of their own; the function given measures the seconds of a step and cell. None where
    PyTorch can't do it here, as it compiles only where there is a compiler of C++."""
    command = [sys.executable, "-m", "jaxsparse.bench.torch_step", *flags]
    pipe, environment = subprocess.PIPE, {**os.environ, **KEEPS_MEMORY}
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(processes)]
    if processes > 1 and hasattr(os, "sched_setaffinity"):
        for worker, core in zip(workers, sorted(os.sched_getaffinity(0)), strict=True):
            os.sched_setaffinity(worker.pid, {core})

    def measure() -> float:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{SECONDS}\n")
            worker.stdin.flush()
        answers = []
        for worker in workers:
            assert worker.stdout is not None
            answers.append(float(worker.stdout.readline()))
        return statistics.mean(answers) / processes

    try:
        try:
            measure()  # imports, compilation, caches, memory
        except (ValueError, BrokenPipeError):
            yield None
        else:
            yield measure
    finally:
        for worker in workers:
            worker.kill()
            with contextlib.suppress(BrokenPipeError):
                worker.communicate()


def _torch_ways(work: Work) -> Mapping[str, contextlib.AbstractContextManager[Callable[[], float] | None]]:
    """What may be PyTorch's best, by name."""
    sizes = [str(work.batch), str(work.images), *map(str, models.widths_of(work.model, work.width))]
    network = [work.precision, work.model, work.image, *sizes]
    layouts, cores = ("contiguous", "channels_last") if work.model != "mlp" else ("contiguous",), grid.cores()
    found = {}
    for layout, form in itertools.product(layouts, ("eager", "compiled")):
        if jax.default_backend() == "cpu":
            one, many = ([layout, form, str(threads), *network] for threads in (cores, 1))
            found[f"torch {layout}, {form}, 1 process x {cores} threads"] = _torch_workers(one, 1)
            found[f"torch {layout}, {form}, {cores} processes x 1 thread"] = _torch_workers(many, cores)
        else:
            found[f"torch {layout}, {form}"] = _torch_workers([layout, form, str(cores), *network], 1)
    return found


def step(
    work: Work,
    cells: int | None = None,
    packing: str | None = None,
    rounds: int = 7,
    against: str | None = None,
    thresholding: str = "none",
) -> dict[str, object]:
    """Times one training step (Adam with coupled L2) of a network on random images.

    Args:
      work: what is trained.
      cells: networks side by side, one a device; all devices where not given.
      packing: of more cells than devices, `grid.packing.PACKINGS`.
      rounds: measurements; medians are given.
      against: `"torch"` or nothing.
      thresholding: a method by which convolutions become sparse, whose step is timed in turn with the plain one.

    Returns:
      `processor`: its name and widest instructions; `ms_per_step`: wall milliseconds per step and cell;
      `epoch_seconds`: of all images, once; `images_per_second` of all cells together; `gflops`: useful operations per
      second of all cells together (three times the forward pass), `matmul_gflops` and `memory_gb_per_second`: the most
      that the devices in use can do, `share_of_matmul_rate` of the first; with `against`, `torch_ms_per_step` of
      PyTorch's best way, every way's own, and `ratio` (PyTorch's time over ours; above 1 we are faster); with
      `thresholding`, `thresholded_ms_per_step`, and `thresholding_cost` (its time over the plain step's, the median of
      rounds).

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, against)
    require_choice("thresholding", thresholding, tuple(METHODS))
    require(not against or work.model in ("mlp", "basicnet"), "against", against, f"left out for {work.model}")
    require(cells is None or cells >= 1, "cells", cells, "a whole number >= 1")
    grid.use_every_core(None if packing else cells)
    devices = jax.device_count()
    cells = cells or devices
    fits = cells <= devices or packing is not None
    require(fits, "cells", cells, f"at most the {devices} devices of this machine without packing")
    run = work.run()
    ours, compile_seconds = cell_seconds(run, cells, packing)
    ways: dict[str, Callable[[], float]] = {"jaxsparse": ours}
    if thresholding != "none":
        ways["thresholded"] = cell_seconds(replace(run, thresholding=thresholding), cells, packing)[0]
    limit = roofline(min(cells, devices), work.precision)
    with contextlib.ExitStack() as stack:
        for name, way in (_torch_ways(work) if against else {}).items():
            measure = stack.enter_context(way)
            if measure is None:
                print(f"jaxsparse: left out, as PyTorch can't do it here: {name}", file=sys.stderr)
            else:
                ways[name] = measure
        found = len(ways) > 1 or not against
        require(found, "against", against, "left out: PyTorch does not run here")
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, measure in ways.items():
                times[name].append(1e3 * measure())
    medians = {name: statistics.median(values) for name, values in times.items()}
    milliseconds = medians.pop("jaxsparse")
    result: dict[str, object] = {
        "processor": processor.name(),
        "ms_per_step": milliseconds,
        "ms_per_step_spread": [min(times["jaxsparse"]), max(times["jaxsparse"])],
        "cells": cells,
        "epoch_seconds": milliseconds * (work.images // work.batch) / 1e3,
        "images_per_second": 1e3 * work.batch / milliseconds,
        "compile_seconds": compile_seconds,
        "gflops": work.operations() / milliseconds / 1e6,
        "matmul_gflops": limit.operations / 1e9,
        "memory_gb_per_second": limit.bytes / 1e9,
        "share_of_matmul_rate": 1e3 * work.operations() / milliseconds / limit.operations,
    }
    if thresholding != "none":
        pairs = zip(times["thresholded"], times["jaxsparse"], strict=True)
        cost = statistics.median(ours / plain for ours, plain in pairs)
        result |= {"thresholded_ms_per_step": medians.pop("thresholded"), "thresholding_cost": cost}
    if against:
        best = min(medians, key=lambda name: medians[name])
        result |= {"torch_ms_per_step": medians[best], "ratio": medians[best] / milliseconds, "torch_best": best}
        result |= {"torch_ways": medians}
    return result
