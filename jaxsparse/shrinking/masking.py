"""The network that a shrunk one must equal: dead units put out a constant, by plain numbers in the same arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import sparsity
from jaxsparse.config import Thresholds, require, require_choice

Dead = Mapping[str, Any]
"""Layer name (as in `sparsity.measure`) to booleans `[units]`."""


def dead_by_scale(model: nnx.Module, tolerance: float) -> dict[str, jax.Array]:
    """Units with |gamma| below the tolerance; in layers without a normalisation those whose incoming weights have an
    L2 norm below it."""
    found = {
        name: layer.dead(Thresholds(scale=tolerance, norm=tolerance))
        for name, layer in sparsity.units(model, {}).items()
    }
    return {name: masks.get("scale", masks.get("norm", jnp.zeros(0, bool))) for name, masks in found.items()}


def masked(model: nnx.Module, dead: Dead, constants: Mapping[str, Any] | None = None) -> nnx.Module:
    """A copy of the model whose dead units ignore their input.

    A dead unit's gamma is zero; without a normalisation, its incoming weights are. Its beta (bias) is kept, so that the
    layer puts out beta in its place, and the activation function makes the unit's constant of it. With `constants` it
    puts out those instead. (`sparsity.silence` differs: it zeroes beta too.)

    For a unit that is dead by activation - relu(gamma * x^ + beta) = 0 on all data, with gamma and beta of any size -
    the constant is one that the activation function takes to zero: `constants={layer: np.zeros(units)}` for ReLU.

    Args:
      model: left as it is.
      dead: booleans `[units]` by layer.
      constants: what a layer puts out, before its activation function, where a unit is dead; `[units]` by layer.

    Raises:
      InvalidInput: for a layer that the model lacks, an array of another shape, or a constant where the layer has
        neither beta nor bias to hold it.
    """
    copy = nnx.clone(model)
    layers = {layer.name: layer for layer in sparsity.layers(copy)}
    for name, mask in dead.items():
        require_choice("layer in dead", name, tuple(layers))
        layer = layers[name]
        module: Any = layer.norm if layer.norm is not None else layer.linear
        weights = module.scale if layer.norm is not None else module.kernel
        units = weights.shape[-1]
        mask = np.asarray(mask)
        require(mask.shape == (units,), f"dead[{name!r}]", mask.shape, f"booleans of shape ({units},)")
        weights[...] = jnp.where(mask, 0.0, weights[...]).astype(weights.dtype)
        if constants is None or name not in constants:
            continue
        constant = np.asarray(constants[name])
        require(constant.shape == (units,), f"constants[{name!r}]", constant.shape, f"numbers of shape ({units},)")
        bias: Any = getattr(module, "bias", None)
        if getattr(bias, "ndim", 0) == 0:
            require(not constant[mask.astype(bool)].any(), f"constants[{name!r}]", constant, "0: the layer has no bias")
        else:
            bias[...] = jnp.where(mask, constant, bias[...]).astype(bias.dtype)
    for name in constants or {}:
        require_choice("layer in constants", name, tuple(dead))
    return copy
