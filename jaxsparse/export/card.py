"""What a file says of a network beside its arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxsparse
from jaxsparse import data, models, records
from jaxsparse.checks import InvalidInput, name_of, require, require_choice
from jaxsparse.config import DOUBLE
from jaxsparse.layers import activation
from jaxsparse.shrinking import replace_arrays
from jaxsparse.trees import flatten

LARGEST = 1 << 24
"""Units of a layer, pixels of a side, or classes."""


@dataclass(frozen=True)
class Card:
    """Enough to build a network again around its arrays, and to feed it."""

    model: str
    """name of the network"""
    shape: tuple[int, ...]
    """of an image: height, width, channels; of what another network than the package's takes"""
    classes: int
    built: tuple[int, ...]
    """units of each hidden layer as the network was built; how many are left, the arrays show"""
    head: tuple[int, ...] | None = None
    """the same of the dense layers before the last one; none given: the network's own"""
    activation: str = "relu"
    slope: float = 0.01
    """of leaky-relu below zero"""
    batch_norm: bool = True
    """whether blocks normalise"""
    pooled: tuple[int, ...] | None = None
    """VGG: numbers of the convolutions (from 1) that a max-pool follows; none given: the network's own"""
    flatten: bool | None = None
    """VGG: whether the image goes flattened, not averaged, into the dense layers; none given: the network's own"""
    mean: tuple[float, ...] = ()
    """per channel, of pixels from 0 to 255: a network is fed (pixels - mean) / deviation; empty: not known"""
    deviation: tuple[float, ...] = ()
    dtype: str = "float32"
    """of what the network takes; int32: tokens"""
    run: Mapping[str, Any] = field(default_factory=dict)
    """how it was trained: the `run.json` of its run"""

    def __post_init__(self) -> None:
        counts = {"shape": self.shape, "classes": (self.classes,), "built": self.built, "head": self.head or ()}
        counts["pooled"] = self.pooled or ()
        for name, found in counts.items():
            whole = isinstance(found, tuple) and all(type(count) is int and 0 <= count <= LARGEST for count in found)
            require(whole, f"card's {name}", found, f"whole numbers from 0 to {LARGEST}")
        fits = len(self.shape) == 3 or (len(self.shape) > 0 and self.model not in models.names())
        require(fits and min(self.shape) > 0, "card's shape", self.shape, "height, width and channels")
        require_choice("card's dtype", self.dtype, ("float32", "int32"))
        require(self.classes > 0, "card's classes", self.classes, "at least 1")
        for name, found in {"slope": (self.slope,), "mean": self.mean, "deviation": self.deviation}.items():
            finite = all(isinstance(number, int | float) and math.isfinite(number) for number in found)
            require(finite, f"card's {name}", found, "finite numbers")
        for name, kind in {"model": str, "activation": str, "dtype": str, "batch_norm": bool, "run": Mapping}.items():
            require(isinstance(getattr(self, name), kind), f"card's {name}", getattr(self, name), f"a {kind.__name__}")

    @classmethod
    def of_run(cls, described: Mapping[str, Any]) -> Card:
        """The card of a run's network from its `run.json`, without the moments of the pixels.

        Raises:
          InvalidInput: for settings or data that this version does not know.
        """
        run = records.run_of(described)
        description = data.describe(run.data)
        return cls(
            model=name_of(run.model),
            shape=description.shape,
            classes=description.classes,
            built=models.widths_of(run.model, run.width, run.widths) if models.is_known(run.model) else (),
            head=run.head,
            activation=run.activation,
            slope=run.slope,
            batch_norm=run.batch_norm,
            run=described,
        )

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> Card:
        """The card in a file's metadata, see `metadata`.

        Raises:
          InvalidInput: for metadata that `metadata` has not made.
        """
        try:
            older = {name: json.dumps(getattr(cls, name)) for name in ("batch_norm", "dtype")}  # do not tell it
            told = {**older, **metadata}
            found: dict[str, Any] = {each.name: json.loads(told[each.name]) for each in fields(cls)}
        except (KeyError, ValueError):
            raise InvalidInput("file must be one that `jaxsparse export` wrote, its metadata are not a card") from None
        found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
        return cls(**found)

    def metadata(self, model: nnx.Module) -> dict[str, str]:
        """The card as texts in JSON, with `widths` (units that each layer of the model has) and `version` (of
        jaxsparse)."""
        kernels = {
            name: leaf for name, leaf in flatten(nnx.state(model, nnx.Param)).items() if name.endswith("/kernel")
        }
        widths = {
            name.removesuffix("/kernel").removesuffix("/linear"): leaf.shape[-1] for name, leaf in kernels.items()
        }
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found |= {"widths": widths, "version": jaxsparse.__version__}
        return {name: json.dumps(value) for name, value in found.items()}

    def network(self, arrays: Mapping[str, np.ndarray], exact: bool = False) -> models.Network:
        """The network with these arrays, by name, in evaluation mode.

        Args:
          arrays: by name.
          exact: whether they must have the sizes that the network was built with.

        Raises:
          InvalidInput: for an unknown network, or where an array is missing, too many, or of another type or shape.
        """
        shape: Any = self.shape
        model = nnx.eval_shape(
            lambda: models.build(
                self.model,
                shape=shape,
                classes=self.classes,
                widths=self.built,
                head=self.head,
                activation=activation(self.activation, self.slope),
                batch_norm=self.batch_norm,
                rngs=nnx.Rngs(0),
            )
        )
        if isinstance(model, models.VGG):
            model.flatten = model.flatten if self.flatten is None else self.flatten
            for number, block in enumerate(model.convolutions, start=1):
                block.pool = block.pool if self.pooled is None else number in self.pooled
        self._check(arrays, flatten(nnx.state(model)), exact)
        model = replace_arrays(model, {name: jnp.asarray(array) for name, array in arrays.items()})
        model.eval()
        self._check_shapes(model)
        return model

    def _check(self, arrays: Mapping[str, np.ndarray], expected: Mapping[str, Any], exact: bool) -> None:
        """Raises `InvalidInput` for arrays that the network can't have, or of another type, or shape if exact; a layer
        may have got a bias where it need not be exact."""
        kind = DOUBLE if self.run.get("run", {}).get("precision") == DOUBLE else "float32"
        for name, array in arrays.items():
            layer, _, last = name.rpartition("/")
            known = name in expected or (not exact and last == "bias" and f"{layer}/kernel" in expected)
            require(known, "weights", name, f"without arrays that {self.model} has not")
            require(array.dtype == kind, f"weights {name}", str(array.dtype), kind)
            if exact:
                shape = list(expected[name].shape)
                require(list(array.shape) == shape, f"weights {name}", list(array.shape), f"of shape {shape}")

    def _check_shapes(self, model: models.Network) -> None:
        """Raises `InvalidInput` unless the arrays fit together, from an image to a number for each class."""
        try:
            logits = jax.eval_shape(model, jax.ShapeDtypeStruct((1, *self.shape), jnp.float32)).shape
        except (TypeError, ValueError, ZeroDivisionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InvalidInput(f"weights must have shapes that fit together: {reason}") from None
        require(logits == (1, self.classes), "weights", f"{logits[1:]} outputs", f"made for {self.classes} classes")
