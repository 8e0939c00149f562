"""A PyTorch `state_dict`: read from where it is, and renamed for a network in `flax.nnx`.

| there                                       | here                                                        |
|---------------------------------------------|-------------------------------------------------------------|
| `a.conv.weight` `[out, in, h, w]`           | `a/conv/kernel` `[h, w, in, out]`, with any number of axes  |
| `a.up.weight` `[in, out, h, w]`, transposed | `a/up/kernel` `[h, w, in, out]`, turned upside down         |
| `a.dense.weight` `[out, in]`                | `a/dense/kernel` `[in, out]`                                |
| `a.norm.weight`, `running_mean`, `_var`     | `a/norm/scale`, `mean`, `var`                               |
| `a.table.weight` of an embedding            | `a/table/embedding`                                         |
| `a.0.weight` of an `nn.Sequential`          | the same of `a/layers/0`, of an `nnx.Sequential`            |

Everything else goes by its own name. What a network's own code does to the order of axes, as flattening an image whose
channels are last here and first there, is that code's affair.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from flax import nnx

from jaxsparse.checks import InvalidInput, require
from jaxsparse.export import tensors
from jaxsparse.trees import flatten

Source: TypeAlias = str | Path | Mapping[str, Any]
"""A `state_dict`, or a file of one: `.pth` or `.pt`, which needs PyTorch, or `.safetensors`."""
PICKLED = (".pth", ".pt")
"""Endings of the files that `torch.save` writes."""


def arrays_of(source: Source) -> dict[str, np.ndarray]:
    """The arrays of a `state_dict`, by name. Of a file only tensors are read: nothing in it is run.

    Raises:
      InvalidInput: for a file that is none, or with anything but tensors in it; without PyTorch, for a `.pth` file.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        found = _unpickled(path) if path.suffix in PICKLED else tensors.arrays_of(path)[0]
    else:
        found = source
    whole = isinstance(found, Mapping) and all(hasattr(value, "shape") for value in found.values())
    require(whole, "state_dict", type(found).__name__, "a mapping from names to tensors: network.state_dict()")
    return {name: _array(value) for name, value in found.items() if not name.endswith("num_batches_tracked")}


def _unpickled(path: Path) -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise InvalidInput(
            f"file {str(path)!r} needs torch, which is not installed: pip install 'jaxsparse[bench]'"
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"file must be a state_dict that torch.save wrote, got {str(path)!r}: {reason}") from None


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu().float() if hasattr(value, "detach") else value)


def renamed(arrays: Mapping[str, np.ndarray], like: nnx.Module) -> dict[str, np.ndarray]:
    """The arrays under the names, and in the order of axes, of a network with modules of the same names.

    Raises:
      InvalidInput: where names or numbers of axes are not those of the network.
    """
    modules = {"/".join(map(str, path)): module for path, module in nnx.iter_modules(like)}
    found: dict[str, np.ndarray] = {}
    left = dict(arrays)
    for path in flatten(nnx.state(like, nnx.Not(nnx.RngState))):
        holder, _, last = path.rpartition("/")
        module = holder.replace("/layers", "").replace("/", ".")
        names = [f"{module}.{name}".lstrip(".") for name in (last, _NAMES.get(last, last))]
        own = names[0] if names[0] in left else names[1]
        require(own in left, "state_dict", sorted(left)[:3], f"one with {own!r}, for {path!r} of the model")
        found[path] = _moved(left.pop(own), modules[holder], last)
    require(not left, "state_dict", sorted(left)[:3], "without arrays that the model has not")
    return found


_NAMES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
"""From names of arrays of flax's modules to those of PyTorch's."""


def _moved(array: np.ndarray, module: nnx.Module, last: str) -> np.ndarray:
    if last != "kernel":
        return array
    space = tuple(range(2, array.ndim))
    if isinstance(module, nnx.ConvTranspose):
        return np.flip(array.transpose(*space, 0, 1), tuple(range(len(space))))
    return array.transpose(*space, 1, 0)
