"""How far a long training has come, on disk: a folder for the last finished epoch, written by orbax.

    NAME.checkpoint/
        epoch-3     of the third epoch's end: state, what was measured so far, and the place in the order of the images

Orbax writes a folder under another name and renames it when it is whole, so whatever is called `epoch-N` is. Writing
and reading need the extra `data`, as streaming does.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxsparse.config import InvalidInput
from jaxsparse.train import Row, State

SUFFIX = ".checkpoint"
_PREFIX = "epoch-"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reached:
    """What a training has come to."""

    state: State
    losses: np.ndarray
    """`[epochs]`: mean loss of each epoch so far"""
    rows: tuple[Row, ...]
    """of the intervals so far"""


def folder_of(folder: Path, name: str) -> Path:
    """Where the checkpoints of a cell are, below the folder of the cells."""
    return folder / (name + SUFFIX)


def clear(folder: Path, ended: set[str]) -> None:
    """Removes the checkpoints of cells that have ended."""
    for leftover in folder.glob(f"*{SUFFIX}"):
        if leftover.name.removesuffix(SUFFIX) in ended:
            shutil.rmtree(leftover, ignore_errors=True)


def _epochs(folder: Path) -> dict[int, Path]:
    """Whole checkpoints, by epoch."""
    names = {path.name.removeprefix(_PREFIX): path for path in folder.glob(f"{_PREFIX}*")}
    return {int(name): path for name, path in names.items() if name.isdecimal()}


def save(folder: Path, epoch: int, reached: Reached, place: Any) -> None:
    """Writes the end of an epoch, then removes the earlier ones.

    Args:
      folder: of the checkpoints.
      epoch: how many are finished.
      reached: what is kept of them.
      place: in the order of the images, as JSON can hold it.
    """
    ocp = _orbax()
    folder.mkdir(parents=True, exist_ok=True)
    path, arrays = (folder / f"{_PREFIX}{epoch}").absolute(), _named(jax.device_get(reached))
    ocp.save_checkpointables(path, {"reached": arrays}, overwrite=True, custom_metadata={"place": place})
    for other, earlier in _epochs(folder).items():
        if other != epoch:
            shutil.rmtree(earlier, ignore_errors=True)


def load(folder: Path, state: State, row: Row, every: int) -> tuple[Reached, Any] | None:
    """The last finished epoch and the place in the order of the images; None where there is none.

    Args:
      folder: of the checkpoints.
      state: with arrays of the sizes that are expected.
      row: the same.
      every: epochs in an interval, after each of which there is a row.

    Raises:
      InvalidInput: where what is there can't be read, or is of another training.
    """
    found = _epochs(folder)
    if not found:
        return None
    ocp, epoch = _orbax(), max(found)
    path, device = found[epoch].absolute(), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    reached = Reached(state, np.zeros(epoch, np.float32), (row,) * (epoch // every))
    reached = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), reached)
    try:
        place = ocp.checkpointables_metadata(path).custom_metadata["place"]
        arrays = ocp.load_checkpointables(path, {"reached": _named(reached)})["reached"]
        return jax.tree_util.tree_map_with_path(partial(_filled, arrays), reached), place
    except Exception as error:  # orbax and what it stands on have errors of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"checkpoint must be whole and of this training, or removed: {path} ({reason})") from None


def _named(reached: Reached) -> dict[str, Any]:
    """The arrays by their place in the tree, less those without entries, which orbax does not take."""
    return {keystr(path): a for path, a in jax.tree_util.tree_leaves_with_path(reached) if a.size}


def _filled(arrays: dict[str, Any], path: Any, wanted: jax.ShapeDtypeStruct) -> jax.Array:
    return arrays[keystr(path)] if wanted.size else jnp.zeros(wanted.shape, wanted.dtype)


def _orbax() -> Any:
    import orbax.checkpoint.experimental.v1 as ocp  # slow to import, and seldom needed

    return ocp
