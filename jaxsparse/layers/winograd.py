"""Winograd's algorithm along the columns of a 3x3 convolution.

Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016 (arXiv:1509.09308), F(4, 3): four neighbouring
results y of a kernel k of three weights are, for six inputs x,

    y = FROM_PRODUCTS @ ((FROM_KERNEL @ k) * (FROM_INPUT @ x)).

Each of the six products is a product of numbers there; here it is a convolution over rows and channels.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax import lax

from jaxsparse.layers.direct import Geometry, direct
from jaxsparse.layers.patches import FEW_CHANNELS

TILE = 4
"""Neighbouring results computed together."""
FROM_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
FROM_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
FROM_PRODUCTS = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def winograd_applies(geometry: Geometry, x_NHWC: jax.Array, k_KKCD: jax.Array) -> bool:
    """3x3, stride 1, same size, whole tiles; not in half precision, whose digits it would eat; not for few channels."""
    return (
        geometry == Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))
        and k_KKCD.shape[:2] == (3, 3)
        and x_NHWC.shape[2] % TILE == 0
        and x_NHWC.dtype.itemsize >= 4
        and k_KKCD.shape[2] > FEW_CHANNELS
    )


def _combine(coefficients: Iterable[float], terms: Iterable[jax.Array]) -> jax.Array:
    """Sum of coefficient * term."""
    return functools.reduce(jnp.add, [a * x for a, x in zip(coefficients, terms, strict=True) if a])


def _input_columns(x_NHWC: jax.Array) -> list[jax.Array]:
    """The six columns [N, H, W / 4, C] that tiles of four results see: two more than they are wide."""
    N, H, W, C = x_NHWC.shape
    padded = lax.optimization_barrier(jnp.pad(x_NHWC, ((0, 0), (0, 0), (1, TILE - 1), (0, 0))))
    tiles = padded.reshape(N, H, W // TILE + 1, TILE, C)
    return [*(tiles[:, :, :-1, j] for j in range(TILE)), *(tiles[:, :, 1:, j] for j in range(2))]


def winograd(precision: lax.PrecisionLike, x_NHWC: jax.Array, k_33CD: jax.Array) -> jax.Array:
    """Convolution with a 3x3 kernel, as six with 3x1 kernels on a quarter of the columns."""
    columns, taps = _input_columns(x_NHWC), [k_33CD[:, j] for j in range(3)]
    rows_only = Geometry((1, 1), ((1, 1), (0, 0)), (1, 1))
    products = [
        direct(rows_only, precision, _combine(from_input, columns), _combine(from_kernel, taps)[:, None])
        for from_input, from_kernel in zip(FROM_INPUT, FROM_KERNEL, strict=True)
    ]
    y_NHT4D = jnp.stack([_combine(row, products) for row in FROM_PRODUCTS], axis=3)
    return lax.collapse(y_NHT4D, 2, 4)


def winograd_kernel_gradient(precision: lax.PrecisionLike, x_NHWC: jax.Array, g_NHWD: jax.Array) -> jax.Array:
    """Gradient of `winograd`: its three linear maps transposed, the six convolutions as six matrix products.

    Along the rows a product needs x[n, h + i] * g[n, h] for i in 0, 1, 2, that is three shifted copies of g.
    """
    N, H, W, C = x_NHWC.shape
    D = g_NHWD.shape[-1]
    columns = _input_columns(x_NHWC)
    padded = lax.optimization_barrier(jnp.pad(g_NHWD, ((0, 0), (1, 1), (0, 0), (0, 0))))
    tiles = padded.reshape(N, H + 2, W // TILE, TILE, D)
    results = [tiles[:, :, :, j] for j in range(TILE)]
    products = []
    for from_input, to_results in zip(FROM_INPUT, zip(*FROM_PRODUCTS, strict=True), strict=True):
        x_NHTC = _combine(from_input, columns)
        g_NHTD = lax.optimization_barrier(_combine(to_results, results))
        g_NHT3D = jnp.concatenate([g_NHTD[:, 2 - i : 2 - i + H] for i in range(3)], axis=-1)
        product = lax.dot(lax.collapse(x_NHTC, 0, 3).T, lax.collapse(g_NHT3D, 0, 3), precision=precision)
        products.append(product.reshape(C, 3, D))
    taps = [_combine(column, products) for column in zip(*FROM_KERNEL, strict=True)]
    return jnp.stack(taps, axis=2).transpose(1, 2, 0, 3)
