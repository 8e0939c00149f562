"""Trained networks back from disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import models, records
from jaxsparse.checks import InvalidInput, require
from jaxsparse.export import state_dict
from jaxsparse.export.card import Card
from jaxsparse.export.tensors import arrays_of
from jaxsparse.shrinking import replace_arrays
from jaxsparse.trees import flatten


def folder_of(folder: str | Path) -> Path:
    """The folder of a run: the given one, or that of the only run that a training has made in it."""
    cells = sorted(path.parent for path in Path(folder).glob("cells/*/run.json"))
    if len(cells) > 1:  # older versions put what they made of a run beside it
        cells = [cell for cell in cells if not records.describe(cell).keys() & {"shrunk", "pruned"}]
    return cells[0] if len(cells) == 1 else Path(folder)


def beside(run: str | Path, ending: str) -> Path:
    """Where a command puts what it makes of a run: beside the folder that it was given, never inside, where it would
    pass for one of the training's own."""
    whole = Path(run).resolve()
    return whole.with_name(whole.name + ending)


def load(path: str | Path | Mapping[str, Any], like: nnx.Module | None = None) -> Any:
    """The trained network of a run or an export, in evaluation mode; also one that `jaxsparse shrink` has made smaller.

    A shrunk network is the class of its run, whose arrays have the sizes that they have in the file.

    Args:
      like: a model of your own with the file's arrays, by name, whose sizes may be others; left as it is. The one that
        is given back is in the same mode. Without, the file says which of this package's networks it holds.
      path: a `.safetensors` file that `jaxsparse export` or `js.save` wrote, or a folder: of a run (with `run.json`),
        of a training that holds just one, or with one such file. With `like` also the `state_dict` of a PyTorch network
        whose modules have the same names, or a `.pth` file of one (which needs PyTorch; nothing in it is run).

    Raises:
      InvalidInput: where there is no network, or one of a run that failed or whose weights are not finite.
      Damaged: where it is not what was written.

    Example:
      The `state_dict` of a PyTorch network with a layer `first`, whose weight is `[outputs, inputs]`:

      >>> import numpy as np
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> class Net(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.first = nnx.Linear(2, 3, rngs=rngs)
      >>> theirs = {"first.weight": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "first.bias": np.zeros(3)}
      >>> print(js.load(theirs, like=Net(nnx.Rngs(0))).first.kernel[...])
      [[1. 3. 5.]
       [2. 4. 6.]]
    """
    foreign = isinstance(path, Mapping) or Path(path).suffix in state_dict.PICKLED
    if foreign:
        if like is None:
            raise InvalidInput("like must be a model that a state_dict fits, or see js.from_torch, got None")
        arrays = state_dict.renamed(state_dict.arrays_of(path), like)
        return replace_arrays(like, {name: jnp.asarray(array) for name, array in arrays.items()})
    assert not isinstance(path, Mapping)
    if like is None:
        return read(path)[0]
    file = Path(path)
    arrays = arrays_of(file)[0] if file.is_file() else records.weights(folder_of(file))
    names = flatten(nnx.state(like, nnx.Not(nnx.RngState)))
    other = sorted(names.keys() ^ arrays.keys())
    require(not other, "like", " ".join(other[:3]), f"a model with the arrays of {file.name}, and no other")
    return replace_arrays(like, arrays)


def read(path: str | Path) -> tuple[models.Network, Card]:
    """`load`, and the card of the network; that of a run is without the moments of the pixels.

    Raises:
      InvalidInput: as `load`.
    """
    folder = folder_of(path)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.safetensors"))
    described: Mapping[str, Any] = {}
    if len(files) == 1 and not (folder / "run.json").exists():
        arrays, metadata = arrays_of(files[0])
        card = Card.of_metadata(metadata)
    else:
        described = records.describe(folder)
        require(described["status"] != "failed", "run", str(folder), "one that did not fail")
        arrays, card = records.weights(folder), Card.of_run(described)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            told = described.get("message") or f"{name} is not finite"
            raise InvalidInput(f"run must be one with finite weights, got {str(folder)!r}: {told}")
    whole = bool(described) and "shrunk" not in described and not described["run"].get("shrink_every")
    return card.network(arrays, exact=whole), card
