"""Training on several devices: each trains cells of its own, or several share one cell.

Cells that differ only in traced values (strength, seed, learning rate) share one compiled program, mapped over the axis
of cells by `shard_map`; nothing is communicated. Where there are more devices than cells, the images of a batch can be
split over those of a cell: that is a second axis of the mesh, along which XLA sums gradients and statistics.

On a CPU every core is a device (see `use_every_core`), but where none shares a cell with another, threads run the same
program on one device, as many as there are cores: that takes one compilation, and no core waits for another.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxsparse import data, models, sparsity
from jaxsparse.checks import name_of, require, require_choice
from jaxsparse.config import Hyper, Run
from jaxsparse.grid.checkpoint import Reached
from jaxsparse.grid.declaration import Cell
from jaxsparse.grid.packing import PACKINGS, PROBE, SEQUENTIAL, on_noise, probed
from jaxsparse.tracing.program import RUN_ONCE
from jaxsparse.train import Row, State, Training, make_train, steps_per_epoch
from jaxsparse.trees import Tree

CELLS, EVERYWHERE, BATCH = PartitionSpec("cell"), PartitionSpec(), PartitionSpec("batch")
"""How arrays lie on the devices: along the axis of cells, whole on each, or along that of a batch's images."""

Function = Callable[..., Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Compiled:
    """The training of cells that share a run."""

    init: Function
    advance: Function
    measured: Function
    together: int
    """cells at a time"""
    shapes: tuple[State, Row]
    """of a cell's state and row"""


SHARE = 32
"""Images of a batch that a device should have at least: with fewer, a step is mostly communication."""


def free_for(run: Run, cells: int) -> int:
    """How many devices can split a batch of each of so many cells, with at least `SHARE` images each."""
    free = max(1, jax.device_count() // cells)
    return max(n for n in range(1, free + 1) if run.batch % n == 0 and (n == 1 or run.batch // n >= SHARE))


@dataclass(frozen=True)
class Placement:
    """How cells are put on devices. What is trained depends on it by rounding only.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """

    packing: str | None = None
    """`PACKINGS` or `PROBE`; by default probed, on a CPU sequential, which keeps every bit of a figure in place"""
    devices_per_cell: int | None = None
    """devices that split the images of a batch; by default one, on accelerators as many as cells leave free, as long as
    each has at least `SHARE` images of a batch"""

    def __post_init__(self) -> None:
        if self.packing is not None:
            require_choice("packing", self.packing, (*PACKINGS, PROBE))
        parts = 1 if self.devices_per_cell is None else self.devices_per_cell
        require(parts >= 1, "devices-per-cell", parts, "a whole number >= 1")
        alone = parts == 1 or self.packing in (None, SEQUENTIAL)
        require(alone, "packing", self.packing, f"{SEQUENTIAL} where several devices train a cell")

    def check(self, run: Run) -> None:
        """Raises `InvalidInput` unless the devices are there and can split a run's batch."""
        parts, there = self.devices_per_cell or 1, jax.device_count()
        require(parts <= there, "devices-per-cell", parts, f"at most the {there} devices of this machine")
        require(run.batch % parts == 0, "devices-per-cell", parts, f"a divisor of the batch ({run.batch})")
        alone = parts == 1 or data.describe(run.data).fits
        require(alone, "devices-per-cell", parts, f"1 on {name_of(run.data)}, which is streamed")
        require(parts == 1 or not run.shrink_every, "devices-per-cell", parts, "1 with shrink-every")

    @property
    def threads(self) -> int:
        """How many train at the same time: on the CPU of a single process as many as there are cores, unless devices
        share a cell; elsewhere one has all devices."""
        processor = jax.default_backend() == "cpu" and jax.process_count() == 1
        return jax.device_count() if processor and self.devices_per_cell in (None, 1) else 1

    def engine(self, run: Run, cells: int) -> Engine:
        """For so many cells of one network; the packing is chosen here."""
        self.check(run)
        processor = jax.default_backend() == "cpu"
        parts = self.devices_per_cell or (1 if processor else free_for(run, cells))
        groups = min(jax.device_count() // parts, cells)
        packing = self.packing or (SEQUENTIAL if processor else PROBE)
        most = -(-cells // groups)
        if packing == PROBE:
            packing = probed(run, most, _interval_seconds) if most > 1 and parts == 1 else SEQUENTIAL
        if self.threads > 1:
            return Engine(run, jax.devices()[:1], packing, threads=groups)
        return Engine(run, jax.devices()[: groups * parts], packing, parts)


ONE_DEVICE_EACH = Placement()


def observed(run: Run) -> Training:
    """The training of a run, which measures the units of the layers that count."""
    only = models.features_of(run.model)
    return make_train(run, sparsity.observation(run.thresholds, only, run.loss))


class Engine:
    """Compiled training of a grid's cells.

    Every function here takes and gives arrays with a leading axis of cells, a multiple of the groups of devices.
    """

    def __init__(
        self,
        run: Run,
        devices: Sequence[Any],
        packing: str = SEQUENTIAL,
        devices_per_cell: int = 1,
        threads: int = 1,
    ):
        """`run`: the static settings that all cells share; `devices`: every `devices_per_cell` of them are a group that
        has cells of its own, as many at a time as `packing` puts there; `threads`: that train at the same time."""
        axes = {"cell": len(devices) // devices_per_cell, "batch": devices_per_cell}
        types = (AxisType.Auto,) * len(axes)
        self.mesh = jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=types, devices=devices)
        self.packing, self.threads = packing, threads
        self._lock = threading.Lock()
        self.dataset = self._put(data.load(run.data, run.pixels), EVERYWHERE)
        self._network = training = self._training(run)
        self._start = self._sharded(
            lambda seed: training.start(jax.random.key(seed)), (CELLS,), compiler_options=RUN_ONCE
        )
        self._measured = self._sharded(training.measured, (EVERYWHERE, CELLS, CELLS, CELLS, CELLS))
        self._measured_compiled: tuple[Function, Any] | None = None

    def _put(self, arrays: Any, spec: PartitionSpec) -> Any:
        """Arrays, the same in every process, onto the devices of all."""
        sharding = NamedSharding(self.mesh, spec)
        if sharding.is_fully_addressable:
            return jax.device_put(arrays, sharding)

        def put(array: Any) -> jax.Array:
            whole = np.asarray(array)
            return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

        return jax.tree.map(put, arrays)

    def together(self, cells: int) -> int:
        """How many of so many cells that share a run are trained at a time, by one thread."""
        groups = self.mesh.shape["cell"]
        return groups * PACKINGS[self.packing].together(-(-cells // self.threads), groups)

    def _training(self, run: Run) -> Training:
        training = observed(run)
        if self.mesh.shape["batch"] == 1:
            return training
        return replace(training, place=lambda images: jax.lax.with_sharding_constraint(images, BATCH))

    def _sharded(self, function: Function, specs: tuple[PartitionSpec, ...], **options: Any) -> Function:
        """The function of one cell, compiled for all that are trained at a time."""

        def some(*arguments: Any) -> Any:
            """What a group of devices does."""
            own = [argument for argument, spec in zip(arguments, specs, strict=True) if spec == CELLS]

            def one(own: list[Any]) -> Any:
                members = iter(own)
                pairs = zip(arguments, specs, strict=True)
                return function(*[next(members) if spec == CELLS else argument for argument, spec in pairs])

            return PACKINGS[self.packing].pack(one, own)

        ours = self.mesh.axis_names[: 1 if self.mesh.shape["batch"] > 1 else 2]  # XLA splits a batch, if it is split
        mapped = jax.shard_map(
            some, mesh=self.mesh, in_specs=specs, out_specs=CELLS, axis_names=set(ours), check_vma=False
        )
        if self.mesh.shape["batch"] > 1:  # what comes out is whole on every device, and so in every process
            options["out_shardings"] = NamedSharding(self.mesh, CELLS)
        return jax.jit(mapped, **options)

    def _arguments(self, cells: Sequence[Cell], together: int) -> tuple[Hyper, jax.Array]:
        """Hyperparameters and seeds of as many cells as are trained at a time."""
        filled = _filled(cells, together)
        hyper = jax.tree.map(lambda *values: np.asarray(values, np.float32), *[cell.hyper for cell in filled])
        seeds = np.asarray([cell.seed for cell in filled], np.uint32)
        return self._put((hyper, seeds), CELLS)

    def _variables(self, cells: Sequence[Cell], seeds: jax.Array) -> tuple[Tree, Tree]:
        """What the cells start from: untrained networks, or those of runs and exports."""
        untrained = self._start(seeds)
        if all(cell.start is None for cell in cells):
            return untrained
        own = [
            jax.tree.map(lambda a, index=index: a[index], untrained)
            if cell.start is None
            else cell.start.variables(self._network)
            for index, cell in enumerate(_filled(cells, len(seeds)))
        ]
        return self._put(jax.tree.map(lambda *leaves: np.stack(list(map(np.asarray, leaves))), *own), CELLS)

    def compile(self, cells: Sequence[Cell]) -> Compiled:
        """The training of these cells, which share a run, as many at a time as `together` says."""
        training, together = self._training(cells[0].run), self.together(len(cells))

        def advance(hyper: Hyper, seed: jax.Array, dataset: data.Dataset, state: State) -> tuple[State, jax.Array]:
            return training.advance(hyper, jax.random.key(seed), dataset, state)

        hyper, seeds = self._arguments(cells[:1], together)
        init = self._sharded(training.init, (CELLS, CELLS, CELLS), compiler_options=RUN_ONCE)
        sharding = NamedSharding(self.mesh, CELLS)
        state = init.eval_shape(hyper, *self._start.eval_shape(seeds))
        state = jax.tree.map(lambda a: a.update(sharding=sharding), state)
        stepped = self._sharded(advance, (CELLS, CELLS, EVERYWHERE, CELLS), donate_argnums=3)
        lowered = stepped.lower(hyper, seeds, self.dataset, state)
        losses = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), lowered.out_info[1])
        measured, row = self._measuring(state, losses)
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), (state, row))
        return Compiled(init, lowered.compile(), measured, together, shapes)

    def _measuring(self, state: Any, losses: Any) -> tuple[Function, Any]:
        """`Training.measured`, compiled once for all update rules, and the shapes of what it gives."""
        with self._lock:
            compiled = self._measured_compiled
            if compiled is None:
                arrays = self.dataset, state.params, state.bounds, state.stats, losses
                lowered = self._measured.lower(*arrays)
                self._measured_compiled = compiled = lowered.compile(), lowered.out_info
            return compiled

    def advance_forever(
        self, compiled: Compiled, cells: Sequence[Cell], start: State | None = None
    ) -> Iterator[tuple[State, Any]]:
        """Trains some of the cells that were compiled for, at most `together`, from the beginning or a state; yields
        state and losses after every interval."""
        hyper, seeds = self._arguments(cells, compiled.together)
        with self._lock:  # what is compiled here is compiled once
            state = compiled.init(hyper, *self._variables(cells, seeds)) if start is None else self._put(start, CELLS)
        while True:
            state, losses = compiled.advance(hyper, seeds, self.dataset, state)
            yield state, jax.block_until_ready(losses)

    def train(
        self, compiled: Compiled, cells: Sequence[Cell], reached: Sequence[Reached] = ()
    ) -> Iterator[tuple[State, Row]]:
        """The same to the end of the run, measured: yields state and row after every interval. Where the cells have
        reached an epoch before, the same one, its rows come first, with the state of now."""
        ends = _filled(reached, compiled.together) if reached else []
        before: Reached | None = jax.tree.map(lambda *values: np.stack(values), *ends) if ends else None
        yield from ((before.state, row) for row in before.rows) if before else ()
        intervals = self.advance_forever(compiled, cells, before and before.state)
        for state, losses in itertools.islice(intervals, cells[0].run.points - (len(before.rows) if before else 0)):
            row = compiled.measured(self.dataset, state.evaluated, state.bounds, state.stats, losses)
            yield state, jax.device_get(row)


def step_seconds(run: Run) -> float:
    """Seconds of a training step of one network on one device, measured on random images of the same shape."""
    run = on_noise(run)
    interval = _interval_seconds(run, SEQUENTIAL, 1)
    interval()  # the first one also settles memory
    return min(interval() for _ in range(2)) / steps_per_epoch(run, data.describe(run.data))


def _filled(some: Sequence[T], together: int) -> list[T]:
    """As many as are trained at a time, the last one repeated where there are fewer."""
    return [some[min(index, len(some) - 1)] for index in range(together)]


def _interval_seconds(run: Run, packing: str, cells: int) -> Callable[[], float]:
    """Trains so many cells of a run on one device; see `probed`."""
    engine = Engine(run, jax.devices()[:1], packing)
    members = [Cell(run, Hyper(1e-3), seed, run.regularizer) for seed in range(cells)]
    intervals = engine.advance_forever(engine.compile(members), members)

    def seconds() -> float:
        begun = time.perf_counter()
        next(intervals)
        return time.perf_counter() - begun

    return seconds
