"""Training one network that gets smaller on its way: its dead units are removed, optimizer state and all.

Every `run.shrink_every` epochs the units that are dead by scale are taken out by `shrink`, and what is left trains on.
That changes the training by what the dead units still did and by rounding; whether units that seem dead would have come
back is for the records of a training without removal to say.

Smaller shapes have to be compiled anew, which takes seconds. So units are removed only where that promises to pay:
where the time that they still cost, taken to be their share of all units, is more than twice what compiling took
before. How often that is depends on the machine; what is learned does not, but for rounding. No layer is removed whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import data, sparsity
from jaxsparse.grid.declaration import Cell
from jaxsparse.grid.engine import observed
from jaxsparse.grid.start import started
from jaxsparse.shrinking import dead_by_scale, shrink
from jaxsparse.train import Row, State, Training
from jaxsparse.trees import Tree

PROFIT = 2.0
"""Times the cost of compiling that a removal has to promise."""


@dataclass(frozen=True)
class Pace:
    """What intervals take, in seconds."""

    compiling: float
    """more than usual, for the first interval of a shape"""
    interval: float
    """the fastest of this shape so far"""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Pace:
        """From what the intervals of a shape took, the first of which compiled."""
        return cls(seconds[0] - min(seconds[1:]), min(seconds[1:]))

    def pays(self, share: float, left: int) -> bool:
        """Whether a removal of this share of the units pays with so many intervals left."""
        return share * self.interval * left > PROFIT * self.compiling


@dataclass(frozen=True)
class Places:
    """Where the units that are left were in the network at the start."""

    sizes: Mapping[str, int]
    """units at the start, by layer"""
    kept: Mapping[str, np.ndarray]
    """places of those that are left, by layer"""

    def widened(self, row: Row) -> Row:
        """A row of the small network as one of the large: the removed units have zero for everything."""

        def wide(name: str, values: np.ndarray) -> np.ndarray:
            full = np.zeros((*values.shape[:-1], self.sizes[name]), values.dtype)
            full[..., self.kept[name]] = values
            return full

        seen: sparsity.Observation = row.measured
        units = {
            name: jax.tree.map(lambda a, n=name: wide(n, np.asarray(a)), layer) for name, layer in seen.units.items()
        }
        return replace(row, measured=replace(seen, units=units))


def _dead(model: nnx.Module, threshold: float) -> dict[str, np.ndarray]:
    """What may go: the units that are dead by scale, less those of layers that would lose all."""
    found = {name: np.asarray(mask) for name, mask in dead_by_scale(model, threshold).items()}
    return {name: mask & (not mask.all()) for name, mask in found.items()}


def _without(
    dead: Mapping[str, np.ndarray], training: Training, state: State, places: Places, example: jax.Array
) -> tuple[Training, State, Places]:
    """The training, its state and its places without the dead units."""
    smaller, report = shrink(_model(training, state), example, dead)
    graph, params, stats = nnx.split(smaller, nnx.Param, ...)
    kept = {name: old[report.layers[name].kept] for name, old in places.kept.items()}
    state = State(nnx.as_pure(params), nnx.as_pure(stats), report.cut.apply(state.optimizer), state.epoch)
    return replace(training, graph=graph), state, replace(places, kept=kept)


def _model(training: Training, state: State) -> nnx.Module:
    return training.model(state.params, state.stats)


def train(cell: Cell, pays: Callable[[Pace, float, int], bool] = Pace.pays) -> Iterator[tuple[State, Row]]:
    """Trains a cell, as `Engine.train` does for several: yields state and row after every interval, with a leading axis
    of one cell. The units in the rows are those of the network at the start.

    Args:
      cell: whose run says how often removal is looked at.
      pays: from the pace, the share of the units that is dead and the intervals that are left: whether to remove them.
    """
    run, dataset = cell.run, data.load(cell.run.data, cell.run.pixels)
    training = observed(run)
    hyper = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), cell.hyper)
    key = jax.random.key(cell.seed)
    example = data.preprocess(dataset, dataset.test.images[:8])
    state = jax.jit(training.init)(hyper, *started(training, cell.start, cell.seed))
    advance, measured = _compiled(training)
    places: Places | None = None
    seconds: list[float] = []
    for point in range(run.points):
        begun = time.perf_counter()
        state, losses = advance(hyper, key, dataset, state)
        row: Row = jax.device_get(measured(dataset, state.evaluated, state.bounds, state.stats, losses))
        seconds.append(time.perf_counter() - begun)
        if places is None:
            sizes = {name: len(layer) for name, layer in row.measured.units.items()}
            places = Places(sizes, {name: np.arange(units) for name, units in sizes.items()})
        yield _one(state), _one(places.widened(row))
        due = (point + 1) * run.measure_every % run.shrink_every == 0
        if due and len(seconds) > 1:
            dead = _dead(_model(training, state), run.thresholds.scale)
            share = float(np.mean(np.concatenate([dead[name] for name in places.kept])))
            if share > 0 and pays(Pace.of(seconds), share, run.points - point - 1):
                training, state, places = _without(dead, training, state, places, example)
                advance, measured = _compiled(training)
                seconds = []


def _compiled(training: Training) -> tuple[Any, Any]:
    return jax.jit(training.advance, donate_argnums=3), jax.jit(training.measured)


def _one(tree: Tree) -> Tree:
    """With a leading axis of one cell."""
    return jax.tree.map(lambda a: a[None], tree)
