"""The training step that a grid runs, on random images: what to time, and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
from flax import nnx

from jaxsparse import data, grid, rules
from jaxsparse.config import Hyper, Run, Target
from jaxsparse.data import noise
from jaxsparse.shrinking.costs import macs
from jaxsparse.train import network, steps_per_epoch

SECONDS = 1.0
"""Of one measurement, about."""
STRENGTH = 1e-4
"""Of the regularizer of what is timed."""


@dataclass(frozen=True)
class Work:
    """A network and what it is fed."""

    model: str
    width: float
    """multiplies the network's own widths"""
    image: str
    """HEIGHTxWIDTHxCHANNELS"""
    batch: int
    images: int = noise.TRAIN_SIZE
    """random ones, on the device"""
    precision: str = "float32"

    def run(self) -> Run:
        """Its training with L2, as many epochs in one call as make the call itself cost nothing.

        Raises:
          InvalidInput: naming the field and the allowed values.
        """
        name = noise.name(self.image, self.images)
        settings = {"batch": self.batch, "precision": self.precision, "regularizer": "l2"}
        run = Run(name, self.model, self.width, epochs=1, measure_every=1, **settings)
        operations = self.operations() * steps_per_epoch(run, data.describe(name))
        epochs = max(1, round(0.25 * SECONDS * 30e9 / operations))  # at a modest rate
        return replace(run, epochs=epochs, measure_every=epochs)

    def operations(self) -> float:
        """Of a step, in floating point: three times those of the batch's way through the network, as if products and
        convolutions were all computed as they are written; a multiplication and an addition are two."""
        run = Run(noise.name(self.image), self.model, self.width)
        model = nnx.eval_shape(lambda: network(run, jax.random.key(0)))
        model.eval()
        image = jax.ShapeDtypeStruct((1, *data.describe(run.data).shape), "float32")
        return 3.0 * self.batch * 2.0 * sum(macs(model, image).values())


def members(run: Run, cells: int) -> list[grid.Cell]:
    """Networks of a run; the papers' hyperparameters."""
    rule = rules.resolve(run.optimizer)
    hyper = Hyper(
        rule.learning_rate,
        STRENGTH,
        rule.constants(run.convention),
        (Target(0.85, 10.0),),  # of what is thresholded
    )
    return [grid.Cell(run, hyper, seed, run.regularizer) for seed in range(cells)]


class Alone(NamedTuple):
    """One network on one device, compiled and ready to be timed."""

    engine: grid.Engine
    compiled: Any
    intervals: Iterator[Any]
    """trains an interval each time it is asked: state and losses"""
    steps: int
    """in an interval"""


def alone(work: Work) -> Alone:
    """What `work` trains, on the first core or accelerator."""
    grid.use_every_core(1)
    run = work.run()
    cells = members(run, 1)
    engine = grid.Placement("sequential", 1).engine(run, 1)
    compiled = engine.compile(cells)
    steps = run.measure_every * steps_per_epoch(run, data.describe(run.data))
    return Alone(engine, compiled, engine.advance_forever(compiled, cells), steps)


def cell_seconds(
    run: Run, cells: int, packing: str | None = None, devices_per_cell: int | None = None
) -> tuple[Callable[[], float], float]:
    """A function that measures the seconds of a step and cell (wall time over steps and cells), and the seconds it took
    to compile what trains and measures.

    Args:
      run: with a regularizer.
      cells: side by side, one a device or as many as are packed.
      packing: `grid.Placement.packing`; one after another where not given.
      devices_per_cell: that split a batch.
    """
    every = members(run, cells)
    engine = grid.Placement(packing or "sequential", devices_per_cell or 1).engine(run, cells)
    start = time.perf_counter()
    compiled = engine.compile(every)
    compile_seconds = time.perf_counter() - start
    intervals = [engine.advance_forever(compiled, every[: compiled.together]) for _ in range(engine.threads)]
    pool = ThreadPoolExecutor(engine.threads)
    list(pool.map(next, intervals))  # caches, memory
    steps = run.measure_every * steps_per_epoch(run, data.describe(run.data))

    def measure() -> float:
        calls, begun = 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < SECONDS or not calls:
            list(pool.map(next, intervals))
            calls += 1
        return spent / (calls * steps * compiled.together * engine.threads)

    return measure, compile_seconds
