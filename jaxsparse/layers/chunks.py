"""Work on a few images at a time, so that what is made from them stays in a core's cache."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
from jax import lax

CHUNK_PIXELS = 2048
"""Pixels to work on at a time. A factor of 2 either way is even."""


def _chunk(images: jax.Array) -> int:
    """Images to a chunk: the divisor of their number that comes closest to `CHUNK_PIXELS`."""
    N, H, W, _ = images.shape
    divisors = [n for n in range(1, N + 1) if N % n == 0]
    return min(divisors, key=lambda n: abs(math.log(n * H * W / CHUNK_PIXELS)))


def map_chunks(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """function(images), chunk by chunk."""
    chunk = _chunk(images)
    chunks = images.reshape(len(images) // chunk, chunk, *images.shape[1:])
    return lax.collapse(lax.map(function, chunks), 0, 2)


def sum_chunks(
    function: Callable[[jax.Array, jax.Array], jax.Array], x_NHWC: jax.Array, g_NHWD: jax.Array, start: jax.Array
) -> jax.Array:
    """start + function(x, g), chunk by chunk."""
    chunk = _chunk(x_NHWC)
    chunks = tuple(images.reshape(len(images) // chunk, chunk, *images.shape[1:]) for images in (x_NHWC, g_NHWD))
    return lax.scan(lambda total, pair: (total + function(*pair), None), start, chunks)[0]
