"""Trained networks back from disk."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsparse import models, records
from jaxsparse.config import require
from jaxsparse.shrinking import replace_arrays
from jaxsparse.train import network


def folder_of(folder: str | Path) -> Path:
    """The folder of a run: the given one, or that of the only run that a training has made in it."""
    cells = sorted(path.parent for path in Path(folder).glob("cells/*/run.json"))
    return cells[0] if len(cells) == 1 else Path(folder)


def load(folder: str | Path) -> models.Network:
    """The trained network of a run, in evaluation mode; also one that `jaxsparse shrink` has made smaller.

    A shrunk network is the class of its run, whose arrays have the sizes that they have in the file.

    Args:
      folder: of the run (with `run.json`), or of a training that holds just one.

    Raises:
      InvalidInput: where the folder holds no run, or one that failed.
    """
    folder = folder_of(folder)
    described = records.describe(folder)
    require(described["status"] != "failed", "run", str(folder), "one that did not fail")
    model = nnx.eval_shape(lambda: network(records.run_of(described), jax.random.key(0)))
    weights = records.weights(folder)
    model = replace_arrays(model, {name: jnp.asarray(array) for name, array in weights.items()})
    model.eval()
    return model
