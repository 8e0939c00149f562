"""Units that training leaves dead, by hand."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def drawn(rng: np.random.Generator, units: int, share: float) -> np.ndarray:
    """Booleans `[units]`: this share of them, at random; at least one unit lives."""
    return np.isin(np.arange(units), rng.permutation(units)[: min(int(share * units), units - 1)])


def scaled_away(norm: Any, dead: np.ndarray) -> None:
    """A normalisation's gamma is zero, and beta is not above: under ReLU the unit puts out zero."""
    norm.scale[...] = jnp.where(dead, 0.0, norm.scale[...])
    norm.bias[...] = jnp.where(dead, -abs(norm.bias[...]), norm.bias[...])


def without_weights(layer: Any, dead: np.ndarray) -> None:
    """A layer's incoming weights of the units along its last axes are zero; a bias stays, so that the unit puts out a
    constant."""
    layer.kernel[...] = jnp.where(dead, 0.0, layer.kernel[...])


def silent(layer: Any, dead: np.ndarray) -> None:
    """The same, and the bias too."""
    without_weights(layer, dead)
    layer.bias[...] = jnp.where(dead, 0.0, layer.bias[...])
