"""Whether the theory of one weight in noise says when the units of a trained network die.

The MLP of `today.cells` is trained with Adam and L2 1e-3. Every `EVERY` epochs the weights are held still, and of each
gamma the gradients of all batches of an epoch give mean and standard deviation of its loss gradient. Between two
such looks both are taken as constant; from them, and from the first gamma alone, `js.noise.predict` follows mean and
deviation of the weight for all steps of the training's first learning rate. A unit's step of death is the first after
which its root mean square is below 1e-3; beside it stands the first epoch after which the network's |gamma| is.

That is no forecast: the gradients were measured on the way, and those of a unit that is falling fall with it. It says
whether mean, noise and L2 are all that there is to a death. (Batches of an epoch share no image, so their noise sums to
nothing over it; the theory takes steps as independent.)

    ROOT/today-deaths.parquet    a row for each unit that died at the first learning rate
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsparse as js
from experiments.findings import Findings, read_rows, write_rows
from experiments.today.cells import cells
from jaxsparse import data, losses
from jaxsparse.train import State, Training, make_train, steps_per_epoch
from jaxsparse.trees import Kind, flatten, of_kind

FILE = "today-deaths.parquet"
COLUMNS = ("seed", "unit", "died", "predicted", "predicted_without_noise")
"""Steps; a prediction that never comes is empty. Without noise: from the mean gradient alone."""
EVERY = 4
"""Epochs between two looks at the gradients."""
DEAD = 1e-3


def _scales(params: Any) -> jax.Array:
    """Every gamma of a network, `[units]`."""
    chosen = flatten(of_kind(Kind.SCALE)(params))
    return jnp.concatenate([leaf for name, leaf in flatten(params).items() if chosen[name]])


def _gradients(training: Training, dataset: Any, state: State, order: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of the gammas' gradients over the batches of an epoch, `[units]` each."""

    def loss(params: Any, index: jax.Array) -> jax.Array:
        model = training.model(params, state.stats)
        outputs = model(data.preprocess(dataset, dataset.train.images[index]))
        return losses.mean(training.run.loss, training.description)(outputs, dataset.train.labels[index])

    found = jax.lax.map(lambda index: _scales(jax.grad(loss)(state.params, index)), order)
    return found.mean(0), found.std(0, ddof=1)


def _watched(seed: int) -> tuple[Any, int, np.ndarray, np.ndarray, np.ndarray]:
    """The cell, steps in an epoch, each gamma after each epoch `[epochs + 1, units]`, and at each look the mean and the
    deviation of its gradient `[looks, units]`, at the first learning rate."""
    cell = cells("mlp", "adam", "l2", 1e-3)[seed]
    run = replace(cell.run, measure_every=1, milestones=(), epochs=cell.run.milestones[0])
    training, dataset = make_train(run), data.load(run.data, run.pixels)
    steps, key = steps_per_epoch(run, training.description), jax.random.key(seed)
    hyper = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), cell.hyper)
    advance = jax.jit(lambda state: training.advance(hyper, key, dataset, state)[0])
    looked = jax.jit(lambda state, order: _gradients(training, dataset, state, order))
    state = jax.jit(training.init)(hyper, *training.start(key))
    order = np.arange(steps * run.batch).reshape(steps, run.batch)
    gammas, means, deviations = [np.asarray(_scales(state.params))], [], []
    for epoch in range(run.epochs):
        if epoch % EVERY == 0:
            rng = np.random.default_rng(epoch)
            mean, deviation = looked(state, rng.permutation(order.ravel()).reshape(order.shape))
            means.append(np.asarray(mean))
            deviations.append(np.asarray(deviation))
        state = advance(state)
        gammas.append(np.asarray(_scales(state.params)))
    return cell, steps, np.stack(gammas), np.stack(means), np.stack(deviations)


def _first(values: np.ndarray) -> int | None:
    below = np.flatnonzero(np.abs(values) < DEAD)
    return int(below[0]) if below.size else None


def _rows(seed: int) -> list[dict[str, Any]]:
    cell, steps, gammas, means, deviations = _watched(seed)
    hyper, rows = cell.hyper, []
    known = {"learning_rate": float(hyper.learning_rate), "init": 1.0, **hyper.constants}
    for unit in range(gammas.shape[1]):
        died = _first(gammas[:, unit])
        if died is None:
            continue
        gradient, noise = (np.repeat(seen[:, unit], EVERY * steps).astype(float) for seen in (means, deviations))
        found = {}
        for name, deviation in (("predicted", noise), ("predicted_without_noise", np.zeros_like(noise))):
            path = js.noise.predict(
                "adam",
                js.CoupledL2(float(hyper.strength)),
                noise=deviation,
                gradient=gradient,
                steps=len(gradient),
                **known,
            )
            found[name] = _first(path.rms)
        rows.append({"seed": seed, "unit": unit, "died": died * steps, **found})
    return rows


def follow(root: Path) -> None:
    """Watches three trainings, and keeps when their units died and were said to."""
    if not (root / FILE).exists():
        write_rows(root / FILE, [row for seed in range(3) for row in _rows(seed)])


def read(root: Path) -> Sequence[dict[str, Any]]:
    """The rows that were kept."""
    return read_rows(root / FILE)


FOUND = Findings("today-deaths", COLUMNS, read)
