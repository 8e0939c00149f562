"""The convolution as XLA knows it, in the one layout that is fast on a CPU, and what its relatives share."""

from __future__ import annotations

import functools
from collections.abc import Callable
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


def direct_input_gradient(
    convolve: Callable[[Geometry, lax.PrecisionLike, jax.Array, jax.Array], jax.Array],
    geometry: Geometry,
    precision: lax.PrecisionLike,
    x_NHWC: jax.Array,
    k_KKCD: jax.Array,
    g_NHWD: jax.Array,
) -> jax.Array:
    """Convolution of g, by `convolve`, with the kernel turned by 180 degrees and its channels swapped; strides become
    holes in g, which XLA's own has to fill."""
    strides, padding, dilation = geometry
    turned_KKDC = lax.transpose(lax.rev(k_KKCD, (0, 1)), (0, 1, 3, 2))
    around = []
    for axis in (0, 1):
        extent = (k_KKCD.shape[axis] - 1) * dilation[axis] + 1
        before = extent - 1 - padding[axis][0]
        spread = (g_NHWD.shape[1 + axis] - 1) * strides[axis] + 1
        around.append((before, x_NHWC.shape[1 + axis] - spread - before + extent - 1))
    if strides == (1, 1):
        return convolve(Geometry(strides, (around[0], around[1]), dilation), precision, g_NHWD, turned_KKDC)
    return lax.conv_general_dilated(
        g_NHWD, turned_KKDC, (1, 1), around, strides, dilation, dimension_numbers=LAYOUT, precision=precision
    )


def vary_alike(*arrays: jax.Array) -> list[jax.Array]:
    """Under `jax.shard_map`: make each vary over every mesh axis that one of them varies over.

    Hand-written gradients vary like all that goes into them. An array that is the same on all devices (shared images,
    say) needs the sum over the devices; adding a zero that varies leaves this to JAX. Elsewhere it does nothing.
    """
    zeros = [jnp.zeros_like(array, shape=()) for array in arrays]
    return [functools.reduce(lambda x, zero: x + zero.astype(x.dtype), zeros, array) for array in arrays]
