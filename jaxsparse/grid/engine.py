"""Training on every device at once: each trains one cell at a time.

Cells that differ only in traced values (strength, seed, learning rate) share one compiled program, mapped over the axis
of cells by `shard_map`; nothing is communicated. On a CPU every core is a device, see `use_every_core`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxsparse import data, models, sparsity
from jaxsparse.config import Hyper, Run
from jaxsparse.grid.declaration import Cell
from jaxsparse.train import Row, State, Training, make_train

CELLS, EVERYWHERE = PartitionSpec("cell"), PartitionSpec()
"""How arrays lie on the devices: split along the axis of cells, or whole on each."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_every_core(devices: int | None = None) -> None:
    """Makes every core (or as many as given) a device of its own on machines without accelerator.

    Several one-core trainings are faster than one training on several cores: layers this small do not fill them. Once
    JAX has been used it is too late, and the devices stay what they are.
    """
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", devices or cores())


Compiled = Callable[..., Any]


class Engine:
    """Compiled training of a grid's cells, one cell a device.

    Every function here takes and gives arrays with a leading axis of cells, as many as there are devices.
    """

    def __init__(self, run: Run, devices: int):
        """`run`: the static settings that all cells share; `devices`: how many to use."""
        self.mesh = jax.make_mesh((devices,), ("cell",), axis_types=(AxisType.Auto,))
        self.dataset = jax.device_put(data.load(run.data), NamedSharding(self.mesh, EVERYWHERE))
        training = self._training(run)
        self._start = self._sharded(lambda seed: training.start(jax.random.key(seed)), (CELLS,))
        self._measured = self._sharded(training.measured, (EVERYWHERE, CELLS, CELLS, CELLS))

    @staticmethod
    def _training(run: Run) -> Training:
        only, rectifier = models.features_of(run.model), models.activation_of(run)
        return make_train(run, sparsity.observation(run.thresholds, only, rectifier))

    def _sharded(self, function: Compiled, specs: tuple[PartitionSpec, ...], **options: Any) -> Compiled:
        """The function of one cell, compiled for one cell a device."""

        def one(*arguments: Any) -> Any:
            pairs = zip(arguments, specs, strict=True)
            own = [jax.tree.map(lambda a: a[0], a) if spec == CELLS else a for a, spec in pairs]
            return jax.tree.map(lambda a: a[None], function(*own))

        mapped = jax.shard_map(one, mesh=self.mesh, in_specs=specs, out_specs=CELLS, check_vma=False)
        return jax.jit(mapped, **options)

    def _arguments(self, cells: Sequence[Cell]) -> tuple[Hyper, jax.Array]:
        """Hyperparameters and seeds, the last cell repeated where there are fewer than devices."""
        filled = [cells[min(index, len(cells) - 1)] for index in range(self.mesh.size)]
        hyper = jax.tree.map(lambda *values: np.asarray(values, np.float32), *[cell.hyper for cell in filled])
        seeds = np.asarray([cell.seed for cell in filled], np.uint32)
        return jax.device_put((hyper, seeds), NamedSharding(self.mesh, CELLS))

    def compile(self, example: Cell) -> tuple[Compiled, Compiled]:
        """`init` and `advance` of every cell that shares the example's run."""
        training = self._training(example.run)

        def advance(hyper: Hyper, seed: jax.Array, dataset: data.Dataset, state: State) -> tuple[State, jax.Array]:
            return training.advance(hyper, jax.random.key(seed), dataset, state)

        hyper, seeds = self._arguments([example])
        init = self._sharded(training.init, (CELLS, CELLS, CELLS))
        state = init(hyper, *self._start(seeds))
        stepped = self._sharded(advance, (CELLS, CELLS, EVERYWHERE, CELLS), donate_argnums=3)
        return init, stepped.lower(hyper, seeds, self.dataset, state).compile()

    def advance_forever(
        self, compiled: tuple[Compiled, Compiled], cells: Sequence[Cell]
    ) -> Iterator[tuple[State, Any]]:
        """Trains cells that share a run, at most one a device; yields state and losses after every interval."""
        init, advance = compiled
        hyper, seeds = self._arguments(cells)
        state = init(hyper, *self._start(seeds))
        while True:
            state, losses = advance(hyper, seeds, self.dataset, state)
            yield state, jax.block_until_ready(losses)

    def train(self, compiled: tuple[Compiled, Compiled], cells: Sequence[Cell]) -> Iterator[tuple[State, Row]]:
        """The same to the end of the run, measured: yields state and row after every interval."""
        intervals = self.advance_forever(compiled, cells)
        for state, losses in itertools.islice(intervals, cells[0].run.points):
            yield state, jax.device_get(self._measured(self.dataset, state.params, state.stats, losses))
