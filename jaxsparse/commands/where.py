"""Flags that say on what cells are trained, and who trains them then."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from jaxsparse.checks import require, require_choice

if TYPE_CHECKING:
    from jaxsparse.config import Run
    from jaxsparse.grid import Placement, Trainer

ENGINES = ("here", "ray")


@dataclass(frozen=True)
class Where:
    """Of the cells of a grid."""

    engine: str = "here"
    """here (all devices of this machine) or ray (all machines of a Ray cluster; the results come to this one)"""
    address: str | None = None
    """of the Ray cluster [one is started on this machine]"""
    packing: str | None = None
    """several cells in one program: sequential (one after another), pairs, map, vmap, products, or probe (what is
    fastest, as measured once) [accelerators: probe, others: sequential]"""
    devices_per_cell: int | None = None
    """devices that share the images of a batch [1; more on accelerators with fewer cells than devices]"""

    def placement(self) -> Placement:
        """Raises `InvalidInput` for flags that do not go together."""
        require_choice("engine", self.engine, ENGINES)
        on_cluster = self.engine == "ray"
        require(on_cluster or self.address is None, "address", self.address, "left out without --engine ray")
        require(not on_cluster or self.packing is None, "packing", self.packing, "left out with --engine ray")
        single = not on_cluster or self.devices_per_cell in (None, 1)
        require(single, "devices-per-cell", self.devices_per_cell, "left out with --engine ray")
        there = not on_cluster or importlib.util.find_spec("ray") is not None
        require(there, "engine", self.engine, "an installed one: pip install 'jaxsparse[ray]'")
        from jaxsparse.grid import Placement

        return Placement(self.packing, self.devices_per_cell)

    def prepare(self) -> None:
        """Settles the devices, before JAX is first used."""
        self.placement()
        if self.engine == "ray":
            from jaxsparse.grid import ray_engine  # an extra

            ray_engine.drive_from_the_processor()
        else:
            from jaxsparse.grid import use_every_core

            use_every_core()

    def trainer(self, run: Run) -> Trainer:
        """Who trains the cells.

        Raises:
          InvalidInput: for devices that are not there or can't share a batch of the run.
        """
        placement = self.placement()
        if self.engine == "ray":
            from jaxsparse.grid import ray_engine  # an extra

            return partial(ray_engine.train_on_cluster, address=self.address)
        from jaxsparse.grid import train_here

        placement.check(run)
        return partial(train_here, placement=placement)


@dataclass(frozen=True)
class Together:
    """Of a single training."""

    devices_per_cell: int | None = None
    """devices that share the images of a batch [accelerators: all that have 32 images then, others: 1]"""
    distributed: bool = False
    """share every batch with the devices of other processes, in each of which this command is given; on Slurm and TPUs
    they find each other, elsewhere with --coordinator, --processes and --process. The first one writes the results"""
    coordinator: str | None = None
    """HOST:PORT of the first process"""
    processes: int | None = None
    """how many there are"""
    process: int | None = None
    """number of this one, from 0"""

    def prepare(self) -> None:
        """Joins the other processes, before JAX is first used.

        Raises:
          InvalidInput: for flags that do not go together.
        """
        explicit = {"coordinator": self.coordinator, "processes": self.processes, "process": self.process}
        for name, value in explicit.items():
            require(self.distributed or value is None, name, value, "left out without --distributed")
        if self.processes is not None:
            require(self.processes >= 1, "processes", self.processes, "a whole number >= 1")
            inside = self.process is not None and 0 <= self.process < self.processes
            require(inside, "process", self.process, f"a whole number from 0 to {self.processes - 1}")
        if self.distributed:
            from jaxsparse.grid.devices import join

            join(self.coordinator, self.processes, self.process)

    def trainer(self, run: Run) -> Trainer:
        """Who trains the cell.

        Raises:
          InvalidInput: for devices that are not there or can't share a batch of the run.
        """
        import jax

        from jaxsparse.grid import Placement, train_here

        parts = jax.device_count() if self.distributed and self.devices_per_cell is None else self.devices_per_cell
        everywhere = not self.distributed or parts == jax.device_count()
        require(everywhere, "devices-per-cell", parts, "left out with --distributed, which takes all devices")
        single = run.shrink_every == 0 or not self.distributed
        require(single, "shrink-every", run.shrink_every, "0 with --distributed")
        placement = Placement(devices_per_cell=parts)
        placement.check(run)
        return partial(train_here, placement=placement)
