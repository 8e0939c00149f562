"""Trained networks back from disk."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsparse import models, records
from jaxsparse.config import require
from jaxsparse.train import network
from jaxsparse.trees import flatten


def folder_of(folder: str | Path) -> Path:
    """The folder of a run: the given one, or that of the only run that a training has made in it."""
    cells = sorted(path.parent for path in Path(folder).glob("cells/*/run.json"))
    return cells[0] if len(cells) == 1 else Path(folder)


def load(folder: str | Path) -> models.Network:
    """The trained network of a run, in evaluation mode.

    Args:
      folder: of the run (with `run.json`), or of a training that holds just one.

    Raises:
      InvalidInput: where the folder holds no run, or one that failed.
    """
    folder = folder_of(folder)
    described = records.describe(folder)
    require(described["status"] != "failed", "run", str(folder), "one that did not fail")
    model = nnx.eval_shape(lambda: network(records.run_of(described), jax.random.key(0)))
    graph, state = nnx.split(model)
    weights = records.weights(folder)
    leaves = [jnp.asarray(weights[name]) for name in flatten(state)]
    model = nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves))
    model.eval()
    return model
