"""`jaxsparse bench measure`: what it costs to measure a network while it trains, beside the steps between.

A measurement runs the network over all images of both splits, forward only, and reduces every unit to a few numbers.
How often a training measures is `--measure-every`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

import jaxsparse as js
from jaxsparse import data
from jaxsparse.bench import arguments
from jaxsparse.bench.timing import Work, alone
from jaxsparse.grid import processor
from jaxsparse.train import network


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - begun


def measure(work: Work, rounds: int = 7) -> dict[str, object]:
    """Times training steps and measurements of one network on one device, in turn.

    Args:
      work: what is trained.
      rounds: measurements; medians are given.

    Returns:
      `processor`; `ms_per_step`, `ms_per_measurement`, and the `images_of_a_measurement`; `steps_of_a_measurement`, how
      many steps take as long as one; `share_of_a_step_an_image`, what an image costs in a measurement over what it
      costs in a step; `ms_per_monitor`, what a call of `js.Monitor` costs that measures the same network on a batch,
      and `steps_of_a_monitor`.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, None)
    engine, compiled, intervals, steps = alone(work)
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        state, losses = next(intervals)
        advanced = time.perf_counter() - begun

        def look(state: Any = state, losses: Any = losses) -> Any:
            return compiled.measured(engine.dataset, state.evaluated, state.bounds, state.stats, losses)

        times.append((advanced / steps, _seconds(look)))
    watched = _monitor_seconds(work, rounds)
    step, once = (statistics.median(each) for each in zip(*times[1:], strict=True))  # the first settles memory
    images = sum(len(split.labels) for split in (engine.dataset.train, engine.dataset.test))
    return {
        "processor": processor.name(),
        "ms_per_step": 1e3 * step,
        "ms_per_measurement": 1e3 * once,
        "images_of_a_measurement": images,
        "steps_of_a_measurement": once / step,
        "share_of_a_step_an_image": once / images / (step / work.batch),
        "ms_per_monitor": 1e3 * watched,
        "steps_of_a_monitor": watched / step,
    }


def _monitor_seconds(work: Work, rounds: int) -> float:
    """Of a call of a monitor that measures on one batch."""
    run = work.run()
    dataset, model = data.load(run.data), network(run, jax.random.key(0))
    x = data.preprocess(dataset, data.examples(dataset.train, work.batch))
    monitor = js.Monitor(model, x, every=1)
    monitor(0, model)  # the first one compiles
    return statistics.median(_seconds(lambda: monitor(1, model)) for _ in range(rounds))
