"""Several cells on one device: from the program of one cell to that of many, in one of a few ways.

Which way is fastest depends on network and device. A program of one cell leaves most of a large accelerator idle where
the network is small, and `vmap` fills it; but it makes convolutions grouped ones, which are slow nearly everywhere.
`probed` finds out and remembers. Figures depend on the way only by rounding.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp

from jaxsparse import data, layers, records
from jaxsparse.checks import plain
from jaxsparse.config import Run
from jaxsparse.data import folders, noise

Tree = Any
Program = Callable[[Tree], Tree]
"""From a pytree of one cell's arguments to one of its results."""

PROBE_SECONDS = 0.5
"""Of a way's measurement, about, beside compiling it."""


def unrolled(program: Program, cells: Tree) -> Tree:
    """The cells written out one after another."""
    count = jax.tree.leaves(cells)[0].shape[0]
    ends = [program(jax.tree.map(lambda a, i=index: a[i], cells)) for index in range(count)]
    return jax.tree.map(lambda *values: jnp.stack(values), *ends)


@dataclass(frozen=True)
class Packing:
    """A way to have several cells in one program."""

    pack: Callable[[Program, Tree], Tree]
    """applies a program of one cell to arguments with a leading axis of cells, and gives results with one"""
    most: int
    """cells in one program"""

    def together(self, cells: int, devices: int) -> int:
        """How many of so many cells go to a device at a time: as few as need no more launches."""
        launches = math.ceil(cells / (devices * self.most))
        return math.ceil(cells / (devices * launches))


def mapped(program: Program, cells: Tree) -> Tree:
    """Many cells as one, with an axis more."""
    return jax.vmap(program)(cells)


def mapped_as_products(program: Program, cells: Tree) -> Tree:
    """The same, with the convolutions as batched matrix products."""
    with layers.convolutions_as_products():
        return mapped(program, cells)


MOST = 32
"""Cells in one program; a killed grid loses what they had not finished."""
SEQUENTIAL = "sequential"
PACKINGS: Mapping[str, Packing] = {
    SEQUENTIAL: Packing(unrolled, 1),
    "pairs": Packing(unrolled, 2),
    "map": Packing(jax.lax.map, MOST),
    "vmap": Packing(mapped, MOST),
    "products": Packing(mapped_as_products, MOST),
}
"""By name, for `--packing`: one cell after another; two written out in one program; many in a loop of the program; many
as one, with an axis more; the same with convolutions as products, which differs on accelerators only."""
PROBE = "probe"
"""In place of a name: the fastest of them, as measured."""


def on_noise(run: Run) -> Run:
    """A run with the same step, for measuring it: an epoch of 512 random images of the same shape."""
    like = data.describe(run.data)
    short = {"epochs": 1, "measure_every": 1, "milestones": (), "restarts": 0, "shrink_every": 0}
    return replace(run, data=noise.like(like), batch=min(run.batch, noise.TRAIN_SIZE), **short)


def probed(run: Run, cells: int, seconds_of: Callable[[Run, str, int], Callable[[], float]]) -> str:
    """Name of the fastest packing of so many cells of a run on this device, from the user's cache folder or measured.

    It is measured on random images of the same shape, an epoch of 512 of them at a time, until half a second is over.
    A way that fails, for want of memory say, is not the fastest.

    Args:
      run: whose network and batch count.
      cells: on a device, that are to be trained in all.
      seconds_of: makes ready to train so many cells of a run in one packing; what it gives trains an interval of them
        and tells its seconds.
    """
    run = on_noise(run)
    device = jax.devices()[0]
    about = {"run": plain(run), "cells": min(cells, MOST), "device": f"{device.device_kind} ({device.platform})"}
    about["jaxlib"] = version("jaxlib")
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    path = folders.cache() / "packing" / f"{key}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, KeyError):
        found = {name: _seconds_of_a_cell(run, name, cells, seconds_of) for name in PACKINGS}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            records.write_text(path, json.dumps({**about, "seconds": found}, indent=1))
        except OSError:
            pass  # measured again next time
    possible = {name: seconds for name, seconds in found.items() if seconds is not None and name in PACKINGS}
    return min(possible, key=lambda name: possible[name], default=SEQUENTIAL)


def _seconds_of_a_cell(
    run: Run, name: str, cells: int, seconds_of: Callable[[Run, str, int], Callable[[], float]]
) -> float | None:
    """What an interval of a cell takes; nothing where this way does not work here."""
    together = PACKINGS[name].together(cells, 1)
    try:
        interval = seconds_of(run, name, together)
        interval()  # the first one also settles memory
        spent: list[float] = []
        begun = time.perf_counter()
        while not spent or time.perf_counter() - begun < PROBE_SECONDS:
            spent.append(interval())
    except Exception:  # no memory, or a program that this backend can't have
        return None
    return min(spent) / together
