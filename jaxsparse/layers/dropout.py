"""Dropout with an explicit key, so that a network has no randomness of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def dropout(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """x with each number set to 0 with probability `rate` in [0, 1), and the others divided by `1 - rate`.

    Srivastava et al. 2014, section 10, with the scaling in training in place of evaluation, as in PyTorch.
    """
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)
