"""Convolutions of few input channels: one row of a matrix holds all that a window sees, and the rest is one product."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxsparse.layers.direct import Geometry

FEW_CHANNELS = 4
"""Input channels up to which a patch is cheap to copy."""


def _patches(geometry: Geometry, x_NHWC: jax.Array, height: int, width: int, KH: int, KW: int) -> jax.Array:
    """[N * height * width, KH * KW * C], columns first and then rows, which copies longer pieces."""
    (down, right), padding, (below, beside) = geometry
    zero = jnp.zeros((), x_NHWC.dtype)
    x = lax.optimization_barrier(lax.pad(x_NHWC, zero, ((0, 0, 0), (*padding[0], 0), (*padding[1], 0), (0, 0, 0))))

    def shifted(x: jax.Array, axis: int, size: int, stride: int, count: int, step: int) -> jax.Array:
        pieces = [lax.slice_in_dim(x, i * step, i * step + (size - 1) * stride + 1, stride, axis) for i in range(count)]
        return jnp.concatenate(pieces, axis=-1)

    x = lax.optimization_barrier(shifted(x, 2, width, right, KW, beside))
    return lax.collapse(shifted(x, 1, height, down, KH, below), 0, 3)


def output_size(geometry: Geometry, x_NHWC: jax.Array, k_KKCD: jax.Array) -> tuple[int, int]:
    """Rows and columns of what comes out."""
    height, width = (
        (x_NHWC.shape[1 + axis] + sum(pads) - (k_KKCD.shape[axis] - 1) * step - 1) // stride + 1
        for axis, (stride, pads, step) in enumerate(zip(*geometry, strict=True))
    )
    return height, width


def patch_product(geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array) -> jax.Array:
    """The convolution as one matrix product."""
    KH, KW, _, D = k_KKCD.shape
    height, width = output_size(geometry, x_NHWC, k_KKCD)
    patches = _patches(geometry, x_NHWC, height, width, KH, KW)
    return lax.dot(patches, k_KKCD.reshape(patches.shape[-1], D), precision=precision).reshape(
        len(x_NHWC), height, width, D
    )


def patch_kernel_gradient(
    geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array, g_NHWD: jax.Array
) -> jax.Array:
    """The gradient of the kernel as one matrix product: patches, transposed, with the gradient of the result."""
    KH, KW, _, D = k_KKCD.shape
    patches = _patches(geometry, x_NHWC, *output_size(geometry, x_NHWC, k_KKCD), KH, KW)
    return lax.dot(patches.T, g_NHWD.reshape(-1, D), precision=precision).reshape(k_KKCD.shape)
