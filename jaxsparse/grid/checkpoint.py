"""How far a long training has come, on disk: the state at the end of an epoch, and at that of the checkpoint before.

    NAME.checkpoint/
        epoch-3-CHECKSUM.safetensors     of the third epoch's end: state and what was measured so far; in the metadata
                                         what is trained, and the place in the order of the images

A file is there whole or not at all, and its name tells its checksum: what was damaged since is put aside, and training
goes on from the one before. Folders `epoch-N` are those of earlier versions, which orbax wrote.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jax.tree_util import keystr

from jaxsparse import records, stopping
from jaxsparse.checks import InvalidInput, plain
from jaxsparse.files import remove, write_bytes
from jaxsparse.grid.declaration import Cell
from jaxsparse.train import Row, State

SUFFIX = ".checkpoint"
KEPT = 2
"""Checkpoints of a training."""
PACE_SECONDS, SHARE = 10.0, 0.01
"""A checkpoint is written where the last one is older than this, and writing takes at most this share of the time."""

_NAME = re.compile(r"epoch-(\d+)-([0-9a-f]{32})\.safetensors|epoch-(\d+)")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reached:
    """What a training has come to."""

    state: State
    losses: np.ndarray
    """`[epochs]`: mean loss of each epoch so far"""
    rows: tuple[Row, ...]
    """of the intervals so far"""


@dataclass(frozen=True)
class Kept:
    """What a checkpoint holds."""

    reached: Reached
    place: Any
    """in the order of the images, as JSON can hold it; None where the epoch tells it"""
    seconds: float
    """that the training took so far"""


class Pace:
    """When a training is to write a checkpoint: every now and then, and when the process is asked to end."""

    def __init__(self) -> None:
        self._last, self._pause = time.monotonic(), PACE_SECONDS

    def is_due(self) -> bool:
        """Whether it is time."""
        return stopping.is_asked() or time.monotonic() - self._last >= self._pause

    def keep(self, write: Callable[[], None]) -> None:
        """Writes, and takes the time."""
        begun = time.monotonic()
        write()
        self._last = time.monotonic()
        self._pause = max(PACE_SECONDS, (self._last - begun) / SHARE)


def folder_of(folder: Path, name: str) -> Path:
    """Where the checkpoints of a cell are, below the folder of the cells."""
    return folder / (name + SUFFIX)


def clear(folder: Path, ended: set[str]) -> None:
    """Removes the checkpoints of cells that have ended."""
    for leftover in folder.glob(f"*{SUFFIX}"):
        if leftover.name.removesuffix(SUFFIX) in ended:
            remove(leftover)


def _epochs(folder: Path) -> dict[int, Path]:
    """Checkpoints by epoch, the latest first."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob("epoch-*")}
    epochs = {int(name[1] or name[3]): path for path, name in found.items() if name is not None}
    return dict(sorted(epochs.items(), reverse=True))


def latest(folder: Path, name: str) -> int:
    """The last epoch of which a cell has a checkpoint; 0 where it has none."""
    return next(iter(_epochs(folder_of(folder, name))), 0)


def save(folder: Path, cell: Cell, kept: Kept) -> None:
    """Writes the end of an epoch, then removes what is older than the checkpoint before.

    Args:
      folder: of the cells.
      cell: that is trained.
      kept: what it has come to.

    Raises:
      Unwritable: as on a full disk.
    """
    own, epoch = folder_of(folder, cell.name), len(kept.reached.losses)
    records.writable(own)
    told = {"cell": {"run": plain(cell.run), **cell.settings()}, "place": kept.place, "seconds": kept.seconds}
    arrays = {name: np.asarray(a, order="C") for name, a in _named(jax.device_get(kept.reached)).items()}
    content = safetensors.numpy.save(arrays, {"told": json.dumps(told)})
    write_bytes(own / f"epoch-{epoch}-{_checksum(content)}.safetensors", content)
    for path in list(_epochs(own).values())[KEPT:]:
        remove(path)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def load(folder: Path, cell: Cell, shapes: Callable[[], tuple[State, Row]]) -> Kept | None:
    """The last finished epoch that can be read; None where there is none. What can't be read is put aside.

    Args:
      folder: of the cells.
      cell: that is to be trained.
      shapes: gives state and row with arrays, or their shapes, that are expected.

    Raises:
      InvalidInput: where a checkpoint is of another training.
    """
    for epoch, path in _epochs(folder_of(folder, cell.name)).items():
        state, row = shapes()
        rows = (row,) * (epoch // cell.run.measure_every)
        wanted = Reached(state, np.zeros(epoch, np.float32), rows)
        try:
            arrays, told = _by_orbax(path, wanted) if path.is_dir() else _read(path)
            filled = jax.tree_util.tree_map_with_path(lambda at, a, read=arrays: _filled(read, at, a), wanted)
        except Exception as error:  # orbax and what it stands on have errors of many kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            records.put_aside(path, f"checkpoint can't be read ({reason})", "training goes on from the one before")
            continue
        differing = cell.differs_from(told["cell"]) if "cell" in told else []
        if differing:
            raise InvalidInput(f"checkpoint must be of this training, or moved: {path} differs: {'; '.join(differing)}")
        return Kept(filled, told["place"], told.get("seconds", 0.0))
    return None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays, and what is told of them.

    Raises:
      Exception: of many kinds, where the file is not what was written.
    """
    content = path.read_bytes()
    if _checksum(content) not in path.name:
        raise ValueError("its checksum is another")
    size = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["told"])
    return safetensors.numpy.load(content), told


def _by_orbax(path: Path, wanted: Reached) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The same of a folder that an earlier version wrote."""
    ocp: Any = importlib.import_module("orbax.checkpoint.experimental.v1")  # slow, and seldom needed

    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), wanted)
    told = ocp.checkpointables_metadata(path.absolute()).custom_metadata
    return ocp.load_checkpointables(path.absolute(), {"reached": _named(like)})["reached"], told


def _named(reached: Reached) -> dict[str, Any]:
    """The arrays by their place in the tree, less those without entries."""
    return {keystr(path): a for path, a in jax.tree_util.tree_leaves_with_path(reached) if a.size}


def _filled(arrays: Mapping[str, Any], path: Any, wanted: Any) -> jax.Array:
    if not wanted.size:
        return jnp.zeros(wanted.shape, wanted.dtype)
    found = arrays[keystr(path)]
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(f"{keystr(path)} is {found.dtype}{list(found.shape)}")
    return jnp.array(found)
