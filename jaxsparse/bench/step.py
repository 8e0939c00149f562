"""`jaxsparse bench step`: the very training step that a grid runs, and an equivalent PyTorch loop beside it.

Time is wall time divided by steps and cells: what a step of one network costs when the machine is full. PyTorch is
timed as one network on all threads and as one one-thread process a core, with both memory layouts; its best counts.
All are measured in turn, round after round, so that a machine that changes its speed changes it for all.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
from flax import nnx

from jaxsparse import data, grid, models
from jaxsparse.bench import arguments
from jaxsparse.config import Hyper, Run, require
from jaxsparse.data import noise
from jaxsparse.train import network, steps_per_epoch

SECONDS = 1.0
"""Of one measurement, about."""


def forward_operations(run: Run) -> float:
    """Floating-point operations of one image's way through the network; a multiplication and an addition are two."""
    graph, state = nnx.split(nnx.eval_shape(lambda: network(run, jax.random.key(0))))
    shape = (1, *data.describe(run.data).shape)

    def forward(state: nnx.State, x: jax.Array) -> jax.Array:
        model = nnx.merge(graph, state, copy=True)
        model.eval()
        return model(x)

    lowered = jax.jit(forward).lower(state, jax.ShapeDtypeStruct(shape, "float32"))
    analysis = lowered.cost_analysis() or {}
    return float(analysis.get("flops", float("nan")))


def _interval(operations: float) -> int:
    """Epochs in one call: enough that the call itself costs nothing."""
    guess = operations / 30e9  # seconds of an epoch at a modest rate
    return max(1, round(0.25 * SECONDS / guess))


def _cell_seconds(run: Run, cells: int) -> tuple[Callable[[], float], float]:
    """A function that measures the seconds of a step and cell, and the seconds it took to compile."""
    hyper = Hyper(1e-3, 1e-4, {"b1": 0.9, "b2": 0.99, "eps": 1e-8})
    members = [grid.Cell(run, hyper, seed, "l2") for seed in range(cells)]
    engine = grid.Engine(run, cells)
    start = time.perf_counter()
    compiled = engine.compile(members[0])
    compile_seconds = time.perf_counter() - start
    intervals = engine.advance_forever(compiled, members)
    next(intervals)  # caches, memory
    steps = run.measure_every * steps_per_epoch(run, data.describe(run.data))

    def measure() -> float:
        calls, begun = 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < SECONDS or not calls:
            next(intervals)
            calls += 1
        return spent / (calls * steps * cells)

    return measure, compile_seconds


@contextlib.contextmanager
def _torch_workers(flags: list[str], processes: int) -> Iterator[Callable[[], float]]:
    """PyTorch loops in processes of their own; the function given measures the seconds of a step and cell."""
    command = [sys.executable, "-m", "jaxsparse.bench.torch_step", *flags]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(processes)]

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
        measure()  # imports, caches, memory
        yield measure
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def step(
    model: str,
    width: float,
    image: str,
    batch: int,
    cells: int | None = None,
    rounds: int = 7,
    against: str | None = None,
) -> dict[str, object]:
    """Times one training step (Adam with coupled L2) of a network on random images.

    Args:
      model: name of the network.
      width: multiplies its own widths.
      image: HEIGHTxWIDTHxCHANNELS.
      batch: images in a step.
      cells: networks side by side, one a device; all devices where not given.
      rounds: measurements; medians are given.
      against: `"torch"` or nothing.

    Returns:
      `ms_per_step`: wall milliseconds per step and cell; `images_per_second` of all cells together; `gflops`: useful
      operations per second of all cells together (three times the forward pass); with `against`, `torch_ms_per_step`
      of PyTorch's best way, every way's own, and `ratio` (PyTorch's time over ours; above 1 we are faster).

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, against)
    require(not against or model in ("mlp", "basicnet"), "against", against, f"left out for {model}")
    require(cells is None or cells >= 1, "cells", cells, "a whole number >= 1")
    grid.use_every_core(cells)
    devices = jax.device_count()
    cells = cells or devices
    require(cells <= devices, "cells", cells, f"at most the {devices} devices of this machine")
    run = Run(noise.PREFIX + image, model, width, regularizer="l2", epochs=1, measure_every=1, batch=batch)
    operations = 3 * batch * forward_operations(run)
    steps = steps_per_epoch(run, data.describe(run.data))
    epochs = _interval(operations * steps)
    run = replace(run, epochs=epochs, measure_every=epochs)
    ours, compile_seconds = _cell_seconds(run, cells)
    ways: dict[str, Callable[[], float]] = {"jaxsparse": ours}
    with contextlib.ExitStack() as stack:
        if against:
            cores = grid.cores()
            network_flags = [model, image, str(batch), *map(str, models.widths_of(model, width))]
            for layout in ("contiguous", "channels_last") if model != "mlp" else ("contiguous",):
                one = _torch_workers([layout, str(cores), *network_flags], 1)
                many = _torch_workers([layout, "1", *network_flags], cores)
                ways[f"torch {layout}, 1 process x {cores} threads"] = stack.enter_context(one)
                ways[f"torch {layout}, {cores} processes x 1 thread"] = stack.enter_context(many)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, measure in ways.items():
                times[name].append(1e3 * measure())
    medians = {name: statistics.median(values) for name, values in times.items()}
    milliseconds = medians.pop("jaxsparse")
    result: dict[str, object] = {
        "ms_per_step": milliseconds,
        "ms_per_step_spread": [min(times["jaxsparse"]), max(times["jaxsparse"])],
        "cells": cells,
        "images_per_second": 1e3 * batch / milliseconds,
        "compile_seconds": compile_seconds,
        "gflops": operations / milliseconds / 1e6,
    }
    if against:
        best = min(medians, key=lambda name: medians[name])
        result |= {"torch_ms_per_step": medians[best], "ratio": medians[best] / milliseconds, "torch_best": best}
        result |= {"torch_ways": medians}
    return result
