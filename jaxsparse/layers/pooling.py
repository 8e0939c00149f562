"""2x2 max-pooling as the maximum of four strided slices, with a gradient that is defined at ties."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp


def window_corners(x_NHWC: jax.Array) -> list[jax.Array]:
    """The four pixels of every 2x2 window, in reading order; an odd last row or column is left out."""
    height, width = x_NHWC.shape[1] // 2 * 2, x_NHWC.shape[2] // 2 * 2
    return [x_NHWC[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def spread_corners(corners: list[jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """Inverse of `window_corners`, zero in what it left out."""
    N, H, W, C = shape
    _, height, width, _ = corners[0].shape
    rows = [jnp.stack(pair, axis=3) for pair in (corners[:2], corners[2:])]
    x = jnp.stack(rows, axis=2).reshape(N, 2 * height, 2 * width, C)
    return jnp.pad(x, ((0, 0), (0, H - 2 * height), (0, W - 2 * width), (0, 0)))


def first_maximum(corners: list[jax.Array], maximum: jax.Array) -> list[jax.Array]:
    """Which corner is the window's first maximum: four masks, exactly one of them true."""
    masks, free = [], jnp.ones(maximum.shape, bool)
    for corner in corners:
        hit = free & (corner == maximum)
        masks.append(hit)
        free &= ~hit
    return masks


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 windows, [N, H, W, C] -> [N, H // 2, W // 2, C]; an odd last row or column is left out.

    The gradient goes to the maximum; among equals to the first in reading order, as in PyTorch.
    """
    return functools.reduce(jnp.maximum, window_corners(x))


def _max_pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = max_pool(x)
    return y, (x, y)


def _max_pool_backward(kept: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    x, y = kept
    return (spread_corners([jnp.where(mask, g, 0) for mask in first_maximum(window_corners(x), y)], x.shape),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)
