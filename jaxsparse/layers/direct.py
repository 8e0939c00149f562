"""The convolution as XLA knows it, in the one layout that is fast on a CPU, and what its relatives share."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")
"""The one layout that XLA:CPU is fast in."""


class Geometry(NamedTuple):
    """Where the windows of a convolution lie; each pair is (rows, columns)."""

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]


def direct(geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array) -> jax.Array:
    """The convolution as XLA knows it."""
    strides, padding, dilation = geometry
    return lax.conv_general_dilated(
        x_NHWC, k_KKCD, strides, padding, rhs_dilation=dilation, dimension_numbers=LAYOUT, precision=precision
    )


def vary_alike(*arrays: jax.Array) -> list[jax.Array]:
    """Under `jax.shard_map`: make each vary over every mesh axis that one of them varies over.

    Hand-written gradients vary like all that goes into them. An array that is the same on all devices (shared images,
    say) needs the sum over the devices; adding a zero that varies leaves this to JAX. Elsewhere it does nothing.
    """
    zeros = [jnp.zeros_like(array, shape=()) for array in arrays]
    return [functools.reduce(lambda x, zero: x + zero.astype(x.dtype), zeros, array) for array in arrays]
