"""Convolutions of images of a few pixels: an image is a row, and the kernel a matrix from its pixels to all results.

Where windows see more than there is of an image, XLA:CPU falls back to a loop that is up to eighty times slower than
this. Most of a VGG's layers are such on small images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxsparse.layers.direct import Geometry
from jaxsparse.layers.patches import output_size

FEW_PIXELS = 4
"""Of an image, and of its results: with more, most of the matrix would be zeros."""


def matrix_applies(geometry: Geometry, x_NHWC: jax.Array, k_KKCD: jax.Array) -> bool:
    """Images and results of at most `FEW_PIXELS` pixels; windows without holes."""
    (height, width), (_, H, W, _) = output_size(geometry, x_NHWC, k_KKCD), x_NHWC.shape
    return max(H * W, height * width) <= FEW_PIXELS and geometry.dilation == (1, 1)


def _matrix(geometry: Geometry, pixels: tuple[int, int], results: tuple[int, int], k_KKCD: jax.Array) -> jax.Array:
    """[H * W * C, height * width * D]: from pixel i of an image to result o, the kernel at i - o * stride + padding."""
    (down, right), ((top, _), (left, _)), _ = geometry
    above, before = ((count - 1) * step for count, step in zip(results, (down, right), strict=True))
    zero, shape = jnp.zeros((), k_KKCD.dtype), (*pixels, *k_KKCD.shape[2:])
    padded = lax.pad(k_KKCD, zero, ((above, pixels[0] + top, 0), (before, pixels[1] + left, 0), (0, 0, 0), (0, 0, 0)))
    blocks = [
        lax.slice(padded, start, [at + size for at, size in zip(start, shape, strict=True)])
        for row in range(results[0])
        for column in range(results[1])
        for start in [(above + top - row * down, before + left - column * right, 0, 0)]
    ]
    return jnp.stack(blocks, axis=3).reshape(pixels[0] * pixels[1] * shape[2], -1)


def matrix_product(geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array) -> jax.Array:
    """The convolution as one matrix product."""
    (N, H, W, _), results = x_NHWC.shape, output_size(geometry, x_NHWC, k_KKCD)
    matrix = _matrix(geometry, (H, W), results, k_KKCD)
    return lax.dot(x_NHWC.reshape(N, -1), matrix, precision=precision).reshape(N, *results, -1)


def matrix_kernel_gradient(
    geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array, g_NHWD: jax.Array
) -> jax.Array:
    """The gradient of the matrix, summed over the places that a weight has in it."""
    (N, H, W, _), (_, height, width, _) = x_NHWC.shape, g_NHWD.shape
    gradient = lax.dot(x_NHWC.reshape(N, -1).T, g_NHWD.reshape(N, -1), precision=precision)
    gradient = gradient.reshape(H, W, -1, height, width, g_NHWD.shape[3])
    rows, columns = (
        [_places(tap, step, before, pixels, results) for tap in range(size)]
        for size, step, (before, _), pixels, results in zip(
            k_KKCD.shape, geometry.strides, geometry.padding, (H, W), (height, width), strict=False
        )
    )
    blocks = [
        [gradient[row, column, :, to_row, to_column] for row, to_row in in_rows for column, to_column in in_columns]
        for in_rows in rows
        for in_columns in columns
    ]
    none = jnp.zeros(k_KKCD.shape[2:], gradient.dtype)
    return jnp.stack([sum(block, none) for block in blocks]).reshape(k_KKCD.shape)


def _places(tap: int, step: int, before: int, pixels: int, results: int) -> list[tuple[int, int]]:
    """Pixels and results, along an axis, between which a weight of the kernel lies."""
    found = [(to * step + tap - before, to) for to in range(results)]
    return [(pixel, to) for pixel, to in found if 0 <= pixel < pixels]
