"""Training on data that do not fit on the device: batches come from the host, while the device is busy with the last.

One cell after another, on the first device. After every epoch all that a training has come to is kept beside the cells,
the place in the order of the images with it, so a killed one goes on from there and ends as if it had not been. (The
seconds in its record are those since then.)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse import data
from jaxsparse.config import Hyper
from jaxsparse.data.streaming import Batch, on_device
from jaxsparse.grid import checkpoint
from jaxsparse.grid.checkpoint import Kept, Reached
from jaxsparse.grid.declaration import Cell
from jaxsparse.grid.engine import observed
from jaxsparse.grid.start import started
from jaxsparse.train import Row, State, Training, steps_per_epoch


def train(cell: Cell, folder: Path) -> Iterator[tuple[State, Row]]:
    """Trains a cell, as `Engine.train` does for several: yields state and row after every interval, with a leading axis
    of one cell. What was measured before the training was interrupted comes first, with the state of now.

    Args:
      cell: whose data are streamed.
      folder: of the cells, where the checkpoint is kept.
    """
    run, stream = cell.run, data.stream(cell.run.data, cell.run.pixels)
    training = observed(run)
    hyper = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), cell.hyper)
    key, batches = jax.random.key(cell.seed), stream.shuffled(run.batch, cell.seed)
    variables = started(training, cell.start, cell.seed)
    start = Reached(jax.jit(training.init)(hyper, *variables), np.zeros(0, np.float32), ())
    kept = checkpoint.load(folder, cell, lambda: (start.state, _row(training, start.state))) or Kept(start, None, 0.0)
    reached, before, begun = kept.reached, kept.seconds, time.perf_counter()
    if kept.place is not None:
        batches.set_state(kept.place)
    for row in reached.rows:
        yield _one(reached.state), _one(row)
    step = jax.jit(partial(_step, training), donate_argnums=2)
    for epoch in range(len(reached.losses), run.epochs):
        reached = _epoch(training, reached, epoch, partial(step, hyper, key), batches, stream)
        spent = before + time.perf_counter() - begun
        checkpoint.save(folder, cell, Kept(reached, batches.get_state(), spent))
        if (epoch + 1) % run.measure_every == 0:
            yield _one(reached.state), _one(reached.rows[-1])


def _step(
    training: Training,
    hyper: Hyper,
    key: jax.Array,
    state: State,
    stream: data.Stream,
    batch: data.Split,
    number: jax.Array,
) -> tuple[State, jax.Array]:
    """One batch, which the host has augmented."""
    return training.step(hyper, key, state, data.preprocess(stream, batch.images), batch.labels, number)


def _epoch(
    training: Training, reached: Reached, epoch: int, step: Any, batches: Iterator[Batch], stream: data.Stream
) -> Reached:
    """What an epoch adds; where it ends an interval, its row too."""
    run, state, losses = training.run, reached.state, []
    steps = steps_per_epoch(run, training.description)
    for number, batch in enumerate(itertools.islice(batches, steps), start=epoch * steps):
        if len(losses) > 1:
            losses[-2].block_until_ready()  # or batches would pile up where the device is slower than the host
        state, loss = step(state, stream, on_device(batch), np.int32(number))
        losses.append(loss)
    mean = np.mean(jax.device_get(losses), dtype=np.float32)
    state = replace(state, epoch=state.epoch + 1)
    everything = np.append(reached.losses, mean)
    if (epoch + 1) % run.measure_every:
        return Reached(state, everything, reached.rows)
    recent = jnp.asarray(everything[-run.measure_every :])
    row = jax.device_get(training.measured(stream, state.evaluated, state.bounds, state.stats, recent))
    return Reached(state, everything, (*reached.rows, row))


def _row(training: Training, state: State) -> Row:
    """What is measured, as shapes."""
    description = training.description
    image, channels = (1, *description.shape), description.shape[-1:]
    split = data.Split(jnp.zeros(image, jnp.uint8), jnp.zeros(1, jnp.int32))
    little = data.Dataset(split, split, jnp.zeros(channels), jnp.ones(channels), description)
    losses = jnp.zeros(training.run.measure_every)
    return jax.eval_shape(training.measured, little, state.params, state.bounds, state.stats, losses)


def _one(tree: Any) -> Any:
    """With a leading axis of one cell."""
    return jax.tree.map(lambda a: a[None], tree)
